//! Parallel coordinates: every run a line through its parameters to its result.

use super::scale::{Scale, wants_log};
use super::svg::{At, Svg, shorten};
use super::{Chart, Data, Numbers};
use crate::review::direction::Direction;
use crate::review::html::escape;
use crate::review::number::show;
use crate::review::row::{Column, Content, Row};

/// The most axes side by side, the metric's among them.
const MOST_AXES: usize = 10;
/// The most runs that are drawn.
const MOST_RUNS: usize = 300;
/// The colours from the best to the worst.
const SHADES: usize = 5;

/// The varying `parameters` of the runs and their `metric`; nothing for fewer than two parameters or runs.
pub(super) fn draw(
    data: &Data,
    metric: &str,
    parameters: &[Column],
    (width, height): (f64, f64),
) -> Option<Chart> {
    let mut ranked: Vec<(&Row, f64)> = data
        .rows
        .iter()
        .filter_map(|row| Some((row, row.metric(metric).filter(|value| value.is_finite())?)))
        .collect();
    if parameters.len() < 2 || ranked.len() < 2 {
        return None;
    }
    let direction = data.direction(metric);
    let order = direction.unwrap_or(Direction::Min);
    ranked.sort_by(|(_, a), (_, b)| order.order(Some(*a), Some(*b)));
    let best = match direction {
        Some(_) => "best",
        None => "smallest",
    };
    let columns: Vec<Column> = parameters
        .iter()
        .take(MOST_AXES - 1)
        .cloned()
        .chain([Column::Metric(metric.into())])
        .collect();
    let (top, bottom) = (34.0, height - 16.0);
    let scales: Vec<Scale> = columns
        .iter()
        .map(|column| scale(data, &ranked, column).between(bottom, top))
        .collect();
    let (first, last) = (46.0, width - 60.0);
    let across = |axis: usize| first + (last - first) * axis as f64 / (columns.len() - 1) as f64;
    let mut svg = Svg::new(width, height);
    let step = ranked.len().div_ceil(MOST_RUNS).max(1);
    for (place, (row, value)) in ranked
        .iter()
        .enumerate()
        .step_by(step)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        let shade = place * SHADES / ranked.len();
        let points = columns.iter().zip(&scales).enumerate();
        let points = points.map(|(axis, (column, scale))| {
            let level = match row.get(column) {
                Content::Nothing => None,
                Content::Number(number) => scale.place(number),
                Content::Text(text) => scale.place_of(&text),
            };
            Some((across(axis), level?))
        });
        svg.push(format_args!(
            "<g><title>{}</title>",
            escape(&format!("{}: {metric}={}", row.run, show(*value)))
        ));
        svg.path(&format!("thread q{shade}"), points);
        svg.push(format_args!("</g>"));
    }
    for (axis, (column, scale)) in columns.iter().zip(&scales).enumerate() {
        let x = across(axis);
        svg.push(format_args!(
            "<path class=\"axis\" d=\"M{} {1}V{2}\"/>",
            At(x),
            At(top),
            At(bottom)
        ));
        let room = ((last - first) / (columns.len() - 1) as f64 / 6.6) as usize;
        let name = if scale.is_log() {
            format!("{} (log)", column.name())
        } else {
            column.name().to_string()
        };
        svg.label((x, 16.0), "middle", "name", &shorten(&name, room.max(8)));
        for tick in scale.ticks(6) {
            svg.label(
                (x + 5.0, tick.place + 4.0),
                "start",
                "tick halo",
                &shorten(&tick.text, 10),
            );
        }
    }
    let drawn = match step {
        1 => format!("{} runs", ranked.len()),
        _ => format!("{} of {} runs", ranked.len().div_ceil(step), ranked.len()),
    };
    Some(Chart {
        title: format!("All parameters and {metric}"),
        description: format!(
            "Each of {drawn} is a line through its parameters to its {metric}; the {best} fifth is drawn thickest."
        ),
        numbers: numbers(&ranked, &columns, best),
        svg,
        has_groups: false,
    })
}

fn scale(data: &Data, ranked: &[(&Row, f64)], column: &Column) -> Scale {
    let contents = || {
        ranked
            .iter()
            .map(|(row, _)| row.get(column))
            .filter(|content| *content != Content::Nothing)
    };
    let numbers: Option<Vec<f64>> = contents()
        .map(|content| content.number().filter(|number| number.is_finite()))
        .collect();
    match numbers {
        Some(numbers) => {
            let is_positive = numbers.iter().all(|number| *number > 0.0);
            let log = is_positive && (data.is_log(column) || wants_log(&numbers));
            Scale::of(numbers.into_iter(), log)
        }
        None => {
            let mut words: Vec<String> = contents()
                .map(|content| match content {
                    Content::Text(text) => text.into_owned(),
                    Content::Number(number) => number.to_string(),
                    Content::Nothing => String::new(),
                })
                .collect();
            words.sort();
            words.dedup();
            Scale::words(words)
        }
    }
}

/// The first ten.
fn numbers(ranked: &[(&Row, f64)], columns: &[Column], best: &str) -> Numbers {
    let cell = |row: &Row, column: &Column| match row.get(column) {
        Content::Nothing => String::new(),
        Content::Number(value) => show(value),
        Content::Text(text) => text.into_owned(),
    };
    let row = |(row, _): &(&Row, f64)| {
        let cells = columns.iter().map(|column| cell(row, column));
        [row.run.clone()].into_iter().chain(cells).collect()
    };
    Numbers {
        heads: ["run"]
            .into_iter()
            .chain(columns.iter().map(Column::name))
            .map(String::from)
            .collect(),
        rows: ranked.iter().take(10).map(row).collect(),
        caption: format!("The ten {best} runs"),
    }
}
