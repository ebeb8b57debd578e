//! Runs × parameters × metrics, or groups × metrics, in the forms that people and programs want.

mod csv;
mod json;
mod latex;
mod markdown;

use super::direction::Direction;
use super::group::Group;
use super::metrics::Curve;
use super::number::{show, show_spread};
use super::row::{self, Column, Content, Field, Row};
use super::statistics::Summary;
use crate::terminal;

pub use csv::{groups_to_csv, runs_to_csv};
pub use json::{groups_to_json, number, runs_to_json};

/// A table before it is written in some form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sheet {
    /// The columns' heads.
    pub heads: Vec<Head>,
    /// The cells, row by row.
    pub rows: Vec<Vec<Cell>>,
    /// What all runs have in common and no column shows: name and text.
    pub common: Vec<(String, String)>,
}

/// A column's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its text.
    pub title: String,
    /// Whether it stands over numbers.
    pub is_number: bool,
}

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing is known.
    Empty,
    /// A text, or a parameter as it is written.
    Text(String),
    /// A measured number.
    Number(f64),
    /// A mean with its uncertainty; `n` where it is of fewer runs than the group has.
    Spread {
        /// The mean.
        mean: f64,
        /// The standard deviation or half the confidence interval; nothing for a single value.
        spread: Option<f64>,
        /// Of how many runs, where that must be said.
        n: Option<usize>,
    },
}

impl Cell {
    /// The cell as a person reads it.
    pub fn text(&self) -> String {
        match self {
            Cell::Empty => String::new(),
            Cell::Text(text) => text.clone(),
            Cell::Number(value) => show(*value),
            Cell::Spread { mean, spread, n } => {
                let text = match spread {
                    Some(spread) if mean.is_finite() => {
                        let (mean, spread) = show_spread(*mean, *spread);
                        format!("{mean} ± {spread}")
                    }
                    _ => show(*mean),
                };
                match n {
                    Some(n) => format!("{text} (n={n})"),
                    None => text,
                }
            }
        }
    }
}

/// What is shown of the spread of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// The sample standard deviation.
    Deviation,
    /// The 95 % confidence interval of the mean.
    Confidence,
}

impl Spread {
    /// Of `summary`.
    pub fn of(self, summary: &Summary) -> Option<f64> {
        match self {
            Spread::Deviation => summary.sd,
            Spread::Confidence => summary.ci95(),
        }
    }

    /// In words, for a legend.
    pub fn as_str(self) -> &'static str {
        match self {
            Spread::Deviation => "mean ± sample standard deviation",
            Spread::Confidence => "mean ± 95 % confidence interval (Student's t)",
        }
    }
}

/// The columns that a person wants to see when they name none: run, state, what differs, and the metrics.
pub fn usual_columns(rows: &[Row]) -> Vec<Column> {
    let fields = [Field::Experiment, Field::Server, Field::Commit].map(Column::Field);
    let parameters = row::parameters(rows).into_iter().map(Column::Parameter);
    let differing = fields.into_iter().chain(parameters).filter(|column| {
        row::varies(rows, column) || (rows.len() == 1 && matches!(column, Column::Parameter(_)))
    });
    [Field::Run, Field::State]
        .map(Column::Field)
        .into_iter()
        .chain(differing)
        .chain(row::measured(rows).into_iter().map(Column::Metric))
        .collect()
}

/// The table of single runs.
pub fn runs(rows: &[Row], columns: &[Column]) -> Sheet {
    let heads = columns
        .iter()
        .map(|column| head(column, columns, rows))
        .collect();
    let cell = |row: &Row, column: &Column| match (row.get(column), column) {
        (Content::Nothing, _) => Cell::Empty,
        (Content::Number(value), _) => Cell::Number(value),
        (Content::Text(text), Column::Field(Field::Commit)) => Cell::Text(short(&text).into()),
        (Content::Text(text), _) => Cell::Text(text.into_owned()),
    };
    let cells = |row: &Row| columns.iter().map(|column| cell(row, column)).collect();
    Sheet {
        heads,
        rows: rows.iter().map(cells).collect(),
        common: common(rows, columns),
    }
}

/// The table of groups.
pub fn groups(
    rows: &[Row],
    groups: &[Group],
    keys: &[Column],
    metrics: &[String],
    spread: Spread,
) -> Sheet {
    let of_metrics = metrics.iter().cloned().map(Column::Metric);
    let all: Vec<Column> = keys.iter().cloned().chain(of_metrics).collect();
    let mut heads: Vec<Head> = all.iter().map(|column| head(column, &all, rows)).collect();
    let n = Head {
        title: "n".into(),
        is_number: true,
    };
    heads.insert(keys.len(), n);
    let cells = |group: &Group| {
        let texts = keys
            .iter()
            .zip(&group.key)
            .map(|(column, text)| match column {
                Column::Field(Field::Commit) => Cell::Text(short(text).into()),
                _ => Cell::Text(text.clone()),
            });
        let n = group.rows.len();
        let spreads = metrics.iter().map(|name| match group.summary(rows, name) {
            None => Cell::Empty,
            Some(summary) => Cell::Spread {
                mean: summary.mean,
                spread: spread.of(&summary),
                n: (summary.n != n).then_some(summary.n),
            },
        });
        texts
            .chain([Cell::Number(n as f64)])
            .chain(spreads)
            .collect()
    };
    Sheet {
        heads,
        rows: groups.iter().map(cells).collect(),
        common: common(rows, keys),
    }
}

/// What `column` is called among `all`: a parameter that a metric or fact shares its name with is `parameter.NAME`, such a
/// metric `metric.NAME`.
fn title(column: &Column, all: &[Column]) -> String {
    let name = column.name();
    let is_twice = all
        .iter()
        .any(|other| other.name() == name && other != column);
    match column {
        Column::Parameter(_) if is_twice => format!("parameter.{name}"),
        Column::Metric(_) if is_twice => format!("metric.{name}"),
        _ => name.to_string(),
    }
}

fn head(column: &Column, all: &[Column], rows: &[Row]) -> Head {
    let title = title(column, all);
    let is_number = match column {
        Column::Field(_) => false,
        Column::Metric(_) => true,
        Column::Parameter(_) => rows.iter().all(|row| match row.get(column) {
            Content::Nothing => true,
            content => content.number().is_some(),
        }),
    };
    Head { title, is_number }
}

/// The parameters, commit and server that all of several runs share and `shown` does not have.
fn common(rows: &[Row], shown: &[Column]) -> Vec<(String, String)> {
    let [first, _, ..] = rows else {
        return Vec::new();
    };
    let parameters = row::parameters(rows).into_iter().map(Column::Parameter);
    let is_common = |column: &Column| !shown.contains(column) && !row::varies(rows, column);
    parameters
        .filter(is_common)
        .map(|column| {
            let text = first.parameter(column.name()).map(ToString::to_string);
            (column.name().to_string(), text.unwrap_or_default())
        })
        .collect()
}

/// A commit's id as people write it.
pub fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

/// The best of some values; what is no number, or infinite, is none.
pub fn best(values: impl IntoIterator<Item = Option<f64>>, direction: Direction) -> Option<usize> {
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    let values = values.into_iter().enumerate();
    let known = values.filter(|(_, value)| finite(*value).is_some());
    let best = known.min_by(|(_, a), (_, b)| direction.order(*a, *b));
    best.map(|(index, _)| index)
}

impl Sheet {
    /// The table for a terminal: aligned, heads in capitals where they are the program's own.
    pub fn terminal(&self, curves: Option<(&str, Vec<String>)>) -> terminal::Table {
        let title = |head: &Head| {
            let is_ours =
                Field::ALL.iter().any(|field| field.as_str() == head.title) || head.title == "n";
            let title = if is_ours {
                head.title.to_uppercase()
            } else {
                head.title.clone()
            };
            format!("{}{title}", if head.is_number { ">" } else { "" })
        };
        let mut heads: Vec<String> = self.heads.iter().map(title).collect();
        heads.extend(curves.as_ref().map(|(title, _)| title.to_string()));
        let mut table = terminal::Table::new(&heads.iter().map(String::as_str).collect::<Vec<_>>());
        for (index, cells) in self.rows.iter().enumerate() {
            let curve = curves
                .as_ref()
                .and_then(|(_, curves)| curves.get(index).cloned());
            table.row(cells.iter().map(Cell::text).chain(curve));
        }
        table
    }

    /// What all runs have in common: `epochs=10 optimizer=adam`; nothing when there is nothing.
    pub fn common_line(&self) -> Option<String> {
        let pairs: Vec<String> = self
            .common
            .iter()
            .map(|(name, text)| format!("{name}={text}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join(" "))
    }

    /// The table in GitHub's Markdown.
    pub fn markdown(&self) -> String {
        markdown::write(self)
    }

    /// The table in LaTeX, for the package `booktabs`.
    pub fn latex(&self) -> String {
        latex::write(self)
    }
}

/// A curve in `width` letters; a gap where it is not finite.
pub fn sparkline(curve: &Curve, width: usize) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let finite = || {
        curve
            .values
            .iter()
            .copied()
            .filter(|value| value.is_finite())
    };
    let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let count = curve.values.len();
    let letters = count.min(width);
    let letter = |place: usize| {
        let part = &curve.values[place * count / letters..(place + 1) * count / letters];
        let part: Vec<f64> = part
            .iter()
            .copied()
            .filter(|value| value.is_finite())
            .collect();
        let mean = Summary::of(&part)?.mean;
        let level = if high > low {
            (mean - low) / (high - low) * 7.0
        } else {
            0.0
        };
        LEVELS.get(level.round() as usize).copied()
    };
    (0..letters)
        .map(|place| letter(place).unwrap_or(' '))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::{rows, run};
    use super::*;
    use crate::review::group;

    fn repeated() -> Vec<Row> {
        let all = [("a_1", "0.1", 1.0), ("b", "0.01", 4.0), ("c", "0.1", 3.0)];
        let row = |(id, lr, loss)| {
            run(
                id,
                &[("lr", lr), ("kind", "a|b & c_d%")],
                &[("val_loss", loss)],
            )
        };
        all.map(row).into()
    }

    fn grouped() -> (Vec<Row>, Vec<Column>, Vec<Group>) {
        let rows = repeated();
        let keys = vec![Column::Parameter("lr".into())];
        let groups = group::group(&rows, &keys);
        (rows, keys, groups)
    }

    #[test]
    fn a_terminal_gets_aligned_columns() {
        let rows = rows();
        let lines = runs(&rows, &usual_columns(&rows)).terminal(None).lines();
        assert_eq!(lines[0], "RUN  STATE         lr   loss");
        assert_eq!(lines[2], "b    succeeded  0.001   0.25");
        assert_eq!(lines[3], "c    succeeded   0.01");
        let sheet = runs(&repeated(), &usual_columns(&repeated()));
        assert_eq!(sheet.common_line().as_deref(), Some("kind=a|b & c_d%"));
        let curve = Curve {
            axis: String::new(),
            steps: vec![],
            values: vec![0.0, f64::NAN, 2.0, 7.0],
        };
        assert_eq!(sparkline(&curve, 10), "▁ ▃█");
        assert_eq!(sparkline(&curve, 2), "▁▆");
    }

    #[test]
    fn groups_show_mean_and_spread() {
        let (rows, keys, all) = grouped();
        let metrics = ["val_loss".to_string()];
        let lines = groups(&rows, &all, &keys, &metrics, Spread::Deviation)
            .terminal(None)
            .lines();
        assert_eq!(
            lines,
            [
                "  lr  N   val_loss",
                "0.01  1          4",
                " 0.1  2  2.0 ± 1.4"
            ]
        );
        let lines = groups(&rows, &all, &keys, &metrics, Spread::Confidence)
            .terminal(None)
            .lines();
        assert_eq!(lines[2], " 0.1  2    2 ± 13");
    }

    #[test]
    fn every_form_escapes_what_it_must() {
        let rows = repeated();
        let columns =
            group::columns(&rows, &["run", "kind", "val_loss"].map(String::from)).unwrap();
        let sheet = runs(&rows, &columns);
        let mut forms = vec![sheet.markdown(), sheet.latex()];
        let (rows, keys, all) = grouped();
        let metrics = ["val_loss".to_string()];
        forms.push(groups(&rows, &all, &keys, &metrics, Spread::Deviation).latex());
        forms.push(groups_to_csv(&rows, &all, &keys, &metrics));
        forms.push(runs_to_csv(&rows, None));
        for json in [
            groups_to_json(&rows, &all, &keys, &metrics),
            runs_to_json(&rows[..1], None),
        ] {
            forms.push(serde_json::to_string_pretty(&json).unwrap() + "\n");
        }
        insta::assert_snapshot!(forms.join("\n"));
    }

    #[test]
    fn json_has_what_json_lacks() {
        let json = runs_to_json(&rows(), None);
        assert_eq!(json[0]["metrics"]["loss"], "NaN");
        assert_eq!(json[1]["metrics"]["loss"], 0.25);
        assert_eq!(json[1]["parameters"]["lr"], 0.001);
    }
}
