//! `git agile records`.

use clap::{Args, Subcommand};

use super::Context;
use crate::development::push::remote_of;
use crate::development::sharing::{self, Brought};
use crate::error::Result;
use crate::terminal::{clean, count};

/// Share the runs' records with others
///
/// Every run has a record in git, under `refs/agile/runs/`. It is pushed and fetched like any ref, only when you say so,
/// together with the commit whose code ran.
#[derive(Debug, Args)]
pub struct RecordsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Give the records of this clone to a remote
    Push {
        /// A git remote; without it, where `git push` would go
        remote: Option<String>,
    },
    /// Bring the records of a remote here
    Fetch {
        /// A git remote; without it, where `git push` would go
        remote: Option<String>,
    },
}

/// Runs the command.
///
/// # Errors
/// As [`sharing::fetch`] and [`sharing::push`].
pub fn run(args: RecordsArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let remote = |remote: Option<String>| match remote {
        Some(remote) => Ok(remote),
        None => remote_of(&repository, &[]),
    };
    let complain = |error: &crate::error::Error| ctx.output.warn(&error.to_string());
    match args.action {
        Action::Push { remote: given } => {
            let remote = remote(given)?;
            let brought = sharing::push(&repository, &remote, complain)?;
            say(ctx, &remote, brought);
            ctx.output.say(&format!(
                "{} has the records of this clone.",
                clean(&remote)
            ));
        }
        Action::Fetch { remote: given } => {
            let remote = remote(given)?;
            let brought = sharing::fetch(&repository, &remote, complain)?;
            if brought == Brought::default() {
                ctx.output
                    .say(&format!("{} has nothing new.", clean(&remote)));
            }
            say(ctx, &remote, brought);
        }
    }
    Ok(())
}

/// Says what came, if anything did.
fn say(ctx: &Context, remote: &str, brought: Brought) {
    let parts = [
        (brought.new, "new"),
        (brought.longer, "brought up to date"),
        (brought.joined, "joined"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{} {what}", count(number, "record")))
        .collect();
    if !parts.is_empty() {
        ctx.output
            .say(&format!("{}: {}", clean(remote), parts.join(", ")));
    }
}
