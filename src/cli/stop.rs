//! `git agile stop`.

use clap::Args;
use futures_util::{StreamExt, stream};

use super::Context;
use super::deploy::conclude;
use super::look::{self, by_place, check_trust, jobs, now};
use super::select::Selection;
use super::status::state_word;
use crate::deployment::connection::{Asking, Connection};
use crate::deployment::observe::{Deed, Sighting, sightings};
use crate::deployment::trust::Agreements;
use crate::deployment::{scripts, slurm};
use crate::development::records::{self, Record};
use crate::development::repository::Repository;
use crate::error::{Error, Result};
use crate::model::names::RunId;
use crate::model::run::RunState;
use crate::terminal::count;

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
    /// Take for stopped what runs on a machine, or lies in a folder, that is no more or has another name now. A run that goes
    /// on there after all is not ended
    #[arg(long)]
    gone: bool,
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
        if !ctx.confirm(&format!("Stop {}?", count(active.len(), "run")))? {
            return Ok(());
        }
    }
    ctx.if_interrupted(
        "the servers go on ending what they were asked to end",
        "git agile status",
    )?;
    let agreements = Agreements::load()?;
    let answers = ctx.block_on(async {
        let calls = by_place(&active).into_iter().map(|(server, runs)| {
            let (repository, agreements) = (&repository, &agreements);
            async move {
                let result = async {
                    check_trust(agreements, repository, &server)?;
                    let asking = Asking::OnTerminal(&ctx.output);
                    let mut connection = Connection::open(&server, asking).await?;
                    let call = scripts::stop(&server.path, args.grace, args.gone, &runs);
                    connection.call(&call, |_| {}).await
                };
                let result = result.await;
                (server, runs, result)
            }
        });
        Ok(stream::iter(calls)
            .buffered(jobs()?)
            .collect::<Vec<_>>()
            .await)
    })?;
    let mut failures = Vec::new();
    for (server, runs, answer) in answers {
        match answer {
            Err(error) => failures.push(error),
            Ok(answer) => {
                failures.extend(slurm::unseen(&server, &answer));
                let seen = sightings(&answer, Some(now()));
                // A disk that is not mounted says nothing of its runs.
                if answer.iter().any(|line| line[0] == "nothing") && !args.gone {
                    let (name, path) = (&server.name, &server.path);
                    let said = format!("{name}: there is no {path}");
                    failures.push(Error::step(said).hint(format!(
                        "is it mounted there? If it was removed: git agile stop --gone {}",
                        runs[0]
                    )));
                    continue;
                }
                for id in &runs {
                    failures.extend(take_in(ctx, &repository, id, seen.get(id))?);
                }
            }
        }
    }
    conclude(ctx, failures)
}

/// Records what became of a run that was to be stopped, and says it; gives the error when it may still be going on.
fn take_in(
    ctx: &Context,
    repository: &Repository,
    id: &RunId,
    sighting: Option<&Sighting>,
) -> Result<Option<Error>> {
    let time = now();
    let Some(sighting) = sighting else {
        let record = records::update(repository, id, &[], |known| match known.state {
            RunState::Queued | RunState::Running => known.given_up(time),
            _ => known.clone(),
        })?;
        if record.known.state.is_end() {
            ctx.output.say(&format!(
                "{id}: {}, for its folder is gone",
                record.known.state
            ));
            let server = &record.run.server.name;
            ctx.output.hint(&format!(
                "git agile ssh {server} ps ux shows what may be left of it"
            ));
            return Ok(None);
        }
        return Ok(Some(
            Error::step(format!("{id}: the server knows nothing of this run"))
                .hint(format!("git agile show {id} tells where it was launched")),
        ));
    };
    let record = look::take_in(repository, id, sighting, time)?;
    let state = state_word(&record.known);
    let server = &record.run.server.name;
    let error = match sighting.deed {
        Deed::Resisted => Error::step(format!("{id}: some of its processes are still there"))
            .hint(format!("git agile ssh {server} ps ux")),
        Deed::OutOfReach => Error::step(format!(
            "{id}: it runs on another machine that shares the folder of {server}"
        ))
        .hint(format!(
            "stop it from a server whose `host` is that machine; if that is no more: git agile stop --gone {id}"
        )),
        _ if !record.known.state.is_end() => {
            Error::step(format!("{id}: it may still be going on ({state})"))
                .hint(format!("git agile stop {id}"))
        }
        Deed::HadEnded => {
            ctx.output.say(&format!("{id} had ended already: {state}"));
            return Ok(None);
        }
        _ => {
            ctx.output.say(&format!("{id}: {state}"));
            return Ok(None);
        }
    };
    Ok(Some(error))
}
