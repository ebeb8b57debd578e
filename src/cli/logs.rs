//! `git agile logs`.

use std::io::ErrorKind;

use clap::Args;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::Context;
use super::fetch::log_file;
use super::look::{check_trust, server_of};
use super::select::one_run;
use crate::deployment::connection::{Asking, Connection, LONG_SILENCE};
use crate::deployment::scripts;
use crate::deployment::trust::Agreements;
use crate::error::{Error, Kind, Result};
use crate::terminal::Escaper;

/// What a run has printed
///
/// A log that grows beyond 1 GiB begins anew. What it had is kept in `log.1` beside it, until that happens again.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The run: any unambiguous beginning of its id, or `@` for the newest
    #[arg(default_value = "@")]
    run: String,
    /// Show more as it comes, until the run ends
    #[arg(long, short)]
    follow: bool,
    /// Show the last N lines; without it all of them, or the last 10 with --follow
    #[arg(long, short = 'n', value_name = "N")]
    lines: Option<u32>,
}

/// Runs the command: byte for byte into a file or pipe, escaped on a terminal.
///
/// # Errors
/// [`Kind::Unreachable`](crate::error::Kind::Unreachable), or [`Kind::Step`](crate::error::Kind::Step) when the server
/// has no log of the run.
pub fn run(args: LogsArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let record = one_run(ctx, &repository, &args.run)?;
    let server = server_of(&record.run.server);
    let run = &record.run;
    if record.known.removed.is_some() {
        let said = format!("run {} was removed from {}", run.id, server.name);
        let log = log_file(&repository, &record);
        let hint = match log.exists() {
            true => format!("less {}", log.display()),
            false => format!("git agile show {}", run.id),
        };
        return Err(Error::step(said).hint(hint));
    }
    check_trust(&Agreements::load()?, &repository, &server)?;
    let lines = args.lines.or(args.follow.then_some(10));
    let call = scripts::logs(&server.path, &record.run.id, lines, args.follow);
    let mut escaper = ctx.output.is_read().then(Escaper::default);
    let printed = ctx.block_on(async {
        let mut connection = Connection::open(&server, Asking::OnTerminal(&ctx.output)).await?;
        let lost = || {
            let again = if args.follow { "logs -f" } else { "logs" };
            Error::unreachable(format!("{}: the connection was lost", server.name))
                .hint(format!("git agile {again} {}", record.run.id))
        };
        let mut is_empty = true;
        let print = async |stream: &mut (dyn AsyncRead + Unpin + Send)| {
            let mut buffer = vec![0u8; 64 << 10];
            loop {
                let read = stream.read(&mut buffer);
                let read = match args.follow {
                    true => read.await,
                    false => (timeout(LONG_SILENCE, read).await)
                        .unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())),
                };
                let count = read.map_err(|error| lost().cause(error))?;
                if count == 0 {
                    return Ok(());
                }
                is_empty = false;
                match &mut escaper {
                    Some(escaper) => ctx.output.bytes(&escaper.escape(&buffer[..count]))?,
                    None => ctx.output.bytes(&buffer[..count])?,
                }
            }
        };
        let ((), is_whole) = connection.follow(&call, print).await?;
        if is_empty && is_whole {
            let said = format!("{} has printed nothing yet", run.id);
            ctx.output.say(&said);
            ctx.output.hint(&format!("git agile status {}", run.id));
        }
        if is_whole { Ok(()) } else { Err(lost()) }
    });
    match printed {
        Err(error) if error.kind == Kind::Step && record.known.is_unlaunched() => {
            let said = format!("run {} was not launched", run.id);
            Err(Error::step(said).hint(format!("git agile deploy {}", run.commit)))
        }
        printed => printed,
    }
}
