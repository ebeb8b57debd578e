//! `git agile hook`: what the installed hooks call.

use std::ffi::OsString;
use std::io::Read;
use std::process::Command;

use clap::{Args, Subcommand};
use git2::Oid;

use super::ahead::Ahead;
use super::deploy::deploy;
use super::plan::Request;
use super::push::run_post_push;
use super::{Context, manners};
use crate::development::repository::Repository;
use crate::development::{plain_push, pre_commit};
use crate::error::{Context as _, Error, Result};
use crate::model::config::{Config, Launch};
use crate::terminal::clean;

/// What the installed hooks call
#[derive(Debug, Args)]
pub struct HookArgs {
    #[command(subcommand)]
    hook: Hook,
}

#[derive(Debug, Subcommand)]
enum Hook {
    /// Bring requirements.txt of the index up to date
    PreCommit {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Bring requirements.txt of the work tree up to date, and fail when it was not: for hook managers, which stage
    /// nothing themselves
    Requirements {
        /// Change nothing
        #[arg(long)]
        check: bool,
    },
    /// Deploy the refs on standard input
    PostPush { remote: String, url: String },
    /// Note what the process PID is about to push
    PrePush {
        pid: u32,
        remote: String,
        url: String,
    },
    /// See what the process PID has pushed
    ReferenceTransaction { pid: u32 },
    /// Deploy what the process PID has pushed, once it has ended
    PlainPush { pid: u32 },
}

/// Runs the command.
///
/// # Errors
/// As the hook's work.
pub fn run(args: HookArgs, ctx: &Context) -> Result<()> {
    match args.hook {
        Hook::PreCommit { .. } => pre_commit::pre_commit(ctx),
        Hook::Requirements { check } => pre_commit::managed(ctx, check),
        Hook::PostPush { remote, .. } => {
            post_push(ctx, &ctx.repository()?, &remote, &standard_input()?)
        }
        Hook::PrePush { pid, remote, url } => {
            plain_push::note(&ctx.repository()?, pid, &remote, &url, &standard_input()?)
        }
        Hook::ReferenceTransaction { pid } => {
            let repository = ctx.repository()?;
            match plain_push::arrived(&repository, pid, &standard_input()?)? {
                true => deploy_apart(ctx, &repository, pid),
                false => Ok(()),
            }
        }
        Hook::PlainPush { pid } => {
            // A session of its own: nobody's terminal, and not ended with it. Then who started it need not wait.
            let _ = rustix::process::setsid();
            if let Ok(nothing) = std::fs::File::open("/dev/null") {
                let _ = rustix::stdio::dup2_stdin(nothing);
            }
            let repository = ctx.repository()?;
            match plain_push::finished(&repository, pid)? {
                Some(done) => run_post_push(
                    ctx,
                    &repository,
                    &done.remote,
                    &done.url,
                    &done.lines,
                    Ahead::default(),
                ),
                None => Ok(()),
            }
        }
    }
}

/// Set for the hooks that `git agile push` runs, which deploys itself.
pub const DEPLOYS: &str = "GIT_AGILE_DEPLOYS";

/// Deploys what has arrived as `lines` say, for a push that was not ours; see [`deploy_arrived`].
///
/// # Errors
/// As [`deploy_arrived`].
pub fn post_push(ctx: &Context, repository: &Repository, remote: &str, lines: &str) -> Result<()> {
    match std::env::var_os(DEPLOYS) {
        Some(_) => Ok(()),
        None => deploy_arrived(ctx, repository, remote, lines, Ahead::default()),
    }
}

fn standard_input() -> Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .or_step(|| "cannot read the refs on standard input".into())?;
    Ok(text)
}

/// Starts the deployment of what `pid` pushes. Git waits for its hooks, and what git was started by waits for the other
/// end of its pipes: the deployment holds none of them.
fn deploy_apart(ctx: &Context, repository: &Repository, pid: u32) -> Result<()> {
    let path = plain_push::log(repository);
    let cannot = || format!("cannot deploy in the background: {}", path.display());
    let log = std::fs::File::create(&path).or_step(cannot)?;
    let program = std::env::current_exe().or_step(cannot)?;
    let (mut leaving, held) = std::io::pipe().or_step(cannot)?;
    Command::new(program)
        .args(["hook", "plain-push", &pid.to_string()])
        .stdin(held)
        .stdout(log.try_clone().or_step(cannot)?)
        .stderr(log)
        .spawn()
        .or_step(cannot)?;
    // As long as it holds that pipe, a terminal that is closed would take it along.
    let _ = leaving.read(&mut [0]);
    ctx.output.say(&format!(
        "Deploying in the background; `git agile status` shows the runs, {} what was said.",
        clean(&path.display().to_string())
    ));
    Ok(())
}

/// Deploys the commits that `lines` (git's pre-push format: local ref, local id, remote ref, remote id) say have
/// arrived on branches of `remote` that `[push]` names, with the connections that are `ahead`.
///
/// # Errors
/// As [`deploy`]; the first failure is given after all commits were tried.
pub fn deploy_arrived(
    ctx: &Context,
    repository: &Repository,
    remote: &str,
    lines: &str,
    mut ahead: Ahead,
) -> Result<()> {
    let mut done = Vec::new();
    let mut result = Ok(());
    for line in lines.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, local, target, _] = fields.as_slice() else {
            continue;
        };
        // Tags and deletions launch nothing.
        let Some(branch) = target.strip_prefix("refs/heads/") else {
            continue;
        };
        let Ok(commit) = repository.commit(local) else {
            continue;
        };
        if done.contains(&commit) {
            continue;
        }
        match deploy_branch(ctx, repository, remote, branch, commit, &mut ahead) {
            // Another branch may bring the same commit where it is meant.
            Ok(is_named) if !is_named => continue,
            Ok(_) => {}
            Err(error) if result.is_err() => ctx.output.error(&error),
            Err(error) => result = Err(error),
        }
        done.push(commit);
    }
    result
}

/// Deploys `commit`, which has arrived on `branch`; false where `[push]` does not name that.
fn deploy_branch(
    ctx: &Context,
    repository: &Repository,
    remote: &str,
    branch: &str,
    commit: Oid,
    ahead: &mut Ahead,
) -> Result<bool> {
    let config = ctx.config(repository, commit)?;
    if !is_named(&config, remote, branch) {
        ctx.output.say(&format!(
            "Nothing is deployed: [push] does not name {}.",
            clean(&format!("{remote}/{branch}"))
        ));
        return Ok(false);
    }
    if !is_wanted(ctx, launch(&config)?, branch)? {
        return Ok(true);
    }
    let request = Request {
        commit,
        remote: remote.to_string(),
        branch: branch.to_string(),
        experiments: Vec::new(),
        servers: Vec::new(),
        overrides: Default::default(),
        again: false,
        is_push: true,
    };
    deploy(ctx, repository, &request, ahead)?;
    Ok(true)
}

/// Whether `[push]` names the branch of the remote.
pub fn is_named(config: &Config, remote: &str, branch: &str) -> bool {
    let push = &config.push;
    push.remotes.iter().any(|name| name == remote)
        && push.branches.iter().any(|glob| matches(glob, branch))
}

/// Whether a push launches: what a person has set for this clone holds before what the project says.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) for a setting that means nothing.
pub fn launch(config: &Config) -> Result<Launch> {
    Ok(match manners::setting("agile.launch").as_deref() {
        None => config.push.launch,
        Some("auto") => Launch::Auto,
        Some("ask") => Launch::Ask,
        Some("never") => Launch::Never,
        Some(other) => {
            let error = format!("`{}` is no value of agile.launch", clean(other));
            return Err(Error::config(error).hint("git config agile.launch ask, never or auto"));
        }
    })
}

fn is_wanted(ctx: &Context, launch: Launch, branch: &str) -> Result<bool> {
    match launch {
        Launch::Auto => Ok(true),
        Launch::Never => {
            ctx.output
                .say("Nothing is deployed (launch = \"never\"): git agile deploy does it.");
            Ok(false)
        }
        Launch::Ask if !ctx.can_ask() => Err(Error::config(
            "launch = \"ask\", and there is no terminal to ask on",
        )
        .hint("git agile deploy")),
        Launch::Ask => ctx.confirm(&format!("Launch the experiments of {branch}?")),
    }
}

/// Whether `text` matches `glob`, in which `*` stands for any text.
fn matches(glob: &str, text: &str) -> bool {
    match glob.split_once('*') {
        None => glob == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| matches(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (glob, text, expected) in [
            ("*", "main", true),
            ("main", "main", true),
            ("main", "main2", false),
            ("exp/*", "exp/a/b", true),
            ("exp/*", "main", false),
            ("*-run", "a-run", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxc", false),
        ] {
            assert_eq!(matches(glob, text), expected, "{glob} {text}");
        }
    }
}
