//! The runs' records: `refs/agile/runs/<run-id>`.
//!
//! Each ref points to a commit whose tree holds `run.json` (what was asked) and `state.json` (what is known), and
//! after the end `packages.txt`, after a fetch `manifest.json` and `log`. Each change is one more commit; the first one's parent is the code.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use git2::{ErrorCode, Oid, Signature};

use super::repository::Repository;
use crate::error::{Context as _, Error, Result};
use crate::model::names::RunId;
use crate::model::run::{Known, Run};

pub(super) const PREFIX: &str = "refs/agile/runs/";
/// How old a ref's lock must be to be nobody's.
const STALE: Duration = Duration::from_secs(2);

/// A run's record.
#[derive(Clone, Debug)]
pub struct Record {
    /// What was asked.
    pub run: Run,
    /// What is known.
    pub known: Known,
    tip: Oid,
}

/// A file of a record beside `run.json` and `state.json`.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Its name in the record's tree.
    name: &'static str,
    blob: Oid,
}

impl Attachment {
    /// The attachment `name` with what `write` writes, which is not held in memory.
    ///
    /// # Errors
    /// [`Kind::Step`](crate::error::Kind::Step) when it cannot be written.
    pub fn new(
        repository: &Repository,
        name: &'static str,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Self> {
        let cannot = || format!("cannot write {name} of a record");
        let mut out = BufWriter::new(repository.git().blob_writer(None).or_step(cannot)?);
        write(&mut out).or_step(cannot)?;
        let out = out.into_inner().map_err(io::IntoInnerError::into_error);
        let blob = out.or_step(cannot)?.commit().or_step(cannot)?;
        Ok(Attachment { name, blob })
    }
}

/// All records, by the time they were asked for, the newest last; those of one push by experiment, server and design. One that cannot be read is passed to `complain`.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) when the refs cannot be listed.
pub fn all(repository: &Repository, mut complain: impl FnMut(&Error)) -> Result<Vec<Record>> {
    let refs = repository
        .git()
        .references_glob(&format!("{PREFIX}*"))
        .or_config(cannot_list)?;
    let mut records = Vec::new();
    for reference in refs {
        let reference = reference.or_config(cannot_list)?;
        match read(repository, &reference) {
            Ok(record) => records.push(record),
            Err(error) => complain(&error),
        }
    }
    sort(&mut records);
    Ok(records)
}

/// As [`all`] has them.
pub fn sort(records: &mut [Record]) {
    records.sort_by(|a, b| {
        let key = |record: &Record| (record.run.sprint.clone(), record.run.asked);
        let place = |record: &Record| {
            (
                record.run.experiment.clone(),
                record.run.server.name.clone(),
                record.run.order,
            )
        };
        key(a).cmp(&key(b)).then_with(|| place(a).cmp(&place(b)))
    });
}

/// The runs that there is a record of, unread, by name.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) when the refs cannot be listed.
pub fn ids(repository: &Repository) -> Result<Vec<RunId>> {
    let mut refs = repository
        .git()
        .references_glob(&format!("{PREFIX}*"))
        .or_config(cannot_list)?;
    let mut ids = Vec::new();
    for name in refs.names() {
        let name = name.or_config(cannot_list)?;
        ids.extend(name.strip_prefix(PREFIX).and_then(|id| RunId::new(id).ok()));
    }
    Ok(ids)
}

fn cannot_list() -> String {
    "cannot list the runs' records (refs/agile/runs)".into()
}

/// The record of `id`, if there is one.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) when it cannot be read.
pub fn find(repository: &Repository, id: &RunId) -> Result<Option<Record>> {
    match repository.git().find_reference(&name(id)) {
        Ok(reference) => read(repository, &reference).map(Some),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => {
            Err(Error::config(format!("cannot read the record of run {id}")).cause(error))
        }
    }
}

/// Writes the record of a new run: the intent, on disk before the first packet leaves.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when it cannot be written.
pub fn create(repository: &Repository, run: &Run) -> Result<Record> {
    let known = Known::asked();
    let cannot = || format!("cannot write the record of run {}", run.id);
    let git = repository.git();
    let code = Oid::from_str(run.commit.as_str()).or_step(cannot)?;
    let mut tree = git.treebuilder(None).or_step(cannot)?;
    let json = serde_json::to_vec_pretty(run).or_step(cannot)?;
    let blob = git.blob(&json).or_step(cannot)?;
    tree.insert("run.json", blob, 0o100644).or_step(cannot)?;
    let tip = commit(
        repository,
        tree,
        &known,
        code,
        &format!("{}: asked", run.id),
    )
    .or_step(cannot)?;
    match move_ref(repository, &run.id, tip, None).or_step(cannot)? {
        true => Ok(Record {
            run: run.clone(),
            known,
            tip,
        }),
        // Another command of ours was faster; its record says the same.
        false => find(repository, &run.id)?.ok_or_else(|| Error::step(cannot())),
    }
}

/// Adds what was learnt to the record, if it differs from what is there; `attachments` are kept with it.
///
/// The ref moves only from the commit that was read, so of two commands that learn at once neither undoes the
/// other: `learn` is asked again with what is known by then.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when it cannot be written.
pub fn update(
    repository: &Repository,
    id: &RunId,
    attachments: &[Attachment],
    learn: impl Fn(&Known) -> Known,
) -> Result<Record> {
    let cannot = || format!("cannot write the record of run {id}");
    let git = repository.git();
    loop {
        let record = find(repository, id)?
            .ok_or_else(|| Error::step(format!("the record of run {id} is gone")))?;
        let known = learn(&record.known);
        let parent = git
            .find_commit(record.tip)
            .and_then(|commit| commit.tree())
            .or_step(cannot)?;
        let is_here = |attachment: &Attachment| {
            let entry = parent.get_name(attachment.name);
            entry.is_some_and(|entry| entry.id() == attachment.blob)
        };
        if !known.differs(&record.known) && attachments.iter().all(is_here) {
            return Ok(Record { known, ..record });
        }
        let mut tree = git.treebuilder(Some(&parent)).or_step(cannot)?;
        for attachment in attachments {
            tree.insert(attachment.name, attachment.blob, 0o100644)
                .or_step(cannot)?;
        }
        let message = format!("{id}: {}", known.state);
        let tip = commit(repository, tree, &known, record.tip, &message).or_step(cannot)?;
        if move_ref(repository, id, tip, Some(record.tip)).or_step(cannot)? {
            return Ok(Record {
                known,
                tip,
                ..record
            });
        }
    }
}

/// The bytes of an attachment of `record`, if it has it.
pub fn attachment(repository: &Repository, record: &Record, name: &str) -> Option<Vec<u8>> {
    let tree = repository
        .git()
        .find_commit(record.tip)
        .and_then(|commit| commit.tree())
        .ok()?;
    let blob = repository.git().find_blob(tree.get_name(name)?.id()).ok()?;
    Some(blob.content().to_vec())
}

/// Waits until what was written to the repository is on the disk, so that a power cut does not take it back. Where
/// the system cannot do that for one file system, all are waited for.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when the disk does not take it.
pub fn sync(repository: &Repository) -> Result<()> {
    #[cfg(target_os = "linux")]
    if let Ok(folder) = std::fs::File::open(repository.common_dir()) {
        use rustix::io::Errno;
        match rustix::fs::syncfs(&folder) {
            Ok(()) => return Ok(()),
            Err(error) if matches!(error, Errno::IO | Errno::NOSPC | Errno::DQUOT) => {
                let said = format!("cannot write to {}", repository.common_dir().display());
                return Err(Error::step(said).cause(std::io::Error::from(error)));
            }
            Err(_) => {}
        }
    }
    rustix::fs::sync();
    let _ = repository;
    Ok(())
}

/// Moves the record's ref to `tip`; false when it is not what it is to be moved `from`, or is there and was not to be.
fn move_ref(
    repository: &Repository,
    id: &RunId,
    tip: Oid,
    from: Option<Oid>,
) -> Result<bool, git2::Error> {
    let (git, name, begun) = (repository.git(), name(id), Instant::now());
    loop {
        let moved = match from {
            Some(from) => git.reference_matching(&name, tip, true, from, "agile: learnt"),
            None => git.reference(&name, tip, false, "agile: asked"),
        };
        match moved {
            Ok(_) => return Ok(true),
            Err(error) if matches!(error.code(), ErrorCode::Modified | ErrorCode::Exists) => {
                return Ok(false);
            }
            Err(error) if error.code() == ErrorCode::Locked && begun.elapsed() < 3 * STALE => {
                remove_stale_lock(&repository.common_dir().join(format!("{name}.lock")));
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error),
        }
    }
}

/// A ref is locked for milliseconds. A lock that has been there for seconds was left by a command that was killed.
fn remove_stale_lock(lock: &Path) {
    let changed = std::fs::metadata(lock).and_then(|meta| meta.modified());
    if changed.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > STALE)) {
        // Somebody else may have done it.
        let _ = std::fs::remove_file(lock);
    }
}

fn name(id: &RunId) -> String {
    format!("{PREFIX}{id}")
}

fn read(repository: &Repository, reference: &git2::Reference) -> Result<Record> {
    let name = reference.name().unwrap_or("?");
    let unreadable = || format!("the record {name} cannot be read");
    let commit = reference.peel_to_commit().or_config(unreadable)?;
    read_at(repository, name, commit.id())
}

/// The record of the ref `name` as the commit `tip` has it.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) when that is no record, or one of another run.
pub(super) fn read_at(repository: &Repository, name: &str, tip: Oid) -> Result<Record> {
    let unreadable = || format!("the record {name} cannot be read");
    let commit = repository.git().find_commit(tip).or_config(unreadable)?;
    let tree = commit.tree().or_config(unreadable)?;
    let file = |file: &str| -> Result<Vec<u8>> {
        let entry = tree
            .get_name(file)
            .ok_or_else(|| Error::config(unreadable()).cause(format!("no {file}")))?;
        let blob = repository
            .git()
            .find_blob(entry.id())
            .or_config(unreadable)?;
        Ok(blob.content().to_vec())
    };
    let run: Run = serde_json::from_slice(&file("run.json")?).or_config(unreadable)?;
    let known = serde_json::from_slice(&file("state.json")?).or_config(unreadable)?;
    if name.strip_prefix(PREFIX) != Some(run.id.as_str()) {
        return Err(Error::config(unreadable()).cause(format!("it is that of run {}", run.id)));
    }
    Ok(Record { run, known, tip })
}

fn commit(
    repository: &Repository,
    mut tree: git2::TreeBuilder,
    known: &Known,
    parent: Oid,
    message: &str,
) -> Result<Oid, git2::Error> {
    let git = repository.git();
    let json = serde_json::to_vec_pretty(known)
        .map_err(|error| git2::Error::from_str(&error.to_string()))?;
    tree.insert("state.json", git.blob(&json)?, 0o100644)?;
    let tree = git.find_tree(tree.write()?)?;
    let author = git
        .signature()
        .or_else(|_| Signature::now("git-agile", "git-agile@localhost"))?;
    let parent = git.find_commit(parent)?;
    git.commit(None, &author, &author, message, &tree, &[&parent])
}
