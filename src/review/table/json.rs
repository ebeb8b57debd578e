//! JSON for programs.

use serde_json::{Map, Value, json};

use crate::review::group::Group;
use crate::review::row::{Column, Content, Row};

/// The runs: an array of `{"run", "state", "experiment", "server", "commit", "subject", "sprint", "asked",
/// "parameters": {…}, "metrics": {…}}`; of parameters and metrics only those in `columns`, if it is given. A metric is
/// its last value. Numbers that JSON does not have are the texts `"NaN"`, `"Infinity"` and `"-Infinity"`.
pub fn runs_to_json(rows: &[Row], columns: Option<&[Column]>) -> Value {
    let is_wanted = |column: Column| columns.is_none_or(|columns| columns.contains(&column));
    let row = |row: &Row| {
        let parameters = row
            .parameters
            .iter()
            .filter(|(name, _)| is_wanted(Column::Parameter(name.clone())));
        let parameters = parameters.map(|(name, value)| (name.clone(), value.json().clone()));
        let metrics = row
            .curves
            .iter()
            .filter(|(name, _)| is_wanted(Column::Metric((*name).clone())));
        let metrics = metrics.map(|(name, curve)| (name.clone(), number(curve.last())));
        json!({
            "run": row.run,
            "state": row.state,
            "experiment": row.experiment,
            "server": row.server,
            "commit": row.commit,
            "subject": row.subject,
            "sprint": row.sprint,
            "asked": row.asked,
            "parameters": parameters.collect::<Map<_, _>>(),
            "metrics": metrics.collect::<Map<_, _>>(),
        })
    };
    rows.iter().map(row).collect()
}

/// The groups: an array of `{"group": {…}, "runs": ["…"], "metrics": {NAME: {"n", "mean", "sd", "ci95"}}}`; `sd` is the
/// sample standard deviation, `ci95` half the width of the 95 % confidence interval of the mean, both `null` for a
/// single value.
pub fn groups_to_json(
    rows: &[Row],
    groups: &[Group],
    keys: &[Column],
    metrics: &[String],
) -> Value {
    let of = |group: &Group| {
        let first = &rows[group.rows[0]];
        let key = keys
            .iter()
            .map(|column| (column.name().to_string(), content(first, column)));
        let summary = |name: &String| {
            let summary = group.summary(rows, name)?;
            let object = json!({
                "n": summary.n,
                "mean": number(summary.mean),
                "sd": summary.sd.map(number),
                "ci95": summary.ci95().map(number),
            });
            Some((name.clone(), object))
        };
        json!({
            "group": key.collect::<Map<_, _>>(),
            "runs": group.rows.iter().map(|&index| &rows[index].run).collect::<Vec<_>>(),
            "metrics": metrics.iter().filter_map(summary).collect::<Map<_, _>>(),
        })
    };
    groups.iter().map(of).collect()
}

fn content(row: &Row, column: &Column) -> Value {
    match (row.get(column), column) {
        (_, Column::Parameter(name)) => row
            .parameter(name)
            .map_or(Value::Null, |value| value.json().clone()),
        (Content::Nothing, _) => Value::Null,
        (Content::Number(value), _) => number(value),
        (Content::Text(text), _) => json!(text),
    }
}

/// A number, or the text for one that JSON does not have.
pub fn number(value: f64) -> Value {
    match value {
        _ if value.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        _ => json!(value),
    }
}
