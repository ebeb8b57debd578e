//! The bytes of the files asked for: read from the server's answer, handed to the disk.

use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio::sync::mpsc;

use super::destination::{Destination, Local};
use super::manifest::{Limits, Manifest};
use super::path::ResultPath;
use super::plan::{self, Plan};
use super::refusal::Refusal;
use super::wire::{self, Answer, damaged};
use super::writer::Writer;
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
}

/// One step of a transfer, for the thread that writes.
pub(super) enum Event {
    /// The file `wanted[position]` of a run begins.
    Begin { run: usize, position: usize },
    /// Its next bytes.
    Data(Vec<u8>),
    /// Its end.
    Done,
    /// It cannot be sent.
    Gone,
    /// Nothing more of this run comes.
    Failed { run: usize, why: String },
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
        let plan = plan::plan(&manifest, &local, &limits)?;
        check_space(&plan, &destinations)?;
        Ok((plan, destinations))
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
    let plan = Arc::new(plan);
    let (to_writer, events) = mpsc::channel(4);
    let writer = Writer::new(plan.clone(), destinations, Box::new(progress));
    let writing = tokio::task::spawn_blocking(move || writer.run(events));
    let read = forward(stream, nonce, &plan, to_writer).await;
    let written = writing
        .await
        .or_step(|| "writing the results failed".to_string())?;
    let report = written?;
    match read {
        Ok(()) => Ok(report),
        Err(error) => Err(error.cause(format!(
            "{} of {} files are complete",
            report.files, plan.files
        ))),
    }
}

/// Finishes a plan that wants no file: makes the empty folders.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when the disk fails.
pub async fn settle(plan: Plan, destinations: Vec<Destination>) -> Result<Report> {
    let (_, nothing) = mpsc::channel(1);
    let writer = Writer::new(Arc::new(plan), destinations, Box::new(|_| ()));
    tokio::task::spawn_blocking(move || writer.run(nothing))
        .await
        .or_step(|| "writing the results failed".to_string())?
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
    writer: mpsc::Sender<Event>,
) -> Result<()> {
    let mut answer = Answer::open(stream, "send", nonce).await?;
    let mut order = Order::new(plan);
    loop {
        let step = match answer.next().await? {
            None => return order.end(),
            Some(line) => Sent::parse(line).ok_or_else(|| damaged("a line makes no sense"))?,
        };
        let event = match order.check(step)? {
            Next::Event(event) => event,
            Next::Data(count) => Event::Data(answer.data(count).await?),
        };
        if writer.send(event).await.is_err() {
            return Ok(());
        }
    }
}

/// A line of the answer.
enum Sent {
    File(usize, u64),
    Data(u64),
    Done,
    Gone,
    Failed(usize, String),
}

impl Sent {
    fn parse(line: &[u8]) -> Option<Self> {
        let words: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
        Some(match words[..] {
            [b"file", run, index] => Sent::File(wire::number(run)?, wire::number(index)?),
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
            (Sent::File(run, index), None, Some(wanted))
                if run == self.run && index == wanted.file.index =>
            {
                self.left = Some(wanted.file.size);
                Ok(Next::Event(Event::Begin {
                    run,
                    position: self.position,
                }))
            }
            (Sent::Data(count), Some(left), _) => {
                let rest = left
                    .checked_sub(count)
                    .ok_or_else(|| damaged("a file is longer than listed"))?;
                self.left = Some(rest);
                Ok(Next::Data(count))
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
