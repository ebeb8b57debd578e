//! The example project of the tests.

use std::fs;
use std::path::PathBuf;

use super::lab::{Lab, write};

const TRAIN: &str = include_str!("train.py");

impl Lab {
    /// A small Python project whose experiment `train` runs on these servers, one run each: committed, not pushed, its
    /// `origin` reached by ssh. It becomes the folder of [`Lab::git`] and [`Lab::agile`].
    #[track_caller]
    pub fn project(&self, servers: &[&str]) -> PathBuf {
        self.project_with(&configuration(servers, "grid = { lr = [0.1] }"))
    }

    /// The same with another `agile.toml`; see [`configuration`].
    #[track_caller]
    pub fn project_with(&self, agile_toml: &str) -> PathBuf {
        let origin = self.origin();
        let folder = self.project_folder();
        fs::create_dir_all(&folder).expect("make the project");
        self.git(&["init", "--quiet"]).succeeds();
        self.git(&["remote", "add", "origin", &origin.url("proj.git")])
            .succeeds();
        for (name, text) in [
            ("train.py", TRAIN),
            ("agile.toml", agile_toml),
            ("requirements.txt", ""),
            (".gitignore", "/results/\n"),
        ] {
            write(&folder.join(name), text);
        }
        self.commit("A line, fitted");
        folder
    }

    /// Commits that the experiment writes its own environment into the file `environment`.
    #[track_caller]
    pub fn spy_on_environment(&self) {
        self.write(
            "spy.py",
            "import os\nopen('environment', 'w').write(repr(dict(os.environ)))\n",
        );
        let train = self.read("train.py");
        self.write("train.py", &format!("import spy\n{train}"));
        self.commit("Look around");
    }

    /// Commits everything that changed and says the new commit's id.
    #[track_caller]
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]).succeeds();
        self.git(&["commit", "--quiet", "--message", message])
            .succeeds();
        self.head()
    }

    /// Commits although nothing has changed.
    #[track_caller]
    pub fn commit_nothing(&self, message: &str) -> String {
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message])
            .succeeds();
        self.head()
    }

    /// The id of the commit that is checked out.
    #[track_caller]
    pub fn head(&self) -> String {
        let outcome = self.git(&["rev-parse", "HEAD"]);
        outcome.succeeds().stdout.trim().to_owned()
    }

    /// Writes a file of the project.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.project_folder().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make the folder");
        write(&path, text);
    }

    /// Reads a file of the project.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        let path = self.project_folder().join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {path:?}: {error}"))
    }
}

/// An `agile.toml` with these servers and one experiment, `train`. `more` are further lines of the experiment, such as
/// its grid. A server named `local` is this machine.
pub fn configuration(servers: &[&str], more: &str) -> String {
    let mut text = String::new();
    for name in servers {
        text += &format!("[servers.{name}]\nhost = \"{name}\"\npath = \"~/agile/proj\"\n\n");
    }
    text + &format!(
        "[experiments.train]\ncommand = \"python train.py --lr {{lr}}\"\nservers = {servers:?}\n\
             results = [\"results/**\"]\nmetrics = [\"results/metrics.json\"]\n{more}\n"
    )
}
