//! `git agile deploy`, and the deployment that a push sets off.

use clap::Args;
use futures_util::{StreamExt, stream};
use git2::Oid;
use indicatif::{ProgressBar, ProgressStyle};

use super::Context;
use super::agree::agree_to;
use super::look::{JOBS, now};
use super::plan::{self, Request, Share};
use super::status::{parameters, state_word};
use crate::deployment::connection::{Asking, Connection};
use crate::deployment::deploy::{Outcome, Report, deployment, report};
use crate::deployment::direct::send_commit;
use crate::deployment::observe::{Deed, learn};
use crate::deployment::scripts;
use crate::development::push::{fetch_url, git_host};
use crate::development::records::{self};
use crate::development::repository::Repository;
use crate::error::{Error, Result};
use crate::model::config::{Config, Server, Source};
use crate::model::names::ParamName;
use crate::model::run::Known;
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
        return plan::show(ctx, &plan);
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
    let plan = plan::plan(ctx, repository, &config, request)?;
    execute(ctx, repository, &config, request, plan)
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
