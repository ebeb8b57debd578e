//! What a project's own files provide: which imports are local.

use std::collections::{BTreeSet, HashMap, HashSet};

/// What may stand behind an import, seen from one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Local {
    /// Nothing of the project.
    No,
    /// A file elsewhere in the project, or beside a file of a package: the project's, unless a known distribution
    /// has the name.
    Maybe,
    /// A file or package that the importing file's path holds.
    Yes,
}

/// The Python modules of a project, from the paths of its files.
#[derive(Debug, Default)]
pub struct Project {
    modules: HashSet<String>,
    packages: HashSet<String>,
    /// Folders with Python files somewhere below them.
    folders: HashSet<String>,
    /// Folders that are on the path of every file.
    roots: BTreeSet<String>,
    /// Every last component of a module, package or folder, and how many have it.
    names: HashMap<String, usize>,
}

/// What the files of a project say about where modules lie.
#[derive(Debug, Default)]
pub struct Said<'p> {
    /// Texts that a file writes where it changes `sys.path`: the file's path, the text, and whether it stands on
    /// the line that does.
    pub folders: Vec<(&'p str, &'p str, bool)>,
    /// Files `__init__.py` that only join a namespace.
    pub namespaces: HashSet<&'p str>,
}

/// `a/b` of `a/b/c`; empty for a file at the top.
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.into()
    } else {
        format!("{folder}/{name}")
    }
}

/// `folder/text` without `.` and `..`; nothing when it leaves the project.
pub fn resolve(folder: &str, text: &str) -> Option<String> {
    if text.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The module that the file `path` is, without its ending: Python, Cython, stubs and built extensions.
fn module_path(path: &str) -> Option<&str> {
    let (stem, ending) = path.rsplit_once('.')?;
    match ending {
        "py" | "pyw" | "pyx" | "pyi" => Some(stem),
        // `name.cpython-311-x86_64-linux-gnu.so`
        "so" | "pyd" => {
            let name = file_name(stem);
            let end = name.find('.').unwrap_or(name.len());
            Some(&stem[..stem.len() - name.len() + end])
        }
        _ => None,
    }
}

impl Project {
    /// The project of all `paths`.
    pub fn new<'p>(paths: impl IntoIterator<Item = &'p str>, said: &Said<'p>) -> Self {
        let mut project = Project::default();
        project.roots.extend([String::new(), "src".into()]);
        for path in paths {
            if matches!(file_name(path), "setup.py" | "setup.cfg" | "pyproject.toml") {
                project.roots.insert(parent(path).into());
                project.roots.insert(join(parent(path), "src"));
            }
            if let Some(module) = module_path(path) {
                project.add(module, said.namespaces.contains(path));
            }
        }
        for (file, text, exact) in &said.folders {
            project.add_root(file, text, *exact);
        }
        project
    }

    fn add(&mut self, module: &str, namespace: bool) {
        let mut folder = parent(module);
        let name = file_name(module);
        if name == "__init__" {
            if !namespace {
                self.packages.insert(folder.into());
            }
        } else {
            self.modules.insert(module.into());
            self.count(name);
        }
        while !folder.is_empty() && self.folders.insert(folder.into()) {
            self.count(file_name(folder));
            folder = parent(folder);
        }
    }

    fn count(&mut self, name: &str) {
        *self.names.entry(name.into()).or_default() += 1;
    }

    /// `text` names a folder below the file's folder or one above it. A package is seldom put on the path: it is
    /// only with `exact`, when the text stands where the path is changed.
    fn add_root(&mut self, file: &str, text: &str, exact: bool) {
        // Most texts of such a file name nothing here.
        if text == ".."
            || !self
                .names
                .contains_key(file_name(text.trim_end_matches('/')))
        {
            return;
        }
        let mut folder = parent(file);
        loop {
            if let Some(root) = resolve(folder, text)
                && self.folders.contains(&root)
                && (exact || !self.packages.contains(&root))
            {
                self.roots.insert(root);
            }
            if folder.is_empty() {
                return;
            }
            folder = parent(folder);
        }
    }

    /// What stands behind `import MODULE` (no `names`) or `from MODULE import NAMES` in the file `path`. `legacy`:
    /// the file is Python 2. `climbs`: the file changes `sys.path`, so that folders above its own may be on it.
    pub fn local(
        &self,
        path: &str,
        module: &str,
        names: &[String],
        legacy: bool,
        climbs: bool,
    ) -> Local {
        let top = module.split('.').next().unwrap_or_default();
        let Some(count) = self.names.get(top) else {
            return Local::No;
        };
        let folder = parent(path);
        let in_package = self.packages.contains(folder);
        let own = file_name(path)
            .rsplit_once('.')
            .is_some_and(|(stem, _)| stem == top);
        let on_path = |root: &str| self.provides(root, path, module, names);
        let itself = own && !self.folders.contains(&join(folder, top));
        if (!in_package || legacy) && !itself && on_path(folder) {
            return Local::Yes;
        }
        let mut above = folder;
        while self.packages.contains(above) {
            above = parent(above);
        }
        if on_path(above) && (above != folder || !own) {
            return Local::Yes;
        }
        if self
            .roots
            .iter()
            .any(|root| on_path(root) && !(own && root == folder))
        {
            return Local::Yes;
        }
        let mut above = folder;
        while climbs && !above.is_empty() {
            above = parent(above);
            if !self.packages.contains(above) && on_path(above) {
                return Local::Yes;
            }
        }
        // A file in a package does not mean itself.
        match own && in_package && *count == 1 {
            true => Local::No,
            false => Local::Maybe,
        }
    }

    /// Whether the folder `root`, when it is on the path, provides the module to the file `path`.
    fn provides(&self, root: &str, path: &str, module: &str, names: &[String]) -> bool {
        let mut at = root.to_string();
        for part in module.split('.') {
            at = join(&at, part);
            if self.packages.contains(&at) || self.modules.contains(&at) {
                return true;
            }
            if !self.folders.contains(&at) {
                return false;
            }
        }
        // A namespace: it has what lies in it, and no more.
        let known = |path: &String| self.modules.contains(path) || self.folders.contains(path);
        match names {
            [] => !path.starts_with(&format!("{at}/")),
            names => names.iter().any(|name| known(&join(&at, name))),
        }
    }
}

/// Whether the file `path` is test or documentation code: a folder called test, tests, testing, doc or docs, or
/// one of the names that test runners and packagers look for.
pub fn is_development(path: &str) -> bool {
    let name = file_name(path);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    parent(path).split('/').any(|folder| {
        let names = ["test", "tests", "testing", "doc", "docs"];
        names.iter().any(|name| folder.eq_ignore_ascii_case(name))
    }) || matches!(name, "conftest.py" | "setup.py" | "noxfile.py")
        || stem.starts_with("test_")
        || stem.ends_with("_test")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(paths: &[&str], file: &str, import: &str) -> Local {
        let (module, names) = import.split_once(':').unwrap_or((import, ""));
        let names: Vec<_> = names
            .split(',')
            .filter(|n| !n.is_empty())
            .map(String::from)
            .collect();
        Project::new(paths.iter().copied(), &Said::default())
            .local(file, module, &names, false, false)
    }

    #[test]
    fn a_path_holds_what_python_would_find() {
        let paths = [
            "utils.py",
            "models/__init__.py",
            "datasets/loader.py",
            "pkg/__init__.py",
            "pkg/redis.py",
            "scripts/helper.py",
            "src/mine/__init__.py",
            "lib/only.txt",
        ];
        for (file, import, expected) in [
            ("run.py", "utils", Local::Yes),
            ("scripts/run.py", "utils", Local::Yes),
            ("run.py", "models.unet:U", Local::Yes),
            ("run.py", "datasets.loader:L", Local::Yes),
            ("run.py", "datasets:loader", Local::Yes),
            ("run.py", "datasets:load_dataset", Local::Maybe),
            ("run.py", "datasets", Local::Yes),
            ("datasets/loader.py", "datasets", Local::Maybe),
            ("pkg/redis.py", "redis", Local::No),
            ("pkg/main.py", "redis", Local::Maybe),
            ("scripts/run.py", "helper", Local::Yes),
            ("run.py", "helper", Local::Maybe),
            ("tools/run.py", "mine.core", Local::Yes),
            ("run.py", "lib", Local::No),
            ("utils.py", "utils", Local::Maybe),
        ] {
            assert_eq!(local(&paths, file, import), expected, "{file}: {import}");
        }
    }

    #[test]
    fn folders_put_on_the_path_count() {
        let paths = [
            "tools/_init_paths.py",
            "lib/fast_rcnn/config.py",
            "lib/utils/__init__.py",
        ];
        let said = Said {
            folders: vec![("tools/_init_paths.py", "lib", false)],
            ..Said::default()
        };
        let project = Project::new(paths, &said);
        let yes = project.local("tools/train.py", "fast_rcnn.config", &[], false, false);
        assert_eq!(yes, Local::Yes);
    }

    #[test]
    fn a_package_is_on_the_path_only_when_it_is_put_there() {
        let paths = ["a/__init__.py", "a/redis/__init__.py", "run.py"];
        for (exact, expected) in [(false, Local::Maybe), (true, Local::Yes)] {
            let said = Said {
                folders: vec![("run.py", "a", exact)],
                ..Said::default()
            };
            let project = Project::new(paths, &said);
            assert_eq!(
                project.local("a/x.py", "redis", &[], false, false),
                expected
            );
        }
    }

    #[test]
    fn an_old_namespace_is_no_package() {
        let paths = ["azure/__init__.py", "azure/mine/__init__.py"];
        let said = Said {
            namespaces: HashSet::from(["azure/__init__.py"]),
            ..Said::default()
        };
        let project = Project::new(paths, &said);
        let local = |module: &str| project.local("run.py", module, &[], false, false);
        assert_eq!(local("azure.mine.core"), Local::Yes);
        assert_eq!(local("azure.core"), Local::Maybe);
    }

    #[test]
    fn development_files_are_known() {
        for path in [
            "tests/a.py",
            "a/docs/conf.py",
            "conftest.py",
            "test_a.py",
            "a/b_test.py",
            "x/setup.py",
            "Tests/a.py",
        ] {
            assert!(is_development(path), "{path}");
        }
        for path in ["test.py", "a/tests.py", "test_utils/a.py", "examples/a.py"] {
            assert!(!is_development(path), "{path}");
        }
    }
}
