//! Whether less or more of a metric is better.

use std::cmp::Ordering;

/// Which end of a metric is the good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// As of a loss.
    Min,
    /// As of an accuracy.
    Max,
}

/// Parts of names whose metrics are better when smaller, and when larger.
const SMALLER: [&str; 32] = [
    "loss",
    "losses",
    "error",
    "errors",
    "err",
    "mse",
    "rmse",
    "mae",
    "mape",
    "mad",
    "nll",
    "bpc",
    "bpb",
    "ppl",
    "perplexity",
    "wer",
    "cer",
    "ter",
    "fid",
    "kid",
    "lpips",
    "brier",
    "ece",
    "kl",
    "regret",
    "cost",
    "time",
    "seconds",
    "latency",
    "duration",
    "distance",
    "divergence",
];
const LARGER: [&str; 39] = [
    "accuracy",
    "accuracies",
    "acc",
    "top1",
    "top5",
    "f1",
    "fbeta",
    "auc",
    "auroc",
    "auprc",
    "roc",
    "ap",
    "map",
    "precision",
    "recall",
    "specificity",
    "sensitivity",
    "reward",
    "return",
    "returns",
    "bleu",
    "rouge",
    "meteor",
    "cider",
    "iou",
    "miou",
    "dice",
    "r2",
    "psnr",
    "ssim",
    "ndcg",
    "mrr",
    "hits",
    "throughput",
    "likelihood",
    "correlation",
    "improvement",
    "reduction",
    "gain",
];
/// Parts that leave open which end of what they measure is the good one.
const SPREAD: [&str; 13] = [
    "std",
    "stdev",
    "stddev",
    "sem",
    "var",
    "variance",
    "gap",
    "diff",
    "difference",
    "delta",
    "change",
    "drop",
    "weight",
];
/// Parts that turn what follows them round, as scikit-learn does with losses.
const NEGATION: [&str; 3] = ["neg", "negative", "minus"];

impl Direction {
    /// What the name of a metric says: `val/error_rate` is better small, `top1_acc` is better large. The last part that
    /// says something counts, so that `accuracy_loss` is a loss; `score` is large where nothing else is said.
    pub fn of(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        let parts = name.split(|c: char| !c.is_ascii_alphanumeric());
        let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
        if parts.iter().any(|part| SPREAD.contains(part)) {
            return None;
        }
        let said = |at: usize| Some((at, Self::of_part(parts[at])?));
        let Some((at, direction)) = (0..parts.len()).rev().find_map(said) else {
            return parts.contains(&"score").then_some(Direction::Max);
        };
        if !parts[..at].iter().any(|part| NEGATION.contains(part)) {
            return Some(direction);
        }
        match (direction, parts[at]) {
            (Direction::Min, _) => Some(Direction::Max),
            (Direction::Max, "likelihood") => Some(Direction::Min),
            // The accuracy of negatives, perhaps.
            (Direction::Max, _) => None,
        }
    }

    fn of_part(part: &str) -> Option<Self> {
        let stem = part.trim_end_matches(|c: char| c.is_ascii_digit());
        let is_in = |words: &[&str]| words.contains(&part) || words.contains(&stem);
        match (is_in(&SMALLER), is_in(&LARGER)) {
            (true, _) => Some(Direction::Min),
            (_, true) => Some(Direction::Max),
            _ => None,
        }
    }

    /// Whether `a` is better than `b`. NaN is worse than every number.
    pub fn is_better(self, a: f64, b: f64) -> bool {
        match self {
            _ if a.is_nan() => false,
            _ if b.is_nan() => true,
            Direction::Min => a < b,
            Direction::Max => a > b,
        }
    }

    /// The better one first; then what is infinite, what is NaN, and what is not there: none of these is a result.
    pub fn order(self, a: Option<f64>, b: Option<f64>) -> Ordering {
        let rank = |value: Option<f64>| match value {
            Some(value) if value.is_finite() => 0,
            Some(value) if !value.is_nan() => 1,
            Some(_) => 2,
            None => 3,
        };
        let both = a.zip(b).filter(|_| rank(a) == rank(b));
        rank(a)
            .cmp(&rank(b))
            .then(both.map_or(Ordering::Equal, |(a, b)| match self {
                Direction::Min => a.total_cmp(&b),
                Direction::Max => b.total_cmp(&a),
            }))
    }

    /// `min` or `max`.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Min => "min",
            Direction::Max => "max",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_better() {
        for (name, direction) in [
            ("loss", Some(Direction::Min)),
            ("val/Loss", Some(Direction::Min)),
            ("eval.error_rate", Some(Direction::Min)),
            ("rougeL", None),
            ("rouge1", Some(Direction::Max)),
            ("val_acc", Some(Direction::Max)),
            ("top1", Some(Direction::Max)),
            ("accuracy_loss", Some(Direction::Min)),
            ("slope", None),
            ("glossary", None),
            ("neg_log_likelihood", Some(Direction::Min)),
            ("test/neg_mean_squared_error", Some(Direction::Max)),
            ("neg_acc", None),
            ("acc_std", None),
            ("delta_loss", None),
            ("error_reduction", Some(Direction::Max)),
            ("loss_improvement", Some(Direction::Max)),
            ("brier_score", Some(Direction::Min)),
            ("neg_brier_score", Some(Direction::Max)),
            ("f1_score", Some(Direction::Max)),
            ("test_score", Some(Direction::Max)),
        ] {
            assert_eq!(Direction::of(name), direction, "{name}");
        }
        assert!(Direction::Max.is_better(1.0, f64::NAN));
        assert!(!Direction::Min.is_better(f64::NAN, 1.0));
        let of = [
            None,
            Some(f64::NAN),
            Some(f64::NEG_INFINITY),
            Some(2.0),
            Some(1.0),
        ];
        for (direction, best) in [(Direction::Min, 1.0), (Direction::Max, 2.0)] {
            let mut sorted = of;
            sorted.sort_by(|a, b| direction.order(*a, *b));
            assert_eq!(sorted[0], Some(best));
            assert_eq!((sorted[2], sorted[4]), (of[2], of[0]));
        }
    }
}
