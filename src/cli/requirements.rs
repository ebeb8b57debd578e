//! `git agile requirements`: what the code imports becomes requirements.txt.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};

use super::Context;
use crate::development::pre_commit::{replace, summary};
use crate::development::requirements::Project;
use crate::development::tracked::Source;
use crate::error::{Error, Kind, Result};
use crate::requirements::plan::Plan;
use crate::terminal::clean;

/// Regenerate requirements.txt from what the code imports
///
/// Reads every tracked Python file and notebook, finds the distributions that provide their imports, and writes
/// them with the versions that are installed here. Order, comments, options and everything else that a person wrote
/// into the file stays. Needs no network and starts no Python.
#[derive(Args, Clone, Debug, Default)]
pub struct RequirementsArgs {
    /// Change nothing: print the differences and end with status 1 if there are any
    #[arg(long, conflicts_with = "print")]
    pub check: bool,
    /// Write the file to standard output instead
    #[arg(long)]
    pub print: bool,
    /// Write requirements.lock: every distribution, exact and hashed
    #[arg(long, conflicts_with_all = ["check", "print"])]
    pub lock: bool,
    /// Read the staged files instead of those in the work tree
    #[arg(long)]
    pub staged: bool,
    /// Read the files of a commit; with --check or --print
    #[arg(long, value_name = "COMMIT", conflicts_with = "staged")]
    pub commit: Option<String>,
    /// Describe everything as JSON
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// How findings are written
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,
}

/// How findings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a person
    Text,
    /// Annotations of GitHub Actions
    Github,
    /// SARIF 2.1.0
    Sarif,
}

/// Carries out `git agile requirements`.
///
/// # Errors
/// [`Kind::Check`] when `--check` finds something; whatever keeps the project from being read or written.
pub fn run(args: &RequirementsArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let source = match (&args.commit, args.staged) {
        (Some(name), _) => Source::Commit(repository.commit(name)?),
        (None, true) => Source::Index,
        (None, false) => Source::WorkTree,
    };
    let mut project = Project::open(&repository, source)?;
    let plan = project.plan(&repository)?;
    if args.print {
        talk(ctx, &plan);
        return plan
            .targets
            .first()
            .map_or(Ok(()), |target| ctx.output.bytes(target.new.as_bytes()));
    }
    talk(ctx, &plan);
    let changed: Vec<_> = plan
        .targets
        .iter()
        .filter(|target| target.is_changed())
        .collect();
    if args.check {
        for target in &changed {
            ctx.output.data(&clean(&summary(target)))?;
        }
        let unresolved = plan.needs.unresolved.len();
        return match changed.len() + unresolved {
            0 => Ok(()),
            n => {
                Err(Error::new(Kind::Check, format!("{n} findings")).hint("git agile requirements"))
            }
        };
    }
    if args.commit.is_some() {
        return Err(Error::usage("--commit changes no file")
            .hint("git agile requirements --commit COMMIT --check, or --print"));
    }
    for target in &changed {
        replace(&repository.root().join(&target.path), target.new.as_bytes())?;
        ctx.output.say(&clean(&summary(target)));
    }
    Ok(())
}

/// Says what is wrong with files, what nothing provides, and what has no version.
fn talk(ctx: &Context, plan: &Plan) {
    let mut broken: BTreeMap<&str, &crate::requirements::scan::Problem> = BTreeMap::new();
    for (path, problem) in &plan.needs.problems {
        broken.entry(path).or_insert(problem);
    }
    for (path, problem) in broken {
        ctx.output
            .warn(&format!("{path}:{}: {}", problem.line, problem.message));
    }
    for unresolved in &plan.needs.unresolved {
        let place = unresolved
            .used
            .places
            .first()
            .map(|place| format!("{place}: "))
            .unwrap_or_default();
        let (import, reason) = (&unresolved.used.import, &unresolved.reason);
        ctx.output
            .warn(&format!("{place}nothing provides `{import}` ({reason})"));
    }
    if !plan.unpinned.is_empty() {
        ctx.output.warn(&format!(
            "not installed here, so without a version: {}",
            plan.unpinned.join(", ")
        ));
    }
}
