//! `git agile review --diff`: what differs between two runs.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::select::one_run;
use super::super::status::clock;
use super::environment::{Pair, differing, installed, pairs, surroundings};
use super::{Context, Format, read};
use crate::development::git;
use crate::development::records::Record;
use crate::development::repository::Repository;
use crate::error::{Error, Result};
use crate::review::number::{show, show_change};
use crate::review::row::{self, Column, Content, Row};
use crate::review::table::number;
use crate::terminal::{Stream, Style, Table, clean, clean_lines, page};

/// What differs, by kind; in each, the name and what the one and the other has.
struct Difference {
    parameters: Vec<Pair>,
    /// Lines of `git diff --stat`.
    code: String,
    environment: Vec<Pair>,
    /// What the requirement files ask for.
    packages: Vec<Pair>,
    /// What the runs really had, if that is known of both.
    installed: Option<Vec<Pair>>,
    metrics: Vec<(String, Option<f64>, Option<f64>)>,
}

/// Compares two runs, by the beginnings of their ids, and prints it.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) for a name that means no run, or for a format that this has not.
pub fn run(
    ctx: &Context,
    repository: &Repository,
    one: &str,
    other: &str,
    format: Format,
) -> Result<()> {
    let records = [
        one_run(ctx, repository, one)?,
        one_run(ctx, repository, other)?,
    ];
    let rows = read::rows(ctx, repository, &records);
    let difference = compare(repository, &records, &rows)?;
    match format {
        Format::Table => page(&ctx.output, &lines(ctx, &records, &difference)),
        Format::Json => ctx.output.json(&to_json(&records, &difference)),
        _ => Err(Error::usage("--diff is written as table or json")
            .hint("leave out --format, or give --format json")),
    }
}

fn compare(repository: &Repository, records: &[Record; 2], rows: &[Row]) -> Result<Difference> {
    let [one, other] = records;
    let texts = |column: Column| {
        let text = |row: &Row| match row.get(&column) {
            Content::Nothing => None,
            Content::Number(value) => Some(value.to_string()),
            Content::Text(text) => Some(text.into_owned()),
        };
        (column.name().to_string(), text(&rows[0]), text(&rows[1]))
    };
    let parameters = row::parameters(rows).into_iter().map(Column::Parameter);
    let pair = |name: &String| {
        let value = |row: &Row| row.metric(name);
        (name.clone(), value(&rows[0]), value(&rows[1]))
    };
    Ok(Difference {
        parameters: differing(parameters.map(texts)),
        code: code(repository, one, other)?,
        environment: surroundings(one, other),
        installed: installed(repository, one, other),
        packages: differing(pairs(
            packages(repository, one),
            packages(repository, other),
        )),
        metrics: row::metrics(rows).iter().map(pair).collect(),
    })
}

/// What git says about the two commits' files; nothing for the same commit.
fn code(repository: &Repository, one: &Record, other: &Record) -> Result<String> {
    let (from, to) = (one.run.commit.as_str(), other.run.commit.as_str());
    if from == to {
        return Ok(String::new());
    }
    let is_here = |commit: &str| {
        let id = git2::Oid::from_str(commit);
        id.is_ok_and(|id| repository.git().find_commit(id).is_ok())
    };
    if let Some(missing) = [from, to].into_iter().find(|commit| !is_here(commit)) {
        return Ok(format!(
            "commit {missing} is not in this repository: git fetch"
        ));
    }
    let stat = [
        "diff",
        "--stat=100",
        "--no-color",
        "--no-ext-diff",
        "--no-textconv",
        from,
        to,
        "--",
    ];
    git::read(git::command_in(repository.root()), &stat)
}

/// What the requirement files of a run's commit ask for, by package.
fn packages(repository: &Repository, record: &Record) -> BTreeMap<String, String> {
    let mut packages = BTreeMap::new();
    let Ok(commit) = git2::Oid::from_str(record.run.commit.as_str()) else {
        return packages;
    };
    for file in &record.run.environment.requirements {
        let Ok(Some(bytes)) = repository.file_at(commit, file.as_str()) else {
            continue;
        };
        for line in String::from_utf8_lossy(&bytes).lines() {
            let line = line.split(" #").next().unwrap_or(line).trim();
            if line.is_empty() || line.starts_with(['#', '-']) {
                continue;
            }
            let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            let end = line.find(|c| !is_name(c)).unwrap_or(line.len());
            let (name, wanted) = line.split_at(end);
            packages.insert(
                name.to_lowercase(),
                match wanted.trim() {
                    "" => "any".to_string(),
                    wanted => wanted.to_string(),
                },
            );
        }
    }
    packages
}

fn lines(ctx: &Context, records: &[Record; 2], difference: &Difference) -> Vec<String> {
    let bold = |text: &str| ctx.output.paint(Stream::Data, Style::Bold, text);
    let mut lines = Vec::new();
    for (sign, record) in ["-", "+"].iter().zip(records) {
        let run = &record.run;
        let line = format!(
            "{sign} {}  {}  {}  {}",
            run.id,
            run.commit.short(),
            clock(run.asked),
            run.subject
        );
        lines.push(bold(&line));
    }
    let mut section = |title: &str, body: Vec<String>| {
        lines.push(String::new());
        lines.push(bold(title));
        match body.is_empty() {
            true => lines.push("  the same".into()),
            false => lines.extend(body.into_iter().map(|line| format!("  {line}"))),
        }
    };
    section("parameters", table_of(&difference.parameters));
    let code = match records[0].run.commit == records[1].run.commit {
        true => Vec::new(),
        false if difference.code.is_empty() => vec!["two commits with the same files".into()],
        false => clean_lines(&difference.code)
            .lines()
            .map(|line| line.trim_start().to_string())
            .collect(),
    };
    section("code", code);
    section("environment", table_of(&difference.environment));
    section("packages asked for", table_of(&difference.packages));
    let installed = match &difference.installed {
        Some(pairs) => table_of(pairs),
        None => vec!["not known of both".into()],
    };
    section("packages installed", installed);
    let mut table = Table::new(&["", ">-", ">+", ">change"]);
    for (name, a, b) in &difference.metrics {
        let text = |value: Option<f64>| value.map(show).unwrap_or_default();
        let change = a
            .zip(*b)
            .and_then(|(a, b)| show_change(a, b))
            .unwrap_or_default();
        table.row([name.clone(), text(*a), text(*b), change]);
    }
    let metrics = if difference.metrics.is_empty() {
        vec!["none are here".into()]
    } else {
        table.lines()
    };
    section("metrics", metrics);
    lines
}

fn table_of(pairs: &[Pair]) -> Vec<String> {
    let mut table = Table::new(&["", "-", "+"]);
    for (name, a, b) in pairs {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "(none)".into());
        table.row([clean(name), text(a), text(b)]);
    }
    if table.is_empty() {
        Vec::new()
    } else {
        table.lines()
    }
}

/// `{"runs": [ID, ID], "commits": [C, C], "parameters": {NAME: [A, B]}, "code": TEXT, "environment": {…},
/// "packages": {…}, "installed": {…}, "metrics": {NAME: {"values": [A, B], "change": RELATIVE}}}`: of all but the metrics only what
/// differs; `null` where a run has nothing.
fn to_json(records: &[Record; 2], difference: &Difference) -> Value {
    let pairs = |pairs: &[Pair]| -> Map<String, Value> {
        pairs
            .iter()
            .map(|(name, a, b)| (name.clone(), json!([a, b])))
            .collect()
    };
    let metrics = difference.metrics.iter().map(|(name, a, b)| {
        let change = a
            .zip(*b)
            .map(|(a, b)| (b - a) / a.abs())
            .filter(|change| change.is_finite());
        let values = [a, b].map(|value| value.map(number));
        (name.clone(), json!({ "values": values, "change": change }))
    });
    json!({
        "runs": records.each_ref().map(|record| record.run.id.to_string()),
        "commits": records.each_ref().map(|record| record.run.commit.as_str().to_string()),
        "parameters": pairs(&difference.parameters),
        "code": difference.code,
        "environment": pairs(&difference.environment),
        "packages": pairs(&difference.packages),
        "installed": difference.installed.as_deref().map(pairs),
        "metrics": metrics.collect::<Map<_, _>>(),
    })
}
