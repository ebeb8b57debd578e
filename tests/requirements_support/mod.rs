//! A repository of its own: own home, no configuration of this machine, nothing of git's environment.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

pub struct Sandbox {
    folder: TempDir,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Standard output of a command that succeeded.
    pub fn success(self) -> String {
        assert_eq!(self.status, Some(0), "{self:?}");
        self.out
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Said {
            status: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Sandbox {
    /// An empty repository.
    pub fn new() -> Self {
        let sandbox = Sandbox {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir_all(sandbox.root()).unwrap();
        std::fs::create_dir_all(sandbox.home()).unwrap();
        sandbox.git(&["init", "-q", "-b", "main"]);
        sandbox
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// `program` in the project, with a clean environment.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_AUTHOR_NAME", "A")
            .env("GIT_AUTHOR_EMAIL", "a@example.org")
            .env("GIT_COMMITTER_NAME", "A")
            .env("GIT_COMMITTER_EMAIL", "a@example.org")
            .current_dir(self.root());
        command
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        let said: Said = self.command("git").args(arguments).output().unwrap().into();
        assert_eq!(said.status, Some(0), "git {arguments:?}: {said:?}");
        said.out
    }

    /// git, that may fail.
    pub fn try_git(&self, arguments: &[&str]) -> Said {
        self.command("git").args(arguments).output().unwrap().into()
    }

    pub fn agile(&self, arguments: &[&str]) -> Said {
        let program = env!("CARGO_BIN_EXE_git-agile");
        self.command(program)
            .args(arguments)
            .output()
            .unwrap()
            .into()
    }

    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path))
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Writes the hook that `install` would.
    pub fn hook(&self) {
        let program = env!("CARGO_BIN_EXE_git-agile");
        let path = self.git(&["rev-parse", "--git-path", "hooks/pre-commit"]);
        let path = self.root().join(path.trim());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(
            &path,
            format!("#!/bin/sh\nexec '{program}' hook pre-commit\n"),
        )
        .unwrap();
        make_executable(&path);
    }

    /// Pretends that distributions are installed in the project's environment.
    pub fn install(&self, name: &str, version: &str, modules: &[&str]) {
        let packages = self.root().join(".venv/lib/python3.11/site-packages");
        install(&packages, name, version, modules, true);
    }
}

pub fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Writes the metadata of an installed distribution with empty modules.
pub fn install(packages: &Path, name: &str, version: &str, modules: &[&str], top_level: bool) {
    let info = packages.join(format!("{}-{version}.dist-info", name.replace('-', "_")));
    std::fs::create_dir_all(&info).unwrap();
    let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n");
    std::fs::write(info.join("METADATA"), metadata).unwrap();
    let mut record = String::new();
    for module in modules {
        let file = format!("{}/__init__.py", module.replace('.', "/"));
        std::fs::create_dir_all(packages.join(&file).parent().unwrap()).unwrap();
        std::fs::write(packages.join(&file), "").unwrap();
        record.push_str(&format!("{file},,\n"));
    }
    std::fs::write(info.join("RECORD"), record).unwrap();
    if top_level {
        std::fs::write(info.join("top_level.txt"), modules.join("\n") + "\n").unwrap();
    }
}
