//! `git agile wait`.

use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::Context;
use super::look::{look, warn_unseen};
use super::select::Selection;
use super::status::{failed, state_word};
use crate::deployment::connection::Asking;
use crate::development::records::{self, Record};
use crate::development::repository::Repository;
use crate::error::{Error, Kind, Result};
use crate::terminal::count;

/// Block until runs have ended; the exit status is 0 when all succeeded, else 1
#[derive(Debug, Args)]
pub struct WaitArgs {
    #[command(flatten)]
    selection: Selection,
    /// Give up after so many seconds (exit status 5)
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

/// Runs the command. A server that cannot be seen for a while is asked again: that ends no run.
///
/// # Errors
/// [`Kind::Check`](crate::error::Kind::Check) when a run did not succeed, [`Kind::Step`](crate::error::Kind::Step) when
/// the time is over.
pub fn run(args: WaitArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let records = args.selection.records(ctx, &repository)?;
    let records = until_ended(ctx, &repository, records, args.timeout)?;
    match failed(&records) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Looks at `records` until all of them have ended, and gives them as they are then. A server that cannot be seen is
/// said once and asked again.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when that takes longer than `timeout` seconds.
pub fn until_ended(
    ctx: &Context,
    repository: &Repository,
    mut records: Vec<Record>,
    timeout: Option<u64>,
) -> Result<Vec<Record>> {
    ctx.if_interrupted("the runs go on", "git agile status")?;
    let begun = Instant::now();
    let (mut pause, mut has_warned) = (Duration::from_millis(200), false);
    let bar = ctx.output.progress().add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    loop {
        let before = active(&records);
        let asking = if has_warned {
            Asking::Never
        } else {
            Asking::OnTerminal(&ctx.output)
        };
        let (now, mut failures) = ctx.block_on(look(repository, records, asking))?;
        records = now;
        for record in records
            .iter()
            .filter(|record| before.contains(&record.run.id) && !record.known.is_open())
        {
            ctx.output
                .say(&format!("{}: {}", record.run.id, state_word(&record.known)));
        }
        let left = active(&records).len();
        if left == 0 {
            break;
        }
        // What the person has to decide does not pass.
        if let Some(at) = failures.iter().position(|(_, it)| it.kind == Kind::Config) {
            bar.finish_and_clear();
            return Err(failures.swap_remove(at).1);
        }
        if !failures.is_empty() && !has_warned {
            warn_unseen(ctx, &failures);
            has_warned = true;
        }
        let all = count(records.len(), "run");
        bar.set_message(format!("{left} of {all} going on"));
        if let Some(limit) = timeout
            && begun.elapsed() >= Duration::from_secs(limit)
        {
            bar.finish_and_clear();
            let said = format!("{left} of {all} had not ended after {limit} s");
            return Err(Error::step(said).hint("git agile status"));
        }
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_secs(10));
        // Another command may have learnt more meanwhile.
        for record in &mut records {
            if let Some(newer) = records::find(repository, &record.run.id)? {
                *record = newer;
            }
        }
    }
    bar.finish_and_clear();
    Ok(records)
}

fn active(records: &[Record]) -> Vec<crate::model::names::RunId> {
    records
        .iter()
        .filter(|record| record.known.is_open())
        .map(|record| record.run.id.clone())
        .collect()
}
