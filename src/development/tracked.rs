//! The tracked files of a project, as the index, a commit or the work tree has them.

use std::borrow::Cow;
use std::path::Path;

use git2::{IndexEntryExtendedFlag, Oid, TreeWalkMode, TreeWalkResult};

use super::git;
use super::repository::Repository;
use crate::error::{Context as _, Error, Result};
use crate::requirements::project::{parent, resolve};

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
    /// The path from the top, `/` between its parts; U+FFFD stands for what is not UTF-8.
    pub path: String,
    /// Its content in the index or the commit.
    pub blob: Oid,
    /// Whether it may be run.
    pub executable: bool,
    /// The blob counts where the work tree has no such file: a sparse checkout left it out, or its name is not UTF-8.
    pub sparse: bool,
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

/// What the index or a commit lists.
#[derive(Debug, Default)]
pub struct Listing {
    /// The plain files, in the order of their paths.
    pub files: Vec<Entry>,
    /// The symbolic links: the path of each, and the blob that says where it leads.
    pub links: Vec<(String, Oid)>,
    /// The paths of the submodules.
    pub submodules: Vec<String>,
}

impl Listing {
    fn add(&mut self, path: &[u8], mode: u32, blob: Oid, sparse: bool, looks: Option<Looks>) {
        let name = String::from_utf8_lossy(path);
        let sparse = sparse || matches!(name, Cow::Owned(_));
        let path = name.into_owned();
        match mode & 0o170_000 {
            0o100_000 => self.files.push(Entry {
                path,
                blob,
                executable: mode & 0o111 != 0,
                sparse,
                looks,
            }),
            0o120_000 => self.links.push((path, blob)),
            0o160_000 => self.submodules.push(path),
            _ => {}
        }
    }
}

/// What `source` lists.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) when the index or the commit cannot be read.
pub fn list(repository: &Repository, source: Source) -> Result<Listing> {
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

fn from_git(repository: &Repository) -> Result<Listing> {
    let listed = ask_git(repository, None, &["ls-files", "-t", "--stage", "-z"])?;
    let mut found = Listing::default();
    for line in listed.split('\0') {
        let Some((facts, path)) = line.split_once('\t') else {
            continue;
        };
        let facts: Vec<&str> = facts.split(' ').collect();
        if let [tag, mode, blob, "0" | "2"] = facts[..]
            && let (Ok(mode), Ok(blob)) = (u32::from_str_radix(mode, 8), Oid::from_str(blob))
        {
            found.add(path.as_bytes(), mode, blob, tag == "S", None);
        }
    }
    Ok(found)
}

fn from_index(repository: &Repository) -> Result<Listing> {
    let Ok(index) = repository.git().index() else {
        return from_git(repository);
    };
    let mut found = Listing::default();
    // A file that was changed when the index was written, or later, may have changed again: git's "racy" entries.
    let written = index
        .path()
        .and_then(|path| path.metadata().ok())
        .and_then(|data| Looks::of(&data));
    for entry in index.iter() {
        let stage = (entry.flags >> 12) & 3;
        // Stage 0, or our side of a conflict.
        if !matches!(stage, 0 | 2) {
            continue;
        }
        let looks = Looks {
            seconds: entry.mtime.seconds().into(),
            nanoseconds: entry.mtime.nanoseconds().into(),
            size: entry.file_size.into(),
        };
        let looks = written
            .filter(|written| looks.is_before(written))
            .map(|_| looks);
        let sparse = entry.flags_extended & IndexEntryExtendedFlag::SKIP_WORKTREE.bits() != 0;
        found.add(&entry.path, entry.mode, entry.id, sparse, looks);
    }
    Ok(found)
}

fn from_commit(repository: &Repository, commit: Oid) -> Result<Listing> {
    let tree = repository
        .git()
        .find_commit(commit)
        .and_then(|commit| commit.tree());
    let tree = tree.or_config(|| format!("cannot read commit {commit}"))?;
    let mut found = Listing::default();
    let walked = tree.walk(TreeWalkMode::PreOrder, |folder, entry| {
        let path = [folder.as_bytes(), entry.name_bytes()].concat();
        let mode = entry.filemode().cast_unsigned();
        found.add(&path, mode, entry.id(), false, None);
        TreeWalkResult::Ok
    });
    walked.or_config(|| format!("cannot read commit {commit}"))?;
    Ok(found)
}

/// More paths than this are not followed through links.
const MANY: usize = 100_000;

/// The paths at which files are found: their own, those through links to folders, and those of submodules. A submodule
/// that is not here counts as a package.
pub fn paths(repository: &Repository, listing: &Listing) -> Vec<String> {
    let mut found: Vec<String> = listing.files.iter().map(|e| e.path.clone()).collect();
    for path in &listing.submodules {
        let inner = git2::Repository::open(repository.root().join(path));
        match inner.and_then(|inner| inner.index()) {
            Ok(index) => found.extend(index.iter().map(|entry| {
                let below = String::from_utf8_lossy(&entry.path);
                format!("{path}/{below}")
            })),
            Err(_) => found.push(format!("{path}/__init__.py")),
        }
    }
    found.sort();
    let mut linked = Vec::new();
    for (link, blob) in &listing.links {
        let Ok(blob) = repository.git().find_blob(*blob) else {
            continue;
        };
        let target = String::from_utf8_lossy(blob.content());
        let target = resolve(parent(link), &target).filter(|target| !target.is_empty());
        // No path begins like that of a link out of the project.
        let folder = target.map_or("/".into(), |target| format!("{target}/"));
        let from = found.partition_point(|path| *path < folder);
        let below = found[from..]
            .iter()
            .map_while(|path| path.strip_prefix(&folder));
        linked.extend(below.take(MANY).map(|rest| format!("{link}/{rest}")));
        // A link with the name of a module is one, wherever it leads.
        linked.push(link.clone());
        if linked.len() > MANY {
            break;
        }
    }
    found.append(&mut linked);
    found
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
