//! The command line: one small file per command, with its arguments, what it calls and what it prints.

mod agree;
mod ahead;
mod attach;
mod clean;
mod complete;
mod completions;
mod context;
mod demo;
mod deploy;
mod design;
mod doctor;
mod fetch;
mod foresee;
mod help;
mod hook;
mod init;
mod install;
mod log;
mod logs;
mod look;
mod manners;
mod plan;
mod push;
mod records;
mod reproduce;
mod requirements;
mod review;
mod seen;
mod select;
mod show;
mod ssh;
mod status;
mod stop;
mod trust;
mod usage;
mod wait;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use context::Context;

use crate::error::{Kind, Result, statuses};
use crate::terminal::{Output, clean};

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
#[command(after_help = exit_statuses(), disable_help_subcommand = true)]
pub struct Cli {
    /// Print errors, warnings and data only
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::InitArgs),
    Install(install::InstallArgs),
    Uninstall(install::UninstallArgs),
    Doctor(doctor::DoctorArgs),
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
    Review(Box<review::ReviewArgs>),
    Reproduce(reproduce::ReproduceArgs),
    Log(log::LogArgs),
    Records(records::RecordsArgs),
    Ssh(ssh::SshArgs),
    Trust(trust::TrustArgs),
    Clean(clean::CleanArgs),
    Demo(demo::DemoArgs),
    Completions(completions::CompletionsArgs),
    Help(help::HelpArgs),
    #[command(hide = true)]
    Hook(hook::HookArgs),
    #[command(hide = true)]
    Complete(complete::CompleteArgs),
}

impl Cli {
    fn is_quiet(&self) -> bool {
        self.quiet || matches!(&self.command, Command::Push(args) if args.is_quiet())
    }
}

fn exit_statuses() -> String {
    let each = statuses().map(|(status, meaning)| format!("{status} {meaning}"));
    format!("Exit status: {}.", each.join(", "))
}

/// Set for the hooks that a quiet command runs.
const QUIET: &str = "GIT_AGILE_QUIET";

/// Runs the program with the arguments it was started with, and gives its exit status.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(end_on_mistake));
    let parsed = Cli::try_parse();
    // A hook that a quiet push runs is quiet too.
    let quiet = parsed.as_ref().is_ok_and(Cli::is_quiet) || std::env::var_os(QUIET).is_some();
    let context = Context::new(Output::new(quiet, manners::colour()));
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

/// Ends the program as any other error does where it cannot go on: without a core file, which might hold a token.
fn end_on_mistake(panic: &std::panic::PanicHookInfo) {
    let (what, place) = (panic.payload_as_str(), panic.location());
    let what = clean(what.unwrap_or("no message"));
    let place = place.map_or_else(String::new, |place| format!(" ({place})"));
    let mut stderr = std::io::stderr().lock();
    // Who does not read it needs no message.
    let _ = writeln!(
        stderr,
        "error: git-agile cannot go on: {what}{place}\n\
         hint: what was done so far stands; the same command continues. If it ends here again, please report it"
    );
    std::process::exit(Kind::Step.status().into());
}

fn dispatch(command: Command, ctx: &Context) -> Result<()> {
    match command {
        Command::Init(args) => init::run(args, ctx),
        Command::Install(args) => install::run(args, ctx),
        Command::Uninstall(args) => install::undo(args, ctx),
        Command::Doctor(args) => doctor::run(args, ctx),
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
        Command::Review(args) => review::run(&args, ctx),
        Command::Reproduce(args) => reproduce::run(args, ctx),
        Command::Log(args) => log::run(args, ctx),
        Command::Records(args) => records::run(args, ctx),
        Command::Ssh(args) => ssh::run(args, ctx),
        Command::Trust(args) => trust::run(args, ctx),
        Command::Clean(args) => clean::run(args, ctx),
        Command::Demo(args) => demo::run(args, ctx),
        Command::Completions(args) => completions::run(args, ctx),
        Command::Help(args) => help::run(args, ctx),
        Command::Hook(args) => hook::run(args, ctx),
        Command::Complete(args) => complete::run(&args, ctx),
    }
}
