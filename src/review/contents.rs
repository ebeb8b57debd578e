//! Contents that come with the list of them: for runs of which nothing is here yet.

use tokio::io::AsyncRead;

use super::destination::Destination;
use super::digest::Digest;
use super::manifest::{Facts, File, Limits, MOST_HOLLOW};
use super::plan::{Plan, Wanted};
use super::receive::{Event, Item, Progress, Report, Sink, Writing};
use super::refusal::{Reason, Refusal};
use super::wire::{self, Answer, damaged};
use crate::error::{Error, Result};

/// What is still to be read of an [`Offer`](super::Offer): the contents.
pub struct Contents<R>(pub(super) Answer<R>);

impl<R: AsyncRead + Unpin> Contents<R> {
    /// Reads them into `destinations`, as [`receive`](super::receive) does, and gives what is left to do of the plan.
    ///
    /// # Errors
    /// Those of [`receive`](super::receive), and more bytes than `limits` has.
    pub async fn receive(
        self,
        mut plan: Plan,
        destinations: Vec<Destination>,
        limits: &Limits,
        progress: impl FnMut(Progress) + Send + 'static,
    ) -> Result<(Plan, Vec<Destination>)> {
        let writing = Writing::start(&plan, destinations, progress);
        let mut sink = writing.sink();
        let mut reading = Reading {
            answer: self.0,
            left: limits.total.max(plan.bytes),
            hollow_left: MOST_HOLLOW,
            limits: *limits,
        };
        let read = reading.all(&mut plan, &mut sink).await;
        let (report, destinations) = writing.end(sink, read, plan.files).await?;
        Ok((rest(plan, report), destinations))
    }
}

/// What is left of `plan` after what `report` has.
fn rest(mut plan: Plan, report: Report) -> Plan {
    plan.came = (report.files, report.bytes);
    plan.refused.extend(report.refused);
    let left = plan.runs.iter().map(super::RunPlan::size);
    let (files, bytes) = left.fold((0, 0u64), |(files, bytes), (more, size)| {
        (files + more as u64, bytes.saturating_add(size))
    });
    Plan {
        files,
        bytes,
        ..plan
    }
}

/// What the server says of the next file.
enum Said {
    /// What it is; its bytes follow at once, or as data.
    File(Facts, bool),
    Refused(Reason),
}

/// What is done with a file.
enum Fate {
    Wanted(Box<Item>),
    Left,
}

struct Reading<R> {
    answer: Answer<R>,
    /// How many bytes may still come, and how many of holes.
    left: u64,
    hollow_left: u64,
    limits: Limits,
}

/// The writer has given up; it has the reason.
struct Stopped;

impl<R: AsyncRead + Unpin> Reading<R> {
    async fn all(&mut self, plan: &mut Plan, sink: &mut Sink) -> Result<()> {
        for run in 0..plan.runs.len() {
            let Some(count) = plan.runs[run].listing.contents else {
                continue;
            };
            let wanted = std::mem::take(&mut plan.runs[run].wanted);
            let (mut at, mut wanted) = (0, wanted.into_iter().peekable());
            for index in 0..count {
                let said = self.next(plan).await?;
                let said = said.ok_or_else(|| damaged("contents that were named did not come"))?;
                let is_listed = |file: &&mut File| file.index == index;
                let file = plan.runs[run].listing.files.get_mut(at).filter(is_listed);
                let listed = at;
                at += usize::from(file.is_some());
                let wanted = wanted.next_if(|wanted| file.is_some() && wanted.at == listed);
                match self.one(run, said, file, wanted, sink).await? {
                    Ok(refused) => plan.refused.extend(refused),
                    Err(Stopped) => return Ok(()),
                }
            }
            // What was refused has no digest to be remembered.
            let files = &mut plan.runs[run].listing.files;
            files.retain(|file| file.sha256 != Digest::UNKNOWN);
        }
        match self.next(plan).await? {
            None => Ok(()),
            Some(_) => Err(damaged("it sends contents that it did not name")),
        }
    }

    /// The next line about a file, or nothing at the end. A line about a run is noted in `plan`.
    async fn next(&mut self, plan: &mut Plan) -> Result<Option<Said>> {
        loop {
            let Some(line) = self.answer.next().await? else {
                return Ok(None);
            };
            let words: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
            let said = match words[..] {
                [b"whole", mtime, mode, sha256, size] => {
                    Facts::parse(&[size, size, mtime, mode, sha256])
                        .map(|facts| Said::File(facts, true))
                }
                [b"file", ref facts @ ..] => {
                    Facts::parse(facts).map(|facts| Said::File(facts, false))
                }
                [b"refused", reason] => Reason::from_word(reason).map(Said::Refused),
                [b"state", run, state] => {
                    let run = wire::number(run).and_then(|run: usize| plan.runs.get_mut(run));
                    let state = Digest::parse(state);
                    if let (Some(run), Some(state)) = (run, state) {
                        run.listing.state = Some(state);
                        continue;
                    }
                    None
                }
                _ => None,
            };
            let odd = || damaged("a line about contents makes no sense");
            return said.map(Some).ok_or_else(odd);
        }
    }

    /// Takes one file in, or passes it over; gives why it does not come.
    async fn one(
        &mut self,
        run: usize,
        said: Said,
        file: Option<&mut File>,
        wanted: Option<Wanted>,
        sink: &mut Sink,
    ) -> Result<Result<Option<Refusal>, Stopped>> {
        let refusal = |file: &File, reason| Refusal {
            run,
            path: file.path.as_bytes().to_vec(),
            reason,
        };
        let (facts, is_whole) = match (said, &file) {
            (Said::File(facts, is_whole), _) => (facts, is_whole),
            (Said::Refused(reason), Some(file)) if wanted.is_some() => {
                return Ok(Ok(Some(refusal(file, reason))));
            }
            (Said::Refused(_), _) => return Ok(Ok(None)),
        };
        let (size, is_large) = (facts.size, facts.is_large(&self.limits));
        let (mut refused, mut fate) = (None, Fate::Left);
        if let Some(file) = file {
            *file = facts.of(file.index, file.path.clone());
            match wanted {
                Some(_) if is_large => refused = Some(refusal(file, Reason::Large)),
                Some(wanted) => fate = Fate::Wanted(Item::new(run, file, &wanted)),
                None => {}
            }
        }
        let taken = match is_whole {
            true => self.whole(size, fate, sink).await?,
            false => self.pieces(size, fate, sink).await?,
        };
        Ok(taken.map(|()| refused))
    }

    async fn whole(
        &mut self,
        size: u64,
        fate: Fate,
        sink: &mut Sink,
    ) -> Result<Result<(), Stopped>> {
        self.take(size)?;
        let content = self.answer.data(size).await?;
        match fate {
            Fate::Wanted(item) => Ok(given(sink.push(Event::Whole(item, content)).await)),
            Fate::Left => Ok(Ok(())),
        }
    }

    async fn pieces(
        &mut self,
        size: u64,
        fate: Fate,
        sink: &mut Sink,
    ) -> Result<Result<(), Stopped>> {
        let is_left = matches!(fate, Fate::Left);
        if let Fate::Wanted(item) = fate
            && !sink.push(Event::Begin(item)).await
        {
            return Ok(Err(Stopped));
        }
        let mut rest = size;
        loop {
            let line = self.answer.next().await?;
            let words: Option<Vec<&[u8]>> = line.map(|line| line.split(|&b| b == b' ').collect());
            let count = |word: &[u8]| wire::number(word).filter(|count| *count <= rest);
            let event = match words.as_deref() {
                Some([b"data", word]) if let Some(size) = count(word) => {
                    rest -= size;
                    self.take(size)?;
                    Event::Data(self.answer.data(size).await?)
                }
                Some([b"zero", word]) if let Some(size) = count(word) => {
                    rest -= size;
                    self.hollow_left = less(self.hollow_left, size)?;
                    Event::Zero(size)
                }
                Some([b"done"]) => Event::Done,
                Some([b"gone"]) => Event::Gone,
                _ => return Err(damaged("a file is longer than it was said to be")),
            };
            let is_end = matches!(event, Event::Done | Event::Gone);
            if !is_left && !sink.push(event).await {
                return Ok(Err(Stopped));
            }
            if is_end {
                return Ok(Ok(()));
            }
        }
    }

    /// Counts bytes against what may come.
    fn take(&mut self, size: u64) -> Result<()> {
        self.left = less(self.left, size)?;
        Ok(())
    }
}

fn less(left: u64, size: u64) -> Result<u64> {
    let odd = || Error::step("the server sends more than it said it had");
    left.checked_sub(size).ok_or_else(odd)
}

fn given(is_taken: bool) -> Result<(), Stopped> {
    match is_taken {
        true => Ok(()),
        false => Err(Stopped),
    }
}
