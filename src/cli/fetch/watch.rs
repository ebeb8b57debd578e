//! `--watch`: each run as it ends.

use std::collections::BTreeSet;
use std::time::Duration;

use indicatif::ProgressBar;

use super::{Context, FetchArgs, Missed, fetch, is_running};
use crate::cli::look::look;
use crate::deployment::connection::Asking;
use crate::development::records::Record;
use crate::development::repository::Repository;
use crate::error::{Kind, Result};
use crate::model::names::RunId;
use crate::terminal::count;

/// How often `--watch` asks a server that cannot be reached again, when no run goes on any more: for about two minutes.
const PATIENCE: u32 = 15;

/// Fetches each of the runs as it ends, and with `--partial` before that, until none goes on; gives what did not come.
/// What is wrong is said at once, and once.
pub(super) fn watch(
    args: &FetchArgs,
    ctx: &Context,
    repository: &Repository,
    mut records: Vec<Record>,
) -> Result<Vec<Missed>> {
    let (mut tried, mut said) = (BTreeSet::new(), BTreeSet::new());
    let (mut lost, mut pause) = (Vec::new(), Duration::from_secs(1));
    let (mut patience, mut is_again) = (PATIENCE, false);
    let bar = ctx.output.progress().add(ProgressBar::new_spinner());
    loop {
        let is_new = |record: &&Record| {
            let due = record.known.state.is_end() || args.partial && is_running(record);
            due && !tried.contains(&record.run.id)
        };
        let due: Vec<Record> = records.iter().filter(is_new).cloned().collect();
        let open = records.iter().filter(|record| record.known.is_open());
        let left = open.count();
        bar.set_message(match left {
            0 => "fetching".to_string(),
            _ => format!("{} going on", count(left, "run")),
        });
        bar.tick();
        let asking = match is_again {
            false => Asking::OnTerminal(&ctx.output),
            true => Asking::Never,
        };
        let missed = match due.is_empty() {
            true => Vec::new(),
            false => fetch(args, ctx, repository, &due, asking)?,
        };
        for missed in &missed {
            if said.insert(missed.error.message.clone()) {
                ctx.output.error(&missed.error);
            }
        }
        // A server that cannot be reached for a while is asked again.
        let is_unreached = |missed: &Missed| missed.error.kind == Kind::Unreachable;
        let (unreached, refused): (Vec<_>, Vec<_>) = missed.into_iter().partition(is_unreached);
        lost.extend(refused);
        is_again = !unreached.is_empty();
        if is_again && left == 0 {
            if patience == 0 {
                lost.extend(unreached);
                bar.finish_and_clear();
                return Ok(lost);
            }
            if patience == PATIENCE {
                ctx.output.say("Trying again for a while.");
            }
            patience -= 1;
        }
        let again: Vec<&RunId> = unreached.iter().flat_map(|missed| &missed.runs).collect();
        let ended = due.iter().filter(|record| record.known.state.is_end());
        let ended = ended.map(|record| record.run.id.clone());
        tried.extend(ended.filter(|run| !again.contains(&run)));
        if left == 0 && again.is_empty() {
            bar.finish_and_clear();
            return Ok(lost);
        }
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_secs(10));
        records = ctx.block_on(look(repository, records, Asking::Never))?.0;
    }
}
