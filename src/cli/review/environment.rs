//! What differs between two runs beside parameters and code: where they ran, and with which packages.

use std::collections::{BTreeMap, BTreeSet};

use super::super::look::PACKAGES;
use crate::development::records::{self, Record};
use crate::development::repository::Repository;

/// A name, and what the one and the other run has.
pub type Pair = (String, Option<String>, Option<String>);

/// What differs of two runs' environments: what was asked for, and what the runners found.
pub fn surroundings(one: &Record, other: &Record) -> Vec<Pair> {
    let (asked, found) = (facts(one).into_iter(), facts(other));
    let pairs = asked.zip(found);
    let pairs = pairs.map(|((name, a), (_, b))| (name.to_string(), a, b));
    differing(pairs.chain(self::pairs(data(one), data(other))))
}

fn facts(record: &Record) -> [(&'static str, Option<String>); 9] {
    let run = &record.run;
    let report = record.known.report.clone().unwrap_or_default();
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    [
        ("key", some(run.environment.key.clone())),
        ("python", run.environment.python.clone()),
        ("server", some(run.server.name.to_string())),
        ("command", some(run.command.clone())),
        ("python found", report.python),
        ("machine", report.host),
        ("system", report.system),
        ("processor", report.cpu),
        ("gpu", some(report.gpus.join("; "))),
    ]
}

fn data(record: &Record) -> BTreeMap<String, String> {
    let data = record.run.data.iter();
    data.map(|(name, data)| {
        let what = data.sha256.clone().unwrap_or(data.url.clone());
        (format!("data {name}"), what)
    })
    .collect()
}

/// What differs of the packages that the runs really had, as their runners listed them; nothing when one of the lists is
/// not known.
pub fn installed(repository: &Repository, one: &Record, other: &Record) -> Option<Vec<Pair>> {
    let versions = |record: &Record| -> Option<BTreeMap<String, String>> {
        let list = records::attachment(repository, record, PACKAGES)?;
        let list = String::from_utf8_lossy(&list).into_owned();
        let pairs = list.lines().filter_map(|line| line.split_once("=="));
        Some(
            pairs
                .map(|(name, version)| (normal(name), version.to_string()))
                .collect(),
        )
    };
    Some(differing(pairs(versions(one)?, versions(other)?)))
}

/// A package's name as PyPA's "Normalized names" has it.
fn normal(name: &str) -> String {
    let parts: Vec<&str> = name
        .split(['-', '_', '.'])
        .filter(|part| !part.is_empty())
        .collect();
    parts.join("-").to_lowercase()
}

pub fn differing(pairs: impl Iterator<Item = Pair>) -> Vec<Pair> {
    pairs.filter(|(_, a, b)| a != b).collect()
}

pub fn pairs(
    mut one: BTreeMap<String, String>,
    mut other: BTreeMap<String, String>,
) -> impl Iterator<Item = Pair> {
    let names: BTreeSet<String> = one.keys().chain(other.keys()).cloned().collect();
    names.into_iter().map(move |name| {
        let pair = (one.remove(&name), other.remove(&name));
        (name, pair.0, pair.1)
    })
}
