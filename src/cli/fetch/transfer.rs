//! The transfer from one server.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{Context, FetchArgs};
use crate::cli::look::check_trust;
use crate::deployment::connection::{Asking, Connection};
use crate::deployment::scripts;
use crate::deployment::trust::Agreements;
use crate::development::records::Record;
use crate::development::repository::Repository;
use crate::error::{Context as _, Error, Result};
use crate::model::config::Server;
use crate::review::{
    Ask, Destination, Limits, Manifest, Nonce, Offer, PROGRAM, Plan, Progress, Report, Source,
    Standing, fetch_arguments, log_name, manifest_arguments, prepare, preview, read_manifest,
    receive, send_arguments, settle, untouched,
};

/// What one server had.
pub(super) enum Outcome {
    /// A dry run: what would come.
    Would(Plan),
    Came(Report),
}

/// Questions are asked one after the other, however many servers there are.
static QUESTIONS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Fetches `records`, all of `server`, or tells what would come.
pub(super) async fn from_server(
    args: &FetchArgs,
    ctx: &Context,
    repository: &Repository,
    agreements: &Agreements,
    server: &Server,
    records: &[&Record],
    asking: Asking<'_>,
) -> Result<Outcome> {
    check_trust(agreements, repository, server)?;
    let mut connection = Connection::open(server, asking).await?;
    let transfer = Transfer {
        args,
        ctx,
        repository,
        server,
        records,
        bar: Bar::new(ctx, server),
        sources: sources(records, &args.only()),
        nonce: Nonce::fresh()?,
    };
    match args.dry_run {
        true => transfer.preview(&mut connection).await.map(Outcome::Would),
        false => transfer.run(&mut connection).await.map(Outcome::Came),
    }
}

struct Transfer<'a> {
    args: &'a FetchArgs,
    ctx: &'a Context,
    repository: &'a Repository,
    server: &'a Server,
    records: &'a [&'a Record],
    bar: Bar<'a>,
    sources: Vec<Source>,
    nonce: Nonce,
}

/// What is left to do when the first answer is read.
struct Begun {
    plan: Plan,
    destinations: Vec<Destination>,
    /// How many files of runs of which nothing changed are here.
    same: u64,
}

impl Transfer<'_> {
    async fn run(&self, connection: &mut Connection) -> Result<Report> {
        let asks: Vec<Ask> = self.records.iter().map(|record| self.ask(record)).collect();
        let Begun {
            plan,
            destinations,
            same,
        } = match self.begin(connection, &asks).await? {
            Some(begun) => begun,
            // Something was touched here that did not change there.
            None => {
                let again = asks.iter().map(|ask| match ask {
                    Ask::Unless(_) => Ask::List,
                    other => *other,
                });
                let begun = self.begin(connection, &again.collect::<Vec<_>>()).await?;
                begun.ok_or_else(|| Error::step("the server says twice that nothing changed"))?
            }
        };
        let mut report = match plan.is_empty() {
            true => settle(plan, destinations).await?,
            false => self.rest(connection, plan, destinations).await?,
        };
        report.up_to_date += same;
        Ok(report)
    }

    fn ask(&self, record: &Record) -> Ask {
        let (root, index) = (self.repository.root(), index_file(self.repository, record));
        match Standing::of(root, record.run.id.as_str(), &index) {
            Standing::Nothing => Ask::Contents,
            // Otherwise there is something to be recorded.
            Standing::Fetched(state) if record.known.fetched.is_some() => Ask::Unless(state),
            Standing::Fetched(_) | Standing::Something => Ask::List,
        }
    }

    /// Asks what there is, and takes what comes with the answer; nothing where the answer is of no use, as files here
    /// are no longer as they were fetched.
    async fn begin(&self, connection: &mut Connection, asks: &[Ask]) -> Result<Option<Begun>> {
        let limits = self.args.limits();
        let looking = self.look(asks);
        let arguments = fetch_arguments(&self.nonce, &self.sources, asks, &limits);
        let call = python(self.server, arguments);
        let begun = connection.stream(&call, async |stream| {
            let offer = Offer::read(stream, &self.nonce, asks, &limits).await?;
            let (manifest, contents) = offer.split();
            let here = looking.await;
            let here = here.or_step(|| "looking at the results here failed".to_string())?;
            let same = manifest
                .runs
                .iter()
                .zip(here)
                .filter(|(run, _)| run.is_same);
            let Some(same) = same.map(|(_, count)| count).sum::<Option<u64>>() else {
                return Ok(None);
            };
            let (mut plan, mut destinations) = self.prepare(manifest).await?;
            if let Some(contents) = contents {
                let (limits, progress) = (self.planned(), self.bar.begin(&plan));
                let received = contents.receive(plan, destinations, &limits, progress);
                (plan, destinations) = received.await?;
            }
            Ok(Some(Begun {
                plan,
                destinations,
                same,
            }))
        });
        begun.await
    }

    /// Looks, while the server is asked, whether the files of the runs that may be as they were are so.
    fn look(&self, asks: &[Ask]) -> tokio::task::JoinHandle<Vec<Option<u64>>> {
        let root = self.repository.root().to_path_buf();
        let runs: Vec<(bool, String, PathBuf)> = asks
            .iter()
            .zip(self.records)
            .map(|(ask, record)| {
                let index = index_file(self.repository, record);
                let is_asked = matches!(ask, Ask::Unless(_));
                (is_asked, record.run.id.to_string(), index)
            })
            .collect();
        tokio::task::spawn_blocking(move || {
            let look = |(is_asked, run, index): &(bool, String, PathBuf)| {
                is_asked.then(|| untouched(&root, run, index)).flatten()
            };
            runs.iter().map(look).collect()
        })
    }

    /// Where somebody can be asked, the whole amount is no error yet.
    fn planned(&self) -> Limits {
        let limits = self.args.limits();
        match self.is_asked() || self.args.dry_run {
            true => Limits {
                total: u64::MAX,
                ..limits
            },
            false => limits,
        }
    }

    fn is_asked(&self) -> bool {
        self.args.max_total.is_none() && self.ctx.can_ask()
    }

    async fn prepare(&self, manifest: Manifest) -> Result<(Plan, Vec<Destination>)> {
        let there = self.records.iter().map(|record| self.open(record));
        let there = there.collect::<Result<_>>()?;
        let prepared = prepare(manifest, there, self.planned()).await?;
        if self.is_asked() && prepared.0.bytes > self.args.limits().total {
            agree(self.ctx, self.server, &prepared.0).await?;
        }
        Ok(prepared)
    }

    fn open(&self, record: &Record) -> Result<Destination> {
        let index = index_file(self.repository, record);
        Destination::open(self.repository.root(), record.run.id.as_str(), &index)
    }

    /// Fetches what did not come with the list.
    async fn rest(
        &self,
        connection: &mut Connection,
        plan: Plan,
        destinations: Vec<Destination>,
    ) -> Result<Report> {
        let progress = self.bar.begin(&plan);
        let arguments = send_arguments(&self.nonce, &self.sources, &plan);
        let call = python(self.server, arguments);
        let received = connection.stream(&call, async |stream| {
            receive(stream, &self.nonce, plan, destinations, progress).await
        });
        received.await
    }

    async fn preview(&self, connection: &mut Connection) -> Result<Plan> {
        let limits = self.args.limits();
        let arguments = manifest_arguments(&self.nonce, &self.sources, &limits);
        let call = python(self.server, arguments);
        let manifest = connection.stream(&call, async |stream| {
            read_manifest(stream, &self.nonce, self.sources.len(), &limits).await
        });
        let manifest = manifest.await?;
        let is_here = |record: &Record| results(self.repository, record).symlink_metadata().is_ok();
        let there = self.records.iter();
        let there = there.map(|record| is_here(record).then(|| self.open(record)).transpose());
        preview(manifest, there.collect::<Result<_>>()?, self.planned()).await
    }
}

/// Asks whether so much may come.
async fn agree(ctx: &Context, server: &Server, plan: &Plan) -> Result<()> {
    let _turn = QUESTIONS.lock().await;
    let size = indicatif::HumanBytes(plan.bytes);
    let question = format!("The results on {} are {size}. Fetch them?", server.name);
    match ctx.confirm(&question)? {
        true => Ok(()),
        false => Err(Error::step(format!("{}: nothing was fetched", server.name)).hint(
            "git agile fetch-results --dry-run shows what there is; --exclude and --max-size leave some of it",
        )),
    }
}

/// The line of one server in the progress display; gone when it is dropped.
struct Bar<'a>(ProgressBar, &'a Context);

impl<'a> Bar<'a> {
    fn new(ctx: &'a Context, server: &Server) -> Self {
        let bar = ctx.output.progress().add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{prefix}: {msg} {elapsed:.dim}") {
            bar.set_style(style);
        }
        bar.set_prefix(server.name.to_string());
        bar.set_message("listing the results");
        bar.enable_steady_tick(Duration::from_millis(120));
        Bar(bar, ctx)
    }

    /// Shows how far `plan` is; gives what is to be told.
    fn begin(&self, plan: &Plan) -> impl FnMut(Progress) + Send + 'static {
        let (_, columns) = console::Term::stderr().size();
        let template = match columns {
            ..76 => "{prefix}: {bar:10} {percent} %, {eta} left",
            _ => "{prefix}: {bar:24} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
        self.0.set_length(plan.bytes);
        self.0.reset();
        let shown = self.0.clone();
        move |progress| shown.set_position(progress.bytes)
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        self.1.output.progress().remove(&self.0);
    }
}

fn sources(records: &[&Record], only: &[String]) -> Vec<Source> {
    let source = |record: &&Record| Source {
        folder: record.run.id.as_str().into(),
        patterns: record.run.results.iter().map(ToString::to_string).collect(),
        only: only.to_vec(),
        is_moving: !record.known.state.is_end(),
    };
    records.iter().map(source).collect()
}

/// What the server has of the results of `records` now, as a fetch records it; nothing for a run with results that cannot
/// be fetched.
///
/// # Errors
/// As [`Connection::stream`].
pub async fn manifests(
    connection: &mut Connection,
    records: &[&Record],
) -> Result<Vec<Option<Vec<u8>>>> {
    let (nonce, limits) = (Nonce::fresh()?, Limits::default());
    let sources = sources(records, &[]);
    let arguments = manifest_arguments(&nonce, &sources, &limits);
    let call = python(connection.server(), arguments);
    let manifest = connection
        .stream(&call, async |stream| {
            read_manifest(stream, &nonce, sources.len(), &limits).await
        })
        .await?;
    let is_whole = |run: usize| manifest.refused.iter().all(|refusal| refusal.run != run);
    let listed = manifest.runs.iter().enumerate();
    Ok(listed
        .map(|(run, listing)| {
            let mut json = Vec::new();
            let written =
                is_whole(run).then(|| super::write_manifest(listing, &HashSet::new(), &mut json));
            written.and_then(io::Result::ok).map(|()| json)
        })
        .collect())
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

/// What is remembered of the files that were fetched of a run.
pub fn index_file(repository: &Repository, record: &Record) -> PathBuf {
    // Of this work tree: another of the same repository has results of its own.
    let own = repository.git().path();
    own.join("agile/fetched")
        .join(format!("{}.index", record.run.id))
}

/// Where the log of a run is, if its results are here.
pub fn log_file(repository: &Repository, record: &Record) -> PathBuf {
    let folder = results(repository, record);
    let is_there = |name: &str| folder.join(name).symlink_metadata().is_ok();
    folder.join(log_name(is_there))
}

/// Where the results of a run are, or will be.
pub fn results(repository: &Repository, record: &Record) -> PathBuf {
    repository
        .root()
        .join("results")
        .join(record.run.id.as_str())
}
