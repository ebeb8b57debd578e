//! `git agile stop`.

use clap::Args;
use futures_util::{StreamExt, stream};

use super::Context;
use super::look::{JOBS, by_place, check_trust, now};
use super::select::Selection;
use super::status::state_word;
use crate::deployment::connection::{Asking, Connection};
use crate::deployment::observe::{Deed, learn, sightings};
use crate::deployment::scripts;
use crate::deployment::trust::Agreements;
use crate::development::records::{self, Record};
use crate::error::{Error, Result};

/// End runs: the whole process tree, by TERM, then after a grace by KILL
#[derive(Debug, Args)]
pub struct StopArgs {
    #[command(flatten)]
    selection: Selection,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Seconds between TERM and KILL
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    grace: u32,
}

/// Runs the command.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) without a terminal and without `--yes`;
/// [`Kind::Unreachable`](crate::error::Kind::Unreachable) or [`Kind::Step`](crate::error::Kind::Step) when a run may
/// still be going on.
pub fn run(args: StopArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let records = args.selection.records(ctx, &repository)?;
    let active: Vec<Record> = records
        .into_iter()
        .filter(|record| record.known.is_open())
        .collect();
    if active.is_empty() {
        ctx.output.say("None of these runs is going on.");
        return Ok(());
    }
    if !args.yes {
        for record in &active {
            ctx.output.say(&format!(
                "  {} on {}",
                record.run.id, record.run.server.name
            ));
        }
        if !ctx.can_ask() {
            return Err(Error::usage("stop asks first, and there is no terminal")
                .hint("git agile stop --yes …"));
        }
        if !ctx.confirm(&format!("Stop {} runs?", active.len()))? {
            return Ok(());
        }
    }
    let agreements = Agreements::load()?;
    let answers = ctx.block_on(async {
        let calls = by_place(&active).into_iter().map(|(server, runs)| {
            let (repository, agreements) = (&repository, &agreements);
            async move {
                check_trust(agreements, repository, &server)?;
                let mut connection =
                    Connection::open(&server, Asking::OnTerminal(&ctx.output)).await?;
                connection
                    .call(&scripts::stop(&server.path, args.grace, &runs), |_| {})
                    .await
            }
        });
        Ok(stream::iter(calls).buffered(JOBS).collect::<Vec<_>>().await)
    })?;
    let mut worst = None;
    let mut complain = |error: Error| {
        ctx.output.error(&error);
        worst = worst.max(Some(error.kind.status()));
    };
    for answer in answers {
        let seen = match answer {
            Ok(answer) => sightings(&answer).0,
            Err(error) => {
                complain(error);
                continue;
            }
        };
        for (id, sighting) in seen
            .iter()
            .filter(|(id, _)| active.iter().any(|record| record.run.id == **id))
        {
            let time = now();
            let record = records::update(&repository, id, &[], |known| {
                learn(known, sighting.facts.as_ref(), time)
            })?;
            match sighting.deed {
                Deed::Resisted => complain(
                    Error::step(format!("{id}: some of its processes are still there"))
                        .hint(format!("git agile ssh {} ps ux", record.run.server.name)),
                ),
                Deed::HadEnded => {
                    ctx.output.say(&format!(
                        "{id} had ended already: {}",
                        state_word(&record.known)
                    ));
                }
                _ => ctx
                    .output
                    .say(&format!("{id}: {}", state_word(&record.known))),
            }
        }
    }
    match worst {
        Some(status) => Err(Error::child(status)),
        None => Ok(()),
    }
}
