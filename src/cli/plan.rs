//! What a deployment is to do, before anybody is contacted.

use std::collections::{BTreeMap, BTreeSet};

use git2::Oid;
use jiff::Timestamp;

use super::Context;
use crate::deployment::deploy::{Occasion, attempt_id, runs};
use crate::deployment::environment::{Recipe, recipe};
use crate::development::records::{self, Record};
use crate::development::repository::Repository;
use crate::error::{Error, Result};
use crate::model::config::{Config, Experiment, Server, Source};
use crate::model::names::{CommitId, ParamName, RunId};
use crate::model::run::{Run, RunState};
use crate::model::value::Value;
use crate::terminal::count;

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

/// What is to be done on one server.
pub struct Share {
    /// The server.
    pub server: Server,
    /// How the runs' environment is made.
    pub recipe: Recipe,
    /// Whether the commit is sent from here whatever the server's `source` says: the git remote has it no more.
    pub is_sent_anyway: bool,
    /// Runs that the server is asked to launch.
    pub asked: Vec<Run>,
    /// Runs whose end is known here.
    pub ended: Vec<Record>,
}

impl Share {
    /// Whether the commit is sent from here.
    pub fn is_sent(&self) -> bool {
        self.is_sent_anyway || self.server.source == Source::Direct
    }
}

/// What `request` means: for each server, the runs to ask it for and those whose end is known.
///
/// # Errors
/// [`Kind`](crate::error::Kind) `Config` for a design that cannot be, `Usage` for a name that `config` does not have.
pub fn plan(
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
    let recipe = recipe(config, &repository.tree(request.commit))?;
    for warning in &recipe.warnings {
        ctx.output.warn(&warning.message);
        warning.hints.iter().for_each(|hint| ctx.output.hint(hint));
    }
    let environment = recipe.environment_key();
    let known: BTreeMap<_, _> =
        records::all(repository, |error| ctx.output.warn(&error.to_string()))?
            .into_iter()
            .map(|record| (record.run.id.clone(), record))
            .collect();
    let occasion = occasion(repository, request.commit, &known)?;
    let mut shares: Vec<Share> = Vec::new();
    let (mut told, mut moved) = (BTreeSet::new(), Vec::new());
    for experiment in experiments {
        for server in servers_of(config, experiment, request)? {
            let index = match shares
                .iter()
                .position(|share| share.server.name == server.name)
            {
                Some(index) => index,
                None => {
                    shares.push(Share {
                        server: server.clone(),
                        recipe: recipe.clone(),
                        is_sent_anyway: false,
                        asked: Vec::new(),
                        ended: Vec::new(),
                    });
                    shares.len() - 1
                }
            };
            let runs = runs(
                config,
                experiment,
                server,
                &request.overrides,
                &environment,
                &occasion,
            )?;
            if request.overrides.is_empty() && told.insert(&experiment.name) {
                warn_repeated(ctx, experiment, runs.len());
            }
            for run in runs {
                match which_attempt(&known, run, request.again) {
                    Attempt::Ask(run) => shares[index].asked.push(*run),
                    Attempt::Moved(run, elsewhere) => {
                        shares[index].asked.push(*run);
                        moved.push(*elsewhere);
                    }
                    Attempt::Ended(record) => shares[index].ended.push(*record),
                }
            }
        }
    }
    warn_moved(ctx, &moved);
    Ok(shares)
}

/// Says that a server was elsewhere before, where these runs may still be going on.
fn warn_moved(ctx: &Context, moved: &[Record]) {
    let Some(first) = moved.first() else { return };
    let (place, id) = (&first.run.server, &first.run.id);
    let name = &place.name;
    ctx.output.warn(&format!(
        "{} may still be going on where {name} was before ({} in {}), and {} launched here as well",
        count(moved.len(), "run"),
        place.host,
        place.path,
        if moved.len() == 1 { "is" } else { "are" }
    ));
    ctx.output
        .hint(&format!("git agile stop {id} ends it there"));
}

/// Says that settings are the same, which a person may have meant as repetitions.
fn warn_repeated(ctx: &Context, experiment: &Experiment, runs: usize) {
    let (name, written) = (&experiment.name, experiment.settings.written());
    if written > runs {
        let settings = count(written, "setting");
        ctx.output.warn(&format!(
            "{settings} of `{name}` make {}: a run exists once",
            count(runs, "run")
        ));
        ctx.output
            .hint("a parameter such as `seed = [1, 2, 3]` makes repetitions differ");
    }
}

enum Attempt {
    Ask(Box<Run>),
    /// One more, as the server has moved; the other may still be going on.
    Moved(Box<Run>, Box<Record>),
    Ended(Box<Record>),
}

/// The attempt of `first` that is meant: the newest that there is at its place, or one more when there is none, since the
/// server has moved, or with `again`. One that no server has confirmed comes first, so that `--again` can be repeated when
/// the connection was lost. What is launched is what the commit says: a record may come from somebody else.
fn which_attempt(known: &BTreeMap<RunId, Record>, first: Run, again: bool) -> Attempt {
    let attempts: Vec<&Record> = (1..)
        .map_while(|attempt| match attempt {
            1 => known.get(&first.id),
            more => known.get(&attempt_id(&first.id, more)),
        })
        .collect();
    let place = first.server.clone();
    let is_here = |record: &Record| record.run.server.is_at(&place.host, &place.path);
    let newest = attempts.iter().rev().find(|record| is_here(record));
    match newest.filter(|record| !again || record.known.state == RunState::Asked) {
        Some(record) if record.known.state.is_end() => Attempt::Ended(Box::new((*record).clone())),
        Some(record) => {
            let known = record.run.clone();
            Attempt::Ask(Box::new(Run {
                id: known.id,
                attempt: known.attempt,
                reproduces: known.reproduces,
                sprint: known.sprint,
                asked: known.asked,
                ..first
            }))
        }
        None if attempts.is_empty() => Attempt::Ask(Box::new(first)),
        None => {
            let attempt = u32::try_from(attempts.len())
                .unwrap_or(u32::MAX)
                .saturating_add(1);
            let id = attempt_id(&first.id, attempt);
            let run = Box::new(Run {
                id,
                attempt,
                ..first
            });
            let mut newest_first = attempts.iter().rev();
            match newest_first.find(|record| record.known.is_open() && !is_here(record)) {
                Some(record) => Attempt::Moved(run, Box::new((*record).clone())),
                None => Attempt::Ask(run),
            }
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
pub fn occasion(
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
