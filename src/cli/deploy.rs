//! `git agile deploy`, and the deployment that a push sets off.

use std::collections::BTreeMap;

use clap::Args;
use futures_util::{StreamExt, stream};
use git2::Oid;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;

use super::Context;
use super::agree::agree_to;
use super::look::{JOBS, now};
use super::status::{parameters, state_word};
use crate::deployment::connection::{Asking, Connection};
use crate::deployment::deploy::{
    Occasion, Outcome, Report, attempt_id, check_supported, deployment, environment_key, report,
    runs,
};
use crate::deployment::direct::send_commit;
use crate::deployment::observe::{Deed, learn};
use crate::deployment::requirements::requirement_files;
use crate::deployment::scripts;
use crate::development::push::{fetch_url, git_host};
use crate::development::records::{self, Record};
use crate::development::repository::Repository;
use crate::error::{Error, Result};
use crate::model::config::{Config, Experiment, Server, Source};
use crate::model::names::{CommitId, ParamName, RunId};
use crate::model::run::{Known, Run, RunState};
use crate::model::value::Value;
use crate::terminal::{Stream, Style, clean, count};

/// Launch the experiments of a commit on their servers, without a push
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// The commit, which the git remote must have
    #[arg(default_value = "HEAD")]
    commit: String,
    /// Only this experiment (repeatable)
    #[arg(long, short = 'e', value_name = "NAME")]
    experiment: Vec<String>,
    /// Only this server (repeatable)
    #[arg(long, short = 's', value_name = "NAME")]
    server: Vec<String>,
    /// Give a parameter this value alone (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_set)]
    set: Vec<(ParamName, Value)>,
    /// Launch again what has been launched before, as new attempts
    #[arg(long)]
    again: bool,
    /// Say what would be launched where, and contact nobody
    #[arg(long)]
    dry_run: bool,
}

fn parse_set(text: &str) -> Result<(ParamName, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let name = ParamName::new(name).map_err(|error| error.to_string())?;
    Ok((name, Value::from_typed(value)))
}

/// What is to be deployed.
#[derive(Debug)]
pub struct Request {
    /// The commit.
    pub commit: Oid,
    /// The git remote that servers fetch from.
    pub remote: String,
    /// The branch that was pushed, for messages; may be empty.
    pub branch: String,
    /// Experiments by name; without any, all of them.
    pub experiments: Vec<String>,
    /// Servers by name; without any, those of the experiment.
    pub servers: Vec<String>,
    /// Parameters that have one value.
    pub overrides: BTreeMap<ParamName, Value>,
    /// Whether to launch what has been launched before.
    pub again: bool,
    /// Whether a push asked, so that experiments may decline.
    pub is_push: bool,
}

/// Runs the command.
///
/// # Errors
/// As [`deploy`].
pub fn run(args: DeployArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let commit = repository.commit(&args.commit)?;
    let config = ctx.config(&repository, commit)?;
    if args.commit == "HEAD" {
        warn_dirty(ctx, &repository, commit);
    }
    let request = Request {
        commit,
        remote: config
            .push
            .remotes
            .first()
            .cloned()
            .unwrap_or_else(|| "origin".into()),
        branch: String::new(),
        experiments: args.experiment,
        servers: args.server,
        overrides: args.set.into_iter().collect(),
        again: args.again,
        is_push: false,
    };
    let plan = plan(ctx, &repository, &config, &request)?;
    if args.dry_run {
        return show_plan(ctx, &plan);
    }
    execute(ctx, &repository, &config, &request, plan)
}

/// Says that what is not committed is not deployed.
pub fn warn_dirty(ctx: &Context, repository: &Repository, commit: Oid) {
    let mut options = git2::StatusOptions::new();
    options.include_untracked(false).exclude_submodules(true);
    let is_dirty = repository
        .git()
        .statuses(Some(&mut options))
        .is_ok_and(|statuses| !statuses.is_empty());
    if is_dirty {
        let short = &commit.to_string()[..7];
        ctx.output.warn(&format!(
            "there are uncommitted changes; only commit {short} is deployed"
        ));
    }
}

/// Launches what `request` means on all its servers at once, and says per server what happened.
///
/// # Errors
/// [`Kind`](crate::error::Kind) `Config` or `Usage` before anything is contacted; `Unreachable` or `Step` when
/// something is not launched that should be. One server's failure does not stop the others.
pub fn deploy(ctx: &Context, repository: &Repository, request: &Request) -> Result<()> {
    let config = ctx.config(repository, request.commit)?;
    let plan = plan(ctx, repository, &config, request)?;
    execute(ctx, repository, &config, request, plan)
}

/// What is to be done on one server.
struct Share {
    server: Server,
    /// Runs that the server is asked to launch.
    asked: Vec<Run>,
    /// Runs whose end is known here.
    ended: Vec<Record>,
}

fn plan(
    ctx: &Context,
    repository: &Repository,
    config: &Config,
    request: &Request,
) -> Result<Vec<Share>> {
    let experiments = chosen(config, request)?;
    if experiments.is_empty() {
        ctx.output
            .say("No experiment of this commit is launched by a push (on_push = false).");
    }
    let files = requirement_files(&config.requirements.file, |path| {
        repository.file_at(request.commit, path.as_str())
    })?;
    let environment = environment_key(config, &files);
    let known: BTreeMap<_, _> =
        records::all(repository, |error| ctx.output.warn(&error.to_string()))?
            .into_iter()
            .map(|record| (record.run.id.clone(), record))
            .collect();
    let occasion = occasion(repository, request.commit, &known)?;
    let mut shares: Vec<Share> = Vec::new();
    for experiment in experiments {
        for server in servers_of(config, experiment, request)? {
            check_supported(config, experiment, server)?;
            let index = match shares
                .iter()
                .position(|share| share.server.name == server.name)
            {
                Some(index) => index,
                None => {
                    shares.push(Share {
                        server: server.clone(),
                        asked: Vec::new(),
                        ended: Vec::new(),
                    });
                    shares.len() - 1
                }
            };
            for run in runs(
                config,
                experiment,
                server,
                &request.overrides,
                &environment,
                &occasion,
            )? {
                match which_attempt(&known, run, request.again) {
                    Attempt::Ask(run) => shares[index].asked.push(*run),
                    Attempt::Ended(record) => shares[index].ended.push(*record),
                }
            }
        }
    }
    Ok(shares)
}

enum Attempt {
    Ask(Box<Run>),
    Ended(Box<Record>),
}

/// The attempt of `first` that is meant: the newest that there is at its place, or one more when there is none, since the
/// server has moved, or with `again`. One that no server has confirmed comes first, so that `--again` can be repeated when
/// the connection was lost.
fn which_attempt(known: &BTreeMap<RunId, Record>, first: Run, again: bool) -> Attempt {
    let attempts: Vec<&Record> = (1..)
        .map_while(|attempt| match attempt {
            1 => known.get(&first.id),
            more => known.get(&attempt_id(&first.id, more)),
        })
        .collect();
    let newest = attempts
        .iter()
        .rev()
        .find(|record| record.run.server == first.server);
    match newest.filter(|record| !again || record.known.state == RunState::Asked) {
        Some(record) if record.known.state.is_end() => Attempt::Ended(Box::new((*record).clone())),
        Some(record) => Attempt::Ask(Box::new(record.run.clone())),
        None if attempts.is_empty() => Attempt::Ask(Box::new(first)),
        None => {
            let attempt = u32::try_from(attempts.len())
                .unwrap_or(u32::MAX)
                .saturating_add(1);
            let id = attempt_id(&first.id, attempt);
            Attempt::Ask(Box::new(Run {
                id,
                attempt,
                ..first
            }))
        }
    }
}

fn chosen<'a>(config: &'a Config, request: &Request) -> Result<Vec<&'a Experiment>> {
    if config.experiments.is_empty() {
        return Err(Error::config("agile.toml has no experiment")
            .hint("add [experiments.train] with a `command`"));
    }
    for name in &request.experiments {
        config.experiment(name)?;
    }
    let is_meant = |experiment: &&Experiment| match request.experiments.is_empty() {
        true => experiment.on_push || !request.is_push,
        false => request
            .experiments
            .iter()
            .any(|name| name == experiment.name.as_str()),
    };
    Ok(config.experiments.values().filter(is_meant).collect())
}

fn servers_of<'a>(
    config: &'a Config,
    experiment: &Experiment,
    request: &Request,
) -> Result<Vec<&'a Server>> {
    for name in &request.servers {
        config.server(name)?;
    }
    let is_meant = |server: &&Server| match request.servers.is_empty() {
        true => experiment.servers.contains(&server.name),
        false => request
            .servers
            .iter()
            .any(|name| name == server.name.as_str()),
    };
    let servers: Vec<_> = config.servers.values().filter(is_meant).collect();
    if servers.is_empty() {
        return Err(
            Error::config(format!("experiment `{}` has no server", experiment.name)).hint(format!(
                "servers = [\"…\"] in [experiments.{}], or --server",
                experiment.name
            )),
        );
    }
    Ok(servers)
}

/// Who asks for `commit`, and when: at a time of its own, so that the newest of the `known` runs is always one push's.
fn occasion(
    repository: &Repository,
    commit: Oid,
    known: &BTreeMap<RunId, Record>,
) -> Result<Occasion> {
    let subject = repository
        .git()
        .find_commit(commit)
        .ok()
        .and_then(|commit| commit.summary().map(str::to_string));
    let id = CommitId::from(commit);
    let mut time = Timestamp::now();
    while known
        .values()
        .any(|record| record.run.asked == time.as_second())
    {
        time += jiff::SignedDuration::from_secs(1);
    }
    let by = repository.git().signature().ok();
    Ok(Occasion {
        sprint: format!("{}-{}", time.strftime("%Y%m%d-%H%M%S"), id.short()),
        commit: id,
        subject: subject.unwrap_or_default(),
        asked: time.as_second(),
        by: by
            .and_then(|by| Some(by.name()?.to_string()))
            .unwrap_or_default(),
    })
}

fn show_plan(ctx: &Context, plan: &[Share]) -> Result<()> {
    for share in plan {
        let server = &share.server;
        let head = format!("{} ({}:{})", server.name, server.host, server.path);
        ctx.output
            .data(&ctx.output.paint(Stream::Data, Style::Bold, &head))?;
        for run in &share.asked {
            ctx.output
                .data(&format!("  {}  {}", run.id, clean(&run.command)))?;
        }
        for record in &share.ended {
            let state = state_word(&record.known);
            ctx.output
                .data(&format!("  {}  already finished: {state}", record.run.id))?;
        }
    }
    Ok(())
}

fn execute(
    ctx: &Context,
    repository: &Repository,
    config: &Config,
    request: &Request,
    plan: Vec<Share>,
) -> Result<()> {
    let is_direct = |share: &Share| share.server.source == Source::Direct;
    let url = match plan.iter().all(is_direct) {
        // Nobody fetches, so the repository may have no remote at all.
        true => String::new(),
        false => fetch_url(repository, &request.remote)?,
    };
    for record in plan.iter().flat_map(|share| &share.ended) {
        let state = state_word(&record.known);
        ctx.output.say(&format!(
            "{}: already finished as {} ({state})",
            record.run.server.name, record.run.id
        ));
    }
    let shares: Vec<Share> = plan
        .into_iter()
        .filter(|share| !share.asked.is_empty())
        .collect();
    let servers: Vec<Server> = shares.iter().map(|share| share.server.clone()).collect();
    let agreed = agree_to(ctx, repository, &servers, &git_host(&url));

    let (mut contacted, mut failures) = (Vec::new(), Vec::new());
    for (share, agreed) in shares.into_iter().zip(agreed) {
        match agreed {
            Ok(()) => contacted.push(share),
            Err(error) => failures.push(error),
        }
    }
    for share in &contacted {
        for run in &share.asked {
            match records::find(repository, &run.id)? {
                None => drop(records::create(repository, run)?),
                Some(_) => drop(records::update(repository, &run.id, &[], |known| {
                    known.unlaunched(None)
                })?),
            }
        }
    }
    records::sync(repository);
    let results = ctx.block_on(async {
        let url = &url;
        let all = contacted.iter().map(|share| async move {
            let result = on_server(ctx, repository, config, share, url, &request.branch).await;
            (share, result)
        });
        Ok(stream::iter(all).buffered(JOBS).collect::<Vec<_>>().await)
    })?;
    for (share, result) in results {
        match result {
            Ok(report) => failures.extend(take_in(ctx, repository, share, report)?),
            Err(error) => failures.push(error),
        }
    }
    conclude(ctx, failures)
}

/// Prints what failed; the worst of it decides the exit status.
///
/// # Errors
/// One that says no more, when anything failed.
pub fn conclude(ctx: &Context, failures: Vec<Error>) -> Result<()> {
    for error in &failures {
        ctx.output.error(error);
    }
    match failures
        .iter()
        .map(|error| error.kind)
        .max_by_key(|kind| kind.status())
    {
        Some(kind) => Err(Error::new(kind, "")),
        None => Ok(()),
    }
}

async fn on_server(
    ctx: &Context,
    repository: &Repository,
    config: &Config,
    share: &Share,
    url: &str,
    branch: &str,
) -> Result<Report> {
    let server = &share.server;
    let bar = ctx.output.progress().add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}: {msg} {elapsed:.dim}") {
        bar.set_style(style);
    }
    bar.set_prefix(server.name.to_string());
    bar.set_message("connecting");
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    let result = async {
        let call = scripts::deploy(&deployment(config, server, url, branch, &share.asked)?);
        let ids: Vec<_> = share.asked.iter().map(|run| run.id.clone()).collect();
        let mut connection = match Connection::open(server, Asking::OnTerminal(&ctx.output)).await {
            Ok(connection) => connection,
            Err(error) => return Ok(Report::not_contacted(&ids, error)),
        };
        if server.source == Source::Direct
            && let Some(run) = share.asked.first()
        {
            bar.set_message(format!("sending {}", run.commit.short()));
            send_commit(&connection, repository.root(), &run.commit).await?;
        }
        let answer = connection
            .call(&call, |text| bar.set_message(clean(text)))
            .await?;
        Ok(report(server, url, &ids, &answer))
    }
    .await;
    bar.finish_and_clear();
    ctx.output.progress().remove(&bar);
    result
}

/// Records what a server said, tells the person, and gives what went wrong.
fn take_in(
    ctx: &Context,
    repository: &Repository,
    share: &Share,
    report: Report,
) -> Result<Vec<Error>> {
    let server = &share.server;
    let time = now();
    let (mut lines, mut failures, mut started) = (Vec::new(), Vec::new(), 0);
    let mut failed = Vec::new();
    for (run, (id, outcome)) in share.asked.iter().zip(report.runs) {
        let why = match (&outcome, &report.failure) {
            (Outcome::Failed(error), _) | (Outcome::Unknown, Some(error)) => Some(error),
            _ => None,
        };
        if let Some(error) = why {
            let prefix = format!("{}: ", server.name);
            let why = error
                .message
                .strip_prefix(&prefix)
                .unwrap_or(&error.message);
            records::update(repository, &id, &[], |known| known.unlaunched(Some(why)))?;
        }
        match outcome {
            Outcome::There(deed, facts) => {
                let learnt = records::update(repository, &id, &[], |known| {
                    learn(known, facts.as_ref(), time)
                })?;
                if deed == Deed::Started {
                    started += 1;
                    lines.push(format!("  {id}  {}", parameters(run)));
                } else if deed == Deed::Queued {
                    lines.push(format!("  {id}  waits for a slot"));
                } else {
                    lines.push(format!("  {id}  {}", existing(&learnt.known)));
                }
            }
            Outcome::Failed(error) => count_alike(&mut failed, error),
            Outcome::Unknown if report.failure.is_some() => {}
            Outcome::Unknown => {
                failures.push(
                    Error::step(format!(
                        "{}: the server did not say what became of {id}",
                        server.name
                    ))
                    .hint(format!("git agile status {id}")),
                );
            }
        }
    }
    let built = if report.has_built {
        ", environment built"
    } else {
        ""
    };
    if !lines.is_empty() {
        let head = match started {
            0 => format!("{}: nothing new to start", server.name),
            _ => format!("{}: {} started{built}", server.name, count(started, "run")),
        };
        ctx.output
            .say(&ctx.output.paint(Stream::Talk, Style::Good, &head));
        for line in lines.iter().take(20) {
            ctx.output.say(&clean(line));
        }
        if lines.len() > 20 {
            ctx.output.say(&format!(
                "  … and {} more: git agile status",
                lines.len() - 20
            ));
        }
    }
    failures.extend(failed.into_iter().map(|(error, times)| match times {
        1 => error,
        _ => Error {
            message: format!("{} ({})", error.message, count(times, "run")),
            ..error
        },
    }));
    if let Some(error) = report.failure {
        failures.insert(0, error);
    }
    Ok(failures)
}

/// Counts `error` among the runs' `failed` ones: what goes wrong with many runs alike is said once.
fn count_alike(failed: &mut Vec<(Error, usize)>, error: Error) {
    let same = |(other, _): &&mut (Error, usize)| other.message == error.message;
    match failed.iter_mut().find(same) {
        Some((_, times)) => *times += 1,
        None => failed.push((error, 1)),
    }
}

fn existing(known: &Known) -> String {
    match known.state.is_end() {
        true => format!("already finished: {}", state_word(known)),
        false => format!("already {}", state_word(known)),
    }
}
