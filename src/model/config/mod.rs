//! `agile.toml`: its keys, documented where they are defined.
//!
//! What the person wrote ([`RawConfig`], checked by serde so that a mistake points at its line) and what it means
//! ([`Config`]) are two types; [`load`] turns one into the other and is the one place that can complain.

mod load;
mod raw;
mod text;

use std::collections::BTreeMap;

pub use load::{Layer, load};
pub use raw::{
    Distribution, Environment, Grid, Image, Launch, Launcher, Manager, Push, Random, RawConfig,
    RawData, RawExperiment, RawServer, Source, Span, Stop,
};
pub(crate) use text::nearest;

use super::names::{
    DataName, EnvName, ExperimentName, Host, ParamName, RelPath, RemotePath, ServerName,
};
use super::run::Rule;
use super::slurm::SlurmOptions;
use super::value::Value;
use crate::error::{Error, Result};
use crate::terminal::clean;

/// The configuration of one commit, complete and consistent: every name that is used is defined.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[requirements]`.
    pub requirements: Requirements,
    /// `[environment]`.
    pub environment: Environment,
    /// `[servers.*]`.
    pub servers: BTreeMap<ServerName, Server>,
    /// `[data.*]`.
    pub data: BTreeMap<DataName, Data>,
    /// `[experiments.*]`.
    pub experiments: BTreeMap<ExperimentName, Experiment>,
    /// `[push]`.
    pub push: Push,
}

impl Config {
    /// The server `name`.
    ///
    /// # Errors
    /// [`Kind::Usage`](crate::error::Kind::Usage) with the nearest name when there is none.
    pub fn server(&self, name: &str) -> Result<&Server> {
        find("server", name, &self.servers)
    }

    /// The experiment `name`.
    ///
    /// # Errors
    /// As [`Config::server`].
    pub fn experiment(&self, name: &str) -> Result<&Experiment> {
        find("experiment", name, &self.experiments)
    }
}

fn find<'a, K: AsRef<str>, V>(noun: &str, name: &str, all: &'a BTreeMap<K, V>) -> Result<&'a V> {
    match all.iter().find(|(known, _)| known.as_ref() == name) {
        Some((_, found)) => Ok(found),
        None => {
            let error = format!("there is no {noun} `{}` in agile.toml", clean(name));
            Err(suggest(
                Error::usage(error),
                noun,
                name,
                all.keys().map(AsRef::as_ref),
            ))
        }
    }
}

/// `error` with what `name` may have meant among the `known` things.
fn suggest<'a>(
    error: Error,
    noun: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Error {
    let known: Vec<&str> = known.into_iter().collect();
    error.hint(match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => format!("add [{noun}s.{name}]"),
        None => format!("there is {}", known.join(", ")),
    })
}

/// What the deployment needs to know of `[requirements]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Requirements {
    /// The file that servers install from.
    pub file: RelPath,
}

/// One server.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Its name in `agile.toml`.
    pub name: ServerName,
    /// Where it is.
    pub host: Host,
    /// The project's folder there.
    pub path: RemotePath,
    /// How commits reach it.
    pub source: Source,
    /// What keeps a run alive without a connection.
    pub launcher: Launcher,
    /// How many runs at once.
    pub slots: Option<u16>,
    /// GPUs dealt out to the slots.
    pub gpus: Option<Vec<u16>>,
    /// Shell text sourced before every run.
    pub setup: Option<String>,
    /// Environment variables of every run.
    pub env: BTreeMap<EnvName, String>,
    /// Options of sbatch, for the launcher Slurm.
    pub slurm: SlurmOptions,
    /// Whether the person's own configuration file, and not the repository, says where it is.
    pub is_personal: bool,
}

/// A data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// Where it is downloaded from.
    pub url: String,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// Where the code finds it.
    pub path: RelPath,
    /// Whether it is an archive whose content is wanted as a folder.
    pub unpack: bool,
}

/// An experiment: a command and the settings it is run with.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// Its name in `agile.toml`.
    pub name: ExperimentName,
    /// File, line and key of it, for messages.
    pub place: String,
    /// The command, with `{parameter}` where a value goes.
    pub command: String,
    /// The servers that run it.
    pub servers: Vec<ServerName>,
    /// The data it needs.
    pub data: Vec<DataName>,
    /// How its settings are chosen.
    pub settings: Settings,
    /// Parameters that are the same in every run.
    pub set: BTreeMap<ParamName, Value>,
    /// Which files are results, as patterns relative to the code; empty: every file the run created or changed.
    pub results: Vec<RelPath>,
    /// Which result files hold metrics.
    pub metrics: Vec<RelPath>,
    /// The longest a run may take.
    pub timeout: Option<Span>,
    /// What of a metric ends a run early.
    pub rule: Option<Rule>,
    /// Whether a push deploys it.
    pub on_push: bool,
}

/// How the settings of an experiment are chosen.
#[derive(Clone, Debug, PartialEq)]
pub enum Settings {
    /// Every combination of these values, the last parameter varying fastest.
    Grid(Vec<(ParamName, Vec<Value>)>),
    /// Exactly these.
    List(Vec<BTreeMap<ParamName, Value>>),
    /// Drawn at random, the same ones every time.
    Random(Random),
}

impl Settings {
    /// How many there are as they are written, some of which may be the same.
    pub fn written(&self) -> usize {
        match self {
            Settings::Grid(axes) => {
                let lengths = axes.iter().map(|(_, values)| values.len());
                lengths.fold(1, usize::saturating_mul)
            }
            Settings::List(list) => list.len(),
            Settings::Random(random) => random.n,
        }
    }

    /// How many parameters one of them has, at most.
    pub fn parameters(&self) -> usize {
        match self {
            Settings::Grid(axes) => axes.len(),
            Settings::List(list) => list.iter().map(BTreeMap::len).max().unwrap_or(0),
            Settings::Random(random) => random.parameters.len(),
        }
    }
}
