//! Whether the metrics of a run that was repeated come out as they were.

use std::collections::BTreeSet;

use super::row::{self, Row};

/// How far two values may be apart and still agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// As a part of the recorded value.
    pub relative: f64,
    /// At least so much, whatever the value.
    pub absolute: f64,
    /// Whether whole numbers must be the same: they count something.
    pub is_exact_for_whole: bool,
}

impl Tolerance {
    /// Whether `now` is what was `recorded`: at most `absolute + relative × |recorded|` away from it, as NumPy's
    /// `allclose` has it. NaN agrees with NaN, and an infinity with itself.
    pub fn agree(&self, recorded: f64, now: f64) -> bool {
        if recorded == now || (recorded.is_nan() && now.is_nan()) {
            return true;
        }
        let are_whole = recorded.fract() == 0.0 && now.fract() == 0.0;
        if are_whole && self.is_exact_for_whole {
            return false;
        }
        let is_close = (now - recorded).abs() <= self.absolute + self.relative * recorded.abs();
        // An infinity is as far from everything as its tolerance is wide.
        is_close && recorded.is_finite() && now.is_finite()
    }
}

/// One metric of both runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// Its last value by the record, and in the run that repeats it.
    pub values: [Option<f64>; 2],
    /// Whether they agree; nothing for a metric that does not count.
    pub agrees: Option<bool>,
}

/// The metrics that `recorded` or `now` has, in the order first seen; those in `ignored` do not count. One that only one
/// of them has agrees with nothing.
pub fn compare(
    recorded: &Row,
    now: &Row,
    ignored: &BTreeSet<String>,
    tolerance: &Tolerance,
) -> Vec<Compared> {
    let names = row::metrics([recorded, now]);
    let compared = |name: String| {
        let values = [recorded.metric(&name), now.metric(&name)];
        let agrees = match values {
            _ if ignored.contains(&name) => None,
            [Some(recorded), Some(now)] => Some(tolerance.agree(recorded, now)),
            _ => Some(false),
        };
        Compared {
            name,
            values,
            agrees,
        }
    };
    names.into_iter().map(compared).collect()
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::run;
    use super::*;

    const USUAL: Tolerance = Tolerance {
        relative: 1e-5,
        absolute: 1e-8,
        is_exact_for_whole: true,
    };

    #[test]
    fn what_agrees() {
        for (recorded, now) in [
            (1.5, 1.5),
            (0.1, 0.100_000_5),
            (-0.1, -0.100_000_5),
            (0.0, 5e-9),
            (f64::NAN, f64::NAN),
            (f64::INFINITY, f64::INFINITY),
            (5e15, 5e15),
        ] {
            assert!(USUAL.agree(recorded, now), "{recorded} {now}");
        }
        for (recorded, now) in [
            (0.1, 0.1001),
            (0.0, 1e-6),
            (1_000_000.0, 1_000_001.0),
            (f64::NAN, 1.5),
            (1.5, f64::NAN),
            (f64::INFINITY, f64::NEG_INFINITY),
            (1.5, f64::INFINITY),
            (f64::INFINITY, 1.5),
        ] {
            assert!(!USUAL.agree(recorded, now), "{recorded} {now}");
        }
        let wide = Tolerance {
            relative: 0.05,
            absolute: 0.0,
            is_exact_for_whole: false,
        };
        assert!(wide.agree(98.0, 97.0) && !wide.agree(98.0, 50.0));
    }

    #[test]
    fn a_metric_that_one_has_alone_disagrees_unless_it_does_not_count() {
        let (before, now) = (
            run("a", &[], &[("loss", 0.5), ("seconds", 3.5)]),
            run("b", &[], &[("loss", 0.5), ("seconds", 4.5), ("new", 1.0)]),
        );
        let ignored = BTreeSet::from(["seconds".to_string()]);
        let found = compare(&before, &now, &ignored, &USUAL);
        let verdicts: Vec<_> = found.iter().map(|c| (c.name.as_str(), c.agrees)).collect();
        assert_eq!(
            verdicts,
            [
                ("loss", Some(true)),
                ("seconds", None),
                ("new", Some(false))
            ]
        );
    }
}
