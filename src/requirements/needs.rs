//! What the code of a project needs: its imports, sorted out and resolved.

use std::collections::{BTreeMap, HashMap};

use super::name::normal;
use super::project::{Local, Project, is_development};
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
}

/// A file of the project that was read.
#[derive(Clone, Debug)]
pub struct File {
    /// The path from the top of the repository.
    pub path: String,
    /// What it says.
    pub scan: std::sync::Arc<Scan>,
}

/// Every import and what provides it.
type Found = BTreeMap<(String, Answer), Use>;

/// What provides an import, by the parts of its name that decide.
type Answers = Vec<(String, Answer)>;

/// Sorts out what `files` import: the project's own, the standard library's, and what distributions provide.
pub fn needs(files: &[File], project: &Project, resolver: &Resolver, settings: &Settings) -> Needs {
    let mut needs = Needs::default();
    let mut answers: HashMap<(&str, &[String]), Answers> = HashMap::new();
    let mut found = Found::new();
    for file in files {
        let development = is_development(&file.path);
        for problem in &file.scan.problems {
            needs.problems.push((file.path.clone(), problem.clone()));
        }
        for call in &file.scan.calls {
            let class = if development {
                Class::Development
            } else {
                Class::Optional
            };
            companion(
                &mut found,
                &call.name,
                class,
                Place {
                    path: file.path.clone(),
                    line: call.line,
                },
            );
        }
        for import in &file.scan.imports {
            let top = import.module.split('.').next().unwrap_or_default();
            let climbs = !file.scan.folders.is_empty();
            let local = project.local(
                &file.path,
                &import.module,
                &import.names,
                file.scan.legacy,
                climbs,
            );
            if is_tensorboard(import) {
                let place = Place {
                    path: file.path.clone(),
                    line: import.line,
                };
                note(
                    &mut found,
                    "torch.utils.tensorboard",
                    "tensorboard",
                    Class::Optional,
                    place,
                );
            }
            if local == Local::Yes || tables::standard_library(top).is_some() {
                continue;
            }
            let class = match (development, import.guard) {
                (true, _) => Class::Development,
                (false, Guard::Guarded) => Class::Optional,
                (false, Guard::Plain) => Class::Required,
            };
            let answers = answers
                .entry((&import.module, &import.names))
                .or_insert_with(|| resolver.resolve(&import.module, &import.names));
            for (key, answer) in answers.iter() {
                if local == Local::Maybe && matches!(answer, Answer::Nothing(_)) {
                    continue;
                }
                let used = found
                    .entry((key.clone(), answer.clone()))
                    .or_insert_with(|| Use {
                        import: key.clone(),
                        class,
                        places: Vec::new(),
                    });
                used.class = used.class.min(class);
                used.places.push(Place {
                    path: file.path.clone(),
                    line: import.line,
                });
            }
        }
    }
    for ((_, answer), mut used) in found {
        used.places.sort();
        needs.add(answer, used);
    }
    needs.keep(settings);
    needs
}

/// Notes what the call `name` loads at run time: as an optional import, since a file format may be all a project
/// never meets.
fn companion(found: &mut Found, name: &str, class: Class, place: Place) {
    let row = tables::companions().find(|(call, _)| *call == name);
    if let Some((_, distribution)) = row {
        note(found, name, distribution, class, place);
    }
}

/// PyTorch's writer of summaries is TensorBoard's, which PyTorch does not install.
fn is_tensorboard(import: &Import) -> bool {
    let module = import.module.as_str();
    module.starts_with("torch.utils.tensorboard")
        || module == "torch.utils" && import.names.iter().any(|name| name == "tensorboard")
}

fn note(found: &mut Found, import: &str, distribution: &str, class: Class, place: Place) {
    let key = (
        import.to_string(),
        Answer::Distribution(distribution.into()),
    );
    let used = found.entry(key).or_insert_with(|| Use {
        import: import.into(),
        class,
        places: Vec::new(),
    });
    used.class = used.class.min(class);
    used.places.push(place);
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
