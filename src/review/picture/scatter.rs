//! A metric against a parameter: every run a point, the mean of each value with its spread.

use super::scale::{Scale, wants_log};
use super::svg::{At, Frame, Svg, axis_name, draw_x, draw_y, shorten};
use super::{Chart, Data, Numbers};
use crate::review::direction::Direction;
use crate::review::group::{self, Group};
use crate::review::html::escape;
use crate::review::number::{show, show_spread};
use crate::review::row::{Column, Content};

/// The most points that are drawn.
const MOST_POINTS: usize = 2000;
/// The most words side by side.
const MOST_WORDS: usize = 30;

/// `metric` against `column`; nothing when there are fewer than two values with a number above them.
pub(super) fn draw(
    data: &Data,
    metric: &str,
    column: &Column,
    (width, height): (f64, f64),
) -> Option<Chart> {
    let points: Vec<(String, Option<f64>, f64, usize)> = data
        .rows
        .iter()
        .enumerate()
        .filter_map(|(index, row)| {
            let value = row.metric(metric).filter(|value| value.is_finite())?;
            match row.get(column) {
                Content::Nothing => None,
                Content::Number(number) => Some((number.to_string(), Some(number), value, index)),
                Content::Text(text) => Some((text.to_string(), text.parse().ok(), value, index)),
            }
        })
        .collect();
    let groups: Vec<Group> = group::group(data.rows, std::slice::from_ref(column));
    let known = |text: &String| points.iter().any(|(known, ..)| known == text);
    let groups: Vec<&Group> = groups
        .iter()
        .filter(|group| known(&group.key[0]))
        .take(MOST_POINTS)
        .collect();
    if groups.len() < 2 {
        return None;
    }
    let numbers: Option<Vec<f64>> = points
        .iter()
        .map(|(_, number, ..)| number.filter(|number| number.is_finite()))
        .collect();
    if numbers.is_none() && groups.len() > MOST_WORDS {
        return None;
    }
    let values: Vec<f64> = points.iter().map(|(_, _, value, _)| *value).collect();
    let mut svg = Svg::new(width, height);
    let log = data.direction(metric) != Some(Direction::Max) && wants_log(&ends(&values));
    let y = Scale::of(values.iter().copied(), log).with_room(0.06);
    let frame = Frame::of(&svg, &y.ticks(5), 1);
    let y = y.between(frame.bottom, frame.top);
    let x = match &numbers {
        Some(numbers) => {
            let log = data.is_log(column) || wants_log(numbers);
            Scale::of(
                numbers.iter().copied(),
                log && numbers.iter().all(|number| *number > 0.0),
            )
            .with_room(0.06)
        }
        None => Scale::words(groups.iter().map(|group| group.key[0].clone()).collect()),
    }
    .between(frame.left, frame.right);
    draw_y(&mut svg, &frame, &y.ticks(5));
    // The values that were tried are better marks than round ones, while they are few.
    let ticks = match &numbers {
        Some(numbers) if groups.len() <= 8 => {
            let mut tried = numbers.clone();
            tried.sort_by(f64::total_cmp);
            tried.dedup();
            x.ticks_at(&tried)
        }
        _ => x.ticks(6),
    };
    draw_x(&mut svg, &frame, &ticks, &axis_name(column.name(), &x));
    let is_repeated = points.len() > groups.len();
    if is_repeated && groups.len() <= 40 {
        means(&mut svg, data, metric, &groups, &x, &y);
    }
    let step = points.len().div_ceil(MOST_POINTS).max(1);
    for (text, number, value, index) in points.iter().step_by(step) {
        let across = number
            .filter(|_| numbers.is_some())
            .map_or_else(|| x.place_of(text), |number| x.place(number));
        let (Some(across), Some(up)) = (across, y.place(*value)) else {
            continue;
        };
        let is_best = data.best == Some(*index);
        let title = format!(
            "{}: {}={text}, {metric}={}",
            data.rows[*index].run,
            column.name(),
            show(*value)
        );
        svg.push(format_args!(
            "<circle class=\"dot{}\" cx=\"{}\" cy=\"{}\" r=\"{}\"><title>{}</title></circle>",
            if is_best { " best" } else { "" },
            At(across),
            At(up),
            if is_best { "5" } else { "3.2" },
            escape(&title)
        ));
    }
    let drawn = points.len().div_ceil(step);
    let means = if is_repeated {
        format!(" Lines show the {}.", data.spread.as_str())
    } else {
        String::new()
    };
    Some(Chart {
        title: format!(
            "{} by {}",
            axis_name(metric, &y),
            shorten(column.name(), 40)
        ),
        description: format!("{metric} against {}: {drawn} runs.{means}", column.name()),
        numbers: table(data, metric, column, &groups),
        svg,
        has_groups: false,
    })
}

fn ends(values: &[f64]) -> Vec<f64> {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    vec![
        low,
        values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    ]
}

fn means(svg: &mut Svg, data: &Data, metric: &str, groups: &[&Group], x: &Scale, y: &Scale) {
    let place = |group: &Group| {
        let summary = group.summary(data.rows, metric)?;
        Some((x.place_of(&group.key[0])?, summary))
    };
    let places: Vec<_> = groups.iter().filter_map(|group| place(group)).collect();
    let line = places
        .iter()
        .map(|(across, summary)| Some((*across, y.place(summary.mean)?)));
    svg.path("trend", line);
    for (across, summary) in &places {
        let Some(half) = data.spread.of(summary) else {
            continue;
        };
        let edge = |value: f64| y.place(value);
        if let (Some(top), Some(bottom)) = (edge(summary.mean + half), edge(summary.mean - half)) {
            let height = svg.height;
            let (top, bottom) = (top.clamp(2.0, height), bottom.clamp(2.0, height - 38.0));
            svg.push(format_args!(
                "<path class=\"whisker\" d=\"M{0} {1}V{2}M{3} {1}h8M{3} {2}h8\"/>",
                At(*across),
                At(top),
                At(bottom),
                At(across - 4.0)
            ));
        }
    }
}

fn table(data: &Data, metric: &str, column: &Column, groups: &[&Group]) -> Numbers {
    let rows = groups.iter().filter_map(|group| {
        let summary = group.summary(data.rows, metric)?;
        let text = match data.spread.of(&summary) {
            Some(half) => {
                let (mean, half) = show_spread(summary.mean, half);
                format!("{mean} ± {half}")
            }
            None => show(summary.mean),
        };
        Some(vec![group.key[0].clone(), summary.n.to_string(), text])
    });
    Numbers {
        heads: vec![column.name().into(), "runs".into(), metric.into()],
        rows: rows.take(200).collect(),
        caption: format!("{metric} by {}", column.name()),
    }
}
