//! `git agile doctor`.

use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::Context;
use super::agree::{default_git_host, describe};
use super::look::{jobs, now};
use crate::deployment::connection::{Asking, Connection};
use crate::deployment::doctor::{Examination, Finding, Level, Wants, version};
use crate::deployment::scripts;
use crate::deployment::trust::{Agreement, Agreements, Trust};
use crate::development::git;
use crate::development::hooks::{self, Installed};
use crate::development::push::fetch_url;
use crate::development::repository::Repository;
use crate::error::{Error, Kind, Result};
use crate::model::config::{Config, Server, Source};
use crate::terminal::{Stream, Style, clean};

/// What is missing here and on each server, each with what mends it
///
/// Changes nothing, neither here nor there. Outside a repository, only this machine is looked at. The exit status is 1
/// when something is an error.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Only these servers
    #[arg(value_name = "SERVER")]
    servers: Vec<String>,
    /// Print a JSON array, one object a finding: `where` (empty: this machine), `level` (ok, warning, error), `check`,
    /// `said`, `mend`
    #[arg(long)]
    json: bool,
}

/// How long the git host may take to answer.
const LIMIT: Duration = Duration::from_secs(20);

/// Findings, and where: the server's name and place, or nothing for this machine.
type Ward = (Option<Server>, Vec<Finding>);

/// Runs the command.
///
/// # Errors
/// [`Kind::Check`] when something is an error; [`Kind::Usage`] for an unknown server.
pub fn run(args: DoctorArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository();
    let project = match &repository {
        Ok(repository) => Some((repository, configuration(ctx, repository))),
        Err(_) => None,
    };
    let config = project
        .as_ref()
        .and_then(|(_, config)| config.as_ref().ok());
    if let Some(config) = config {
        for name in &args.servers {
            config.server(name)?;
        }
    }
    let wards = ctx.block_on(async {
        let here = this_machine(&project);
        let there = async {
            match (&repository, config) {
                (Ok(repository), Some(config)) => {
                    examine_all(ctx, repository, config, &args.servers).await
                }
                _ => Ok(Vec::new()),
            }
        };
        let (here, there) = tokio::join!(here, there);
        let mut wards: Vec<Ward> = vec![(None, here)];
        wards.extend(there?);
        Ok(wards)
    })?;
    if args.json {
        let findings: Vec<Value> = wards.iter().flat_map(json).collect();
        ctx.output.json(&findings)?;
    } else {
        for ward in &wards {
            print(ctx, ward)?;
        }
        if let Err(error) = &repository {
            ctx.output
                .say(&format!("Only this machine: {}.", clean(&error.message)));
        }
    }
    let all = || wards.iter().flat_map(|(_, findings)| findings);
    match all().any(|finding| finding.level == Level::Error) {
        true => Err(Error::new(Kind::Check, "")),
        false => Ok(()),
    }
}

fn configuration(ctx: &Context, repository: &Repository) -> Result<Config> {
    let head = repository.commit("HEAD")?;
    ctx.config(repository, head)
}

fn json((server, findings): &Ward) -> Vec<Value> {
    let place = server.as_ref().map_or("", |server| server.name.as_str());
    let object = |finding: &Finding| {
        let mut object = json!({ "where": place });
        if let (Value::Object(object), Value::Object(more)) = (&mut object, json!(finding)) {
            object.extend(more);
        }
        object
    };
    findings.iter().map(object).collect()
}

fn print(ctx: &Context, (server, findings): &Ward) -> Result<()> {
    let head = match server {
        None => "this machine".to_string(),
        Some(server) => format!("{} ({}:{})", server.name, server.host, server.path),
    };
    ctx.output
        .data(&ctx.output.paint(Stream::Data, Style::Bold, &head))?;
    for finding in findings {
        let (word, style) = match finding.level {
            Level::Ok => ("ok", Style::Good),
            Level::Warning => ("warning", Style::Note),
            Level::Error => ("error", Style::Bad),
        };
        let level = ctx.output.paint(Stream::Data, style, &format!("{word:<7}"));
        ctx.output.data(&format!(
            "  {level}  {:<9}  {}",
            finding.check,
            clean(&finding.said)
        ))?;
        if let Some(mend) = &finding.mend {
            let mend = ctx.output.paint(Stream::Data, Style::Note, mend);
            ctx.output.data(&format!("{:>22}{mend}", "→ "))?;
        }
    }
    Ok(())
}

// ---- this machine --------------------------------------------------------------------------------------------------

async fn this_machine(project: &Option<(&Repository, Result<Config>)>) -> Vec<Finding> {
    let mut findings = vec![local_git(), local_ssh()];
    let Some((repository, config)) = project else {
        return findings;
    };
    findings.push(identity(repository));
    findings.push(installed(repository));
    findings.push(match config {
        Ok(config) => Finding::ok("config", valid(config)),
        Err(error) => {
            let mend = error.hints.first().map_or("git agile init", String::as_str);
            let said = error.message.lines().next().unwrap_or_default();
            Finding::bad(Level::Error, "config", said, mend)
        }
    });
    if uses_lfs(repository) {
        findings.push(match read_line(git::command().args(["lfs", "version"])) {
            Some(said) => Finding::ok("lfs", said),
            None => Finding::bad(
                Level::Error,
                "lfs",
                "the commit uses Git LFS, and there is none",
                "install git-lfs (Debian, Ubuntu: sudo apt install git-lfs)",
            ),
        });
    }
    let config = config.as_ref().ok();
    let remote = config.and_then(|config| config.push.remotes.first().cloned());
    let remote = remote.unwrap_or_else(|| "origin".into());
    let is_direct = config.is_some_and(|config| {
        let mut servers = config.servers.values();
        servers.all(|server| server.source == Source::Direct)
    });
    // Where nobody fetches, there need be none.
    if !is_direct || fetch_url(repository, &remote).is_ok() {
        findings.push(git_host(repository, &remote).await);
    }
    findings
}

fn valid(config: &Config) -> String {
    let experiments = crate::terminal::count(config.experiments.len(), "experiment");
    let servers = crate::terminal::count(config.servers.len(), "server");
    format!("agile.toml of HEAD: {experiments}, {servers}")
}

/// The first line that a program says, if it ends well.
fn read_line(command: &mut std::process::Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    let said = match output.stdout.is_empty() {
        true => output.stderr,
        false => output.stdout,
    };
    let line = String::from_utf8_lossy(&said).lines().next()?.to_string();
    output.status.success().then_some(line)
}

fn local_git() -> Finding {
    let (major, minor) = git::OLDEST;
    match read_line(git::command().arg("--version")) {
        None => Finding::bad(
            Level::Error,
            "git",
            "it does not run",
            "install git, or put it on PATH",
        ),
        Some(said) if version(&said) < Some(git::OLDEST) => Finding::bad(
            Level::Error,
            "git",
            format!("{said} is older than {major}.{minor}"),
            "install a newer git",
        ),
        Some(said) => Finding::ok("git", said),
    }
}

fn local_ssh() -> Finding {
    match read_line(std::process::Command::new("ssh").arg("-V")) {
        Some(said) => Finding::ok("ssh", said),
        None => Finding::bad(
            Level::Error,
            "ssh",
            "it does not run",
            "install OpenSSH's client (Debian, Ubuntu: sudo apt install openssh-client)",
        ),
    }
}

fn identity(repository: &Repository) -> Finding {
    let found = repository.git().signature();
    match found
        .as_ref()
        .ok()
        .and_then(|by| Some((by.name()?, by.email()?)))
    {
        Some((name, email)) => Finding::ok("identity", format!("{name} <{email}>")),
        None => Finding::bad(
            Level::Error,
            "identity",
            "git does not know who you are",
            "git config --global user.name \"Your Name\"; git config --global user.email you@example.org",
        ),
    }
}

fn installed(repository: &Repository) -> Finding {
    match hooks::folder(repository) {
        Err(error) => {
            let mend = error.hints.first().cloned().unwrap_or_default();
            Finding::bad(Level::Warning, "hooks", error.message, mend)
        }
        Ok(folder) => {
            let missing: Vec<_> = hooks::check(&folder)
                .into_iter()
                .filter(|(_, state)| *state == Installed::Missing)
                .map(|(name, _)| name)
                .collect();
            match missing.is_empty() {
                true => Finding::ok("hooks", "installed"),
                false => Finding::bad(
                    Level::Warning,
                    "hooks",
                    format!("not installed: {}", missing.join(", ")),
                    "git agile install",
                ),
            }
        }
    }
}

/// Whether a file of HEAD says that others are kept by Git LFS.
fn uses_lfs(repository: &Repository) -> bool {
    let args = [
        "grep",
        "-q",
        "filter=lfs",
        "HEAD",
        "--",
        ".gitattributes",
        "**/.gitattributes",
    ];
    matches!(
        git::ask(git::command_in(repository.root()), &args),
        Ok(Some(_))
    )
}

/// Whether the git host answers, without asking anybody.
async fn git_host(repository: &Repository, remote: &str) -> Finding {
    let check = "git host";
    let url = match fetch_url(repository, remote) {
        Ok(url) => url,
        Err(error) => {
            let mend = error.hints.first().cloned().unwrap_or_default();
            return Finding::bad(Level::Warning, check, error.message, mend);
        }
    };
    let mut command = git::command_in(repository.root());
    command
        .args(["ls-remote", "-q", "--", remote, "HEAD"])
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null());
    let has_own = ["GIT_SSH", "GIT_SSH_COMMAND"]
        .map(std::env::var_os)
        .iter()
        .any(Option::is_some);
    let ask = ["config", "core.sshCommand"];
    if !has_own
        && !matches!(
            git::ask(git::command_in(repository.root()), &ask),
            Ok(Some(_))
        )
    {
        command.env(
            "GIT_SSH_COMMAND",
            "ssh -o BatchMode=yes -o ConnectTimeout=10",
        );
    }
    let output = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output();
    let mend = format!("git ls-remote {remote}");
    match tokio::time::timeout(LIMIT, output).await {
        Ok(Ok(output)) if output.status.success() => Finding::ok(check, format!("{url} answers")),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said
                .lines()
                .find(|line| !line.trim().is_empty())
                .unwrap_or("no answer");
            Finding::bad(Level::Error, check, format!("{url}: {said}"), mend)
        }
        Ok(Err(_)) => Finding::bad(Level::Error, check, "git does not run", mend),
        Err(_) => Finding::bad(
            Level::Error,
            check,
            format!("{url}: no answer within {} seconds", LIMIT.as_secs()),
            mend,
        ),
    }
}

// ---- the servers ---------------------------------------------------------------------------------------------------

async fn examine_all(
    ctx: &Context,
    repository: &Repository,
    config: &Config,
    names: &[String],
) -> Result<Vec<Ward>> {
    let agreements = Agreements::load()?;
    let host = default_git_host(repository, config).unwrap_or_default();
    let remote = config.push.remotes.first().map_or("origin", String::as_str);
    let url = fetch_url(repository, remote).unwrap_or_default();
    let wants = Wants::new(config, url, uses_lfs(repository));
    let is_meant = |server: &&Server| {
        names.is_empty() || names.iter().any(|name| name == server.name.as_str())
    };
    let all = config.servers.values().filter(is_meant).map(|server| {
        let wanted = Agreement::for_server(repository.common_dir(), server, &host);
        let trust = agreements.check(&wanted);
        let wants = &wants;
        async move {
            let may = trust == Trust::Agreed || (server.is_personal && trust == Trust::New);
            let findings = match may {
                true => examine(ctx, server, wants).await,
                false => vec![Finding::bad(
                    Level::Warning,
                    "trust",
                    describe(server, &wanted.git_host, &trust).0,
                    format!("git agile trust {}", server.name),
                )],
            };
            (Some(server.clone()), findings)
        }
    });
    Ok(stream::iter(all).buffered(jobs()?).collect().await)
}

/// What one call on one connection finds out.
async fn examine(ctx: &Context, server: &Server, wants: &Wants) -> Vec<Finding> {
    let call = scripts::doctor(
        &server.path,
        wants.url_for(server),
        &wants.python,
        &wants.programs(server),
    );
    let result = async {
        let mut connection = Connection::open(server, Asking::OnTerminal(&ctx.output)).await?;
        let before = now();
        let (answer, noise) = connection.listen(&call).await?;
        Ok((answer, noise, (before, now())))
    };
    match result.await {
        Ok((answer, noise, asked)) => Examination {
            server,
            wants,
            answer: &answer,
            noise: &noise,
            asked,
        }
        .findings(),
        Err(error) => {
            let error: Error = error;
            let cause = error.causes.first().and_then(|cause| cause.lines().last());
            let said = match cause {
                Some(cause) => format!("{}: {cause}", error.message),
                None => error.message.clone(),
            };
            let mend = error.hints.first().cloned();
            let mend = mend.unwrap_or_else(|| format!("ssh {} true must work", server.host));
            vec![Finding::bad(Level::Error, "connect", said, mend)]
        }
    }
}
