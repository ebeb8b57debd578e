//! The server's list of results, checked.

use std::collections::BTreeSet;

use tokio::io::AsyncRead;

use super::digest::Digest;
use super::path::ResultPath;
use super::refusal::{Reason, Refusal};
use super::wire::{self, Answer, damaged};
use crate::error::{Error, Result};
use crate::model::nonce::Nonce;

/// The largest manifest in bytes.
const LARGEST: usize = 64 << 20;

/// How much one fetch from one server may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest file in bytes.
    pub file: u64,
    /// All files together in bytes.
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
    /// Last change in nanoseconds since 1970, by the server's clock.
    pub mtime: i64,
    /// Whether its owner may execute it.
    pub executable: bool,
    /// The digest of its content.
    pub sha256: Digest,
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
    let mut answer = Answer::open(stream, "manifest", nonce).await?;
    let mut reading = Reading::new(runs, *limits);
    while let Some(line) = answer.next().await? {
        reading.line(line)?;
    }
    reading.end()
}

/// A manifest line by line.
struct Reading {
    runs: usize,
    limits: Limits,
    bytes: usize,
    entries: u64,
    manifest: Manifest,
    /// The files, and the folders they need, of the run at hand.
    files: BTreeSet<ResultPath>,
    above: BTreeSet<Vec<u8>>,
}

impl Reading {
    fn new(runs: usize, limits: Limits) -> Self {
        Reading {
            runs,
            limits,
            bytes: 0,
            entries: 0,
            manifest: Manifest::default(),
            files: BTreeSet::new(),
            above: BTreeSet::new(),
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<()> {
        self.bytes += line.len();
        if self.bytes > LARGEST {
            return Err(damaged("the list is longer than 64 MiB"));
        }
        if line.starts_with(b"run ") {
            if self.manifest.runs.len() == self.runs {
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
            self.files.clear();
            self.above.clear();
            self.manifest.runs.push(Listing {
                id,
                files: Vec::new(),
                folders: Vec::new(),
            });
            return Some(());
        }
        // Whatever else comes belongs to a run.
        self.manifest.runs.last()?;
        match words {
            [b"folder", path] => self.folder(wire::decode(path)?),
            [b"refused", reason, path] => {
                self.refuse(wire::decode(path)?, Reason::from_word(reason)?)
            }
            [b"failed", b"many"] => {
                let why = too_many(&self.limits).message;
                self.refuse(b".".to_vec(), Reason::Run(why));
            }
            [b"failed", why] => {
                let why = String::from_utf8_lossy(&wire::decode(why)?).into_owned();
                self.refuse(b".".to_vec(), Reason::Run(why));
            }
            [b"file", index, size, mtime, mode, sha256, path] => {
                let (path, size) = (wire::decode(path)?, wire::number(size)?);
                let executable = match *mode {
                    b"x" => true,
                    b"-" => false,
                    _ => return None,
                };
                let (index, mtime) = (wire::number(index)?, wire::number(mtime)?);
                let sha256 = Digest::parse(sha256)?;
                if let Some(path) = self.admit(path, size) {
                    self.files.insert(path.clone());
                    let file = File {
                        index,
                        path,
                        size,
                        mtime,
                        executable,
                        sha256,
                    };
                    self.manifest.runs.last_mut()?.files.push(file);
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// The path of a file that may come, with the folders above it noted; a refusal otherwise.
    fn admit(&mut self, bytes: Vec<u8>, size: u64) -> Option<ResultPath> {
        let path = self.check(bytes)?;
        if size > self.limits.file {
            self.refuse(path.as_bytes().to_vec(), Reason::Large);
            return None;
        }
        self.above.extend(path.folders().map(<[u8]>::to_vec));
        Some(path)
    }

    fn folder(&mut self, bytes: Vec<u8>) {
        if let Some(path) = self.check(bytes) {
            self.above.extend(path.folders().map(<[u8]>::to_vec));
            self.above.insert(path.as_bytes().to_vec());
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
        let beneath_a_file =
            |folder: &[u8]| ResultPath::new(folder).is_ok_and(|f| self.files.contains(&f));
        if self.above.contains(path.as_bytes())
            || self.files.contains(&path)
            || path.folders().any(beneath_a_file)
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
        match self.manifest.runs.len() == self.runs {
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
    .hint("name fewer in `results` of agile.toml, or fetch fewer runs at a time")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn read(lines: &[&str]) -> Result<Manifest> {
        let mut reading = Reading::new(
            1,
            Limits {
                files: 5,
                ..Limits::default()
            },
        );
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
        let manifest = read(&["file 3 10 -5 x SUM a%0A/b", "folder c"]).unwrap_or_default();
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
        let a = "file 0 1 0 - SUM a";
        assert_eq!(reasons(&[a, a]), [Reason::Twice]);
        assert_eq!(reasons(&[a, "file 1 1 0 - SUM a/b"]), [Reason::Twice]);
        assert_eq!(reasons(&["file 1 1 0 - SUM a/b", a]), [Reason::Twice]);
        assert_eq!(reasons(&["folder a", a]), [Reason::Twice]);
        assert_eq!(reasons(&["file 0 2000000001 0 - SUM a"]), [Reason::Large]);
        assert_eq!(
            reasons(&["file 0 1 0 - SUM ../a", "folder .git"]),
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
            "file 0 1 0 - SUM",
            "file 0 1 0 y SUM a",
            "file -1 1 0 - SUM a",
            "file 0 99999999999999999999 0 - SUM a",
            "file 0 1 99999999999999999999 - SUM a",
            "file 0 1 0 - abc a",
            "refused why a",
            "folder a b",
            "end",
            "file 0 1 0 - SUM a%",
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
            Reading::new(1, Limits::default())
                .line(b"folder a")
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn any_line_is_survived(line in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut reading = Reading::new(1, Limits::default());
            let _ = reading.line(format!("run {SUM}").as_bytes());
            let _ = reading.line(&line);
        }
    }
}
