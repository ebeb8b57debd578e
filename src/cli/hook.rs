//! `git agile hook`: what the installed hooks call.

use std::ffi::OsString;
use std::io::Read;

use clap::{Args, Subcommand};
use git2::Oid;

use super::Context;
use super::deploy::deploy;
use super::plan::Request;
use crate::development::repository::Repository;
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
    /// Deploy the refs on standard input
    PostPush { remote: String, url: String },
}

/// Runs the command.
///
/// # Errors
/// As the hook's work.
pub fn run(args: HookArgs, ctx: &Context) -> Result<()> {
    match args.hook {
        Hook::PreCommit { .. } => crate::development::pre_commit::pre_commit(ctx),
        Hook::PostPush { remote, .. } => {
            let mut lines = String::new();
            std::io::stdin()
                .read_to_string(&mut lines)
                .or_step(|| "cannot read the pushed refs".into())?;
            post_push(ctx, &ctx.repository()?, &remote, &lines)
        }
    }
}

/// Deploys the commits that `lines` (git's pre-push format: local ref, local id, remote ref, remote id) say have
/// arrived on branches of `remote` that `[push]` names.
///
/// # Errors
/// As [`deploy`]; the first failure is given after all commits were tried.
pub fn post_push(ctx: &Context, repository: &Repository, remote: &str, lines: &str) -> Result<()> {
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
        done.push(commit);
        if let Err(error) = deploy_branch(ctx, repository, remote, branch, commit) {
            if result.is_err() {
                ctx.output.error(&error);
            } else {
                result = Err(error);
            }
        }
    }
    result
}

fn deploy_branch(
    ctx: &Context,
    repository: &Repository,
    remote: &str,
    branch: &str,
    commit: Oid,
) -> Result<()> {
    let config = ctx.config(repository, commit)?;
    if !is_meant(ctx, &config, remote, branch)? {
        return Ok(());
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
    deploy(ctx, repository, &request)
}

fn is_meant(ctx: &Context, config: &Config, remote: &str, branch: &str) -> Result<bool> {
    let push = &config.push;
    if !push.remotes.iter().any(|name| name == remote)
        || !push.branches.iter().any(|glob| matches(glob, branch))
    {
        ctx.output.say(&format!(
            "Nothing is deployed: [push] does not name {}.",
            clean(&format!("{remote}/{branch}"))
        ));
        return Ok(false);
    }
    match push.launch {
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
