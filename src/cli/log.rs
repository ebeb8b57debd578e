//! `git agile log`.

use clap::Args;
use indexmap::IndexMap;
use serde_json::{Value, json};

use super::Context;
use super::review::{primary, read};
use super::select::Selection;
use super::status::clock;
use crate::development::records::Record;
use crate::error::{Error, Result};
use crate::model::run::RunState;
use crate::review::direction::Direction;
use crate::review::number::{show, show_change};
use crate::review::row::{self, Row};
use crate::review::table::{self, number};
use crate::terminal::{Stream, Style, count, page};

/// The sprints, the newest first: each push, its runs, its best result
///
/// The best result of each experiment stands beside the best one of the sprint before that ran it. Without a selection,
/// all sprints are shown.
#[derive(Debug, Args)]
pub struct LogArgs {
    #[command(flatten)]
    selection: Selection,
    /// Show the newest N sprints
    #[arg(long, short = 'n', value_name = "N")]
    lines: Option<usize>,
    /// The metric that counts; without it, the first one whose name says whether less or more is better
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Less is better
    #[arg(long, conflicts_with = "max")]
    min: bool,
    /// More is better
    #[arg(long)]
    max: bool,
    /// Print a JSON array, one object a sprint {sprint, commit, subject, asked, runs, best}
    #[arg(long)]
    json: bool,
}

/// One push and its runs.
struct Sprint<'a> {
    records: Vec<&'a Record>,
    best: Vec<Best>,
}

/// The best result of one experiment in a sprint.
struct Best {
    experiment: String,
    metric: String,
    direction: Direction,
    run: String,
    state: String,
    setting: String,
    value: f64,
    /// The best value of the sprint before that has one.
    before: Option<f64>,
}

/// Runs the command.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) for a metric that no run has.
pub fn run(args: LogArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    // A sprint that is asked for is compared with one that is not.
    let wider = Selection {
        all: true,
        experiment: args.selection.experiment.clone(),
        server: args.selection.server.clone(),
        ..Selection::default()
    };
    let records = wider.records(ctx, &repository)?;
    let rows = read::rows(ctx, &repository, &records);
    if let Some(name) = &args.metric {
        row::metric(&rows, name)?;
    }
    let mut sprints = sprints(&args, &records, &rows)?;
    if !args.selection.is_default() {
        let meant = args.selection.records(ctx, &repository)?;
        let is_meant = |sprint: &Sprint| {
            let of = &sprint.records[0].run.sprint;
            meant.iter().any(|record| record.run.sprint == *of)
        };
        sprints.retain(is_meant);
    }
    sprints.truncate(args.lines.unwrap_or(usize::MAX));
    if args.json {
        return ctx
            .output
            .json(&sprints.iter().map(to_json).collect::<Vec<_>>());
    }
    if sprints.is_empty() {
        ctx.output.say("There are no runs yet.");
        return Ok(());
    }
    let lines: Vec<Vec<String>> = sprints.iter().map(|sprint| lines(ctx, sprint)).collect();
    page(&ctx.output, &lines.join(&String::new()))
}

/// The sprints, the newest first.
fn sprints<'a>(args: &LogArgs, records: &'a [Record], rows: &[Row]) -> Result<Vec<Sprint<'a>>> {
    let mut groups: IndexMap<&str, Vec<usize>> = IndexMap::new();
    for (index, record) in records.iter().enumerate() {
        groups
            .entry(record.run.sprint.as_str())
            .or_default()
            .push(index);
    }
    let counting = metrics(args, rows)?;
    let mut last: IndexMap<&str, f64> = IndexMap::new();
    let telling = row::telling_parameters(rows);
    let mut sprints = Vec::new();
    for indices in groups.values() {
        let mut best = Vec::new();
        for (experiment, (metric, direction)) in &counting {
            // A run that reproduces another is no further measurement.
            let is_of_it = |row: &&Row| row.experiment == *experiment && row.reproduces.is_none();
            let of_it: Vec<&Row> = indices
                .iter()
                .map(|&index| &rows[index])
                .filter(is_of_it)
                .collect();
            let values = of_it.iter().map(|row| row.metric(metric));
            let Some(place) = table::best(values, *direction) else {
                continue;
            };
            let row = of_it[place];
            let value = row.metric(metric).unwrap_or(f64::NAN);
            best.push(Best {
                experiment: experiment.to_string(),
                metric: metric.clone(),
                direction: *direction,
                run: row.run.clone(),
                state: row.state.clone(),
                setting: row.setting(&telling),
                value,
                before: last.insert(experiment, value),
            });
        }
        sprints.push(Sprint {
            records: indices.iter().map(|&index| &records[index]).collect(),
            best,
        });
    }
    sprints.reverse();
    Ok(sprints)
}

/// The metric that counts for each experiment, where one is known.
fn metrics<'a>(args: &LogArgs, rows: &'a [Row]) -> Result<IndexMap<&'a str, (String, Direction)>> {
    let mut counting = IndexMap::new();
    let mut experiments: IndexMap<&str, Vec<&Row>> = IndexMap::new();
    for row in rows {
        experiments.entry(&row.experiment).or_default().push(row);
    }
    for (experiment, rows) in experiments {
        let Some(metric) = args.metric.clone().or_else(|| primary(rows)) else {
            continue;
        };
        let direction = match (args.min, args.max) {
            (true, _) => Some(Direction::Min),
            (_, true) => Some(Direction::Max),
            _ => Direction::of(&metric),
        };
        match direction {
            Some(direction) => {
                counting.insert(experiment, (metric, direction));
            }
            None if args.metric.is_some() => {
                let said = format!(
                    "whether less or more `{metric}` is better does not follow from its name"
                );
                return Err(Error::usage(said).hint("add --min or --max"));
            }
            None => {}
        }
    }
    Ok(counting)
}

/// How many runs are in each state, in the order of a run's life.
fn states(records: &[&Record]) -> Vec<(RunState, usize)> {
    let mut states = std::collections::BTreeMap::new();
    for record in records {
        *states.entry(record.known.state).or_insert(0) += 1;
    }
    states.into_iter().collect()
}

fn lines(ctx: &Context, sprint: &Sprint) -> Vec<String> {
    let run = &sprint.records[0].run;
    let paint = |style, text: &str| ctx.output.paint(Stream::Data, style, text);
    let states: Vec<String> = states(&sprint.records)
        .iter()
        .map(|(state, number)| {
            let style = match state {
                RunState::Succeeded => Style::Good,
                RunState::Failed | RunState::Lost | RunState::TimedOut => Style::Bad,
                _ => Style::Note,
            };
            paint(style, &format!("{number} {state}"))
        })
        .collect();
    let runs = count(sprint.records.len(), "run");
    let mut lines = vec![
        format!(
            "{}  {}  {}",
            paint(Style::Note, run.commit.short()),
            clock(run.asked),
            paint(Style::Bold, &run.subject)
        ),
        format!("    {runs}: {}", states.join(", ")),
    ];
    let originals = sprint
        .records
        .iter()
        .filter_map(|record| record.run.reproduces.as_ref());
    lines.extend(originals.map(|run| paint(Style::Dim, &format!("    reproduces {run}"))));
    let mut experiments: Vec<&str> = sprint
        .records
        .iter()
        .map(|record| record.run.experiment.as_str())
        .collect();
    experiments.dedup();
    for best in &sprint.best {
        let of = match experiments.as_slice() {
            [_] => String::new(),
            _ => format!("{}: ", best.experiment),
        };
        let line = format!("    {of}best {} {}", best.metric, show(best.value));
        let change = match best.before {
            None => String::new(),
            Some(before) => change(ctx, best, before),
        };
        // Only a run that succeeded has its value for good.
        let state = match best.state.as_str() {
            "succeeded" => String::new(),
            state => format!(" ({state})"),
        };
        let by = format!("  {}{state} {}", best.run, best.setting);
        lines.push(format!(
            "{}{change}{}",
            paint(Style::Plain, &line),
            paint(Style::Dim, &by)
        ));
    }
    lines
}

fn change(ctx: &Context, best: &Best, before: f64) -> String {
    let (style, word) = match (
        best.direction.is_better(best.value, before),
        best.value == before,
    ) {
        (true, _) => (Style::Good, "better"),
        (_, true) => (Style::Dim, "as before"),
        _ => (Style::Bad, "worse"),
    };
    let amount = match show_change(before, best.value) {
        Some(amount) if word != "as before" => format!("{amount}, "),
        _ => String::new(),
    };
    let text = match word {
        "as before" => format!(" ({word})"),
        _ => format!(" ({amount}{word} than {})", show(before)),
    };
    ctx.output.paint(Stream::Data, style, &text)
}

/// `{"sprint", "commit", "subject", "asked", "runs": {STATE: NUMBER}, "best": [{"experiment", "metric", "direction":
/// "min" or "max", "run", "value", "before"}]}`; `before` is the best of the sprint before, `null` where there is none.
fn to_json(sprint: &Sprint) -> Value {
    let run = &sprint.records[0].run;
    let best = sprint.best.iter().map(|best| {
        json!({
            "experiment": best.experiment,
            "metric": best.metric,
            "direction": best.direction.as_str(),
            "run": best.run,
            "value": number(best.value),
            "before": best.before.map(number),
        })
    });
    let states = states(&sprint.records)
        .into_iter()
        .map(|(state, number)| (state.to_string(), json!(number)));
    json!({
        "sprint": run.sprint,
        "commit": run.commit,
        "subject": run.subject,
        "asked": run.asked,
        "runs": states.collect::<serde_json::Map<_, _>>(),
        "best": best.collect::<Vec<_>>(),
    })
}
