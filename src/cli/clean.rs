//! `git agile clean`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use futures_util::{StreamExt, stream};
use indicatif::BinaryBytes;
use serde::Serialize;

use super::Context;
use super::fetch::manifests;
use super::look::{check_trust, jobs, now, server_of};
use super::select::{all, as_here};
use crate::deployment::connection::{Asking, Connection};
use crate::deployment::protocol::Answer;
use crate::deployment::scripts;
use crate::deployment::trust::Agreements;
use crate::development::records::{self, Record};
use crate::development::repository::Repository;
use crate::error::{Error, Result};
use crate::model::config::{Server, Span};
use crate::model::names::RunId;
use crate::model::run::Known;
use crate::terminal::{Stream, Style, Table, clean, count};

/// Remove old runs, environments and data from the servers
///
/// What is removed is shown first, with its size. A run that goes on or waits is never touched, and neither is one whose
/// results have not come home or differ from what did. An environment or data set goes when no run that stays uses it.
/// The runs' records stay; of a run that somebody else removed, they say so from then on. What an experiment's `results`
/// does not name goes with its run.
#[derive(Debug, Args)]
pub struct CleanArgs {
    /// Only these servers
    #[arg(value_name = "SERVER")]
    servers: Vec<String>,
    /// Runs (without any of these three: all of them)
    #[arg(long)]
    runs: bool,
    /// Environments
    #[arg(long)]
    environments: bool,
    /// Data sets
    #[arg(long)]
    data: bool,
    /// Only what ended, or was made, so long ago, such as `30d`; in whole days, a part of one counts as one
    #[arg(long, value_name = "TIME", value_parser = |text: &str| Span::try_from(text.to_string()))]
    older_than: Option<Span>,
    /// Runs too whose results were not fetched: these results are lost
    #[arg(long)]
    force: bool,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print a JSON array, one object a server: `server`, `remove` and `keep`, each a list of `thing`, `bytes`, `why`
    #[arg(long)]
    json: bool,
}

/// One thing that lies on a server.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Thing {
    /// `runs/ID`, `envs/NAME`, `data/SHA256` or `left/NAME`.
    thing: String,
    bytes: u64,
    /// Why it goes, or stays.
    why: &'static str,
    /// Whether its results are lost with it.
    #[serde(skip)]
    is_lost: bool,
}

/// What is to be done on one server.
#[derive(Debug, Serialize)]
struct Plan {
    server: String,
    remove: Vec<Thing>,
    keep: Vec<Thing>,
}

/// Runs the command.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) without a terminal and without `--yes`, or for an unknown server;
/// [`Kind::Unreachable`](crate::error::Kind::Unreachable) or [`Kind::Step`](crate::error::Kind::Step) for servers that
/// were not cleaned.
pub fn run(args: CleanArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let places = places(ctx, &repository, &args.servers)?;
    let agreements = Agreements::load()?;
    let (args, all) = (&args, &places);
    let planned = ctx.block_on(async {
        let (repository, agreements) = (&repository, &agreements);
        let plans = all.iter().map(|(server, records)| async move {
            check_trust(agreements, repository, server)?;
            let mut connection = Connection::open(server, Asking::OnTerminal(&ctx.output)).await?;
            plan(ctx, repository, &mut connection, args, records).await
        });
        Ok(stream::iter(plans)
            .buffered(jobs()?)
            .collect::<Vec<_>>()
            .await)
    })?;
    let (mut plans, mut failures) = (Vec::new(), Vec::new());
    for ((server, _), result) in places.iter().zip(planned) {
        match result {
            Ok(plan) => plans.push((server, plan)),
            Err(error) => failures.push(error),
        }
    }
    if args.json {
        let shown: Vec<_> = plans.iter().map(|(_, plan)| plan).collect();
        ctx.output.json(&shown)?;
    } else {
        for (_, plan) in &plans {
            show(ctx, plan)?;
        }
    }
    let things: Vec<&Thing> = plans.iter().flat_map(|(_, plan)| &plan.remove).collect();
    if things.is_empty() {
        // Of a server that was not seen, nobody knows.
        if failures.is_empty() {
            ctx.output.say("Nothing to remove.");
        }
    } else if !args.dry_run && may_remove(ctx, args, &things)? {
        let done = ctx.block_on(async {
            let all = plans.iter().filter(|(_, plan)| !plan.remove.is_empty());
            let removals = all.map(|(server, plan)| remove(ctx, &repository, server, plan));
            Ok(stream::iter(removals)
                .buffered(jobs()?)
                .collect::<Vec<_>>()
                .await)
        })?;
        failures.extend(done.into_iter().flatten());
        ctx.output
            .say("The runs' records stay: git agile status --all");
    }
    super::deploy::conclude(ctx, failures)
}

/// The folders on servers that runs are known to be in, with their records.
fn places(
    ctx: &Context,
    repository: &Repository,
    names: &[String],
) -> Result<Vec<(Server, Vec<Record>)>> {
    let mut places: Vec<(Server, Vec<Record>)> = Vec::new();
    for record in as_here(repository, all(ctx, repository)?) {
        let server = server_of(&record.run.server);
        if !names.is_empty() && !names.iter().any(|name| name == server.name.as_str()) {
            continue;
        }
        match places.iter_mut().find(|(other, _)| *other == server) {
            Some((_, records)) => records.push(record),
            None => places.push((server, vec![record])),
        }
    }
    for name in names {
        if !places
            .iter()
            .any(|(server, _)| server.name.as_str() == name)
        {
            let said = format!("no run was launched on a server `{}`", clean(name));
            return Err(Error::usage(said).hint("git agile status --all"));
        }
    }
    Ok(places)
}

/// What a server has, and what of it goes.
async fn plan(
    ctx: &Context,
    repository: &Repository,
    connection: &mut Connection,
    args: &CleanArgs,
    records: &[Record],
) -> Result<Plan> {
    let days = args
        .older_than
        .map_or(0, |span| span.seconds().div_ceil(86_400));
    let server = connection.server().clone();
    let bar = ctx
        .output
        .progress()
        .add(indicatif::ProgressBar::new_spinner());
    bar.set_message(format!("{}: measuring", server.name));
    let answer = connection
        .call(&scripts::list_things(&server.path, days), |_| {})
        .await;
    let answer = answer.inspect_err(|_| bar.finish_and_clear())?;
    let found = Found::read(&answer);
    let fetched: Vec<&Record> = records
        .iter()
        .filter(|record| record.known.fetched.is_some() && found.has_run(record))
        .collect();
    let now = match fetched.is_empty() {
        true => Ok(Vec::new()),
        false => {
            bar.set_message(format!("{}: comparing results", server.name));
            manifests(connection, &fetched).await
        }
    };
    bar.finish_and_clear();
    ctx.output.progress().remove(&bar);
    let is_home: BTreeSet<&str> = fetched
        .iter()
        .zip(now?)
        .filter(|(record, now)| {
            now.is_some() && *now == records::attachment(repository, record, "manifest.json")
        })
        .map(|(record, _)| record.run.id.as_str())
        .collect();
    Ok(decide(
        server.name.to_string(),
        &found,
        args,
        records,
        &is_home,
    ))
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It goes on, or waits.
    Going,
    /// It has ended, or this is no run.
    Over,
    /// It has never begun, and will not.
    NeverBegun,
}

/// What a server says that it has.
#[derive(Debug, Default)]
struct Found {
    /// Thing, bytes, whether it is old enough, and how far a run has come.
    items: Vec<(String, u64, bool, Stage)>,
    /// Whether the folder of runs is there: without it, its disk may not be mounted.
    has_runs: bool,
    /// What each run stands on.
    uses: BTreeMap<String, BTreeSet<String>>,
}

impl Found {
    fn read(answer: &Answer) -> Self {
        let mut found = Found::default();
        for line in answer {
            let fields: Vec<&str> = line.iter().map(String::as_str).collect();
            match fields.as_slice() {
                ["item", thing, size, age, over, ..] => found.items.push((
                    thing.to_string(),
                    size.parse::<u64>().unwrap_or(0).saturating_mul(1024),
                    *age == "old",
                    match *over {
                        "over" => Stage::Over,
                        "never" => Stage::NeverBegun,
                        _ => Stage::Going,
                    },
                )),
                ["runs"] => found.has_runs = true,
                ["uses", run, things] => {
                    let things = things.split_whitespace().map(str::to_string);
                    found.uses.insert(run.to_string(), things.collect());
                }
                _ => {}
            }
        }
        found
    }

    fn has_run(&self, record: &Record) -> bool {
        let name = format!("runs/{}", record.run.id);
        self.items
            .iter()
            .any(|(thing, _, _, stage)| *thing == name && *stage != Stage::Going)
    }

    /// Whether a run that had ended was removed by somebody.
    fn is_gone(&self, record: &Record) -> bool {
        let name = format!("runs/{}", record.run.id);
        let known = &record.known;
        self.has_runs
            && known.state.is_end()
            && !known.is_unlaunched()
            && known.removed.is_none()
            && self.items.iter().all(|(thing, ..)| *thing != name)
    }
}

/// What goes and what stays; `is_home` are the runs whose results are here as they are there.
fn decide(
    server: String,
    found: &Found,
    args: &CleanArgs,
    records: &[Record],
    is_home: &BTreeSet<&str>,
) -> Plan {
    let is_all = !args.runs && !args.environments && !args.data;
    let mut plan = Plan {
        server,
        remove: Vec::new(),
        keep: Vec::new(),
    };
    let mut used: BTreeSet<&str> = BTreeSet::new();
    for (thing, bytes, is_old, stage) in &found.items {
        let mut put = |goes: bool, why: &'static str, is_lost: bool| {
            let thing = Thing {
                thing: thing.clone(),
                bytes: *bytes,
                why,
                is_lost,
            };
            match goes {
                true => plan.remove.push(thing),
                false => plan.keep.push(thing),
            }
            goes
        };
        let (kind, name) = thing.split_once('/').unwrap_or((thing, ""));
        let goes = match kind {
            "runs" => {
                let record = records.iter().find(|record| record.run.id.as_str() == name);
                match record {
                    None => put(false, "not known here", false),
                    _ if *stage == Stage::Going => put(false, "goes on, or waits", false),
                    _ if !args.runs && !is_all => put(false, "not asked for", false),
                    _ if !is_old => put(false, "not old enough", false),
                    Some(record) if record.known.is_unlaunched() && *stage == Stage::NeverBegun => {
                        put(true, "never launched", false)
                    }
                    _ if is_home.contains(name) => put(true, "fetched", false),
                    Some(record) if record.known.fetched.is_some() => {
                        put(args.force, "differs from what was fetched", true)
                    }
                    _ => put(args.force, "not fetched", true),
                }
            }
            "envs" if !args.environments && !is_all => put(false, "not asked for", false),
            "data" if !args.data && !is_all => put(false, "not asked for", false),
            _ if used.contains(thing.as_str()) => put(false, "used by a run that stays", false),
            _ if !is_old => put(false, "not old enough", false),
            "left" => put(true, "left by something that was interrupted", false),
            _ => put(true, "used by no run that stays", false),
        };
        // The server lists its runs first.
        if kind == "runs" && !goes {
            used.extend(
                found
                    .uses
                    .get(name)
                    .into_iter()
                    .flatten()
                    .map(String::as_str),
            );
        }
    }
    // Where there is no run at all, their disk may not be mounted.
    let has_some = found
        .items
        .iter()
        .any(|(thing, ..)| thing.starts_with("runs/"));
    if (args.runs || is_all) && args.older_than.is_none() && (has_some || args.force) {
        let gone = records.iter().filter(|record| found.is_gone(record));
        plan.remove.extend(gone.map(|record| Thing {
            thing: format!("runs/{}", record.run.id),
            bytes: 0,
            why: "gone already",
            is_lost: false,
        }));
    }
    plan
}

fn show(ctx: &Context, plan: &Plan) -> Result<()> {
    let total: u64 = plan.remove.iter().map(|thing| thing.bytes).sum();
    let head = match plan.remove.len() {
        0 => format!("{}: nothing to remove", plan.server),
        things => format!(
            "{}: {}, {}",
            plan.server,
            count(things, "thing"),
            BinaryBytes(total)
        ),
    };
    ctx.output
        .data(&ctx.output.paint(Stream::Data, Style::Bold, &head))?;
    let mut table = Table::new(&["", ">", ""]);
    for thing in &plan.remove {
        table.row([
            thing.thing.clone(),
            BinaryBytes(thing.bytes).to_string(),
            thing.why.to_string(),
        ]);
    }
    for line in table.lines().iter().skip(1) {
        ctx.output.data(&format!("  {line}"))?;
    }
    let mut kept: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for thing in &plan.keep {
        let kind = thing.thing.split('/').next().unwrap_or_default();
        *kept.entry((kind, thing.why)).or_default() += 1;
    }
    for ((kind, why), number) in kept {
        let noun = match kind {
            "runs" => "run",
            "envs" => "environment",
            "data" => "data set",
            _ => "left thing",
        };
        let line = format!("  kept: {} ({why})", count(number, noun));
        ctx.output
            .data(&ctx.output.paint(Stream::Data, Style::Dim, &line))?;
    }
    Ok(())
}

/// Whether the person agrees. Results that would be lost are asked for by their number.
fn may_remove(ctx: &Context, args: &CleanArgs, things: &[&Thing]) -> Result<bool> {
    let lost = things.iter().filter(|thing| thing.is_lost).count();
    if lost > 0 {
        let runs = count(lost, "run");
        ctx.output.warn(&format!(
            "the results of {runs} are not here, and are lost with them"
        ));
    }
    if args.yes {
        return Ok(true);
    }
    if !ctx.can_ask() {
        return Err(Error::usage("clean asks first, and there is no terminal")
            .hint("git agile clean --yes …"));
    }
    let total: u64 = things.iter().map(|thing| thing.bytes).sum();
    let all = count(things.len(), "thing");
    if !ctx.confirm(&format!("Remove {all}, {}?", BinaryBytes(total)))? {
        return Ok(false);
    }
    if lost == 0 {
        return Ok(true);
    }
    let question = format!("Type {lost} to lose the results of {}", count(lost, "run"));
    Ok(ctx.ask(&question, "")? == lost.to_string())
}

/// Removes what `plan` says, as far as the server agrees; gives what went wrong.
async fn remove(
    ctx: &Context,
    repository: &Repository,
    server: &Server,
    plan: &Plan,
) -> Vec<Error> {
    let things: Vec<String> = plan
        .remove
        .iter()
        .map(|thing| thing.thing.clone())
        .collect();
    let call = scripts::remove_things(&server.path, &things);
    let answer = async {
        let mut connection = Connection::open(server, Asking::OnTerminal(&ctx.output)).await?;
        connection.call(&call, |_| {}).await
    };
    let answer = match answer.await {
        Ok(answer) => answer,
        Err(error) => return vec![error],
    };
    let named = |word: &'static str| {
        let lines = answer.iter().filter(move |line| line[0] == word);
        lines.filter_map(|line| Some((line.get(1)?.as_str(), line.get(2).map(String::as_str))))
    };
    let removed: BTreeSet<&str> = named("removed").map(|(thing, _)| thing).collect();
    let time = now();
    let mut failures = Vec::new();
    for name in plan
        .remove
        .iter()
        .filter_map(|thing| thing.thing.strip_prefix("runs/"))
    {
        let id = RunId::new(name).ok();
        let Some(id) = id.filter(|_| removed.contains(format!("runs/{name}").as_str())) else {
            continue;
        };
        let noted = records::update(repository, &id, &[], |known| Known {
            removed: Some(time),
            ..known.clone()
        });
        failures.extend(noted.err());
    }
    let gone = plan
        .remove
        .iter()
        .filter(|thing| removed.contains(thing.thing.as_str()));
    let (number, bytes) = gone.fold((0, 0), |(number, bytes), thing| {
        (number + 1, bytes + thing.bytes)
    });
    if number > 0 {
        let line = format!(
            "{}: removed {}, {}",
            server.name,
            count(number, "thing"),
            BinaryBytes(bytes)
        );
        ctx.output
            .say(&ctx.output.paint(Stream::Talk, Style::Good, &line));
    }
    let failed = named("error").map(|(_, text)| {
        let text = clean(text.unwrap_or("it did not work"));
        Error::step(format!("{}: {text}; nothing was removed", server.name))
            .hint("git agile clean, later")
    });
    let kept = named("kept").map(|(thing, why)| {
        let why = clean(why.unwrap_or_default());
        Error::step(format!("{}: {} stays: {why}", server.name, clean(thing)))
            .hint("git agile clean --dry-run shows what there is now")
    });
    failures.extend(failed.chain(kept));
    failures
}
