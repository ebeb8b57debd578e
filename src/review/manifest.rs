//! The server's list of results, checked.

use std::collections::BTreeSet;
use std::ops::Bound;

use tokio::io::AsyncRead;

use super::contents::Contents;
use super::digest::Digest;
use super::path::ResultPath;
use super::refusal::{Reason, Refusal};
use super::wire::{self, Answer, damaged};
use crate::error::{Error, Result};
use crate::model::nonce::Nonce;

/// The largest manifest in bytes.
const LARGEST: usize = 64 << 20;

/// How many times larger than [`Limits::file`] holes may make a file seem.
const HOLLOW: u64 = 64;

/// How many bytes all holes of one fetch may be: writing them is nothing, and hashing them takes time.
pub(super) const MOST_HOLLOW: u64 = 1 << 40;

/// How much one fetch from one server may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest file in bytes that are no holes.
    pub file: u64,
    /// All files together in bytes that are no holes.
    pub total: u64,
    /// How many files, folders and refusals a manifest may list.
    pub files: u64,
}

impl Default for Limits {
    /// 2 GB a file, 20 GB and 200,000 files a fetch.
    fn default() -> Self {
        Limits {
            file: 2_000_000_000,
            total: 20_000_000_000,
            files: 200_000,
        }
    }
}

/// What the runs asked for left behind, in the order asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// One for each run.
    pub runs: Vec<Listing>,
    /// What the servers or the check of names refused.
    pub refused: Vec<Refusal>,
}

/// The results of one run. No path is there twice, and none is a folder and a file at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// What the server calls this list; `send` repeats it.
    pub id: Digest,
    /// What the server calls all this as it is now: given back, it says whether anything has changed.
    pub state: Option<Digest>,
    /// Whether all is as in the state that was given; then nothing is listed.
    pub is_same: bool,
    /// How many contents follow, of files and of what was refused, where they were asked for.
    pub(super) contents: Option<u64>,
    /// The plain files.
    pub files: Vec<File>,
    /// The folders with nothing in them.
    pub folders: Vec<ResultPath>,
}

/// One plain file on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its number in the server's list.
    pub index: u64,
    /// Where it belongs.
    pub path: ResultPath,
    /// Bytes.
    pub size: u64,
    /// Bytes that are no holes: what is sent and written.
    pub real: u64,
    /// Last change in nanoseconds since 1970, by the server's clock.
    pub mtime: i64,
    /// Whether its owner may execute it.
    pub executable: bool,
    /// The digest of its content; [`Digest::UNKNOWN`] where that is still to come with the content.
    pub sha256: Digest,
}

/// What is asked of a server about one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// What there is.
    List,
    /// The same, unless it is as in this state.
    Unless(Digest),
    /// What there is, and all of it.
    Contents,
}

/// The answer to [`fetch_arguments`](super::fetch_arguments), read up to where contents begin.
pub struct Offer<R> {
    answer: Answer<R>,
    manifest: Manifest,
    has_contents: bool,
}

impl<R: AsyncRead + Unpin> Offer<R> {
    /// Reads what the server has of the runs, of which that was asked.
    ///
    /// # Errors
    /// As [`read_manifest`].
    pub async fn read(stream: R, nonce: &Nonce, asks: &[Ask], limits: &Limits) -> Result<Self> {
        let mut answer = Answer::open(stream, "manifest", nonce).await?;
        let mut reading = Reading::new(asks, *limits);
        let has_contents = loop {
            match answer.next().await? {
                None => break false,
                Some(b"contents") => break true,
                Some(line) => reading.line(line)?,
            }
        };
        let manifest = reading.end()?;
        let awaited = manifest.runs.iter().any(|run| run.contents.is_some());
        match has_contents == awaited {
            true => Ok(Offer {
                answer,
                manifest,
                has_contents,
            }),
            false => Err(damaged("it sends other contents than those asked for")),
        }
    }

    /// What there is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What there is, and the contents where they come with it.
    pub fn split(self) -> (Manifest, Option<Contents<R>>) {
        let contents = self.has_contents.then_some(Contents(self.answer));
        (self.manifest, contents)
    }
}

/// Reads the answer to [`manifest_arguments`](super::manifest_arguments) for `runs` runs.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) for an answer that is cut, breaks the format or lists more than
/// `limits.files`.
pub async fn read_manifest(
    stream: impl AsyncRead + Unpin,
    nonce: &Nonce,
    runs: usize,
    limits: &Limits,
) -> Result<Manifest> {
    let asks = vec![Ask::List; runs];
    Ok(Offer::read(stream, nonce, &asks, limits).await?.manifest)
}

/// What a server says of a file but for its name.
pub(super) struct Facts {
    pub size: u64,
    real: u64,
    mtime: i64,
    executable: bool,
    sha256: Digest,
}

impl Facts {
    /// Reads `SIZE REAL MTIME x|- SHA256`.
    pub fn parse(words: &[&[u8]]) -> Option<Self> {
        let [size, real, mtime, mode, sha256] = words else {
            return None;
        };
        let size = wire::number(size)?;
        let executable = match *mode {
            b"x" => true,
            b"-" => false,
            _ => return None,
        };
        Some(Facts {
            size,
            real: wire::number(real).filter(|real| *real <= size)?,
            mtime: wire::number(mtime)?,
            executable,
            sha256: Digest::parse(sha256)?,
        })
    }

    /// Whether it is more than one file may be.
    pub fn is_large(&self, limits: &Limits) -> bool {
        self.real > limits.file || self.size > limits.file.saturating_mul(HOLLOW)
    }

    /// The file with that name.
    pub fn of(self, index: u64, path: ResultPath) -> File {
        File {
            index,
            path,
            size: self.size,
            real: self.real,
            mtime: self.mtime,
            executable: self.executable,
            sha256: self.sha256,
        }
    }
}

/// A manifest line by line.
struct Reading<'a> {
    asks: &'a [Ask],
    limits: Limits,
    bytes: usize,
    entries: u64,
    manifest: Manifest,
    /// The files and empty folders of the run at hand.
    listed: BTreeSet<ResultPath>,
}

impl<'a> Reading<'a> {
    fn new(asks: &'a [Ask], limits: Limits) -> Self {
        Reading {
            asks,
            limits,
            bytes: 0,
            entries: 0,
            manifest: Manifest::default(),
            listed: BTreeSet::new(),
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<()> {
        self.bytes += line.len();
        if self.bytes > LARGEST {
            return Err(damaged("the list is longer than 64 MiB"));
        }
        if line.starts_with(b"run ") {
            if self.manifest.runs.len() == self.asks.len() {
                return Err(other_runs());
            }
        } else {
            self.entries += 1;
        }
        if self.entries > self.limits.files {
            return Err(too_many(&self.limits));
        }
        let words: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
        self.entry(&words)
            .ok_or_else(|| damaged("a line of the list makes no sense"))
    }

    fn entry(&mut self, words: &[&[u8]]) -> Option<()> {
        if let [b"run", id] = words {
            let id = Digest::parse(id)?;
            self.listed.clear();
            let ask = self.asks[self.manifest.runs.len()];
            self.manifest.runs.push(Listing {
                id,
                state: None,
                is_same: false,
                contents: (ask == Ask::Contents).then_some(0),
                files: Vec::new(),
                folders: Vec::new(),
            });
            return Some(());
        }
        // Whatever else comes belongs to a run.
        let at = self.manifest.runs.len().checked_sub(1)?;
        let run = &mut self.manifest.runs[at];
        match words {
            [b"same"] => {
                let is_asked = matches!(self.asks[at], Ask::Unless(_));
                run.is_same = is_asked && run.files.is_empty() && run.folders.is_empty();
                run.is_same.then_some(())?;
            }
            _ if run.is_same => return None,
            [b"state", number, state] => {
                run.state = Some(Digest::parse(state)?);
                (wire::number(number) == Some(at)).then_some(())?;
            }
            [b"name", size, real, path] => {
                let size = wire::number(size)?;
                let facts = Facts {
                    size,
                    real: wire::number(real).filter(|real| *real <= size)?,
                    mtime: 0,
                    executable: false,
                    sha256: Digest::UNKNOWN,
                };
                let index = run.contents?;
                run.contents = Some(index + 1);
                self.file(index, wire::decode(path)?, facts);
            }
            [b"folder", path] => self.folder(wire::decode(path)?),
            [b"refused", reason, path] => {
                self.refuse(wire::decode(path)?, Reason::from_word(reason)?)
            }
            [b"failed", why] => {
                run.contents = None;
                let why = String::from_utf8_lossy(&wire::decode(why)?).into_owned();
                let reason = match why.as_str() {
                    "many" => Reason::Many,
                    "gone" => Reason::Gone,
                    _ => Reason::Run(why),
                };
                self.refuse(b".".to_vec(), reason);
            }
            [b"file", index, facts @ .., path] if run.contents.is_none() => {
                let facts = Facts::parse(facts)?;
                self.file(wire::number(index)?, wire::decode(path)?, facts);
            }
            _ => return None,
        }
        Some(())
    }

    fn file(&mut self, index: u64, path: Vec<u8>, facts: Facts) {
        let Some(path) = self.check(path) else {
            return;
        };
        if facts.is_large(&self.limits) {
            return self.refuse(path.as_bytes().to_vec(), Reason::Large);
        }
        self.listed.insert(path.clone());
        if let Some(run) = self.manifest.runs.last_mut() {
            run.files.push(facts.of(index, path));
        }
    }

    fn folder(&mut self, bytes: Vec<u8>) {
        if let Some(path) = self.check(bytes) {
            self.listed.insert(path.clone());
            if let Some(run) = self.manifest.runs.last_mut() {
                run.folders.push(path);
            }
        }
    }

    fn check(&mut self, bytes: Vec<u8>) -> Option<ResultPath> {
        let path = match ResultPath::new(bytes.as_slice()) {
            Ok(path) => path,
            Err(bad) => {
                self.refuse(bytes, bad.into());
                return None;
            }
        };
        let mut beneath = path.as_bytes().to_vec();
        beneath.push(b'/');
        let after = (Bound::Excluded(beneath.as_slice()), Bound::Unbounded);
        let next = self.listed.range::<[u8], _>(after).next();
        if self.listed.contains(path.as_bytes())
            || next.is_some_and(|next| next.as_bytes().starts_with(&beneath))
            || path.folders().any(|folder| self.listed.contains(folder))
        {
            self.refuse(bytes, Reason::Twice);
            return None;
        }
        Some(path)
    }

    fn refuse(&mut self, path: Vec<u8>, reason: Reason) {
        let run = self.manifest.runs.len().saturating_sub(1);
        self.manifest.refused.push(Refusal { run, path, reason });
    }

    fn end(self) -> Result<Manifest> {
        match self.manifest.runs.len() == self.asks.len() {
            true => Ok(self.manifest),
            false => Err(other_runs()),
        }
    }
}

fn other_runs() -> Error {
    damaged("it lists other runs than those asked for")
}

fn too_many(limits: &Limits) -> Error {
    Error::step(format!(
        "more than {} results, the most for one fetch",
        limits.files
    ))
    .hint("git agile fetch-results --max-files N takes more; --exclude PATTERN leaves some out")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn read(lines: &[&str]) -> Result<Manifest> {
        let limits = Limits {
            files: 5,
            ..Limits::default()
        };
        let mut reading = Reading::new(&[Ask::List], limits);
        reading.line(format!("run {SUM}").as_bytes())?;
        for line in lines {
            reading.line(line.replace("SUM", SUM).as_bytes())?;
        }
        reading.end()
    }

    fn reasons(lines: &[&str]) -> Vec<Reason> {
        let read = read(lines).map(|m| m.refused).unwrap_or_default();
        read.into_iter().map(|r| r.reason).collect()
    }

    #[test]
    fn a_file_is_read() {
        let manifest = read(&["file 3 10 10 -5 x SUM a%0A/b", "folder c"]).unwrap_or_default();
        assert_eq!(manifest.refused, []);
        let file = &manifest.runs[0].files[0];
        assert_eq!(
            (file.index, file.size, file.mtime, file.executable),
            (3, 10, -5, true)
        );
        assert_eq!(file.path.as_bytes(), b"a\n/b");
        assert_eq!(manifest.runs[0].folders[0].as_bytes(), b"c");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let a = "file 0 1 1 0 - SUM a";
        assert_eq!(reasons(&[a, a]), [Reason::Twice]);
        assert_eq!(reasons(&[a, "file 1 1 1 0 - SUM a/b"]), [Reason::Twice]);
        assert_eq!(reasons(&["file 1 1 1 0 - SUM a/b", a]), [Reason::Twice]);
        assert_eq!(reasons(&["folder a", a]), [Reason::Twice]);
        assert_eq!(
            reasons(&["file 0 2000000001 2000000001 0 - SUM a"]),
            [Reason::Large]
        );
        assert_eq!(
            reasons(&["file 0 1 1 0 - SUM ../a", "folder .git"]),
            [Reason::Outside, Reason::Git]
        );
        assert_eq!(
            reasons(&["failed no%20such"]),
            [Reason::Run("no such".into())]
        );
    }

    #[test]
    fn nonsense_ends_it() {
        for line in [
            "",
            "file",
            "file 0 1 1 0 - SUM",
            "file 0 1 1 0 y SUM a",
            "file -1 1 1 0 - SUM a",
            "file 0 99999999999999999999 99999999999999999999 0 - SUM a",
            "file 0 1 1 99999999999999999999 - SUM a",
            "file 0 1 1 0 - abc a",
            "file 0 1 2 0 - SUM a",
            "refused why a",
            "folder a b",
            "end",
            "file 0 1 1 0 - SUM a%",
        ] {
            assert!(read(&[line]).is_err(), "{line}");
        }
        assert!(
            read(&[
                "folder a", "folder b", "folder c", "folder d", "folder e", "folder f"
            ])
            .is_err()
        );
        assert!(
            Reading::new(&[Ask::List], Limits::default())
                .line(b"folder a")
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn any_line_is_survived(line in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut reading = Reading::new(&[Ask::List], Limits::default());
            let _ = reading.line(format!("run {SUM}").as_bytes());
            let _ = reading.line(&line);
        }
    }
}
