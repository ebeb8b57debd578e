//! Where a run's results come to lie, and what lies there already.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::digest::Digest;
use super::folder::{Folder, Found, Stamp, Way};
use super::index::Index;
use super::manifest::{File, Listing};
use super::path::ResultPath;
use super::plan::{self, GitParts};
use crate::error::{Context as _, Error, Result};

/// The folder `results/<run>/` of a work tree, held by this process while it lives.
pub struct Destination {
    pub(super) top: Folder,
    pub(super) index: Index,
    pub(super) name: String,
}

/// What lies in a destination already, as far as a listing asks.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// By path; what is not there is absent.
    pub here: BTreeMap<ResultPath, Here>,
    /// The parts of bare repositories among what lies there.
    pub git_parts: GitParts,
    /// Whether the file system takes `A` and `a` for one name.
    pub folds: bool,
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

impl Here {
    /// Whether it is a file with another content than a fetch brought.
    pub fn is_edited(&self) -> bool {
        matches!(self, Here::Plain { sha256, fetched, .. } if *fetched != Some(*sha256))
    }
}

impl Destination {
    /// Opens, and makes where it is missing, `results/<run>` in `root`, with its index in the file `index`
    /// (`.git/agile/fetched/<run>.json`). What an interrupted fetch left half-written is removed.
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
        let way = Folder::open(root).and_then(|root| root.descend(name.as_bytes(), true));
        let top = match way.or_step(|| format!("cannot make {name}"))? {
            Way::There(top) => top,
            Way::Missing | Way::Blocked => {
                return Err(Error::step(format!(
                    "{name} is a link, or not a folder; nothing is written through it"
                ))
                .hint(format!("move {name} or results away, and try again")));
            }
        };
        if !top.lock() {
            return Err(
                Error::step(format!("another git-agile is fetching into {name}"))
                    .hint("wait until it is done"),
            );
        }
        let clean = top.remove_leftovers(plan::OURS);
        clean.or_step(|| format!("cannot tidy {name}"))?;
        Ok(Destination {
            top,
            index: Index::load(index),
            name,
        })
    }

    /// Looks at what lies in the places of `listing`. Reads and hashes every file that changed since it was
    /// fetched: it may take a while, and blocks.
    ///
    /// # Errors
    /// [`Kind::Step`](crate::error::Kind::Step) when a folder or file here cannot be read.
    pub fn look(&mut self, listing: &Listing) -> Result<Local> {
        let mut local = Local::default();
        let name = self.name.clone();
        self.look_around(listing, &mut local)
            .or_step(|| format!("cannot read {name}"))?;
        self.index.save()?;
        Ok(local)
    }

    fn look_around(&mut self, listing: &Listing, local: &mut Local) -> io::Result<()> {
        for file in &listing.files {
            let here = self.look_at(&file.path, file)?;
            if here.is_some_and(|here| here.is_edited())
                && let Ok(beside) = file.path.beside()
                && let Some(found) = self.look_at(&beside, file)?
            {
                local.here.insert(beside, found);
            }
            local
                .here
                .extend(here.map(|here| (file.path.clone(), here)));
        }
        local.folds = self.folds()?;
        for (folder, _) in plan::git_parts(listing) {
            let present = self.present(&folder)?;
            local.git_parts.insert(folder, present);
        }
        Ok(())
    }

    /// What lies at `path`; a file with the content of `file` counts as ours from now on.
    fn look_at(&mut self, path: &ResultPath, file: &File) -> io::Result<Option<Here>> {
        let (folder, name) = path.split();
        let folder = match self.top.descend(folder, false)? {
            Way::There(folder) => folder,
            Way::Missing => return Ok(None),
            Way::Blocked => return Ok(Some(Here::InTheWay)),
        };
        let stamp = match folder.find(name)? {
            Found::Nothing => return Ok(None),
            Found::Folder | Found::Other => return Ok(Some(Here::InTheWay)),
            Found::Plain(stamp) => stamp,
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
        let (stamp, sha256) = match folder.digest(name) {
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
