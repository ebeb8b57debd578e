//! CSV (RFC 4180), with every digit.

use super::title;
use crate::review::group::Group;
use crate::review::row::{self, Column, Content, Field, Row};

/// The runs: `run, state, experiment, server, commit, subject, sprint`, every parameter, every metric; or the columns
/// that are asked for.
pub fn runs_to_csv(rows: &[Row], columns: Option<&[Column]>) -> String {
    let all = || {
        let fields = Field::ALL.into_iter().map(Column::Field);
        let parameters = row::parameters(rows).into_iter().map(Column::Parameter);
        fields
            .chain(parameters)
            .chain(row::metrics(rows).into_iter().map(Column::Metric))
            .collect()
    };
    let columns = columns.map_or_else(all, <[Column]>::to_vec);
    let titles = columns.iter().map(|column| title(column, &columns));
    let mut lines = vec![titles.collect()];
    lines.extend(rows.iter().map(|row| {
        let cells = columns.iter().map(|column| match row.get(column) {
            Content::Nothing => String::new(),
            Content::Number(value) => value.to_string(),
            Content::Text(text) => text.into_owned(),
        });
        cells.collect()
    }));
    write(lines)
}

/// The groups: their keys, `n`, and for each metric `NAME.n`, `NAME.mean`, `NAME.sd` and `NAME.ci95` (half the width).
pub fn groups_to_csv(
    rows: &[Row],
    groups: &[Group],
    keys: &[Column],
    metrics: &[String],
) -> String {
    let names = metrics
        .iter()
        .flat_map(|name| ["n", "mean", "sd", "ci95"].map(|what| format!("{name}.{what}")));
    let keys = keys.iter().map(|column| column.name().to_string());
    let mut lines: Vec<Vec<String>> = vec![keys.chain(["n".to_string()]).chain(names).collect()];
    lines.extend(groups.iter().map(|group| {
        let numbers = metrics.iter().flat_map(|name| {
            let exact =
                |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
            match group.summary(rows, name) {
                None => ["0".to_string(), String::new(), String::new(), String::new()],
                Some(summary) => [
                    summary.n.to_string(),
                    summary.mean.to_string(),
                    exact(summary.sd),
                    exact(summary.ci95()),
                ],
            }
        });
        let keys = group.key.iter().cloned();
        keys.chain([group.rows.len().to_string()])
            .chain(numbers)
            .collect()
    }));
    write(lines)
}

fn write(lines: Vec<Vec<String>>) -> String {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    for line in lines {
        // Memory takes it, and every line has as many cells as the first.
        let _ = writer.write_record(line);
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}
