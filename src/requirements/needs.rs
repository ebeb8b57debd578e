//! What the code of a project needs: its imports, sorted out and resolved.

use std::collections::{BTreeMap, HashMap};

use super::name::normal;
use super::project::{Local, Project};
use super::python::Pythons;
use super::resolve::{Answer, Resolver};
use super::scan::{Guard, Import, Problem, Scan};
use super::{Settings, tables};

/// How much an import is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The program fails without it.
    Required,
    /// Only guarded imports name it.
    Optional,
    /// Only tests and documentation import it.
    Development,
}

impl Class {
    /// The word for it in output.
    pub fn word(self) -> &'static str {
        match self {
            Class::Required => "required",
            Class::Optional => "optional",
            Class::Development => "development",
        }
    }
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The path from the top of the repository.
    pub path: String,
    /// The line, from 1; of a notebook, counted through its code cells.
    pub line: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.path, self.line)
    }
}

/// An import and where it occurs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The part of the dotted name that decides the distribution.
    pub import: String,
    /// How much it is needed.
    pub class: Class,
    /// Every place, in order.
    pub places: Vec<Place>,
}

/// A distribution that the code needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Its name as it will be written.
    pub name: String,
    /// How much it is needed: the most that one of its imports is.
    pub class: Class,
    /// The imports that it provides.
    pub uses: Vec<Use>,
}

/// An import that nothing provides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The import.
    pub used: Use,
    /// Why nothing provides it.
    pub reason: String,
}

/// What a project needs.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// By normal name.
    pub distributions: BTreeMap<String, Need>,
    /// In the order of their names.
    pub unresolved: Vec<Unresolved>,
    /// What is wrong with files.
    pub problems: Vec<(String, Problem)>,
    /// The files that cannot be read, so that what they import is missing here.
    pub unread: Vec<String>,
}

/// A file of the project that was read.
#[derive(Clone, Debug)]
pub struct File {
    /// The path from the top of the repository.
    pub path: String,
    /// What it says.
    pub scan: std::sync::Arc<Scan>,
    /// It is test or documentation code.
    pub development: bool,
}

/// Sorts out what `files` import: the project's own, the standard library's of `pythons`, and what distributions
/// provide.
pub fn needs(
    files: &[File],
    project: &Project,
    resolver: &Resolver,
    settings: &Settings,
    pythons: &Pythons,
) -> Needs {
    let mut needs = Needs::default();
    let mut sorter = Sorter {
        project,
        resolver,
        pythons,
        standard: HashMap::new(),
        answers: HashMap::new(),
        numbers: HashMap::new(),
        found: Vec::new(),
    };
    for file in files {
        if file.scan.unread {
            needs.unread.push(file.path.clone());
        }
        for problem in &file.scan.problems {
            needs.problems.push((file.path.clone(), problem.clone()));
        }
        sorter.calls(file);
        for import in &file.scan.imports {
            sorter.import(file, import);
        }
    }
    let mut found = sorter.found;
    // The project's own modules have no places.
    found.retain(|(_, used)| !used.places.is_empty());
    found.sort_by(|a, b| (&a.1.import, &a.0).cmp(&(&b.1.import, &b.0)));
    let parts: Vec<String> = found
        .iter()
        .filter_map(|(answer, used)| below(&used.import, answer))
        .collect();
    for (answer, mut used) in found {
        // `import ruamel` beside `from ruamel.yaml import YAML`
        if matches!(answer, Answer::Nothing(_)) && parts.contains(&used.import) {
            continue;
        }
        used.places.sort();
        needs.add(answer, used);
    }
    needs.keep(settings);
    needs
}

/// Most imports of a project are the same few: each is looked up once.
struct Sorter<'s> {
    project: &'s Project,
    resolver: &'s Resolver<'s>,
    pythons: &'s Pythons,
    /// Whether a top-level module is the standard library's, as [`Pythons::standard_library`] says it.
    standard: HashMap<&'s str, Option<Result<(), String>>>,
    /// What stands behind an import of others, as numbers of `found`.
    answers: HashMap<(&'s str, &'s [String]), Vec<usize>>,
    numbers: HashMap<(String, Answer), usize>,
    found: Vec<(Answer, Use)>,
}

impl<'s> Sorter<'s> {
    fn import(&mut self, file: &File, import: &'s Import) {
        let class = match (file.development, import.guard) {
            (true, _) => Class::Development,
            (false, Guard::Guarded) => Class::Optional,
            (false, Guard::Plain) => Class::Required,
        };
        if is_tensorboard(import) {
            let number = self.number("torch.utils.tensorboard", distribution("tensorboard"));
            self.note(number, class.max(Class::Optional), file, import.line);
        }
        let (module, names) = (&import.module, &import.names);
        let top = module.split('.').next().unwrap_or_default();
        let pythons = self.pythons;
        let standard = self
            .standard
            .entry(top)
            .or_insert_with(|| pythons.standard_library(top));
        let gone = match standard {
            Some(Ok(())) => return,
            Some(Err(why)) => Some(why.clone()),
            None => None,
        };
        let climbs = !file.scan.folders.is_empty();
        let local = self
            .project
            .local(&file.path, module, names, file.scan.legacy, climbs);
        if local == Local::Yes {
            return;
        }
        for number in self.resolve(import, gone.as_deref()) {
            let known = !matches!(self.found[number].0, Answer::Nothing(_));
            if local == Local::No || known {
                self.note(number, class, file, import.line);
            }
        }
    }

    /// What provides an import, as numbers of `found`. `gone`: why the standard library does not.
    fn resolve(&mut self, import: &'s Import, gone: Option<&str>) -> Vec<usize> {
        let key = (import.module.as_str(), import.names.as_slice());
        if let Some(numbers) = self.answers.get(&key) {
            return numbers.clone();
        }
        let answers = self.resolver.resolve(&import.module, &import.names);
        let numbers: Vec<usize> = answers
            .into_iter()
            .map(|(part, answer)| match (gone, answer) {
                (Some(why), Answer::Nothing(_)) => self.number(&part, Answer::Nothing(why.into())),
                (_, answer) => self.number(&part, answer),
            })
            .collect();
        self.answers.insert(key, numbers.clone());
        numbers
    }

    /// The calls that load another distribution at run time: as optional imports, since a file format may be all a
    /// project never meets.
    fn calls(&mut self, file: &File) {
        let class = if file.development {
            Class::Development
        } else {
            Class::Optional
        };
        for call in &file.scan.calls {
            let row = tables::companions().find(|(name, _)| *name == call.name);
            if let Some((name, companion)) = row {
                let number = self.number(name, distribution(companion));
                self.note(number, class, file, call.line);
            }
        }
    }

    fn number(&mut self, import: &str, answer: Answer) -> usize {
        let next = self.found.len();
        let number = *self
            .numbers
            .entry((import.to_string(), answer.clone()))
            .or_insert(next);
        if number == next {
            let used = Use {
                import: import.into(),
                class: Class::Development,
                places: Vec::new(),
            };
            self.found.push((answer, used));
        }
        number
    }

    fn note(&mut self, number: usize, class: Class, file: &File, line: u32) {
        let used = &mut self.found[number].1;
        used.class = used.class.min(class);
        let path = file.path.clone();
        used.places.push(Place { path, line });
    }
}

fn distribution(name: &str) -> Answer {
    Answer::Distribution(name.into())
}

/// The namespace of the import `key` when a distribution provides a part of it.
fn below(key: &str, answer: &Answer) -> Option<String> {
    let (namespace, _) = key.split_once('.')?;
    matches!(answer, Answer::Distribution(_)).then(|| namespace.to_string())
}

/// PyTorch's writer of summaries is TensorBoard's, which PyTorch does not install.
fn is_tensorboard(import: &Import) -> bool {
    let module = import.module.as_str();
    module.starts_with("torch.utils.tensorboard")
        || module == "torch.utils" && import.names.iter().any(|name| name == "tensorboard")
}

impl Needs {
    fn add(&mut self, answer: Answer, used: Use) {
        match answer {
            Answer::Nobody => {}
            Answer::Nothing(reason) => self.unresolved.push(Unresolved { used, reason }),
            Answer::Distribution(name) => {
                let need = self
                    .distributions
                    .entry(normal(&name))
                    .or_insert_with(|| Need {
                        name,
                        class: used.class,
                        uses: Vec::new(),
                    });
                need.class = need.class.min(used.class);
                need.uses.push(used);
            }
        }
    }

    /// What `keep` names is required.
    fn keep(&mut self, settings: &Settings) {
        for name in &settings.keep {
            let need = self
                .distributions
                .entry(normal(name))
                .or_insert_with(|| Need {
                    name: name.clone(),
                    class: Class::Required,
                    uses: Vec::new(),
                });
            need.class = Class::Required;
        }
    }
}
