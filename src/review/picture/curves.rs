//! Curves for the eye: fewer points of the same shape, and the mean of several.

use super::super::metrics::Curve;
use super::super::statistics::Summary;
use super::super::table::Spread;

/// The mean of some curves, and how far they spread around it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Mean {
    pub steps: Vec<f64>,
    pub mean: Vec<f64>,
    /// Half the width of the band; NaN where there is a single curve.
    pub spread: Vec<f64>,
}

/// The mean of `curves` at about `points` steps. Where they were not written at the same steps, they are taken
/// between two points on the straight line, and only where they have begun and not ended.
pub(super) fn mean(curves: &[&Curve], spread: Spread, points: usize) -> Mean {
    let Some(first) = curves.first() else {
        return Mean::default();
    };
    let is_same = curves.iter().all(|curve| curve.steps == first.steps);
    let steps: Vec<f64> = match is_same {
        true => every(first.steps.len(), points)
            .map(|index| first.steps[index])
            .collect(),
        false => grid(curves, points),
    };
    let indices: Vec<usize> = every(first.steps.len(), points).collect();
    let mut out = Mean {
        steps,
        ..Mean::default()
    };
    for (place, step) in out.steps.iter().enumerate() {
        let values: Vec<f64> = match is_same {
            true => curves
                .iter()
                .map(|curve| curve.values[indices[place]])
                .collect(),
            false => curves.iter().filter_map(|curve| at(curve, *step)).collect(),
        };
        let summary = Summary::of(&values);
        out.mean
            .push(summary.map_or(f64::NAN, |summary| summary.mean));
        let half = summary.and_then(|summary| spread.of(&summary));
        out.spread.push(half.unwrap_or(f64::NAN));
    }
    out
}

/// At most about `points` of the indices below `count`, the first and the last among them.
fn every(count: usize, points: usize) -> impl Iterator<Item = usize> {
    let taken = count.min(points);
    (0..taken).map(move |index| match taken {
        1 => 0,
        _ => index * (count - 1) / (taken - 1),
    })
}

/// Even steps from the first to the last of all.
fn grid(curves: &[&Curve], points: usize) -> Vec<f64> {
    let steps = curves.iter().flat_map(|curve| curve.steps.iter().copied());
    let (low, high) = steps
        .filter(|step| step.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), step| {
            (low.min(step), high.max(step))
        });
    if low > high {
        return Vec::new();
    }
    let longest = curves
        .iter()
        .map(|curve| curve.steps.len())
        .max()
        .unwrap_or(0);
    let points = longest.min(points).max(2);
    let share = |index: usize| index as f64 / (points - 1) as f64;
    (0..points)
        .map(|index| low + share(index) * (high - low))
        .collect()
}

/// The value of a curve at a step, between two of its points on the straight line.
fn at(curve: &Curve, step: f64) -> Option<f64> {
    let steps = &curve.steps;
    let after = steps.partition_point(|known| *known < step);
    let next = *steps.get(after)?;
    if next == step {
        return Some(curve.values[after]);
    }
    let before = after.checked_sub(1)?;
    let share = (step - steps[before]) / (next - steps[before]);
    Some(curve.values[before] + share * (curve.values[after] - curve.values[before]))
}

/// The indices of about `points` points that keep the shape: Largest-Triangle-Three-Buckets (S. Steinarsson,
/// Downsampling Time Series for Visual Representation, 2013, section 4.2). Points without a place are left out.
pub(super) fn shape(xs: &[f64], ys: &[f64], points: usize) -> Vec<usize> {
    let all: Vec<usize> = (0..xs.len().min(ys.len()))
        .filter(|&index| xs[index].is_finite() && ys[index].is_finite())
        .collect();
    if all.len() <= points || points < 3 {
        return all;
    }
    let inner = all.len() - 2;
    let bucket =
        |index: usize| 1 + index * inner / (points - 2)..1 + (index + 1) * inner / (points - 2);
    let mut kept = vec![all[0]];
    for index in 0..points - 2 {
        let here = bucket(index);
        // The middle of the next bucket; of the last one, the last point.
        let next = if index + 3 == points {
            all.len() - 1..all.len()
        } else {
            bucket(index + 1)
        };
        let n = next.len() as f64;
        let (mx, my) = next
            .map(|place| all[place])
            .fold((0.0, 0.0), |(mx, my), place| {
                (mx + xs[place] / n, my + ys[place] / n)
            });
        let last = kept[kept.len() - 1];
        let area = |place: usize| {
            ((xs[last] - mx) * (ys[place] - ys[last]) - (xs[last] - xs[place]) * (my - ys[last]))
                .abs()
        };
        let largest = here
            .map(|place| all[place])
            .max_by(|a, b| area(*a).total_cmp(&area(*b)));
        kept.extend(largest);
    }
    kept.push(all[all.len() - 1]);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(steps: &[f64], values: &[f64]) -> Curve {
        Curve {
            axis: "step".into(),
            steps: steps.into(),
            values: values.into(),
        }
    }

    #[test]
    fn curves_of_the_same_steps_are_met_point_by_point() {
        let (a, b) = (
            curve(&[1.0, 2.0], &[0.0, 4.0]),
            curve(&[1.0, 2.0], &[2.0, f64::NAN]),
        );
        let mean = mean(&[&a, &b], Spread::Deviation, 100);
        assert_eq!(
            (mean.steps, mean.mean[0], mean.spread[0]),
            (vec![1.0, 2.0], 1.0, 2f64.sqrt())
        );
        assert!(mean.mean[1].is_nan());
    }

    #[test]
    fn curves_of_other_steps_are_met_between_their_points() {
        let (a, b) = (
            curve(&[0.0, 10.0], &[0.0, 10.0]),
            curve(&[0.0, 5.0], &[2.0, 7.0]),
        );
        let mean = mean(&[&a, &b], Spread::Deviation, 100);
        assert_eq!((mean.steps, mean.mean), (vec![0.0, 10.0], vec![1.0, 10.0]));
        assert_eq!(
            (at(&b, 2.5), at(&b, 6.0), at(&b, -1.0)),
            (Some(4.5), None, None)
        );
    }

    #[test]
    fn the_peak_is_kept() {
        let xs: Vec<f64> = (0..1000).map(f64::from).collect();
        let mut ys = vec![0.0; 1000];
        (ys[500], ys[10]) = (9.0, f64::NAN);
        let kept = shape(&xs, &ys, 20);
        assert_eq!((kept.len(), kept[0], kept[19]), (20, 0, 999));
        assert!(kept.contains(&500) && !kept.contains(&10));
        assert!(kept.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(shape(&xs[..5], &ys[..5], 20).len(), 5);
        assert_eq!(every(10, 4).collect::<Vec<_>>(), [0, 3, 6, 9]);
        assert_eq!(every(1, 4).collect::<Vec<_>>(), [0]);
    }
}
