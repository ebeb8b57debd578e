//! `git agile init`.

use std::fs;
use std::io::Write;
use std::path::Path;

use clap::Args;

use super::context::project_name;
use super::{Context, install};
use crate::deployment::trust::{Agreement, Agreements};
use crate::development::push::{fetch_url, git_host};
use crate::development::repository::Repository;
use crate::error::{Context as _, Error, Result};
use crate::model::config::{Layer, load};
use crate::model::names::{ExperimentName, Host, RemotePath, ServerName};

/// Write agile.toml, install the hooks, and ignore results/
///
/// Asks on a terminal what the options do not say. What is there already stays as it is.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Where experiments run: login@address, an alias of ~/.ssh/config, or `local` for this machine
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// What agile.toml calls that server
    #[arg(long, value_name = "NAME")]
    server: Option<ServerName>,
    /// The project's folder there [default: ~/agile/PROJECT]
    #[arg(long, value_name = "PATH")]
    path: Option<RemotePath>,
    /// What agile.toml calls the experiment [default: train]
    #[arg(long, value_name = "NAME")]
    experiment: Option<ExperimentName>,
    /// The command that runs the experiment
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// Install no hooks
    #[arg(long)]
    no_hooks: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) for a host that is none, and what writing files and hooks gives.
pub fn run(args: InitArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let file = repository.root().join("agile.toml");
    if fs::symlink_metadata(&file).is_ok() {
        ctx.output.say("agile.toml is there; it stays as it is.");
    } else {
        write_config(&args, ctx, &repository, &file)?;
    }
    ignore(ctx, &repository)?;
    if !args.no_hooks {
        install::install(ctx, &repository)?;
    }
    Ok(())
}

fn write_config(
    args: &InitArgs,
    ctx: &Context,
    repository: &Repository,
    file: &Path,
) -> Result<()> {
    let answers = answers(args, ctx, repository)?;
    let text = template(&answers);
    let layer = Layer {
        file: "agile.toml".into(),
        content: text.clone().into_bytes(),
        is_personal: false,
    };
    // What we write, we can read.
    let config = load(&[layer], &project_name(repository))?;
    let cannot = || format!("cannot write {}", file.display());
    let mut temporary = tempfile::NamedTempFile::new_in(repository.root()).or_step(cannot)?;
    temporary.write_all(text.as_bytes()).or_step(cannot)?;
    temporary.as_file().sync_all().or_step(cannot)?;
    set_mode(temporary.as_file()).or_step(cannot)?;
    temporary.persist_noclobber(file).or_step(cannot)?;
    ctx.output.say(&format!(
        "Wrote agile.toml: the experiment `{}` on {} ({}).",
        answers.experiment, answers.server, answers.host
    ));
    let host = fetch_url(repository, "origin").map(|url| git_host(&url));
    match host {
        Ok(host) => {
            for server in config.servers.values() {
                let agreement = Agreement::for_server(repository.common_dir(), server, &host);
                Agreements::change(|all| all.agree(agreement))?;
            }
        }
        Err(error) => {
            ctx.output.warn(&format!(
                "{}: servers need one to fetch from",
                error.message
            ));
            error.hints.iter().for_each(|hint| ctx.output.hint(hint));
        }
    }
    Ok(())
}

/// A new file of the work tree has the mode that git would give it.
fn set_mode(file: &fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    file.set_permissions(fs::Permissions::from_mode(0o666 & !mask.bits()))
}

struct Answers {
    server: ServerName,
    host: Host,
    path: Option<RemotePath>,
    experiment: ExperimentName,
    command: String,
}

fn answers(args: &InitArgs, ctx: &Context, repository: &Repository) -> Result<Answers> {
    let asks = ctx.can_ask();
    let given = |value: Option<String>, question: &str, default: &str| match value {
        Some(value) => Ok(value),
        None if asks => ctx.ask(question, default),
        None => Ok(default.to_string()),
    };
    let usage = |error: crate::model::names::BadName| {
        Error::usage(error.to_string()).hint("git agile init --help")
    };
    let question = "Where do experiments run? login@address, an ssh alias, or local";
    let host = Host::try_from(given(args.host.clone(), question, "local")?).map_err(usage)?;
    let server = match &args.server {
        Some(server) => server.clone(),
        None => ServerName::new(given(
            None,
            "What is that server called?",
            &suggested_name(&host),
        )?)
        .map_err(usage)?,
    };
    let experiment = match &args.experiment {
        Some(name) => name.clone(),
        None => ExperimentName::new("train").map_err(usage)?,
    };
    let command = given(
        args.command.clone(),
        "Which command runs the experiment?",
        &suggested_command(repository),
    )?;
    Ok(Answers {
        server,
        host,
        path: args.path.clone(),
        experiment,
        command,
    })
}

fn suggested_name(host: &Host) -> String {
    let text = host.to_string();
    let text = text.trim_start_matches("ssh://");
    let name = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let name = name.split(['.', ':']).next().unwrap_or("server");
    ServerName::new(name).map_or_else(|_| "server".to_string(), |name| name.to_string())
}

fn suggested_command(repository: &Repository) -> String {
    let scripts = ["train.py", "main.py", "run.py", "experiment.py"];
    let script = scripts
        .iter()
        .find(|script| repository.root().join(script).is_file())
        .unwrap_or(&"train.py");
    format!("python {script}")
}

fn template(answers: &Answers) -> String {
    let quoted = |text: &str| toml_edit::Value::from(text).to_string().trim().to_string();
    let path = match &answers.path {
        Some(path) => format!("path = {}", quoted(path.as_str())),
        None => "# path = \"~/agile/project\"          # the project's folder there".to_string(),
    };
    format!(
        "\
# What git-agile runs, and where. `git agile design` shows the runs; `git agile push` launches them.

[servers.{server_key}]
host = {host}{padding}# login@address, an alias of ~/.ssh/config, or \"local\"
{path}
# launcher = \"auto\"                   # screen, tmux, nohup or slurm
# slots = 2                           # runs at once; the rest wait in the server's queue
# gpus = [0, 1]                       # dealt out to the slots as CUDA_VISIBLE_DEVICES
# setup = \"module load cuda/12\"       # sourced before every run
# env = {{ OMP_NUM_THREADS = \"4\" }}

[experiments.{experiment_key}]
command = {command}
servers = [{server_value}]
# A parameter is {{name}} in the command. `grid` runs every combination:
# command = \"python train.py --lr {{lr}} --seed {{seed}}\"
# grid = {{ lr = [0.1, 0.01], seed = [1, 2, 3] }}
# set = {{ epochs = 10 }}               # the same in every run
# results = [\"results/**\"]            # default: every file that the run created or changed
# metrics = [\"results/metrics.json\"]

# [environment]
# python = \"3.11\"

# [push]
# branches = [\"main\", \"exp/*\"]       # pushes to these branches launch
",
        server_key = toml_edit::Key::new(answers.server.as_str()),
        server_value = quoted(answers.server.as_str()),
        host = quoted(&answers.host.to_string()),
        padding = " ".repeat(
            27usize
                .saturating_sub(answers.host.to_string().len())
                .max(2)
        ),
        experiment_key = toml_edit::Key::new(answers.experiment.as_str()),
        command = quoted(&answers.command),
    )
}

/// Adds what git should ignore to `.gitignore`, unless it does so already.
fn ignore(ctx: &Context, repository: &Repository) -> Result<()> {
    let is_ignored = |path: &str| repository.git().is_path_ignored(path).unwrap_or(false);
    let wanted = [
        ("results/", "results/run"),
        ("agile.local.toml", "agile.local.toml"),
    ];
    let missing: Vec<_> = wanted
        .into_iter()
        .filter(|(_, probe)| !is_ignored(probe))
        .map(|(line, _)| line)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let file = repository.root().join(".gitignore");
    let cannot = || format!("cannot write {}", file.display());
    let before = match fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::step(cannot()).cause(error)),
    };
    let ends_open = before.last().is_some_and(|&byte| byte != b'\n');
    let mut added = if ends_open {
        "\n".to_string()
    } else {
        String::new()
    };
    for line in &missing {
        added.push_str(line);
        added.push('\n');
    }
    let mut open = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&file)
        .or_step(cannot)?;
    open.write_all(added.as_bytes()).or_step(cannot)?;
    open.sync_all().or_step(cannot)?;
    ctx.output
        .say(&format!("Added {} to .gitignore.", missing.join(" and ")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let answers = Answers {
            server: ServerName::new("a.b").unwrap(),
            host: Host::try_from("me@gpu".to_string()).unwrap(),
            path: Some(RemotePath::new("~/x y").unwrap()),
            experiment: ExperimentName::new("train").unwrap(),
            command: "python \"t.py\" --a '\\d' \u{7}".into(),
        };
        let text = template(&answers);
        let layer = Layer {
            file: "agile.toml".into(),
            content: text.into_bytes(),
            is_personal: false,
        };
        let config = load(&[layer], "p").unwrap();
        assert_eq!(
            config.experiments.values().next().unwrap().command,
            answers.command
        );
    }
}
