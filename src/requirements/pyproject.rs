//! `pyproject.toml` as a place of declarations (PEP 621, PEP 735).

use std::collections::BTreeSet;
use std::ops::Range;

use toml_edit::{Document as Toml, Item, Value};

use super::document::Document;
use super::edit::{Change, Wanted, edit as edit_document};
use super::name::normal;
use super::settings::Pin;

/// The names of the distributions that the text of a `pyproject.toml` declares: dependencies, optional ones, and
/// groups. Nothing when it is not TOML.
pub fn declared(text: &str) -> Vec<String> {
    let Ok(document) = Toml::parse(text) else {
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
    let Ok(document) = Toml::parse(text) else {
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
    let document = Toml::parse(text).ok()?;
    let value = document.get("project")?.get("requires-python")?;
    value.as_str().map(str::to_string)
}

/// The name of the project's own distribution.
pub fn own(text: &str) -> Option<String> {
    let document = Toml::parse(text).ok()?;
    let poetry = || document.get("tool")?.get("poetry")?.get("name");
    let standard = || document.get("project")?.get("name");
    let name = standard().or_else(poetry)?;
    name.as_str().map(str::to_string)
}

/// The folders in which the packages lie, as setuptools, Poetry, PDM, Hatch and maturin are told.
pub fn roots(text: &str) -> Vec<String> {
    let Ok(document) = Toml::parse(text) else {
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

/// Makes `[project] dependencies` list `wanted`; every other byte stays. Versions that a person allows and that
/// fit what is installed stay, whatever `pin` says; what optional dependencies and groups declare is not added.
/// Nothing when the project declares no dependencies there, or one that cannot stand in a line.
pub fn edit(
    text: &str,
    wanted: &[Wanted],
    pin: Pin,
    stays: impl Fn(&str) -> bool,
) -> Option<(String, Vec<Change>)> {
    let document = Toml::parse(text).ok()?;
    let elsewhere: BTreeSet<String> = declared(text).iter().map(|name| normal(name)).collect();
    let list = document.get("project")?.get("dependencies")?.as_array()?;
    let spans: Vec<Range<usize>> = list.iter().map(Value::span).collect::<Option<_>>()?;
    let before: Vec<&str> = list.iter().map(one_line).collect::<Option<_>>()?;
    let mut lines = Document::parse(&before.join("\n"));
    // An exact pin is for requirements.txt; here a range that fits is what a person wants.
    let lenient = if pin == Pin::Exact { Pin::Minimum } else { pin };
    let mut changes = edit_document(&mut lines, wanted, lenient, &elsewhere, stays);
    for change in &mut changes {
        if let Change::Removed { line, .. } | Change::Changed { line, .. } = change {
            let above = |span: &Range<usize>| text[..span.start].matches('\n').count();
            let above = index(*line).and_then(|at| spans.get(at)).map_or(0, above);
            *line = u32::try_from(above + 1).unwrap_or(1);
        }
    }
    if changes.is_empty() {
        return Some((text.into(), changes));
    }
    let elements = lines.lines().iter().map(|line| {
        let at = index(line.number);
        let like = at.or(Some(0)).and_then(|at| spans.get(at));
        let like = like.map_or("", |span| &text[span.clone()]);
        let same = at.is_some_and(|at| before.get(at) == Some(&line.text.as_str()));
        let element = if same {
            like.into()
        } else {
            quoted(like, &line.text)
        };
        (at, element)
    });
    let comma = list.trailing_comma();
    Some((
        replace(text, list.span()?, &spans, elements, comma),
        changes,
    ))
}

/// The text of an element that can stand as a line of requirements.
fn one_line(value: &Value) -> Option<&str> {
    let odd = |c: char| c.is_control() || c == '\\';
    value
        .as_str()
        .filter(|text| !text.trim().is_empty() && !text.contains(odd))
}

/// The element that was read as line `number`; none for a new one.
fn index(number: u32) -> Option<usize> {
    usize::try_from(number).ok()?.checked_sub(1)
}

/// `text` as a TOML string, with the quotes that `like` has.
fn quoted(like: &str, text: &str) -> String {
    if like.starts_with('\'') && !text.contains('\'') {
        format!("'{text}'")
    } else {
        format!("\"{}\"", text.replace('"', "\\\""))
    }
}

/// What stands between two elements, without the comma: the end of the one's line, and what is in front of the
/// other.
fn split(gap: &str) -> (String, &str) {
    let mut comment = false;
    let comma = gap.bytes().position(|b| {
        comment = b == b'#' || comment && b != b'\n';
        b == b',' && !comment
    });
    let (own, rest) = match comma {
        Some(at) => (&gap[..at], &gap[at + 1..]),
        None => ("", gap),
    };
    let (end, lead) = rest.split_at(line_end(rest.find('\n'), rest).unwrap_or(0));
    (format!("{own}{end}"), lead)
}

/// Where the line ends whose `\n` is at `newline` of `text`.
fn line_end(newline: Option<usize>, text: &str) -> Option<usize> {
    newline.map(|at| at - usize::from(text[..at].ends_with('\r')))
}

/// `lead` as its lines above the last, which are comments, and the last one.
fn last_line(lead: &str) -> (&str, &str) {
    lead.split_at(line_end(lead.rfind('\n'), lead).unwrap_or(0))
}

/// Gives the array at `whole` in `text`, whose elements are at `spans`, other `elements`: of each the number of the
/// old one in whose place it stands, and its text. Comments stay, but for those on the lines of removed elements.
fn replace(
    text: &str,
    whole: Range<usize>,
    spans: &[Range<usize>],
    elements: impl Iterator<Item = (Option<usize>, String)>,
    comma: bool,
) -> String {
    let close = whole.end - 1;
    let ends = [whole.start + 1].into_iter();
    let ends = ends.chain(spans.iter().map(|span| span.end));
    let starts = spans.iter().map(|span| span.start).chain([close]);
    let gaps: Vec<(String, &str)> = ends
        .zip(starts)
        .map(|(end, start)| split(&text[end..start]))
        .collect();
    let eol = if text.contains("\r\n") { "\r\n" } else { "\n" };
    // A comment must not swallow what follows it.
    let closed = |gap: String| match last_line(&gap).1.contains('#') {
        true => gap + eol,
        false => gap,
    };
    let removed = |range: Range<usize>| -> String {
        let leads = gaps.get(range).unwrap_or_default().iter();
        leads.map(|(_, lead)| last_line(lead).0).collect()
    };
    let first = last_line(gaps[0].1).1;
    let indent = if first.contains('\n') { first } else { " " };
    let mut out = text[..=whole.start].to_string();
    let mut gap = gaps[0].0.clone();
    let (mut count, mut next) = (0, 0);
    for (at, element) in elements {
        if let Some(at) = at {
            gap.push_str(&removed(next..at));
            next = at + 1;
        }
        let lead = at.map_or(indent, |at| gaps[at].1);
        let lead = if count == 0 && !lead.contains('\n') {
            first
        } else {
            lead
        };
        out.push_str(if count > 0 { "," } else { "" });
        out.push_str(&closed(gap + lead));
        out.push_str(&element);
        gap = at.map_or_else(String::new, |at| gaps[at + 1].0.clone());
        count += 1;
    }
    out.push_str(if comma && count > 0 { "," } else { "" });
    gap.push_str(&removed(next..spans.len()));
    out.push_str(&closed(gap + gaps[spans.len()].1));
    out.push_str(&text[close..]);
    out
}

fn strings(list: &Item) -> Vec<String> {
    let values = list.as_array().into_iter().flatten();
    values
        .filter_map(|value| value.as_str().map(str::to_string))
        .collect()
}

/// The name of a requirement in a list.
fn name(text: &str) -> Option<String> {
    let document = Document::parse(text);
    document.lines().first()?.name().map(str::to_string)
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
            new,
            "[project]\r\ndependencies = [\"numpy\", \"requests\"]\r\n"
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
    fn comments_stay_with_their_elements() {
        let wanted = ["numpy", "zope"].map(|name| Wanted {
            name: name.into(),
            version: Some("1.26.4".into()),
        });
        for (old, new) in [
            (
                "[ # open\n  # keep below 2: ABI\n  'numpy<1.20', # see 12\n  # web\n  \"flask\", # gone\n  # end\n]",
                "[ # open\n  # keep below 2: ABI\n  'numpy>=1.26.4', # see 12\n  'zope>=1.26.4',\n  # web\n  # end\n]",
            ),
            (
                "[\n\t\"NumPy<1.20\", # a\n\t\"numpy<1.20\" # b\n]",
                "[\n\t\"NumPy>=1.26.4\", # a\n\t\"numpy>=1.26.4\", # b\n\t\"zope>=1.26.4\"\n]",
            ),
            (
                "[\n# a\n'flask', 'numpy>1' ]",
                "[\n# a\n'numpy>1',\n'zope>=1.26.4' ]",
            ),
            (
                "['numpy>1', # a\n'zope>1' # b\n , 'flask']",
                "['numpy>1', # a\n'zope>1' # b\n ]",
            ),
            (
                "['numpy>1; os_name == \"x\"', 'zope<1; os_name == \"x\"']",
                "['numpy>1; os_name == \"x\"', 'zope>=1.26.4; os_name == \"x\"']",
            ),
            ("[]", "[\"numpy>=1.26.4\", \"zope>=1.26.4\"]"),
        ] {
            for (from, to) in [("", ""), ("\n", "\r\n")] {
                let text = |list: &str| {
                    let text = format!(
                        "\u{feff}[project]\nname='numpy'\ndependencies = {list} # c\n[tool]\nx =  1\n"
                    );
                    text.replace(from, to)
                };
                let (found, changes) = edit(&text(old), &wanted, Pin::Exact, |_| false).unwrap();
                assert_eq!(found, text(new), "{changes:?}");
            }
        }
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
