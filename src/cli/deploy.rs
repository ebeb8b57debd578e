//! `git agile deploy`, and the deployment that a push sets off.

use std::collections::BTreeSet;

use clap::Args;
use futures_util::{StreamExt, stream};
use git2::Oid;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use super::Context;
use super::agree::agree_to;
use super::ahead::{Ahead, Ready};
use super::foresee;
use super::look::{self, jobs, now};
use super::plan::{self, Request, Share};
use super::status::{parameters, state_word};
use crate::deployment::connection::{Asking, Connection};
use crate::deployment::deploy::{Origin, Outcome, Report, deployment, report};
use crate::deployment::direct::{Parcel, is_to_be_sent_again, send_commit};
use crate::deployment::doctor::{ENDS_SESSIONS, linger_hint};
use crate::deployment::observe::Deed;
use crate::deployment::scripts;
use crate::development::contents::{lfs_files, lfs_folder, submodules};
use crate::development::credential::credential;
use crate::development::push::{fetch_url, git_host};
use crate::development::records::{self, Record};
use crate::development::repository::Repository;
use crate::error::{Error, Result};
use crate::model::config::{Server, Source};
use crate::model::names::ParamName;
use crate::model::names::RunId;
use crate::model::run::{Known, RunState};
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
    /// Say what would be done where: what is there already, what would be sent, fetched and built, and the runs. Servers
    /// are looked at, and nothing is changed
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: print a JSON array, one object a server
    #[arg(long, requires = "dry_run")]
    json: bool,
}

fn parse_set(text: &str) -> Result<(ParamName, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let name = ParamName::new(name).map_err(|error| error.to_string())?;
    Ok((name, Value::from_typed(value)))
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
    let plan = plan::plan(ctx, &repository, &config, &request)?;
    if args.dry_run {
        return foresee::run(ctx, &repository, &request, &plan, args.json);
    }
    let ahead = &mut Ahead::default();
    execute(ctx, &repository, &request, plan, ahead)
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

/// Launches what `request` means on all its servers at once, over the connections that are `ahead`, and says per server
/// what happened.
///
/// # Errors
/// [`Kind`](crate::error::Kind) `Config` or `Usage` before anything is contacted; `Unreachable` or `Step` when
/// something is not launched that should be. One server's failure does not stop the others.
pub fn deploy(
    ctx: &Context,
    repository: &Repository,
    request: &Request,
    ahead: &mut Ahead,
) -> Result<()> {
    let config = ctx.config(repository, request.commit)?;
    let plan = plan::plan(ctx, repository, &config, request)?;
    execute(ctx, repository, request, plan, ahead)
}

/// Carries out `plan`, as [`deploy`] does.
///
/// # Errors
/// As [`deploy`].
pub fn execute(
    ctx: &Context,
    repository: &Repository,
    request: &Request,
    plan: Vec<Share>,
    ahead: &mut Ahead,
) -> Result<()> {
    let url = url(repository, request, &plan)?;
    let ended: Vec<&Record> = plan.iter().flat_map(|share| &share.ended).collect();
    let line = |record: &&Record| {
        let (server, state) = (&record.run.server.name, state_word(&record.known));
        format!("{server}: already finished as {} ({state})", record.run.id)
    };
    let lines: Vec<String> = ended.iter().map(line).collect();
    ctx.output.list(&lines, "git agile status --all");
    let has_failed = |record: &&Record| record.known.state != RunState::Succeeded;
    if !ctx.output.is_quiet() && ended.iter().any(has_failed) {
        ctx.output
            .hint("git agile deploy --again launches them once more, as new attempts");
    }
    let shares: Vec<Share> = plan
        .into_iter()
        .filter(|share| !share.asked.is_empty())
        .collect();
    let servers: Vec<Server> = shares.iter().map(|share| share.server.clone()).collect();
    let agreed = agree_to(ctx, repository, &servers, &git_host(&url));

    let (mut contacted, mut failures) = (Vec::new(), Vec::new());
    for (mut share, agreed) in shares.into_iter().zip(agreed) {
        if share.is_sent_anyway {
            share.server.source = Source::Direct;
        }
        match agreed {
            Ok(()) => contacted.push(share),
            Err(error) => failures.push(error),
        }
    }
    // Of which an earlier try has left open whether they were launched.
    let mut open = BTreeSet::new();
    for share in &contacted {
        for run in &share.asked {
            match records::find(repository, &run.id)? {
                None => drop(records::create(repository, run)?),
                Some(record) => {
                    if !record.known.is_unlaunched() {
                        open.insert(run.id.clone());
                    }
                    records::update(repository, &run.id, &[], |known| known.unlaunched(None))?;
                }
            }
        }
    }
    records::sync(repository)?;
    ctx.if_interrupted(
        "what has been launched goes on",
        "the same command again launches the rest, and `git agile status` shows what there is",
    )?;
    let lfs_files = lfs_files(repository, request.commit)?;
    let credential = match contacted.iter().all(Share::is_sent) {
        true => None,
        false => credential(repository, &request.remote)?,
    };
    let origin = Origin {
        url,
        credential,
        branch: request.branch.clone(),
        submodules: submodules(repository, request.commit, &request.remote)?,
        lfs_files,
    };
    let results = ctx.block_on(async {
        let origin = &origin;
        let all = contacted.iter().map(|share| {
            let ready = ahead.take(&share.server);
            async move {
                let result = on_server(ctx, repository, share, origin, ready).await;
                (share, result)
            }
        });
        Ok(stream::iter(all)
            .buffered(jobs()?)
            .collect::<Vec<_>>()
            .await)
    })?;
    for (share, result) in results {
        match result {
            Ok(report) => failures.extend(take_in(ctx, repository, share, &open, report)?),
            Err(error) => failures.push(error),
        }
    }
    conclude(ctx, failures)
}

/// Where servers fetch from; empty where none does, so that the repository may have no remote at all.
pub fn url(repository: &Repository, request: &Request, plan: &[Share]) -> Result<String> {
    match fetch_url(repository, &request.remote) {
        Err(_) if plan.iter().all(Share::is_sent) => Ok(String::new()),
        url => url,
    }
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
    share: &Share,
    origin: &Origin,
    ready: Option<JoinHandle<Result<Ready>>>,
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
        let call = scripts::deploy(&deployment(&share.recipe, server, origin, &share.asked)?);
        let ids: Vec<_> = share.asked.iter().map(|run| run.id.clone()).collect();
        let Ready {
            mut connection,
            sent,
        } = match connect(ctx, server, ready).await {
            Ok(ready) => ready,
            Err(error) => return Ok(Report::not_contacted(&ids, error)),
        };
        let parcel = parcel(repository, share, origin);
        if let Some(parcel) = parcel
            .as_ref()
            .filter(|it| sent.as_ref() != Some(&it.commit))
        {
            bar.set_message(format!("sending {}", parcel.commit.short()));
            send_commit(&mut connection, parcel).await?;
        }
        let mut say = |text: &str| bar.set_message(clean(text));
        let mut answer = connection.call(&call, &mut say).await?;
        if let Some(parcel) = parcel.filter(|_| is_to_be_sent_again(&answer)) {
            say("sending all of it anew");
            send_commit(&mut connection, &parcel).await?;
            answer = connection.call(&call, say).await?;
        }
        Ok(report(server, origin, &ids, &answer))
    }
    .await;
    bar.finish_and_clear();
    ctx.output.progress().remove(&bar);
    result
}

/// What is sent from here, where the server does not fetch.
fn parcel(repository: &Repository, share: &Share, origin: &Origin) -> Option<Parcel> {
    let run = share.asked.first().filter(|_| share.is_sent())?;
    Some(Parcel {
        root: repository.root().to_path_buf(),
        commit: run.commit.clone(),
        submodules: origin.submodules.clone(),
        lfs_files: origin.lfs_files.clone(),
        lfs_folder: lfs_folder(repository),
    })
}

/// The connection that is `ready`, else a new one, for which the person may be asked.
async fn connect(
    ctx: &Context,
    server: &Server,
    ready: Option<JoinHandle<Result<Ready>>>,
) -> Result<Ready> {
    if let Some(ready) = ready
        && let Ok(Ok(ready)) = ready.await
    {
        return Ok(ready);
    }
    let connection = Connection::open(server, Asking::OnTerminal(&ctx.output)).await?;
    Ok(Ready {
        connection: match server.source {
            Source::Origin => connection.lending_agent(),
            Source::Direct => connection,
        },
        sent: None,
    })
}

/// Records what a server said, tells the person, and gives what went wrong. That one of the runs in `open` was not launched
/// is certain only where the server says so of it.
fn take_in(
    ctx: &Context,
    repository: &Repository,
    share: &Share,
    open: &BTreeSet<RunId>,
    report: Report,
) -> Result<Vec<Error>> {
    let server = &share.server;
    let time = now();
    let (mut lines, mut failures, mut started) = (Vec::new(), report.doubts, 0);
    let mut verb = "started";
    let mut failed = Vec::new();
    for (run, (id, outcome)) in share.asked.iter().zip(report.runs) {
        let why = match (&outcome, &report.failure) {
            (Outcome::Failed(error), _) => Some(error),
            (Outcome::Unknown, Some(error)) if !open.contains(&id) => Some(error),
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
            Outcome::There(sighting) => {
                let learnt = look::take_in(repository, &id, &sighting, time)?;
                let deed = sighting.deed;
                if deed == Deed::Submitted {
                    verb = "submitted to Slurm";
                }
                if matches!(deed, Deed::Started | Deed::Submitted) {
                    started += 1;
                    lines.push(format!("  {id}  {}", parameters(run)));
                } else if deed == Deed::Queued {
                    lines.push(format!("  {id}  {}; waits for a slot", parameters(run)));
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
            _ => format!("{}: {} {verb}{built}", server.name, count(started, "run")),
        };
        ctx.output
            .say(&ctx.output.paint(Stream::Talk, Style::Good, &head));
        ctx.output.list(&lines, "git agile status");
    }
    for (url, sum) in report.unchecked {
        let data = share.asked.iter().flat_map(|run| &run.data);
        if let Some((name, _)) = data.into_iter().find(|(_, set)| set.url == url) {
            ctx.output.warn(&format!(
                "{}: data.{name} has no sha256; what was downloaded now is taken as the right one",
                server.name
            ));
            ctx.output.hint(&clean(&format!(
                "sha256 = \"{sum}\" in [data.{name}] makes every server check it"
            )));
        }
    }
    if let Some(host) = &report.shared_with {
        let (name, path) = (&server.name, &server.path);
        ctx.output.warn(&format!(
            "{name}: its folder is used from {} too, and the runs of both wait for the same slots; either may start them",
            clean(host)
        ));
        ctx.output.hint(&format!(
            "path = \"{path}-{name}\" in [servers.{name}] keeps them apart"
        ));
    }
    if let Some(person) = &report.ends_sessions_of {
        ctx.output
            .warn(&format!("{}: {ENDS_SESSIONS}", server.name));
        ctx.output.hint(&linger_hint(server, person));
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
