//! Where a run's results come to lie, and what lies there already.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;

use super::digest::Digest;
use super::folder::{Folder, Found, Stamp, Way, part_name};
use super::index::Index;
use super::manifest::{File, Listing};
use super::path::ResultPath;
use super::plan::{self, GitParts, RunPlan};
use crate::error::{Context as _, Error, Result};

/// The folder `results/<run>/` of a work tree, held by this process while it lives.
pub struct Destination {
    pub(super) top: Folder,
    pub(super) index: Index,
    pub(super) name: String,
    /// What interrupted fetches left of files, by what these will be.
    parts: HashMap<Digest, u64>,
    /// Whether nothing at all was in it when it was opened.
    is_empty: bool,
}

/// What lies in a destination already, as far as a listing asks.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// For each file of the listing, what is in its place; none for one that is not there, or beyond the end.
    pub here: Vec<Option<Here>>,
    /// What lies beside those that a person edited, by its path.
    pub beside: BTreeMap<ResultPath, Here>,
    /// The parts of bare repositories among what lies there.
    pub git_parts: GitParts,
    /// Whether the file system takes `A` and `a` for one name.
    pub folds: bool,
    /// The bytes that interrupted fetches left of files, by what the whole file will be.
    pub parts: HashMap<Digest, u64>,
}

/// What lies in the place of one result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    /// A plain file.
    Plain {
        /// How it looked.
        stamp: Stamp,
        /// Its content.
        sha256: Digest,
        /// What a fetch brought there last; a file with other content is a person's own.
        fetched: Option<Digest>,
    },
    /// Something that must not be written to or through.
    InTheWay,
}

/// What lies here of a run before its server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Nothing,
    /// All that the server had when it was in this state, unless it was touched since; see [`untouched`].
    Fetched(Digest),
    /// Something.
    Something,
}

impl Standing {
    /// A first look; arguments as for [`Destination::open`].
    pub fn of(root: &Path, run: &str, index: &Path) -> Self {
        let entries = std::fs::read_dir(root.join("results").join(run));
        match entries.map(|mut entries| entries.next().is_none()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Standing::Nothing,
            Ok(true) => Standing::Nothing,
            _ => Index::state(index).map_or(Standing::Something, Standing::Fetched),
        }
    }
}

/// How many files were fetched of a run, if each of them looks as it did then; arguments as for [`Destination::open`].
pub fn untouched(root: &Path, run: &str, index: &Path) -> Option<u64> {
    let name = format!("results/{run}");
    let way = Folder::open(root).and_then(|root| root.descend(name.as_bytes(), false));
    let Way::There(top) = way.ok()? else {
        return None;
    };
    let (mut near, mut count) = (None, 0);
    for (path, written) in Index::load(index).iter() {
        let found = find(&top, path, &mut near).ok()?;
        if found != Some(Found::Plain(written.stamp)) {
            return None;
        }
        count += 1;
    }
    (count > 0).then_some(count)
}

/// What `path` is, or nothing where the way to it is blocked. `near` is the folder that was looked into last, with its
/// path: the next file is often there too.
fn find(
    top: &Folder,
    path: &ResultPath,
    near: &mut Option<(Vec<u8>, Way)>,
) -> io::Result<Option<Found>> {
    let (folder, name) = path.split();
    if near.as_ref().is_none_or(|(at, _)| at != folder) {
        *near = Some((folder.to_vec(), top.descend(folder, false)?));
    }
    match near {
        Some((_, Way::There(folder))) => folder.find(name).map(Some),
        Some((_, Way::Blocked)) => Ok(None),
        Some((_, Way::Missing)) | None => Ok(Some(Found::Nothing)),
    }
}

/// The folder `results/<run>` in `root`, taken for this process; nothing when it is missing and not to be made.
fn take(root: &Path, run: &str, make: bool) -> Result<Option<Folder>> {
    let (mut here, mut name) = (Folder::open(root), "results".to_string());
    for below in ["results", run] {
        if below == run {
            name = format!("results/{run}");
        }
        let way = here.and_then(|here| here.descend(below.as_bytes(), make));
        here = match way.or_step(|| format!("cannot make {name}"))? {
            Way::There(folder) => Ok(folder),
            Way::Missing => return Ok(None),
            Way::Blocked => {
                let said = format!(
                    "{name} is a link, or no folder that can be read; nothing is written through it"
                );
                return Err(Error::step(said).hint(format!("move {name} away, and try again")));
            }
        };
    }
    let top = here.or_step(|| format!("cannot open {name}"))?;
    if !top.is_writable() {
        let said = format!("nothing can be written into {name}");
        return Err(Error::step(said).hint(format!("chmod u+rwx {name}")));
    }
    match top.lock() {
        true => Ok(Some(top)),
        false => Err(
            Error::step(format!("another git-agile is fetching into {name}"))
                .hint("wait until it is done"),
        ),
    }
}

impl Here {
    /// Whether it is a file with another content than a fetch brought.
    pub fn is_edited(&self) -> bool {
        matches!(self, Here::Plain { sha256, fetched, .. } if *fetched != Some(*sha256))
    }
}

impl Destination {
    /// Opens, and makes where it is missing, `results/<run>` in `root`, with its index in the file `index`
    /// (`agile/fetched/<run>.index` in the work tree's git folder). What an interrupted fetch left half-written is removed.
    ///
    /// # Errors
    /// [`Kind::Usage`](crate::error::Kind::Usage) when `run` is no run id, [`Kind::Step`](crate::error::Kind::Step)
    /// when `results` or the folder is a link or no folder, cannot be made, or is in use by another fetch.
    pub fn open(root: &Path, run: &str, index: &Path) -> Result<Self> {
        let is_id = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if run.is_empty() || !run.chars().all(is_id) {
            return Err(Error::usage(format!("`{run}` is not a run id")));
        }
        let name = format!("results/{run}");
        let top = take(root, run, true)?;
        let top = top.ok_or_else(|| Error::step(format!("cannot make {name}")))?;
        let tidied = top.tidy().or_step(|| format!("cannot tidy {name}"))?;
        let index = Index::load(index);
        Ok(Destination {
            top,
            index,
            name,
            parts: tidied.parts,
            is_empty: tidied.is_empty,
        })
    }

    /// Whether [`open`](Destination::open) would open it; nothing is made or changed.
    ///
    /// # Errors
    /// As there.
    pub fn check(root: &Path, run: &str) -> Result<()> {
        take(root, run, false).map(drop)
    }

    /// Removes what is left of files that are no longer wanted as they were.
    pub(super) fn forget_parts(&mut self, plan: &RunPlan) -> io::Result<()> {
        let resumed = plan.wanted.iter().filter(|wanted| wanted.offset > 0);
        let kept: HashSet<Digest> = resumed.map(|wanted| plan.file(wanted).sha256).collect();
        let mut stale = self.parts.keys().filter(|part| !kept.contains(part));
        stale.try_for_each(|part| self.top.remove(&part_name(part)))
    }

    /// Looks at what lies in the places of `listing`. Reads and hashes every file that changed since it was
    /// fetched: it may take a while, and blocks.
    ///
    /// # Errors
    /// [`Kind::Step`](crate::error::Kind::Step) when a folder or file here cannot be read.
    pub fn look(&mut self, listing: &Listing) -> Result<Local> {
        let mut local = Local {
            parts: self.parts.clone(),
            ..Local::default()
        };
        let name = self.name.clone();
        if listing.contents.is_some() && !self.is_empty {
            return Err(
                Error::step(format!("something else wrote into {name} meanwhile"))
                    .hint("run the command again"),
            );
        }
        if self.is_empty {
            local.folds = self
                .folds()
                .or_step(|| format!("cannot write into {name}"))?;
            return Ok(local);
        }
        self.look_around(listing, &mut local)
            .or_step(|| format!("cannot read {name}"))?;
        self.index.save()?;
        Ok(local)
    }

    fn look_around(&mut self, listing: &Listing, local: &mut Local) -> io::Result<()> {
        let mut near = None;
        for file in &listing.files {
            let here = self.look_at(&file.path, file, &mut near)?;
            if here.is_some_and(|here| here.is_edited())
                && let Ok(beside) = file.path.beside()
                && let Some(found) = self.look_at(&beside, file, &mut near)?
            {
                local.beside.insert(beside, found);
            }
            local.here.push(here);
        }
        local.folds = self.folds()?;
        for (folder, _) in plan::git_parts(listing) {
            let present = self.present(&folder)?;
            local.git_parts.insert(folder, present);
        }
        Ok(())
    }

    /// What lies at `path`; a file with the content of `file` counts as ours from now on. `near` is as for [`find`].
    fn look_at(
        &mut self,
        path: &ResultPath,
        file: &File,
        near: &mut Option<(Vec<u8>, Way)>,
    ) -> io::Result<Option<Here>> {
        let stamp = match find(&self.top, path, near)? {
            Some(Found::Nothing) => return Ok(None),
            Some(Found::Plain(stamp)) => stamp,
            Some(Found::Folder | Found::Other) | None => return Ok(Some(Here::InTheWay)),
        };
        let written = self.index.get(path);
        let fetched = written.map(|written| written.sha256);
        if let Some(sha256) = fetched.filter(|_| written.is_some_and(|w| w.stamp == stamp)) {
            return Ok(Some(Here::Plain {
                stamp,
                sha256,
                fetched,
            }));
        }
        let Some((_, Way::There(folder))) = near else {
            return Ok(None); // it was there a moment ago
        };
        let (stamp, sha256) = match folder.digest(path.split().1) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Ok(Some(Here::InTheWay));
            }
            read => read?,
        };
        if sha256 == file.sha256 || fetched == Some(sha256) {
            self.index.set(path, stamp, sha256);
            return Ok(Some(Here::Plain {
                stamp,
                sha256,
                fetched: Some(sha256),
            }));
        }
        Ok(Some(Here::Plain {
            stamp,
            sha256,
            fetched,
        }))
    }

    fn present(&self, folder: &[u8]) -> io::Result<BTreeSet<&'static str>> {
        let Way::There(folder) = self.top.descend(folder, false)? else {
            return Ok(BTreeSet::new());
        };
        let mut present = BTreeSet::new();
        for (name, part) in plan::GIT_PARTS {
            if folder.find(name.as_bytes())? != Found::Nothing {
                present.insert(part);
            }
        }
        Ok(present)
    }

    /// Tries it with a file of ours.
    fn folds(&self) -> io::Result<bool> {
        let probe = [plan::OURS, b"case"].concat();
        self.top.create(&probe, false)?;
        let folds = self.top.find(&probe.to_ascii_uppercase())? != Found::Nothing;
        self.top.remove(&probe)?;
        Ok(folds)
    }
}
