//! From records to rows: the metrics of every run, read from what was fetched.

use indexmap::IndexMap;
use rayon::prelude::*;

use super::super::Context;
use super::super::status::state_word;
use crate::development::records::Record;
use crate::development::repository::Repository;
use crate::review::metrics::{self, Curves, Log, Metrics, Names};
use crate::review::row::Row;

/// The rows of `records`, in their order. Files that are damaged are named.
pub fn rows(ctx: &Context, repository: &Repository, records: &[Record]) -> Vec<Row> {
    let results = repository.root().join("results");
    let kept = repository.common_dir().join("agile/metrics");
    let read = |record: &Record| {
        let names: Vec<_> = record.run.metrics.iter().map(ToString::to_string).collect();
        let id = record.run.id.as_str();
        metrics::read_kept(&results.join(id), &names, Some(&kept.join(id)))
    };
    let all: Vec<_> = records.par_iter().map(read).collect();
    let mut experiments: IndexMap<&str, Vec<&[Log]>> = IndexMap::new();
    for (record, metrics) in records.iter().zip(&all) {
        let logs = experiments.entry(record.run.experiment.as_str());
        logs.or_default().push(&metrics.logs);
    }
    let names: Vec<(&str, Names)> = experiments
        .into_iter()
        .map(|(experiment, logs)| (experiment, Names::of(logs)))
        .collect();
    let row = |(record, metrics): (&Record, Metrics)| {
        for damaged in &metrics.damaged {
            ctx.output.warn(&format!(
                "{}: {}: {}",
                record.run.id, damaged.path, damaged.why
            ));
        }
        let of = |(experiment, _): &&(&str, Names)| record.run.experiment.as_str() == *experiment;
        let names = names.iter().find(of).map(|(_, names)| names);
        let curves = names.map(|names| names.curves(metrics.logs));
        row(record, curves.unwrap_or_default())
    };
    records.iter().zip(all).map(row).collect()
}

fn row(record: &Record, curves: Curves) -> Row {
    let run = &record.run;
    let (id, parameters) = (run.id.as_str(), run.parameters.iter());
    Row {
        run: run.id.to_string(),
        state: state_word(&record.known),
        experiment: run.experiment.to_string(),
        server: run.server.name.to_string(),
        commit: run.commit.as_str().to_string(),
        subject: run.subject.clone(),
        sprint: run.sprint.clone(),
        asked: run.asked,
        reproduces: run.reproduces.as_ref().map(ToString::to_string),
        first: match id.strip_suffix(&format!("-a{}", run.attempt)) {
            Some(first) if run.attempt > 1 => first.to_string(),
            _ => id.to_string(),
        },
        parameters: parameters
            .map(|(name, value)| (name.to_string(), value.clone()))
            .collect(),
        curves,
    }
}
