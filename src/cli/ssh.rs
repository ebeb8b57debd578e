//! `git agile ssh`.

use clap::Args;

use super::Context;
use super::deploy::{agree_to, default_git_host};
use crate::deployment::connection::{Asking, Connection};
use crate::error::{Context as _, Error, Result};

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
    let server = config.server(&args.server)?;
    let git_host = default_git_host(&repository, &config)?;
    agree_to(ctx, &repository, std::slice::from_ref(server), &git_host)
        .into_iter()
        .collect::<Result<()>>()?;
    let connection = ctx.block_on(Connection::open(server, Asking::OnTerminal(&ctx.output)))?;
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
