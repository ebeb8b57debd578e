//! The thread that writes: temporary names, hashes, and names given only to what is verified and on the disk.

use std::collections::BTreeSet;
use std::fs::{File, FileTimes};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::destination::Destination;
use super::folder::{Folder, Found, Way};
use super::plan::{OURS, Plan, Wanted};
use super::receive::{Event, Progress, Report};
use super::refusal::{Reason, Refusal};
use crate::error::{Error, Result};

/// A batch is given its names when it has this many files …
const BATCH_FILES: usize = 1000;
/// … or bytes.
const BATCH_BYTES: u64 = 256 << 20;
/// Up to this many files are put on the disk one by one; more, by one call for the whole file system.
const FEW: usize = 4;

/// Writes what arrives.
pub(super) struct Writer {
    plan: Arc<Plan>,
    destinations: Vec<Destination>,
    progress: Box<dyn FnMut(Progress) + Send>,
    state: Progress,
    report: Report,
    /// The file under way; none after `Begin` when it was given up.
    part: Option<Part>,
    /// Complete, verified files that wait for their names.
    batch: Vec<Ready>,
    batch_bytes: u64,
}

struct Part {
    ready: Ready,
    file: File,
    sum: Sha256,
    size: u64,
}

/// A file under its temporary name.
struct Ready {
    run: usize,
    position: usize,
    name: Vec<u8>,
}

impl Writer {
    pub fn new(
        plan: Arc<Plan>,
        destinations: Vec<Destination>,
        progress: Box<dyn FnMut(Progress) + Send>,
    ) -> Self {
        let state = Progress {
            files_total: plan.files,
            bytes_total: plan.bytes,
            ..Progress::default()
        };
        let report = Report {
            up_to_date: plan.up_to_date,
            refused: plan.refused.clone(),
            ..Report::default()
        };
        Writer {
            plan,
            destinations,
            progress,
            state,
            report,
            part: None,
            batch: Vec::new(),
            batch_bytes: 0,
        }
    }

    /// Works until the sender is gone, whether all came or not; what is complete then gets its name.
    pub fn run(mut self, mut events: mpsc::Receiver<Event>) -> Result<Report> {
        let mut worked = Ok(());
        while let Some(event) = events.blocking_recv() {
            worked = self.take(event);
            if worked.is_err() {
                break;
            }
            (self.progress)(self.state);
        }
        drop(events);
        // Also after a failure: what is complete is kept.
        self.abandon();
        let published = self.publish();
        let folders = self.make_folders();
        let saved = self
            .destinations
            .iter_mut()
            .try_for_each(|there| there.index.save());
        worked.and(published).and(folders).and(saved)?;
        Ok(self.report)
    }

    fn take(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Begin { run, position } => self.begin(run, position),
            Event::Data(block) => self.write(&block),
            Event::Done => self.finish(),
            Event::Gone => {
                self.refuse_part(Reason::Unreadable);
                Ok(())
            }
            Event::Failed { run, why } => {
                self.report.refused.push(Refusal {
                    run,
                    path: b".".to_vec(),
                    reason: Reason::Run(why),
                });
                Ok(())
            }
        }
    }

    fn begin(&mut self, run: usize, position: usize) -> Result<()> {
        let name = [OURS, format!("{}.part", self.batch.len()).as_bytes()].concat();
        let there = &self.destinations[run];
        let executable = self.plan.runs[run].wanted[position].file.executable;
        let made = there
            .top
            .remove(&name)
            .and_then(|()| there.top.create(&name, executable));
        let file = made.map_err(|error| cannot_write(&there.name, error))?;
        let ready = Ready {
            run,
            position,
            name,
        };
        self.part = Some(Part {
            ready,
            file,
            sum: Sha256::new(),
            size: 0,
        });
        Ok(())
    }

    fn write(&mut self, block: &[u8]) -> Result<()> {
        let Some(part) = &mut self.part else {
            return Ok(());
        };
        part.sum.update(block);
        part.size += block.len() as u64;
        self.state.bytes += block.len() as u64;
        let there = &self.destinations[part.ready.run];
        part.file
            .write_all(block)
            .map_err(|error| cannot_write(&there.name, error))
    }

    fn finish(&mut self) -> Result<()> {
        let Some(part) = self.part.take() else {
            return Ok(());
        };
        let wanted = self.wanted(&part.ready);
        let (size, mtime) = (wanted.file.size, wanted.file.mtime);
        if part.size != size
            || <[u8; 32]>::from(part.sum.clone().finalize()) != wanted.file.sha256.0
        {
            self.part = Some(part);
            self.refuse_part(Reason::Changed);
            return Ok(());
        }
        let name = &self.destinations[part.ready.run].name;
        // Not every file system takes every time; the content matters more.
        let _ = part
            .file
            .set_times(FileTimes::new().set_modified(time(mtime)));
        if size > BATCH_BYTES / 8 {
            part.file
                .sync_all()
                .map_err(|error| cannot_write(name, error))?;
        }
        self.state.files += 1;
        self.batch.push(part.ready);
        self.batch_bytes += size;
        match self.batch.len() >= BATCH_FILES || self.batch_bytes >= BATCH_BYTES {
            true => self.publish(),
            false => Ok(()),
        }
    }

    fn wanted(&self, ready: &Ready) -> &Wanted {
        &self.plan.runs[ready.run].wanted[ready.position]
    }

    fn refuse_part(&mut self, reason: Reason) {
        if let Some(part) = &self.part {
            let path = self.wanted(&part.ready).file.path.as_bytes().to_vec();
            self.report.refused.push(Refusal {
                run: part.ready.run,
                path,
                reason,
            });
        }
        self.abandon();
    }

    fn abandon(&mut self) {
        if let Some(part) = self.part.take() {
            // What cannot be removed now is removed when the folder is opened next.
            let _ = self.destinations[part.ready.run]
                .top
                .remove(&part.ready.name);
        }
    }

    /// Puts the batch on the disk, gives each file its name, and puts the names on the disk.
    fn publish(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let mut runs: BTreeSet<usize> = batch.iter().map(|ready| ready.run).collect();
        for &run in &runs {
            let names = batch
                .iter()
                .filter(|ready| ready.run == run)
                .map(|ready| ready.name.as_slice());
            let there = &self.destinations[run];
            sync_files(&there.top, names).map_err(|error| cannot_write(&there.name, error))?;
        }
        let mut folders = BTreeSet::new();
        for ready in batch {
            let (run, wanted) = (ready.run, self.wanted(&ready).clone());
            match place(&mut self.destinations[run], &ready.name, &wanted)? {
                Some(reason) => {
                    let path = wanted.file.path.as_bytes().to_vec();
                    self.report.refused.push(Refusal { run, path, reason });
                }
                None => {
                    self.report.files += 1;
                    self.report.bytes += wanted.file.size;
                    folders.insert((run, wanted.target.split().0.to_vec()));
                    if wanted.target != wanted.file.path {
                        self.report.beside.push((run, wanted.target));
                    }
                }
            }
        }
        while let Some(run) = runs.pop_first() {
            let there = &self.destinations[run];
            let made = folders
                .iter()
                .filter(|(of, _)| *of == run)
                .map(|(_, folder)| folder.as_slice());
            sync_folders(&there.top, made).map_err(|error| cannot_write(&there.name, error))?;
        }
        Ok(())
    }

    fn make_folders(&mut self) -> Result<()> {
        for (run, there) in self.destinations.iter().enumerate() {
            for path in self.plan.runs.get(run).map_or(&[][..], |run| &run.folders) {
                let made = there.top.descend(path.as_bytes(), true);
                if let Way::Missing | Way::Blocked =
                    made.map_err(|error| cannot_write(&there.name, error))?
                {
                    let path = path.as_bytes().to_vec();
                    self.report.refused.push(Refusal {
                        run,
                        path,
                        reason: Reason::InTheWay,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Gives the temporary file `name` the place that is wanted, if that is still as it was when it was planned; else
/// removes it and says why.
fn place(there: &mut Destination, name: &[u8], wanted: &Wanted) -> Result<Option<Reason>> {
    let (folder, target) = wanted.target.split();
    let mut attempt = || -> io::Result<Option<Reason>> {
        let Way::There(folder) = there.top.descend(folder, true)? else {
            there.top.remove(name)?;
            return Ok(Some(Reason::InTheWay));
        };
        let expected = wanted.replaces.map_or(Found::Nothing, Found::Plain);
        if folder.find(target)? != expected {
            there.top.remove(name)?;
            return Ok(Some(Reason::ChangedHere));
        }
        there
            .top
            .rename(name, &folder, target, wanted.replaces.is_some())?;
        if let Found::Plain(stamp) = folder.find(target)? {
            there.index.set(&wanted.target, stamp, wanted.file.sha256);
        }
        Ok(None)
    };
    attempt().map_err(|error| cannot_write(&there.name, error).cause(&wanted.target))
}

fn sync_files<'a>(top: &Folder, names: impl Iterator<Item = &'a [u8]> + Clone) -> io::Result<()> {
    if names.clone().count() > FEW && top.sync_everything()? {
        return Ok(());
    }
    names
        .into_iter()
        .try_for_each(|name| top.read(name)?.sync_all())
}

/// Each folder and those above it, which may be new.
fn sync_folders<'a>(top: &Folder, folders: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
    let mut all = BTreeSet::from([&b""[..]]);
    for folder in folders {
        let ends = (0..folder.len()).filter(|&i| folder[i] == b'/');
        all.extend(ends.map(|i| &folder[..i]));
        all.insert(folder);
    }
    if all.len() > FEW && top.sync_everything()? {
        return Ok(());
    }
    for folder in all {
        if let Way::There(folder) = top.descend(folder, false)? {
            folder.sync()?;
        }
    }
    Ok(())
}

/// A time of the server's clock; one that this system cannot hold becomes 1970.
fn time(nanoseconds: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanoseconds.unsigned_abs());
    let time = match nanoseconds < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(distance),
        false => SystemTime::UNIX_EPOCH.checked_add(distance),
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

fn cannot_write(name: &str, error: io::Error) -> Error {
    let full = matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    );
    let error = Error::step(format!("cannot write into {name}")).cause(error);
    match full {
        true => error.hint("make room and run it again: what is complete is kept"),
        false => error,
    }
}
