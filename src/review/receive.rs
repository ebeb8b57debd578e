//! The bytes of the files asked for: read from the server's answer, handed to the disk.

use tokio::io::AsyncRead;
use tokio::sync::mpsc;

use super::destination::{Destination, Local};
use super::folder::Stamp;
use super::manifest::{File, Limits, Listing, Manifest};
use super::path::ResultPath;
use super::plan::{self, Plan, Wanted};
use super::refusal::{Reason, Refusal};
use super::wire::{self, Answer, damaged};
use super::writer::{Writer, make_folders};
use crate::error::{Context as _, Error, Result};
use crate::model::nonce::Nonce;

/// How far a transfer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files verified.
    pub files: u64,
    /// Files wanted.
    pub files_total: u64,
    /// Bytes that arrived.
    pub bytes: u64,
    /// Bytes wanted.
    pub bytes_total: u64,
}

/// What a fetch did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Files that came, were verified and have their place.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that lay here already as the server has them.
    pub up_to_date: u64,
    /// Files saved beside a person's edit, with their run.
    pub beside: Vec<(usize, ResultPath)>,
    /// What did not come; the command then ends with exit status 5.
    pub refused: Vec<Refusal>,
    /// What the server has of each run.
    pub listings: Vec<Listing>,
}

/// One step of a transfer, for the thread that writes.
pub(super) enum Event {
    /// A file begins.
    Begin(Box<Item>),
    /// Its next bytes.
    Data(Vec<u8>),
    /// So many zero bytes more.
    Zero(u64),
    /// Its end.
    Done,
    /// It cannot be sent.
    Gone,
    /// A file, all of it.
    Whole(Box<Item>, Vec<u8>),
    /// Nothing more of this run comes.
    Failed { run: usize, why: String },
}

/// A file that comes, and where it goes.
pub(super) struct Item {
    pub run: usize,
    pub file: File,
    /// Where it goes, if not to its own path.
    pub beside: Option<ResultPath>,
    pub replaces: Option<Stamp>,
    pub offset: u64,
}

impl Item {
    pub fn new(run: usize, file: &File, wanted: &Wanted) -> Box<Self> {
        Box::new(Item {
            run,
            file: file.clone(),
            beside: wanted.beside.clone(),
            replaces: wanted.replaces,
            offset: wanted.offset,
        })
    }

    pub fn target(&self) -> &ResultPath {
        self.beside.as_ref().unwrap_or(&self.file.path)
    }

    pub fn refusal(&self, reason: Reason) -> Refusal {
        Refusal {
            run: self.run,
            path: self.file.path.as_bytes().to_vec(),
            reason,
        }
    }
}

/// Looks at what lies in `destinations` (one for each run of the manifest) and decides what to ask for. The disk
/// is read on a thread of its own.
///
/// # Errors
/// Those of [`Destination::look`] and [`plan`](plan::plan), and too little space here for what is wanted.
pub async fn prepare(
    manifest: Manifest,
    mut destinations: Vec<Destination>,
    limits: Limits,
) -> Result<(Plan, Vec<Destination>)> {
    let work = move || {
        let looks = manifest.runs.iter().zip(&mut destinations);
        let local: Vec<Local> = looks
            .map(|(run, there)| there.look(run))
            .collect::<Result<_>>()?;
        let plan = plan::plan(manifest, local, &limits)?;
        check_space(&plan, &destinations)?;
        for (there, run) in destinations.iter_mut().zip(&plan.runs) {
            let forgotten = there.forget_parts(run);
            forgotten.or_step(|| format!("cannot tidy {}", there.name))?;
        }
        Ok((plan, destinations))
    };
    tokio::task::spawn_blocking(work)
        .await
        .or_step(|| "reading the results here failed".to_string())?
}

/// What [`prepare`] would decide, with nothing made or removed here: without a destination, nothing is there yet.
///
/// # Errors
/// Those of [`prepare`].
pub async fn preview(
    manifest: Manifest,
    mut destinations: Vec<Option<Destination>>,
    limits: Limits,
) -> Result<Plan> {
    let work = move || {
        let looks = manifest.runs.iter().zip(&mut destinations);
        let local: Vec<Local> = looks
            .map(|(run, there)| {
                there
                    .as_mut()
                    .map_or(Ok(Local::default()), |there| there.look(run))
            })
            .collect::<Result<_>>()?;
        plan::plan(manifest, local, &limits)
    };
    tokio::task::spawn_blocking(work)
        .await
        .or_step(|| "reading the results here failed".to_string())?
}

/// Reads the answer to [`send_arguments`](super::send_arguments) into `destinations`. Each file is hashed while it
/// is written under a name of ours, compared with the manifest, put on the disk and only then given its name.
/// `progress` is called on the thread that writes, after each block.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when the answer is cut or breaks the format, or the disk fails; the files
/// that were complete by then stay and are not asked for again.
pub async fn receive(
    stream: impl AsyncRead + Unpin,
    nonce: &Nonce,
    plan: Plan,
    destinations: Vec<Destination>,
    progress: impl FnMut(Progress) + Send + 'static,
) -> Result<Report> {
    let writing = Writing::start(&plan, destinations, progress);
    let mut sink = writing.sink();
    let read = forward(stream, nonce, &plan, &mut sink).await;
    let (report, destinations) = writing.end(sink, read, plan.files).await?;
    conclude(plan, report, destinations).await
}

/// Finishes a plan that wants no file: makes the empty folders.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when the disk fails.
pub async fn settle(plan: Plan, destinations: Vec<Destination>) -> Result<Report> {
    conclude(plan, Report::default(), destinations).await
}

/// Adds to the report what was planned, makes the empty folders, and remembers the state of what is here.
async fn conclude(
    plan: Plan,
    mut report: Report,
    mut destinations: Vec<Destination>,
) -> Result<Report> {
    let work = move || {
        report.files += plan.came.0;
        report.bytes += plan.came.1;
        report.up_to_date = plan.up_to_date;
        report.refused.splice(0..0, plan.refused);
        for (number, (run, there)) in plan.runs.into_iter().zip(&mut destinations).enumerate() {
            if run.listing.is_same {
                report.listings.push(run.listing);
                continue;
            }
            let refused = make_folders(number, there, &run.folders)?;
            report.refused.extend(refused);
            there.index.save()?;
            let lacks = report.refused.iter().any(|refusal| refusal.run == number)
                || report.beside.iter().any(|(of, _)| *of == number);
            // The index knows no folders, so that one that is removed here would not be missed.
            let state = run
                .listing
                .state
                .filter(|_| !lacks && run.folders.is_empty());
            let kept = there.index.set_state(state);
            kept.or_step(|| format!("cannot write beside the index of {}", there.name))?;
            report.listings.push(run.listing);
        }
        Ok(report)
    };
    tokio::task::spawn_blocking(work)
        .await
        .or_step(|| "writing the results failed".to_string())?
}

/// The thread that writes, at work.
pub(super) struct Writing {
    to_writer: mpsc::Sender<Vec<Event>>,
    handle: tokio::task::JoinHandle<Result<(Report, Vec<Destination>)>>,
}

impl Writing {
    pub fn start(
        plan: &Plan,
        destinations: Vec<Destination>,
        progress: impl FnMut(Progress) + Send + 'static,
    ) -> Self {
        let state = Progress {
            files_total: plan.files,
            bytes_total: plan.bytes,
            ..Progress::default()
        };
        let (to_writer, events) = mpsc::channel(8);
        let writer = Writer::new(state, destinations, Box::new(progress));
        let handle = tokio::task::spawn_blocking(move || writer.run(events));
        Writing { to_writer, handle }
    }

    pub fn sink(&self) -> Sink {
        Sink {
            events: Vec::new(),
            bytes: 0,
            to_writer: self.to_writer.clone(),
        }
    }

    /// Waits for the end of what `sink` was given; `read` tells how reading the answer ended.
    pub async fn end(
        self,
        mut sink: Sink,
        read: Result<()>,
        files: u64,
    ) -> Result<(Report, Vec<Destination>)> {
        sink.flush().await;
        drop((sink, self.to_writer));
        let written = self.handle.await;
        let (report, destinations) =
            written.or_step(|| "writing the results failed".to_string())??;
        match read {
            Ok(()) => Ok((report, destinations)),
            Err(error) => {
                Err(error.cause(format!("{} of {files} files are complete", report.files)))
            }
        }
    }
}

/// Steps on their way to the writer, about a block of them at a time: waking it for each would cost more than the
/// writing of a small file.
pub(super) struct Sink {
    events: Vec<Event>,
    bytes: usize,
    to_writer: mpsc::Sender<Vec<Event>>,
}

impl Sink {
    const BYTES: usize = 128 << 10;
    const EVENTS: usize = 256;

    /// False where the writer gave up; it has the reason.
    pub async fn push(&mut self, event: Event) -> bool {
        self.bytes += match &event {
            Event::Data(block) | Event::Whole(_, block) => block.len(),
            _ => 0,
        };
        self.events.push(event);
        match self.bytes >= Self::BYTES || self.events.len() >= Self::EVENTS {
            true => self.flush().await,
            false => true,
        }
    }

    async fn flush(&mut self) -> bool {
        self.bytes = 0;
        let events = std::mem::take(&mut self.events);
        self.to_writer.send(events).await.is_ok()
    }
}

fn check_space(plan: &Plan, destinations: &[Destination]) -> Result<()> {
    let Some(first) = destinations.first() else {
        return Ok(());
    };
    let free = first
        .top
        .free()
        .or_step(|| format!("cannot read {}", first.name))?;
    if plan.bytes <= free {
        return Ok(());
    }
    let (bytes, free) = (plan.bytes as f64 / 1e6, free as f64 / 1e6);
    Err(Error::step(format!(
        "the results are {bytes:.1} MB, and {free:.1} MB are free here"
    ))
    .hint("make room, or fetch fewer runs"))
}

/// Reads the answer to its end. A writer that gave up ends it early, and has the reason.
async fn forward(
    stream: impl AsyncRead + Unpin,
    nonce: &Nonce,
    plan: &Plan,
    sink: &mut Sink,
) -> Result<()> {
    let mut answer = Answer::open(stream, "send", nonce).await?;
    let mut order = Order::new(plan);
    while let Some(line) = answer.next().await? {
        let sent = Sent::parse(line).ok_or_else(|| damaged("a line makes no sense"))?;
        let event = match order.check(sent)? {
            Next::Event(event) => event,
            Next::Data(count) => Event::Data(answer.data(count).await?),
        };
        if !sink.push(event).await {
            return Ok(());
        }
    }
    order.end()
}

/// A line of the answer.
enum Sent {
    File(usize, u64, u64),
    Data(u64),
    Zero(u64),
    Done,
    Gone,
    Failed(usize, String),
}

impl Sent {
    fn parse(line: &[u8]) -> Option<Self> {
        let words: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
        Some(match words[..] {
            [b"file", run, index, offset] => Sent::File(
                wire::number(run)?,
                wire::number(index)?,
                wire::number(offset)?,
            ),
            [b"zero", count] => Sent::Zero(wire::number(count)?),
            [b"data", count] => Sent::Data(wire::number(count)?),
            [b"done"] => Sent::Done,
            [b"gone"] => Sent::Gone,
            [b"failed", run, why] => {
                let why = String::from_utf8_lossy(&wire::decode(why)?).into_owned();
                Sent::Failed(wire::number(run)?, why)
            }
            _ => return None,
        })
    }
}

/// What a line leads to.
enum Next {
    Event(Event),
    Data(u64),
}

fn rest(left: u64, count: u64) -> Result<u64> {
    left.checked_sub(count)
        .ok_or_else(|| damaged("a file is longer than listed"))
}

/// The order in which files must come: exactly those asked for, none longer than the manifest says.
struct Order<'a> {
    plan: &'a Plan,
    run: usize,
    position: usize,
    /// The bytes that may still come of the file under way.
    left: Option<u64>,
}

impl<'a> Order<'a> {
    fn new(plan: &'a Plan) -> Self {
        let mut order = Order {
            plan,
            run: 0,
            position: 0,
            left: None,
        };
        order.skip_empty();
        order
    }

    fn check(&mut self, sent: Sent) -> Result<Next> {
        let wanted = self
            .plan
            .runs
            .get(self.run)
            .and_then(|run| run.wanted.get(self.position));
        match (sent, self.left, wanted) {
            (Sent::File(run, index, offset), None, Some(wanted))
                if (run, offset) == (self.run, wanted.offset)
                    && index == self.plan.runs[run].file(wanted).index =>
            {
                let file = self.plan.runs[run].file(wanted);
                self.left = Some(file.size.saturating_sub(offset));
                Ok(Next::Event(Event::Begin(Item::new(run, file, wanted))))
            }
            (Sent::Data(count), Some(left), _) => {
                self.left = Some(rest(left, count)?);
                Ok(Next::Data(count))
            }
            (Sent::Zero(count), Some(left), _) => {
                self.left = Some(rest(left, count)?);
                Ok(Next::Event(Event::Zero(count)))
            }
            (Sent::Done, Some(_), _) => Ok(self.advance(Event::Done)),
            (Sent::Gone, Some(_), _) => Ok(self.advance(Event::Gone)),
            (Sent::Failed(run, why), None, Some(_)) if run == self.run => {
                (self.run, self.position) = (self.run + 1, 0);
                self.skip_empty();
                Ok(Next::Event(Event::Failed { run, why }))
            }
            _ => Err(damaged("it sends what was not asked for")),
        }
    }

    fn advance(&mut self, event: Event) -> Next {
        self.left = None;
        self.position += 1;
        self.skip_empty();
        Next::Event(event)
    }

    /// Goes on to the next run that still wants a file.
    fn skip_empty(&mut self) {
        while self
            .plan
            .runs
            .get(self.run)
            .is_some_and(|run| run.wanted.len() <= self.position)
        {
            (self.run, self.position) = (self.run + 1, 0);
        }
    }

    fn end(&self) -> Result<()> {
        match self.run >= self.plan.runs.len() {
            true => Ok(()),
            false => Err(damaged("files that were asked for did not come")),
        }
    }
}
