//! The thread that writes: temporary names, hashes, and names given only to what is verified and on the disk.

use std::collections::BTreeSet;
use std::fs::{File, FileTimes};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::destination::Destination;
use super::folder::{Folder, Found, Way, part_name};
use super::path::ResultPath;
use super::plan::OURS;
use super::receive::{Event, Item, Progress, Report};
use super::refusal::{Reason, Refusal};
use crate::error::{Error, Result};

/// A batch is put on the disk when it has this many files …
const BATCH_FILES: usize = 2000;
/// … or bytes.
const BATCH_BYTES: u64 = 256 << 20;
/// Up to this many files are put on the disk one by one; more, by one call for the whole file system.
const FEW: usize = 4;
/// What came of a file of this size or more is kept when the connection is cut.
const RESUMABLE: u64 = 1 << 20;

static ZEROS: [u8; 8 << 10] = [0; 8 << 10];

/// Writes what arrives.
pub(super) struct Writer {
    destinations: Vec<Destination>,
    progress: Box<dyn FnMut(Progress) + Send>,
    state: Progress,
    report: Report,
    /// The file under way; none after `Begin` when it was given up.
    part: Option<Part>,
    /// How many files have begun, for names that differ.
    begun: u64,
    /// Complete, verified files that are still to be put on the disk.
    batch: Vec<Ready>,
    batch_bytes: u64,
    /// Those that are being put there, and then get their names.
    sealed: Option<(Vec<Ready>, JoinHandle<Result<()>>)>,
    /// Folders with new names, each with its run.
    folders: BTreeSet<(usize, Vec<u8>)>,
}

struct Part {
    ready: Ready,
    file: File,
    sum: Sha256,
    size: u64,
    /// The bytes that may still come and be no zeros.
    real_left: u64,
    /// Whether its last bytes are a hole, which nothing has written yet.
    ends_hollow: bool,
}

/// A file under its temporary name.
struct Ready {
    item: Box<Item>,
    name: Vec<u8>,
}

impl Writer {
    pub fn new(
        state: Progress,
        destinations: Vec<Destination>,
        progress: Box<dyn FnMut(Progress) + Send>,
    ) -> Self {
        Writer {
            destinations,
            progress,
            state,
            report: Report::default(),
            part: None,
            begun: 0,
            batch: Vec::new(),
            batch_bytes: 0,
            sealed: None,
            folders: BTreeSet::new(),
        }
    }

    /// Works until the sender is gone, whether all came or not; what is complete then gets its name.
    pub fn run(
        mut self,
        mut events: mpsc::Receiver<Vec<Event>>,
    ) -> Result<(Report, Vec<Destination>)> {
        let mut worked = Ok(());
        while let Some(events) = events.blocking_recv() {
            worked = events.into_iter().try_for_each(|event| self.take(event));
            if worked.is_err() {
                break;
            }
            (self.progress)(self.state);
        }
        drop(events);
        // Also after a failure: what is complete is kept.
        self.abandon(Leave::ToBeContinued);
        let published = self.publish();
        let synced = self.sync_folders();
        let mut indexes = self.destinations.iter_mut();
        let saved = indexes.try_for_each(|there| there.index.save());
        worked.and(published).and(synced).and(saved)?;
        Ok((self.report, self.destinations))
    }

    fn take(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Begin(item) => self.begin(item),
            Event::Whole(item, content) => {
                self.begin(item)?;
                self.write(&content)?;
                self.finish()
            }
            Event::Data(block) => self.write(&block),
            Event::Zero(count) => self.skip(count),
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

    fn begin(&mut self, item: Box<Item>) -> Result<()> {
        let name = self.temporary_name(&item)?;
        let there = &self.destinations[item.run];
        let begun = match item.offset {
            0 => there
                .top
                .create_anew(&name, item.file.executable)
                .map(|file| (file, Sha256::new())),
            offset => resume(&there.top, &name, offset),
        };
        let (file, sum) = begun.map_err(|error| cannot_write(&there.name, error))?;
        self.part = Some(Part {
            file,
            sum,
            size: item.offset,
            real_left: item.file.real,
            ends_hollow: false,
            ready: Ready { item, name },
        });
        Ok(())
    }

    /// One that tells what the file will be, where that is worth it.
    fn temporary_name(&mut self, item: &Item) -> Result<Vec<u8>> {
        self.begun += 1;
        // Where the bytes before `offset` are, they have the telling name, whatever the server calls holes now.
        if item.offset == 0 && item.file.real < RESUMABLE {
            return Ok([OURS, format!("{}.part", self.begun).as_bytes()].concat());
        }
        let name = part_name(&item.file.sha256);
        // The same content, whole, may wait under it.
        let sealed = self.sealed.iter().flat_map(|(batch, _)| batch);
        let mut waiting = self.batch.iter().chain(sealed);
        if waiting.any(|ready| ready.item.run == item.run && ready.name == name) {
            self.publish()?;
        }
        Ok(name)
    }

    fn write(&mut self, block: &[u8]) -> Result<()> {
        let Some(part) = &mut self.part else {
            return Ok(());
        };
        let count = block.len() as u64;
        let Some(left) = part.real_left.checked_sub(count) else {
            self.refuse_part(Reason::Changed);
            return Ok(());
        };
        part.real_left = left;
        part.ends_hollow = false;
        part.sum.update(block);
        part.size += count;
        self.state.bytes += count;
        let there = &self.destinations[part.ready.item.run];
        part.file
            .write_all(block)
            .map_err(|error| cannot_write(&there.name, error))
    }

    /// Leaves a hole.
    fn skip(&mut self, count: u64) -> Result<()> {
        let Some(part) = &mut self.part else {
            return Ok(());
        };
        let mut left = count;
        while left > 0 {
            let piece = left.min(ZEROS.len() as u64);
            part.sum.update(&ZEROS[..piece as usize]);
            left -= piece;
        }
        part.size += count;
        part.ends_hollow = true;
        let there = &self.destinations[part.ready.item.run];
        part.file
            .seek(SeekFrom::Start(part.size))
            .map(|_| ())
            .map_err(|error| cannot_write(&there.name, error))
    }

    fn finish(&mut self) -> Result<()> {
        let Some(part) = self.part.take() else {
            return Ok(());
        };
        let file = &part.ready.item.file;
        let (size, mtime) = (file.size, file.mtime);
        if part.size != size || <[u8; 32]>::from(part.sum.clone().finalize()) != file.sha256.0 {
            self.part = Some(part);
            self.refuse_part(Reason::Changed);
            return Ok(());
        }
        let name = &self.destinations[part.ready.item.run].name;
        if part.ends_hollow {
            part.file
                .set_len(size)
                .map_err(|error| cannot_write(name, error))?;
        }
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
            true => self.seal(),
            false => Ok(()),
        }
    }

    fn refuse_part(&mut self, reason: Reason) {
        if let Some(part) = &self.part {
            let refusal = part.ready.item.refusal(reason);
            self.report.refused.push(refusal);
        }
        self.abandon(Leave::Nothing);
    }

    fn abandon(&mut self, leave: Leave) {
        if let Some(part) = self.part.take() {
            let telling = part_name(&part.ready.item.file.sha256);
            if matches!(leave, Leave::ToBeContinued) && part.ready.name == telling {
                return;
            }
            // What cannot be removed now is removed when the folder is opened next.
            let _ = self.destinations[part.ready.item.run]
                .top
                .remove(&part.ready.name);
        }
    }

    /// Begins to put the batch on the disk; what was sealed before gets its names.
    fn seal(&mut self) -> Result<()> {
        self.place_sealed()?;
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if batch.is_empty() {
            return Ok(());
        }
        let mut tops = Vec::new();
        let runs: BTreeSet<usize> = batch.iter().map(|ready| ready.item.run).collect();
        for run in runs {
            let there = &self.destinations[run];
            let names = batch.iter().filter(|ready| ready.item.run == run);
            let names: Vec<Vec<u8>> = names.map(|ready| ready.name.clone()).collect();
            let top = there.top.again();
            let top = top.map_err(|error| cannot_write(&there.name, error))?;
            tops.push((top, names, there.name.clone()));
        }
        let work = move || {
            tops.iter().try_for_each(|(top, names, name)| {
                sync_files(top, names).map_err(|error| cannot_write(name, error))
            })
        };
        self.sealed = Some((batch, std::thread::spawn(work)));
        Ok(())
    }

    /// Puts everything that is complete on the disk, and gives each file its name.
    fn publish(&mut self) -> Result<()> {
        self.seal()?;
        self.place_sealed()
    }

    fn place_sealed(&mut self) -> Result<()> {
        let Some((batch, synced)) = self.sealed.take() else {
            return Ok(());
        };
        let failed = |_| Err(Error::step("putting the results on the disk failed"));
        synced.join().unwrap_or_else(failed)?;
        let mut near = Near::default();
        for ready in batch {
            let item = ready.item;
            let there = &mut self.destinations[item.run];
            if let Some(reason) = place(there, &mut near, &ready.name, &item)? {
                self.report.refused.push(item.refusal(reason));
                continue;
            }
            self.report.files += 1;
            self.report.bytes += item.file.size;
            let folder = item.target().split().0;
            self.folders.insert((item.run, folder.to_vec()));
            if let Some(beside) = item.beside {
                self.report.beside.push((item.run, beside));
            }
        }
        Ok(())
    }

    /// Puts the names on the disk.
    fn sync_folders(&mut self) -> Result<()> {
        let folders = std::mem::take(&mut self.folders);
        for (run, there) in self.destinations.iter().enumerate() {
            let made = folders.iter().filter(|(of, _)| *of == run);
            let made: Vec<&[u8]> = made.map(|(_, folder)| folder.as_slice()).collect();
            if !made.is_empty() {
                sync_folders(&there.top, &made)
                    .map_err(|error| cannot_write(&there.name, error))?;
            }
        }
        Ok(())
    }
}

/// Makes the empty folders; gives those that something is in the way of.
pub(super) fn make_folders(
    run: usize,
    there: &Destination,
    folders: &[ResultPath],
) -> Result<Vec<Refusal>> {
    let mut refused = Vec::new();
    for path in folders {
        let made = there.top.descend(path.as_bytes(), true);
        if let Way::Missing | Way::Blocked =
            made.map_err(|error| cannot_write(&there.name, error))?
        {
            refused.push(Refusal {
                run,
                path: path.as_bytes().to_vec(),
                reason: Reason::InTheWay,
            });
        }
    }
    Ok(refused)
}

/// What stays of a file that did not come whole.
enum Leave {
    Nothing,
    /// What came, where a later fetch can know it again.
    ToBeContinued,
}

/// What an interrupted fetch left of a file, and the state of its digest.
fn resume(top: &Folder, name: &[u8], size: u64) -> io::Result<(File, Sha256)> {
    let mut file = top.resume(name, size)?;
    let (mut sum, mut buffer, mut left) = (Sha256::new(), vec![0; 256 << 10], size);
    while left > 0 {
        let most = left.min(buffer.len() as u64) as usize;
        let count = file.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        sum.update(&buffer[..count]);
        left -= count as u64;
    }
    Ok((file, sum))
}

/// The folder that the last file went to, with its run: the next one is often for the same.
#[derive(Default)]
struct Near(Option<(usize, Vec<u8>, Folder)>);

/// Gives the temporary file `name` the place that is wanted, if that is still as it was when it was planned; else
/// removes it and says why.
fn place(
    there: &mut Destination,
    near: &mut Near,
    name: &[u8],
    item: &Item,
) -> Result<Option<Reason>> {
    let run = item.run;
    let (path, target) = item.target().split();
    let mut attempt = || -> io::Result<Option<Reason>> {
        let folder = match near.0.take() {
            Some((of, at, folder)) if of == run && at == path => folder,
            _ => match there.top.descend(path, true)? {
                Way::There(folder) => folder,
                Way::Missing | Way::Blocked => {
                    there.top.remove(name)?;
                    return Ok(Some(Reason::InTheWay));
                }
            },
        };
        let is_placed = match item.replaces {
            None => there.top.place(name, &folder, target)?,
            Some(stamp) if folder.find(target)? == Found::Plain(stamp) => {
                there.top.replace(name, &folder, target)?;
                true
            }
            Some(_) => false,
        };
        if !is_placed {
            there.top.remove(name)?;
            return Ok(Some(Reason::ChangedHere));
        }
        if let Found::Plain(stamp) = folder.find(target)? {
            there.index.set(item.target(), stamp, item.file.sha256);
        }
        near.0 = Some((run, path.to_vec(), folder));
        Ok(None)
    };
    attempt().map_err(|error| cannot_write(&there.name, error).cause(item.target()))
}

fn sync_files(top: &Folder, names: &[Vec<u8>]) -> io::Result<()> {
    if names.len() > FEW && top.sync_everything()? {
        return Ok(());
    }
    names.iter().try_for_each(|name| top.read(name)?.sync_all())
}

/// Each folder and those above it, which may be new.
fn sync_folders(top: &Folder, folders: &[&[u8]]) -> io::Result<()> {
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
