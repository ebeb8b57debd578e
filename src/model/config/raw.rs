//! The tables and keys of `agile.toml` as a person writes them. Each doc comment is the key's documentation.

use std::collections::BTreeMap;

use documented::DocumentedFields;
use serde::Deserialize;

use crate::model::names::{
    DataName, EnvName, ExperimentName, Host, ParamName, RelPath, RemotePath, ServerName,
};
use crate::model::run::Mode;

/// One layer of the configuration; every key is optional here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// `[requirements]`: how `requirements.txt` is kept.
    pub requirements: crate::requirements::Settings,
    /// `[environment]`: the Python environment on the servers.
    pub environment: Environment,
    /// `[servers.NAME]`: where experiments run.
    pub servers: BTreeMap<ServerName, RawServer>,
    /// `[data.NAME]`: what is downloaded on a server before a run.
    pub data: BTreeMap<DataName, RawData>,
    /// `[experiments.NAME]`: what is run.
    pub experiments: BTreeMap<ExperimentName, RawExperiment>,
    /// `[push]`: which pushes deploy.
    pub push: Push,
}

/// `[environment]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct Environment {
    /// What builds the environment.
    pub manager: Manager,
    /// The Python version, such as `"3.11"`; without it the server's `python3`.
    pub python: Option<PythonVersion>,
    /// The image of `manager = "docker"`; without it the commit's `Dockerfile` is built.
    pub image: Option<Image>,
}

/// The name of a container image, such as `"python:3.12-slim"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Image(String);

impl Image {
    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Image {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
        if text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.len() <= 255
            && text.chars().all(plain)
        {
            Ok(Image(text))
        } else {
            Err(format!(
                "\"{}\" is not the name of an image such as \"python:3.12-slim\"",
                crate::terminal::clean(&text)
            ))
        }
    }
}

/// A Python version: two or three numbers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PythonVersion(String);

impl PythonVersion {
    /// The version as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PythonVersion {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let parts: Vec<_> = text.split('.').collect();
        let number =
            |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        if (2..=3).contains(&parts.len()) && parts.iter().all(number) {
            Ok(PythonVersion(text))
        } else {
            Err(format!(
                "\"{}\" is not a Python version such as \"3.11\"",
                crate::terminal::clean(&text)
            ))
        }
    }
}

/// What builds an environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, DocumentedFields)]
#[serde(rename_all = "lowercase")]
#[documented_fields(rename_all = "lowercase")]
pub enum Manager {
    /// The best that the server has.
    #[default]
    Auto,
    /// `python3 -m venv` and pip.
    Venv,
    /// uv.
    Uv,
    /// virtualenv and pip.
    Virtualenv,
    /// pyenv chooses the interpreter.
    Pyenv,
    /// pipenv and its `Pipfile.lock`.
    Pipenv,
    /// conda, mamba or micromamba and `environment.yml`.
    Conda,
    /// A container.
    Docker,
}

impl Manager {
    /// The word in `agile.toml`, which the server's script knows.
    pub fn as_str(self) -> &'static str {
        match self {
            Manager::Auto => "auto",
            Manager::Venv => "venv",
            Manager::Uv => "uv",
            Manager::Virtualenv => "virtualenv",
            Manager::Pyenv => "pyenv",
            Manager::Pipenv => "pipenv",
            Manager::Conda => "conda",
            Manager::Docker => "docker",
        }
    }
}

/// `[servers.NAME]`.
#[derive(Clone, Debug, Default, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct RawServer {
    /// `login@address`, an alias of `~/.ssh/config`, or `"local"` for this machine without ssh.
    pub host: Option<Host>,
    /// The project's folder on the server; `~/agile/PROJECT` when absent, by the name of the project's folder here. Clones
    /// in folders of other names share their runs where a `path` says so.
    pub path: Option<RemotePath>,
    /// How commits reach the server.
    pub source: Option<Source>,
    /// What keeps a run alive without a connection.
    pub launcher: Option<Launcher>,
    /// How many runs at once; the rest wait in the server's queue.
    pub slots: Option<std::num::NonZeroU16>,
    /// GPUs dealt out to the slots as `CUDA_VISIBLE_DEVICES`.
    pub gpus: Option<Vec<u16>>,
    /// Shell text sourced before every run; `module load` works in it as in a login shell.
    pub setup: Option<String>,
    /// Environment variables of every run.
    pub env: BTreeMap<EnvName, String>,
    /// Options of sbatch by their long names, for the launcher `"slurm"`: `{ partition = "gpu", time = "12:00:00" }`.
    pub slurm: BTreeMap<String, toml::Value>,
}

/// How commits reach a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, DocumentedFields)]
#[serde(rename_all = "lowercase")]
#[documented_fields(rename_all = "lowercase")]
pub enum Source {
    /// The server fetches from the git remote.
    #[default]
    Origin,
    /// They are sent from here over the ssh connection.
    Direct,
}

/// What keeps a run alive without a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, DocumentedFields)]
#[serde(rename_all = "lowercase")]
#[documented_fields(rename_all = "lowercase")]
pub enum Launcher {
    /// screen, else tmux, else nohup.
    #[default]
    Auto,
    /// A detached GNU screen session.
    Screen,
    /// A detached tmux session.
    Tmux,
    /// A Slurm job.
    Slurm,
    /// A process in a session of its own.
    Nohup,
}

impl Launcher {
    /// The word that the server's script knows.
    pub fn as_str(self) -> &'static str {
        match self {
            Launcher::Auto => "auto",
            Launcher::Screen => "screen",
            Launcher::Tmux => "tmux",
            Launcher::Slurm => "slurm",
            Launcher::Nohup => "nohup",
        }
    }
}

/// `[data.NAME]`.
#[derive(Clone, Debug, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields)]
pub struct RawData {
    /// Where it is downloaded from.
    pub url: String,
    /// The SHA-256 of the file, 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// Where the code finds it.
    pub path: RelPath,
    /// Whether it is an archive (zip, tar, tar.gz, tar.bz2, tar.xz, tar.zst) whose content is wanted as a folder.
    #[serde(default)]
    pub unpack: bool,
}

/// `[experiments.NAME]`.
#[derive(Clone, Debug, Default, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct RawExperiment {
    /// The command; `{name}` becomes the parameter's value, quoted for the shell. `{{` and `}}` are braces.
    pub command: Option<String>,
    /// The servers that run it; may be absent when there is just one server.
    pub servers: Option<Vec<ServerName>>,
    /// The data it needs.
    pub data: Vec<DataName>,
    /// Every combination of these values.
    pub grid: Option<Grid>,
    /// Exactly these settings.
    pub list: Option<Vec<toml::Table>>,
    /// Settings drawn at random, the same ones every time.
    pub random: Option<Random>,
    /// Parameters that are the same in every run.
    pub set: toml::Table,
    /// When to end a run early.
    pub stop: Option<Stop>,
    /// Which files are results; without it every file that the run created or changed.
    pub results: Vec<RelPath>,
    /// Which result files hold metrics.
    pub metrics: Vec<RelPath>,
    /// A short form of the command, for a person to know; no command runs it yet.
    pub check: Option<String>,
    /// Whether a push deploys it; true when absent.
    pub on_push: Option<bool>,
}

/// Parameters and the values each takes, in the order written.
pub type Grid = toml::Table;

/// `random = { n = 20, lr = { log_uniform = [1e-5, 1e-1] } }`.
#[derive(Clone, Debug, PartialEq, Deserialize, DocumentedFields)]
pub struct Random {
    /// How many settings.
    pub n: usize,
    /// Draws another sequence; 0 when absent.
    #[serde(default)]
    pub draw: u64,
    /// How each parameter is distributed.
    #[serde(flatten)]
    #[documented_fields(rename = "PARAMETER")]
    pub parameters: BTreeMap<ParamName, Distribution>,
}

/// How a random parameter is distributed.
#[derive(Clone, Debug, PartialEq, Deserialize, DocumentedFields)]
#[serde(rename_all = "snake_case")]
#[documented_fields(rename_all = "snake_case")]
pub enum Distribution {
    /// Evenly between two bounds.
    Uniform([f64; 2]),
    /// Evenly in the logarithm between two positive bounds.
    LogUniform([f64; 2]),
    /// A whole number between two bounds, both included.
    Int([i64; 2]),
    /// One of these.
    Choice(Vec<toml::Value>),
}

/// `stop = { timeout = "12h", metric = "loss", below = 0.01, patience = 5 }`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct Stop {
    /// The longest a run may take, such as `"90s"`, `"30m"`, `"12h"` or `"2d"`.
    pub timeout: Option<Span>,
    /// The metric that is watched in the experiment's `metrics` files; names that are nested have dots between them.
    pub metric: Option<String>,
    /// Ends the run when the metric falls below.
    pub below: Option<f64>,
    /// Ends the run when the metric rises above.
    pub above: Option<f64>,
    /// Ends the run after so many values in a row that are no better than the best one before.
    pub patience: Option<u32>,
    /// Which values are better: `"min"` (so with `below`) or `"max"` (so with `above`).
    pub mode: Option<Mode>,
}

/// A span of time: a whole number and `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(u64);

impl Span {
    /// Its seconds.
    pub fn seconds(self) -> u64 {
        self.0
    }
}

impl TryFrom<String> for Span {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
        let parse = |(unit, seconds): (char, u64)| {
            let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            number
                .checked_mul(seconds)
                .filter(|&seconds| (1..=366 * 86_400).contains(&seconds))
        };
        let seconds = units.into_iter().find_map(parse);
        seconds.map(Span).ok_or_else(|| {
            format!(
                "\"{}\" is not a time such as \"90s\", \"30m\", \"12h\" or \"2d\"",
                crate::terminal::clean(&text)
            )
        })
    }
}

/// `[push]`.
#[derive(Clone, Debug, PartialEq, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct Push {
    /// Whether a push launches.
    pub launch: Launch,
    /// Pushes to these remotes deploy.
    pub remotes: Vec<String>,
    /// Pushes to these branches deploy; `*` stands for any text.
    pub branches: Vec<String>,
}

impl Default for Push {
    fn default() -> Self {
        Push {
            launch: Launch::Auto,
            remotes: vec!["origin".into()],
            branches: vec!["*".into()],
        }
    }
}

/// Whether a push launches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, DocumentedFields)]
#[serde(rename_all = "lowercase")]
#[documented_fields(rename_all = "lowercase")]
pub enum Launch {
    /// At once.
    #[default]
    Auto,
    /// After a question; without a terminal, not.
    Ask,
    /// Only `git agile deploy` does.
    Never,
}
