//! `pyproject.toml` as a place of declarations (PEP 621, PEP 735).

use toml_edit::{DocumentMut, Item};

use super::document::{Document, Kind};

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
    found.iter().filter_map(|text| name(text)).collect()
}

/// The `requires-python` of the project.
pub fn requires_python(text: &str) -> Option<String> {
    let document = text.parse::<DocumentMut>().ok()?;
    let value = document.get("project")?.get("requires-python")?;
    value.as_str().map(str::to_string)
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
    fn every_list_is_read() {
        let text = "[project]\ndependencies = [\"numpy>=1\", \"x @ git+https://h/y\"]\n\
                    [project.optional-dependencies]\ntest = [\"pytest\"]\n[dependency-groups]\ndev = [\"ruff\", {include-group = \"a\"}]\n";
        assert_eq!(declared(text), ["numpy", "x", "pytest", "ruff"]);
        assert!(declared("[").is_empty());
    }
}
