//! `git agile review`.

use clap::{Args, ValueEnum};

use super::Context;
use super::select::Selection;
use super::status::state_word;
use crate::development::records::Record;
use crate::development::repository::Repository;
use crate::error::Result;
use crate::review::{metrics, table};

/// Runs × parameters × metrics, from the results that were fetched
#[derive(Debug, Args)]
pub struct ReviewArgs {
    #[command(flatten)]
    selection: Selection,
    /// Sort by this metric or parameter, smallest first
    #[arg(long, value_name = "NAME")]
    sort: Option<String>,
    /// Largest first
    #[arg(long, requires = "sort")]
    descending: bool,
    /// How the table is written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Aligned columns
    Table,
    /// An array of {run, state, parameters, metrics}
    Json,
}

/// Runs the command.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) for a metric that no run has.
pub fn run(args: ReviewArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let records = args.selection.records(ctx, &repository)?;
    let mut rows: Vec<_> = records
        .iter()
        .map(|record| row(ctx, &repository, record))
        .collect();
    if let Some(column) = &args.sort {
        table::sort(&mut rows, column, args.descending)?;
    }
    match args.format {
        Format::Json => ctx.output.json(&table::to_json(&rows))?,
        Format::Table => table::table(&rows)
            .lines()
            .iter()
            .try_for_each(|line| ctx.output.data(line))?,
    }
    let missing = records
        .iter()
        .filter(|record| record.known.fetched.is_none())
        .count();
    if missing > 0 {
        ctx.output.hint(&format!(
            "{missing} of these runs are not here yet: git agile fetch-results"
        ));
    }
    Ok(())
}

fn row(ctx: &Context, repository: &Repository, record: &Record) -> table::Row {
    let folder = repository
        .root()
        .join("results")
        .join(record.run.id.as_str());
    let names: Vec<_> = record.run.metrics.iter().map(ToString::to_string).collect();
    let metrics = metrics::read(&folder, &names);
    for damaged in &metrics.damaged {
        ctx.output.warn(&format!(
            "{}: {}: {}",
            record.run.id, damaged.path, damaged.why
        ));
    }
    table::Row {
        run: record.run.id.to_string(),
        state: state_word(&record.known),
        parameters: record
            .run
            .parameters
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        metrics: metrics.finals().into_iter().collect(),
    }
}
