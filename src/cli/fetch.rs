//! `git agile fetch-results`.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Args;
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::Context;
use super::look::{JOBS, check_trust, look, now, server_of, warn_unseen};
use super::select::Selection;
use super::status::state_word;
use crate::deployment::connection::{Asking, Connection};
use crate::deployment::scripts;
use crate::deployment::trust::Agreements;
use crate::development::records::{self, Attachment, Record};
use crate::development::repository::Repository;
use crate::error::{Context as _, Error, Result};
use crate::model::config::Server;
use crate::model::run::Known;
use crate::review::{
    Destination, Limits, Listing, PROGRAM, Reason, Report, Source, manifest_arguments, prepare,
    read_manifest, receive, send_arguments, settle,
};
use crate::terminal::{Stream, Style, clean, clean_bytes, count};

/// How much of a run's log its record keeps, in bytes.
const LOG_END: u64 = 64 << 10;

/// Bring results home into results/RUN/, verified
///
/// Without a selection: every run that has ended and was not fetched yet. A file arrives under a temporary name and is
/// renamed when its size and SHA-256 are right; what has not changed is not sent again; a file that was edited here is
/// kept. Nothing is removed on the server.
#[derive(Debug, Args)]
pub struct FetchArgs {
    #[command(flatten)]
    selection: Selection,
}

/// What one server had.
struct Fetched {
    report: Report,
    listings: Vec<Listing>,
}

/// Runs the command.
///
/// # Errors
/// [`Kind::Unreachable`](crate::error::Kind::Unreachable) or [`Kind::Step`](crate::error::Kind::Step) when something
/// did not come home; what did is kept.
pub fn run(args: FetchArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let records = choose(&args, ctx, &repository)?;
    if records.is_empty() {
        ctx.output.say("Nothing to fetch.");
        return Ok(());
    }
    let groups = group(&records);
    let agreements = Agreements::load()?;
    let results = ctx.block_on(async {
        let (repository, agreements) = (&repository, &agreements);
        let all = groups.iter().map(|(server, records)| async move {
            let result = from_server(ctx, repository, agreements, server, records).await;
            (server, records, result)
        });
        Ok(stream::iter(all).buffered(JOBS).collect::<Vec<_>>().await)
    })?;
    let mut worst = None;
    for (server, records, result) in results {
        let failures = match result {
            Ok(fetched) => take_in(ctx, &repository, server, records, fetched)?,
            Err(error) => vec![error],
        };
        for error in failures {
            ctx.output.error(&error);
            worst = worst.max(Some(error.kind.status()));
        }
    }
    match worst {
        Some(status) => Err(Error::child(status)),
        None => Ok(()),
    }
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
    if !is_default {
        for record in records.iter().filter(|record| !record.known.state.is_end()) {
            ctx.output.warn(&format!(
                "{} is {}; it is fetched when it has ended",
                record.run.id,
                state_word(&record.known)
            ));
        }
    }
    let is_due = |record: &Record| {
        record.known.state.is_end() && (!is_default || record.known.fetched.is_none())
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

async fn from_server(
    ctx: &Context,
    repository: &Repository,
    agreements: &Agreements,
    server: &Server,
    records: &[&Record],
) -> Result<Fetched> {
    check_trust(agreements, repository, server)?;
    let connection = Connection::open(server, Asking::OnTerminal(&ctx.output)).await?;
    let (nonce, limits) = (crate::review::Nonce::fresh()?, Limits::default());
    let sources: Vec<Source> = records
        .iter()
        .map(|record| Source {
            folder: record.run.id.as_str().into(),
            patterns: record.run.results.iter().map(ToString::to_string).collect(),
        })
        .collect();
    let call = python(server, manifest_arguments(&nonce, &sources, &limits));
    let manifest = connection.stream(&call, async |stream| {
        read_manifest(stream, &nonce, sources.len(), &limits).await
    });
    let manifest = manifest.await?;
    let listings = manifest.runs.clone();

    let mut destinations = Vec::new();
    for record in records {
        let index = index_file(repository, record);
        destinations.push(Destination::open(
            repository.root(),
            record.run.id.as_str(),
            &index,
        )?);
    }
    let (plan, destinations) = prepare(manifest, destinations, limits).await?;
    if plan.is_empty() {
        return Ok(Fetched {
            report: settle(plan, destinations).await?,
            listings,
        });
    }
    let bar = ctx.output.progress().add(ProgressBar::new(plan.bytes));
    let template = "{prefix}: {bar:24} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(server.name.to_string());
    let shown = bar.clone();
    let call = python(server, send_arguments(&nonce, &sources, &plan));
    let received = connection.stream(&call, async |stream| {
        receive(stream, &nonce, plan, destinations, move |progress| {
            shown.set_position(progress.bytes)
        })
        .await
    });
    let report = received.await;
    bar.finish_and_clear();
    ctx.output.progress().remove(&bar);
    Ok(Fetched {
        report: report?,
        listings,
    })
}

fn python(
    server: &Server,
    arguments: Vec<std::ffi::OsString>,
) -> crate::deployment::protocol::Call {
    use std::os::unix::ffi::OsStrExt;
    scripts::python(
        &server.path,
        PROGRAM,
        arguments.iter().map(|argument| argument.as_bytes()),
    )
}

fn index_file(repository: &Repository, record: &Record) -> PathBuf {
    repository
        .common_dir()
        .join("agile/fetched")
        .join(format!("{}.json", record.run.id))
}

/// Records what came home, tells the person, and gives what did not.
fn take_in(
    ctx: &Context,
    repository: &Repository,
    server: &Server,
    records: &[&Record],
    fetched: Fetched,
) -> Result<Vec<Error>> {
    let Fetched { report, listings } = fetched;
    let time = now();
    for (index, (record, listing)) in records.iter().zip(&listings).enumerate() {
        let is_partial = report
            .refused
            .iter()
            .any(|refusal| refusal.run == index && refusal.reason.may_pass());
        if is_partial {
            continue;
        }
        let attachments = [
            Attachment {
                name: "manifest.json",
                content: manifest_json(listing),
            },
            Attachment {
                name: "log",
                content: log_end(repository, record),
            },
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
    ctx.output
        .say(&ctx.output.paint(Stream::Talk, Style::Good, &line));
    for record in records {
        ctx.output.say(&format!("  results/{}", record.run.id));
    }
    for (index, path) in &report.beside {
        let run = &records[*index].run.id;
        ctx.output.warn(&format!(
            "a file of {run} was edited here, so the fetched one is beside it: {path}"
        ));
    }
    let refusals = report.refused.iter().map(|refusal| {
        let run = records
            .get(refusal.run)
            .map_or("?", |record| record.run.id.as_str());
        let said = format!(
            "{}: {run}: {} {}",
            server.name,
            clean_bytes(&refusal.path),
            refusal.reason
        );
        let error = Error::step(clean(&said));
        match &refusal.reason {
            Reason::Run(_) | Reason::Changed => error.hint("git agile fetch-results tries again"),
            Reason::InTheWay => {
                error.hint(format!("move it out of results/{run}, and fetch again"))
            }
            _ => error.hint(format!(
                "it stays on the server: git agile ssh {}",
                server.name
            )),
        }
    });
    Ok(refusals.collect())
}

/// The manifest as the record keeps it: path (bytes that are no UTF-8 escaped), size in bytes, SHA-256.
fn manifest_json(listing: &Listing) -> Vec<u8> {
    let files: Vec<_> = listing
        .files
        .iter()
        .map(|file| json!({ "path": file.path.to_string(), "size": file.size, "sha256": file.sha256 }))
        .collect();
    serde_json::to_vec_pretty(&files).unwrap_or_default()
}

fn log_end(repository: &Repository, record: &Record) -> Vec<u8> {
    let path = repository
        .root()
        .join("results")
        .join(record.run.id.as_str())
        .join("log");
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
