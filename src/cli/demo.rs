//! `git agile demo`: the whole loop on an example project, on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;

use super::Context;
use crate::development::git;
use crate::error::{Context as _, Error, Result};
use crate::terminal::{Stream, Style};

/// The whole loop on an example project, on this machine
///
/// Makes a small project with a git remote beside it, commits, pushes, runs three settings, fetches the results and
/// shows them. Every command is printed before it runs.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// An empty or new folder [default: git-agile-demo]
    #[arg(value_name = "DIR", default_value = "git-agile-demo")]
    dir: PathBuf,
}

const TRAIN: &str = include_str!("demo/train.py");
const CONFIG: &str = include_str!("demo/agile.toml");

/// Runs the command.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) for a folder with something in it, and the first step that fails.
pub fn run(args: DemoArgs, ctx: &Context) -> Result<()> {
    let is_free = fs::read_dir(&args.dir).map_or(true, |mut entries| entries.next().is_none());
    if !is_free {
        return Err(Error::usage(format!("{} is not empty", args.dir.display()))
            .hint("git agile demo OTHER-FOLDER"));
    }
    let cannot = || format!("cannot make {}", args.dir.display());
    fs::create_dir_all(&args.dir).or_step(cannot)?;
    let top = args.dir.canonicalize().or_step(cannot)?;
    let demo = Demo {
        ctx,
        top: &top,
        project: top.join("project"),
    };
    demo.play()
}

struct Demo<'a> {
    ctx: &'a Context,
    top: &'a Path,
    project: PathBuf,
}

impl Demo<'_> {
    fn play(&self) -> Result<()> {
        self.tell("A project with a git remote beside it; yours would be on a git host.");
        self.shell(
            self.top,
            &["git", "init", "-q", "--bare", "-b", "main", "origin.git"],
        )?;
        self.shell(self.top, &["git", "init", "-q", "-b", "main", "project"])?;
        self.identify()?;
        self.shell(
            &self.project,
            &["git", "remote", "add", "origin", "../origin.git"],
        )?;
        self.write("train.py", TRAIN)?;

        self.tell("git-agile's part of the set-up, once for each project: configuration, hooks, .gitignore.");
        let path = self.top.join("server").display().to_string();
        self.shell(
            &self.project,
            &[
                "git",
                "agile",
                "init",
                "--host",
                "local",
                "--server",
                "here",
                "--path",
                &path,
                "--command",
                "python train.py",
            ],
        )?;
        let config = CONFIG.replace("@PATH@", toml_edit::Value::from(path).to_string().trim());
        self.write("agile.toml", &config)?;
        self.tell("The experiment: one command, three learning rates.");
        self.shell(&self.project, &["cat", "agile.toml"])?;

        self.tell(
            "Committing checks requirements.txt against the imports; pushing launches the runs.",
        );
        self.shell(&self.project, &["git", "add", "."])?;
        self.shell(
            &self.project,
            &[
                "git",
                "commit",
                "-q",
                "-m",
                "Fit a line by gradient descent",
            ],
        )?;
        self.shell(
            &self.project,
            &["git", "agile", "push", "-u", "origin", "main"],
        )?;

        self.tell("The runs go on by themselves; this terminal could be closed.");
        self.shell(&self.project, &["git", "agile", "status"])?;
        self.shell(&self.project, &["git", "agile", "wait"])?;
        self.shell(&self.project, &["git", "agile", "logs", "-n", "3", "@"])?;

        self.tell("The results come home, each file checked against its SHA-256.");
        self.shell(&self.project, &["git", "agile", "fetch-results"])?;
        self.shell(&self.project, &["git", "agile", "review", "--sort", "loss"])?;
        self.tell(&format!(
            "All of it is in {}; remove that folder when you have seen enough.",
            self.top.display()
        ));
        Ok(())
    }

    fn tell(&self, text: &str) {
        self.ctx.output.say("");
        self.ctx.output.say(&self.ctx.output.paint(
            Stream::Talk,
            Style::Bold,
            &format!("# {text}"),
        ));
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.project.join(name), text).or_step(|| format!("cannot write {name}"))
    }

    /// A commit needs an author; one is made up for this project alone where git knows none.
    fn identify(&self) -> Result<()> {
        for (key, value) in [
            ("user.name", "A Researcher"),
            ("user.email", "researcher@example.org"),
        ] {
            if git::ask(git::command_in(&self.project), &["config", "--get", key])?.is_none() {
                self.shell(&self.project, &["git", "config", key, value])?;
            }
        }
        Ok(())
    }

    /// Prints a command, and runs it: this very program where it says `git agile`.
    fn shell(&self, dir: &Path, words: &[&str]) -> Result<()> {
        let said: Vec<_> = words
            .iter()
            .map(|word| crate::model::shell::quote(word).unwrap_or_default())
            .collect();
        let line = format!("$ {}", said.join(" "));
        self.ctx
            .output
            .say(&self.ctx.output.paint(Stream::Talk, Style::Note, &line));
        let cannot = || format!("cannot run `{}`", said.join(" "));
        let own = std::env::current_exe().or_step(cannot)?;
        let mut paths: Vec<PathBuf> = own.parent().map(Path::to_path_buf).into_iter().collect();
        paths.extend(std::env::split_paths(
            &std::env::var_os("PATH").unwrap_or_default(),
        ));
        let path = std::env::join_paths(paths).or_step(cannot)?;
        let mut command = match words {
            ["git", "agile", args @ ..] => {
                let mut command = Command::new(own);
                command.args(args);
                command
            }
            _ => {
                let mut command = Command::new(words[0]);
                command.args(&words[1..]);
                command
            }
        };
        git::without_repository(&mut command)
            .current_dir(dir)
            .env("PATH", path)
            .stdin(Stdio::null());
        let status = command.status().or_step(cannot)?;
        match status.success() {
            true => Ok(()),
            false => Err(Error::step(format!(
                "`{}` failed ({status})",
                said.join(" ")
            ))),
        }
    }
}
