//! `git agile fetch-results`.

mod complaints;
mod transfer;
mod watch;

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;

use clap::Args;
use futures_util::{StreamExt, stream};
use serde::{Serialize, Serializer};

use super::Context;
use super::look::{jobs, look, now, server_of, warn_unseen};
use super::select::Selection;
use super::status::state_word;
use crate::deployment::connection::Asking;
use crate::deployment::trust::Agreements;
use crate::development::records::{self, Attachment, Record};
use crate::development::repository::Repository;
use crate::error::{Context as _, Error, Result};
use crate::model::config::Server;
use crate::model::names::{RunId, wrong_class};
use crate::model::run::{Known, RunState};
use crate::review::{Destination, Digest, Limits, Listing, Plan, Reason, Refusal, Report};
use crate::terminal::{Stream, Style, clean_bytes, count};

use complaints::complaints;
use transfer::{Outcome, from_server};
pub use transfer::{index_file, log_file, manifests, results};
use watch::watch;

/// How much of a run's log its record keeps, in bytes.
const LOG_END: u64 = 64 << 10;

/// Bring results home into results/RUN/, verified
///
/// Without a selection: every run that has ended and was not fetched yet. A file arrives under a temporary name and is
/// renamed when its size and SHA-256 are right; what has not changed is not sent again; a file that was edited here is
/// kept. Nothing is removed on the server.
#[derive(Debug, Args)]
#[command(mut_arg("runs", |runs| runs.help("Runs: any unambiguous beginning of their ids, `@` for the newest")))]
pub struct FetchArgs {
    #[command(flatten)]
    selection: Selection,
    /// Show what would come, run by run, and transfer nothing
    #[arg(long, short = 'n', conflicts_with = "watch")]
    dry_run: bool,
    /// Fetch running runs too: files that are still being written are left for the next fetch
    #[arg(long)]
    partial: bool,
    /// Fetch each run as it ends, until none goes on; a connection that is lost is tried again for a while
    #[arg(long)]
    watch: bool,
    /// Fetch only files that match this pattern, written as in .gitignore (repeatable)
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    include: Vec<String>,
    /// Leave files that match this pattern where they are (repeatable)
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    exclude: Vec<String>,
    /// Leave larger files where they are; without it, a file over 2G is an error
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<u64>,
    /// Fetch up to so much from a server; without it, more than 20G is asked about, or refused
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_total: Option<u64>,
    /// Take up to so many files of a server instead of 200000
    #[arg(long, value_name = "N")]
    max_files: Option<u64>,
}

impl FetchArgs {
    fn limits(&self) -> Limits {
        let usual = Limits::default();
        Limits {
            file: self.max_size.unwrap_or(usual.file),
            total: self.max_total.unwrap_or(usual.total),
            files: self.max_files.unwrap_or(usual.files),
        }
    }

    /// The patterns that choose among the results: the last that matches decides.
    fn only(&self) -> Vec<String> {
        let all = (self.include.is_empty() && !self.exclude.is_empty()).then(|| "*".to_string());
        let excluded = self.exclude.iter().map(|pattern| format!("!{pattern}"));
        let included = self.include.iter().cloned();
        all.into_iter().chain(included).chain(excluded).collect()
    }

    /// Whether the person chose to leave a file for `reason`.
    fn leaves(&self, reason: &Reason) -> bool {
        match reason {
            Reason::Large => self.max_size.is_some(),
            Reason::Moving => true,
            _ => false,
        }
    }
}

/// `500`, `1.5k`, `20M`, `2GB` or `4GiB` in bytes.
fn size(text: &str) -> Result<u64, String> {
    let odd = || "write it as 500M, 2G or 1.5GiB".to_string();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let unit = unit.trim().to_ascii_lowercase();
    let (power, binary) = match unit.as_str() {
        "" | "b" => (0, false),
        unit => {
            let (power, rest) = ["k", "m", "g", "t"]
                .iter()
                .zip(1..)
                .find_map(|(letter, power)| Some((power, unit.strip_prefix(letter)?)))
                .ok_or_else(odd)?;
            match rest {
                "" | "b" => (power, false),
                "ib" => (power, true),
                _ => return Err(odd()),
            }
        }
    };
    let number: f64 = number.parse().map_err(|_| odd())?;
    Ok((number * f64::powi(if binary { 1024.0 } else { 1000.0 }, power)) as u64)
}

fn pattern(text: &str) -> Result<String, String> {
    match text {
        "" => Err("it is empty".into()),
        text if text.starts_with('!') => Err("--exclude leaves files out, without a `!`".into()),
        text => wrong_class(text).map_or(Ok(text.to_string()), |wrong| Err(wrong.into())),
    }
}

/// Runs the command.
///
/// # Errors
/// [`Kind::Unreachable`](crate::error::Kind::Unreachable) or [`Kind::Step`](crate::error::Kind::Step) when something
/// did not come home; what did is kept.
pub fn run(args: FetchArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    ctx.if_interrupted(
        "what has come is kept",
        "the same command again fetches the rest",
    )?;
    let records = choose(&args, ctx, &repository)?;
    let is_there = || repository.root().join("results").exists();
    let was_there = is_there();
    let missed = match args.watch {
        true => watch(&args, ctx, &repository, records)?,
        false if records.is_empty() => {
            ctx.output.say("Nothing to fetch.");
            Vec::new()
        }
        false => {
            let asking = Asking::OnTerminal(&ctx.output);
            let missed = fetch(&args, ctx, &repository, &records, asking)?;
            missed
                .iter()
                .for_each(|missed| ctx.output.error(&missed.error));
            missed
        }
    };
    let is_ignored = || repository.git().is_path_ignored("results/run");
    if !was_there && is_there() && !is_ignored().unwrap_or(true) {
        ctx.output.warn(
            "git does not ignore results/, so that `git add .` takes in what was fetched: `git agile init` adds it to .gitignore",
        );
    }
    let statuses = missed.iter().map(|missed| missed.error.kind.status());
    match statuses.max() {
        Some(status) => Err(Error::child(status)),
        None => Ok(()),
    }
}

/// What did not come.
struct Missed {
    error: Error,
    /// The runs of which nothing came.
    runs: Vec<RunId>,
}

/// Fetches the runs, all servers at once; gives what did not come.
fn fetch(
    args: &FetchArgs,
    ctx: &Context,
    repository: &Repository,
    records: &[Record],
    asking: Asking<'_>,
) -> Result<Vec<Missed>> {
    // One results folder that nothing can be written into keeps no other run away.
    let (mut missed, mut records) = (Vec::<Missed>::new(), records.to_vec());
    records.retain(|record| {
        let Err(error) = Destination::check(repository.root(), record.run.id.as_str()) else {
            return true;
        };
        if missed
            .iter()
            .all(|missed| missed.error.message != error.message)
        {
            let runs = vec![record.run.id.clone()];
            missed.push(Missed { error, runs });
        }
        false
    });
    let groups = group(&records);
    let agreements = Agreements::load()?;
    let results = ctx.block_on(async {
        let agreements = &agreements;
        let all = groups.iter().map(|(server, records)| async move {
            let from = from_server(args, ctx, repository, agreements, server, records, asking);
            let result = from.await;
            (server, records, result)
        });
        Ok(stream::iter(all)
            .buffered(jobs()?)
            .collect::<Vec<_>>()
            .await)
    })?;
    for (server, records, result) in results {
        let (errors, runs) = match result {
            Ok(Outcome::Would(plan)) => (show(args, ctx, server, records, &plan)?, Vec::new()),
            Ok(Outcome::Came(report)) => {
                let errors = take_in(args, ctx, repository, server, records, report)?;
                (errors, Vec::new())
            }
            Err(error) => {
                let runs = records.iter().map(|record| record.run.id.clone());
                (vec![error], runs.collect())
            }
        };
        missed.extend(errors.into_iter().map(|error| Missed {
            error,
            runs: runs.clone(),
        }));
    }
    Ok(missed)
}

fn is_running(record: &Record) -> bool {
    record.known.state == RunState::Running
}

/// The runs to fetch: those named, else the ended ones that are not here yet.
fn choose(args: &FetchArgs, ctx: &Context, repository: &Repository) -> Result<Vec<Record>> {
    let is_default = args.selection.is_default();
    let everything = Selection {
        all: true,
        ..Selection::default()
    };
    let records = if is_default {
        &everything
    } else {
        &args.selection
    }
    .records(ctx, repository)?;
    let (records, failures) =
        ctx.block_on(look(repository, records, Asking::OnTerminal(&ctx.output)))?;
    warn_unseen(ctx, &failures);
    if !is_default && !args.watch {
        let removed = records.iter().filter(|r| r.known.removed.is_some());
        let removed = removed.map(|r| format!("{}: removed from the server", r.run.id));
        ctx.output
            .list(&removed.collect::<Vec<_>>(), "git agile status --all");
        let is_waited_for =
            |record: &&Record| record.known.is_open() && !(args.partial && is_running(record));
        for record in records.iter().filter(is_waited_for) {
            ctx.output.warn(&format!(
                "{} is {}; it is fetched when it has ended, or with --partial",
                record.run.id,
                state_word(&record.known)
            ));
        }
    }
    let is_due = |record: &Record| {
        let state = record.known.state;
        let is_wanted = state.is_end()
            || args.partial && is_running(record)
            || args.watch && record.known.is_open();
        let is_there = record.known.removed.is_none();
        is_wanted && is_there && (!is_default || record.known.fetched.is_none())
    };
    Ok(records.into_iter().filter(is_due).collect())
}

fn group(records: &[Record]) -> Vec<(Server, Vec<&Record>)> {
    let mut groups: Vec<(Server, Vec<&Record>)> = Vec::new();
    for record in records {
        let server = server_of(&record.run.server);
        match groups.iter_mut().find(|(other, _)| *other == server) {
            Some((_, group)) => group.push(record),
            None => groups.push((server, vec![record])),
        }
    }
    groups
}

/// Shows a dry run, and gives what would not come.
fn show(
    args: &FetchArgs,
    ctx: &Context,
    server: &Server,
    records: &[&Record],
    plan: &Plan,
) -> Result<Vec<Error>> {
    for (record, run) in records.iter().zip(&plan.runs) {
        let (files, bytes) = run.size();
        let size = indicatif::HumanBytes(bytes);
        let line = format!("{}: {}, {size}", record.run.id, count(files, "file"));
        ctx.output.data(&line)?;
    }
    let here = match plan.up_to_date {
        0 => String::new(),
        files => format!("; {} here already", count(files, "file")),
    };
    let (files, size) = (count(plan.files, "file"), indicatif::HumanBytes(plan.bytes));
    ctx.output
        .say(&format!("{}: {files}, {size} to fetch{here}", server.name));
    Ok(complaints(args, ctx, server, records, &plan.refused))
}

/// Records what came home, tells the person, and gives what did not.
fn take_in(
    args: &FetchArgs,
    ctx: &Context,
    repository: &Repository,
    server: &Server,
    records: &[&Record],
    report: Report,
) -> Result<Vec<Error>> {
    let time = now();
    let mut rests = Vec::new();
    for (index, (record, listing)) in records.iter().zip(&report.listings).enumerate() {
        let is_partial = report
            .refused
            .iter()
            .any(|refusal| refusal.run == index && refusal.reason.may_pass());
        let is_left = |refusal: &Refusal| refusal.run == index && args.leaves(&refusal.reason);
        let is_part = !args.only().is_empty() || report.refused.iter().any(is_left);
        let is_new = record.known.fetched.is_none();
        rests.push(is_new && (is_part || !record.known.state.is_end()));
        if listing.is_same || is_partial || is_part || !record.known.state.is_end() {
            continue;
        }
        // Of those, this clone has nothing.
        let refused = report.refused.iter().filter(|refusal| refusal.run == index);
        let refused = refused.map(|refusal| clean_bytes(&refusal.path)).collect();
        let attachments = [
            Attachment::new(repository, "manifest.json", |out| {
                write_manifest(listing, &refused, out)
            })?,
            Attachment::new(repository, "log", |out| {
                out.write_all(&log_end(repository, record))
            })?,
        ];
        records::update(repository, &record.run.id, &attachments, |known| Known {
            fetched: Some(time),
            ..known.clone()
        })?;
    }
    let new = match report.files {
        0 => "nothing new".to_string(),
        files => {
            let size = indicatif::HumanBytes(report.bytes);
            format!("{}, {size}, verified", count(files, "file"))
        }
    };
    let same = match report.up_to_date {
        0 => String::new(),
        files => format!("; {} here already", count(files, "file")),
    };
    let line = format!("{}: {new}{same}", server.name);
    let is_over = records.iter().any(|record| record.known.state.is_end());
    if args.watch && report.files == 0 && !is_over {
        return Ok(complaints(args, ctx, server, records, &report.refused));
    }
    ctx.output
        .say(&ctx.output.paint(Stream::Talk, Style::Good, &line));
    // What needs the person's eye comes first.
    let is_there = |run: usize| {
        let mut refused = report.refused.iter().filter(|refusal| refusal.run == run);
        refused.all(|refusal| refusal.reason != Reason::Gone)
    };
    let there = records.iter().zip(rests).enumerate();
    let there = there.filter(|(run, _)| is_there(*run));
    let mut sorted: Vec<_> = there.map(|(_, both)| both).collect();
    sorted.sort_by_key(|(_, is_part)| !is_part);
    let places = sorted.into_iter().map(|(record, is_part)| {
        let part = if is_part {
            " (a part; git agile fetch-results brings the rest)"
        } else {
            ""
        };
        format!("  results/{}{part}", record.run.id)
    });
    let places: Vec<String> = places.collect();
    ctx.output.list(&places, "ls results");
    for (index, path) in &report.beside {
        let run = &records[*index].run.id;
        ctx.output.warn(&format!(
            "a file of {run} was edited here, so the fetched one is beside it: {path}"
        ));
    }
    Ok(complaints(args, ctx, server, records, &report.refused))
}

/// The manifest as the record keeps it: path (bytes that are no UTF-8 escaped), size in bytes, SHA-256.
fn write_manifest(
    listing: &Listing,
    refused: &HashSet<String>,
    out: &mut dyn Write,
) -> io::Result<()> {
    serde_json::to_writer_pretty(out, &Files(listing, refused)).map_err(io::Error::from)
}

/// The files of a listing, written one by one: all of them as values would take much memory.
struct Files<'a>(&'a Listing, &'a HashSet<String>);

impl Serialize for Files<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let entries = self.0.files.iter().map(|file| Entry {
            path: file.path.to_string(),
            size: file.size,
            sha256: file.sha256,
        });
        to.collect_seq(entries.filter(|entry| !self.1.contains(&entry.path)))
    }
}

#[derive(Serialize)]
struct Entry {
    path: String,
    size: u64,
    sha256: Digest,
}

fn log_end(repository: &Repository, record: &Record) -> Vec<u8> {
    let path = log_file(repository, record);
    let read = || -> Result<Vec<u8>> {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .read(true)
            .custom_flags(flags.bits() as i32)
            .open(&path)
            .or_step(String::new)?;
        let length = file.metadata().or_step(String::new)?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_END)))
            .or_step(String::new)?;
        let mut end = Vec::new();
        file.take(LOG_END)
            .read_to_end(&mut end)
            .or_step(String::new)?;
        Ok(end)
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let sizes = [
            ("0", 0),
            ("500", 500),
            ("1.5k", 1500),
            ("20M", 20_000_000),
            ("2GB", 2_000_000_000),
            ("4 GiB", 4 << 30),
            ("1t", 1_000_000_000_000),
        ];
        for (text, bytes) in sizes {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "-1", "1x", "1Gx", "1..2", "1é", "0x10"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
