//! Runs that differ only in what is not looked at, such as the seed, taken together.

use std::collections::HashSet;

use super::row::{self, Column, Content, Field, Row};
use super::statistics::Summary;
use super::table;
use crate::error::Result;

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
    /// The places of runs that only reproduce one of those: no independent measurements, which would make the mean
    /// look surer than it is.
    pub reproductions: Vec<usize>,
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
    matches!(column, Column::Parameter(name) if REPETITIONS.contains(&name.to_lowercase().as_str()))
}

/// The groups of `rows`, by their key: numbers by size.
pub fn group(rows: &[Row], columns: &[Column]) -> Vec<Group> {
    let mut groups: indexmap::IndexMap<Vec<String>, Vec<usize>> = indexmap::IndexMap::new();
    for (index, row) in rows.iter().enumerate() {
        let key = columns.iter().map(|column| match row.get(column) {
            Content::Nothing => String::new(),
            Content::Number(value) => value.to_string(),
            Content::Text(text) => text.into_owned(),
        });
        groups.entry(key.collect()).or_default().push(index);
    }
    let apart = |(key, members): (Vec<String>, Vec<usize>)| {
        let of = |row: usize| rows[row].reproduces.as_deref();
        let originals = members.iter().filter(|&&row| of(row).is_none());
        let originals: HashSet<&str> = originals.map(|&row| rows[row].run.as_str()).collect();
        // Only where the original is there too, so that no group is left without a run.
        let is_reproduction = |row: &usize| of(*row).is_some_and(|of| originals.contains(of));
        let (reproductions, rows) = members.into_iter().partition(is_reproduction);
        Group {
            key,
            rows,
            reproductions,
        }
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
        assert_eq!(groups[1].reproductions, [5]);
        // Alone, it is a run like others; and nobody can make a circle of it.
        let alone = group(&rows[5..], &columns);
        assert_eq!(
            (&alone[0].rows, &alone[0].reproductions),
            (&vec![0], &vec![])
        );
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
