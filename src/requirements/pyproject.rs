//! `pyproject.toml` as a place of declarations (PEP 621, PEP 735).

use std::collections::BTreeSet;

use toml_edit::{Array, DocumentMut, Item, Value};

use super::document::{Document, Kind};
use super::edit::{Change, Wanted, edit as edit_document};
use super::name::normal;
use super::settings::Pin;

/// The names of the distributions that the text of a `pyproject.toml` declares: dependencies, optional ones, and
/// groups. Nothing when it is not TOML.
pub fn declared(text: &str) -> Vec<String> {
    let Ok(document) = text.parse::<DocumentMut>() else {
        return Vec::new();
    };
    let project = document.get("project");
    let mut found = project
        .and_then(|p| p.get("dependencies"))
        .map(strings)
        .unwrap_or_default();
    let tables = [
        project.and_then(|p| p.get("optional-dependencies")),
        document.get("dependency-groups"),
    ];
    for table in tables.into_iter().flatten().filter_map(Item::as_table_like) {
        found.extend(table.iter().flat_map(|(_, list)| strings(list)));
    }
    let mut names: Vec<String> = found.iter().filter_map(|text| name(text)).collect();
    let tool = document.get("tool").and_then(|tool| tool.get("poetry"));
    names.extend(tool.into_iter().flat_map(poetry));
    names
}

/// The keys of Poetry's tables, less `python`.
fn poetry(tool: &Item) -> Vec<String> {
    let groups = tool.get("group").and_then(Item::as_table_like);
    let groups = groups
        .into_iter()
        .flat_map(|groups| groups.iter().map(|(_, group)| group.get("dependencies")));
    let own = ["dependencies", "dev-dependencies"].map(|key| tool.get(key));
    let tables = own
        .into_iter()
        .chain(groups)
        .flatten()
        .filter_map(Item::as_table_like);
    let keys = tables.flat_map(|table| {
        table
            .iter()
            .map(|(key, _)| key.to_string())
            .collect::<Vec<_>>()
    });
    keys.filter(|key| key != "python" && super::name::is_valid(key))
        .collect()
}

/// The names in the text of a Pipfile.
pub fn pipfile(text: &str) -> Vec<String> {
    let Ok(document) = text.parse::<DocumentMut>() else {
        return Vec::new();
    };
    let tables = ["packages", "dev-packages"].map(|key| document.get(key));
    let tables = tables.into_iter().flatten().filter_map(Item::as_table_like);
    let keys = tables.flat_map(|table| {
        table
            .iter()
            .map(|(key, _)| key.to_string())
            .collect::<Vec<_>>()
    });
    keys.filter(|key| super::name::is_valid(key)).collect()
}

/// The `requires-python` of the project.
pub fn requires_python(text: &str) -> Option<String> {
    let document = text.parse::<DocumentMut>().ok()?;
    let value = document.get("project")?.get("requires-python")?;
    value.as_str().map(str::to_string)
}

/// The name of the project's own distribution.
pub fn own(text: &str) -> Option<String> {
    let document = text.parse::<DocumentMut>().ok()?;
    let poetry = || document.get("tool")?.get("poetry")?.get("name");
    let standard = || document.get("project")?.get("name");
    let name = standard().or_else(poetry)?;
    name.as_str().map(str::to_string)
}

/// The folders in which the packages lie, as setuptools, Poetry, PDM, Hatch and maturin are told.
pub fn roots(text: &str) -> Vec<String> {
    let Ok(document) = text.parse::<DocumentMut>() else {
        return Vec::new();
    };
    let at = |path: &[&str]| {
        path.iter()
            .try_fold(document.as_item(), |item, key| item.get(key))
    };
    let mut found = at(&["tool", "setuptools", "packages", "find", "where"])
        .map(strings)
        .unwrap_or_default();
    let one = |item: &Item| item.as_str().map(str::to_string);
    let folders = [
        &["tool", "setuptools", "package-dir", ""][..],
        &["tool", "pdm", "build", "package-dir"],
        &["tool", "maturin", "python-source"],
    ];
    found.extend(
        folders
            .into_iter()
            .filter_map(|path| at(path).and_then(one)),
    );
    let poetry = at(&["tool", "poetry", "packages"]).and_then(Item::as_array);
    let tables = poetry
        .into_iter()
        .flatten()
        .filter_map(Value::as_inline_table);
    found.extend(tables.filter_map(|table| Some(table.get("from")?.as_str()?.to_string())));
    let wheel = at(&["tool", "hatch", "build", "targets", "wheel", "packages"]).map(strings);
    let above = |path: String| path.rsplit_once('/').map(|(folder, _)| folder.to_string());
    found.extend(wheel.into_iter().flatten().filter_map(above));
    found
}

/// Makes `[project] dependencies` list `wanted`, with its formatting kept. Versions that a person allows and that
/// fit what is installed stay, whatever `pin` says; what optional dependencies and groups declare is not added.
/// Nothing when the project declares no dependencies there.
pub fn edit(
    text: &str,
    wanted: &[Wanted],
    pin: Pin,
    stays: impl Fn(&str) -> bool,
) -> Option<(String, Vec<Change>)> {
    let mut document = text.parse::<DocumentMut>().ok()?;
    let elsewhere: BTreeSet<String> = declared(text).iter().map(|name| normal(name)).collect();
    let list = document
        .get_mut("project")?
        .get_mut("dependencies")?
        .as_array_mut()?;
    let before: Vec<String> = list
        .iter()
        .filter_map(|value| value.as_str().map(str::to_string))
        .collect();
    let mut lines = Document::parse(&before.join("\n"));
    // An exact pin is for requirements.txt; here a range that fits is what a person wants.
    let lenient = if pin == Pin::Exact { Pin::Minimum } else { pin };
    let mut changes = edit_document(&mut lines, wanted, lenient, &elsewhere, stays);
    for change in &mut changes {
        if let Change::Removed { line, .. } | Change::Changed { line, .. } = change {
            *line = line_of(
                text,
                before
                    .get((*line as usize).wrapping_sub(1))
                    .map_or("", String::as_str),
            );
        }
    }
    if changes.is_empty() {
        return Some((text.into(), changes));
    }
    let after = lines.render();
    replace(list, &before, &after.lines().collect::<Vec<_>>());
    Some((document.to_string(), changes))
}

/// The line of `text` that holds `element`.
fn line_of(text: &str, element: &str) -> u32 {
    let at = text.lines().position(|line| line.contains(element));
    u32::try_from(at.unwrap_or(0) + 1).unwrap_or(1)
}

/// The text in front of an element: its first line, when there are several, belongs to the element before, whose
/// comment it holds.
fn split(prefix: &str) -> (&str, &str) {
    prefix
        .find('\n')
        .map_or(("", prefix), |at| prefix.split_at(at))
}

/// Brings `list` from `before` to `after`; elements that stay keep what stands around them.
fn replace(list: &mut Array, before: &[String], after: &[&str]) {
    let prefix = |value: &Value| {
        value
            .decor()
            .prefix()
            .and_then(|p| p.as_str())
            .unwrap_or_default()
            .to_string()
    };
    let mut fronts: Vec<String> = list.iter().map(prefix).collect();
    fronts.push(list.trailing().as_str().unwrap_or_default().to_string());
    let indent = fronts
        .first()
        .and_then(|front| front.rfind('\n').map(|at| front[at..].to_string()));
    let indent = indent.unwrap_or_else(|| " ".into());
    let old: Vec<Value> = list.iter().cloned().collect();
    let comma = list.trailing_comma();
    // What the first element's line begins with belongs to the bracket.
    let mut tail = split(&fronts[0]).0.to_string();
    list.clear();
    for text in after {
        let at = before
            .iter()
            .position(|other| other == text)
            .filter(|at| *at < old.len());
        let lead = at.map_or(indent.as_str(), |at| split(&fronts[at]).1);
        let lead = if list.is_empty() && !lead.contains('\n') {
            ""
        } else {
            lead
        };
        let value = at.map_or_else(|| Value::from(*text), |at| old[at].clone());
        list.push_formatted(value.decorated(format!("{tail}{lead}"), ""));
        tail = at.map_or("", |at| split(&fronts[at + 1]).0).to_string();
    }
    let trailing = fronts.last().map_or("", |front| split(front).1);
    list.set_trailing(format!("{tail}{trailing}"));
    list.set_trailing_comma(comma);
}

fn strings(list: &Item) -> Vec<String> {
    let values = list.as_array().into_iter().flatten();
    values
        .filter_map(|value| value.as_str().map(str::to_string))
        .collect()
}

/// The name of a requirement in a list.
fn name(text: &str) -> Option<String> {
    match &Document::parse(text).lines().first()?.kind {
        Kind::Requirement(requirement) => Some(requirement.name.clone()),
        Kind::Direct(name) => name.clone(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_must_change_does() {
        let text = "# top\n[project]\nname = 'x' # mine\ndependencies = [\n  \"numpy>=1\", # arrays\n  'flask',\n]\n";
        let wanted = ["numpy", "requests"].map(|name| Wanted {
            name: name.into(),
            version: Some("2.0".into()),
        });
        let (new, changes) = edit(text, &wanted, Pin::Exact, |_| false).unwrap();
        let expected = "# top\n[project]\nname = 'x' # mine\ndependencies = [\n  \"numpy>=1\", # arrays\n  \"requests>=2.0\",\n]\n";
        assert_eq!(new, expected);
        assert_eq!(changes.len(), 2);
        assert_eq!(
            edit(&new, &wanted, Pin::Exact, |_| false).unwrap(),
            (new, vec![])
        );
        let one = "[project]\r\ndependencies = [\"numpy\"]\r\n";
        let (new, _) = edit(one, &wanted, Pin::None, |_| false).unwrap();
        assert_eq!(
            new.replace("\r\n", "\n"),
            "[project]\ndependencies = [\"numpy\", \"requests\"]\n"
        );
        assert_eq!(
            edit(
                "[project]\ndynamic = ['dependencies']\n",
                &wanted,
                Pin::Exact,
                |_| false
            ),
            None
        );
    }

    #[test]
    fn every_builder_names_its_folders() {
        for (text, expected) in [
            (
                "[tool.setuptools.packages.find]\nwhere = ['python']\n",
                "python",
            ),
            ("[tool.setuptools]\npackage-dir = { '' = 'lib' }\n", "lib"),
            (
                "[tool.poetry]\npackages = [{ include = 'x', from = 'code' }]\n",
                "code",
            ),
            (
                "[tool.hatch.build.targets.wheel]\npackages = ['py/x']\n",
                "py",
            ),
            ("[tool.maturin]\npython-source = 'python'\n", "python"),
        ] {
            assert_eq!(roots(text), [expected], "{text}");
        }
        assert!(roots("[").is_empty());
    }

    #[test]
    fn every_list_is_read() {
        let text = "[project]\ndependencies = [\"numpy>=1\", \"x @ git+https://h/y\"]\n\
                    [project.optional-dependencies]\ntest = [\"pytest\"]\n[dependency-groups]\ndev = [\"ruff\", {include-group = \"a\"}]\n";
        assert_eq!(declared(text), ["numpy", "x", "pytest", "ruff"]);
        let text = "[tool.poetry.dependencies]\npython = '^3.9'\nnumpy = '*'\n[tool.poetry.group.dev.dependencies]\npytest = { version = '8' }\n";
        assert_eq!(declared(text), ["numpy", "pytest"]);
        assert!(declared("[").is_empty());
    }
}
