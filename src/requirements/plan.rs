//! The whole decision: files and declarations in, the new text and what to say about it out.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Document, Kind, Line};
use super::edit::{Change, Wanted, edit};
use super::environment::Environment;
use super::name::normal;
use super::needs::{Class, File, Needs, needs};
use super::project::{Project, Said};
use super::python::Pythons;
use super::resolve::Resolver;
use super::settings::{Optional, Settings};
use super::tables;

/// Everything the decision depends on.
pub struct Input<'i> {
    /// The files that count, read.
    pub files: &'i [File],
    /// The paths of all tracked files.
    pub paths: &'i [String],
    /// The project's settings.
    pub settings: &'i Settings,
    /// What is installed.
    pub environment: &'i Environment,
    /// The versions of Python that it runs on.
    pub pythons: &'i Pythons,
    /// The requirements file, when there is one.
    pub requirements: Option<&'i str>,
    /// The file for development, when there is one.
    pub development: Option<&'i str>,
    /// The files that the requirements file includes (`-r`), path and text.
    pub included: &'i [(String, String)],
    /// Names that other files declare.
    pub hints: &'i [String],
    /// `pyproject.toml`, when there is one.
    pub pyproject: Option<&'i str>,
    /// `setup.cfg`, when there is one.
    pub setup: Option<&'i str>,
    /// `setup.py`, when there is one.
    pub script: Option<&'i str>,
}

/// A file as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The path from the top of the repository.
    pub path: String,
    /// The text before; nothing when there is no such file.
    pub old: Option<String>,
    /// The text it should have.
    pub new: String,
    /// The changes.
    pub changes: Vec<Change>,
    /// The lines that are missing and cannot be added, for pip wants their hashes.
    pub unhashed: Vec<String>,
}

impl Target {
    /// Whether it is pyproject.toml, and no list of requirements.
    pub fn is_toml(&self) -> bool {
        self.path.ends_with(".toml")
    }

    /// Whether the file must be written.
    pub fn is_changed(&self) -> bool {
        self.old.as_deref().unwrap_or_default() != self.new
    }

    /// Takes the changes back where the file has hashes: a line without one makes pip refuse all of them, and what
    /// nothing imports may be what another line needs.
    fn unless_hashed(mut self) -> Self {
        let old = self.old.as_deref().unwrap_or_default();
        if Document::parse(old).hashed().is_some() {
            self.new = old.into();
            let changes = self.changes.drain(..);
            let missing = changes.filter_map(|change| match change {
                Change::Added { text, .. } => Some(text),
                _ => None,
            });
            self.unhashed = missing.collect();
        }
        self
    }
}

/// The decision.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What the code needs.
    pub needs: Needs,
    /// The files as they should be.
    pub targets: Vec<Target>,
}

/// Decides what the requirements of a project are.
pub fn plan(input: &Input) -> Plan {
    let toml = input.pyproject.unwrap_or_default();
    let mut roots = super::pyproject::roots(toml);
    roots.extend(super::declared::roots(input.setup.unwrap_or_default()));
    let project = Project::new(
        input.paths.iter().map(String::as_str),
        &said(input.files, &roots),
    );
    let document = Document::parse(input.requirements.unwrap_or_default());
    let development = Document::parse(input.development.unwrap_or_default());
    let included = input.included.iter();
    let included: Vec<_> = included.map(|(_, text)| Document::parse(text)).collect();
    let elsewhere = || included.iter().flat_map(Document::lines);
    let (mut declared, hinted) = hints(input.files);
    declared.extend(input.hints.iter().cloned());
    declared.extend(super::pyproject::declared(toml));
    let mut own = own(input);
    let mut direct = Vec::new();
    let lines = document.lines().iter().chain(development.lines());
    for line in elsewhere().chain(lines) {
        match &line.kind {
            Kind::Requirement(requirement) => {
                own.remove(&normal(&requirement.name));
                declared.push(requirement.name.clone());
            }
            Kind::Direct(Some(name)) => {
                own.remove(&normal(name));
                direct.push(name.clone());
            }
            _ => {}
        }
    }
    let resolver = Resolver::new(input.settings, input.environment, declared, direct)
        .hinted(hinted)
        .owned(own);
    let needs = needs(
        input.files,
        &project,
        &resolver,
        input.settings,
        input.pythons,
    );
    let mut plan = Plan {
        needs,
        ..Plan::default()
    };
    let elsewhere = elsewhere().filter_map(Line::name).map(normal).collect();
    plan.main(input, document, &elsewhere);
    plan.development(input, development);
    plan.pyproject(input);
    plan
}

/// The normal names that the project's own distribution is given. One that `map` names is a person's word that it
/// is another's.
fn own(input: &Input) -> BTreeSet<String> {
    let said = [
        input.pyproject.and_then(super::pyproject::own),
        input.setup.and_then(super::declared::own),
        input.script.and_then(super::declared::own_of_script),
    ];
    let names = said.into_iter().flatten().map(|name| normal(&name));
    let mapped = |name: &String| {
        input
            .settings
            .map
            .values()
            .any(|other| normal(other) == *name)
    };
    names.filter(|name| !mapped(name)).collect()
}

/// What files say about where modules lie; `roots` are folders that pyproject.toml or setup.cfg names.
fn said<'i>(files: &'i [File], roots: &'i [String]) -> Said<'i> {
    let mut said = Said::default();
    for file in files {
        let path = file.path.as_str();
        let (folders, roots) = (&file.scan.folders, &file.scan.roots);
        said.folders
            .extend(folders.iter().map(|text| (path, text.as_str(), false)));
        said.folders
            .extend(roots.iter().map(|text| (path, text.as_str(), true)));
        if file.scan.namespace && path.ends_with("__init__.py") {
            said.namespaces.insert(path);
        }
    }
    said.folders.extend(
        roots
            .iter()
            .map(|root| ("pyproject.toml", root.as_str(), true)),
    );
    said
}

/// What the code itself installs: names, and by normal name what it installs from elsewhere.
fn hints(files: &[File]) -> (Vec<String>, BTreeMap<String, String>) {
    let (mut names, mut elsewhere) = (Vec::new(), BTreeMap::new());
    for text in files.iter().flat_map(|file| &file.scan.installs) {
        match Document::parse(text).lines().first().map(|line| &line.kind) {
            Some(Kind::Requirement(requirement)) => names.push(requirement.name.clone()),
            Some(Kind::Direct(Some(name))) => {
                elsewhere.insert(normal(name), text.clone());
            }
            _ => {}
        }
    }
    (names, elsewhere)
}

impl Plan {
    fn main(&mut self, input: &Input, mut document: Document, elsewhere: &BTreeSet<String>) {
        let declared: BTreeSet<String> = document
            .requirements()
            .map(|(_, r)| normal(&r.name))
            .collect();
        let separate = input.settings.dev_file.is_some();
        let wanted: Vec<Wanted> = self
            .needs
            .distributions
            .iter()
            .filter(|(name, need)| match need.class {
                Class::Required => true,
                Class::Development => !separate && declared.contains(*name),
                Class::Optional => {
                    declared.contains(*name)
                        || match input.settings.optional {
                            Optional::All => true,
                            Optional::Installed => input.environment.get(name).is_some(),
                            Optional::None => false,
                        }
                }
            })
            .map(|(_, need)| wanted(&need.name, input.environment))
            .collect();
        let stays = self.stays(input.environment);
        let changes = edit(&mut document, &wanted, input.settings.pin, elsewhere, stays);
        let target = Target {
            path: input.settings.file.clone(),
            old: input.requirements.map(str::to_string),
            new: document.render(),
            changes,
            unhashed: Vec::new(),
        };
        self.targets.push(target.unless_hashed());
    }

    /// Whether only tests and documentation import the distribution `name`.
    pub fn is_development(&self, name: &str) -> bool {
        let need = self.needs.distributions.get(&normal(name));
        need.is_some_and(|need| need.class == Class::Development)
    }

    /// A declared distribution that nothing knows may be what an import without a provider needs: it stays. So does
    /// every one while a file cannot be read.
    fn stays<'e>(&self, environment: &'e Environment) -> impl Fn(&str) -> bool + use<'e> {
        let (open, unread) = (
            !self.needs.unresolved.is_empty(),
            !self.needs.unread.is_empty(),
        );
        move |name| unread || open && is_unknown(name, environment)
    }

    /// The dependencies in pyproject.toml, where the project declares some there.
    fn pyproject(&mut self, input: &Input) {
        let Some(old) = input.pyproject else { return };
        let declared: BTreeSet<String> = super::pyproject::declared(old)
            .iter()
            .map(|name| normal(name))
            .collect();
        let needs = self.needs.distributions.iter();
        let wanted: Vec<Wanted> = needs
            .filter(|(name, need)| need.class == Class::Required || declared.contains(*name))
            .map(|(_, need)| wanted(&need.name, input.environment))
            .collect();
        let stays = self.stays(input.environment);
        let edited = super::pyproject::edit(old, &wanted, input.settings.pin, stays);
        if let Some((new, changes)) = edited {
            self.targets.push(Target {
                path: "pyproject.toml".into(),
                old: Some(old.into()),
                new,
                changes,
                unhashed: Vec::new(),
            });
        }
    }

    fn development(&mut self, input: &Input, mut document: Document) {
        let Some(path) = &input.settings.dev_file else {
            return;
        };
        let only = self
            .needs
            .distributions
            .values()
            .filter(|need| need.class == Class::Development);
        let wanted: Vec<Wanted> = only
            .map(|need| wanted(&need.name, input.environment))
            .collect();
        // Runners and linters are needed though nothing imports them.
        let changes = edit(
            &mut document,
            &wanted,
            input.settings.pin,
            &BTreeSet::new(),
            |_| true,
        );
        let target = Target {
            path: path.clone(),
            old: input.development.map(str::to_string),
            new: document.render(),
            changes,
            unhashed: Vec::new(),
        };
        self.targets.push(target.unless_hashed());
    }
}

fn wanted(name: &str, environment: &Environment) -> Wanted {
    let version = environment.get(name).map(|found| found.version.clone());
    // Conda's versions need not be Python's.
    let version = version.filter(|version| version.parse::<pep440_rs::Version>().is_ok());
    Wanted {
        name: name.into(),
        version,
    }
}

/// Whether nothing says which modules the distribution `name` provides: it may be what an import that nothing
/// provides needs. One that is called as the import that another is known to provide is known for a stranger.
fn is_unknown(name: &str, environment: &Environment) -> bool {
    let known = || tables::is_provider(name) || !tables::row(name).providers.is_empty();
    environment.get(name).is_none() && !known()
}
