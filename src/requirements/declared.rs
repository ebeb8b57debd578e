//! Names that a project declares elsewhere than in the files that are kept up to date: hints of what an import
//! means and of which variant is wanted, never lines to write.

use super::document::{Document, Kind};

/// Whether the tracked file `path` may declare something.
pub fn may_declare(path: &str) -> bool {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let lower = file.to_ascii_lowercase();
    let listed = lower.contains("requirement") || folder.rsplit('/').next() == Some("requirements");
    matches!(file, "setup.py" | "setup.cfg" | "Pipfile")
        || listed && (lower.ends_with(".txt") || lower.ends_with(".in"))
        || lower.starts_with("environment") && (lower.ends_with(".yml") || lower.ends_with(".yaml"))
}

/// The names that the text of the file `path` declares, as far as it can be read.
pub fn names(path: &str, text: &str) -> Vec<String> {
    match path.rsplit('/').next().unwrap_or(path) {
        "setup.py" => quoted(text),
        "setup.cfg" => config(text),
        "Pipfile" => super::pyproject::pipfile(text),
        file if file.ends_with("ml") => conda(text),
        _ => listed(text),
    }
}

fn listed(text: &str) -> Vec<String> {
    let document = Document::parse(text);
    document
        .requirements()
        .map(|(_, found)| found.name.clone())
        .collect()
}

/// The texts in quotes behind a word with `require`, up to the end of that list or table.
fn quoted(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("require") {
        rest = &rest[at + "require".len()..];
        let Some(open) = rest
            .find(['[', '{', '\n'])
            .filter(|at| !rest[*at..].starts_with('\n'))
        else {
            continue;
        };
        let end = closing(&rest[open..]);
        let list = &rest[open..open + end];
        found.extend(
            list.split(['"', '\''])
                .skip(1)
                .step_by(2)
                .filter_map(requirement),
        );
        rest = &rest[open + end..];
    }
    found
}

/// Where the bracket that opens `text` is closed; its length when it is not.
fn closing(text: &str) -> usize {
    let mut depth = 0_i32;
    for (at, c) in text.char_indices() {
        depth += match c {
            '[' | '{' => 1,
            ']' | '}' => -1,
            _ => 0,
        };
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// `install_requires` and `[options.extras_require]` of setup.cfg: every indented line that is a requirement.
fn config(text: &str) -> Vec<String> {
    let mut section = "";
    let mut found = Vec::new();
    let mut open = false;
    for line in text.lines() {
        if line.starts_with('[') {
            section = line.trim();
            open = false;
        } else if line.starts_with([' ', '\t']) {
            found.extend(Some(line).filter(|_| open).and_then(requirement));
        } else if let Some((key, value)) = line.split_once('=') {
            let key = key.trim();
            open = matches!(key, "install_requires" | "tests_require" | "setup_requires")
                || section == "[options.extras_require]";
            found.extend(Some(value).filter(|_| open).and_then(requirement));
        }
    }
    found
}

/// The name of the project's own distribution in setup.cfg.
pub fn own(text: &str) -> Option<String> {
    let (_, metadata) = text.split_once("[metadata]")?;
    let mut lines = metadata.lines().take_while(|line| !line.starts_with('['));
    let name = lines.find_map(|line| line.strip_prefix("name")?.trim_start().strip_prefix('='))?;
    Some(name.trim().to_string())
}

/// The name of the project's own distribution in setup.py: `name="…"` among the arguments of the last `setup(`
/// itself, for one in brackets of its own may be an extension's.
pub fn own_of_script(text: &str) -> Option<String> {
    let call = &text[text.rfind("setup(")?..];
    let mut depth = 0_i32;
    for (at, c) in call.char_indices() {
        depth += match c {
            '(' | '[' | '{' => 1,
            ')' | ']' | '}' => -1,
            _ => 0,
        };
        let begins = depth == 1 && call[..at].ends_with([' ', '\t', '\n', '(', ',']);
        if let Some(name) = call[at..].strip_prefix("name").filter(|_| begins)
            && let Some(name) = quoted_argument(name)
        {
            return Some(name.to_string());
        }
    }
    None
}

/// The name of a distribution in `="…"`.
fn quoted_argument(text: &str) -> Option<&str> {
    let value = text.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let name = value[1..].split(quote).next()?;
    super::name::is_valid(name).then_some(name)
}

/// The folders in which the packages lie, by `package_dir` and `where` of setup.cfg (setuptools, "Configuring setuptools
/// using setup.cfg files").
pub fn roots(text: &str) -> Vec<String> {
    let (mut section, mut key) = ("", "");
    let mut found = Vec::new();
    for line in text.lines() {
        let mut value = line.trim();
        if line.starts_with('[') {
            (section, key) = (value, "");
        } else if !line.starts_with([' ', '\t'])
            && let Some((name, rest)) = line.split_once('=')
        {
            (key, value) = (name.trim(), rest.trim());
        }
        let folder = match (section, key) {
            ("[options]", "package_dir") => value.strip_prefix('=').map(str::trim),
            ("[options.packages.find]", "where") => Some(value),
            _ => None,
        };
        found.extend(
            folder
                .filter(|folder| !folder.is_empty())
                .map(str::to_string),
        );
    }
    found
}

/// What a conda environment file asks pip for: conda's own names may be strangers on the Python index.
fn conda(text: &str) -> Vec<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut pip = None;
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let entry = line.trim_start().strip_prefix("- ");
        if entry.is_some_and(|entry| entry.trim_end() == "pip:") {
            pip = Some(indent(line));
        } else if pip.is_some_and(|pip| indent(line) <= pip) {
            pip = None;
        } else if pip.is_some() {
            found.extend(
                entry.and_then(|entry| requirement(entry.trim().trim_matches(['"', '\'']))),
            );
        }
    }
    found
}

fn requirement(text: &str) -> Option<String> {
    match &Document::parse(text.trim()).lines().first()?.kind {
        Kind::Requirement(found) => Some(found.name.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setup_cfg_says_where_packages_lie() {
        for (text, expected) in [
            (
                "[options]\npackage_dir =\n    = code\n    x = y\n",
                &["code"][..],
            ),
            ("[options]\npackage_dir = =lib\nname = =z\n", &["lib"]),
            ("[options.packages.find]\nwhere = src2\n", &["src2"]),
            ("[other]\nwhere = src2\n", &[]),
        ] {
            assert_eq!(roots(text), expected, "{text}");
        }
    }

    #[test]
    fn a_project_says_its_own_name() {
        for (text, expected) in [
            ("[metadata]\nversion = 1\nname = my-lib\n", Some("my-lib")),
            ("[metadata]\nversion = 1\n[tool]\nname = x\n", None),
            ("[options]\nname = x\n", None),
        ] {
            assert_eq!(own(text).as_deref(), expected, "{text}");
        }
        for (text, expected) in [
            (
                "from x import setup\nExtension(name='a._b')\nsetup(version='1', name = \"my-lib\")\n",
                Some("my-lib"),
            ),
            (
                "setup(\n    ext_modules=[Extension(name='a._b')],\n    name='x',\n)",
                Some("x"),
            ),
            ("setup(package_name='y', name=NAME)", None),
            ("name = 'x'", None),
        ] {
            assert_eq!(own_of_script(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn every_way_to_declare_is_read() {
        for (path, text, expected) in [
            (
                "setup.py",
                "setup(name='x', install_requires=['a>=1', \"b[c]\"], extras_require={'t': ['d']}, url='h')\n# requires e\n",
                &["a", "b", "t", "d"][..],
            ),
            (
                "setup.cfg",
                "[metadata]\nname = x\n[options]\ninstall_requires =\n    a>=1\n    b\n[options.extras_require]\nt = c\n    d\n",
                &["a", "b", "c", "d"],
            ),
            (
                "env/environment.yml",
                "name: x\nchannels:\n  - conda-forge\ndependencies:\n  - python=3.9\n  - pip:\n    - \"a==1\"\n    - iris\n",
                &["a", "iris"],
            ),
            ("requirements/gpu.txt", "a==1\n-e .\n", &["a"]),
            (
                "Pipfile",
                "[packages]\na = \"*\"\n[dev-packages]\nb = \"==1\"\n",
                &["a", "b"],
            ),
        ] {
            assert!(may_declare(path), "{path}");
            assert_eq!(names(path, text), expected, "{path}");
        }
        assert!(!may_declare("notes.txt") && !may_declare("environment.py"));
        assert!(names("setup.py", "require").is_empty());
    }
}
