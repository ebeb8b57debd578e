//! Mean, spread and confidence of a few repetitions.

use statrs::distribution::{Continuous, ContinuousCDF, StudentsT};

/// What is known of a quantity from independent repetitions of its measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// How many there are; at least one.
    pub n: usize,
    /// The arithmetic mean; NaN when a value is.
    pub mean: f64,
    /// The sample standard deviation (n - 1 in the denominator); nothing for a single value.
    pub sd: Option<f64>,
}

impl Summary {
    /// Of `values`; nothing when there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        // From one of them on, so that equal values have no spread from rounding.
        let from = if values[0].is_finite() {
            values[0]
        } else {
            0.0
        };
        let mean = from + values.iter().map(|value| value - from).sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let sd = (n > 1).then(|| (squares / (n - 1) as f64).sqrt());
        Some(Summary { n, mean, sd })
    }

    /// Half the width of the 95 % confidence interval of the mean, by Student's t with n - 1 degrees of freedom;
    /// nothing for a single value.
    pub fn ci95(&self) -> Option<f64> {
        Some(t95(self.n - 1)? * self.sd? / (self.n as f64).sqrt())
    }
}

/// The 97.5 % quantile of Student's t.
fn t95(freedom: usize) -> Option<f64> {
    let t = StudentsT::new(0.0, 1.0, freedom as f64).ok()?;
    // The quantile of statrs is exact to about six digits; a step of Newton's makes it twelve and more.
    let mut x = t.inverse_cdf(0.975);
    for _ in 0..2 {
        x -= (t.cdf(x) - 0.975) / t.pdf(x);
    }
    Some(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_no_spread() {
        let summary = Summary::of(&[0.1; 3]).unwrap();
        assert_eq!((summary.mean, summary.sd), (0.1, Some(0.0)));
    }

    /// scipy 1.17.1: `stats.t.ppf(0.975, n)`.
    #[test]
    fn quantiles_are_those_of_scipy() {
        for (freedom, quantile) in [
            (1, 12.706204736174694),
            (2, 4.302652729749462),
            (3, 3.182446305283708),
            (4, 2.776445105197793),
            (9, 2.2621571627982053),
            (29, 2.045229642132703),
            (99, 1.9842169515864165),
            (999, 1.962341461133449),
        ] {
            let ours = t95(freedom).unwrap();
            assert!((ours / quantile - 1.0).abs() < 1e-10, "{freedom}: {ours}");
        }
        assert_eq!(t95(0), None);
    }

    /// numpy 2.4.6 and scipy 1.17.1: `mean()`, `std(ddof=1)`, `stats.t.interval(0.95, n - 1, mean, stats.sem(x))`.
    #[test]
    fn summaries_are_those_of_scipy() {
        let cases: [(&[f64], [f64; 3]); 2] = [
            (
                &[0.123, 0.131, 0.119, 0.142, 0.127],
                [
                    0.12840000000000001,
                    0.008820430828479974,
                    0.010952011408370182,
                ],
            ),
            (
                &[1000001.0, 1000002.0, 1000004.0],
                [1000002.3333333334, 1.5275252316519465, 3.7945830336539075],
            ),
        ];
        for (values, [mean, sd, ci]) in cases {
            let ours = Summary::of(values).unwrap();
            let pairs = [
                (ours.mean, mean),
                (ours.sd.unwrap(), sd),
                (ours.ci95().unwrap(), ci),
            ];
            for (ours, theirs) in pairs {
                assert!((ours / theirs - 1.0).abs() < 1e-10, "{ours} {theirs}");
            }
        }
    }

    #[test]
    fn one_value_has_no_spread_and_nan_is_kept() {
        let one = Summary::of(&[3.0]).unwrap();
        assert_eq!((one.mean, one.sd, one.ci95()), (3.0, None, None));
        assert_eq!(Summary::of(&[]), None);
        assert!(Summary::of(&[1.0, f64::NAN]).unwrap().mean.is_nan());
        assert_eq!(
            Summary::of(&[1.0, f64::INFINITY]).unwrap().mean,
            f64::INFINITY
        );
    }
}
