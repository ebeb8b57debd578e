//! What is wrong with the requirements of a project: each finding has a stable code, a place and a mend.

use std::collections::BTreeMap;

use super::document::{Document, Kind};
use super::edit::{Change, has_index};
use super::installed;
use super::name::normal;
use super::needs::{Class, Place};
use super::plan::{Input, Plan, Target};

/// What kind of thing is wrong. The codes are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// The code imports what the file does not list.
    Missing,
    /// The file lists what the code does not import.
    Unused,
    /// The file lists what only tests and documentation import.
    Misplaced,
    /// The file asks for another version than is installed.
    Version,
    /// Nothing that is known provides an import.
    Unresolved,
    /// A requirement has no version, and none is installed.
    Unpinned,
    /// The installed distributions contradict each other.
    Conflict,
    /// The environment's Python is not one that the project allows.
    Python,
    /// A line of the requirements file cannot be read.
    Unreadable,
    /// A Python file or notebook cannot be read to its end.
    Broken,
    /// The lock is older than what it was made from.
    StaleLock,
    /// A version that the default index does not have is installed.
    LocalVersion,
    /// The file has hashes, and what is missing in it needs one too.
    Hashes,
}

impl Code {
    /// The stable word for it.
    pub fn word(self) -> &'static str {
        match self {
            Code::Missing => "missing",
            Code::Unused => "unused",
            Code::Misplaced => "misplaced",
            Code::Version => "version",
            Code::Unresolved => "unresolved",
            Code::Unpinned => "unpinned",
            Code::Conflict => "conflict",
            Code::Python => "python",
            Code::Unreadable => "unreadable",
            Code::Broken => "broken",
            Code::StaleLock => "stale-lock",
            Code::LocalVersion => "local-version",
            Code::Hashes => "hashes",
        }
    }

    /// Whether a check fails because of it; the others are warnings.
    pub fn is_error(self) -> bool {
        !matches!(self, Code::Misplaced | Code::Broken | Code::LocalVersion)
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub code: Code,
    /// Where.
    pub place: Place,
    /// One sentence without a full stop.
    pub message: String,
    /// What to do: a command, or a line to write.
    pub mend: String,
}

/// Everything that is wrong, by place.
pub fn findings(plan: &Plan, input: &Input) -> Vec<Finding> {
    let mut found = Vec::new();
    for target in &plan.targets {
        changes(plan, target, &mut found);
        if !target.is_toml() {
            unreadable(target, &mut found);
            found.extend(unhashed(target));
        }
    }
    unresolved(plan, &mut found);
    unpinned(plan, input, &mut found);
    misplaced(plan, input, &mut found);
    local_versions(plan, input, &mut found);
    environment(input, &mut found);
    broken(plan, &mut found);
    found.sort_by(|a, b| (&a.place, a.code, &a.message).cmp(&(&b.place, b.code, &b.message)));
    found
}

fn at(path: &str, line: u32) -> Place {
    Place {
        path: path.into(),
        line: line.max(1),
    }
}

fn changes(plan: &Plan, target: &Target, found: &mut Vec<Finding>) {
    let path = &target.path;
    for change in &target.changes {
        found.push(match change {
            Change::Added { name, .. } => {
                let need = plan.needs.distributions.get(&normal(name));
                let used = need.and_then(|need| need.uses.iter().min_by_key(|used| used.class));
                let place = used.and_then(|used| used.places.first().cloned());
                let why = used.map_or("`keep` names it".into(), |used| {
                    format!("`{}` is imported", used.import)
                });
                Finding {
                    code: Code::Missing,
                    place: place.unwrap_or_else(|| at(path, 1)),
                    message: format!("{why}, and {path} does not list {name}"),
                    mend: "git agile requirements".into(),
                }
            }
            Change::Removed { name, line } if plan.is_development(name) => Finding {
                code: Code::Misplaced,
                place: at(path, *line),
                message: format!("only tests and documentation import {name}"),
                mend: "git agile requirements".into(),
            },
            Change::Removed { name, line } => Finding {
                code: Code::Unused,
                place: at(path, *line),
                message: format!("nothing imports {name}"),
                mend: format!("git agile requirements; or keep = [\"{name}\"] in agile.toml"),
            },
            Change::Changed {
                name,
                line,
                from,
                to,
            } => Finding {
                code: Code::Version,
                place: at(path, *line),
                message: format!("{name}{from} is asked for, and {name}{to} is what is installed"),
                mend: format!("git agile requirements; or pip install '{name}{from}'"),
            },
        });
    }
}

fn unreadable(target: &Target, found: &mut Vec<Finding>) {
    for line in Document::parse(target.old.as_deref().unwrap_or_default()).lines() {
        if let Kind::Unreadable(why) = &line.kind {
            found.push(Finding {
                code: Code::Unreadable,
                place: at(&target.path, line.number),
                message: format!("`{}`: {why}", line.text.trim()),
                mend: "write it as name==version".into(),
            });
        }
    }
}

/// What `target` lacks and cannot be given, for its lines have hashes.
pub fn unhashed(target: &Target) -> Option<Finding> {
    if target.unhashed.is_empty() {
        return None;
    }
    let old = Document::parse(target.old.as_deref().unwrap_or_default());
    Some(Finding {
        code: Code::Hashes,
        place: at(&target.path, old.hashed().map_or(1, |line| line.number)),
        message: format!(
            "{} is missing, and beside lines with a hash pip refuses one without",
            target.unhashed.join(", ")
        ),
        mend: "make the file anew with pip-compile or uv pip compile, and --generate-hashes; or take the hashes out of it, then git agile requirements --lock".into(),
    })
}

fn unresolved(plan: &Plan, found: &mut Vec<Finding>) {
    let required = plan
        .needs
        .unresolved
        .iter()
        .filter(|one| one.used.class == Class::Required);
    for one in required {
        let import = &one.used.import;
        found.push(Finding {
            code: Code::Unresolved,
            place: one
                .used
                .places
                .first()
                .cloned()
                .unwrap_or_else(|| at("", 1)),
            message: format!("nothing provides `{import}`: {}", one.reason),
            mend: format!(
                "install it, or map = {{ {} = \"…\" }} or ignore = [\"{import}\"] in agile.toml",
                key(import)
            ),
        });
    }
}

/// `import` as a key of TOML.
fn key(import: &str) -> String {
    if import.contains('.') {
        format!("\"{import}\"")
    } else {
        import.into()
    }
}

fn unpinned(plan: &Plan, input: &Input, found: &mut Vec<Finding>) {
    if input.settings.pin == super::Pin::None {
        return;
    }
    let Some(target) = plan.targets.first() else {
        return;
    };
    let old = Document::parse(target.old.as_deref().unwrap_or_default());
    let lines: BTreeMap<String, u32> = old
        .requirements()
        .map(|(line, r)| (normal(&r.name), line.number))
        .collect();
    let new = Document::parse(&target.new);
    for (line, requirement) in new.requirements() {
        if requirement.spec.is_empty() && !line.text.contains(" @ ") {
            let name = &requirement.name;
            found.push(Finding {
                code: Code::Unpinned,
                place: at(&target.path, lines.get(&normal(name)).copied().unwrap_or(1)),
                message: format!("{name} has no version, and is not installed here"),
                mend: format!("pip install {name}, then git agile requirements"),
            });
        }
    }
}

/// Versions such as `2.1.0+cu121` come from an index of their own: without it the file asks for `2.1.0`.
fn local_versions(plan: &Plan, input: &Input, found: &mut Vec<Finding>) {
    let Some(target) = plan.targets.first() else {
        return;
    };
    let document = Document::parse(&target.new);
    if has_index(&document) {
        return;
    }
    for (line, requirement) in document.requirements() {
        let installed = input.environment.get(&requirement.name);
        let local = installed.and_then(|found| found.version.split_once('+'));
        let Some((public, local)) = local.filter(|_| !line.text.contains('+')) else {
            continue;
        };
        let name = &requirement.name;
        let is_torch = matches!(&*normal(name), "torch" | "torchvision" | "torchaudio");
        let index = if is_torch {
            format!("https://download.pytorch.org/whl/{local}")
        } else {
            "ADDRESS of the index it came from".into()
        };
        found.push(Finding {
            code: Code::LocalVersion,
            place: at(&target.path, line.number),
            message: format!(
                "{name} {public}+{local} is installed, which the default index does not have"
            ),
            mend: format!("add the line `--extra-index-url {index}`, then git agile requirements"),
        });
    }
}

fn misplaced(plan: &Plan, input: &Input, found: &mut Vec<Finding>) {
    let Some(target) = plan
        .targets
        .first()
        .filter(|_| input.settings.dev_file.is_none())
    else {
        return;
    };
    for (line, requirement) in Document::parse(&target.new).requirements() {
        let need = plan.needs.distributions.get(&normal(&requirement.name));
        if need.is_some_and(|need| need.class == Class::Development) {
            found.push(Finding {
                code: Code::Misplaced,
                place: at(&target.path, line.number),
                message: format!("only tests and documentation import {}", requirement.name),
                mend: "dev_file = \"requirements-dev.txt\" in agile.toml gives them a file of their own".into(),
            });
        }
    }
}

fn environment(input: &Input, found: &mut Vec<Finding>) {
    let document = Document::parse(input.requirements.unwrap_or_default());
    let lines: BTreeMap<String, u32> = document
        .requirements()
        .map(|(line, r)| (normal(&r.name), line.number))
        .collect();
    for conflict in installed::conflicts(input.environment) {
        found.push(Finding {
            code: Code::Conflict,
            place: at(
                &input.settings.file,
                lines.get(&normal(&conflict.name)).copied().unwrap_or(1),
            ),
            message: conflict.message,
            mend: conflict.mend,
        });
    }
    let wanted = super::pyproject::requires_python(input.pyproject.unwrap_or_default());
    if let (Some(wanted), Some(python)) = (wanted, &input.environment.python)
        && installed::is_outside(python, &wanted) == Some(true)
    {
        found.push(Finding {
            code: Code::Python,
            place: at("pyproject.toml", 1),
            message: format!(
                "requires-python is {wanted}, and the environment has Python {python}"
            ),
            mend: "make the environment anew with a Python that fits".into(),
        });
    }
}

fn broken(plan: &Plan, found: &mut Vec<Finding>) {
    for (path, problem) in &plan.needs.problems {
        let mend = match plan.needs.unread.contains(path) {
            true => "nothing is taken for unused until it can be read; or name it in `exclude`",
            false => "what can be read of the file counts",
        };
        found.push(Finding {
            code: Code::Broken,
            place: at(path, problem.line),
            message: problem.message.clone(),
            mend: mend.into(),
        });
    }
}
