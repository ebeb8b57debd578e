//! `git agile reproduce`.

mod prepare;
mod verdict;

use std::collections::BTreeSet;

use clap::{Args, Command, FromArgMatches};

use super::ahead::Ahead;
use super::fetch::{self, FetchArgs};
use super::look::{look, warn_unseen};
use super::select::{self, one};
use super::status::state_word;
use super::wait::until_ended;
use super::{Context, deploy, foresee};
use crate::deployment::connection::Asking;
use crate::development::records::{self, Record};
use crate::development::repository::Repository;
use crate::error::{Context as _, Error, Kind, Result};
use crate::model::run::RunState;
use crate::review::agreement::Tolerance;

/// Launch exactly what a record says once more, and say whether the metrics agree
///
/// Commit, parameters, command, environment and data are those of the record; what it does not hold, such as how to reach
/// the server, is what `agile.toml` says at the recorded commit. What cannot be had as it was is said, and nothing is
/// launched. A new attempt is launched, waited for, fetched and compared. The same command again continues where it was
/// interrupted and compares; it launches nothing a second time.
///
/// A run that reproduces another is no further measurement: `git agile review --group-by` does not count it beside that.
///
/// A metric is its last value. It agrees when it is at most ATOL + RTOL × |recorded value| away; whole numbers must be the
/// same unless a tolerance is given; NaN agrees with NaN.
#[derive(Debug, Args)]
pub struct ReproduceArgs {
    /// The run: any unambiguous beginning of its id, or `@` for the newest that reproduces no other
    run: String,
    /// On this server as it is configured now, instead of the one that the record names
    #[arg(long, short = 's', value_name = "NAME")]
    server: Option<String>,
    /// Launch another attempt although one has ended
    #[arg(long)]
    again: bool,
    /// Launch it and do not wait; the same command without this compares
    #[arg(long, conflicts_with = "json")]
    detach: bool,
    /// Say what would be launched where; the server is looked at, and nothing is changed
    #[arg(long, conflicts_with_all = ["json", "detach"])]
    dry_run: bool,
    /// How far a value may be from the recorded one, as a part of that; without it, 1e-5
    #[arg(long, value_name = "RTOL", value_parser = tolerance)]
    rtol: Option<f64>,
    /// How far a value may be from the recorded one, however small that is; without it, 1e-8
    #[arg(long, value_name = "ATOL", value_parser = tolerance)]
    atol: Option<f64>,
    /// A metric that does not count, such as one that is a time (repeatable)
    #[arg(long, value_name = "METRIC")]
    ignore: Vec<String>,
    /// Print a JSON object {runs, states, agrees, rtol, atol, metrics, environment, packages, files}
    #[arg(long)]
    json: bool,
}

fn tolerance(text: &str) -> Result<f64, String> {
    let value: f64 = text
        .parse()
        .map_err(|_| "write a number such as 1e-3".to_string())?;
    match value >= 0.0 && value.is_finite() {
        true => Ok(value),
        false => Err("it must be 0 or more".into()),
    }
}

impl ReproduceArgs {
    fn tolerance(&self) -> Tolerance {
        Tolerance {
            relative: self.rtol.unwrap_or(1e-5),
            absolute: self.atol.unwrap_or(1e-8),
            is_exact_for_whole: self.rtol.is_none() && self.atol.is_none(),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) for a run that is unknown or has not ended,
/// [`Kind::Config`](crate::error::Kind::Config) when something cannot be had as it was recorded,
/// [`Kind::Unreachable`](crate::error::Kind::Unreachable) or [`Kind::Step`](crate::error::Kind::Step) when a server
/// fails, and [`Kind::Check`](crate::error::Kind::Check) when the run fails or a metric does not agree.
pub fn run(args: ReproduceArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let all = select::all(ctx, &repository)?;
    let (original, named) = meant(&all, &args.run)?;
    let original = ended(ctx, &repository, original)?;
    let of_named = named.as_ref().map(|record| record.run.server.name.as_str());
    let elsewhere = of_named.filter(|name| *name != original.run.server.name.as_str());
    let place = args.server.clone().or(elsewhere.map(str::to_string));
    let place = place.as_deref();
    let newest = named.or_else(|| newest(&all, &original, place));
    let launched = match newest {
        Some(record) if record.known.state != RunState::Asked && !is_over(&args, &record) => {
            ctx.output
                .say(&format!("{}: launched before", record.run.id));
            record
        }
        newest => {
            let unconfirmed = newest.filter(|record| record.known.state == RunState::Asked);
            let prepared =
                prepare::prepare(ctx, &repository, &all, &original.run, place, unconfirmed)?;
            if args.dry_run {
                let prepare::Prepared { request, share, .. } = prepared;
                return foresee::run(ctx, &repository, &request, &[share], false);
            }
            launch(ctx, &repository, prepared)?
        }
    };
    if args.detach || args.dry_run {
        ctx.output.hint(&format!(
            "when it has ended, git agile reproduce {} compares",
            original.run.id
        ));
        return Ok(());
    }
    let launched = match until_ended(ctx, &repository, vec![launched], None)?.pop() {
        Some(launched) => launched,
        None => return Ok(()),
    };
    let mut pair = [original, launched];
    if let Err(error) = fetch(ctx, &repository, &pair) {
        // What stays on the server for good has been said, and keeps nobody from comparing the rest.
        let is_said = matches!(error.kind, Kind::Child(_));
        for record in &mut pair {
            let fresh = records::find(&repository, &record.run.id)?;
            let is_here = fetch::results(&repository, record).is_dir();
            match fresh.filter(|fresh| is_said && is_here && fresh.known.fetched.is_some()) {
                Some(fresh) => *record = fresh,
                None => return Err(error),
            }
        }
    }
    let ignored: BTreeSet<String> = args.ignore.iter().cloned().collect();
    verdict::give(
        ctx,
        &repository,
        &pair,
        &ignored,
        &args.tolerance(),
        args.json,
    )
}

/// The run that `name` means, and its reproduction if that is what `name` means. A run that reproduces another is out of
/// the way as long as one that does not is meant: the same words again mean the same run.
fn meant(all: &[Record], name: &str) -> Result<(Record, Option<Record>)> {
    let originals: Vec<Record> = all
        .iter()
        .filter(|record| record.run.reproduces.is_none())
        .cloned()
        .collect();
    let error = match one(&originals, name) {
        Ok(original) => return Ok((original.clone(), None)),
        Err(error) => error,
    };
    let Some(named) = all.iter().find(|record| record.run.id.as_str() == name) else {
        return Err(error);
    };
    let of = named.run.reproduces.as_ref();
    let original = all.iter().find(|record| Some(&record.run.id) == of);
    match original {
        Some(original) => Ok((original.clone(), Some(named.clone()))),
        None => Err(Error::usage(format!(
            "the record of the run that {name} reproduces is not here"
        ))
        .hint("git agile records fetch")),
    }
}

/// The newest run that reproduces `original` on the server that is meant.
fn newest(all: &[Record], original: &Record, server: Option<&str>) -> Option<Record> {
    let server = server.unwrap_or(original.run.server.name.as_str());
    let is_it = |record: &&Record| {
        record.run.reproduces.as_ref() == Some(&original.run.id)
            && record.run.server.name.as_str() == server
    };
    all.iter().rev().find(is_it).cloned()
}

/// Whether the person wants one more although there is `record`: not while that goes on.
fn is_over(args: &ReproduceArgs, record: &Record) -> bool {
    args.again && record.known.state.is_end()
}

/// The run to reproduce, if it ran to some end.
fn ended(ctx: &Context, repository: &Repository, record: Record) -> Result<Record> {
    let looked = look(
        repository,
        vec![record.clone()],
        Asking::OnTerminal(&ctx.output),
    );
    let (mut records, failures) = ctx.block_on(looked)?;
    warn_unseen(ctx, &failures);
    let record = records.pop().unwrap_or(record);
    if record.known.state.is_end() {
        return Ok(record);
    }
    let id = &record.run.id;
    let state = state_word(&record.known);
    let error = Error::usage(format!("{id} is {state}: there is nothing to compare with"));
    Err(match record.known.is_unlaunched() {
        true => error.hint(format!("git agile deploy {}", record.run.commit.short())),
        false => error.hint(format!("git agile wait {id}")),
    })
}

/// Launches what is prepared, and gives its record.
fn launch(ctx: &Context, repository: &Repository, prepared: prepare::Prepared) -> Result<Record> {
    let prepare::Prepared { request, share, id } = prepared;
    let ahead = &mut Ahead::default();
    deploy::execute(ctx, repository, &request, vec![share], ahead)?;
    records::find(repository, &id)?
        .ok_or_else(|| Error::step(format!("the record of run {id} is gone")))
}

/// Brings those results home that are not here.
fn fetch(ctx: &Context, repository: &Repository, pair: &[Record]) -> Result<()> {
    let results = repository.root().join("results");
    let is_missing = |record: &&Record| {
        record.known.fetched.is_none() || !results.join(record.run.id.as_str()).is_dir()
    };
    let missing: Vec<&Record> = pair.iter().filter(is_missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if let Some(gone) = missing.iter().find(|record| record.known.removed.is_some()) {
        return Err(Error::step(format!(
            "the results of {} are not here, and {} does not have them any more",
            gone.run.id, gone.run.server.name
        ))
        .hint("whoever fetched them before has them; there is nothing else to compare with"));
    }
    let ids = missing.iter().map(|record| record.run.id.as_str());
    let words = std::iter::once("fetch-results").chain(ids);
    let matches = FetchArgs::augment_args(Command::new("fetch-results"))
        .try_get_matches_from(words)
        .or_step(|| "cannot fetch".into())?;
    let args = FetchArgs::from_arg_matches(&matches).or_step(|| "cannot fetch".into())?;
    fetch::run(args, ctx)
}
