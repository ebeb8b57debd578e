//! What a plain `git push` has brought to its remote, put together from two of git's hooks.
//!
//! `pre-push` [notes](note) what one process of git is about to push. `reference-transaction` sees that process move the
//! remote-tracking branches of what was accepted, and [records](arrived) those. When the process has ended,
//! [`finished`] gives what has arrived. Nothing that git did not accept ever gets there: a dry run and a rejected ref
//! move no branch.
//!
//! The note of process 123 is `push-123` in the folder `agile` of the (work tree's) git dir, where the hook looks for
//! it without starting a program; what has arrived is `push-123.arrived` beside it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use git2::Direction;
use serde::{Deserialize, Serialize};

use super::push::{has_flag, without_password};
use super::repository::Repository;
use crate::error::{Context as _, Error, Result};

/// What a process of git is about to push.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// When the process began, as the system tells it: process ids are used again.
    began: String,
    remote: String,
    url: String,
    /// pre-push's standard input: local ref, local id, remote ref, remote id.
    lines: Vec<String>,
}

/// What has arrived, for the post-push hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The remote.
    pub remote: String,
    /// Its address.
    pub url: String,
    /// The lines of what has arrived, as pre-push had them.
    pub lines: String,
}

/// Notes that process `pid` is about to push `lines` to `remote`. A dry run, `--mirror` and a push to an address that is
/// no remote's are not noted.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when the note cannot be written.
pub fn note(repository: &Repository, pid: u32, remote: &str, url: &str, lines: &str) -> Result<()> {
    let cannot = || "cannot note what is about to be pushed".to_string();
    let folder = folder(repository);
    remove_old(&folder);
    let Some(began) = began(pid) else {
        return Ok(());
    };
    let is_mirror = repository
        .git()
        .config()
        .and_then(|config| config.get_bool(&format!("remote.{remote}.mirror")));
    let arguments = arguments(pid);
    if repository.git().find_remote(remote).is_err()
        || is_mirror.unwrap_or(false)
        || has_flag(&arguments, "--mirror", "--mi", None)
        || has_flag(&arguments, "--dry-run", "--dr", Some('n'))
    {
        return Ok(());
    }
    fs::create_dir_all(&folder).or_step(cannot)?;
    let path = folder.join(format!("push-{pid}"));
    // With several push addresses the hook comes once for each.
    let mut lines: Vec<String> = lines.lines().map(str::to_string).collect();
    if let Some(before) = read(&path).filter(|note| note.began == began) {
        lines.extend(before.lines);
    }
    let note = Note {
        began,
        remote: remote.into(),
        url: without_password(url),
        lines,
    };
    let mut file = tempfile::NamedTempFile::new_in(&folder).or_step(cannot)?;
    let json = serde_json::to_vec(&note).or_step(cannot)?;
    file.write_all(&json).or_step(cannot)?;
    file.persist(path).or_step(cannot)?;
    Ok(())
}

/// Records which of the noted refs the `updates` (lines of reference-transaction: old id, new id, ref) of process `pid`
/// show on the remote. True for the first that it records of this process.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when that cannot be written.
pub fn arrived(repository: &Repository, pid: u32, updates: &str) -> Result<bool> {
    let path = folder(repository).join(format!("push-{pid}"));
    let Some(note) = read(&path).filter(|note| began(pid).as_ref() == Some(&note.began)) else {
        return Ok(false);
    };
    let tracking = |target: &str| -> Option<String> {
        let remote = repository.git().find_remote(&note.remote).ok()?;
        remote
            .refspecs()
            .filter(|spec| spec.direction() == Direction::Fetch && spec.src_matches(target))
            .find_map(|spec| Some(spec.transform(target).ok()?.as_str()?.to_string()))
    };
    let is_there = |line: &&String| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, id, target, _] = fields.as_slice() else {
            return false;
        };
        let is_deletion = id.bytes().all(|byte| byte == b'0');
        !is_deletion
            && target.starts_with("refs/heads/")
            && tracking(target).is_some_and(|name| {
                let moved = |update: &str| {
                    let mut fields = update.splitn(3, ' ').skip(1);
                    fields.next() == Some(*id) && fields.next() == Some(&name)
                };
                updates.lines().any(moved)
            })
    };
    let there: String = note
        .lines
        .iter()
        .filter(is_there)
        .map(|line| format!("{line}\n"))
        .collect();
    if there.is_empty() {
        return Ok(false);
    }
    let cannot = || "cannot record what was pushed".to_string();
    let path = arrivals(&path);
    let is_first = !path.exists();
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .or_step(cannot)?;
    file.write_all(there.as_bytes()).or_step(cannot)?;
    Ok(is_first)
}

/// Waits for the end of process `pid`, and gives what its push has brought to the remote; nothing when somebody else has
/// taken it. The note is gone then.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when the note cannot be read.
pub fn finished(repository: &Repository, pid: u32) -> Result<Option<Finished>> {
    let path = folder(repository).join(format!("push-{pid}"));
    let note = read(&path).ok_or_else(|| Error::step("the note of the push is gone"))?;
    let mut pause = Duration::from_millis(5);
    while began(pid).as_ref() == Some(&note.began) {
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(200));
    }
    let lines = fs::read_to_string(arrivals(&path)).unwrap_or_default();
    let _ = fs::remove_file(arrivals(&path));
    let mut distinct: Vec<&str> = Vec::new();
    for line in lines.lines() {
        if !distinct.contains(&line) {
            distinct.push(line);
        }
    }
    // Of two who take it, one finds nothing to remove.
    if fs::remove_file(&path).is_err() || distinct.is_empty() {
        return Ok(None);
    }
    Ok(Some(Finished {
        remote: note.remote,
        url: note.url,
        lines: distinct.iter().map(|line| format!("{line}\n")).collect(),
    }))
}

/// Where a deployment that nobody waits for writes.
pub fn log(repository: &Repository) -> PathBuf {
    folder(repository).join("plain-push.log")
}

fn folder(repository: &Repository) -> PathBuf {
    repository.git().path().join("agile")
}

fn arrivals(note: &Path) -> PathBuf {
    note.with_extension("arrived")
}

fn read(path: &Path) -> Option<Note> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Removes the notes of processes that have ended with nothing arrived.
fn remove_old(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix("push-")?.parse().ok());
        let Some(pid) = pid else {
            continue;
        };
        let path = entry.path();
        let goes_on = read(&path).is_some_and(|note| began(pid) == Some(note.began));
        if !goes_on && !arrivals(&path).exists() {
            let _ = fs::remove_file(path);
        }
    }
}

/// When the process began; nothing when there is none.
fn began(pid: u32) -> Option<String> {
    if let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) {
        // proc(5): field 22, counted behind the name in parentheses; field 3 says whether it has ended.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        return (!matches!(state, "Z" | "X")).then(|| fields.nth(18).map(str::to_string))?;
    }
    let said = Command::new("ps")
        .args(["-o", "lstart=", "-p", &pid.to_string()])
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    let began = String::from_utf8_lossy(&said.stdout).trim().to_string();
    (!began.is_empty()).then_some(began)
}

/// The arguments of the process, as well as the system tells.
fn arguments(pid: u32) -> Vec<std::ffi::OsString> {
    use std::os::unix::ffi::OsStringExt;
    if let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) {
        let words = line.split(|&byte| byte == 0).skip(1);
        return words
            .map(|word| std::ffi::OsString::from_vec(word.to_vec()))
            .collect();
    }
    let said = Command::new("ps")
        .args(["-o", "args=", "-p", &pid.to_string()])
        .output();
    let line = said.map(|said| said.stdout).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).into_owned();
    line.split_whitespace().skip(1).map(Into::into).collect()
}
