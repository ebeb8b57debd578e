//! The command line: one small file per command, with its arguments, what it calls and what it prints.

mod agree;
mod attach;
mod context;
mod demo;
mod deploy;
mod design;
mod fetch;
mod hook;
mod init;
mod install;
mod logs;
mod look;
mod plan;
mod push;
mod requirements;
mod review;
mod select;
mod show;
mod ssh;
mod status;
mod stop;
mod trust;
mod usage;
mod wait;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use context::Context;

use crate::error::Result;
use crate::terminal::Output;

/// Commit, push, and the experiment runs on your servers.
///
/// `git commit` keeps requirements.txt true to the imports of the code. `git agile push` makes every configured
/// server fetch exactly that commit, refresh its Python environment and launch the experiment in a detached
/// session. `git agile fetch-results` brings the results home, verified.
#[derive(Debug, Parser)]
#[command(
    name = "git-agile",
    bin_name = "git agile",
    version,
    max_term_width = 100
)]
#[command(
    after_help = "Exit status: 0 done, 1 a check or a run failed, 2 usage, 3 configuration, 4 a server could not \
be reached, 5 a step failed, 130 interrupted."
)]
pub struct Cli {
    /// Print errors, warnings and data only
    #[arg(short, long)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::InitArgs),
    Install(install::InstallArgs),
    Uninstall(install::UninstallArgs),
    Requirements(requirements::RequirementsArgs),
    Design(design::DesignArgs),
    Push(push::PushArgs),
    Deploy(deploy::DeployArgs),
    Status(status::StatusArgs),
    Logs(logs::LogsArgs),
    Attach(attach::AttachArgs),
    Stop(stop::StopArgs),
    Wait(wait::WaitArgs),
    Show(show::ShowArgs),
    FetchResults(fetch::FetchArgs),
    Review(review::ReviewArgs),
    Ssh(ssh::SshArgs),
    Trust(trust::TrustArgs),
    Demo(demo::DemoArgs),
    #[command(hide = true)]
    Hook(hook::HookArgs),
}

/// Set for the hooks that a quiet command runs.
const QUIET: &str = "GIT_AGILE_QUIET";

/// Runs the program with the arguments it was started with, and gives its exit status.
pub fn main() -> ExitCode {
    let parsed = Cli::try_parse();
    // A hook that a quiet push runs is quiet too.
    let quiet = parsed.as_ref().is_ok_and(|cli| cli.quiet) || std::env::var_os(QUIET).is_some();
    let context = Context {
        output: Output::new(quiet),
    };
    let result = match parsed {
        Ok(cli) => dispatch(cli.command, &context),
        Err(said) => usage::answer(&said, &context.output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            context.output.error(&error);
            ExitCode::from(error.kind.status())
        }
    }
}

fn dispatch(command: Command, ctx: &Context) -> Result<()> {
    match command {
        Command::Init(args) => init::run(args, ctx),
        Command::Install(args) => install::run(args, ctx),
        Command::Uninstall(args) => install::undo(args, ctx),
        Command::Requirements(args) => requirements::run(&args, ctx),
        Command::Design(args) => design::run(args, ctx),
        Command::Push(args) => push::run(args, ctx),
        Command::Deploy(args) => deploy::run(args, ctx),
        Command::Status(args) => status::run(args, ctx),
        Command::Logs(args) => logs::run(args, ctx),
        Command::Attach(args) => attach::run(args, ctx),
        Command::Stop(args) => stop::run(args, ctx),
        Command::Wait(args) => wait::run(args, ctx),
        Command::Show(args) => show::run(args, ctx),
        Command::FetchResults(args) => fetch::run(args, ctx),
        Command::Review(args) => review::run(args, ctx),
        Command::Ssh(args) => ssh::run(args, ctx),
        Command::Trust(args) => trust::run(args, ctx),
        Command::Demo(args) => demo::run(args, ctx),
        Command::Hook(args) => hook::run(args, ctx),
    }
}
