//! Learning curves: every run thin, the mean of each group thick, with a band.

use super::curves::{Mean, mean, shape};
use super::scale::{Scale, wants_log};
use super::svg::{At, Frame, Svg, axis_name, draw_x, draw_y};
use super::{Chart, Data, Numbers};
use crate::review::direction::Direction;
use crate::review::metrics::Curve;
use crate::review::number::{show, show_spread};

/// The points of a line.
const POINTS: usize = 160;
/// The most runs that are drawn beside the means.
const MOST_RUNS: usize = 100;

/// The curves of `metric`; nothing when no run has more than one point of it.
pub(super) fn draw(data: &Data, metric: &str, (width, height): (f64, f64)) -> Option<Chart> {
    let curve = |index: &usize| data.rows[*index].curves.get(metric);
    let groups: Vec<Vec<&Curve>> = data
        .groups
        .iter()
        .map(|group| group.rows.iter().filter_map(curve).collect())
        .collect();
    let all: Vec<&Curve> = groups.iter().flatten().copied().collect();
    if !all.iter().any(|curve| curve.values.len() > 1) {
        return None;
    }
    let means: Vec<Mean> = groups
        .iter()
        .map(|curves| mean(curves, data.spread, POINTS))
        .collect();
    let thin = thinned(data, &groups);
    let mut svg = Svg::new(width, height);
    let (x, y, frame) = axes(data, &svg, metric, &all, &means, &thin);
    draw_y(&mut svg, &frame, &y.ticks(5));
    draw_x(&mut svg, &frame, &x.ticks(6), &axis_of(&all));
    for (group, curve) in &thin {
        let kept = shape(&curve.steps, &curve.values, POINTS);
        let at = |index: usize| place(&x, &y, curve.steps[index], curve.values[index]);
        let points = broken(&kept, at);
        let class = format!("run {}", data.colours.class(*group));
        svg.path(&class, points.into_iter());
    }
    let mut greys = 0;
    for (group, mean) in means.iter().enumerate().rev() {
        let points = mean.steps.iter().zip(&mean.mean);
        let points = points.map(|(step, value)| place(&x, &y, *step, *value));
        if !data.colours.is_grey(group) {
            band(&mut svg, &data.colours.class(group), mean, &x, &y, &frame);
            svg.path(&format!("mean {}", data.colours.class(group)), points);
        } else if groups[group].len() > 1 && greys < MOST_RUNS {
            greys += 1;
            svg.path("run grey", points);
        }
    }
    Some(Chart {
        title: axis_name(metric, &y),
        description: description(data, metric, &groups, &thin),
        numbers: numbers(data, metric, &means, &groups),
        svg,
        has_groups: true,
    })
}

/// The runs to draw: all, or as many of each group as there is room for. A grey group of several is its mean alone.
fn thinned<'a>(data: &Data, groups: &[Vec<&'a Curve>]) -> Vec<(usize, &'a Curve)> {
    let numbered = groups.iter().enumerate();
    let drawn =
        numbered.filter(|(group, curves)| curves.len() < 2 || !data.colours.is_grey(*group));
    let flat: Vec<_> = drawn
        .flat_map(|(group, curves)| curves.iter().map(move |curve| (group, *curve)))
        .collect();
    let step = flat.len().div_ceil(MOST_RUNS).max(1);
    flat.into_iter().step_by(step).collect()
}

fn axes(
    data: &Data,
    svg: &Svg,
    metric: &str,
    all: &[&Curve],
    means: &[Mean],
    thin: &[(usize, &Curve)],
) -> (Scale, Scale, Frame) {
    let drawn = thin
        .iter()
        .flat_map(|(_, curve)| curve.values.iter().copied());
    let values = drawn.chain(means.iter().flat_map(|mean| mean.mean.iter().copied()));
    let finite: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    let log = data.direction(metric) != Some(Direction::Max) && wants_log(&quantiles(&finite));
    let y = Scale::of(finite.iter().copied(), log).with_room(0.03);
    let frame = Frame::of(svg, &y.ticks(5), 1);
    let ends = all
        .iter()
        .flat_map(|curve| [curve.steps.first(), curve.steps.last()]);
    let x = Scale::of(ends.flatten().copied(), false).between(frame.left, frame.right);
    (x, y.between(frame.bottom, frame.top), frame)
}

/// A hundredth from below and from above, so that a single outlier decides nothing.
fn quantiles(finite: &[f64]) -> Vec<f64> {
    let mut sorted = finite.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    [last / 100, last - last / 100]
        .iter()
        .filter_map(|&place| sorted.get(place).copied())
        .collect()
}

fn place(x: &Scale, y: &Scale, step: f64, value: f64) -> Option<(f64, f64)> {
    Some((x.place(step)?, y.place(value)?))
}

/// The places of points that were kept, with a break where points between two of them have none.
fn broken(kept: &[usize], at: impl Fn(usize) -> Option<(f64, f64)>) -> Vec<Option<(f64, f64)>> {
    let mut places = Vec::with_capacity(kept.len());
    let mut next = kept.first().copied().unwrap_or_default();
    for &index in kept {
        if (next..index).any(|between| at(between).is_none()) {
            places.push(None);
        }
        places.push(at(index));
        next = index + 1;
    }
    places
}

/// The spread around a mean; a gap where it is not known.
fn band(svg: &mut Svg, class: &str, mean: &Mean, x: &Scale, y: &Scale, frame: &Frame) {
    use std::fmt::Write;
    let edges = |index: usize| {
        let (middle, half) = (mean.mean[index], mean.spread[index]);
        let across = x.place(mean.steps[index])?;
        let edge = |value: f64| {
            // On a logarithmic axis the lower edge may lie below everything.
            let level = y.place(value).unwrap_or(frame.bottom);
            (across, level.clamp(frame.top, frame.bottom))
        };
        let is_known = (middle + half).is_finite();
        is_known.then(|| (edge(middle + half), edge(middle - half)))
    };
    let edges: Vec<_> = (0..mean.steps.len()).map(edges).collect();
    let mut path = String::new();
    for part in edges.split(Option::is_none).filter(|part| part.len() > 1) {
        let upper = part.iter().flatten().map(|(upper, _)| upper);
        let lower = part.iter().flatten().rev().map(|(_, lower)| lower);
        for (index, (x, y)) in upper.chain(lower).enumerate() {
            let letter = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{} {}", At(*x), At(*y));
        }
        path.push('Z');
    }
    if !path.is_empty() {
        svg.push(format_args!("<path class=\"band {class}\" d=\"{path}\"/>"));
    }
}

/// What the steps count, where all curves agree.
fn axis_of(all: &[&Curve]) -> String {
    let first = all.first().map_or("", |curve| curve.axis.as_str());
    match first {
        "" => "record".into(),
        _ if all.iter().any(|curve| curve.axis != first) => "place".into(),
        axis => axis.to_string(),
    }
}

fn description(
    data: &Data,
    metric: &str,
    groups: &[Vec<&Curve>],
    thin: &[(usize, &Curve)],
) -> String {
    let all: usize = groups.iter().map(Vec::len).sum();
    let drawn = match thin.len() == all {
        true => format!("{all} runs"),
        false => format!("{} of {all} runs", thin.len()),
    };
    let repeated = groups.iter().any(|curves| curves.len() > 1);
    let means = if repeated {
        format!(
            ", and the {} of each of {} groups",
            data.spread.as_str(),
            groups.len()
        )
    } else {
        String::new()
    };
    format!("Learning curves of {metric}: {drawn}{means}.")
}

/// The means at the beginning, in the middle and at the end.
fn numbers(data: &Data, metric: &str, means: &[Mean], groups: &[Vec<&Curve>]) -> Numbers {
    let rows = means
        .iter()
        .zip(groups)
        .enumerate()
        .filter(|(_, (mean, _))| !mean.steps.is_empty());
    let row = |(group, (mean, curves)): (usize, (&Mean, &Vec<&Curve>))| {
        let last = mean.steps.len() - 1;
        let at = [0, last / 2, last].map(|place| {
            let (value, half) = (mean.mean[place], mean.spread[place]);
            let text = match half.is_finite() {
                true => {
                    let (value, half) = show_spread(value, half);
                    format!("{value} ± {half}")
                }
                false => show(value),
            };
            format!("{text} at {}", show(mean.steps[place]))
        });
        let mut cells = vec![data.label(group), curves.len().to_string()];
        cells.extend(at);
        cells
    };
    Numbers {
        heads: ["group", "runs", "first", "middle", "last"]
            .map(String::from)
            .into(),
        rows: rows.map(row).take(200).collect(),
        caption: format!("Means of {metric}"),
    }
}
