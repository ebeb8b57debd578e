//! Runs × parameters × metrics.

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::model::config::nearest;
use crate::terminal::Table;

/// One run as `git agile review` shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The run's id.
    pub run: String,
    /// How it ended, or that it runs.
    pub state: String,
    /// Its parameters, in the order of the design.
    pub parameters: Vec<(String, String)>,
    /// The final values of its metrics.
    pub metrics: Vec<(String, f64)>,
}

/// Sorts by a metric, or else by a parameter: smallest first, or largest with `descending`. Runs without it, or
/// where it is NaN, come last either way; equal ones keep their order.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) when no run has a metric or parameter of that name.
pub fn sort(rows: &mut [Row], column: &str, descending: bool) -> Result<()> {
    let known = names(rows, |row| row.metrics.iter().map(|(name, _)| name))
        .into_iter()
        .chain(names(rows, |row| {
            row.parameters.iter().map(|(name, _)| name)
        }));
    let known: Vec<String> = known.collect();
    if !known.iter().any(|name| name == column) {
        let error = Error::usage(format!("no run has a metric or parameter `{column}`"));
        let near = nearest(column, known.iter().map(String::as_str));
        return Err(error.hint(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "git agile fetch-results, then look again".to_string(),
            None => format!("there are: {}", known.join(", ")),
        }));
    }
    rows.sort_by(|a, b| {
        let order = match (value(a, column), value(b, column)) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            (None, None) => text(a, column).cmp(&text(b, column)),
            (a, b) => return a.is_none().cmp(&b.is_none()),
        };
        if descending { order.reverse() } else { order }
    });
    Ok(())
}

/// The rows for a person: run, state, then a column for each parameter and each metric that any run has.
pub fn table(rows: &[Row]) -> Table {
    let parameters = names(rows, |row| row.parameters.iter().map(|(name, _)| name));
    let metrics = names(rows, |row| row.metrics.iter().map(|(name, _)| name));
    let numbers = parameters
        .iter()
        .chain(&metrics)
        .map(|name| format!(">{name}"));
    let heads: Vec<String> = ["RUN".to_string(), "STATE".to_string()]
        .into_iter()
        .chain(numbers)
        .collect();
    let mut table = Table::new(&heads.iter().map(String::as_str).collect::<Vec<_>>());
    for row in rows {
        let mut cells = vec![row.run.clone(), row.state.clone()];
        cells.extend(
            parameters
                .iter()
                .map(|name| text(row, name).unwrap_or_default().to_string()),
        );
        cells.extend(
            metrics
                .iter()
                .map(|name| metric(row, name).map(show).unwrap_or_default()),
        );
        table.row(cells);
    }
    table
}

/// The rows for programs: a list of `{"run", "state", "parameters": {…}, "metrics": {…}}`. Numbers that JSON does
/// not have are the texts `"NaN"`, `"Infinity"` and `"-Infinity"`.
pub fn to_json(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        let parameters = row
            .parameters
            .iter()
            .map(|(name, text)| (name.clone(), json!(text)));
        let metrics = row
            .metrics
            .iter()
            .map(|(name, value)| (name.clone(), number(*value)));
        json!({
            "run": row.run,
            "state": row.state,
            "parameters": parameters.collect::<Map<_, _>>(),
            "metrics": metrics.collect::<Map<_, _>>(),
        })
    };
    rows.iter().map(row).collect()
}

/// The names that any row has, in the order in which they are first seen.
fn names<'a, N: Iterator<Item = &'a String>>(
    rows: &'a [Row],
    of: impl Fn(&'a Row) -> N,
) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let all = rows.iter().flat_map(of);
    all.filter(|name| seen.insert(name.as_str()))
        .cloned()
        .collect()
}

fn metric(row: &Row, name: &str) -> Option<f64> {
    row.metrics
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| *value)
}

fn text<'a>(row: &'a Row, name: &str) -> Option<&'a str> {
    row.parameters
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, text)| text.as_str())
}

fn value(row: &Row, name: &str) -> Option<f64> {
    let value = metric(row, name).or_else(|| text(row, name)?.parse().ok());
    value.filter(|value| !value.is_nan())
}

fn number(value: f64) -> Value {
    match value {
        _ if value.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        _ => json!(value),
    }
}

/// Five significant digits, without zeros at the end; an exponent where the number would be long.
pub fn show(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let size = value.abs().log10().floor() as i32;
    if value.fract() == 0.0 && size < 15 {
        return value.to_string();
    }
    if !(-4..7).contains(&size) {
        let (mantissa, exponent) = (format!("{value:.4e}"), "");
        let (mantissa, exponent) = mantissa.split_once('e').unwrap_or((&mantissa, exponent));
        return format!("{}e{exponent}", trim(mantissa));
    }
    trim(&format!("{value:.*}", (4 - size).max(0) as usize)).to_string()
}

fn trim(text: &str) -> &str {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn rows() -> Vec<Row> {
        let row = |run: &str, lr: &str, loss: Option<f64>| Row {
            run: run.into(),
            state: "succeeded".into(),
            parameters: vec![("lr".into(), lr.into())],
            metrics: loss.map(|loss| ("loss".into(), loss)).into_iter().collect(),
        };
        vec![
            row("a", "0.1", Some(f64::NAN)),
            row("b", "1e-3", Some(0.25)),
            row("c", "0.01", None),
            row("d", "1", Some(0.125)),
        ]
    }

    fn order(column: &str, descending: bool) -> String {
        let mut rows = rows();
        sort(&mut rows, column, descending).unwrap();
        rows.into_iter().map(|row| row.run).collect()
    }

    #[test]
    fn the_best_comes_first_and_the_unknown_last() {
        assert_eq!(order("loss", false), "dbac");
        assert_eq!(order("loss", true), "bdac");
        assert_eq!(order("lr", false), "bcad");
        let error = sort(&mut rows(), "los", false).unwrap_err();
        assert_eq!(
            (error.kind, error.hints[0].as_str()),
            (Kind::Usage, "did you mean `loss`?")
        );
    }

    #[test]
    fn a_table_and_json_have_every_value() {
        let lines = table(&rows()).lines();
        assert_eq!(lines[0], "RUN  STATE        lr   loss");
        assert_eq!(lines[2], "b    succeeded  1e-3   0.25");
        assert_eq!(lines[3], "c    succeeded  0.01");
        let json = to_json(&rows());
        assert_eq!(json[0]["metrics"]["loss"], "NaN");
        assert_eq!(json[1]["metrics"]["loss"], 0.25);
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (3.0, "3"),
            (-1.5, "-1.5"),
            (0.123456789, "0.12346"),
            (123456.789, "123457"),
            (0.00012345678, "0.00012346"),
            (1.23456e-7, "1.2346e-7"),
            (1e-9, "1e-9"),
            (1.5e20, "1.5e20"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
            (0.99999999, "1"),
        ] {
            assert_eq!(show(value), text);
        }
    }
}
