//! `git agile review`.

mod compare;
pub mod environment;
mod facts;
mod fit;
mod picture;
pub mod read;

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};

use super::Context;
use super::select::Selection;
use crate::development::records::Record;
use crate::error::{Error, Result};
use crate::review::condition::Condition;
use crate::review::direction::Direction;
use crate::review::group;
use crate::review::metrics::Curve;
use crate::review::number::show;
use crate::review::row::{self, Column, Row};
use crate::review::table::{self, Cell, Sheet, Spread};
use crate::terminal::{Stream, Style, clean, count, page};
use fit::{Curves, fit};

/// Runs × parameters × metrics, from the results that were fetched
///
/// A metric is its last value in the files that `metrics` of the experiment names, or in the files of known loggers.
/// Parameters that all runs share stand in one line above the table. NAME is a metric, a parameter, or one of run,
/// state, experiment, server, commit, subject, sprint; `metric.`, `parameter.` and `run.` before it choose among them.
/// Where a run has a metric in two files, the files' names come before it, in every run of the experiment.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("picture").args(["html", "plot", "open"]).multiple(true))]
pub struct ReviewArgs {
    #[command(flatten)]
    selection: Selection,
    /// Sort by this column, smallest first; `-NAME`: largest first
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    sort: Option<String>,
    /// Largest first
    #[arg(long, visible_alias = "desc", requires = "sort")]
    descending: bool,
    /// The best run first, by this metric or the first one; its name says whether less or more is better
    #[arg(long, value_name = "METRIC", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["sort", "descending"])]
    best: Option<String>,
    /// Less is better
    #[arg(long, conflicts_with = "max")]
    min: bool,
    /// More is better
    #[arg(long)]
    max: bool,
    /// Take runs together that have the same in these columns: mean ± sample standard deviation. Reproductions, and further
    /// attempts with the same seed, are no further measurements
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    group_by: Vec<String>,
    /// Show the 95 % confidence interval of the mean (Student's t) instead of the standard deviation
    #[arg(long)]
    ci: bool,
    /// Only runs for which this holds, such as 'lr<0.1 and state=succeeded' (repeatable: all must hold)
    #[arg(long = "where", value_name = "CONDITION")]
    conditions: Vec<String>,
    /// Show these columns, in this order
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    columns: Vec<String>,
    /// Show the first N rows
    #[arg(long, short = 'n', value_name = "N")]
    lines: Option<usize>,
    /// How the table is written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Show what differs between two runs: parameters, commits, environments, metrics
    #[arg(long, num_args = 2, value_names = ["RUN", "RUN"], conflicts_with_all = ["picture", "group_by", "sort", "best", "conditions", "columns", "lines", "ci", "runs", "all", "experiment", "server", "sprint"])]
    diff: Vec<String>,
    /// Write a report into FILE: one page with tables and pictures that needs no network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Draw one picture into FILE, by its ending .svg or .png
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// The metric to draw; without it, the one of --best or the first
    #[arg(long, value_name = "NAME", requires = "picture")]
    metric: Option<String>,
    /// Draw the metric against this parameter instead of its curve
    #[arg(long, value_name = "NAME", requires = "plot")]
    against: Option<String>,
    /// Show the report, or the picture, when it is written
    #[arg(long)]
    open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Aligned columns
    Table,
    /// Comma-separated values, every digit
    Csv,
    /// An array, one object a run {run, state, …, parameters, metrics} or a group {group, runs, metrics}
    Json,
    /// A table for Markdown
    Md,
    /// A table for LaTeX, with booktabs
    Latex,
}

/// What is reviewed, and how.
struct Review {
    rows: Vec<Row>,
    spread: Spread,
    /// The metric that counts, and which end of it is the good one.
    best: Option<(String, Direction)>,
    /// The metric that `--best` names.
    named: Option<String>,
    /// What to sort by, and whether the largest comes first.
    sort: Option<(Column, bool)>,
    /// What makes groups.
    keys: Vec<Column>,
    /// What to show.
    columns: Vec<Column>,
    /// What to draw, and against what.
    metric: Option<String>,
    against: Option<Column>,
}

impl Review {
    /// What the names in `args` mean among `rows`.
    fn of(args: &ReviewArgs, rows: Vec<Row>) -> Result<Self> {
        let keys = group::keys(&rows, &args.group_by)?;
        let sort = args.sort.as_deref().map(|name| sort_key(args, name));
        let sort = sort.map(|(name, descending)| {
            let key = keys.iter().find(|key| key.name() == name).cloned();
            let column = key.map_or_else(|| row::column(&rows, name), Ok);
            Ok((column?, descending))
        });
        let metric = |name: &str| row::metric(&rows, name);
        let named = args.best.as_deref().filter(|name| !name.is_empty());
        let key = |name: &str| row::key(&rows, name);
        Ok(Review {
            spread: match args.ci {
                true => Spread::Confidence,
                false => Spread::Deviation,
            },
            best: None,
            named: named.map(metric).transpose()?,
            sort: sort.transpose()?,
            columns: match keys.is_empty() {
                true => group::columns(&rows, &args.columns)?,
                // Those that make the groups are shown anyway.
                false => group::columns(&rows, &others(&args.columns, &keys))?,
            },
            metric: args.metric.as_deref().map(metric).transpose()?,
            against: args.against.as_deref().map(key).transpose()?,
            keys,
            rows,
        })
    }
}

/// Runs the command.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) for a metric or parameter that no run has, or a condition that makes no
/// sense; [`Kind::Step`](crate::error::Kind::Step) when a picture cannot be written.
pub fn run(args: &ReviewArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    if let [one, other] = args.diff.as_slice() {
        return compare::run(ctx, &repository, one, other, args.format);
    }
    let mut records = args.selection.records(ctx, &repository)?;
    let rows = read::rows(ctx, &repository, &records);
    let conditions = args.conditions.iter();
    let conditions: Vec<Condition> = conditions
        .map(|text| Condition::parse(text, &rows))
        .collect::<Result<_>>()?;
    // Before any run is left out: a name is no mistake because no run that is meant has it.
    let mut review = Review::of(args, rows)?;
    let is_meant = |row| conditions.iter().all(|condition| condition.holds(row));
    let meant: Vec<bool> = review.rows.iter().map(is_meant).collect();
    keep(&mut review.rows, &meant);
    keep(&mut records, &meant);
    review.best = best(args, &review)?;
    if review.rows.is_empty() && !meant.is_empty() {
        ctx.output.warn(&format!(
            "of {}, none meets --where",
            count(meant.len(), "run")
        ));
    }
    if args.html.is_some() || args.plot.is_some() || args.open {
        picture::run(args, ctx, &repository, &records, &review)?;
    } else if args.group_by.is_empty() {
        print_runs(args, ctx, review)?;
    } else {
        print_groups(args, ctx, &review)?;
    }
    hint_at_missing(ctx, &records);
    Ok(())
}

/// The names that mean none of `keys`.
fn others(names: &[String], keys: &[Column]) -> Vec<String> {
    let is_other = |name: &&String| keys.iter().all(|key| key.name() != name.as_str());
    names.iter().filter(is_other).cloned().collect()
}

fn keep<T>(all: &mut Vec<T>, meant: &[bool]) {
    let mut meant = meant.iter();
    all.retain(|_| meant.next().copied().unwrap_or(false));
}

fn hint_at_missing(ctx: &Context, records: &[Record]) {
    // Some never will be: those that were not launched, and those that are on no server any more.
    let is_missing = |record: &&Record| {
        let known = &record.known;
        known.fetched.is_none() && known.removed.is_none() && !known.is_unlaunched()
    };
    let missing = records.iter().filter(is_missing).count();
    if missing > 0 {
        ctx.output.hint(&format!(
            "the results of {} are not here yet: git agile fetch-results",
            count(missing, "run")
        ));
    }
}

/// The metric that decides which run is the best, as far as it is known.
fn best(args: &ReviewArgs, review: &Review) -> Result<Option<(String, Direction)>> {
    let named = review.named.clone().or_else(|| review.metric.clone());
    let Some(name) = named.or_else(|| primary(&review.rows)) else {
        return Ok(None);
    };
    let direction = match (args.min, args.max) {
        (true, _) => Some(Direction::Min),
        (_, true) => Some(Direction::Max),
        _ => Direction::of(&name),
    };
    match direction {
        None if args.best.is_some() => Err(Error::usage(format!(
            "whether less or more `{}` is better does not follow from its name",
            clean(&name)
        ))
        .hint("add --min or --max")),
        direction => Ok(direction.map(|direction| (name, direction))),
    }
}

/// The metric to look at first: the first whose name says what is better, else the first.
pub fn primary<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Option<String> {
    let metrics = row::metrics(rows);
    let known = metrics.iter().find(|name| Direction::of(name).is_some());
    known.or(metrics.first()).cloned()
}

fn print_runs(args: &ReviewArgs, ctx: &Context, review: Review) -> Result<()> {
    let Review {
        mut rows,
        best,
        sort,
        columns,
        ..
    } = review;
    match (&sort, &best) {
        (Some((column, descending)), _) => row::sort(&mut rows, column, *descending),
        (None, Some((name, direction))) if args.best.is_some() => {
            row::sort_best(&mut rows, name, *direction)
        }
        _ => {}
    }
    let asked = (!columns.is_empty()).then_some(columns.as_slice());
    let (usual, telling) = (table::usual_columns(&rows), row::telling_parameters(&rows));
    rows.truncate(args.lines.unwrap_or(usize::MAX));
    match args.format {
        Format::Json => ctx.output.json(&table::runs_to_json(&rows, asked)),
        Format::Csv => text(ctx, &table::runs_to_csv(&rows, asked)),
        _ => {
            let sheet = table::runs(&rows, asked.unwrap_or(&usual));
            let curves = best
                .as_ref()
                .map(|(name, _)| name.clone())
                .or_else(|| primary(&rows));
            let curves = curves.filter(|_| ctx.output.is_read() && asked.is_none());
            let curves = curves.and_then(|name| self::curves(&rows, &name));
            print(args, ctx, sheet, curves.as_ref())?;
            match (&best, rows.first()) {
                (Some((name, _)), Some(first)) if args.best.is_some() => {
                    say_best(ctx, name, first, &first.setting(&telling))
                }
                _ => {}
            }
            Ok(())
        }
    }
}

/// The column of `--sort`, and whether its largest comes first.
fn sort_key<'a>(args: &ReviewArgs, name: &'a str) -> (&'a str, bool) {
    match name.strip_prefix('-') {
        Some(name) => (name, true),
        None => (name, args.descending),
    }
}

/// The curves of a metric, if any run has more than a point of it.
fn curves<'a>(rows: &'a [Row], name: &str) -> Option<Curves<'a>> {
    let of: Vec<_> = rows.iter().map(|row| row.curves.get(name)).collect();
    let is_curve = |curve: &&Curve| curve.values.len() > 1;
    of.iter().flatten().any(is_curve).then(|| Curves {
        title: format!("CURVE OF {name}"),
        of,
    })
}

fn say_best(ctx: &Context, metric: &str, row: &Row, setting: &str) {
    let Some(value) = row.metric(metric).filter(|value| value.is_finite()) else {
        return;
    };
    let state = match row.has_succeeded() {
        true => String::new(),
        false => format!(", {}", row.state),
    };
    let line = format!(
        "Best {metric}: {}, {}{state} ({setting})",
        show(value),
        row.run
    );
    ctx.output
        .say(&ctx.output.paint(Stream::Talk, Style::Good, &line));
}

fn print_groups(args: &ReviewArgs, ctx: &Context, review: &Review) -> Result<()> {
    let (rows, keys) = (&review.rows, &review.keys);
    let mut metrics = Vec::new();
    for column in &review.columns {
        match column {
            Column::Metric(name) => metrics.push(name.clone()),
            other => {
                let said = format!(
                    "--columns: `{}` is no metric, and groups have no others",
                    other.name()
                );
                return Err(Error::usage(clean(&said)).hint("put it into --group-by"));
            }
        }
    }
    if metrics.is_empty() {
        metrics = row::measured(rows);
    }
    let mut groups = group::group(rows, keys);
    match (&review.sort, &review.best) {
        (Some((column, descending)), _) => {
            group::sort(rows, &mut groups, keys, column, *descending);
        }
        (None, Some((name, direction))) if args.best.is_some() => {
            group::sort_best(rows, &mut groups, name, *direction);
        }
        _ => {}
    }
    groups.truncate(args.lines.unwrap_or(usize::MAX));
    match args.format {
        Format::Json => ctx
            .output
            .json(&table::groups_to_json(rows, &groups, keys, &metrics))?,
        Format::Csv => text(ctx, &table::groups_to_csv(rows, &groups, keys, &metrics))?,
        _ => {
            let sheet = table::groups(rows, &groups, keys, &metrics, review.spread);
            print(args, ctx, sheet, None)?;
            if args.format == Format::Table {
                ctx.output.say(
                    &ctx.output
                        .paint(Stream::Talk, Style::Dim, review.spread.as_str()),
                );
            }
        }
    }
    for (caution, advice) in group::cautions(rows, &groups, keys) {
        ctx.output.warn(&format!("{caution}: {advice}"));
    }
    Ok(())
}

fn print(
    args: &ReviewArgs,
    ctx: &Context,
    mut sheet: Sheet,
    curves: Option<&Curves>,
) -> Result<()> {
    match args.format {
        Format::Md => return text(ctx, &sheet.markdown()),
        Format::Latex => return text(ctx, &sheet.latex()),
        _ => {}
    }
    if sheet.rows.is_empty() {
        ctx.output.say("There are no such runs.");
        return Ok(());
    }
    let states = state_styles(&sheet);
    // Columns that the person chose stay.
    let width = ctx.output.width().filter(|_| args.columns.is_empty());
    let table = fit(&mut sheet, curves, width).lines();
    let mut lines = Vec::new();
    if let Some(common) = sheet.common_line() {
        lines.push(
            ctx.output
                .paint(Stream::Data, Style::Dim, &format!("all: {common}")),
        );
    }
    lines.extend(table.iter().enumerate().map(|(index, line)| {
        let style = match index.checked_sub(1) {
            None => Style::Dim,
            Some(index) => states.get(index).copied().unwrap_or(Style::Plain),
        };
        ctx.output.paint(Stream::Data, style, line)
    }));
    page(&ctx.output, &lines)
}

/// Runs that did not succeed stand out, as in `git agile status`.
fn state_styles(sheet: &Sheet) -> Vec<Style> {
    let column = sheet.heads.iter().position(|head| head.title == "state");
    let style = |row: &Vec<Cell>| match column.and_then(|column| row.get(column)) {
        Some(Cell::Text(state)) => match state.split(' ').next() {
            Some("failed" | "lost" | "timed-out") => Style::Bad,
            Some("stopped" | "not") => Style::Note,
            _ => Style::Plain,
        },
        _ => Style::Plain,
    };
    sheet.rows.iter().map(style).collect()
}

/// Text for a program that reads it; whoever wrote the values, no terminal that it is shown on later obeys them.
fn text(ctx: &Context, text: &str) -> Result<()> {
    ctx.output
        .bytes(crate::terminal::clean_lines(text).as_bytes())
}
