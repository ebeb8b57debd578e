//! The tracked files of a project, as the index, a commit or the work tree has them.

use std::path::Path;

use git2::{ObjectType, Oid, TreeWalkMode, TreeWalkResult};

use super::git;
use super::repository::Repository;
use crate::error::{Context as _, Error, Result};

/// Where the files' contents come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The index that git named.
    Index,
    /// The files in the work tree that the index lists.
    WorkTree,
    /// A commit.
    Commit(Oid),
}

/// A tracked plain file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path from the top, `/` between its parts. One that is not UTF-8 is left out.
    pub path: String,
    /// Its content in the index or the commit.
    pub blob: Oid,
    /// Whether it may be run.
    pub executable: bool,
    /// The file in the work tree holds the blob if it looks so (changed at this second and nanosecond, of this size).
    pub looks: Option<Looks>,
}

/// What git remembers of a file in the work tree, to see without reading it that it has not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    seconds: i64,
    nanoseconds: i64,
    size: u64,
}

impl Looks {
    fn is_before(&self, other: &Looks) -> bool {
        (self.seconds, self.nanoseconds) < (other.seconds, other.nanoseconds)
    }

    #[cfg(unix)]
    fn of(data: &std::fs::Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let (seconds, nanoseconds, size) = (data.mtime(), data.mtime_nsec(), data.size());
        Some(Looks {
            seconds,
            nanoseconds,
            size,
        })
    }

    #[cfg(not(unix))]
    fn of(_: &std::fs::Metadata) -> Option<Self> {
        None
    }
}

/// Whether the file of `entry` below `root` holds the entry's blob, as far as can be said without reading it.
pub fn is_unchanged(root: &Path, entry: &Entry) -> bool {
    let data = root.join(&entry.path).symlink_metadata();
    let now = data
        .ok()
        .filter(std::fs::Metadata::is_file)
        .and_then(|data| Looks::of(&data));
    now.is_some() && now == entry.looks
}

/// The plain files that `source` lists, in the order of their paths: no links, no submodules.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) when the index or the commit cannot be read.
pub fn entries(repository: &Repository, source: Source) -> Result<Vec<Entry>> {
    match source {
        Source::Commit(commit) => from_commit(repository, commit),
        Source::Index | Source::WorkTree => from_index(repository),
    }
}

/// What git says about its index: for one that is split or sparse, which libgit2 does not read.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when git fails.
pub fn ask_git(
    repository: &Repository,
    index: Option<&Path>,
    arguments: &[&str],
) -> Result<String> {
    let mut command = git::command();
    command.current_dir(repository.root());
    if let Some(index) = index {
        command.env("GIT_INDEX_FILE", index);
    }
    git::read(command, arguments)
}

fn from_git(repository: &Repository) -> Result<Vec<Entry>> {
    let listed = ask_git(repository, None, &["ls-files", "--stage", "-z"])?;
    let entry = |line: &str| {
        let (facts, path) = line.split_once('\t')?;
        let mut facts = facts.split(' ');
        let (mode, blob, stage) = (facts.next()?, facts.next()?, facts.next()?);
        let plain = mode.starts_with("100") && matches!(stage, "0" | "2");
        Some(Entry {
            path: path.into(),
            blob: Oid::from_str(blob).ok().filter(|_| plain)?,
            executable: mode == "100755",
            looks: None,
        })
    };
    Ok(listed.split('\0').filter_map(entry).collect())
}

fn from_index(repository: &Repository) -> Result<Vec<Entry>> {
    let Ok(index) = repository.git().index() else {
        return from_git(repository);
    };
    let mut found: Vec<Entry> = Vec::with_capacity(index.len());
    // A file that was changed when the index was written, or later, may have changed again: git's "racy" entries.
    let written = index
        .path()
        .and_then(|path| path.metadata().ok())
        .and_then(|data| Looks::of(&data));
    for entry in index.iter() {
        let stage = (entry.flags >> 12) & 3;
        // Stage 0, or our side of a conflict.
        if !matches!(stage, 0 | 2) || entry.mode & 0o170_000 != 0o100_000 {
            continue;
        }
        if let Ok(path) = String::from_utf8(entry.path) {
            let executable = entry.mode & 0o111 != 0;
            let looks = Looks {
                seconds: entry.mtime.seconds().into(),
                nanoseconds: entry.mtime.nanoseconds().into(),
                size: entry.file_size.into(),
            };
            let looks = written
                .filter(|written| looks.is_before(written))
                .map(|_| looks);
            found.push(Entry {
                path,
                blob: entry.id,
                executable,
                looks,
            });
        }
    }
    Ok(found)
}

fn from_commit(repository: &Repository, commit: Oid) -> Result<Vec<Entry>> {
    let tree = repository
        .git()
        .find_commit(commit)
        .and_then(|commit| commit.tree());
    let tree = tree.or_config(|| format!("cannot read commit {commit}"))?;
    let mut found = Vec::new();
    let walked = tree.walk(TreeWalkMode::PreOrder, |folder, entry| {
        let plain = entry.kind() == Some(ObjectType::Blob) && entry.filemode() != 0o120_000;
        if let (true, Ok(name)) = (plain, std::str::from_utf8(entry.name_bytes())) {
            found.push(Entry {
                path: format!("{folder}{name}"),
                blob: entry.id(),
                executable: entry.filemode() & 0o111 != 0,
                looks: None,
            });
        }
        TreeWalkResult::Ok
    });
    walked.or_config(|| format!("cannot read commit {commit}"))?;
    Ok(found)
}

/// The bytes of a blob.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) when the object is missing.
pub fn blob(git: &git2::Repository, entry: &Entry) -> Result<Vec<u8>> {
    let blob = git.find_blob(entry.blob);
    blob.map(|blob| blob.content().to_vec())
        .or_config(|| format!("cannot read {} ({})", entry.path, entry.blob))
}

/// The bytes of a plain file below `root`; nothing when there is none, when it is a link, or when it is not a file
/// (reading a pipe would wait for ever).
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when it is there and cannot be read.
pub fn work_file(root: &Path, path: &str) -> Result<Option<Vec<u8>>> {
    let full = root.join(path);
    match full.symlink_metadata() {
        Ok(data) if data.is_file() => {
            let bytes = std::fs::read(&full).or_step(|| format!("cannot read {path}"))?;
            Ok(Some(bytes))
        }
        _ => Ok(None),
    }
}

/// `bytes` as the text of the declaration file `path`.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) when it is not UTF-8.
pub fn text(path: &str, bytes: Vec<u8>) -> Result<String> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(
            Error::config(format!("{path}:1: the file is UTF-16")).hint(format!(
                "save {path} as UTF-8 (PowerShell's `>` writes UTF-16)"
            )),
        );
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        Error::config(format!("{path}:{line}: the file is not UTF-8"))
            .hint(format!("save {path} as UTF-8"))
    })
}
