//! A deployment: which runs a commit asks for, and what became of them on each server.

use std::collections::BTreeMap;

use super::environment::Recipe;
use super::observe::{Deed, Sighting, sightings};
use super::protocol::Answer;
use super::scripts::{Deployment, RunFiles};
use super::slurm;
use crate::design::{Identity, Stops, expand, run_id};
use crate::development::contents::{LfsFile, Submodule};
use crate::development::credential::{Credential, TOKEN};
use crate::development::push::git_host;
use crate::error::{Context as _, Error, Result};
use crate::model::config::{Config, Experiment, Server, Source};
use crate::model::names::{CommitId, ParamName, RelPath, RunId};
use crate::model::run::{DataKey, EnvironmentKey, Place, Rule, Run, SCHEMA};
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
                    unpack: set.unpack,
                },
            )
        })
        .collect();
    let settings = expand(experiment, overrides)?;
    let limit = experiment.timeout.map(crate::model::config::Span::seconds);
    let stops = match &experiment.rule {
        None => Stops::Limit(limit),
        Some(rule) => Stops::Rule(limit, rule),
    };
    let run = |(order, setting): (u32, crate::design::Setting)| {
        let identity = Identity {
            commit: &occasion.commit,
            experiment: &experiment.name,
            parameters: &setting.parameters,
            environment: &environment.key,
            data: &data,
            surroundings: (
                &setting.command,
                server.setup.as_deref(),
                &server.env,
                stops,
            ),
            server: &server.name,
        };
        Run {
            schema: SCHEMA,
            id: run_id(&identity, 1),
            experiment: experiment.name.clone(),
            commit: occasion.commit.clone(),
            subject: occasion.subject.clone(),
            attempt: 1,
            reproduces: None,
            command: setting.command,
            server: Place {
                name: server.name.clone(),
                host: server.host.clone(),
                path: server.path.clone(),
            },
            environment: environment.clone(),
            data: data.clone(),
            limit,
            rule: experiment.rule.clone(),
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

/// Where servers get the commit from, and what it needs beside its own objects.
#[derive(Clone)]
pub struct Origin {
    /// The address that they fetch from.
    pub url: String,
    /// What the git host wants to see.
    pub credential: Option<Credential>,
    /// The branch that was pushed, for messages; may be empty.
    pub branch: String,
    /// The submodules, outer ones first.
    pub submodules: Vec<Submodule>,
    /// What Git LFS keeps of it.
    pub lfs_files: Vec<LfsFile>,
}

/// What is asked of `server` so that `runs` are launched there, in the environment of `recipe`, from the commit that it
/// gets from `origin`.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) when a value cannot reach a program.
pub fn deployment(
    recipe: &Recipe,
    server: &Server,
    origin: &Origin,
    runs: &[Run],
) -> Result<Deployment> {
    // What was sent from here is not fetched.
    let is_fetched = server.source == Source::Origin;
    let url = if is_fetched {
        origin.url.clone()
    } else {
        String::new()
    };
    let lfs = !origin.lfs_files.is_empty();
    let lfs = lfs.then(|| (origin.lfs_files.clone(), url.clone()));
    let credential = origin.credential.clone();
    let commit = runs
        .first()
        .map(|run| run.commit.to_string())
        .unwrap_or_default();
    Ok(Deployment {
        path: server.path.clone(),
        url,
        credential: credential.filter(|_| is_fetched),
        submodules: origin.submodules.clone(),
        lfs,
        commit,
        branch: origin.branch.clone(),
        recipe: recipe.clone(),
        launcher: server.launcher,
        sbatch: server.slurm.arguments().collect(),
        slots: server.slots,
        gpus: server.gpus.clone().unwrap_or_default(),
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
        watch: run.rule.as_ref().map(|rule| watch(rule, &run.metrics)),
        data: run.data.values().cloned().collect(),
    })
}

/// The rule of a metric as the server's watcher takes it: with the files that have the metric, on one line.
fn watch(rule: &Rule, files: &[RelPath]) -> String {
    let mut watch = serde_json::json!(rule);
    watch["files"] = serde_json::json!(files);
    watch.to_string()
}

/// What became of one run.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was launched now, or had been before: its deed tells.
    There(Box<Sighting>),
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
    /// Data without a checksum that the server has now seen for the first time: its address and its SHA-256.
    pub unchecked: Vec<(String, String)>,
    /// What the server's Slurm has left open.
    pub doubts: Vec<Error>,
    /// Whom the server lets nothing outlive that they have started, once they log out.
    pub ends_sessions_of: Option<String>,
    /// Another machine from which runs were put into the same queue.
    pub shared_with: Option<String>,
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
            unchecked: Vec::new(),
            doubts: Vec::new(),
            ends_sessions_of: None,
            shared_with: None,
        }
    }
}

/// What `answer` of `server`, which gets the commit from `origin`, says about the runs `asked`.
pub fn report(server: &Server, origin: &Origin, asked: &[RunId], answer: &Answer) -> Report {
    let seen = sightings(answer, None);
    let lines = |word: &'static str| answer.iter().filter(move |line| line[0] == word);
    let credential = origin.credential.as_ref();
    let hidden = |text: &String| credential.map_or(text.clone(), |secret| secret.hidden_in(text));
    let mut tail: Vec<String> = lines("tail")
        .filter_map(|line| line.get(1))
        .map(hidden)
        .collect();
    // Runs that fail alike say the same.
    tail.dedup();
    let hint = lines("hint")
        .find_map(|line| line.get(1))
        .map(|hint| clean(hint));
    let dress = |step: &str, text: &str| {
        let error = Error::step(format!("{}: {}", server.name, clean(text)));
        let error = error.cause(tail.join("\n"));
        match &hint {
            Some(hint) => error.hint(hint),
            None => error.hint(hint_for(step, &tail.join("\n"), server, &origin.url)),
        }
    };
    let outcome = |id: &RunId| {
        if let Some(sighting) = seen.get(id) {
            return Outcome::There(Box::new(sighting.clone()));
        }
        let failed =
            lines("failed").find(|line| line.get(1).is_some_and(|other| other == id.as_str()));
        match failed.and_then(|line| Some((line.get(2)?, line.get(3)?))) {
            Some((step, text)) => Outcome::Failed(dress(step, text)),
            None => Outcome::Unknown,
        }
    };
    let is_doubtful = seen
        .values()
        .any(|sighting| sighting.deed == Deed::Unconfirmed);
    let doubt = is_doubtful.then(|| {
        let text = format!("{}: Slurm did not say whether it took the job", server.name);
        let hint = "the same command again asks Slurm for the job before it sends another";
        Error::step(text).cause(tail.join("\n")).hint(hint)
    });
    let failure = lines("error").find_map(|line| Some((line.get(1)?, line.get(2)?)));
    Report {
        runs: asked.iter().map(|id| (id.clone(), outcome(id))).collect(),
        failure: failure.map(|(step, text)| dress(step, text)),
        commit: lines("commit").find_map(|line| line.get(1)).cloned(),
        unchecked: lines("unchecked")
            .filter_map(|line| Some((line.get(1)?.clone(), line.get(2)?.clone())))
            .collect(),
        doubts: doubt
            .into_iter()
            .chain(slurm::unseen(server, answer))
            .collect(),
        has_built: lines("environment").any(|line| line.get(2).is_some_and(|word| word == "built")),
        ends_sessions_of: lines("ends-sessions").find_map(|line| line.get(1)).cloned(),
        shared_with: lines("shared").find_map(|line| line.get(1)).cloned(),
    }
}

/// What mends a step that failed on a server.
fn hint_for(step: &str, tail: &str, server: &Server, url: &str) -> String {
    let said = tail.to_lowercase();
    let has = |text: &str| said.contains(text);
    let name = &server.name;
    match step {
        "git" => format!("install git on {name} (Debian, Ubuntu: sudo apt install git)"),
        "submodule" => "its remote must have the commit, and the server access to it: git push --recurse-submodules=on-demand".to_string(),
        "lfs" if tail.is_empty() => {
            format!("install git-lfs on {name} (Debian, Ubuntu: sudo apt install git-lfs)")
        }
        "lfs" => format!(
            "on {name}, `git lfs` must be able to fetch from {url}; were the files pushed here (git lfs push)?"
        ),
        "python" => format!("install it on {name}, or set `python` in [environment]"),
        "fetch" if has("host key verification failed") => {
            format!(
                "{name} does not know the git host yet: log in there and run `git ls-remote {url}` once"
            )
        }
        "fetch"
            if url.starts_with("http")
                && (has("authentication failed")
                    || has("could not read username")
                    || has("403")) =>
        {
            format!(
                "git here must know a credential for {} (git help credentials), which is handed on; or set {TOKEN}",
                git_host(url)
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
        "fetch" => format!(
            "on {name}, `git ls-remote {url}` must work; or set source = \"direct\" in [servers.{name}]"
        ),
        "disk" | "folder" | "checkout" if has("no space") || step == "disk" => {
            format!("free some space on {name}, or correct `path`")
        }
        "folder" => format!("correct `path` of [servers.{name}]"),
        "slurm" => format!(
            "put it on the PATH that `git agile ssh {name} 'command -v sbatch'` has (~/.bashrc there), or set \
             `launcher`"
        ),
        "submit" => format!(
            "correct `slurm` of [servers.{name}] and commit, or ask Slurm: git agile ssh {name} sinfo"
        ),
        "launcher" => {
            format!("install it on {name}, or set `launcher = \"auto\"` in [servers.{name}]")
        }
        "launch" => format!(
            "git agile ssh {name} 'screen -ls; tmux ls' shows what works there; or set `launcher`"
        ),
        _ => format!("mend that on {name} (git agile ssh {name}), then the same command again"),
    }
}
