//! A deployment: which runs a commit asks for, and what became of them on each server.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::observe::{Deed, Facts, sightings};
use super::protocol::Answer;
use super::scripts::{Deployment, RunFiles};
use crate::design::{Identity, expand, run_id};
use crate::error::{Context as _, Error, Result};
use crate::model::config::{Config, Experiment, Launcher, Manager, Server, Source, Stop};
use crate::model::names::{CommitId, ParamName, RelPath, RunId};
use crate::model::run::{DataKey, EnvironmentKey, Place, Run, SCHEMA};
use crate::model::shell::exports;
use crate::model::value::Value;
use crate::terminal::clean;

/// What all runs of one deployment share.
#[derive(Clone, Debug)]
pub struct Occasion {
    /// The commit.
    pub commit: CommitId,
    /// The first line of its message.
    pub subject: String,
    /// The push that this is.
    pub sprint: String,
    /// Now, seconds since 1970.
    pub asked: i64,
    /// Who asks.
    pub by: String,
}

/// The environment that `config` and the commit's requirement files (path and content, the installed one first)
/// describe.
pub fn environment_key(config: &Config, files: &[(RelPath, Vec<u8>)]) -> EnvironmentKey {
    let python = config
        .environment
        .python
        .as_ref()
        .map(|version| version.as_str().to_string());
    let mut digest = Sha256::new();
    digest.update(format!(
        "{}\0{}\0",
        config.environment.manager.as_str(),
        python.as_deref().unwrap_or_default()
    ));
    for (path, content) in files {
        digest.update(format!("{path}\0{}\0", content.len()));
        digest.update(content);
    }
    EnvironmentKey {
        key: digest
            .finalize()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        python,
        requirements: files.iter().map(|(path, _)| path.clone()).collect(),
    }
}

/// The runs of `experiment` on `server`, first attempts, in the order of the design.
///
/// # Errors
/// As [`expand`].
pub fn runs(
    config: &Config,
    experiment: &Experiment,
    server: &Server,
    overrides: &BTreeMap<ParamName, Value>,
    environment: &EnvironmentKey,
    occasion: &Occasion,
) -> Result<Vec<Run>> {
    let data = experiment
        .data
        .iter()
        .filter_map(|name| Some((name.clone(), config.data.get(name)?)));
    let data: BTreeMap<_, _> = data
        .map(|(name, set)| {
            (
                name,
                DataKey {
                    url: set.url.clone(),
                    sha256: set.sha256.clone(),
                    path: set.path.clone(),
                },
            )
        })
        .collect();
    let settings = expand(experiment, overrides)?;
    let run = |(order, setting): (u32, crate::design::Setting)| {
        let identity = Identity {
            commit: &occasion.commit,
            experiment: &experiment.name,
            parameters: &setting.parameters,
            environment: &environment.key,
            data: &data,
            server: &server.name,
        };
        Run {
            schema: SCHEMA,
            id: run_id(&identity, 1),
            experiment: experiment.name.clone(),
            commit: occasion.commit.clone(),
            subject: occasion.subject.clone(),
            attempt: 1,
            command: setting.command,
            server: Place {
                name: server.name.clone(),
                host: server.host.clone(),
                path: server.path.clone(),
            },
            environment: environment.clone(),
            data: data.clone(),
            limit: experiment
                .stop
                .as_ref()
                .and_then(|stop| Some(stop.timeout?.seconds())),
            results: experiment.results.clone(),
            metrics: experiment.metrics.clone(),
            sprint: occasion.sprint.clone(),
            order,
            asked: occasion.asked,
            by: occasion.by.clone(),
            parameters: setting.parameters,
        }
    };
    Ok((0..).zip(settings).map(run).collect())
}

/// The id of another attempt of the run whose first attempt is `first`.
pub fn attempt_id(first: &RunId, attempt: u32) -> RunId {
    let text = format!("{first}-a{attempt}");
    // A first attempt's id is at most 43 characters long.
    RunId::new(text).unwrap_or_else(|_| first.clone())
}

/// What this version cannot do yet, said before anything is sent.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) naming the key of `agile.toml`.
pub fn check_supported(config: &Config, experiment: &Experiment, server: &Server) -> Result<()> {
    let not_yet = |key: String, instead: &str| {
        Err(
            Error::config(format!("{key} is not supported by this version"))
                .hint(instead.to_string()),
        )
    };
    if server.source == Source::Direct {
        return not_yet(
            format!("servers.{}.source = \"direct\"", server.name),
            "source = \"origin\"",
        );
    }
    if server.launcher == Launcher::Slurm {
        return not_yet(
            format!("servers.{}.launcher = \"slurm\"", server.name),
            "launcher = \"auto\"",
        );
    }
    if !matches!(
        config.environment.manager,
        Manager::Auto | Manager::Venv | Manager::Uv
    ) {
        return not_yet("environment.manager".to_string(), "manager = \"auto\"");
    }
    let stops_by_metric = |stop: &Stop| {
        *stop
            != Stop {
                timeout: stop.timeout,
                ..Stop::default()
            }
    };
    if experiment.stop.as_ref().is_some_and(stops_by_metric) {
        return not_yet(
            format!("experiments.{}.stop.metric", experiment.name),
            "stop = { timeout = \"12h\" } works",
        );
    }
    Ok(())
}

/// What is asked of `server` so that `runs` are launched there from the commit that it can fetch from `url`.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) when a value cannot reach a program.
pub fn deployment(
    config: &Config,
    server: &Server,
    url: &str,
    branch: &str,
    runs: &[Run],
) -> Result<Deployment> {
    let commit = runs
        .first()
        .map(|run| run.commit.to_string())
        .unwrap_or_default();
    let environment = runs
        .first()
        .map(|run| run.environment.key.clone())
        .unwrap_or_default();
    let requirements = runs.first().map(|run| {
        run.environment
            .requirements
            .iter()
            .map(ToString::to_string)
            .collect()
    });
    Ok(Deployment {
        path: server.path.clone(),
        url: url.to_string(),
        commit,
        branch: branch.to_string(),
        environment,
        python: config
            .environment
            .python
            .as_ref()
            .map(|python| python.as_str().to_string())
            .unwrap_or_default(),
        manager: config.environment.manager.as_str(),
        launcher: server.launcher.as_str(),
        slots: server.slots,
        gpus: server.gpus.clone().unwrap_or_default(),
        requirements: requirements.unwrap_or_default(),
        runs: runs
            .iter()
            .map(|run| files(server, run))
            .collect::<Result<_>>()?,
    })
}

fn files(server: &Server, run: &Run) -> Result<RunFiles> {
    let parameters: Vec<(String, String)> = run
        .parameters
        .iter()
        .map(|(name, value)| {
            (
                format!("AGILE_PARAM_{}", name.as_str().to_ascii_uppercase()),
                value.to_string(),
            )
        })
        .collect();
    let own = [
        ("AGILE_EXPERIMENT".to_string(), run.experiment.as_str()),
        ("AGILE_COMMIT".to_string(), run.commit.as_str()),
    ];
    let env = server
        .env
        .iter()
        .map(|(name, value)| (name.to_string(), value.as_str()));
    let parameters = parameters
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str()));
    let variables =
        exports(env.chain(own).chain(parameters)).or_config(|| format!("run {}", run.id))?;
    Ok(RunFiles {
        id: run.id.clone(),
        json: serde_json::to_string_pretty(run)
            .or_step(|| format!("cannot describe run {}", run.id))?,
        command: run.command.clone(),
        variables,
        setup: server.setup.clone().unwrap_or_default(),
        limit: run.limit,
        data: run.data.values().cloned().collect(),
    })
}

/// What became of one run.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was launched now, or had been before (`Deed` tells), and this is what its folder says.
    There(Deed, Option<Facts>),
    /// It could not be launched.
    Failed(Error),
    /// The server did not say.
    Unknown,
}

/// What became of a deployment on one server.
#[derive(Debug)]
pub struct Report {
    /// Each run that was asked for.
    pub runs: Vec<(RunId, Outcome)>,
    /// The step that failed for all runs that were not launched.
    pub failure: Option<Error>,
    /// The commit id that was read back.
    pub commit: Option<String>,
    /// Whether the environment was built now.
    pub has_built: bool,
}

impl Report {
    /// What became of the runs `asked` on a server that could not be contacted.
    pub fn not_contacted(asked: &[RunId], error: Error) -> Self {
        Report {
            runs: asked
                .iter()
                .map(|id| (id.clone(), Outcome::Unknown))
                .collect(),
            failure: Some(error),
            commit: None,
            has_built: false,
        }
    }
}

/// What `answer` of `server`, which fetches from `url`, says about the runs `asked`.
pub fn report(server: &Server, url: &str, asked: &[RunId], answer: &Answer) -> Report {
    let (seen, _) = sightings(answer);
    let lines = |word: &'static str| answer.iter().filter(move |line| line[0] == word);
    let tail: Vec<&str> = lines("tail")
        .filter_map(|line| line.get(1))
        .map(String::as_str)
        .collect();
    let hint = lines("hint")
        .find_map(|line| line.get(1))
        .map(|hint| clean(hint));
    let dress = |step: &str, text: &str| {
        let error = Error::step(format!("{}: {}", server.name, clean(text)));
        let error = if tail.is_empty() {
            error
        } else {
            error.cause(tail.join("\n"))
        };
        let hint = hint
            .clone()
            .or_else(|| hint_for(step, &tail.join("\n"), server, url));
        hint.map_or(error.clone(), |hint| error.hint(hint))
    };
    let outcome = |id: &RunId| {
        if let Some(sighting) = seen.get(id) {
            return Outcome::There(sighting.deed, sighting.facts.clone());
        }
        let failed =
            lines("failed").find(|line| line.get(1).is_some_and(|other| other == id.as_str()));
        match failed.and_then(|line| Some((line.get(2)?, line.get(3)?))) {
            Some((step, text)) => Outcome::Failed(dress(step, text)),
            None => Outcome::Unknown,
        }
    };
    let failure = lines("error").find_map(|line| Some((line.get(1)?, line.get(2)?)));
    Report {
        runs: asked.iter().map(|id| (id.clone(), outcome(id))).collect(),
        failure: failure.map(|(step, text)| dress(step, text)),
        commit: lines("commit").find_map(|line| line.get(1)).cloned(),
        has_built: lines("environment").any(|line| line.get(2).is_some_and(|word| word == "built")),
    }
}

/// What mends a step that failed on a server.
fn hint_for(step: &str, tail: &str, server: &Server, url: &str) -> Option<String> {
    let said = tail.to_lowercase();
    let has = |text: &str| said.contains(text);
    let name = &server.name;
    Some(match step {
        "git" => format!("install git on {name} (Debian, Ubuntu: sudo apt install git)"),
        "python" => format!("install it on {name}, or set `python` in [environment]"),
        "fetch" if has("host key verification failed") => {
            format!(
                "{name} does not know the git host yet: log in there and run `git ls-remote {url}` once"
            )
        }
        "fetch"
            if has("permission denied")
                || has("authentication failed")
                || has("could not read username") =>
        {
            format!("give {name} access to the git host: a deploy key, or a key in its ~/.ssh")
        }
        "fetch"
            if has("not our ref")
                || has("unadvertised object")
                || has("couldn't find remote ref")
                || tail.is_empty() =>
        {
            "the commit is not on the git remote: git agile push".to_string()
        }
        "fetch" => format!("on {name}, `git ls-remote {url}` must work"),
        "disk" | "folder" | "checkout" if has("no space") || step == "disk" => {
            format!("free some space on {name}, or correct `path`")
        }
        "folder" => format!("correct `path` of [servers.{name}]"),
        "launcher" => {
            format!("install it on {name}, or set `launcher = \"auto\"` in [servers.{name}]")
        }
        "launch" => format!(
            "git agile ssh {name} 'screen -ls; tmux ls' shows what works there; or set `launcher`"
        ),
        _ => return None,
    })
}
