//! `git agile status`.

use clap::Args;
use console::measure_text_width;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::look::{look, now, warn_unseen};
use super::select::Selection;
use super::{Context, show};
use crate::deployment::connection::Asking;
use crate::development::records::Record;
use crate::error::{Error, Kind, Result};
use crate::model::run::{Known, RunState};
use crate::terminal::{Stream, Style, Table, clean, count};

/// Runs and their states, all servers at once
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    selection: Selection,
    /// Print a JSON array, one object a run, as `git agile show --json` does
    #[arg(long)]
    json: bool,
    /// Look again every two seconds until all runs have ended
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Kind::Unreachable`] when a server could not be seen; its runs are shown as they were last known.
pub fn run(args: StatusArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    loop {
        let records = args.selection.records(ctx, &repository)?;
        let (records, failures) =
            ctx.block_on(look(&repository, records, Asking::OnTerminal(&ctx.output)))?;
        if args.json {
            let runs: Vec<_> = records.iter().map(show::json).collect();
            ctx.output.json(&runs)?;
        } else {
            ctx.output.show_anew()?;
            print(ctx, &records)?;
        }
        warn_unseen(ctx, &failures);
        if args.watch && records.iter().any(|record| record.known.is_open()) {
            std::thread::sleep(std::time::Duration::from_secs(2));
            continue;
        }
        return match failures
            .into_iter()
            .map(|(_, error)| error.kind)
            .max_by_key(|kind| kind.status())
        {
            // Each failure has been said.
            Some(kind) => Err(Error::new(kind, "")),
            None => Ok(()),
        };
    }
}

fn print(ctx: &Context, records: &[Record]) -> Result<()> {
    if records.is_empty() {
        ctx.output.say("There are no runs yet.");
        return Ok(());
    }
    let mut rest = records;
    while let Some(first) = rest.first() {
        let count = rest
            .iter()
            .take_while(|record| record.run.sprint == first.run.sprint)
            .count();
        let (sprint, later) = rest.split_at(count);
        print_sprint(ctx, sprint)?;
        rest = later;
        if !rest.is_empty() {
            ctx.output.data("")?;
        }
    }
    let waiting = records
        .iter()
        .filter(|record| record.known.is_to_fetch())
        .count();
    if waiting > 0 {
        ctx.output.say(&format!(
            "\n{waiting} ended, not fetched: git agile fetch-results"
        ));
    }
    Ok(())
}

fn print_sprint(ctx: &Context, records: &[Record]) -> Result<()> {
    let Some(Record { run, .. }) = records.first() else {
        return Ok(());
    };
    let head = format!(
        "{}  {}  {}",
        run.commit.short(),
        clock(run.asked),
        run.subject
    );
    ctx.output
        .data(&ctx.output.paint(Stream::Data, Style::Bold, &head))?;
    let width = ctx.output.width().map(|width| width.saturating_sub(2));
    let mut table = run_table(records, true);
    let is_wide = width.is_some_and(|width| table.width() > width);
    if is_wide {
        table = run_table(records, false);
    }
    for (index, line) in table.lines().into_iter().enumerate() {
        let record = index.checked_sub(1).map(|index| &records[index]);
        let style = match record.map(|record| record.known.state) {
            None => Style::Dim,
            Some(RunState::Succeeded) => Style::Good,
            Some(RunState::Failed | RunState::Lost | RunState::TimedOut) => Style::Bad,
            Some(RunState::Asked | RunState::Stopped) => Style::Note,
            Some(RunState::Running | RunState::Queued) => Style::Plain,
        };
        let paint = |text: &str| ctx.output.paint(Stream::Data, style, text);
        let note = record.map(|record| clean(&note(&record.known)));
        // A note that has no room beside its run stands below it.
        let (beside, below) = match note.filter(|note| is_wide && !note.is_empty()) {
            Some(note) => {
                let beside = format!("{line}  {note}");
                match width.is_some_and(|width| measure_text_width(&beside) > width) {
                    true => (line, Some(note)),
                    false => (beside, None),
                }
            }
            None => (line, None),
        };
        ctx.output.data(&format!("  {}", paint(&beside)))?;
        if let Some(note) = below {
            ctx.output.data(&format!("      {}", paint(&note)))?;
        }
    }
    Ok(())
}

fn run_table(records: &[Record], with_notes: bool) -> Table {
    let heads = ["RUN", "SERVER", "STATE", "TIME", "PARAMETERS", "NOTE"];
    let columns = heads.len() - usize::from(!with_notes);
    let mut table = Table::new(&heads[..columns]);
    for Record { run, known, .. } in records {
        let cells = [
            run.id.to_string(),
            run.server.name.to_string(),
            state_word(known),
            duration(known),
            parameters(run),
            note(known),
        ];
        table.row(&cells[..columns]);
    }
    table
}

/// The state, with the exit status where it says more.
pub fn state_word(known: &Known) -> String {
    match (known.state, known.exit) {
        (RunState::Failed, Some(exit)) => format!("failed ({exit})"),
        (RunState::Asked, _) if known.is_unlaunched() => "not launched".to_string(),
        (RunState::Asked, _) => "not confirmed".to_string(),
        (state, _) => state.to_string(),
    }
}

/// `name=value` of each parameter.
pub fn parameters(run: &crate::model::run::Run) -> String {
    let pairs: Vec<_> = run
        .parameters
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(" ")
}

fn note(known: &Known) -> String {
    let mut notes = Vec::new();
    notes.extend(known.note.clone());
    notes.extend(known.ended_by.clone());
    if let Some(seen) = known.seen.filter(|_| known.is_open()) {
        let age = now().saturating_sub(seen);
        if age > 5 {
            notes.push(format!("last seen {} ago", span(age)));
        }
    }
    if known.fetched.is_some() {
        notes.push("fetched".to_string());
    }
    if known.removed.is_some() {
        notes.push("removed from the server".to_string());
    }
    notes.join("; ")
}

/// How long the run has been running, or ran.
fn duration(known: &Known) -> String {
    match (known.started, known.since) {
        (Some(started), Some(ended)) if known.state.is_end() => span(ended.saturating_sub(started)),
        (Some(started), _) if known.state == RunState::Running => {
            span(now().saturating_sub(started))
        }
        _ => String::new(),
    }
}

/// Seconds as a person says them.
pub fn span(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        seconds @ 3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        seconds => format!("{}d{:02}h", seconds / 86400, seconds / 3600 % 24),
    }
}

/// A time as the person's clock shows it.
pub fn clock(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds)
        .unwrap_or_default()
        .to_zoned(TimeZone::system());
    time.strftime("%Y-%m-%d %H:%M").to_string()
}

/// Whether a run did what it was to do: a run that its own metric has ended did.
pub fn is_fine(known: &Known) -> bool {
    known.state == RunState::Succeeded
        || (known.state == RunState::Stopped && known.ended_by.is_some())
}

/// The error of runs that did not succeed, for commands whose exit status says so.
pub fn failed(records: &[Record]) -> Option<Error> {
    let bad: Vec<_> = records
        .iter()
        .filter(|record| !is_fine(&record.known))
        .collect();
    let first = bad.first()?;
    let all = count(records.len(), "run");
    let said = format!("{} of {all} did not succeed", bad.len());
    let hint = match first.known.is_unlaunched() {
        true => format!("git agile deploy {}", first.run.commit.short()),
        false => format!("git agile logs {}", first.run.id),
    };
    Some(Error::new(Kind::Check, said).hint(hint))
}
