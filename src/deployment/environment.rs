//! What the environment of a commit's runs is made from: which files, by which manager.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::development::Development;
use super::dockerfile::copied;
use super::project::Project;
use super::requirements::{RequirementFile, requirement_files};
use crate::development::lock::lock_name;
use crate::error::{Context as _, Error, Result};
use crate::model::config::{Config, Manager};
use crate::model::names::RelPath;
use crate::model::run::EnvironmentKey;
use crate::model::tree::Tree;

/// How an environment is made.
#[derive(Clone, Debug, Default)]
pub struct Recipe {
    /// A digest of the rest and of the contents of the files, 16 hexadecimal digits.
    pub key: String,
    /// Who makes it; `Auto` is uv or venv, as the server has it.
    pub manager: Manager,
    /// The Python version asked for.
    pub python: Option<String>,
    /// The files of the commit, the installed one first; a server does without the lines of these numbers.
    pub files: Vec<(RelPath, Vec<usize>)>,
    /// Requirements that no file lists, one a line.
    pub dependencies: String,
    /// The image that agile.toml names.
    pub image: String,
    /// What makes the commit's own project importable.
    pub development: Option<Development>,
    /// What the person should know.
    pub warnings: Vec<Error>,
}

impl Recipe {
    /// What a run's record says of its environment.
    pub fn environment_key(&self) -> EnvironmentKey {
        EnvironmentKey {
            key: self.key.clone(),
            python: self.python.clone(),
            requirements: self.files.iter().map(|(path, _)| path.clone()).collect(),
        }
    }
}

/// The environment that `config` and the commit's files describe. `auto` takes the first of: the lock of the
/// requirements file, the requirements file, `Pipfile.lock`, `environment.yml`, the dependencies in `pyproject.toml`.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) with file and line for a file that a manager cannot use.
pub fn recipe(config: &Config, tree: &dyn Tree) -> Result<Recipe> {
    let manager = match config.environment.manager {
        Manager::Auto => chosen(config, tree)?,
        manager => manager,
    };
    let mut draft = Draft::new(config, tree, manager);
    match manager {
        Manager::Docker => draft.image(config)?,
        Manager::Conda => draft.conda()?,
        Manager::Pipenv => draft.pipenv()?,
        Manager::Auto | Manager::Venv | Manager::Uv | Manager::Virtualenv | Manager::Pyenv => {
            draft.requirements(config)?;
        }
    }
    draft.finish()
}

/// What `auto` means for the files of this commit.
fn chosen(config: &Config, tree: &dyn Tree) -> Result<Manager> {
    let has = |path: &str| Ok::<_, Error>(tree.read(path)?.is_some());
    let file = &config.requirements.file;
    let asks = |file: &RelPath| {
        let files = requirement_files(file, tree)?;
        Ok::<_, Error>(files.iter().any(|file| !file.is_empty()))
    };
    Ok(if has(lock_of(file)?.as_str())? || asks(file)? {
        Manager::Auto
    } else if has(PIPFILE_LOCK)? {
        Manager::Pipenv
    } else if first_of(tree, &CONDA_FILES)?.is_some() {
        Manager::Conda
    } else {
        Manager::Auto
    })
}

const PIPFILE_LOCK: &str = "Pipfile.lock";
const CONDA_FILES: [&str; 2] = ["environment.yml", "environment.yaml"];
const DOCKERFILES: [&str; 2] = ["Dockerfile", "Containerfile"];

/// The name of the lock of the requirements file `file`.
pub fn lock_of(file: &RelPath) -> Result<RelPath> {
    RelPath::new(lock_name(file.as_str())).or_config(|| format!("the lock of {file}"))
}

fn first_of(tree: &dyn Tree, names: &[&'static str]) -> Result<Option<(RelPath, Vec<u8>)>> {
    for name in names {
        if let Some(content) = tree.read(name)? {
            return Ok(Some((path(name)?, content)));
        }
    }
    Ok(None)
}

fn path(name: &str) -> Result<RelPath> {
    RelPath::new(name).or_config(String::new)
}

/// A recipe that is being written.
struct Draft<'a> {
    tree: &'a dyn Tree,
    recipe: Recipe,
    digest: Sha256,
    is_described: bool,
}

impl<'a> Draft<'a> {
    fn new(config: &Config, tree: &'a dyn Tree, manager: Manager) -> Self {
        let python = config.environment.python.as_ref();
        Draft {
            tree,
            recipe: Recipe {
                manager,
                python: python.map(|version| version.as_str().to_string()),
                ..Recipe::default()
            },
            digest: Sha256::new(),
            is_described: false,
        }
    }

    /// Adds to what the environment depends on; what it begins with is written once, before all.
    fn depend(&mut self, bytes: impl AsRef<[u8]>) {
        if !self.is_described {
            self.is_described = true;
            let python = self.recipe.python.as_deref().unwrap_or_default();
            let manager = self.recipe.manager.as_str();
            self.digest.update(format!("{manager}\0{python}\0"));
        }
        self.digest.update(bytes);
    }

    fn add(&mut self, path: RelPath, content: &[u8], without: Vec<usize>) {
        self.depend(format!("{path}\0{}\0", content.len()));
        self.depend(content);
        self.recipe.files.push((path, without));
    }

    fn requirements(&mut self, config: &Config) -> Result<()> {
        if self.recipe.manager == Manager::Pyenv && self.recipe.python.is_none() {
            self.recipe.python = self.version_file()?;
        }
        let file = &config.requirements.file;
        let lock = lock_of(file)?;
        let mut files = requirement_files(&lock, self.tree)?;
        let is_locked = !files.is_empty();
        if is_locked {
            self.check_lock(&lock, &files[0].content, file)?;
        } else {
            files = requirement_files(file, self.tree)?;
        }
        let asks = files.iter().any(|file| !file.is_empty());
        let own = self.include(files)?;
        if !asks && own.is_empty() {
            self.develop(
                &RelPath::new(".").or_config(String::new)?,
                &[],
                Needs::Listed,
            )?;
        } else if own.is_empty() {
            self.develop(
                &RelPath::new(".").or_config(String::new)?,
                &[],
                Needs::Elsewhere,
            )?;
        }
        for (folder, extras, place) in own {
            let needs = if is_locked {
                Needs::Elsewhere
            } else {
                Needs::Listed
            };
            if !self.develop(&folder, &extras, needs)? {
                return Err(Error::config(format!("{place}: there is no project in {folder}"))
                    .hint("a folder with a pyproject.toml or setup.py that is in the commit can be installed"));
            }
        }
        Ok(())
    }

    /// Adds requirement files, and gives the projects of the commit that they install.
    fn include(
        &mut self,
        files: Vec<RequirementFile>,
    ) -> Result<Vec<(RelPath, Vec<String>, String)>> {
        let mut projects = Vec::new();
        for file in files {
            let lines = file.own.iter().map(|own| own.line).collect();
            for own in file.own {
                let place = format!("{}:{}", file.path, own.line);
                projects.push((own.folder, own.extras, place));
            }
            self.add(file.path, &file.content, lines);
        }
        Ok(projects)
    }

    fn pipenv(&mut self) -> Result<()> {
        let Some(content) = self.tree.read(PIPFILE_LOCK)? else {
            return Err(Error::config(
                "the commit has no Pipfile.lock, which manager = \"pipenv\" installs from",
            )
            .hint("pipenv lock, then git add Pipfile Pipfile.lock and commit"));
        };
        let lock: Value =
            serde_json::from_slice(&content).or_config(|| PIPFILE_LOCK.to_string())?;
        if self.recipe.python.is_none() {
            let requires = &lock["_meta"]["requires"];
            let version = ["python_full_version", "python_version"].iter();
            let version = version.filter_map(|key| requires[key].as_str()).next();
            self.recipe.python = version.filter(|text| is_version(text)).map(str::to_string);
        }
        self.add(path(PIPFILE_LOCK)?, &content, Vec::new());
        self.develop(&path(".")?, &[], Needs::Elsewhere)?;
        Ok(())
    }

    fn conda(&mut self) -> Result<()> {
        let Some((first, content)) = first_of(self.tree, &CONDA_FILES)? else {
            return Err(Error::config(
                "the commit has no environment.yml, which manager = \"conda\" builds from",
            )
            .hint(
                "conda env export --from-history > environment.yml, then git add and commit it",
            ));
        };
        let text = String::from_utf8_lossy(&content).into_owned();
        let own = conda_own_lines(&text);
        self.add(first, &content, own.clone());
        for entry in self.tree.list(".")? {
            let is_lock = entry.name == "conda-lock.yml"
                || (entry.name.starts_with("conda-") && entry.name.ends_with(".lock"));
            if is_lock && let Some(content) = self.tree.read(&entry.name)? {
                self.add(path(&entry.name)?, &content, Vec::new());
            }
        }
        // Its section for pip may include requirement files.
        for line in text.lines() {
            let item = line
                .trim()
                .trim_start_matches('-')
                .trim()
                .trim_matches(['"', '\'']);
            if let Some(file) = item
                .strip_prefix("-r ")
                .or(item.strip_prefix("--requirement "))
            {
                let file = RelPath::new(file.trim()).or_config(|| "environment.yml".to_string())?;
                let files = requirement_files(&file, self.tree)?;
                if files.is_empty() {
                    return Err(Error::config(format!(
                        "environment.yml: {file} is not in the commit"
                    ))
                    .hint(format!("git add {file}")));
                }
                self.include(files)?;
            }
        }
        self.develop(&path(".")?, &[], Needs::Elsewhere)?;
        Ok(())
    }

    fn image(&mut self, config: &Config) -> Result<()> {
        if let Some(image) = &config.environment.image {
            self.recipe.image = image.as_str().to_string();
            self.depend(format!("image\0{image}\0"));
        } else if let Some((file, content)) = first_of(self.tree, &DOCKERFILES)? {
            self.context(&String::from_utf8_lossy(&content))?;
            self.add(file, &content, Vec::new());
        } else {
            return Err(Error::config("manager = \"docker\" needs an image")
                .hint("image = \"python:3.12\" in [environment], or a Dockerfile in the commit"));
        }
        self.develop(&path(".")?, &[], Needs::Elsewhere)?;
        Ok(())
    }

    /// What an image is built from: the ids of what the Dockerfile copies, or of everything.
    fn context(&mut self, dockerfile: &str) -> Result<()> {
        let mut ids = Vec::new();
        match copied(dockerfile) {
            None => ids.extend(
                self.tree
                    .list(".")?
                    .into_iter()
                    .map(|entry| (entry.name, entry.id)),
            ),
            Some(paths) => {
                for path in paths {
                    let (folder, name) = path.rsplit_once('/').unwrap_or((".", &path));
                    let entries = self.tree.list(folder)?;
                    let id = entries
                        .into_iter()
                        .find(|entry| entry.name == name)
                        .map(|entry| entry.id);
                    ids.push((path.clone(), id.unwrap_or_default()));
                }
            }
        }
        ids.push((
            String::new(),
            String::from_utf8_lossy(&self.tree.read(".dockerignore")?.unwrap_or_default()).into(),
        ));
        for (path, id) in ids {
            self.depend(format!("{path}\0{id}\0"));
        }
        Ok(())
    }

    /// Makes the project in `folder` importable, and adds what it says that it needs. Whether there is one.
    fn develop(&mut self, folder: &RelPath, extras: &[String], needs: Needs) -> Result<bool> {
        let Some(project) = Project::read(self.tree, folder)? else {
            return Ok(false);
        };
        if needs == Needs::Listed {
            match project.dependencies(extras) {
                Some(list) => self.need(folder, list)?,
                None => self.recipe.warnings.push(
                    Error::config(format!(
                        "what the project in {folder} needs is known only once it is built: servers install what a requirements file lists"
                    ))
                    .hint("git agile requirements writes one from the imports; or list them in [project] dependencies"),
                ),
            }
        }
        let development = self.recipe.development.get_or_insert_default();
        development.add(&project);
        Ok(true)
    }

    fn need(&mut self, folder: &RelPath, list: Vec<String>) -> Result<()> {
        for need in list {
            if need.trim_start().starts_with('-') || need.chars().any(char::is_control) {
                return Err(Error::config(format!(
                    "{folder}: \"{}\" is not a dependency",
                    crate::terminal::clean(&need)
                ))
                .hint("options belong into requirements.txt"));
            }
            self.depend(format!("needs\0{need}\0"));
            self.recipe.dependencies.push_str(&format!("{need}\n"));
        }
        Ok(())
    }

    /// Warns of a lock that says it was made from other requirements.
    fn check_lock(&mut self, lock: &RelPath, content: &[u8], file: &RelPath) -> Result<()> {
        let text = String::from_utf8_lossy(content);
        let first = text.lines().next().unwrap_or_default();
        let made_from = first
            .rsplit_once("sha256 ")
            .map(|(_, sum)| sum.trim().to_string());
        let now = self
            .tree
            .read(file.as_str())?
            .map(|content| hexadecimal(&Sha256::digest(content)));
        if let (Some(then), Some(now)) = (made_from, now)
            && then != now
        {
            self.recipe.warnings.push(
                Error::config(format!(
                    "{lock}, which servers install from, was made from another {file}"
                ))
                .hint("git agile requirements --lock, then commit it"),
            );
        }
        Ok(())
    }

    /// The version in `.python-version`, pyenv's own file.
    fn version_file(&self) -> Result<Option<String>> {
        let content = self.tree.read(".python-version")?.unwrap_or_default();
        let text = String::from_utf8_lossy(&content);
        let version = text
            .split_whitespace()
            .next()
            .filter(|text| is_version(text));
        Ok(version.map(str::to_string))
    }

    fn finish(mut self) -> Result<Recipe> {
        self.depend("");
        self.recipe.key = hexadecimal(&self.digest.finalize()[..8]);
        Ok(self.recipe)
    }
}

/// Where a project's dependencies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// In its own description.
    Listed,
    /// In a file that is installed.
    Elsewhere,
}

fn is_version(text: &str) -> bool {
    text.parse::<pep440_rs::Version>().is_ok()
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && text.contains('.')
}

/// The numbers of the lines of an environment.yml that install the commit itself by pip, with the `pip:` that has nothing
/// else below it.
fn conda_own_lines(text: &str) -> Vec<usize> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let item = |line: &str| {
        line.trim()
            .strip_prefix('-')
            .map(|item| item.trim().to_string())
    };
    let is_own = |line: &str| {
        let item = item(line).unwrap_or_default();
        let item = item.trim_matches(['"', '\'']);
        let target = item
            .strip_prefix("--editable")
            .or(item.strip_prefix("-e"))
            .unwrap_or(item)
            .trim();
        matches!(target, "." | "./") || target.starts_with(".[")
    };
    let lines: Vec<&str> = text.lines().collect();
    let mut own = Vec::new();
    for (number, line) in (1..).zip(&lines) {
        let pip_is_empty = item(line).as_deref() == Some("pip:") && {
            let mut below = lines[number..]
                .iter()
                .take_while(|other| other.trim().is_empty() || indent(other) > indent(line))
                .peekable();
            below.peek().is_some() && below.all(|other| other.trim().is_empty() || is_own(other))
        };
        if is_own(line) || pip_is_empty {
            own.push(number);
        }
    }
    own
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::{Layer, load};
    use crate::model::tree::tests::Commit;

    fn config(environment: &str) -> Config {
        let layer = Layer {
            file: "agile.toml".into(),
            content: format!("[environment]\n{environment}\n").into(),
            is_personal: false,
        };
        load(&[layer], "proj").unwrap()
    }

    fn made(environment: &str, tree: &[(&str, &str)]) -> Recipe {
        recipe(&config(environment), &Commit(tree)).unwrap()
    }

    fn refused(environment: &str, tree: &[(&str, &str)]) -> String {
        let error = recipe(&config(environment), &Commit(tree)).unwrap_err();
        format!("{} | {}", error.message, error.hints.join("; "))
    }

    fn first(recipe: &Recipe) -> (&'static str, String) {
        let file = recipe.files.first().map(|(path, _)| path.to_string());
        (recipe.manager.as_str(), file.unwrap_or_default())
    }

    const PROJECT: (&str, &str) = (
        "pyproject.toml",
        "[project]\nname = 'lab'\nversion = '1.2'\ndependencies = ['numpy>1']\n",
    );

    #[test]
    fn the_same_environment_keeps_its_key() {
        // A later version must give the same key, or every environment would be built again, and ids would change.
        let tree = [("requirements.txt", "numpy==1\n")];
        assert_eq!(made("", &tree).key, "e14a0ceb9fb2cfaf");
        assert_eq!(
            made("", &[("requirements.txt", "numpy==1\n"), PROJECT]).key,
            made("", &tree).key
        );
        for (environment, content) in [
            ("python = '3.11'", "numpy==1\n"),
            ("", "numpy==2\n"),
            ("manager = 'venv'", "numpy==1\n"),
        ] {
            assert_ne!(
                made(environment, &[("requirements.txt", content)]).key,
                made("", &tree).key
            );
        }
    }

    #[test]
    fn what_auto_installs_from() {
        let all = [
            ("requirements.lock", "numpy==1 --hash=sha256:00"),
            ("requirements.txt", "numpy"),
            ("Pipfile.lock", "{}"),
            ("environment.yml", "name: x"),
            PROJECT,
        ];
        let expected = [
            ("auto", "requirements.lock"),
            ("auto", "requirements.txt"),
            ("pipenv", "Pipfile.lock"),
            ("conda", "environment.yml"),
            ("auto", ""),
        ];
        for (from, (manager, file)) in expected.into_iter().enumerate() {
            assert_eq!(first(&made("", &all[from..])), (manager, file.to_string()));
        }
        assert_eq!(made("", &all[4..]).dependencies, "numpy>1\n");
        assert_eq!(made("", &all[1..]).dependencies, "");
        // A file that asks for nothing does not stand before one that does.
        let empty = [
            ("requirements.txt", "# none\n"),
            ("environment.yml", "name: x"),
        ];
        assert_eq!(
            first(&made("", &empty)),
            ("conda", "environment.yml".to_string())
        );
    }

    #[test]
    fn editable_lines_are_left_out() {
        let tree = [
            ("requirements.txt", "tqdm\n-e .\n"),
            PROJECT,
            ("src/lab/__init__.py", ""),
        ];
        let recipe = made("", &tree);
        assert_eq!(
            recipe.files,
            [(RelPath::new("requirements.txt").unwrap(), vec![2])]
        );
        assert_eq!(recipe.dependencies, "numpy>1\n");
        let development = recipe.development.unwrap();
        assert_eq!(development.imports, [RelPath::new("src").unwrap()]);
        assert_eq!(development.metadata[0].folder, "lab-1.2.dist-info");
        let said = refused("", &[("requirements.txt", "-e ./lib\n")]);
        assert_eq!(
            said.split(" | ").next().unwrap(),
            "requirements.txt:1: there is no project in lib"
        );
        let dynamic = (
            "pyproject.toml",
            "[project]\nname = 'lab'\ndynamic = ['dependencies']\n",
        );
        let warnings = made("", &[dynamic]).warnings;
        assert!(
            warnings[0].message.contains("known only once it is built"),
            "{warnings:?}"
        );
        let option = (
            "pyproject.toml",
            "[project]\nname = 'lab'\ndependencies = ['--index-url=https://x']\n",
        );
        assert!(refused("", &[option]).contains("is not a dependency"));
    }

    #[test]
    fn a_lock_that_is_older_is_said() {
        let lock = (
            "requirements.lock",
            "# Made by git agile requirements --lock from requirements.txt, sha256 00\na==1\n",
        );
        let recipe = made("", &[lock, ("requirements.txt", "a\n")]);
        assert!(
            recipe.warnings[0]
                .message
                .contains("was made from another requirements.txt")
        );
    }

    #[test]
    fn managers_say_what_they_miss() {
        assert!(refused("manager = 'conda'", &[]).contains("has no environment.yml"));
        assert!(refused("manager = 'pipenv'", &[]).contains("has no Pipfile.lock"));
        assert!(refused("manager = 'docker'", &[]).contains("needs an image"));
        assert!(
            refused("manager = 'pipenv'", &[("Pipfile.lock", "{")]).starts_with("Pipfile.lock")
        );
    }

    #[test]
    fn python_where_the_manager_says_it() {
        let lock = (
            "Pipfile.lock",
            "{\"_meta\": {\"requires\": {\"python_version\": \"3.11\"}}}",
        );
        assert_eq!(made("", &[lock]).python.as_deref(), Some("3.11"));
        assert_eq!(
            made("python = '3.12'", &[lock]).python.as_deref(),
            Some("3.12")
        );
        let file = (".python-version", "3.10.4\n");
        assert_eq!(
            made("manager = 'pyenv'", &[file]).python.as_deref(),
            Some("3.10.4")
        );
        assert_eq!(made("", &[file]).python, None);
    }

    #[test]
    fn an_image_depends_on_what_it_copies() {
        let key = |dockerfile: &str, wanted: &str, code: &str| {
            made(
                "manager = 'docker'",
                &[
                    ("Dockerfile", dockerfile),
                    ("wanted.txt", wanted),
                    ("src/a.py", code),
                ],
            )
            .key
        };
        let some = "FROM x\nCOPY wanted.txt /\n";
        assert_eq!(key(some, "a", "1"), key(some, "a", "2"));
        assert_ne!(key(some, "a", "1"), key(some, "b", "1"));
        assert_ne!(key("COPY . /\n", "a", "1"), key("COPY . /\n", "a", "2"));
        assert_ne!(key("COPY src /\n", "a", "1"), key("COPY src /\n", "a", "2"));
        let image = |name: &str| made(&format!("manager = 'docker'\nimage = '{name}'"), &[]);
        assert_ne!(image("python:3.12").key, image("python:3.13").key);
        assert_eq!(image("python:3.12").image, "python:3.12");
    }

    #[test]
    fn conda_does_without_the_commit_itself() {
        let text = "dependencies:\n  - python\n  - pip:\n    - tqdm\n    - -e .\n";
        assert_eq!(conda_own_lines(text), [5]);
        assert_eq!(
            conda_own_lines("dependencies:\n  - python\n  - pip:\n      - -e .\n  - zlib\n"),
            [3, 4]
        );
        assert_eq!(
            conda_own_lines("dependencies:\n  - pip\n  - pip:\n      - x\n"),
            [] as [usize; 0]
        );
    }
}
