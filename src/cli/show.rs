//! `git agile show`.

use clap::Args;
use serde_json::{Value, json};

use super::Context;
use super::look::{PACKAGES, look};
use super::select::one_run;
use super::status::{clock, parameters, span, state_word};
use crate::deployment::connection::Asking;
use crate::development::records::{self, Record};
use crate::development::repository::Repository;
use crate::error::Result;
use crate::model::run::Report;
use crate::terminal::{clean, count};

/// The whole record of one run
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The run: any unambiguous beginning of its id, or `@` for the newest
    #[arg(default_value = "@")]
    run: String,
    /// Print a JSON object: what `run.json` says, and `state`, `since`, `started`, `exit`, `note`, `ended_by`, `report`,
    /// `seen`, `fetched`, `packages`
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) for a name that means no run.
pub fn run(args: ShowArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let record = one_run(ctx, &repository, &args.run)?;
    let (records, failures) = ctx.block_on(look(&repository, vec![record], Asking::Never))?;
    super::look::warn_unseen(ctx, &failures);
    for record in &records {
        if args.json {
            let mut object = json(record);
            let packages = packages(&repository, record);
            if !packages.is_empty() {
                object["packages"] = packages.into();
            }
            ctx.output.json(&object)?;
        } else {
            print(ctx, &repository, record)?;
        }
    }
    Ok(())
}

/// What a runner says, a line for each thing that it knows.
fn told(report: &Report, packages: usize) -> Vec<(&'static str, String)> {
    let size = |bytes: u64| indicatif::BinaryBytes(bytes).to_string();
    let join = |parts: &[Option<String>]| {
        let parts: Vec<String> = parts.iter().flatten().cloned().collect();
        Some(parts.join(", ")).filter(|text| !text.is_empty())
    };
    let spent = |seconds: Option<f64>, of: &str| seconds.map(|s| format!("{s:.2} s {of}"));
    let took = join(&[
        spent(report.wall_seconds, "by the clock"),
        spent(report.user_seconds, "user"),
        spent(report.system_seconds, "system"),
    ]);
    let processor = join(&[
        report.cpu.clone(),
        report.cores.map(|cores| count(cores, "core")),
        report.memory.map(size),
    ]);
    let machine = join(&[report.host.clone(), report.system.clone()]);
    let python = report.python.as_ref().map(|python| match packages {
        0 => python.clone(),
        _ => format!(
            "{python}, {} (--json lists them)",
            count(packages, "package")
        ),
    });
    let gpus = Some(report.gpus.join("; ")).filter(|gpus| !gpus.is_empty());
    let lines = [
        ("took", took),
        ("memory", report.peak_memory.map(size)),
        ("machine", machine),
        ("processor", processor),
        ("gpu", gpus),
        ("image", report.image.clone()),
        ("python", python),
    ];
    let known = |(name, value): (&'static str, Option<String>)| Some((name, value?));
    lines.into_iter().filter_map(known).collect()
}

/// A run as `--json` shows it: the fields of `run.json` and of what is known, in one object.
pub fn json(record: &Record) -> Value {
    let mut object = json!(record.run);
    if let (Value::Object(object), Value::Object(known)) = (&mut object, json!(record.known)) {
        object.extend(known);
    }
    object
}

/// The packages of the environment that the run had, as `name==version`; none when no server has told them yet.
fn packages(repository: &Repository, record: &Record) -> Vec<String> {
    let text = records::attachment(repository, record, PACKAGES).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().map(str::to_string).collect()
}

fn print(ctx: &Context, repository: &Repository, record: &Record) -> Result<()> {
    let (run, known) = (&record.run, &record.known);
    let mut lines = vec![
        ("run", run.id.to_string()),
        ("state", state_word(known)),
        ("experiment", run.experiment.to_string()),
        ("parameters", parameters(run)),
        ("command", run.command.clone()),
        ("commit", format!("{} {}", run.commit, run.subject)),
        (
            "server",
            format!(
                "{} ({}:{})",
                run.server.name, run.server.host, run.server.path
            ),
        ),
        ("environment", run.environment.key.clone()),
        ("asked", format!("{} by {}", clock(run.asked), run.by)),
    ];
    let ended_or_since = if known.state.is_end() {
        "ended"
    } else {
        "since"
    };
    let of = run.reproduces.as_ref();
    lines.extend(of.map(|original| ("reproduces", original.to_string())));
    let times = [
        ("started", known.started),
        (ended_or_since, known.since),
        ("seen", known.seen),
        ("fetched", known.fetched),
    ];
    lines.extend(
        times
            .into_iter()
            .filter_map(|(name, time)| Some((name, clock(time?)))),
    );
    lines.extend(known.exit.map(|exit| ("exit", exit.to_string())));
    lines.extend(known.note.clone().map(|note| ("note", note)));
    lines.extend(run.limit.map(|limit| ("limit", span(limit as i64))));
    lines.extend(run.rule.as_ref().map(|rule| ("rule", rule.to_string())));
    lines.extend(known.ended_by.clone().map(|rule| ("ended by", rule)));
    if let Some(report) = &known.report {
        lines.extend(told(report, packages(repository, record).len()));
    }
    for (name, value) in lines {
        ctx.output.data(&format!("{name:<12} {}", clean(&value)))?;
    }
    Ok(())
}
