//! The lines of a requirements file that must change.

use std::collections::BTreeSet;

use pep440_rs::{Version, VersionSpecifiers};

use super::document::{Document, Kind, Line, Requirement};
use super::name::normal;
use super::settings::Pin;

/// A distribution that the file must list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name as it will be written.
    pub name: String,
    /// The installed version; nothing when it is not installed.
    pub version: Option<String>,
}

/// One change of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This requirement was added.
    Added {
        /// The name.
        name: String,
        /// The whole line.
        text: String,
    },
    /// The requirement of this name was removed.
    Removed {
        /// The name.
        name: String,
        /// Its line in the old file.
        line: u32,
    },
    /// The requirement of this name has these specifiers instead.
    Changed {
        /// The name.
        name: String,
        /// Its line in the old file.
        line: u32,
        /// The specifiers before.
        from: String,
        /// The specifiers now.
        to: String,
    },
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Added { text, .. } => write!(f, "+{text}"),
            Change::Removed { name, .. } => write!(f, "-{name}"),
            Change::Changed { name, from, to, .. } if from.is_empty() => write!(f, "{name} {to}"),
            Change::Changed { name, from, to, .. } => write!(f, "{name} {from} -> {to}"),
        }
    }
}

/// The specifiers for an installed version. A local part (`+cu121`, PEP 440) is kept for `==` alone, and only with
/// `local`: the default index has no such version.
pub fn specifier(pin: Pin, version: &str, local: bool) -> String {
    let public = version.split('+').next().unwrap_or(version);
    match pin {
        Pin::Exact => format!("=={}", if local { version } else { public }),
        // `~=` needs a series, which is a release of two parts (PEP 440): `2024.post1` has one.
        Pin::Compatible => {
            let parts = public.parse().map_or(0, |v: Version| v.release().len());
            format!("{}{public}", if parts > 1 { "~=" } else { "==" })
        }
        Pin::Minimum => format!(">={public}"),
        Pin::None => String::new(),
    }
}

/// Makes `document` list exactly `wanted`, beside the lines for which `stays` holds and those that have no name
/// to judge by. `elsewhere` are the normal names that other files of the project declare for it (`-r`).
pub fn edit(
    document: &mut Document,
    wanted: &[Wanted],
    pin: Pin,
    elsewhere: &BTreeSet<String>,
    stays: impl Fn(&str) -> bool,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let find = |name: &str| wanted.iter().find(|w| normal(&w.name) == normal(name));
    document.remove(|line| match &line.kind {
        Kind::Requirement(r) if find(&r.name).is_none() && !stays(&normal(&r.name)) => {
            changes.push(Change::Removed {
                name: r.name.clone(),
                line: line.number,
            });
            true
        }
        _ => false,
    });
    let local = has_index(document);
    let listed: Vec<(String, Option<String>)> = document
        .requirements()
        .map(|(_, r)| (normal(&r.name), r.marker.clone()))
        .collect();
    document.respecify(|line, r| {
        // Lines that differ by their markers are for other machines too.
        let name = normal(&r.name);
        let mut same = listed.iter().filter(|(other, _)| *other == name);
        let here = same.all(|(_, marker)| *marker == r.marker);
        let version = find(&r.name)?.version.as_deref().filter(|_| here)?;
        let from = line.text[r.spec.clone()].to_string();
        let to = respecified(&from, r, pin, version, local)?;
        changes.push(Change::Changed {
            name: r.name.clone(),
            line: line.number,
            from,
            to: to.clone(),
        });
        Some(to)
    });
    let direct = document
        .lines()
        .iter()
        .filter_map(direct_name)
        .collect::<BTreeSet<_>>();
    for wanted in wanted {
        let name = normal(&wanted.name);
        if listed.iter().any(|(other, _)| *other == name)
            || direct.contains(&name)
            || elsewhere.contains(&name)
        {
            continue;
        }
        let version = wanted.version.as_deref();
        let spec = version
            .map(|version| specifier(pin, version, local))
            .unwrap_or_default();
        let text = format!("{}{spec}", wanted.name);
        document.insert(&text);
        changes.push(Change::Added {
            name: wanted.name.clone(),
            text,
        });
    }
    changes
}

fn direct_name(line: &Line) -> Option<String> {
    match &line.kind {
        Kind::Direct(name) => name.as_deref().map(normal),
        _ => None,
    }
}

/// Whether the file names a place where local versions may come from.
pub(super) fn has_index(document: &Document) -> bool {
    document.lines().iter().any(|line| match &line.kind {
        Kind::Option(name, _) => matches!(
            name.as_str(),
            "-i" | "--index-url" | "--extra-index-url" | "-f" | "--find-links"
        ),
        _ => false,
    })
}

/// The specifiers that `from` must become for the installed `version`; nothing when it may stay.
fn respecified(
    from: &str,
    r: &Requirement,
    pin: Pin,
    version: &str,
    local: bool,
) -> Option<String> {
    if r.hashed || pin == Pin::None {
        return None;
    }
    let installed: Version = version.parse().ok()?;
    let inner = from.trim_start_matches('(').trim_end_matches(')');
    let old: VersionSpecifiers = inner.replace(['\\', '\r', '\n'], " ").parse().ok()?;
    if pin != Pin::Exact && !old.is_empty() && old.contains(&installed) {
        return None;
    }
    let exact = |operator: &str| matches!(operator, "==" | "===");
    if pin == Pin::Exact
        && old.len() == 1
        && old.iter().all(|one| exact(&one.operator().to_string()))
        && !inner.contains('*')
        && old.contains(&installed)
    {
        return None;
    }
    // `numpy == 1.2` keeps its blanks.
    let blank = if inner.starts_with("== ") { " " } else { "" };
    let new = specifier(pin, version, local || inner.contains('+'));
    Some(match new.strip_prefix("==") {
        Some(version) => format!("=={blank}{version}"),
        None => new,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, wanted: &[(&str, &str)], pin: Pin) -> (String, String) {
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(name, version)| Wanted {
                name: (*name).into(),
                version: (!version.is_empty()).then(|| (*version).into()),
            })
            .collect();
        let mut document = Document::parse(text);
        let changes = edit(&mut document, &wanted, pin, &BTreeSet::new(), |_| false);
        let once = document.render();
        edit(&mut document, &wanted, pin, &BTreeSet::new(), |_| false);
        assert_eq!(document.render(), once, "twice");
        let words: Vec<_> = changes.iter().map(ToString::to_string).collect();
        (once, words.join(", "))
    }

    #[test]
    fn only_what_must_change_does() {
        let text = "# mine\nnumpy == 1.0  # keep\nflask\n-e .\nscipy>=1\n";
        let (text, words) = edited(
            text,
            &[("numpy", "1.1"), ("Requests", "2.0"), ("scipy", "1.5")],
            Pin::Exact,
        );
        assert_eq!(
            text,
            "# mine\nnumpy == 1.1  # keep\n-e .\nRequests==2.0\nscipy==1.5\n"
        );
        assert_eq!(
            words,
            "-flask, numpy == 1.0 -> == 1.1, scipy >=1 -> ==1.5, +Requests==2.0"
        );
    }

    #[test]
    fn lines_of_one_distribution_agree() {
        let (text, _) = edited(
            "numpy==1.0\nnumpy==1.0\nNumPy # x\n",
            &[("numpy", "1.26.4")],
            Pin::Exact,
        );
        assert_eq!(text, "numpy==1.26.4\nnumpy==1.26.4\nNumPy==1.26.4 # x\n");
        let apart = "a==1; os_name == 'x'\na==2; os_name != 'x'\n";
        assert_eq!(edited(apart, &[("a", "3")], Pin::Exact).0, apart);
    }

    #[test]
    fn a_version_that_fits_stays() {
        for (old, version, pin, new) in [
            ("a==1.0", "1.0.0", Pin::Exact, "a==1.0"),
            ("a==2.1", "2.1+cu121", Pin::Exact, "a==2.1"),
            ("a==2.0", "2.1+cu121", Pin::Exact, "a==2.1"),
            ("a==2.0+cu1", "2.1+cu121", Pin::Exact, "a==2.1+cu121"),
            ("a==1.*", "1.2", Pin::Exact, "a==1.2"),
            ("a>=1,<3", "2", Pin::Minimum, "a>=1,<3"),
            ("a>=3", "2", Pin::Compatible, "a==2"),
            ("a", "2024.post1", Pin::Compatible, "a==2024.post1"),
            ("a<2", "2024.1.post1", Pin::Compatible, "a~=2024.1.post1"),
            ("a", "2.5", Pin::Compatible, "a~=2.5"),
            ("a>=1", "2", Pin::None, "a>=1"),
            ("a>=1", "", Pin::Exact, "a>=1"),
            (
                "a==1 --hash=sha256:0",
                "2",
                Pin::Exact,
                "a==1 --hash=sha256:0",
            ),
        ] {
            let (text, _) = edited(old, &[("a", version)], pin);
            assert_eq!(text, new, "{old} {version}");
        }
    }
}
