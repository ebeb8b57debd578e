//! What is installed: read from the metadata that installers leave, without starting Python.
//!
//! Formats: `*.dist-info` with METADATA, RECORD, top_level.txt, direct_url.json (the packaging specifications
//! "Recording installed projects", "Core metadata" and "Direct URL"), setuptools' `*.egg-info` and `*.egg-link`,
//! `pyvenv.cfg` (PEP 405), conda's `conda-meta/*.json`. This is the one part of the stage that looks at files.

mod conda;
mod metadata;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use self::metadata::{direct_url, is_identifier};
pub use self::metadata::{metadata, recorded};
use super::name::normal;

/// One installed distribution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// Its name as it writes it.
    pub name: String,
    /// Its version as it writes it, local part included; empty when only conda's is known, which the index may not
    /// have.
    pub version: String,
    /// The modules it provides: the shortest dotted names that are its own (`google.cloud.storage`).
    pub modules: Vec<String>,
    /// Its `Requires-Dist` lines.
    pub requires: Vec<String>,
    /// Its `Requires-Python`.
    pub requires_python: Option<String>,
    /// Where it was installed from, when that was not an index: a requirement's text behind `@`.
    pub url: Option<String>,
    /// The folder of an editable install, in the project's work trees.
    pub editable: Option<String>,
}

/// A Python environment, or none (no distributions, no version).
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The folder of the environment.
    pub folder: Option<PathBuf>,
    /// Its Python's version, as `pyvenv.cfg` or the folder's name has it.
    pub python: Option<String>,
    distributions: HashMap<String, Installed>,
    providers: HashMap<String, Vec<String>>,
}

impl Environment {
    /// The environment that holds `distributions`.
    pub fn new(distributions: impl IntoIterator<Item = Installed>) -> Self {
        let mut environment = Environment::default();
        for found in distributions {
            let key = normal(&found.name);
            for module in &found.modules {
                let providers = environment.providers.entry(module.clone()).or_default();
                providers.push(key.clone());
            }
            environment.distributions.insert(key, found);
        }
        environment
            .providers
            .values_mut()
            .for_each(|names| names.sort());
        environment
    }

    /// Whether there is no environment, or an empty one.
    pub fn is_empty(&self) -> bool {
        self.distributions.is_empty()
    }

    /// The distribution of that name, however it is spelled.
    pub fn get(&self, name: &str) -> Option<&Installed> {
        self.distributions.get(&normal(name))
    }

    /// Every distribution, by normal name.
    pub fn all(&self) -> impl Iterator<Item = &Installed> {
        let mut names: Vec<_> = self.distributions.keys().collect();
        names.sort();
        names.into_iter().map(|name| &self.distributions[name])
    }

    /// The distributions that provide exactly the dotted name `module`.
    pub fn providers(&self, module: &str) -> impl Iterator<Item = &Installed> {
        let names = self.providers.get(module).into_iter().flatten();
        names.map(|name| &self.distributions[name])
    }
}

/// Where the environment of a project may be, best first.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    folders: Vec<PathBuf>,
    /// The work trees of the project.
    roots: Vec<PathBuf>,
}

impl Candidates {
    /// Adds folders at the top of another work tree of the project.
    pub fn extend(&mut self, folders: impl IntoIterator<Item = PathBuf>) {
        for folder in folders {
            self.roots.extend(folder.parent().map(Path::to_path_buf));
            self.folders.push(folder);
        }
    }
}

/// Where the environment of the project at `root` may be: the one that is active (`VIRTUAL_ENV`), the project's
/// own, an active conda environment other than the base one.
pub fn candidates(root: &Path, variable: impl Fn(&str) -> Option<String>) -> Candidates {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let mut found: Vec<PathBuf> = set("VIRTUAL_ENV").map(PathBuf::from).into_iter().collect();
    found.extend([root.join(".venv"), root.join("venv"), root.join("env")]);
    if set("CONDA_DEFAULT_ENV").is_some_and(|name| name != "base") {
        found.extend(set("CONDA_PREFIX").map(PathBuf::from));
    }
    Candidates {
        folders: found,
        roots: vec![root.to_path_buf()],
    }
}

/// Reads the first of the `candidates` that is an environment. What cannot be read is left out.
pub fn read(candidates: &Candidates) -> Environment {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.into());
    let roots: Vec<_> = candidates.roots.iter().map(|root| real(root)).collect();
    for folder in &candidates.folders {
        let packages = site_packages(folder);
        if packages.is_empty() {
            continue;
        }
        let mut found: Vec<_> = packages
            .iter()
            .flat_map(|path| distributions(path))
            .collect();
        let others = conda::others(folder, &mut found);
        found.extend(others);
        for one in &mut found {
            let outside = |folder: &mut String| {
                let folder = real(Path::new(folder));
                !roots.iter().any(|root| folder.starts_with(root))
            };
            // Nobody but this machine has that.
            if let Some(folder) = one.editable.take_if(outside) {
                one.url = Some(format!("file://{folder}"));
            }
        }
        let mut environment = Environment::new(found);
        environment.python = python_version(folder, &packages);
        environment.folder = Some(folder.clone());
        return environment;
    }
    Environment::default()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries.map(|entry| entry.path()).collect();
    found.sort();
    found
}

fn file_name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

fn site_packages(folder: &Path) -> Vec<PathBuf> {
    let versions = entries(&folder.join("lib"))
        .into_iter()
        .filter(|path| file_name(path).starts_with("python"));
    let mut found: Vec<_> = versions.map(|path| path.join("site-packages")).collect();
    found.push(folder.join("Lib").join("site-packages"));
    found.retain(|path| path.is_dir());
    found
}

fn python_version(folder: &Path, packages: &[PathBuf]) -> Option<String> {
    let config = text(&folder.join("pyvenv.cfg")).unwrap_or_default();
    let value = config.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        matches!(key.trim(), "version" | "version_info").then(|| value.trim().to_string())
    });
    value.or_else(|| conda::python(folder)).or_else(|| {
        let lib = packages.first()?.parent()?;
        file_name(lib).strip_prefix("python").map(str::to_string)
    })
}

/// Metadata larger than this is nobody's.
const LARGE: u64 = 64 << 20;

fn text(path: &Path) -> Option<String> {
    let size = path.metadata().ok().filter(|data| data.is_file())?.len();
    let bytes = (size <= LARGE).then(|| std::fs::read(path).ok())??;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn distributions(packages: &Path) -> Vec<Installed> {
    entries(packages)
        .into_par_iter()
        .filter_map(|path| match path.extension()?.to_str()? {
            "dist-info" => read_dist_info(&path),
            "egg-info" => read_egg_info(&path),
            "egg-link" => read_egg_link(&path),
            _ => None,
        })
        .collect()
}

fn read_dist_info(folder: &Path) -> Option<Installed> {
    let mut found = metadata(&text(&folder.join("METADATA"))?)?;
    let top = text(&folder.join("top_level.txt"));
    let packages = folder.parent()?;
    let own = |module: &&str| is_regular(packages, module);
    found.modules = match &top {
        Some(top) if !top.trim().is_empty() && words(top).all(|module| own(&module)) => {
            words(top).map(str::to_string).collect()
        }
        _ => recorded(&text(&folder.join("RECORD")).unwrap_or_default()),
    };
    if found.modules.is_empty() {
        found.modules = words(&top.unwrap_or_default())
            .map(str::to_string)
            .collect();
    }
    // What conda built it built from a file of its own: the index has the same.
    let installer = text(&folder.join("INSTALLER")).unwrap_or_default();
    if installer.trim() != "conda" {
        let json = text(&folder.join("direct_url.json")).unwrap_or_default();
        direct_url(&mut found, &json);
    }
    // An editable install may leave no more than a line in a `.pth` file, or a finder.
    let files = found
        .modules
        .iter()
        .all(|module| module.starts_with("__editable__"));
    if let Some(source) = found.editable.as_ref().filter(|_| files) {
        found.modules = modules_in(Path::new(source));
    }
    Some(found)
}

/// The modules at the top of a project's folder, or of its `src`.
fn modules_in(folder: &Path) -> Vec<String> {
    let src = folder.join("src");
    let folder = if src.is_dir() {
        src
    } else {
        folder.to_path_buf()
    };
    let module = |path: PathBuf| {
        let package = path.join("__init__.py").is_file();
        let name = file_name(&path);
        let name = if package {
            name
        } else {
            name.strip_suffix(".py")?
        };
        let own = is_identifier(name)
            && !matches!(name, "setup" | "conftest" | "noxfile" | "tests" | "docs");
        own.then(|| name.to_string())
    };
    entries(&folder).into_iter().filter_map(module).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// Whether a top-level name is a whole package, and no namespace that several distributions share.
fn is_regular(packages: &Path, module: &str) -> bool {
    let folder = packages.join(module);
    !folder.is_dir() || folder.join("__init__.py").exists()
}

fn read_egg_info(path: &Path) -> Option<Installed> {
    if path.is_file() {
        return metadata(&text(path)?);
    }
    let mut found = metadata(&text(&path.join("PKG-INFO"))?)?;
    let top = text(&path.join("top_level.txt")).unwrap_or_default();
    let packages = path.parent()?;
    if words(&top).all(|module| is_regular(packages, module)) {
        found.modules = words(&top).map(str::to_string).collect();
    } else {
        // Relative to the egg-info.
        let files = text(&path.join("installed-files.txt")).unwrap_or_default();
        found.modules = recorded(&files.replace("../", ""));
    }
    let files = text(&path.join("requires.txt")).unwrap_or_default();
    found.requires.extend(
        words(&files)
            .take_while(|line| !line.starts_with('['))
            .map(str::to_string),
    );
    Some(found)
}

fn read_egg_link(path: &Path) -> Option<Installed> {
    let link = text(path)?;
    let folder = Path::new(link.lines().next()?.trim());
    let info = entries(folder)
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "egg-info"))?;
    let mut found = read_egg_info(&info)?;
    found.editable = Some(folder.to_string_lossy().into_owned());
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn what_conda_installed_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let built = r#"{"url": "file:///home/conda/feedstock_root/x/work", "dir_info": {}}"#;
        write(
            root,
            &[
                (
                    "lib/python3.10/site-packages/numpy-1.26.4.dist-info/METADATA",
                    "Name: numpy\nVersion: 1.26.4\n",
                ),
                (
                    "lib/python3.10/site-packages/numpy-1.26.4.dist-info/RECORD",
                    "numpy/__init__.py,,\n",
                ),
                (
                    "lib/python3.10/site-packages/numpy-1.26.4.dist-info/INSTALLER",
                    "conda\n",
                ),
                (
                    "lib/python3.10/site-packages/numpy-1.26.4.dist-info/direct_url.json",
                    built,
                ),
                (
                    "lib/python3.10/site-packages/scipy-1.11.4.dist-info/METADATA",
                    "Name: scipy\nVersion: 1.11.4\n",
                ),
                (
                    "lib/python3.10/site-packages/scipy-1.11.4.dist-info/direct_url.json",
                    built,
                ),
                (
                    "lib/python3.10/site-packages/mine-1.dist-info/METADATA",
                    "Name: mine\nVersion: 1\n",
                ),
                (
                    "lib/python3.10/site-packages/mine-1.dist-info/direct_url.json",
                    built,
                ),
                (
                    "conda-meta/scipy-1.11.4-0.json",
                    r#"{"name": "scipy", "version": "1.11.4", "files": ["lib/python3.10/site-packages/scipy-1.11.4.dist-info/direct_url.json"]}"#,
                ),
                ("conda-meta/history", ""),
                ("conda-meta/broken.json", "{"),
                (
                    "conda-meta/python-3.10.4-h1_0.json",
                    r#"{"name": "python", "version": "3.10.4", "files": []}"#,
                ),
                (
                    "conda-meta/numpy-1.26.4-0.json",
                    r#"{"name": "numpy", "version": "1.26.4", "files": ["lib/python3.10/site-packages/numpy/__init__.py"]}"#,
                ),
                (
                    "conda-meta/py-opencv-4.6.0-0.json",
                    r#"{"name": "py-opencv", "version": "4.6.0", "files": ["lib/python3.10/site-packages/cv2.so"]}"#,
                ),
                (
                    "conda-meta/pysam-0.22.0-0.json",
                    r#"{"name": "pysam", "version": "0.22.0", "files": ["lib/python3.10/site-packages/pysam/__init__.py"]}"#,
                ),
            ],
        );
        let environment = read(&Candidates {
            folders: vec![root.to_path_buf()],
            roots: Vec::new(),
        });
        assert_eq!(environment.python.as_deref(), Some("3.10.4"));
        let all: Vec<_> = environment
            .all()
            .map(|found| {
                let (name, version) = (found.name.as_str(), found.version.as_str());
                (name, version, found.url.is_some())
            })
            .collect();
        assert_eq!(
            all,
            [
                ("mine", "1", true),
                ("numpy", "1.26.4", false),
                ("opencv-python", "", false),
                ("pysam", "0.22.0", false),
                ("scipy", "1.11.4", false)
            ]
        );
    }

    #[test]
    fn editable_installs_of_every_kind_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let packages = "lib/python3.11/site-packages";
        let source = |name: &str| root.join(name).to_str().unwrap().to_string();
        let url = |name: &str| {
            format!(
                r#"{{"url": "file://{}", "dir_info": {{"editable": true}}}}"#,
                source(name)
            )
        };
        write(
            root,
            &[
                ("hatch/src/hatched/__init__.py", ""),
                (
                    &format!("{packages}/hatched-1.dist-info/METADATA"),
                    "Name: hatched\nVersion: 1\n",
                ),
                (
                    &format!("{packages}/hatched-1.dist-info/RECORD"),
                    "_hatched.pth,,\n",
                ),
                (
                    &format!("{packages}/hatched-1.dist-info/direct_url.json"),
                    &url("hatch"),
                ),
                ("tools/finds/__init__.py", ""),
                (
                    &format!("{packages}/finds-1.dist-info/METADATA"),
                    "Name: finds\nVersion: 1\n",
                ),
                (
                    &format!("{packages}/finds-1.dist-info/RECORD"),
                    "__editable___finds_1_finder.py,,\n",
                ),
                (
                    &format!("{packages}/finds-1.dist-info/direct_url.json"),
                    &url("tools"),
                ),
                (
                    &format!("{packages}/linked.egg-link"),
                    &format!("{}\n.", source("old")),
                ),
                ("old/linked.egg-info/PKG-INFO", "Name: linked\nVersion: 2\n"),
                ("old/linked.egg-info/top_level.txt", "linked\n"),
                (
                    &format!("{packages}/part.egg-info/PKG-INFO"),
                    "Name: part\nVersion: 3\n",
                ),
                (
                    &format!("{packages}/part.egg-info/top_level.txt"),
                    "space\n",
                ),
                (
                    &format!("{packages}/part.egg-info/installed-files.txt"),
                    "../space/part/__init__.py\n",
                ),
                (&format!("{packages}/space/part/__init__.py"), ""),
            ],
        );
        let environment = read(&Candidates {
            folders: vec![root.to_path_buf()],
            roots: vec![root.join("hatch"), root.join("tools")],
        });
        let all: Vec<_> = environment
            .all()
            .map(|found| {
                (
                    found.name.as_str(),
                    found.modules.join(" "),
                    found.editable.is_some(),
                    found.url.is_some(),
                )
            })
            .collect();
        assert_eq!(
            all,
            [
                ("finds", "finds".into(), true, false),
                ("hatched", "hatched".into(), true, false),
                ("linked", "linked".into(), false, true),
                ("part", "space.part".into(), false, false),
            ]
        );
    }
}
