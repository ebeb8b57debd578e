//! `git agile show`.

use clap::Args;
use serde_json::{Value, json};

use super::Context;
use super::look::look;
use super::select::one_run;
use super::status::{clock, parameters, state_word};
use crate::deployment::connection::Asking;
use crate::development::records::Record;
use crate::error::Result;
use crate::terminal::clean;

/// The whole record of one run
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The run: any unambiguous beginning of its id, or `@` for the newest
    #[arg(default_value = "@")]
    run: String,
    /// Print a JSON object: what `run.json` says, and `state`, `since`, `started`, `exit`, `note`, `seen`, `fetched`
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) for a name that means no run.
pub fn run(args: ShowArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let record = one_run(ctx, &repository, &args.run)?;
    let (records, failures) = ctx.block_on(look(&repository, vec![record], Asking::Never))?;
    super::look::warn_unseen(ctx, &failures);
    for record in &records {
        if args.json {
            ctx.output.json(&json(record))?;
        } else {
            print(ctx, record)?;
        }
    }
    Ok(())
}

/// A run as `--json` shows it: the fields of `run.json` and of what is known, in one object.
pub fn json(record: &Record) -> Value {
    let mut object = json!(record.run);
    if let (Value::Object(object), Value::Object(known)) = (&mut object, json!(record.known)) {
        object.extend(known);
    }
    object
}

fn print(ctx: &Context, record: &Record) -> Result<()> {
    let (run, known) = (&record.run, &record.known);
    let mut lines = vec![
        ("run", run.id.to_string()),
        ("state", state_word(known)),
        ("experiment", run.experiment.to_string()),
        ("parameters", parameters(run)),
        ("command", run.command.clone()),
        ("commit", format!("{} {}", run.commit, run.subject)),
        (
            "server",
            format!(
                "{} ({}:{})",
                run.server.name, run.server.host, run.server.path
            ),
        ),
        ("environment", run.environment.key.clone()),
        ("asked", format!("{} by {}", clock(run.asked), run.by)),
    ];
    let ended_or_since = if known.state.is_end() {
        "ended"
    } else {
        "since"
    };
    let times = [
        ("started", known.started),
        (ended_or_since, known.since),
        ("seen", known.seen),
        ("fetched", known.fetched),
    ];
    lines.extend(
        times
            .into_iter()
            .filter_map(|(name, time)| Some((name, clock(time?)))),
    );
    lines.extend(known.exit.map(|exit| ("exit", exit.to_string())));
    lines.extend(known.note.clone().map(|note| ("note", note)));
    for (name, value) in lines {
        ctx.output.data(&format!("{name:<12} {}", clean(&value)))?;
    }
    Ok(())
}
