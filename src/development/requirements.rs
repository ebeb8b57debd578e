//! The requirements of a repository: reads what the decision depends on, and nothing more.

use std::path::{Component, Path};
use std::sync::Arc;

use git2::Oid;
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rayon::prelude::*;

use super::cache::{self, Cache};
use super::contents::{LfsFile, POINTER, lfs_folder};
use super::lock::{is_stale, lock_name};
use super::partial;
use super::repository::Repository;
use super::tracked::{self, Entry, Listing, Source};
use crate::error::{Context as _, Error, Result};
use crate::requirements::edit::Change;
use crate::requirements::environment::{self, Environment};
use crate::requirements::findings::{Code, Finding, findings};
use crate::requirements::needs::{File, Place};
use crate::requirements::notebook::scan_notebook;
use crate::requirements::plan::{Input, Plan, plan};
use crate::requirements::project::is_development;
use crate::requirements::python::Pythons;
use crate::requirements::scan::{Scan, scan};
use crate::requirements::{Hook, Settings, declared, document, pyproject, settings};

/// Everything that was read of a project.
pub struct Project {
    /// Its settings.
    pub settings: Settings,
    /// The Python that `[environment]` names.
    pub python: Option<String>,
    /// What is tracked of it.
    pub listing: Listing,
    /// What is installed for it.
    pub environment: Environment,
    /// Where it was read.
    pub source: Source,
}

/// The decision, and what is wrong.
pub struct Decision {
    /// The decision.
    pub plan: Plan,
    /// What is wrong; empty unless asked for.
    pub findings: Vec<Finding>,
}

/// What there is beside the requirements file.
enum Lock {
    None,
    Fresh,
    Stale(Finding),
}

/// Fewer files than this are not worth threads of their own.
const FEW: usize = 32;

/// More files that declare something than this are a collection of projects.
const MANY_HINTS: usize = 64;

/// A file larger than this is data.
const LARGE: usize = 256 << 20;

impl Project {
    /// Reads settings and the list of files of `source`. Settings are read from `agile.toml` there.
    ///
    /// # Errors
    /// [`Kind::Config`](crate::error::Kind::Config) when the index or the settings cannot be read.
    pub fn open(repository: &Repository, source: Source) -> Result<Self> {
        let mut project = Project {
            settings: Settings::default(),
            python: None,
            listing: tracked::list(repository, source)?,
            environment: Environment::default(),
            source,
        };
        let declarations = project.listing.files.iter().filter(|entry| {
            let fixed = ["agile.toml", "pyproject.toml", ".python-version"];
            let declares = fixed.contains(&&*entry.path) || declared::may_declare(&entry.path);
            declares && project.is_stored(repository.root(), entry)
        });
        partial::complete(repository, declarations);
        if let Some(text) = project.text(repository, "agile.toml")? {
            project.settings = Settings::from_agile_toml(&text)?;
            project.python = settings::environment_python(&text);
        }
        Ok(project)
    }

    /// The tracked file `path`.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        self.listing.files.iter().find(|entry| entry.path == path)
    }

    /// The bytes of the file `path`: of the work tree also when it is not tracked yet.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn bytes(&self, repository: &Repository, path: &str) -> Result<Option<Vec<u8>>> {
        match self.entry(path) {
            Some(entry) if self.is_stored(repository.root(), entry) => {
                tracked::blob(repository.git(), entry).map(Some)
            }
            _ if self.source == Source::WorkTree => tracked::work_file(repository.root(), path),
            _ => Ok(None),
        }
    }

    /// Whether the blob of `entry` counts, and no file below `root`.
    fn is_stored(&self, root: &Path, entry: &Entry) -> bool {
        self.source != Source::WorkTree
            || entry.sparse && root.join(&entry.path).symlink_metadata().is_err()
    }

    /// The text of the declaration file `path`.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and when it is not UTF-8.
    pub fn text(&self, repository: &Repository, path: &str) -> Result<Option<String>> {
        let bytes = self.bytes(repository, path)?;
        bytes.map(|bytes| tracked::text(path, bytes)).transpose()
    }

    /// Reads the environment and every file that counts, and decides.
    ///
    /// # Errors
    /// [`Kind::Config`](crate::error::Kind::Config) for an `exclude` that is no pattern, or a file that cannot be read.
    pub fn plan(&mut self, repository: &Repository) -> Result<Plan> {
        Ok(self.decide(repository, false)?.plan)
    }

    /// As [`plan`](Self::plan), and looks for everything that is wrong.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub fn check(&mut self, repository: &Repository) -> Result<Decision> {
        self.decide(repository, true)
    }

    fn decide(&mut self, repository: &Repository, check: bool) -> Result<Decision> {
        let mut folders =
            environment::candidates(repository.root(), |name| std::env::var(name).ok());
        // A linked work tree is seldom given an environment of its own.
        if let Some(main) = repository.common_dir().parent() {
            folders.extend([main.join(".venv"), main.join("venv")]);
        }
        self.environment = environment::read(&folders);
        let files = self.files(repository)?;
        let paths = tracked::paths(repository, &self.listing);
        let requirements = self.text(repository, &self.settings.file)?;
        let development = match &self.settings.dev_file {
            Some(path) => self.text(repository, path)?,
            None => None,
        };
        let included = self.included(repository, requirements.as_deref().unwrap_or_default())?;
        let pyproject = self.text(repository, "pyproject.toml").unwrap_or_default();
        let setup = self.text(repository, "setup.cfg").unwrap_or_default();
        let script = self.text(repository, "setup.py").unwrap_or_default();
        let hints = self.hints(repository);
        let pythons = self.pythons(repository, pyproject.as_deref().unwrap_or_default());
        let input = Input {
            files: &files,
            pythons: &pythons,
            paths: &paths,
            settings: &self.settings,
            environment: &self.environment,
            requirements: requirements.as_deref(),
            development: development.as_deref(),
            included: &included,
            hints: &hints,
            pyproject: pyproject.as_deref(),
            setup: setup.as_deref(),
            script: script.as_deref(),
        };
        let plan = plan(&input);
        let mut found = Vec::new();
        if check {
            found = findings(&plan, &input);
            match self.stale_lock(repository, requirements.as_deref())? {
                Lock::None => {}
                // The lock has the versions.
                Lock::Fresh => found.retain(|finding| finding.code != Code::Unpinned),
                Lock::Stale(finding) => found.push(finding),
            }
        }
        Ok(Decision {
            plan,
            findings: found,
        })
    }

    /// The versions of Python that the code runs on: what the project chose, else its environment's, else those that
    /// it allows.
    fn pythons(&self, repository: &Repository, pyproject: &str) -> Pythons {
        let chosen = || self.python.as_deref().and_then(Pythons::exactly);
        let file = || {
            let text = self.text(repository, ".python-version").ok()??;
            Pythons::exactly(text.lines().next()?)
        };
        let environment = || {
            self.environment
                .python
                .as_deref()
                .and_then(Pythons::exactly)
        };
        let allowed = || Pythons::allowed(&pyproject::requires_python(pyproject)?);
        chosen()
            .or_else(file)
            .or_else(environment)
            .or_else(allowed)
            .unwrap_or_default()
    }

    /// Whether the lock, when there is one, was made from other requirements.
    fn stale_lock(&self, repository: &Repository, text: Option<&str>) -> Result<Lock> {
        let path = lock_name(&self.settings.file);
        let Some(lock) = self.text(repository, &path)? else {
            return Ok(Lock::None);
        };
        if !is_stale(&lock, text.unwrap_or_default().as_bytes()) {
            return Ok(Lock::Fresh);
        }
        Ok(Lock::Stale(Finding {
            code: Code::StaleLock,
            message: format!("{path} was not made from {} as it is", self.settings.file),
            place: Place { path, line: 1 },
            mend: "git agile requirements --lock".into(),
        }))
    }

    /// The files that count, scanned; what is remembered of a blob is not read again.
    fn files(&self, repository: &Repository) -> Result<Vec<File>> {
        let exclude = patterns("exclude", &self.settings.exclude)?;
        let development = patterns("development", &self.settings.development)?;
        let is_development = |path: &str| match development.matched_path_or_any_parents(path, false)
        {
            Match::None => is_development(path),
            Match::Ignore(_) => true,
            Match::Whitelist(_) => false,
        };
        let counts = |entry: &&Entry| {
            is_python(&entry.path, entry.executable)
                && !exclude
                    .matched_path_or_any_parents(&entry.path, false)
                    .is_ignore()
        };
        let entries: Vec<&Entry> = self.listing.files.iter().filter(counts).collect();
        let mut cache = Cache::open(repository);
        let keys: Vec<String> = entries
            .iter()
            .map(|entry| cache::key(kind(&entry.path), entry.blob))
            .collect();
        let root = repository.root();
        let remembered: Vec<Option<Scan>> = {
            let known = cache.known();
            let remember = |(entry, key): (&&Entry, &String)| {
                let json = known.get(key.as_str())?;
                let same = self.is_stored(root, entry) || tracked::is_unchanged(root, entry);
                same.then(|| serde_json::from_str(json).ok())?
            };
            entries.iter().zip(&keys).map(remember).collect()
        };
        let missing = |at: &usize| remembered[*at].is_none();
        let missing: Vec<&Entry> = (0..entries.len())
            .filter(missing)
            .map(|at| entries[at])
            .collect();
        let mut scanned = self.scan_all(repository, &missing)?.into_iter();
        let mut files = Vec::with_capacity(entries.len());
        for ((entry, key), remembered) in entries.iter().zip(&keys).zip(remembered) {
            let (scan, blob) = match remembered {
                Some(scan) => (scan, false),
                None => scanned.next().unwrap_or_default(),
            };
            // What a filter of git's makes of a blob that cannot be read may well be read.
            if blob && !scan.unread {
                cache.add(key.clone(), &scan);
            }
            files.push(File {
                path: entry.path.clone(),
                scan: Arc::new(scan),
                development: is_development(&entry.path),
            });
        }
        cache.save(&keys);
        Ok(files)
    }

    /// Reads and scans files, and says of each whether what was read is its blob.
    fn scan_all(&self, repository: &Repository, entries: &[&Entry]) -> Result<Vec<(Scan, bool)>> {
        let root = repository.root();
        let stored = entries.iter().filter(|entry| self.is_stored(root, entry));
        partial::complete(repository, stored.copied());
        let lfs = lfs_folder(repository);
        let one = |git: &git2::Repository, entry: &Entry| {
            if !self.is_stored(root, entry) {
                let same = tracked::is_unchanged(root, entry);
                let bytes = tracked::work_file(root, &entry.path)?.unwrap_or_default();
                return Ok((read(&entry.path, &bytes), same));
            }
            let Ok(bytes) = tracked::blob(git, entry) else {
                return Ok((Scan::unread(1, "its content is not in this clone"), false));
            };
            let bytes = stored_by_lfs(&lfs, entry, &bytes).unwrap_or(bytes);
            Ok((read(&entry.path, &bytes), true))
        };
        if entries.len() < FEW {
            let scans = entries.iter().map(|entry| one(repository.git(), entry));
            return scans.collect();
        }
        let folder = repository.git().path();
        // A handle belongs to one thread.
        let open = || git2::Repository::open(folder);
        entries
            .par_iter()
            .map_init(open, |git, entry| match git {
                Ok(git) => one(git, entry),
                Err(error) => Err(Error::config("cannot open the git repository").cause(error)),
            })
            .collect()
    }

    /// The names that other tracked files declare. What cannot be read says nothing.
    fn hints(&self, repository: &Repository) -> Vec<String> {
        let own = |path: &str| {
            path == self.settings.file || self.settings.dev_file.as_deref() == Some(path)
        };
        let files = self.listing.files.iter().map(|entry| entry.path.as_str());
        let files = files
            .filter(|path| declared::may_declare(path) && !own(path))
            .take(MANY_HINTS);
        files
            .filter_map(|path| Some(declared::names(path, &self.text(repository, path).ok()??)))
            .flatten()
            .collect()
    }

    /// The files that `-r` lines name, and those that these name.
    fn included(&self, repository: &Repository, text: &str) -> Result<Vec<(String, String)>> {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut open = includes(&self.settings.file, text);
        while let Some(path) = open.pop() {
            if path == self.settings.file || found.iter().any(|(known, _)| *known == path) {
                continue;
            }
            if let Some(text) = self.text(repository, &path)? {
                open.extend(includes(&path, &text));
                found.push((path, text));
            }
        }
        Ok(found)
    }
}

/// A requirements file of a commit that does not list what the commit's code imports.
pub struct Outdated {
    /// The path of the file.
    pub path: String,
    /// What is missing in it and what nothing imports: `+requests==2.31, -flask`.
    pub changes: String,
    /// What the hook would do about it.
    pub hook: Hook,
}

/// The files of `commit` that do not list what its code imports; other versions than are installed here do not
/// count. The pre-commit hook does not run for a clean merge, a cherry-pick or a rebase.
///
/// # Errors
/// As [`Project::open`] and [`Project::plan`].
pub fn outdated(repository: &Repository, commit: Oid) -> Result<Vec<Outdated>> {
    let mut project = Project::open(repository, Source::Commit(commit))?;
    let hook = project.settings.hook;
    if hook == Hook::Off {
        return Ok(Vec::new());
    }
    let plan = project.plan(repository)?;
    let wrong = plan.targets.iter().filter_map(|target| {
        let names = target
            .changes
            .iter()
            .filter(|change| !matches!(change, Change::Changed { .. }));
        let changes: Vec<_> = names.map(ToString::to_string).collect();
        (!changes.is_empty()).then(|| Outdated {
            path: target.path.clone(),
            changes: changes.join(", "),
            hook,
        })
    });
    Ok(wrong.collect())
}

/// The paths that the `-r` lines of the file `path` name, from the top of the repository; by their components alone,
/// for a commit has no links to follow. One that leads out of it is nobody's.
fn includes(path: &str, text: &str) -> Vec<String> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let document = document::Document::parse(text);
    let lines = document.lines().iter();
    let inside = |value: &str| {
        let mut parts = Vec::new();
        for part in folder.join(value).components() {
            match part {
                Component::CurDir => {}
                Component::ParentDir => drop(parts.pop()?),
                Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
                _ => return None,
            }
        }
        Some(parts.join("/"))
    };
    lines
        .filter_map(|line| match &line.kind {
            document::Kind::Option(name, value)
                if matches!(name.as_str(), "-r" | "--requirement") =>
            {
                inside(value)
            }
            _ => None,
        })
        .collect()
}

/// The files that the key `name` of the `[requirements]` table names.
fn patterns(name: &str, lines: &[String]) -> Result<Gitignore> {
    let mut builder = GitignoreBuilder::new("");
    for pattern in lines {
        builder.add_line(None, pattern).or_config(|| {
            format!("agile.toml: `{name}` has a pattern that cannot be read: {pattern}")
        })?;
    }
    builder
        .build()
        .or_config(|| format!("agile.toml: `{name}` cannot be read"))
}

/// Whether a tracked file may be Python: by its ending, or an executable without one.
pub fn is_python(path: &str, executable: bool) -> bool {
    match kind(path) {
        's' => executable && !path.rsplit('/').next().unwrap_or_default().contains('.'),
        _ => true,
    }
}

/// How a file is read: `p` Python, `n` a notebook, `s` a script if its first line says so.
fn kind(path: &str) -> char {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("py" | "pyw") => 'p',
        Some("ipynb") => 'n',
        _ => 's',
    }
}

/// What the blob `bytes` of `entry` stands for, when it is a pointer of Git LFS and the content is in its `folder`.
fn stored_by_lfs(folder: &Path, entry: &Entry, bytes: &[u8]) -> Option<Vec<u8>> {
    let file = LfsFile::from_pointer(bytes).filter(|_| kind(&entry.path) != 's')?;
    let small = usize::try_from(file.size).is_ok_and(|size| size <= LARGE);
    small.then(|| std::fs::read(folder.join(file.path())).ok())?
}

/// Scans the content of the file `path`.
fn read(path: &str, bytes: &[u8]) -> Scan {
    if bytes.len() > LARGE {
        return Scan::unread(1, "is too large to be read");
    }
    if bytes.starts_with(POINTER) && kind(path) != 's' {
        return Scan::unread(1, "is a pointer of Git LFS, and the content is not here");
    }
    match kind(path) {
        'n' => scan_notebook(bytes),
        's' if !has_python_shebang(bytes) => Scan::default(),
        _ => scan(bytes, false),
    }
}

fn has_python_shebang(bytes: &[u8]) -> bool {
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let has = |word: &[u8]| line.windows(word.len()).any(|part| part == word);
    // `uv run` and `pipx run` start scripts with inline metadata.
    line.starts_with(b"#!")
        && [&b"python"[..], b"uv run", b"pipx run"]
            .into_iter()
            .any(has)
}

/// What an object of `text` would be called.
///
/// # Errors
/// Never for a text that fits into memory.
pub fn blob_id(text: &[u8]) -> Result<Oid> {
    Oid::hash_object(git2::ObjectType::Blob, text).or_step(|| "cannot hash a file".into())
}
