//! The requirements of a repository: reads what the decision depends on, and nothing more.

use std::path::Path;
use std::sync::Arc;

use git2::Oid;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rayon::prelude::*;

use super::lock::{is_stale, lock_name};
use super::repository::Repository;
use super::tracked::{self, Entry, Source};
use crate::error::{Context as _, Result};
use crate::requirements::environment::{self, Environment};
use crate::requirements::findings::{Code, Finding, findings};
use crate::requirements::needs::{File, Place};
use crate::requirements::notebook::scan_notebook;
use crate::requirements::plan::{Input, Plan, plan};
use crate::requirements::scan::{Problem, Scan, scan};
use crate::requirements::{Settings, document};

/// Everything that was read of a project.
pub struct Project {
    /// Its settings.
    pub settings: Settings,
    /// Its tracked files.
    pub entries: Vec<Entry>,
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
            entries: tracked::entries(repository, source)?,
            environment: Environment::default(),
            source,
        };
        if let Some(text) = project.text(repository, "agile.toml")? {
            project.settings = Settings::from_agile_toml(&text)?;
        }
        Ok(project)
    }

    /// The tracked file `path`.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.path == path)
    }

    /// The bytes of the file `path`: of the work tree also when it is not tracked yet.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn bytes(&self, repository: &Repository, path: &str) -> Result<Option<Vec<u8>>> {
        match self.source {
            Source::WorkTree => tracked::work_file(repository.root(), path),
            _ => self
                .entry(path)
                .map(|entry| tracked::blob(repository.git(), entry))
                .transpose(),
        }
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
        let paths: Vec<String> = self
            .entries
            .iter()
            .map(|entry| entry.path.clone())
            .collect();
        let requirements = self.text(repository, &self.settings.file)?;
        let development = match &self.settings.dev_file {
            Some(path) => self.text(repository, path)?,
            None => None,
        };
        let included = self.included(repository, requirements.as_deref().unwrap_or_default())?;
        let pyproject = self.text(repository, "pyproject.toml").unwrap_or_default();
        let input = Input {
            files: &files,
            paths: &paths,
            settings: &self.settings,
            environment: &self.environment,
            requirements: requirements.as_deref(),
            development: development.as_deref(),
            included: &included,
            pyproject: pyproject.as_deref(),
        };
        let plan = plan(&input);
        let mut found = Vec::new();
        if check {
            found = findings(&plan, &input);
            found.extend(self.stale_lock(repository, requirements.as_deref())?);
        }
        Ok(Decision {
            plan,
            findings: found,
        })
    }

    /// Whether the lock, when there is one, was made from other requirements.
    fn stale_lock(&self, repository: &Repository, text: Option<&str>) -> Result<Option<Finding>> {
        let path = lock_name(&self.settings.file);
        let lock = self.text(repository, &path)?;
        let stale = lock.is_some_and(|lock| is_stale(&lock, text.unwrap_or_default().as_bytes()));
        Ok(stale.then(|| Finding {
            code: Code::StaleLock,
            message: format!("{path} was not made from {} as it is", self.settings.file),
            place: Place { path, line: 1 },
            mend: "git agile requirements --lock".into(),
        }))
    }

    /// The files that count, scanned.
    fn files(&self, repository: &Repository) -> Result<Vec<File>> {
        let exclude = exclude(&self.settings)?;
        let counts = |entry: &&Entry| {
            is_python(entry)
                && !exclude
                    .matched_path_or_any_parents(&entry.path, false)
                    .is_ignore()
        };
        let entries: Vec<&Entry> = self.entries.iter().filter(counts).collect();
        let root = repository.root();
        let scans: Result<Vec<Scan>> = match self.source {
            Source::WorkTree => entries
                .par_iter()
                .map(|entry| {
                    let bytes = tracked::work_file(root, &entry.path)?;
                    Ok(read(entry, &bytes.unwrap_or_default()))
                })
                .collect(),
            _ => entries
                .iter()
                .map(|entry| Ok(read(entry, &tracked::blob(repository.git(), entry)?)))
                .collect(),
        };
        let files = entries.iter().zip(scans?);
        Ok(files
            .map(|(entry, scan)| File {
                path: entry.path.clone(),
                scan: Arc::new(scan),
            })
            .collect())
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

/// The paths that the `-r` lines of the file `path` name, from the top of the repository.
fn includes(path: &str, text: &str) -> Vec<String> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let document = document::Document::parse(text);
    let lines = document.lines().iter();
    lines
        .filter_map(|line| match &line.kind {
            document::Kind::Option(name, value)
                if matches!(name.as_str(), "-r" | "--requirement") =>
            {
                let joined = folder.join(value);
                let parts = joined
                    .components()
                    .filter(|c| !matches!(c, std::path::Component::CurDir));
                Some(
                    parts
                        .map(|c| c.as_os_str().to_string_lossy())
                        .collect::<Vec<_>>()
                        .join("/"),
                )
            }
            _ => None,
        })
        .collect()
}

/// The files that do not count.
fn exclude(settings: &Settings) -> Result<Gitignore> {
    let mut builder = GitignoreBuilder::new("");
    for pattern in &settings.exclude {
        builder.add_line(None, pattern).or_config(|| {
            format!("agile.toml: `exclude` has a pattern that cannot be read: {pattern}")
        })?;
    }
    builder
        .build()
        .or_config(|| "agile.toml: `exclude` cannot be read".into())
}

/// Whether a tracked file may be Python: by its ending, or an executable without one.
pub fn is_python(entry: &Entry) -> bool {
    let name = entry.path.rsplit('/').next().unwrap_or_default();
    match name.rsplit_once('.') {
        Some((_, ending)) => matches!(ending, "py" | "pyw" | "ipynb"),
        None => entry.executable,
    }
}

/// Scans the content of a file.
fn read(entry: &Entry, bytes: &[u8]) -> Scan {
    if bytes.len() > LARGE {
        let message = "is too large to be read".to_string();
        let problems = vec![Problem { line: 1, message }];
        return Scan {
            problems,
            ..Scan::default()
        };
    }
    if entry.path.ends_with(".ipynb") {
        return scan_notebook(bytes);
    }
    let script = !entry
        .path
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .contains('.');
    if script && !has_python_shebang(bytes) {
        return Scan::default();
    }
    scan(bytes, false)
}

fn has_python_shebang(bytes: &[u8]) -> bool {
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    line.starts_with(b"#!") && line.windows(6).any(|word| word == b"python")
}

/// What an object of `text` would be called.
///
/// # Errors
/// Never for a text that fits into memory.
pub fn blob_id(text: &[u8]) -> Result<Oid> {
    Oid::hash_object(git2::ObjectType::Blob, text).or_step(|| "cannot hash a file".into())
}
