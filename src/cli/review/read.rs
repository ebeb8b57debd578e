//! From records to rows: the metrics of every run, read from what was fetched.

use rayon::prelude::*;

use super::super::Context;
use super::super::status::state_word;
use crate::development::records::Record;
use crate::development::repository::Repository;
use crate::review::metrics;
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
    let named = records.iter().zip(all);
    let row = |(record, metrics): (&Record, metrics::Metrics)| {
        for damaged in &metrics.damaged {
            ctx.output.warn(&format!(
                "{}: {}: {}",
                record.run.id, damaged.path, damaged.why
            ));
        }
        row(record, metrics.curves)
    };
    named.map(row).collect()
}

fn row(record: &Record, curves: metrics::Curves) -> Row {
    let run = &record.run;
    let parameters = run.parameters.iter();
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
        parameters: parameters
            .map(|(name, value)| (name.to_string(), value.clone()))
            .collect(),
        curves,
    }
}
