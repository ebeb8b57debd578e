//! What clap says about a command line, said as everything else here is.

use clap::error::ErrorKind;
use clap::{Command, CommandFactory};

use super::Cli;
use crate::error::{Error, Result};
use crate::terminal::Output;

/// Prints the help that was asked for, or gives the mistake.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) for a mistake.
pub fn answer(said: &clap::Error, output: &Output) -> Result<()> {
    let text = said.render();
    match said.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match output.is_colourful() {
            true => output.bytes(text.ansi().to_string().as_bytes()),
            false => output.bytes(text.to_string().as_bytes()),
        },
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output.say(text.to_string().trim_end());
            Err(Error::child(2))
        }
        _ => Err(mistake(&text.to_string())),
    }
}

/// `error: WHAT`, a blank line, and perhaps `  tip: HOW` and the usage.
fn mistake(text: &str) -> Error {
    let mut paragraphs = text.split("\n\n");
    let what = paragraphs.next().unwrap_or_default();
    let tips = paragraphs.flat_map(str::lines);
    let tip = tips
        .filter_map(|line| line.trim().strip_prefix("tip: "))
        .next();
    let error = Error::usage(what.strip_prefix("error: ").unwrap_or(what));
    match tip {
        Some(tip) => error.hint(tip),
        None => error.hint(help_command(&Cli::command())),
    }
}

/// The command that shows the help of what was typed. (`git agile --help` would be git's own, which opens a manual.)
fn help_command(cli: &Command) -> String {
    let typed = std::env::args_os()
        .skip(1)
        .find(|word| !word.to_string_lossy().starts_with('-'));
    match typed.and_then(|word| cli.find_subcommand(word)) {
        Some(command) => format!("git agile {} --help", command.get_name()),
        None => "git agile -h".to_string(),
    }
}
