//! `git agile requirements`: what the code imports becomes requirements.txt.

use clap::{Args, ValueEnum};

use super::Context;
use crate::development::lock::lock;
use crate::development::pre_commit::{put, summary};
use crate::development::requirements::{Decision, Project};
use crate::development::tracked::Source;
use crate::error::{Error, Kind, Result};
use crate::requirements::findings::{Code, Finding};
use crate::requirements::plan::{Plan, Target};
use crate::requirements::report;
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
    /// Check, and write findings like this
    #[arg(long, value_enum, value_name = "FORMAT", conflicts_with_all = ["print", "lock"])]
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
    let is_check = args.check || args.format.is_some();
    if args.commit.is_some() && !is_check && !args.print {
        return Err(Error::usage(
            "--commit changes nothing: it needs --check or --print",
        ));
    }
    if args.lock {
        return lock(ctx, &repository, source);
    }
    let mut project = Project::open(&repository, source)?;
    let Decision { plan, findings } = project.check(&repository)?;
    if args.json {
        ctx.output
            .data(&format!("{:#}", report::to_json(&plan, &findings)))?;
    }
    if args.print && !args.json {
        talk(ctx, &findings);
        let target = plan.targets.first();
        return target.map_or(Ok(()), |target| ctx.output.bytes(target.new.as_bytes()));
    }
    if is_check {
        return check(args, ctx, &plan, &findings);
    }
    if args.print {
        return Ok(());
    }
    talk(ctx, &findings);
    let targets = plan.targets.iter();
    let changed: Vec<&Target> = targets.filter(|target| target.is_changed()).collect();
    put(&repository, &project, &changed)?;
    for target in changed {
        ctx.output
            .say(&clean(&format!("{}: {}", target.path, summary(target))));
    }
    Ok(())
}

/// Prints what is wrong, as `--format` says; by default a diff, and the rest as talk.
fn check(args: &RequirementsArgs, ctx: &Context, plan: &Plan, findings: &[Finding]) -> Result<()> {
    match args.format.unwrap_or(Format::Text) {
        _ if args.json => {}
        Format::Text => {
            for finding in findings {
                let words = format!(
                    "{}: {}: {}",
                    finding.place,
                    finding.code.word(),
                    finding.message
                );
                ctx.output.say(&clean(&words));
            }
            for target in &plan.targets {
                ctx.output.bytes(diff(target).as_bytes())?;
            }
        }
        Format::Github => {
            for finding in findings {
                ctx.output.data(&clean(&report::to_github(finding)))?;
            }
        }
        Format::Sarif => ctx
            .output
            .data(&format!("{:#}", report::to_sarif(findings)))?,
    }
    let errors: Vec<_> = findings
        .iter()
        .filter(|finding| finding.code.is_error())
        .collect();
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(failed("1 finding", one)),
        [first, ..] => Err(failed(&format!("{} findings", errors.len()), first)),
    }
}

fn failed(count: &str, first: &Finding) -> Error {
    Error::new(
        Kind::Check,
        format!("{}: {} ({count})", first.place, first.message),
    )
    .hint(&first.mend)
}

/// The change of a file as a unified diff; empty without one.
fn diff(target: &Target) -> String {
    let old = target.old.as_deref().unwrap_or_default();
    let path = &target.path;
    similar::TextDiff::from_lines(old, &target.new)
        .unified_diff()
        .header(&format!("a/{path}"), &format!("b/{path}"))
        .to_string()
}

/// Says what is wrong beside what is mended; what has no version, in one line.
fn talk(ctx: &Context, findings: &[Finding]) {
    for finding in findings {
        match finding.code {
            Code::Missing | Code::Unused | Code::Version | Code::Misplaced | Code::Unpinned => {}
            code => {
                ctx.output
                    .warn(&format!("{}: {}", finding.place, finding.message));
                if code.is_error() || code == Code::LocalVersion {
                    ctx.output.hint(&finding.mend);
                }
            }
        }
    }
    let unpinned = findings
        .iter()
        .filter(|finding| finding.code == Code::Unpinned);
    let names: Vec<_> = unpinned
        .filter_map(|finding| finding.message.split(' ').next())
        .collect();
    if !names.is_empty() {
        ctx.output.warn(&format!(
            "not installed here, so without a version: {}",
            names.join(", ")
        ));
        ctx.output.hint("install them, then git agile requirements");
    }
}
