//! Whether what a record says can be had exactly, before anybody is contacted.

use std::collections::BTreeMap;

use git2::Oid;

use super::super::plan::{Request, Share, occasion};
use super::Context;
use crate::deployment::environment::{Recipe, recipe};
use crate::deployment::reproduction::{first_id, is_attempt_of, reproduction};
use crate::development::git;
use crate::development::records::Record;
use crate::development::repository::Repository;
use crate::error::{Context as _, Error, Result};
use crate::model::config::{Config, Layer, Server, Source};
use crate::model::names::RunId;
use crate::model::run::{Place, Run};

/// What is to be deployed, and the run that it launches.
pub struct Prepared {
    pub request: Request,
    pub share: Share,
    pub id: RunId,
}

/// Prepares another attempt at `original`, on the server that is `asked` for or its own; or once more the one that is
/// `unconfirmed`.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) for what is not as it was.
pub fn prepare(
    ctx: &Context,
    repository: &Repository,
    all: &[Record],
    original: &Run,
    asked: Option<&str>,
    unconfirmed: Option<Record>,
) -> Result<Prepared> {
    let commit = commit(repository, original)?;
    let (config, is_gone) = config(ctx, repository, commit, original)?;
    let recipe = environment(repository, &config, commit, original)?;
    let server = match asked {
        Some(name) => asked_server(ctx, repository, &config, name)?,
        None => recorded_server(&config, original)?,
    };
    let first = first_id(original, &server);
    if asked.is_none() && !is_attempt_of(original, &first) {
        return Err(changed_surroundings(original, &server, is_gone));
    }
    warn_unchecked(ctx, original);
    let remote = config.push.remotes.first();
    let remote = remote.cloned().unwrap_or_else(|| "origin".into());
    let is_sent_anyway =
        server.source == Source::Origin && !is_on_remote(repository, &remote, commit);
    if is_sent_anyway {
        ctx.output.say(&format!(
            "{} is on no branch of {remote}: it is sent from here",
            original.commit.short()
        ));
    }
    let known: BTreeMap<RunId, Record> = all
        .iter()
        .map(|record| (record.run.id.clone(), record.clone()))
        .collect();
    let is_there = |record: &Record| record.run.server.is_at(&server.host, &server.path);
    let run = match unconfirmed.filter(is_there) {
        Some(record) => record.run,
        None => {
            let attempts = all
                .iter()
                .filter(|record| is_attempt_of(&record.run, &first));
            let last = attempts.map(|record| record.run.attempt).max();
            let occasion = occasion(repository, commit, &known)?;
            let attempt = last.unwrap_or(0).saturating_add(1);
            reproduction(original, &server, &first, attempt, occasion)
        }
    };
    let request = Request {
        commit,
        remote,
        branch: String::new(),
        experiments: Vec::new(),
        servers: Vec::new(),
        overrides: BTreeMap::new(),
        again: true,
        is_push: false,
    };
    Ok(Prepared {
        request,
        id: run.id.clone(),
        share: Share {
            server,
            recipe,
            is_sent_anyway,
            asked: vec![run],
            ended: Vec::new(),
        },
    })
}

fn commit(repository: &Repository, run: &Run) -> Result<Oid> {
    let id = Oid::from_str(run.commit.as_str()).ok();
    id.filter(|id| repository.git().find_commit(*id).is_ok())
        .ok_or_else(|| {
            Error::config(format!(
                "commit {} of {} is not in this repository",
                run.commit, run.id
            ))
            .hint(format!("git fetch origin {}", run.commit))
        })
}

/// How the recorded environment is made. It is described by the commit's files and by `[environment]` and
/// `[requirements]`, which files outside the commit may have changed.
fn environment(repository: &Repository, config: &Config, commit: Oid, run: &Run) -> Result<Recipe> {
    let recipe = recipe(config, &repository.tree(commit))?;
    if recipe.environment_key() == run.environment {
        return Ok(recipe);
    }
    let python = |version: &Option<String>| version.clone().unwrap_or_else(|| "any".into());
    let (was, is) = (&run.environment.python, &recipe.python);
    let error = Error::config(format!(
        "the environment of {} cannot be had as it was recorded: it was {}, and is now {}",
        run.id, run.environment.key, recipe.key
    ));
    let error = match was == is {
        true => error,
        false => error.cause(format!(
            "python: it was {}, and is now {}",
            python(was),
            python(is)
        )),
    };
    Err(error.hint(
        "take back what agile.local.toml or ~/.config/git-agile/config.toml says of [environment] and [requirements]; or another version of git-agile recorded it",
    ))
}

/// The configuration at the recorded commit, and whether nothing in it, but only the record, tells where the run's
/// server is.
fn config(
    ctx: &Context,
    repository: &Repository,
    commit: Oid,
    run: &Run,
) -> Result<(Config, bool)> {
    let Place { name, host, path } = &run.server;
    match ctx.config(repository, commit) {
        Ok(config) if config.servers.contains_key(name) => return Ok((config, false)),
        _ => {}
    }
    let place = BTreeMap::from([("host", host.to_string()), ("path", path.to_string())]);
    let servers = BTreeMap::from([("servers", BTreeMap::from([(name.as_str(), place)]))]);
    let content = toml::to_string(&servers).or_config(|| format!("server {name}"))?;
    let layer = Layer {
        file: format!("the record of {}", run.id),
        content: content.into_bytes(),
        is_personal: false,
    };
    let config = ctx.config_over(repository, commit, Some(layer))?;
    Ok((config, true))
}

/// The server of the record, if it is still where it was.
fn recorded_server(config: &Config, run: &Run) -> Result<Server> {
    let place = &run.server;
    let server = config.server(place.name.as_str())?;
    if place.is_at(&server.host, &server.path) {
        return Ok(server.clone());
    }
    Err(Error::config(format!(
        "server `{}` was {}:{} when {} ran, and is now {}:{}",
        place.name, place.host, place.path, run.id, server.host, server.path
    ))
    .hint(format!("--server {} reproduces it there", place.name)))
}

/// A server that the person named: as the recorded commit has it, or as the present one does.
fn asked_server(
    ctx: &Context,
    repository: &Repository,
    config: &Config,
    name: &str,
) -> Result<Server> {
    let error = match config.server(name) {
        Ok(server) => return Ok(server.clone()),
        Err(error) => error,
    };
    let present = repository
        .commit("HEAD")
        .and_then(|head| ctx.config(repository, head));
    match present.as_ref().map(|config| config.server(name)) {
        Ok(Ok(server)) => Ok(server.clone()),
        _ => Err(error),
    }
}

fn changed_surroundings(run: &Run, server: &Server, is_gone: bool) -> Error {
    let (name, id) = (&server.name, &run.id);
    if is_gone {
        return Error::config(format!(
            "server `{name}`, where {id} ran, is in no configuration any more, and its `setup` or `env` are in no record"
        ))
        .hint(format!("write [servers.{name}] into agile.local.toml as it was; or --server NAME for another one"));
    }
    Error::config(format!(
        "`setup` or `env` of server `{name}` are not what they were when {id} ran"
    ))
    .hint(format!(
        "take back what agile.local.toml or ~/.config/git-agile/config.toml says of them; or --server {name} takes them as they are"
    ))
}

/// Data without a checksum may be other data by now.
fn warn_unchecked(ctx: &Context, run: &Run) {
    for (name, data) in &run.data {
        if data.sha256.is_none() {
            ctx.output.warn(&format!(
                "data.{name} was recorded without a sha256: whether it is the same data is not known"
            ));
        }
    }
}

/// Whether a branch of `remote`, as far as this clone knows, has `commit`.
fn is_on_remote(repository: &Repository, remote: &str, commit: Oid) -> bool {
    let contains = format!("--contains={commit}");
    let branches = format!("refs/remotes/{remote}/");
    let list = ["for-each-ref", "--count=1", &contains, &branches];
    let found = git::ask(git::command_in(repository.root()), &list);
    found.is_ok_and(|found| found.is_some_and(|found| !found.is_empty()))
}
