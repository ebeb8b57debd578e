//! `git agile completions`.

use clap::{Args, ValueEnum};

use super::Context;
use crate::error::Result;

/// Print the completion script of a shell
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// A shell that can complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// For share/bash-completion/completions/git-agile, or to be sourced
    Bash,
    /// For _git-agile in a folder of fpath
    Zsh,
    /// For git-agile.fish in ~/.config/fish/completions
    Fish,
}

/// Runs the command.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when standard output cannot be written.
pub fn run(args: CompletionsArgs, ctx: &Context) -> Result<()> {
    let script = match args.shell {
        Shell::Bash => include_str!("../../completions/git-agile.bash"),
        Shell::Zsh => include_str!("../../completions/_git-agile"),
        Shell::Fish => include_str!("../../completions/git-agile.fish"),
    };
    ctx.output.bytes(script.as_bytes())
}
