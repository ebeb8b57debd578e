//! What to ask a server for: decided from its manifest and from what lies here.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use indicatif::DecimalBytes;

use super::destination::{Here, Local};
use super::folder::Stamp;
use super::manifest::{File, Limits, Listing, MOST_HOLLOW, Manifest};
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
    /// Their bytes that are no holes and are not here yet.
    pub bytes: u64,
    /// The bytes of the holes in them.
    pub hollow: u64,
    /// How many files lie here already as the server has them.
    pub up_to_date: u64,
    /// How many files came already, and their bytes.
    pub came: (u64, u64),
    /// What will not come.
    pub refused: Vec<Refusal>,
}

/// What is wanted of one run.
#[derive(Clone, Debug)]
pub struct RunPlan {
    /// What the server has.
    pub listing: Listing,
    /// The files of it that are wanted, in the order in which they will come.
    pub wanted: Vec<Wanted>,
    /// Folders to make, as nothing is in them.
    pub folders: Vec<ResultPath>,
}

/// One file to come.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which of the listed files it is.
    pub at: usize,
    /// Where it goes, when a person edited the file here; else it goes to its own path.
    pub beside: Option<ResultPath>,
    /// What it may replace there: a file of ours that still looks like this, or nothing.
    pub replaces: Option<Stamp>,
    /// How many of its bytes an interrupted fetch left here.
    pub offset: u64,
}

impl RunPlan {
    /// The file that is wanted.
    pub fn file(&self, wanted: &Wanted) -> &File {
        &self.listing.files[wanted.at]
    }

    /// How many files are wanted, and their bytes that are no holes and are not here yet.
    pub fn size(&self) -> (usize, u64) {
        let bytes = self
            .wanted
            .iter()
            .map(|wanted| self.file(wanted).real.saturating_sub(wanted.offset));
        (self.wanted.len(), bytes.fold(0, u64::saturating_add))
    }
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
pub fn plan(manifest: Manifest, local: Vec<Local>, limits: &Limits) -> Result<Plan> {
    let mut plan = Plan {
        refused: manifest.refused,
        ..Plan::default()
    };
    for (run, (listing, local)) in manifest.runs.into_iter().zip(local).enumerate() {
        plan_run(&mut plan, run, listing, &local);
    }
    if plan.hollow > MOST_HOLLOW {
        let sizes = [plan.hollow, MOST_HOLLOW].map(DecimalBytes);
        return Err(Error::step(format!(
            "the holes in the results are {}; one fetch takes at most {}",
            sizes[0], sizes[1]
        ))
        .hint("git agile fetch-results --exclude PATTERN leaves some of the sparse files out"));
    }
    if plan.bytes > limits.total {
        let sizes = [plan.bytes, limits.total].map(DecimalBytes);
        return Err(Error::step(format!(
            "the results are {}; one fetch brings at most {}",
            sizes[0], sizes[1]
        ))
        .hint(format!(
            "git agile fetch-results --max-total {}G fetches them all; --dry-run shows what there is",
            plan.bytes.div_ceil(1_000_000_000)
        )));
    }
    Ok(plan)
}

fn plan_run(plan: &mut Plan, run: usize, listing: Listing, local: &Local) {
    let mut parts = git_parts(&listing);
    for (folder, present) in &local.git_parts {
        parts.entry(folder.clone()).or_default().extend(present);
    }
    let mut names = HashSet::new();
    let mut refuses = |path: &ResultPath| match () {
        _ if is_repository_part(path, &parts) => Some(Reason::Repository),
        _ if local.folds && !names.insert(path.folded()) => Some(Reason::Twin),
        _ => None,
    };
    // Most often nothing was edited.
    let has_edits = local.here.iter().flatten().any(|here| here.is_edited());
    let listed = listing.files.iter().filter(|_| has_edits);
    let taken: HashSet<&ResultPath> = listed.map(|file| &file.path).collect();
    let mut parts_here = local.parts.clone();
    let (mut wanted, mut folders) = (Vec::new(), Vec::new());
    for (at, file) in listing.files.iter().enumerate() {
        let choice = match refuses(&file.path) {
            Some(reason) => Choice::Refuse(reason),
            None => choose(file, local.here.get(at).copied().flatten(), local, &taken),
        };
        match choice {
            Choice::Leave => plan.up_to_date += 1,
            Choice::Refuse(reason) => plan.refused.push(refusal(run, &file.path, reason)),
            Choice::Fetch(beside, replaces) => {
                plan.files += 1;
                let part = parts_here.remove(&file.sha256);
                let offset = part.filter(|size| *size <= file.size).unwrap_or(0);
                plan.bytes = plan.bytes.saturating_add(file.real.saturating_sub(offset));
                plan.hollow = plan.hollow.saturating_add(file.size - file.real);
                wanted.push(Wanted {
                    at,
                    beside,
                    replaces,
                    offset,
                });
            }
        }
    }
    for folder in &listing.folders {
        match refuses(folder) {
            Some(reason) => plan.refused.push(refusal(run, folder, reason)),
            None => folders.push(folder.clone()),
        }
    }
    plan.runs.push(RunPlan {
        listing,
        wanted,
        folders,
    });
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
    /// Into its own place or the one beside it, over what is there.
    Fetch(Option<ResultPath>, Option<Stamp>),
    Refuse(Reason),
}

/// A person's edit is never replaced: the server's version, where it is new, goes beside it.
fn choose(file: &File, here: Option<Here>, local: &Local, taken: &HashSet<&ResultPath>) -> Choice {
    match here {
        Some(Here::InTheWay) => Choice::Refuse(Reason::InTheWay),
        Some(here) if here.is_edited() => match file.path.beside() {
            _ if has_fetched(here, file) => Choice::Leave,
            Err(bad) => Choice::Refuse(bad.into()),
            Ok(beside) if taken.contains(&beside) => Choice::Refuse(Reason::Edited),
            Ok(beside) => match local.beside.get(&beside).copied() {
                Some(there) if there.is_edited() || there == Here::InTheWay => {
                    Choice::Refuse(Reason::Edited)
                }
                there => fetch(file, Some(beside), there),
            },
        },
        here => fetch(file, None, here),
    }
}

/// Asks for `file` unless `here`, which no person edited, is the same already.
fn fetch(file: &File, beside: Option<ResultPath>, here: Option<Here>) -> Choice {
    match here {
        Some(here) if has_fetched(here, file) => Choice::Leave,
        Some(Here::Plain { stamp, .. }) => Choice::Fetch(beside, Some(stamp)),
        _ => Choice::Fetch(beside, None),
    }
}

fn has_fetched(here: Here, file: &File) -> bool {
    matches!(here, Here::Plain { fetched, .. } if fetched == Some(file.sha256))
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
