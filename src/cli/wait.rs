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
use crate::error::{Error, Result};

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
    let mut records = args.selection.records(ctx, &repository)?;
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
        let (now, failures) = ctx.block_on(look(&repository, records, asking))?;
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
        if !failures.is_empty() && !has_warned {
            warn_unseen(ctx, &failures);
            has_warned = true;
        }
        bar.set_message(format!("{left} of {} runs are going on", records.len()));
        if args
            .timeout
            .is_some_and(|limit| begun.elapsed() >= Duration::from_secs(limit))
        {
            bar.finish_and_clear();
            return Err(
                Error::step(format!("{left} runs are still going on")).hint("git agile status")
            );
        }
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_secs(10));
        // Another command may have learnt more meanwhile.
        for record in &mut records {
            if let Some(newer) = records::find(&repository, &record.run.id)? {
                *record = newer;
            }
        }
    }
    bar.finish_and_clear();
    match failed(&records) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn active(records: &[Record]) -> Vec<crate::model::names::RunId> {
    records
        .iter()
        .filter(|record| record.known.is_open())
        .map(|record| record.run.id.clone())
        .collect()
}
