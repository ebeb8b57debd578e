//! A commit's own project, as its `pyproject.toml`, `setup.cfg` or `setup.py` describes it: what a run needs so that it
//! is importable as after `pip install --editable`, although its environment is shared with other commits.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::error::{Context as _, Error, Result};
use crate::model::names::RelPath;
use crate::model::tree::Tree;

/// A project that can be installed.
#[derive(Clone, Debug, Default)]
pub struct Project {
    /// Its name, as written.
    pub name: Option<String>,
    /// Its version; without one it is not known before it is built.
    pub version: Option<String>,
    /// The folder that its packages lie in, relative to the commit; `.` is the root.
    pub imports: Option<RelPath>,
    /// Entry points by group, `console_scripts` among them: name and object reference.
    pub entry_points: BTreeMap<String, BTreeMap<String, String>>,
    dependencies: Option<Vec<String>>,
    optional: BTreeMap<String, Vec<String>>,
}

impl Project {
    /// The project in `folder` of a commit, if there is one.
    ///
    /// # Errors
    /// [`Kind::Config`](crate::error::Kind::Config) when its `pyproject.toml` is not TOML.
    pub fn read(tree: &dyn Tree, folder: &RelPath) -> Result<Option<Self>> {
        let at = |name: &str| match folder.as_str() {
            "." => name.to_string(),
            folder => format!("{folder}/{name}"),
        };
        let text = |name: &str| {
            let content = tree.read(&at(name))?;
            Ok::<_, Error>(content.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        };
        let pyproject = match text("pyproject.toml")? {
            Some(text) => text.parse::<Table>().or_config(|| at("pyproject.toml"))?,
            None => Table::new(),
        };
        let config = text("setup.cfg")?
            .map(|text| ini(&text))
            .unwrap_or_default();
        let setup = text("setup.py")?;
        let is_project = setup.is_some()
            || ["project", "build-system"]
                .iter()
                .any(|key| pyproject.contains_key(*key))
            || get(&pyproject, "tool.poetry.name").is_some()
            || config.contains_key("metadata");
        if !is_project || get(&pyproject, "tool.uv.package") == Some(&Value::Boolean(false)) {
            return Ok(None);
        }
        let mut project = Project::default();
        project.describe_by_setup_cfg(&config);
        project.describe_by_pyproject(&pyproject);
        if setup
            .as_deref()
            .is_some_and(|text| text.contains("install_requires"))
            && !pyproject.contains_key("project")
        {
            project.dependencies = None;
        }
        let said =
            source_folder(&pyproject).or_else(|| source_folder_of_setup(&config, setup.as_deref()));
        let imports = match said {
            Some(said) => said,
            None if has_source_folder(tree, &at("src"))? => "src".to_string(),
            None => ".".to_string(),
        };
        let imports = match imports.trim_end_matches('/') {
            "." | "" => folder.clone(),
            imports => RelPath::new(at(imports)).or_config(|| at("pyproject.toml"))?,
        };
        project.imports = Some(imports);
        Ok(Some(project))
    }

    /// What it and its `extras` need; nothing when that is not known before it is built.
    pub fn dependencies(&self, extras: &[String]) -> Option<Vec<String>> {
        let mut found = self.dependencies.clone()?;
        let (mut waiting, mut seen) = (extras.to_vec(), BTreeSet::new());
        while let Some(extra) = waiting.pop() {
            if !seen.insert(normal(&extra)) {
                continue;
            }
            let same = |(name, _): &(&String, _)| normal(name) == normal(&extra);
            let (_, needs) = self.optional.iter().find(same)?;
            for need in needs {
                // An extra may be made of others: `all = ["project[plots]"]`.
                match need.split_once('[') {
                    Some((name, rest)) if self.is_named(name) => {
                        let rest = rest.split(']').next().unwrap_or(rest);
                        waiting.extend(rest.split(',').map(|extra| extra.trim().to_string()));
                    }
                    _ => found.push(need.clone()),
                }
            }
        }
        Some(found)
    }

    fn is_named(&self, name: &str) -> bool {
        let own = self.name.as_deref().map(normal);
        own == Some(normal(name.trim()))
    }

    fn describe_by_pyproject(&mut self, pyproject: &Table) {
        let is_dynamic = |key: &str| {
            let dynamic = get(pyproject, "project.dynamic")
                .map(strings)
                .unwrap_or_default();
            dynamic.iter().any(|name| name == key)
        };
        let Some(Value::Table(project)) = pyproject.get("project") else {
            if let Some(poetry) = get(pyproject, "tool.poetry") {
                self.name = poetry.get("name").and_then(text);
                self.version = poetry.get("version").and_then(text);
                self.add_points("console_scripts", poetry.get("scripts"));
                let needs = poetry.get("dependencies").and_then(Value::as_table);
                if needs.is_some_and(|needs| needs.keys().any(|name| name != "python")) {
                    self.dependencies = None;
                }
            }
            return;
        };
        self.name = project.get("name").and_then(text);
        if !is_dynamic("version") {
            self.version = project.get("version").and_then(text);
        }
        if !is_dynamic("dependencies") {
            self.dependencies = Some(project.get("dependencies").map(strings).unwrap_or_default());
        } else if self.dependencies.as_ref().is_some_and(Vec::is_empty) {
            // What setup.cfg lists would have been meant.
            self.dependencies = None;
        }
        if let Some(Value::Table(optional)) = project.get("optional-dependencies") {
            self.optional = optional
                .iter()
                .map(|(name, list)| (name.clone(), strings(list)))
                .collect();
        }
        self.add_points("console_scripts", project.get("scripts"));
        self.add_points("gui_scripts", project.get("gui-scripts"));
        if let Some(Value::Table(groups)) = project.get("entry-points") {
            for (group, points) in groups {
                self.add_points(group, Some(points));
            }
        }
    }

    fn describe_by_setup_cfg(&mut self, config: &Ini) {
        let lines = |section: &str, key: &str| config.get(section).and_then(|keys| keys.get(key));
        let one = |section: &str, key: &str| lines(section, key)?.first().cloned();
        self.name = one("metadata", "name");
        // `attr:` and `file:` are read when it is built.
        self.version = one("metadata", "version").filter(|version| !version.contains(':'));
        let needs = lines("options", "install_requires")
            .cloned()
            .unwrap_or_default();
        self.dependencies = (!needs.iter().any(|need| need.starts_with("file:"))).then_some(needs);
        if let Some(optional) = config.get("options.extras_require") {
            self.optional = optional.clone().into_iter().collect();
        }
        for (group, points) in config.get("options.entry_points").into_iter().flatten() {
            for (name, target) in points.iter().filter_map(|point| point.split_once('=')) {
                self.add_point(group, name.trim(), target.trim());
            }
        }
    }

    fn add_points(&mut self, group: &str, points: Option<&Value>) {
        for (name, target) in points.and_then(Value::as_table).into_iter().flatten() {
            self.add_point(group, name, target.as_str().unwrap_or_default());
        }
    }

    fn add_point(&mut self, group: &str, name: &str, target: &str) {
        let plain = |text: &str, more: &str| {
            let is_plain = |c: char| c.is_alphanumeric() || more.contains(c);
            !text.is_empty() && !text.starts_with(['-', '.']) && text.chars().all(is_plain)
        };
        // Extras behind the object are obsolete and mean nothing.
        let target = target.split('[').next().unwrap_or(target).trim();
        if plain(group, "._-") && plain(name, "._-") && plain(target, "._:") {
            let group = self.entry_points.entry(group.to_string()).or_default();
            group.insert(name.to_string(), target.to_string());
        }
    }
}

/// The folder of the packages where a build backend is told of it.
fn source_folder(pyproject: &Table) -> Option<String> {
    let parent = |path: &str| {
        path.rsplit_once('/')
            .map_or(".", |(folder, _)| folder)
            .to_string()
    };
    let setuptools = get(pyproject, "tool.setuptools.package-dir")
        .and_then(|folders| text(folders.get("")?))
        .or_else(|| {
            strings(get(pyproject, "tool.setuptools.packages.find.where")?)
                .into_iter()
                .next()
        });
    let poetry = || {
        text(
            get(pyproject, "tool.poetry.packages")?
                .get(0)?
                .get("from")?,
        )
    };
    let hatch = || {
        let packages = strings(get(pyproject, "tool.hatch.build.targets.wheel.packages")?);
        packages.first().map(|package| parent(package))
    };
    let named = || {
        [
            "tool.pdm.build.package-dir",
            "tool.uv.build-backend.module-root",
            "tool.maturin.python-source",
        ]
        .iter()
        .find_map(|key| get(pyproject, key).and_then(text))
    };
    setuptools.or_else(poetry).or_else(hatch).or_else(named)
}

fn source_folder_of_setup(config: &Ini, setup: Option<&str>) -> Option<String> {
    let first = |section: &str, key: &str| config.get(section)?.get(key)?.first();
    let listed = first("options", "package_dir").and_then(|line| line.strip_prefix('='));
    let found = listed.or_else(|| first("options.packages.find", "where").map(String::as_str));
    found.map(|folder| folder.trim().to_string()).or_else(|| {
        setup?
            .match_indices("package_dir")
            .find_map(|(at, _)| root_folder(&setup?[at..]))
    })
}

/// The folder in `package_dir={"": "src"}`, with which the text begins.
fn root_folder(text: &str) -> Option<String> {
    let after = |text: &'static str| {
        move |rest: &str| Some(rest.trim_start().strip_prefix(text)?.to_string())
    };
    let rest = after("package_dir")(text).and_then(|rest| after("=")(&rest));
    let rest = rest.and_then(|rest| after("{")(&rest))?;
    let name = after("\"\"")(&rest).or_else(|| after("''")(&rest));
    let rest = name.and_then(|rest| after(":")(&rest))?;
    let rest = rest.trim_start();
    let quote = rest
        .chars()
        .next()
        .filter(|quote| matches!(quote, '"' | '\''))?;
    let folder = rest[1..].split(quote).next()?;
    let is_plain = |char: char| char.is_alphanumeric() || "_./-".contains(char);
    (!folder.is_empty() && folder.chars().all(is_plain)).then(|| folder.to_string())
}

/// Whether `folder` holds packages and is none itself: the layout that build backends find by themselves.
fn has_source_folder(tree: &dyn Tree, folder: &str) -> Result<bool> {
    let entries = tree.list(folder)?;
    let is_package = entries.iter().any(|entry| entry.name == "__init__.py");
    let holds = |name: &str, is_folder: bool| match is_folder {
        true => !name.ends_with(".egg-info") && name != "__pycache__",
        false => name.ends_with(".py"),
    };
    Ok(!is_package
        && entries
            .iter()
            .any(|entry| holds(&entry.name, entry.is_folder)))
}

/// The value at a dotted key.
fn get<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    let (first, rest) = key.split_once('.').unwrap_or((key, ""));
    let mut value = table.get(first)?;
    for part in rest.split('.').filter(|part| !part.is_empty()) {
        value = value.get(part)?;
    }
    Some(value)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_string)
}

fn strings(value: &Value) -> Vec<String> {
    let values = value.as_array().into_iter().flatten();
    values.filter_map(text).collect()
}

/// A distribution's or an extra's name as names are compared (PEP 503).
pub fn normal(name: &str) -> String {
    let parts: Vec<&str> = name
        .split(['-', '_', '.'])
        .filter(|part| !part.is_empty())
        .collect();
    parts.join("-").to_lowercase()
}

type Ini = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// The sections of a `setup.cfg` with the lines of each key, as configparser reads them.
fn ini(text: &str) -> Ini {
    let mut sections = Ini::new();
    let (mut section, mut key) = (String::new(), String::new());
    for line in text.lines() {
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        let value = if line.starts_with([' ', '\t']) {
            bare
        } else if let Some(name) = bare
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name.to_string();
            key.clear();
            sections.entry(section.clone()).or_default();
            continue;
        } else if let Some((name, value)) = bare.split_once('=') {
            key = name.trim().to_string();
            value.trim()
        } else {
            continue;
        };
        let lines = sections
            .entry(section.clone())
            .or_default()
            .entry(key.clone())
            .or_default();
        if !value.is_empty() {
            lines.push(value.to_string());
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tree::tests::Commit;

    fn read(tree: &[(&str, &str)]) -> Option<Project> {
        Project::read(&Commit(tree), &RelPath::new(".").unwrap()).unwrap()
    }

    fn imports(tree: &[(&str, &str)]) -> String {
        read(tree).unwrap().imports.unwrap().to_string()
    }

    #[test]
    fn what_is_a_project() {
        assert!(read(&[("train.py", "")]).is_none());
        assert!(read(&[("pyproject.toml", "[tool.black]\nline-length = 99\n")]).is_none());
        assert!(read(&[("setup.cfg", "[flake8]\nmax-line-length = 99\n")]).is_none());
        assert!(
            read(&[(
                "pyproject.toml",
                "[project]\nname='x'\n[tool.uv]\npackage=false\n"
            )])
            .is_none()
        );
        assert!(read(&[("setup.py", "setup()")]).is_some());
        assert!(read(&[("pyproject.toml", "[project]\nname = 'x'\n")]).is_some());
    }

    #[test]
    fn where_its_packages_lie() {
        let project = ("pyproject.toml", "[project]\nname = 'x'\n");
        assert_eq!(imports(&[project, ("x/__init__.py", "")]), ".");
        assert_eq!(imports(&[project, ("src/x/__init__.py", "")]), "src");
        // There `src` is the package.
        assert_eq!(
            imports(&[project, ("src/__init__.py", ""), ("src/a.py", "")]),
            "."
        );
        for (text, folder) in [
            ("[tool.setuptools.packages.find]\nwhere = ['lib']", "lib"),
            ("[tool.setuptools]\npackage-dir = {'' = 'lib/'}", "lib"),
            (
                "[tool.poetry]\npackages = [{include = 'x', from = 'lib'}]",
                "lib",
            ),
            (
                "[tool.hatch.build.targets.wheel]\npackages = ['lib/x']",
                "lib",
            ),
            ("[tool.pdm.build]\npackage-dir = 'lib'", "lib"),
        ] {
            let text = format!("[project]\nname = 'x'\n{text}\n");
            assert_eq!(imports(&[("pyproject.toml", &text)]), folder, "{text}");
        }
        assert_eq!(
            imports(&[("setup.py", "setup(package_dir = {'': 'lib'})")]),
            "lib"
        );
        assert_eq!(
            imports(&[(
                "setup.cfg",
                "[metadata]\nname=x\n[options]\npackage_dir =\n\t= lib\n"
            )]),
            "lib"
        );
        let bad = (
            "pyproject.toml",
            "[project]\nname = 'x'\n[tool.pdm.build]\npackage-dir = '../x'\n",
        );
        assert!(Project::read(&Commit(&[bad]), &RelPath::new(".").unwrap()).is_err());
    }

    #[test]
    fn what_it_needs() {
        let text = "[project]\nname = 'My_Lab'\ndependencies = ['numpy']\n\
                    [project.optional-dependencies]\nall = ['my-lab[plots]', 'x']\nplots = ['matplotlib']\n";
        let project = read(&[("pyproject.toml", text)]).unwrap();
        assert_eq!(project.dependencies(&[]).unwrap(), ["numpy"]);
        assert_eq!(
            project.dependencies(&["All".into()]).unwrap(),
            ["numpy", "x", "matplotlib"]
        );
        assert_eq!(project.dependencies(&["none".into()]), None);
        let dynamic = "[project]\nname = 'x'\ndynamic = ['dependencies']\n";
        assert_eq!(
            read(&[("pyproject.toml", dynamic)])
                .unwrap()
                .dependencies(&[]),
            None
        );
        let poetry = "[tool.poetry]\nname = 'x'\n[tool.poetry.dependencies]\npython = '^3.9'\n";
        assert_eq!(
            read(&[("pyproject.toml", poetry)])
                .unwrap()
                .dependencies(&[])
                .unwrap(),
            [""; 0]
        );
        let poetry = format!("{poetry}numpy = '^1'\n");
        assert_eq!(
            read(&[("pyproject.toml", &poetry)])
                .unwrap()
                .dependencies(&[]),
            None
        );
        assert_eq!(
            read(&[("setup.py", "setup()")])
                .unwrap()
                .dependencies(&[])
                .unwrap(),
            [""; 0]
        );
        let setup = ("setup.py", "setup(install_requires=read())");
        assert_eq!(read(&[setup]).unwrap().dependencies(&[]), None);
        let config = (
            "setup.cfg",
            "[metadata]\nname = x\nversion = attr: x.v\n[options]\ninstall_requires =\n    a>=1\n    b\n",
        );
        let project = read(&[("setup.py", "setup()"), config]).unwrap();
        assert_eq!(project.dependencies(&[]).unwrap(), ["a>=1", "b"]);
        assert_eq!(
            (project.name.as_deref(), project.version),
            (Some("x"), None)
        );
    }

    #[test]
    fn its_programs() {
        let text = "[project]\nname = 'x'\n[project.scripts]\nfit = 'x.cli:main'\n'../bad' = 'x:y'\nworse = 'x; id'\n";
        let points = read(&[("pyproject.toml", text)]).unwrap().entry_points;
        assert_eq!(
            points["console_scripts"].iter().collect::<Vec<_>>(),
            [(&"fit".to_string(), &"x.cli:main".to_string())]
        );
    }
}
