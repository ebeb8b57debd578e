//! `git agile attach`.

use std::io::IsTerminal;

use clap::Args;

use super::Context;
use super::look::{check_trust, look, server_of};
use super::select::one_run;
use super::status::state_word;
use crate::deployment::connection::{Asking, Connection};
use crate::deployment::scripts;
use crate::deployment::trust::Agreements;
use crate::development::records::Record;
use crate::error::{Context as _, Error, Result};
use crate::model::run::RunState;

/// Bring a run's screen or tmux session to this terminal
///
/// Detach with ^A d (screen) or ^B d (tmux); the run goes on. ^C reaches the program.
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// The run: any unambiguous beginning of its id, or `@` for the newest
    #[arg(default_value = "@")]
    run: String,
}

/// Runs the command.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) without a terminal or for a run that has ended, and the status of the session's program.
pub fn run(args: AttachArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let record = one_run(ctx, &repository, &args.run)?;
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Error::usage("attach needs a terminal")
            .hint(format!("git agile logs -f {}", record.run.id)));
    }
    let server = server_of(&record.run.server);
    check_trust(&Agreements::load()?, &repository, &server)?;
    let (seen, _) = ctx.block_on(look(
        &repository,
        vec![record.clone()],
        Asking::OnTerminal(&ctx.output),
    ))?;
    if let Some(record) = seen.first()
        && let Some(hint) = instead(record)
    {
        let state = state_word(&record.known);
        let said = format!("run {} cannot be attached: {state}", record.run.id);
        return Err(Error::usage(said).hint(hint));
    }
    let connection = ctx.block_on(Connection::open(&server, Asking::OnTerminal(&ctx.output)))?;
    let mut command =
        connection.terminal_command(Some(&scripts::attach(&server.path, &record.run.id)))?;
    let status = command
        .status()
        .or_step(|| format!("cannot attach to run {}", record.run.id))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(255) => Err(Error::unreachable(format!(
            "{}: the connection was lost; the run goes on",
            server.name
        ))
        .hint(format!("git agile attach {}", record.run.id))),
        code => Err(Error::child(
            code.and_then(|code| u8::try_from(code).ok()).unwrap_or(5),
        )),
    }
}

/// What to run where there is no session.
fn instead(record: &Record) -> Option<String> {
    let run = &record.run;
    match record.known.state {
        _ if record.known.is_unlaunched() => Some(format!("git agile deploy {}", run.commit)),
        state if state.is_end() => Some(format!("git agile logs {}", run.id)),
        RunState::Queued => Some("git agile status --watch".to_string()),
        _ => None,
    }
}
