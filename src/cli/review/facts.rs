//! What the report tells beside the numbers.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use indexmap::{IndexMap, IndexSet};

use super::super::fetch::log_file;
use super::super::status::clock;
use super::Context;
use crate::development::records::{self, Record};
use crate::development::repository::Repository;
use crate::error::{Context as _, Result};
use crate::model::config::{Distribution, Settings};
use crate::model::run::RunState;
use crate::review::html::{Failure, Links, Ran, address};

/// The lines of a failed run's log that the report shows.
const LOG_LINES: usize = 12;

/// Parameters that a commit's design draws from a logarithmic distribution.
pub fn logarithmic(ctx: &Context, repository: &Repository, records: &[Record]) -> HashSet<String> {
    // The newest twenty.
    let newest = records.iter().rev();
    let commits: IndexSet<&str> = newest.map(|record| record.run.commit.as_str()).collect();
    let mut log = HashSet::new();
    for commit in commits.into_iter().take(20) {
        // A commit that is not here any more, or that an older version wrote, says nothing about axes.
        let config = git2::Oid::from_str(commit)
            .ok()
            .and_then(|commit| ctx.config(repository, commit).ok());
        for experiment in config.iter().flat_map(|config| config.experiments.values()) {
            if let Settings::Random(random) = &experiment.settings {
                let all = random.parameters.iter();
                let is_log = |distribution: &Distribution| {
                    matches!(distribution, Distribution::LogUniform(_))
                };
                log.extend(
                    all.filter(|(_, one)| is_log(one))
                        .map(|(name, _)| name.to_string()),
                );
            }
        }
    }
    log
}

/// What was run: one line for each experiment of each commit, the newest first.
pub fn ran(records: &[Record]) -> Vec<Ran> {
    let mut groups: IndexMap<(&str, &str), Vec<&Record>> = IndexMap::new();
    for record in records.iter().rev() {
        let key = (record.run.commit.as_str(), record.run.experiment.as_str());
        groups.entry(key).or_default().push(record);
    }
    let distinct = |texts: Vec<String>| {
        let texts: IndexSet<String> = texts.into_iter().collect();
        texts.into_iter().collect::<Vec<_>>().join(", ")
    };
    groups
        .into_iter()
        .map(|((commit, experiment), records)| {
            let first = &records[0].run;
            let mut states: IndexMap<RunState, usize> = IndexMap::new();
            for record in &records {
                *states.entry(record.known.state).or_default() += 1;
            }
            let states: Vec<String> = states
                .iter()
                .map(|(state, number)| format!("{number} {state}"))
                .collect();
            let environment = |record: &&Record| {
                let environment = &record.run.environment;
                match &environment.python {
                    Some(python) => format!("{} (Python {python})", environment.key),
                    None => environment.key.clone(),
                }
            };
            let server = |record: &&Record| {
                format!("{} ({})", record.run.server.name, record.run.server.host)
            };
            Ran {
                commit: commit.into(),
                subject: first.subject.clone(),
                date: clock(first.asked),
                experiment: experiment.into(),
                runs: states.join(", "),
                servers: distinct(records.iter().map(server).collect()),
                environment: distinct(records.iter().map(environment).collect()),
            }
        })
        .collect()
}

/// Where each run's results and log are, seen from the report.
pub fn links(repository: &Repository, records: &[Record], file: &Path) -> Result<Vec<Links>> {
    let whole = |path: &Path| {
        std::path::absolute(path).or_step(|| format!("cannot find {}", path.display()))
    };
    let here = whole(super::picture::folder(file))?;
    let here = here.canonicalize().unwrap_or(here);
    let results = repository.root().join("results");
    let results = results.canonicalize().unwrap_or(results);
    let link = |record: &Record| {
        let run = results.join(record.run.id.as_str());
        let log = log_file(repository, record);
        let log = log.file_name().unwrap_or_default();
        let there = |path: PathBuf| {
            path.exists()
                .then(|| address(relative(&here, &path).as_os_str().as_bytes()))
        };
        Links {
            log: there(run.join(log)),
            results: there(run).map(|address| address + "/"),
        }
    };
    Ok(records.iter().map(link).collect())
}

/// The way from a folder to a path, both absolute.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let (from, to): (Vec<Component>, Vec<Component>) =
        (from.components().collect(), to.components().collect());
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from[shared..].iter().map(|_| Component::ParentDir);
    up.chain(to[shared..].iter().copied()).collect()
}

/// The runs that ended without success or were not launched, each with why.
pub fn failures(repository: &Repository, records: &[Record]) -> Vec<Failure> {
    let has_failed = |record: &Record| {
        let known = &record.known;
        known.is_unlaunched() || (known.state.is_end() && known.state != RunState::Succeeded)
    };
    let failed = records
        .iter()
        .enumerate()
        .filter(|(_, record)| has_failed(record));
    failed
        .map(|(row, record)| {
            let known = &record.known;
            let exit = known.exit.map(|exit| format!("exit status {exit}"));
            let reason: Vec<String> = known.note.clone().into_iter().chain(exit).collect();
            let log = records::attachment(repository, record, "log").unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
            Failure {
                row,
                reason: reason.join("; "),
                log: lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_between_folders() {
        for (from, to, way) in [
            ("/p", "/p/results/a", "results/a"),
            ("/p/.git/agile", "/p/results/a", "../../results/a"),
            ("/q", "/p", "../p"),
        ] {
            assert_eq!(relative(Path::new(from), Path::new(to)), Path::new(way));
        }
    }
}
