//! What was fetched into one run's folder, so that a second fetch asks for nothing and an edit is noticed.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::digest::Digest;
use super::folder::Stamp;
use super::path::ResultPath;
use super::wire::{decode, encode, number};
use crate::error::{Context as _, Result};

const HEAD: &str = "git-agile-index 2";
/// The last line: what a power cut left of an index has none.
const END: &str = "end";

/// The index of one run: a file that can be lost without harm, as contents are then compared instead. It is [`HEAD`],
/// a line `SIZE MTIME CTIME INODE SHA256 PATH` for each file, the path written as in the wire format, and [`END`].
pub(super) struct Index {
    file: PathBuf,
    files: BTreeMap<ResultPath, Written>,
    changed: bool,
}

/// What we wrote, and how it looked then.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub stamp: Stamp,
    pub sha256: Digest,
}

impl Index {
    /// Reads `file`; an index that is missing, damaged or of another version is an empty one.
    pub fn load(file: &Path) -> Self {
        Index {
            file: file.to_path_buf(),
            files: read(file).ok().flatten().unwrap_or_default(),
            changed: false,
        }
    }

    pub fn get(&self, path: &ResultPath) -> Option<Written> {
        self.files.get(path).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ResultPath, &Written)> {
        self.files.iter()
    }

    pub fn set(&mut self, path: &ResultPath, stamp: Stamp, sha256: Digest) {
        let written = Written { stamp, sha256 };
        let before = self.files.insert(path.clone(), written);
        self.changed |= before != Some(written);
    }

    /// Replaces the file at once if anything changed; that it is on the disk is not waited for.
    pub fn save(&mut self) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        let files = &self.files;
        let write = publish(&self.file, |out| {
            writeln!(out, "{HEAD}")?;
            for (path, Written { stamp, sha256 }) in files {
                let (size, mtime, ctime) = (stamp.size, stamp.mtime, stamp.ctime);
                let (inode, path) = (stamp.inode, encode(path.as_bytes()));
                writeln!(out, "{size} {mtime} {ctime} {inode} {sha256} {path}")?;
            }
            writeln!(out, "{END}")
        });
        write.or_step(|| format!("cannot write {}", self.file.display()))?;
        self.changed = false;
        Ok(())
    }

    /// The state that the server gave to all that was fetched, where all came and no edit is in its way.
    pub fn state(file: &Path) -> Option<Digest> {
        let read = std::fs::read(state_file(file)).ok()?;
        Digest::parse(read.trim_ascii_end())
    }

    /// Keeps that state, or forgets the one before.
    pub fn set_state(&self, state: Option<Digest>) -> io::Result<()> {
        let file = state_file(&self.file);
        match state {
            Some(state) => publish(&file, |out| writeln!(out, "{state}")),
            None => match std::fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }
}

fn state_file(index: &Path) -> PathBuf {
    index.with_extension("state")
}

fn publish(
    file: &Path,
    write: impl FnOnce(&mut BufWriter<&std::fs::File>) -> io::Result<()>,
) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let part = tempfile::NamedTempFile::new_in(folder)?;
    let mut out = BufWriter::new(part.as_file());
    write(&mut out)?;
    out.flush()?;
    drop(out);
    part.persist(file)?;
    Ok(())
}

/// Nothing for a file that is not a whole index.
fn read(file: &Path) -> io::Result<Option<BTreeMap<ResultPath, Written>>> {
    let mut file = BufReader::with_capacity(64 << 10, std::fs::File::open(file)?);
    let (mut files, mut line, mut is_first) = (BTreeMap::new(), Vec::new(), true);
    while file.read_until(b'\n', &mut line)? > 0 {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        if text == END.as_bytes() && !is_first {
            return Ok(Some(files));
        }
        match (is_first, parse(text)) {
            (true, _) if text == HEAD.as_bytes() => {}
            (false, Some((path, written))) => drop(files.insert(path, written)),
            _ => return Ok(None),
        }
        is_first = false;
        line.clear();
    }
    Ok(None)
}

fn parse(line: &[u8]) -> Option<(ResultPath, Written)> {
    let mut words = line.split(|&b| b == b' ');
    let stamp = Stamp {
        size: number(words.next()?)?,
        mtime: number(words.next()?)?,
        ctime: number(words.next()?)?,
        inode: number(words.next()?)?,
    };
    let sha256 = Digest::parse(words.next()?)?;
    let path = ResultPath::new(decode(words.next()?)?).ok()?;
    match words.next() {
        None => Some((path, Written { stamp, sha256 })),
        Some(_) => None,
    }
}
