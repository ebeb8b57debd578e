//! Records shared through a remote: fetched, joined with one's own without conflict, pushed.
//!
//! What a remote has is kept under `refs/agile/remotes/REMOTE/`. Of two chains of commits about a run the longer one is
//! taken when it continues the other; else both are joined by a commit whose parents are their ends. That commit depends
//! on nothing but them, so two people who join the same chains get the same commit, and are done.

use git2::{Oid, Signature, Time};

use super::git;
use super::push::password;
use super::records::{PREFIX, Record, read_at};
use super::repository::Repository;
use crate::error::{Context as _, Error, Result};
use crate::model::names::RunId;

/// How often a push is tried anew when somebody else was faster.
const ATTEMPTS: u32 = 5;

/// What a fetch brought: how many records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// Of runs that were not known here.
    pub new: usize,
    /// With more history.
    pub longer: usize,
    /// Joined from both sides.
    pub joined: usize,
}

/// Fetches the records of `remote` and joins them with those here. One that is none is passed to `complain` and left
/// out.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) for what is no remote, [`Kind::Step`](crate::error::Kind::Step) when git
/// cannot fetch or a record cannot be written.
pub fn fetch(
    repository: &Repository,
    remote: &str,
    mut complain: impl FnMut(&Error),
) -> Result<Brought> {
    let theirs = format!("refs/agile/remotes/{remote}/");
    let refspec = format!("+{PREFIX}*:{theirs}*");
    talk(
        repository,
        remote,
        &[
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--prune",
            "--refmap=",
            "--",
            remote,
            &refspec,
        ],
    )?;
    let mut brought = Brought::default();
    let refs = repository
        .git()
        .references_glob(&format!("{theirs}*"))
        .or_step(|| format!("cannot list the records of {remote}"))?;
    for reference in refs.flatten() {
        let Some((id, tip)) = reference
            .name()
            .and_then(|name| name.strip_prefix(&theirs))
            .zip(reference.target())
        else {
            continue;
        };
        match take(repository, id, tip) {
            Ok(Taken::Nothing) => {}
            Ok(Taken::New) => brought.new += 1,
            Ok(Taken::Longer) => brought.longer += 1,
            Ok(Taken::Joined) => brought.joined += 1,
            Err(error) => complain(&error),
        }
    }
    Ok(brought)
}

/// Pushes the records to `remote`, joined with what is there.
///
/// # Errors
/// As [`fetch`], and when the remote refuses.
pub fn push(
    repository: &Repository,
    remote: &str,
    mut complain: impl FnMut(&Error),
) -> Result<Brought> {
    let refspec = format!("{PREFIX}*:{PREFIX}*");
    let mut all = Brought::default();
    for attempt in 1.. {
        let brought = fetch(repository, remote, &mut complain)?;
        all.new += brought.new;
        all.longer += brought.longer;
        all.joined += brought.joined;
        let pushed = talk(
            repository,
            remote,
            &["push", "--quiet", "--no-verify", "--", remote, &refspec],
        );
        match pushed {
            Ok(()) => return Ok(all),
            // Somebody may have pushed in between; what they pushed is fetched, and then this is tried once more.
            Err(error) if attempt >= ATTEMPTS => return Err(error),
            Err(error) if !error.causes.iter().any(|cause| cause.contains("rejected")) => {
                return Err(error);
            }
            Err(_) => {}
        }
    }
    Ok(all)
}

/// Runs git, whose questions are asked on the terminal; what it says is for an error alone, and without a password.
fn talk(repository: &Repository, remote: &str, arguments: &[&str]) -> Result<()> {
    let known = repository.git().find_remote(remote);
    let known = known.map_err(|_| {
        Error::usage(format!("there is no git remote `{remote}`")).hint("git remote -v lists them")
    })?;
    let secrets: Vec<String> = [known.url(), known.pushurl()]
        .into_iter()
        .flatten()
        .filter_map(password)
        .collect();
    let mut command = git::command_in(repository.root());
    command
        .env("GIT_AGILE_PUSH", "1")
        .args(arguments)
        .stdin(std::process::Stdio::inherit());
    let output = command
        .output()
        .or_step(|| "cannot run `git`".into())
        .map_err(|error| error.hint("install git, or put it on PATH"))?;
    if output.status.success() {
        return Ok(());
    }
    let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
    for secret in secrets {
        said = said.replace(&secret, "***");
    }
    let what = arguments.first().copied().unwrap_or_default();
    Err(
        Error::step(format!("`git {what}` of the records failed for {remote}"))
            .cause(said.trim())
            .hint(format!(
                "git ls-remote {remote} tells whether it can be reached"
            )),
    )
}

/// What became of a record of the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Nothing,
    New,
    Longer,
    Joined,
}

fn take(repository: &Repository, id: &str, theirs: Oid) -> Result<Taken> {
    let id = RunId::new(id).map_err(|error| Error::config(error.to_string()))?;
    let name = format!("{PREFIX}{id}");
    let cannot = || format!("cannot write the record of run {id}");
    let git = repository.git();
    let their_record = read_at(repository, &name, theirs)?;
    loop {
        let ours = match git.refname_to_id(&name) {
            Ok(ours) => ours,
            Err(error) if error.code() == git2::ErrorCode::NotFound => {
                match git.reference(&name, theirs, false, "agile: fetched") {
                    Ok(_) => return Ok(Taken::New),
                    Err(error) if error.code() == git2::ErrorCode::Exists => continue,
                    Err(error) => return Err(Error::step(cannot()).cause(error)),
                }
            }
            Err(error) => return Err(Error::step(cannot()).cause(error)),
        };
        let descends = |from, of| git.graph_descendant_of(from, of).or_step(cannot);
        if ours == theirs || descends(ours, theirs)? {
            return Ok(Taken::Nothing);
        }
        let (tip, taken) = match descends(theirs, ours)? {
            true => (theirs, Taken::Longer),
            false => {
                let our_record = read_at(repository, &name, ours)?;
                let joined = join(repository, (ours, &our_record), (theirs, &their_record));
                (joined.or_step(cannot)?, Taken::Joined)
            }
        };
        match git.reference_matching(&name, tip, true, ours, "agile: joined") {
            Ok(_) => return Ok(taken),
            // A command of ours has learnt something meanwhile.
            Err(error) if error.code() == git2::ErrorCode::Modified => {}
            Err(error) => return Err(Error::step(cannot()).cause(error)),
        }
    }
}

/// The commit that joins two chains about a run.
fn join(repository: &Repository, a: (Oid, &Record), b: (Oid, &Record)) -> Result<Oid, git2::Error> {
    let git = repository.git();
    let json = |error: serde_json::Error| git2::Error::from_str(&error.to_string());
    let known = a.1.known.joined(&b.1.known);
    // Who knows as much as both together has the better files; else the order of the ids decides, which is the same for
    // everybody. Asked for by two, the run is that of who asked first.
    let is_first = |one: &(Oid, &Record)| (known.differs(&one.1.known), one.0);
    let (first, second) = match is_first(&a) <= is_first(&b) {
        true => (a, b),
        false => (b, a),
    };
    let asked = |one: &(Oid, &Record)| (one.1.run.asked, one.0);
    let run = match asked(&a) <= asked(&b) {
        true => &a.1.run,
        false => &b.1.run,
    };
    let (first_commit, second_commit) = (git.find_commit(first.0)?, git.find_commit(second.0)?);
    let mut tree = git.treebuilder(Some(&first_commit.tree()?))?;
    for entry in &second_commit.tree()? {
        if tree.get(entry.name_bytes())?.is_none() {
            tree.insert(entry.name_bytes(), entry.id(), entry.filemode())?;
        }
    }
    let run = serde_json::to_vec_pretty(run).map_err(json)?;
    let state = serde_json::to_vec_pretty(&known).map_err(json)?;
    tree.insert("run.json", git.blob(&run)?, 0o100644)?;
    tree.insert("state.json", git.blob(&state)?, 0o100644)?;
    let tree = git.find_tree(tree.write()?)?;
    let time = first_commit
        .time()
        .seconds()
        .max(second_commit.time().seconds());
    let author = Signature::new("git-agile", "git-agile@localhost", &Time::new(time, 0))?;
    let mut parents = [&first_commit, &second_commit];
    parents.sort_by_key(|commit| commit.id());
    let message = format!("{}: {}", a.1.run.id, known.state);
    git.commit(None, &author, &author, &message, &tree, &parents)
}
