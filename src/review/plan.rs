//! What to ask a server for: decided from its manifest and from what lies here.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::destination::{Here, Local};
use super::digest::Digest;
use super::folder::Stamp;
use super::manifest::{File, Limits, Listing, Manifest};
use super::path::ResultPath;
use super::refusal::{Reason, Refusal};
use crate::error::{Error, Result};

/// The beginning of the names that files have while they arrive; no result may have such a name.
pub(super) const OURS: &[u8] = b".agile-";

/// The parts by which git knows a folder for a repository (`is_git_directory` in git's setup.c), by the names to
/// look for and in lower case.
pub(super) const GIT_PARTS: [(&str, &str); 4] = [
    ("HEAD", "head"),
    ("objects", "objects"),
    ("refs", "refs"),
    ("commondir", "commondir"),
];

/// For each folder (empty for the top): which of `HEAD`, `objects`, `refs` and `commondir` it has, in lower case.
pub type GitParts = BTreeMap<Vec<u8>, BTreeSet<&'static str>>;

/// What one transfer brings.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// One for each run of the manifest, in its order.
    pub runs: Vec<RunPlan>,
    /// How many files are wanted.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many files lie here already as the server has them.
    pub up_to_date: u64,
    /// What will not come.
    pub refused: Vec<Refusal>,
}

/// What is wanted of one run.
#[derive(Clone, Debug)]
pub struct RunPlan {
    /// The server's name for the list that the files are counted by.
    pub list: Digest,
    /// The files, in the order in which they will come.
    pub wanted: Vec<Wanted>,
    /// Folders to make, as nothing is in them.
    pub folders: Vec<ResultPath>,
}

/// One file to come.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The file on the server.
    pub file: File,
    /// Where it goes: its own path, or the one beside it when a person edited the file here.
    pub target: ResultPath,
    /// What it may replace there: a file of ours that still looks like this, or nothing.
    pub replaces: Option<Stamp>,
}

impl Plan {
    /// Whether nothing has to be asked of the server.
    pub fn is_empty(&self) -> bool {
        self.files == 0
    }
}

/// Decides for each result whether to ask for it. `local` has what lies in each run's folder, in the manifest's
/// order.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when more than `limits.total` bytes would have to come.
pub fn plan(manifest: &Manifest, local: &[Local], limits: &Limits) -> Result<Plan> {
    let mut plan = Plan {
        refused: manifest.refused.clone(),
        ..Plan::default()
    };
    for (run, (listing, local)) in manifest.runs.iter().zip(local).enumerate() {
        plan_run(&mut plan, run, listing, local);
    }
    if plan.bytes > limits.total {
        let (bytes, most) = (plan.bytes as f64 / 1e9, limits.total as f64 / 1e9);
        return Err(Error::step(format!(
            "the results are {bytes:.1} GB; one fetch brings at most {most:.1} GB"
        ))
        .hint("fetch fewer runs at a time, or name fewer files in `results` of agile.toml"));
    }
    Ok(plan)
}

fn plan_run(plan: &mut Plan, run: usize, listing: &Listing, local: &Local) {
    let mut parts = git_parts(listing);
    for (folder, present) in &local.git_parts {
        parts.entry(folder.clone()).or_default().extend(present);
    }
    let mut names = HashSet::new();
    let mut refuses = |path: &ResultPath| match () {
        _ if is_repository_part(path, &parts) => Some(Reason::Repository),
        _ if local.folds && !names.insert(path.folded()) => Some(Reason::Twin),
        _ => None,
    };
    let taken: HashSet<&ResultPath> = listing.files.iter().map(|file| &file.path).collect();
    let mut out = RunPlan {
        list: listing.id,
        wanted: Vec::new(),
        folders: Vec::new(),
    };
    for file in &listing.files {
        let choice = match refuses(&file.path) {
            Some(reason) => Choice::Refuse(reason),
            None => choose(file, local, &taken),
        };
        match choice {
            Choice::Leave => plan.up_to_date += 1,
            Choice::Refuse(reason) => plan.refused.push(refusal(run, &file.path, reason)),
            Choice::Fetch(target, replaces) => {
                plan.files += 1;
                plan.bytes = plan.bytes.saturating_add(file.size);
                out.wanted.push(Wanted {
                    file: file.clone(),
                    target,
                    replaces,
                });
            }
        }
    }
    for folder in &listing.folders {
        match refuses(folder) {
            Some(reason) => plan.refused.push(refusal(run, folder, reason)),
            None => out.folders.push(folder.clone()),
        }
    }
    plan.runs.push(out);
}

fn refusal(run: usize, path: &ResultPath, reason: Reason) -> Refusal {
    Refusal {
        run,
        path: path.as_bytes().to_vec(),
        reason,
    }
}

enum Choice {
    Leave,
    Fetch(ResultPath, Option<Stamp>),
    Refuse(Reason),
}

/// A person's edit is never replaced: the server's version, where it is new, goes beside it.
fn choose(file: &File, local: &Local, taken: &HashSet<&ResultPath>) -> Choice {
    let path = file.path.clone();
    match local.here.get(&path) {
        Some(Here::InTheWay) => Choice::Refuse(Reason::InTheWay),
        Some(here) if here.is_edited() => match path.beside() {
            _ if has_fetched(here, file) => Choice::Leave,
            Err(bad) => Choice::Refuse(bad.into()),
            Ok(beside) if taken.contains(&beside) => Choice::Refuse(Reason::Edited),
            Ok(beside) => match local.here.get(&beside) {
                Some(there) if there.is_edited() || *there == Here::InTheWay => {
                    Choice::Refuse(Reason::Edited)
                }
                there => fetch(file, beside, there),
            },
        },
        here => fetch(file, path, here),
    }
}

/// Asks for `file` unless `here`, which no person edited, is the same already.
fn fetch(file: &File, target: ResultPath, here: Option<&Here>) -> Choice {
    match here {
        Some(here) if has_fetched(here, file) => Choice::Leave,
        Some(Here::Plain { stamp, .. }) => Choice::Fetch(target, Some(*stamp)),
        _ => Choice::Fetch(target, None),
    }
}

fn has_fetched(here: &Here, file: &File) -> bool {
    matches!(here, Here::Plain { fetched, .. } if *fetched == Some(file.sha256))
}

/// The parts of repositories that a listing would make.
pub(super) fn git_parts(listing: &Listing) -> GitParts {
    let mut parts = GitParts::new();
    let files = listing.files.iter().map(|file| &file.path);
    for path in files.chain(&listing.folders) {
        for (folder, part) in parts_of(path) {
            parts.entry(folder.to_vec()).or_default().insert(part);
        }
    }
    parts
}

/// Each name of `path` that is one of [`GIT_PARTS`], with the folder that it is in.
fn parts_of(path: &ResultPath) -> impl Iterator<Item = (&[u8], &'static str)> {
    let ends = path.folders().chain([path.as_bytes()]);
    ends.filter_map(|end| {
        let slash = end.iter().rposition(|&b| b == b'/');
        let (folder, name) = slash.map_or((&b""[..], end), |i| (&end[..i], &end[i + 1..]));
        let known = GIT_PARTS
            .iter()
            .find(|(_, part)| name.eq_ignore_ascii_case(part.as_bytes()));
        known.map(|(_, part)| (folder, *part))
    })
}

/// Whether git would take a folder above `path` for a repository, and `path` is one of the parts that make it
/// one. Git would obey its `config`.
fn is_repository_part(path: &ResultPath, parts: &GitParts) -> bool {
    parts_of(path).any(|(folder, _)| {
        parts.get(folder).is_some_and(|parts| {
            let bare = parts.contains("objects") && parts.contains("refs");
            parts.contains("head") && (bare || parts.contains("commondir"))
        })
    })
}
