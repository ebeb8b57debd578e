//! Runs that differ only in what is not looked at, such as the seed, taken together.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::direction::Direction;
use super::row::{self, Column, Content, Field, Row};
use super::statistics::Summary;
use super::table;
use crate::error::Result;
use crate::terminal::count;

/// Names of parameters that repeat an experiment without changing it.
const REPETITIONS: [&str; 8] = [
    "seed",
    "random_seed",
    "random_state",
    "rng",
    "fold",
    "repeat",
    "repetition",
    "trial",
];

/// The runs with the same contents in some columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Their contents, as texts; empty where they have nothing.
    pub key: Vec<String>,
    /// Their places among the rows.
    pub rows: Vec<usize>,
    /// The places of runs that only repeat one of those: they reproduce it, or are attempts at the same. No independent
    /// measurements, which would make the mean look surer than it is.
    pub repeats: Vec<usize>,
}

impl Group {
    /// What the runs of the group measured: over those that have the metric.
    pub fn summary(&self, rows: &[Row], metric: &str) -> Option<Summary> {
        let values = self
            .rows
            .iter()
            .filter_map(|&index| rows[index].metric(metric));
        Summary::of(&values.collect::<Vec<_>>())
    }

    /// `lr=0.1 depth=3`, for columns called so.
    pub fn label(&self, columns: &[Column]) -> String {
        let pairs = columns
            .iter()
            .zip(&self.key)
            .map(|(column, text)| match column {
                Column::Field(Field::Commit) => format!("commit={}", table::short(text)),
                _ => format!("{}={text}", column.name()),
            });
        let pairs: Vec<String> = pairs.collect();
        pairs.join(" ")
    }
}

/// The columns that a person names, with commas between them.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) when no run has one.
pub fn columns(rows: &[Row], names: &[String]) -> Result<Vec<Column>> {
    names.iter().map(|name| row::column(rows, name)).collect()
}

/// The columns that make groups, which a person names.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) when no run has one.
pub fn keys(rows: &[Row], names: &[String]) -> Result<Vec<Column>> {
    names.iter().map(|name| row::key(rows, name)).collect()
}

/// The columns that make the settings of a design: all parameters that vary, but those that only repeat it.
/// Also the experiment and the commit, where several are looked at.
pub fn settings(rows: &[Row]) -> Vec<Column> {
    let fields = [Field::Experiment, Field::Commit].map(Column::Field);
    let parameters = row::parameters(rows).into_iter().map(Column::Parameter);
    let all = fields.into_iter().chain(parameters);
    all.filter(|column| row::varies(rows, column) && !is_repetition(column))
        .collect()
}

/// Whether a parameter only repeats the experiment.
pub fn is_repetition(column: &Column) -> bool {
    matches!(column, Column::Parameter(name) if is_seed(name))
}

fn is_seed(name: &str) -> bool {
    REPETITIONS.contains(&name.to_lowercase().as_str())
}

/// The groups of `rows`, by their key: numbers by size.
pub fn group(rows: &[Row], columns: &[Column]) -> Vec<Group> {
    let mut groups: IndexMap<Vec<String>, Vec<usize>> = IndexMap::new();
    for (index, row) in rows.iter().enumerate() {
        let key = columns.iter().map(|column| match row.get(column) {
            Content::Nothing => String::new(),
            Content::Number(value) => value.to_string(),
            Content::Text(text) => text.into_owned(),
        });
        groups.entry(key.collect()).or_default().push(index);
    }
    let apart = |(key, members): (Vec<String>, Vec<usize>)| {
        let repeats = Repeats::among(rows, &members);
        let (repeats, rows) = members.iter().partition(|&&row| repeats.has(row));
        Group { key, rows, repeats }
    };
    let mut groups: Vec<Group> = groups.into_iter().map(apart).collect();
    groups.sort_by(|a, b| {
        let (a, b) = (&rows[a.rows[0]], &rows[b.rows[0]]);
        let orders = columns
            .iter()
            .map(|column| row::order(&a.get(column), &b.get(column), false));
        orders.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
    });
    groups
}

/// What only repeats something else among some runs. Of several attempts at the same, one counts, the last that succeeded or
/// else the last: all that did where nothing fixes their randomness.
struct Repeats<'a> {
    rows: &'a [Row],
    originals: HashSet<&'a str>,
    /// Of each first attempt, the place of the one that counts.
    best: IndexMap<&'a str, usize>,
}

impl<'a> Repeats<'a> {
    fn among(rows: &'a [Row], members: &[usize]) -> Self {
        let rank = |row: usize| (rows[row].has_succeeded(), rows[row].asked, row);
        let (mut originals, mut best) = (HashSet::new(), IndexMap::new());
        let is_original = |row: &&usize| rows[**row].reproduces.is_none();
        for &row in members.iter().filter(is_original) {
            originals.insert(rows[row].run.as_str());
            let known = best.entry(rows[row].first.as_str()).or_insert(row);
            if rank(row) > rank(*known) {
                *known = row;
            }
        }
        Repeats {
            rows,
            originals,
            best,
        }
    }

    fn has(&self, row: usize) -> bool {
        let run = &self.rows[row];
        if let Some(of) = &run.reproduces {
            // Only where the original is there too, so that no group is left without a run.
            return self.originals.contains(of.as_str());
        }
        let is_fixed = run.parameters.iter().any(|(name, _)| is_seed(name));
        (is_fixed || !run.has_succeeded()) && self.best.get(run.first.as_str()) != Some(&row)
    }
}

/// What a person should know of the means of `groups`, each with what the command line can do about it.
pub fn cautions(rows: &[Row], groups: &[Group], keys: &[Column]) -> Vec<(String, &'static str)> {
    let counted = || groups.iter().flat_map(|group| &group.rows);
    let is_open = |row: &&usize| !rows[**row].has_succeeded() && !rows[**row].curves.is_empty();
    let open = counted().filter(is_open).count();
    let commit = Column::Field(Field::Commit);
    let is_mixed = |group: &Group| {
        let commits = group.rows.windows(2);
        let mut pairs = commits.map(|pair| (&rows[pair[0]].commit, &rows[pair[1]].commit));
        pairs.any(|(one, other)| one != other)
    };
    let mut said = Vec::new();
    if open > 0 {
        let runs = count(open, "run");
        said.push((
            format!("the last values of {runs} that did not succeed are in the means"),
            "--where state=succeeded leaves them out",
        ));
    }
    if !keys.contains(&commit) && groups.iter().any(is_mixed) {
        said.push((
            "runs of different commits are taken together".into(),
            "--group-by …,commit keeps them apart",
        ));
    }
    said
}

/// Sorts groups by the mean of a metric, the best first.
pub fn sort_best(rows: &[Row], groups: &mut [Group], metric: &str, direction: Direction) {
    let mean = |group: &Group| group.summary(rows, metric).map(|summary| summary.mean);
    groups.sort_by(|a, b| direction.order(mean(a), mean(b)));
}

/// Sorts groups by a key of theirs or by the mean of a metric; those without one come last, and so does NaN.
pub fn sort(
    rows: &[Row],
    groups: &mut [Group],
    keys: &[Column],
    column: &Column,
    descending: bool,
) {
    let content = |group: &Group| match column {
        Column::Metric(name) if !keys.contains(column) => {
            let summary = group.summary(rows, name);
            summary.map_or(Content::Nothing, |summary| Content::Number(summary.mean))
        }
        _ => rows[group.rows[0]].get(column).into_owned(),
    };
    groups.sort_by(|a, b| row::order(&content(a), &content(b), descending));
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::run;
    use super::*;

    fn rows() -> Vec<Row> {
        let all = [
            ("a", "0.1", "1", 1.0),
            ("b", "0.01", "1", 4.0),
            ("c", "0.1", "2", 3.0),
            ("d", "0.01", "2", f64::NAN),
        ];
        let mut rows: Vec<Row> = all
            .map(|(id, lr, seed, loss)| {
                run(
                    id,
                    &[("lr", lr), ("seed", seed), ("epochs", "3")],
                    &[("loss", loss)],
                )
            })
            .into();
        rows.push(run(
            "e",
            &[("lr", "0.1"), ("seed", "3"), ("epochs", "3")],
            &[],
        ));
        rows
    }

    #[test]
    fn what_was_reproduced_is_measured_once() {
        let mut rows = rows();
        rows.push(Row {
            reproduces: Some("a".into()),
            ..run("a-a2", &[("lr", "0.1"), ("seed", "1")], &[("loss", 1.0)])
        });
        let columns = [Column::Parameter("lr".into())];
        let groups = group(&rows, &columns);
        let summary = groups[1].summary(&rows, "loss").unwrap();
        assert_eq!((summary.n, summary.mean), (2, 2.0));
        assert_eq!(groups[1].repeats, [5]);
        // Alone, it is a run like others; and nobody can make a circle of it.
        let alone = group(&rows[5..], &columns);
        assert_eq!((&alone[0].rows, &alone[0].repeats), (&vec![0], &vec![]));
        for (row, of) in [(0, "a-a2"), (5, "a")] {
            rows[row].reproduces = Some(of.into());
        }
        assert!(
            group(&rows, &columns)
                .iter()
                .all(|group| !group.rows.is_empty())
        );
    }

    #[test]
    fn attempts_at_the_same_are_measured_once() {
        let keys = [Column::Parameter("lr".into())];
        let counted = |parameters: &[(&str, &str)], attempts: [(&str, &str, &str); 4]| {
            let rows = attempts.map(|(id, first, state)| Row {
                first: first.into(),
                state: state.into(),
                ..run(id, parameters, &[("loss", 1.0)])
            });
            let groups = group(&rows, &keys);
            let counted = groups[0].rows.iter();
            let counted: Vec<&str> = counted.map(|&row| rows[row].run.as_str()).collect();
            counted.join(" ")
        };
        let free = [
            ("a", "a", "failed (1)"),
            ("a-a2", "a", "succeeded"),
            ("a-a3", "a", "succeeded"),
            ("a-a4", "a", "running"),
        ];
        assert_eq!(counted(&[("lr", "1")], free), "a-a2 a-a3");
        let seeded = [
            ("a", "a", "succeeded"),
            ("a-a2", "a", "succeeded"),
            ("a-a3", "a", "failed (1)"),
            ("b", "b", "failed (1)"),
        ];
        assert_eq!(counted(&[("lr", "1"), ("seed", "1")], seeded), "a-a2 b");
    }

    #[test]
    fn what_a_mean_hides_is_said() {
        let keys = [Column::Parameter("lr".into())];
        let mut rows = rows();
        let said = |rows: &[Row], keys: &[Column]| cautions(rows, &group(rows, keys), keys);
        assert_eq!(said(&rows, &keys), []);
        rows[0].state = "failed (1)".into();
        rows[4].state = "failed (1)".into();
        rows[1].commit = "f".repeat(40);
        let both = said(&rows, &keys);
        assert!(both[0].0.contains("1 run that did not succeed"), "{both:?}");
        assert!(both[1].0.contains("different commits"));
        let keys = [keys[0].clone(), Column::Field(Field::Commit)];
        assert_eq!(said(&rows, &keys).len(), 1);
    }

    #[test]
    fn repetitions_are_taken_together() {
        let rows = rows();
        let columns = settings(&rows);
        assert_eq!(columns, [Column::Parameter("lr".into())]);
        let groups = group(&rows, &columns);
        let labels: Vec<String> = groups.iter().map(|group| group.label(&columns)).collect();
        assert_eq!(labels, ["lr=0.01", "lr=0.1"]);
        // The run without the metric does not count; the diverged one does.
        let summary = groups[1].summary(&rows, "loss").unwrap();
        assert_eq!(
            (summary.n, summary.mean, summary.sd),
            (2, 2.0, Some(2f64.sqrt()))
        );
        assert!(groups[0].summary(&rows, "loss").unwrap().mean.is_nan());
        assert_eq!(groups[0].summary(&rows, "acc"), None);
    }
}
