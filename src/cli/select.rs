//! Which runs a command means.

use clap::Args;

use super::Context;
use crate::development::records::{self, Record};
use crate::development::repository::Repository;
use crate::error::{Error, Result};

/// The runs to work on.
#[derive(Debug, Default, Args)]
pub struct Selection {
    /// Runs: any unambiguous beginning of their ids, `@` for the newest; without any, the newest push
    #[arg(value_name = "RUN")]
    pub runs: Vec<String>,
    /// All runs
    #[arg(long)]
    pub all: bool,
    /// Runs of this experiment
    #[arg(long, short = 'e', value_name = "NAME")]
    pub experiment: Option<String>,
    /// Runs on this server
    #[arg(long, short = 's', value_name = "NAME")]
    pub server: Option<String>,
    /// Runs of this push: the beginning of its commit or of its date
    #[arg(long, value_name = "PUSH")]
    pub sprint: Option<String>,
}

impl Selection {
    /// Whether the person named nothing.
    pub fn is_default(&self) -> bool {
        self.runs.is_empty()
            && !self.all
            && self.experiment.is_none()
            && self.server.is_none()
            && self.sprint.is_none()
    }

    /// The records that are meant, in the order they were asked for.
    ///
    /// # Errors
    /// [`Kind::Usage`](crate::error::Kind::Usage) for a name that means none, or more than one.
    pub fn records(&self, ctx: &Context, repository: &Repository) -> Result<Vec<Record>> {
        let all = load(ctx, repository)?;
        if !self.runs.is_empty() {
            let mut chosen: Vec<Record> = Vec::new();
            for name in &self.runs {
                let record = one(&all, name)?;
                if chosen.iter().all(|other| other.run.id != record.run.id) {
                    chosen.push(record.clone());
                }
            }
            return Ok(chosen);
        }
        let newest = all.last().map(|record| record.run.sprint.clone());
        let is_default = self.is_default();
        let unknown = |noun: &str, name: &str, known: Vec<&str>| {
            let error = Error::usage(format!(
                "no run has the {noun} `{}`",
                crate::terminal::clean(name)
            ));
            match crate::model::config::nearest(name, known.iter().copied()) {
                Some(near) => Err(error.hint(format!("did you mean `{near}`?"))),
                None => Err(error.hint("git agile status --all lists the runs")),
            }
        };
        if let Some(name) = &self.experiment
            && all
                .iter()
                .all(|record| record.run.experiment.as_str() != name)
        {
            return unknown(
                "experiment",
                name,
                all.iter()
                    .map(|record| record.run.experiment.as_str())
                    .collect(),
            );
        }
        if let Some(name) = &self.server
            && all
                .iter()
                .all(|record| record.run.server.name.as_str() != name)
        {
            return unknown(
                "server",
                name,
                all.iter()
                    .map(|record| record.run.server.name.as_str())
                    .collect(),
            );
        }
        if let Some(name) = &self.sprint
            && all.iter().all(|record| !is_sprint(record, name))
        {
            return unknown(
                "sprint",
                name,
                all.iter()
                    .map(|record| record.run.sprint.as_str())
                    .collect(),
            );
        }
        let is_meant = |record: &Record| {
            (!is_default || Some(&record.run.sprint) == newest.as_ref())
                && self
                    .experiment
                    .as_ref()
                    .is_none_or(|name| record.run.experiment.as_str() == name)
                && self
                    .server
                    .as_ref()
                    .is_none_or(|name| record.run.server.name.as_str() == name)
                && self
                    .sprint
                    .as_ref()
                    .is_none_or(|name| is_sprint(record, name))
        };
        Ok(all.into_iter().filter(is_meant).collect())
    }
}

fn is_sprint(record: &Record, name: &str) -> bool {
    record.run.sprint.starts_with(name)
        || (name.len() >= 4 && record.run.commit.as_str().starts_with(name))
}

/// The one run that `name` means.
///
/// # Errors
/// As [`Selection::records`].
pub fn one_run(ctx: &Context, repository: &Repository, name: &str) -> Result<Record> {
    one(&load(ctx, repository)?, name).cloned()
}

fn load(ctx: &Context, repository: &Repository) -> Result<Vec<Record>> {
    records::all(repository, |error| ctx.output.warn(&error.to_string()))
}

fn one<'a>(all: &'a [Record], name: &str) -> Result<&'a Record> {
    if all.is_empty() {
        return Err(Error::usage("there are no runs yet").hint("git agile push"));
    }
    if name == "@" {
        return all
            .last()
            .ok_or_else(|| Error::usage("there are no runs yet"));
    }
    if let Some(record) = all.iter().find(|record| record.run.id.as_str() == name) {
        return Ok(record);
    }
    let meant: Vec<&Record> = all
        .iter()
        .filter(|record| record.run.id.as_str().starts_with(name))
        .collect();
    let shown = crate::terminal::clean(name);
    match meant.as_slice() {
        [record] => Ok(record),
        [] => {
            let error = Error::usage(format!("there is no run `{shown}`"));
            let near = crate::model::config::nearest(
                name,
                all.iter().map(|record| record.run.id.as_str()),
            );
            Err(error.hint(
                near.map_or("git agile status --all lists the runs".into(), |near| {
                    format!("did you mean `{near}`?")
                }),
            ))
        }
        several => {
            let mut names: Vec<_> = several
                .iter()
                .take(5)
                .map(|record| record.run.id.as_str())
                .collect();
            if several.len() > 5 {
                names.push("…");
            }
            Err(
                Error::usage(format!("`{shown}` means {} runs", several.len()))
                    .hint(names.join(", ")),
            )
        }
    }
}
