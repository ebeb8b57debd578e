//! What came of a reproduction.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::super::review::environment::{Pair, installed, surroundings};
use super::super::review::read;
use super::super::status::{clock, is_fine, state_word};
use super::Context;
use crate::development::records::{self, Record};
use crate::development::repository::Repository;
use crate::error::{Error, Kind, Result};
use crate::review::agreement::{Compared, Tolerance, compare};
use crate::review::log_name;
use crate::review::number::show;
use crate::review::table::number;
use crate::terminal::{Stream, Style, Table, count};

/// What was found.
struct Finding<'a> {
    /// What was recorded, and what came out now.
    pair: &'a [Record; 2],
    metrics: Vec<Compared>,
    tolerance: &'a Tolerance,
    /// What differs of the machine and its environment.
    environment: Vec<Pair>,
    packages: Vec<Pair>,
    files: Option<Files>,
}

/// Result files of both runs, by their manifests.
struct Files {
    same: usize,
    /// Files whose content differs, or that one run has alone.
    different: Vec<String>,
}

/// Compares what was recorded with what came out now, prints it, and says by its result whether they agree.
///
/// # Errors
/// [`Kind::Check`] when they do not, or when the run did not do what it was to do.
pub fn give(
    ctx: &Context,
    repository: &Repository,
    pair: &[Record; 2],
    ignored: &BTreeSet<String>,
    tolerance: &Tolerance,
    as_json: bool,
) -> Result<()> {
    let rows = read::rows(ctx, repository, pair);
    let [recorded, now] = pair;
    let finding = Finding {
        pair,
        metrics: compare(&rows[0], &rows[1], ignored, tolerance),
        tolerance,
        environment: surroundings(recorded, now),
        packages: installed(repository, recorded, now).unwrap_or_default(),
        files: files(repository, pair),
    };
    let unknown = ignored
        .iter()
        .find(|name| finding.metrics.iter().all(|metric| metric.name != **name));
    if let Some(unknown) = unknown {
        ctx.output
            .warn(&format!("no run has the metric `{unknown}` of --ignore"));
    }
    let verdict = finding.verdict();
    if as_json {
        ctx.output.json(&finding.to_json(verdict.is_none()))?;
    } else {
        for line in finding.lines(ctx) {
            ctx.output.data(&line)?;
        }
    }
    match verdict {
        Some(error) => Err(error),
        None => {
            let counted = finding.metrics.iter().filter(|one| one.agrees.is_some());
            let said = match counted.count() {
                1 => format!("The metric agrees ({}).", finding.within()),
                all => format!("All {all} metrics agree ({}).", finding.within()),
            };
            ctx.output
                .say(&ctx.output.paint(Stream::Talk, Style::Good, &said));
            Ok(())
        }
    }
}

impl Finding<'_> {
    /// Why this is no reproduction, if it is none.
    fn verdict(&self) -> Option<Error> {
        let [recorded, now] = self.pair;
        if !is_fine(&now.known) {
            let (was, is) = (state_word(&recorded.known), state_word(&now.known));
            let said = match is_fine(&recorded.known) {
                true => format!("{} {is}, and {} {was}", now.run.id, recorded.run.id),
                false => format!("{} {is}, as {} did ({was})", now.run.id, recorded.run.id),
            };
            let error = Error::new(Kind::Check, said);
            return Some(error.hint(format!("git agile logs {}", now.run.id)));
        }
        let counted: Vec<&Compared> = self.metrics.iter().filter(|m| m.agrees.is_some()).collect();
        let differing: Vec<&str> = counted
            .iter()
            .filter(|metric| metric.agrees == Some(false))
            .map(|metric| metric.name.as_str())
            .collect();
        if counted.is_empty() {
            return Some(
                Error::new(
                    Kind::Check,
                    format!(
                        "neither {} nor {} has a metric",
                        recorded.run.id, now.run.id
                    ),
                )
                .hint("name the files that hold them in `metrics` of agile.toml"),
            );
        }
        if differing.is_empty() {
            return None;
        }
        let of = match counted.len() {
            1 => "the metric".to_string(),
            all => format!("{} of {all} metrics", differing.len()),
        };
        let verb = if differing.len() == 1 { "does" } else { "do" };
        let said = format!("{of} {verb} not agree: {}", differing.join(", "));
        Some(Error::new(Kind::Check, said).hint(format!(
            "{}; --rtol and --atol allow more, --ignore leaves out what is a time",
            self.within()
        )))
    }

    fn within(&self) -> String {
        let Tolerance {
            relative, absolute, ..
        } = self.tolerance;
        format!("rtol {relative:e}, atol {absolute:e}")
    }

    fn lines(&self, ctx: &Context) -> Vec<String> {
        let paint = |style, text: &str| ctx.output.paint(Stream::Data, style, text);
        let mut runs = Table::new(&["", "RUN", "STATE", "SERVER", "ASKED"]);
        for (word, record) in ["recorded", "now"].into_iter().zip(self.pair) {
            let run = &record.run;
            let state = state_word(&record.known);
            let (id, server) = (run.id.as_str(), run.server.name.as_str());
            runs.row([word, id, &state, server, &clock(run.asked)]);
        }
        let mut lines: Vec<String> = runs.lines();
        if !self.metrics.is_empty() {
            let mut table = Table::new(&["METRIC", ">RECORDED", ">NOW", ">APART", ""]);
            for metric in &self.metrics {
                table.row(cells(metric));
            }
            lines.push(String::new());
            let styles = self.metrics.iter().map(|metric| match metric.agrees {
                Some(true) => Style::Plain,
                Some(false) => Style::Bad,
                None => Style::Dim,
            });
            let styles = std::iter::once(Style::Plain).chain(styles);
            lines.extend(table.lines().iter().zip(styles).map(|(l, s)| paint(s, l)));
        }
        for (title, pairs) in [
            ("ENVIRONMENT", &self.environment),
            ("PACKAGE", &self.packages),
        ] {
            let mut table = Table::new(&[title, "RECORDED", "NOW"]);
            for (name, a, b) in pairs {
                let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "(none)".into());
                table.row([name.clone(), text(a), text(b)]);
            }
            if !table.is_empty() {
                lines.push(String::new());
                lines.extend(table.lines());
            }
        }
        lines.extend(self.files.iter().map(|files| format!("\n{}", files.line())));
        lines
    }

    fn to_json(&self, agrees: bool) -> Value {
        let pairs = |pairs: &[Pair]| -> Map<String, Value> {
            let entry = |(name, a, b): &Pair| (name.clone(), json!([a, b]));
            pairs.iter().map(entry).collect()
        };
        let metric = |metric: &Compared| {
            let values = metric.values.map(|value| value.map(number));
            let of = json!({ "values": values, "agrees": metric.agrees });
            (metric.name.clone(), of)
        };
        let files = self
            .files
            .as_ref()
            .map(|files| json!({ "same": files.same, "different": files.different }));
        json!({
            "runs": self.pair.each_ref().map(|record| record.run.id.as_str()),
            "states": self.pair.each_ref().map(|record| record.known.state),
            "agrees": agrees,
            "rtol": self.tolerance.relative,
            "atol": self.tolerance.absolute,
            "metrics": self.metrics.iter().map(metric).collect::<Map<_, _>>(),
            "environment": pairs(&self.environment),
            "packages": pairs(&self.packages),
            "files": files,
        })
    }
}

/// The cells of a metric's line: name, both values, how far they are apart, and whether that is too far.
fn cells(metric: &Compared) -> [String; 5] {
    let [recorded, now] = metric.values;
    let text = |value: Option<f64>| value.map_or_else(|| "(none)".to_string(), show);
    let apart = match (recorded, now) {
        (Some(a), Some(b)) if a == b || (a.is_nan() && b.is_nan()) => "0".to_string(),
        (Some(a), Some(b)) => show((b - a).abs()),
        _ => String::new(),
    };
    let verdict = match metric.agrees {
        Some(true) => "agrees",
        Some(false) => "differs",
        None => "not counted",
    };
    [
        metric.name.clone(),
        text(recorded),
        text(now),
        apart,
        verdict.to_string(),
    ]
}

/// The result files by the manifests of the last fetches, the log aside: it names times and folders.
fn files(repository: &Repository, pair: &[Record; 2]) -> Option<Files> {
    let sums = |record: &Record| -> Option<BTreeMap<String, String>> {
        let bytes = records::attachment(repository, record, "manifest.json")?;
        let list: Vec<Value> = serde_json::from_slice(&bytes).ok()?;
        let sum = |file: &Value| {
            let text = |key: &str| file[key].as_str().map(str::to_string);
            Some((text("path")?, text("sha256")?))
        };
        let mut sums: BTreeMap<_, _> = list.iter().filter_map(sum).collect();
        let is_there = |name: &str| {
            let is_it = |path: &String| path.strip_prefix(name).is_some_and(is_end);
            sums.keys().any(is_it)
        };
        let log = log_name(is_there);
        sums.remove(&format!("{log}.1"));
        sums.remove(&log);
        Some(sums)
    };
    // A fetch has added the manifest since the records were read.
    let fresh = |record: &Record| records::find(repository, &record.run.id).ok().flatten();
    let (recorded, now) = (sums(&fresh(&pair[0])?)?, sums(&fresh(&pair[1])?)?);
    let names: BTreeSet<&String> = recorded.keys().chain(now.keys()).collect();
    let is_same = |name: &&&String| recorded.get(**name) == now.get(**name);
    let same = names.iter().filter(is_same).count();
    let different = names.iter().filter(|name| !is_same(name));
    Some(Files {
        same,
        different: different.map(|name| name.to_string()).collect(),
    })
}

fn is_end(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

impl Files {
    fn line(&self) -> String {
        let same = count(self.same, "result file");
        match self.different.as_slice() {
            [] => format!("{same}, the same"),
            few => {
                let more = if few.len() > 5 { ", …" } else { "" };
                let names = few[..few.len().min(5)].join(", ");
                format!("{same} the same, {} not: {names}{more}", few.len())
            }
        }
    }
}
