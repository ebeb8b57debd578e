//! `git agile ssh`.

use clap::Args;

use super::Context;
use super::agree::{agree_to, default_git_host};
use super::look::{check_trust, server_of};
use super::select;
use crate::deployment::connection::{Asking, Connection};
use crate::deployment::trust::Agreements;
use crate::development::repository::Repository;
use crate::error::{Context as _, Error, Result};
use crate::model::config::Server;

/// A shell, or a command, on a server, through the connection that is open already
#[derive(Debug, Args)]
pub struct SshArgs {
    /// The server's name in agile.toml
    server: String,
    /// A command for its shell
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) for an unknown server, and the command's own status.
pub fn run(args: SshArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let config = ctx.config(&repository, repository.commit("HEAD")?)?;
    let server = match config.server(&args.server) {
        Ok(server) => {
            let git_host = default_git_host(&repository, &config)?;
            agree_to(ctx, &repository, std::slice::from_ref(server), &git_host)
                .into_iter()
                .collect::<Result<()>>()?;
            server.clone()
        }
        Err(error) => {
            let server = recorded(ctx, &repository, &args.server)?.ok_or(error)?;
            check_trust(&Agreements::load()?, &repository, &server)?;
            server
        }
    };
    let connection = ctx.block_on(Connection::open(&server, Asking::OnTerminal(&ctx.output)))?;
    let text = (!args.command.is_empty()).then(|| args.command.join(" "));
    let status = connection
        .terminal_command(text.as_deref())?
        .status()
        .or_step(|| "cannot run ssh".into())?;
    match status.code() {
        Some(0) => Ok(()),
        code => Err(Error::child(
            code.and_then(|code| u8::try_from(code).ok()).unwrap_or(5),
        )),
    }
}

/// The server of this name that has runs, though it has another name by now or is in no configuration any more.
fn recorded(ctx: &Context, repository: &Repository, name: &str) -> Result<Option<Server>> {
    let records = select::all(ctx, repository)?;
    let newest = records
        .iter()
        .rfind(|it| it.run.server.name.as_str() == name);
    Ok(newest.map(|record| server_of(&record.run.server)))
}
