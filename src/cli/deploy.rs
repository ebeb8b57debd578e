//! `git agile deploy`, and the deployment that a push sets off.

use std::collections::BTreeMap;

use clap::Args;
use futures_util::{StreamExt, stream};
use git2::Oid;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;

use super::Context;
use super::look::{JOBS, now};
use super::status::{parameters, state_word};
use crate::deployment::connection::{Asking, Connection};
use crate::deployment::deploy::{
    Occasion, Outcome, Report, attempt_id, check_supported, deployment, environment_key, report,
    runs,
};
use crate::deployment::observe::{Deed, learn};
use crate::deployment::requirements::requirement_files;
use crate::deployment::scripts;
use crate::deployment::trust::{Agreement, Agreements, Trust};
use crate::development::push::{fetch_url, git_host};
use crate::development::records::{self, Record};
use crate::development::repository::Repository;
use crate::error::{Error, Result};
use crate::model::config::{Config, Experiment, Server, nearest};
use crate::model::names::{CommitId, ParamName};
use crate::model::run::{Known, Run, RunState};
use crate::model::value::Value;
use crate::terminal::{Stream, Style, clean};

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
    let occasion = occasion(repository, request.commit)?;
    let known: BTreeMap<_, _> =
        records::all(repository, |error| ctx.output.warn(&error.to_string()))?
            .into_iter()
            .map(|record| (record.run.id.clone(), record))
            .collect();
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

/// The attempt of `first` that is meant: the newest that there is, or with `again` one more than were launched. One that
/// no server has confirmed comes first, so that `--again` can be repeated when the connection was lost.
fn which_attempt(
    known: &BTreeMap<crate::model::names::RunId, Record>,
    first: Run,
    again: bool,
) -> Attempt {
    let Some(mut newest) = known.get(&first.id) else {
        return Attempt::Ask(Box::new(first));
    };
    let mut next = 2;
    while let Some(record) = known.get(&attempt_id(&first.id, next)) {
        newest = record;
        next += 1;
    }
    if again && newest.known.state != RunState::Asked {
        return Attempt::Ask(Box::new(Run {
            id: attempt_id(&first.id, next),
            attempt: next,
            ..first
        }));
    }
    match newest.known.state.is_end() {
        true => Attempt::Ended(Box::new(newest.clone())),
        false => Attempt::Ask(Box::new(newest.run.clone())),
    }
}

fn chosen<'a>(config: &'a Config, request: &Request) -> Result<Vec<&'a Experiment>> {
    if config.experiments.is_empty() {
        return Err(Error::config("agile.toml has no experiment")
            .hint("add [experiments.train] with a `command`"));
    }
    for name in &request.experiments {
        if !config
            .experiments
            .values()
            .any(|experiment| experiment.name.as_str() == name)
        {
            return Err(unknown(
                "experiment",
                name,
                config.experiments.keys().map(AsRef::as_ref).collect(),
            ));
        }
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
        if !config
            .servers
            .values()
            .any(|server| server.name.as_str() == name)
        {
            return Err(unknown(
                "server",
                name,
                config.servers.keys().map(AsRef::as_ref).collect(),
            ));
        }
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

fn unknown(noun: &str, name: &str, known: Vec<&str>) -> Error {
    let error = Error::usage(format!(
        "there is no {noun} `{}` in agile.toml",
        clean(name)
    ));
    match nearest(name, known.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("there is {}", known.join(", "))),
    }
}

fn occasion(repository: &Repository, commit: Oid) -> Result<Occasion> {
    let subject = repository
        .git()
        .find_commit(commit)
        .ok()
        .and_then(|commit| commit.summary().map(str::to_string));
    let id = CommitId::from(commit);
    let time = Timestamp::now();
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
    let url = fetch_url(repository, &request.remote)?;
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
            if records::find(repository, &run.id)?.is_none() {
                records::create(repository, run)?;
            }
        }
    }
    records::sync(repository);
    let results = ctx.block_on(async {
        let url = &url;
        let all = contacted.iter().map(|share| async move {
            let result = on_server(ctx, config, share, url, &request.branch).await;
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
fn conclude(ctx: &Context, failures: Vec<Error>) -> Result<()> {
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
        let mut connection = Connection::open(server, Asking::OnTerminal).await?;
        let answer = connection
            .call(&call, |text| bar.set_message(clean(text)))
            .await?;
        let ids: Vec<_> = share.asked.iter().map(|run| run.id.clone()).collect();
        Ok(report(server, &ids, &answer))
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
    for (run, (id, outcome)) in share.asked.iter().zip(report.runs) {
        match outcome {
            Outcome::There(deed, facts) => {
                let learnt = records::update(repository, &id, &[], |known| {
                    learn(known, facts.as_ref(), time)
                })?;
                if deed == Deed::Started {
                    started += 1;
                    lines.push(format!("  {id}  {}", parameters(run)));
                } else {
                    lines.push(format!("  {id}  {}", existing(&learnt.known)));
                }
            }
            Outcome::Failed(error) => failures.push(error),
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
    let runs = if started == 1 { "run" } else { "runs" };
    let built = if report.has_built {
        ", environment built"
    } else {
        ""
    };
    if !lines.is_empty() {
        let head = match started {
            0 => format!("{}: nothing new to start", server.name),
            _ => format!("{}: {started} {runs} started{built}", server.name),
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
    if let Some(error) = report.failure {
        failures.insert(0, error);
    }
    Ok(failures)
}

fn existing(known: &Known) -> String {
    match known.state.is_end() {
        true => format!("already finished: {}", state_word(known)),
        false => format!("already {}", state_word(known)),
    }
}

/// Whether each of `servers` may be contacted for this repository. A person's own configuration file agrees to its
/// servers; for others the person is asked, on a terminal.
pub fn agree_to(
    ctx: &Context,
    repository: &Repository,
    servers: &[Server],
    git_host: &str,
) -> Vec<Result<()>> {
    let mut agreements = match Agreements::load() {
        Ok(agreements) => agreements,
        Err(error) => return servers.iter().map(|_| Err(error.clone())).collect(),
    };
    servers
        .iter()
        .map(|server| agree(ctx, repository, &mut agreements, server, git_host))
        .collect()
}

fn agree(
    ctx: &Context,
    repository: &Repository,
    agreements: &mut Agreements,
    server: &Server,
    git_host: &str,
) -> Result<()> {
    let wanted = Agreement::for_server(repository.common_dir(), server, git_host);
    let trust = agreements.check(&wanted);
    if trust == Trust::Agreed {
        return Ok(());
    }
    if !server.is_personal {
        let (said, question) = describe(server, git_host, &trust);
        let refusal = Error::config(said).hint(format!("git agile trust {}", server.name));
        if !ctx.can_ask() || !ctx.confirm(&question)? {
            return Err(refusal);
        }
    }
    agreements.agree(wanted);
    agreements.save()
}

/// What is wrong with contacting a server, and the question that settles it.
pub fn describe(server: &Server, git_host: &str, trust: &Trust) -> (String, String) {
    let name = &server.name;
    let place = match server.host {
        crate::model::names::Host::Local => "this machine".to_string(),
        _ => server.host.to_string(),
    };
    let question = format!(
        "May this repository run programs on `{name}` ({place}), fetching from {git_host}?"
    );
    match trust {
        Trust::Changed(was) if was.host != server.host.to_string() => (
            format!(
                "server '{name}' now means {} (was {})",
                server.host, was.host
            ),
            format!("`{name}` was {} until now. {question}", was.host),
        ),
        Trust::Changed(was) => (
            format!(
                "server '{name}' would now fetch from {git_host} (was {})",
                was.git_host
            ),
            format!(
                "`{name}` fetched from {} until now. {question}",
                was.git_host
            ),
        ),
        _ => (
            format!("you have not agreed yet to the server '{name}' ({place})"),
            question,
        ),
    }
}

/// The host that servers of this repository fetch from by default.
///
/// # Errors
/// As [`fetch_url`].
pub fn default_git_host(repository: &Repository, config: &Config) -> Result<String> {
    let remote = config.push.remotes.first().map_or("origin", String::as_str);
    fetch_url(repository, remote).map(|url| git_host(&url))
}

/// Opens the connections that pushing HEAD will need, while the push is running, and asks nothing. What fails here
/// fails again, and is said, when it is needed.
pub fn connect_ahead(repository: &Repository, config: &Config) {
    let Ok(agreements) = Agreements::load() else {
        return;
    };
    let Ok(host) = default_git_host(repository, config) else {
        return;
    };
    let is_used = |server: &&Server| {
        config
            .experiments
            .values()
            .any(|experiment| experiment.on_push && experiment.servers.contains(&server.name))
    };
    let is_agreed = |server: &&Server| {
        agreements.check(&Agreement::for_server(
            repository.common_dir(),
            server,
            &host,
        )) == Trust::Agreed
    };
    let servers: Vec<Server> = config
        .servers
        .values()
        .filter(is_used)
        .filter(is_agreed)
        .cloned()
        .collect();
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        else {
            return;
        };
        runtime.block_on(async {
            let open = servers
                .iter()
                .map(|server| Connection::open(server, Asking::Never));
            let _: Vec<_> = stream::iter(open).buffered(JOBS).collect().await;
        });
    });
}
