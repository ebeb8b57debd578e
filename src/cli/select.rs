//! Which runs a command means.

use clap::Args;

use super::look::now;
use super::{Context, fetch};
use crate::development::records::{self, Record};
use crate::development::repository::Repository;
use crate::error::{Error, Result};
use crate::model::config::nearest;
use crate::terminal::clean;

/// The runs to work on.
#[derive(Debug, Default, Args)]
pub struct Selection {
    /// Runs: any unambiguous beginning of their ids, `@` for the newest; without any, the newest push and
    /// what was reproduced since
    #[arg(value_name = "RUN", conflicts_with_all = ["all", "experiment", "server", "sprint"])]
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

    /// The records that are meant, in the order they were asked for. `fetched` is said only of those whose results came
    /// to this clone: shared records tell of others' fetches too.
    ///
    /// # Errors
    /// [`Kind::Usage`](crate::error::Kind::Usage) for a name that means none, or more than one.
    pub fn records(&self, ctx: &Context, repository: &Repository) -> Result<Vec<Record>> {
        let mut all = as_here(repository, all(ctx, repository)?);
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
        if self.is_default() {
            let mut newest = all.split_off(newest_push(&all));
            let sprint = newest.first().map(|record| record.run.sprint.clone());
            newest.retain(|record| {
                let run = &record.run;
                Some(&run.sprint) == sprint.as_ref() || run.reproduces.is_some()
            });
            return Ok(newest);
        }
        for (noun, name, of) in self.filters() {
            if all.iter().any(|record| of(record, name)) {
                continue;
            }
            let error = Error::usage(format!("no run has the {noun} `{}`", clean(name)));
            let known = all.iter().map(|record| match noun {
                "experiment" => record.run.experiment.as_str(),
                "server" => record.run.server.name.as_str(),
                _ => record.run.sprint.as_str(),
            });
            return Err(error.hint(did_you_mean(nearest(name, known))));
        }
        let is_meant = |record: &Record| self.filters().all(|(_, name, of)| of(record, name));
        Ok(all.into_iter().filter(is_meant).collect())
    }

    /// What a run must be: noun, name, and whether a record is that.
    fn filters(&self) -> impl Iterator<Item = (&'static str, &str, Filter)> {
        let filters: [(_, _, Filter); 3] = [
            ("experiment", &self.experiment, |record, name| {
                record.run.experiment.as_str() == name
            }),
            ("server", &self.server, |record, name| {
                record.run.server.name.as_str() == name
            }),
            ("sprint", &self.sprint, is_sprint),
        ];
        filters
            .into_iter()
            .filter_map(|(noun, name, of)| Some((noun, name.as_deref()?, of)))
    }
}

type Filter = fn(&Record, &str) -> bool;

/// Where the newest push begins in `all`, the newest last: a run that reproduces another was not pushed.
fn newest_push(all: &[Record]) -> usize {
    let pushed = |record: &&Record| record.run.reproduces.is_none();
    let newest = newest(all.iter().filter(pushed)).or(all.last());
    let is_of_it = |record: &Record| newest.is_some_and(|it| it.run.sprint == record.run.sprint);
    all.iter().position(is_of_it).unwrap_or_default()
}

/// The newest of `all`, the newest last. One that a wrong clock has put into the future is not, unless all are.
fn newest<'a>(all: impl DoubleEndedIterator<Item = &'a Record> + Clone) -> Option<&'a Record> {
    const JITTER: i64 = 300;
    let latest = now() + JITTER;
    let mut past = all.clone().rev();
    past.find(|record| record.run.asked <= latest)
        .or(all.last())
}

fn did_you_mean(near: Option<&str>) -> String {
    near.map_or("git agile status --all lists the runs".into(), |near| {
        format!("did you mean `{near}`?")
    })
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
    one(&all(ctx, repository)?, name).cloned()
}

/// All records, the newest last.
///
/// # Errors
/// As [`records::all`].
pub fn all(ctx: &Context, repository: &Repository) -> Result<Vec<Record>> {
    records::all(repository, |error| ctx.output.warn(&error.to_string()))
}

/// The records with `fetched` only where the results came to this clone.
pub fn as_here(repository: &Repository, mut records: Vec<Record>) -> Vec<Record> {
    for record in &mut records {
        if record.known.fetched.is_some() && !is_here(repository, record) {
            record.known.fetched = None;
        }
    }
    records
}

/// Whether the results of a run are in this clone, or were: who removes them does not want them again.
fn is_here(repository: &Repository, record: &Record) -> bool {
    fetch::results(repository, record).is_dir() || fetch::index_file(repository, record).is_file()
}

/// The one of `all` that `name` means.
///
/// # Errors
/// As [`Selection::records`].
pub fn one<'a>(all: &'a [Record], name: &str) -> Result<&'a Record> {
    let Some(newest) = newest(all.iter()) else {
        return Err(Error::usage("there are no runs yet").hint("git agile push"));
    };
    if name == "@" {
        return Ok(newest);
    }
    if let Some(record) = all.iter().find(|record| record.run.id.as_str() == name) {
        return Ok(record);
    }
    let meant: Vec<&Record> = all
        .iter()
        .filter(|record| record.run.id.as_str().starts_with(name))
        .collect();
    let shown = clean(name);
    match meant.as_slice() {
        [record] => Ok(record),
        [] => {
            let near = nearest(name, all.iter().map(|record| record.run.id.as_str()));
            Err(Error::usage(format!("there is no run `{shown}`")).hint(did_you_mean(near)))
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
