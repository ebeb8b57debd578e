//! What a review is about: runs, and the columns that they have.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashSet;

use super::direction::Direction;
use super::metrics::Curves;
use crate::error::{Error, Result};
use crate::model::config::nearest;
use crate::model::value::Value;

/// One run as `git agile review` shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The run's id.
    pub run: String,
    /// How it ended, or that it runs.
    pub state: String,
    /// The experiment's name.
    pub experiment: String,
    /// The server's name.
    pub server: String,
    /// The commit's full id.
    pub commit: String,
    /// The first line of its message.
    pub subject: String,
    /// The push that asked for it.
    pub sprint: String,
    /// When it was asked for, seconds since 1970.
    pub asked: i64,
    /// The run that it reproduces, if it was launched for that.
    pub reproduces: Option<String>,
    /// The id of the first attempt at the same.
    pub first: String,
    /// Its parameters, in the order of their names.
    pub parameters: Vec<(String, Value)>,
    /// What was measured.
    pub curves: Curves,
}

/// Something that runs have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Column {
    /// A fact about the run itself.
    Field(Field),
    /// A parameter.
    Parameter(String),
    /// The last value of a metric.
    Metric(String),
}

impl Column {
    /// Its name, as a head has it.
    pub fn name(&self) -> &str {
        match self {
            Column::Field(field) => field.as_str(),
            Column::Parameter(name) | Column::Metric(name) => name,
        }
    }
}

/// A fact about a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// Its id.
    Run,
    /// Its state.
    State,
    /// Its experiment.
    Experiment,
    /// Its server.
    Server,
    /// Its commit.
    Commit,
    /// The first line of the commit's message.
    Subject,
    /// Its sprint.
    Sprint,
}

impl Field {
    /// All of them, as columns stand.
    pub const ALL: [Field; 7] = [
        Field::Run,
        Field::State,
        Field::Experiment,
        Field::Server,
        Field::Commit,
        Field::Subject,
        Field::Sprint,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Field::Run => "run",
            Field::State => "state",
            Field::Experiment => "experiment",
            Field::Server => "server",
            Field::Commit => "commit",
            Field::Subject => "subject",
            Field::Sprint => "sprint",
        }
    }
}

/// What a run has in a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Content<'a> {
    /// Nothing.
    Nothing,
    /// A measured number.
    Number(f64),
    /// A fact, or a parameter as it is written.
    Text(Cow<'a, str>),
}

impl Content<'_> {
    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Content<'static> {
        match self {
            Content::Nothing => Content::Nothing,
            Content::Number(value) => Content::Number(value),
            Content::Text(text) => Content::Text(text.into_owned().into()),
        }
    }

    /// The number that it is, or that its text writes; NaN among them.
    pub fn number(&self) -> Option<f64> {
        match self {
            Content::Nothing => None,
            Content::Number(value) => Some(*value),
            Content::Text(text) => text.parse().ok(),
        }
    }

    /// The whole number that its text writes: a seed may be one that no float is.
    pub(super) fn whole(&self) -> Option<i128> {
        match self {
            Content::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

impl Row {
    /// What the run has in `column`.
    pub fn get(&self, column: &Column) -> Content<'_> {
        match column {
            Column::Field(field) => Content::Text(self.field(*field).into()),
            Column::Parameter(name) => match self.parameter(name) {
                Some(value) => Content::Text(value.to_string().into()),
                None => Content::Nothing,
            },
            Column::Metric(name) => match self.curves.get(name) {
                Some(curve) => Content::Number(curve.last()),
                None => Content::Nothing,
            },
        }
    }

    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&Value> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value)
    }

    /// `lr=0.1 seed=3`, for the parameters called so.
    pub fn setting(&self, names: &[String]) -> String {
        let pair = |name: &String| Some(format!("{name}={}", self.parameter(name)?));
        let pairs: Vec<String> = names.iter().filter_map(pair).collect();
        pairs.join(" ")
    }

    /// Whether it ended well.
    pub fn has_succeeded(&self) -> bool {
        self.state == "succeeded"
    }

    /// The last value of a metric.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.curves.get(name).map(|curve| curve.last())
    }

    fn field(&self, field: Field) -> &str {
        match field {
            Field::Run => &self.run,
            Field::State => &self.state,
            Field::Experiment => &self.experiment,
            Field::Server => &self.server,
            Field::Commit => &self.commit,
            Field::Subject => &self.subject,
            Field::Sprint => &self.sprint,
        }
    }
}

/// The parameters that any run has, in the order first seen.
pub fn parameters(rows: &[Row]) -> Vec<String> {
    distinct(
        rows.iter()
            .flat_map(|row| row.parameters.iter().map(|(name, _)| name)),
    )
}

/// The metrics that any run has, in the order first seen.
pub fn metrics<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Vec<String> {
    distinct(rows.into_iter().flat_map(|row| row.curves.keys()))
}

/// The same without those that only say a parameter once more, as many programs write them.
pub fn measured(rows: &[Row]) -> Vec<String> {
    let Known {
        mut metrics,
        echoed,
        ..
    } = Known::of(rows);
    metrics.retain(|name| !echoed.contains(name));
    metrics
}

fn distinct<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut seen = HashSet::new();
    names
        .filter(|name| seen.insert(name.as_str()))
        .cloned()
        .collect()
}

/// The parameters in which runs differ; of a single run, all.
pub fn telling_parameters(rows: &[Row]) -> Vec<String> {
    let mut names = parameters(rows);
    names.retain(|name| rows.len() == 1 || varies(rows, &Column::Parameter(name.clone())));
    names
}

/// Whether the runs differ in `column`.
pub fn varies(rows: &[Row], column: &Column) -> bool {
    rows.windows(2)
        .any(|pair| pair[0].get(column) != pair[1].get(column))
}

/// The column that a person means by `name`: a metric or a parameter, else a fact. `metric.`, `parameter.` and
/// `run.` before it choose among them.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) when no run has it, or when it is a metric and a parameter.
pub fn column(rows: &[Row], name: &str) -> Result<Column> {
    Known::of(rows).column(name)
}

/// The same where what makes groups is meant: rather the parameter than the metric.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) when no run has it.
pub fn key(rows: &[Row], name: &str) -> Result<Column> {
    let known = Known::of(rows);
    known.parameter(name).map_or_else(|| known.column(name), Ok)
}

/// The metric that a person means by `name`.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) when no run has it.
pub fn metric(rows: &[Row], name: &str) -> Result<String> {
    let mut known = Known::of(rows);
    match known.metric(name) {
        Some(Column::Metric(name)) => Ok(name),
        _ => {
            known.parameters.clear();
            Err(known.unknown("metric", name))
        }
    }
}

/// The names that runs have.
pub(super) struct Known {
    metrics: Vec<String>,
    parameters: Vec<String>,
    /// Parameters that programs write beside their metrics once more.
    echoed: Vec<String>,
}

impl Known {
    pub fn of(rows: &[Row]) -> Self {
        let (metrics, parameters) = (metrics(rows), parameters(rows));
        let is_echo = |name: &&String| {
            let differs = |row: &Row| match (row.metric(name), row.parameter(name)) {
                (Some(metric), Some(value)) => value.to_string().parse() != Ok(metric),
                (Some(_), None) => true,
                _ => false,
            };
            parameters.contains(name) && !rows.iter().any(differs)
        };
        Known {
            echoed: metrics.iter().filter(is_echo).cloned().collect(),
            metrics,
            parameters,
        }
    }

    /// As [`column`].
    pub fn column(&self, name: &str) -> Result<Column> {
        let (kind, rest) = name.split_once('.').unwrap_or(("", name));
        let found = match (self.metric(name), self.parameter(name)) {
            (Some(_), Some(parameter)) if self.echoed.iter().any(|echo| echo == name) => {
                return Ok(parameter);
            }
            (Some(_), Some(_)) => {
                let said = format!("`{name}` is a parameter and a metric");
                return Err(Error::usage(said).hint(format!("parameter.{name} or metric.{name}")));
            }
            (metric, parameter) => metric.or(parameter).or_else(|| field(name)),
        };
        let found = found.or_else(|| match kind {
            "metric" => self.metric(rest),
            "parameter" => self.parameter(rest),
            "run" => field(rest),
            _ => None,
        });
        found.ok_or_else(|| self.unknown("column", name))
    }

    fn metric(&self, name: &str) -> Option<Column> {
        let name = self.metrics.iter().find(|known| *known == name)?;
        Some(Column::Metric(name.clone()))
    }

    fn parameter(&self, name: &str) -> Option<Column> {
        let name = self.parameters.iter().find(|known| *known == name)?;
        Some(Column::Parameter(name.clone()))
    }

    pub fn unknown(&self, noun: &str, name: &str) -> Error {
        let names = self.metrics.iter().chain(&self.parameters);
        let names: Vec<&str> = names.map(String::as_str).collect();
        let error = match noun {
            "metric" => Error::usage(format!("no run has a metric `{name}`")),
            _ => Error::usage(format!("no run has a metric or parameter `{name}`")),
        };
        error.hint(match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if self.metrics.is_empty() => {
                "no metrics are here: git agile fetch-results, and name their files in `metrics` of agile.toml".into()
            }
            None => format!("there are: {}", names.join(", ")),
        })
    }
}

fn field(name: &str) -> Option<Column> {
    let field = Field::ALL
        .into_iter()
        .find(|field| field.as_str() == name)?;
    Some(Column::Field(field))
}

/// Sorts by a column: smallest first, or largest with `descending`. Runs without it, or where it is NaN, come last
/// either way; equal ones keep their order.
pub fn sort(rows: &mut [Row], column: &Column, descending: bool) {
    rows.sort_by(|a, b| order(&a.get(column), &b.get(column), descending));
}

/// Sorts by the last value of a metric, the best first, as [`Direction::order`] has it.
pub fn sort_best(rows: &mut [Row], metric: &str, direction: Direction) {
    rows.sort_by(|a, b| direction.order(a.metric(metric), b.metric(metric)));
}

/// The order of two contents of one column, as [`sort`] has it.
pub(super) fn order(a: &Content, b: &Content, descending: bool) -> Ordering {
    let turn = |order: Ordering| if descending { order.reverse() } else { order };
    let rank = |content: &Content| match (content, content.number()) {
        (Content::Nothing, _) => 3,
        (_, Some(value)) if value.is_nan() => 2,
        (_, Some(_)) => 0,
        _ => 1,
    };
    rank(a)
        .cmp(&rank(b))
        .then_with(|| match (a.number(), b.number(), a, b) {
            (Some(x), Some(y), ..) => {
                let whole =
                    |content: &Content, value: f64| content.whole().unwrap_or(value as i128);
                turn(x.total_cmp(&y).then_with(|| whole(a, x).cmp(&whole(b, y))))
            }
            (_, _, Content::Text(a), Content::Text(b)) => turn(a.cmp(b)),
            _ => Ordering::Equal,
        })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::review::metrics::Curve;

    /// A run with its parameters as typed and its metrics' last values.
    pub fn run(id: &str, parameters: &[(&str, &str)], metrics: &[(&str, f64)]) -> Row {
        let curve = |value: f64| Curve {
            axis: String::new(),
            steps: vec![1.0],
            values: vec![value],
        };
        Row {
            run: id.into(),
            state: "succeeded".into(),
            experiment: "train".into(),
            server: "box".into(),
            commit: "0123456789abcdef0123456789abcdef01234567".into(),
            subject: "Try it".into(),
            sprint: "20260102T030405Z-0123456".into(),
            asked: 1_767_323_045,
            reproduces: None,
            first: id.into(),
            parameters: parameters
                .iter()
                .map(|(name, value)| (name.to_string(), Value::from_typed(value)))
                .collect(),
            curves: metrics
                .iter()
                .map(|(name, value)| (name.to_string(), curve(*value)))
                .collect(),
        }
    }

    pub fn rows() -> Vec<Row> {
        vec![
            run("a", &[("lr", "0.1")], &[("loss", f64::NAN)]),
            run("b", &[("lr", "1e-3")], &[("loss", 0.25)]),
            run("c", &[("lr", "0.01")], &[]),
            run("d", &[("lr", "1")], &[("loss", 0.125)]),
        ]
    }

    fn sorted(name: &str, descending: bool) -> String {
        let mut rows = rows();
        let column = column(&rows, name).unwrap();
        sort(&mut rows, &column, descending);
        rows.into_iter().map(|row| row.run).collect()
    }

    #[test]
    fn the_unknown_comes_last() {
        assert_eq!(sorted("loss", false), "dbac");
        assert_eq!(sorted("loss", true), "bdac");
        assert_eq!(sorted("lr", false), "bcad");
        assert_eq!(sorted("run", true), "dcba");
        // One of them is no float.
        let seeds = [
            ("x", "9007199254740993"),
            ("y", "9007199254740992.0"),
            ("z", "9007199254740992"),
        ];
        let mut rows = seeds.map(|(id, seed)| run(id, &[("seed", seed)], &[]));
        sort(&mut rows, &Column::Parameter("seed".into()), false);
        assert_eq!(rows[2].run, "x");
    }

    #[test]
    fn a_name_that_means_two_things_is_asked_about() {
        let rows = [run("a", &[("lr", "0.1")], &[("lr", 0.01)])];
        let error = column(&rows, "lr").unwrap_err();
        assert_eq!(error.message, "`lr` is a parameter and a metric");
        // What only says the parameter again is that.
        let echo = [run("a", &[("lr", "0.1")], &[("lr", 0.1), ("loss", 1.0)])];
        assert_eq!(measured(&echo), ["loss"]);
        assert_eq!(column(&echo, "lr").unwrap(), Column::Parameter("lr".into()));
        let metric = column(&rows, "metric.lr").unwrap();
        assert_eq!(metric, Column::Metric("lr".into()));
        let key = key(&rows, "lr").unwrap();
        assert_eq!(key, Column::Parameter("lr".into()));
        assert_eq!(super::metric(&rows, "lr").unwrap(), "lr");
    }

    #[test]
    fn names_are_found_and_others_suggested() {
        let rows = rows();
        assert_eq!(
            column(&rows, "parameter.lr").unwrap(),
            Column::Parameter("lr".into())
        );
        assert_eq!(
            column(&rows, "run.state").unwrap(),
            Column::Field(Field::State)
        );
        let error = column(&rows, "los").unwrap_err();
        assert_eq!(
            (error.kind, error.hints[0].as_str()),
            (Kind::Usage, "did you mean `loss`?")
        );
        assert!(
            metric(&rows, "lr")
                .unwrap_err()
                .message
                .contains("no run has a metric `lr`")
        );
    }
}
