//! `git agile help`: the manual, made from the same text as `--help`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use clap::{Arg, Args, Command, CommandFactory};

use super::{Cli, Context};
use crate::error::{Context as _, Error, Result, statuses};
use crate::manual::{self, Page, capitalised, literal, uncapitalised};
use crate::model::config::nearest;
use crate::terminal::clean;

/// Show the manual page of a command
///
/// The pages are part of the program: they are shown also where none are installed. Beside the commands there are
/// `agile.toml`, which describes the configuration, and `tutorial`.
#[derive(Debug, Args)]
pub struct HelpArgs {
    /// A command, `agile.toml` or `tutorial`; without it, git-agile itself
    #[arg(value_name = "COMMAND")]
    topic: Option<String>,
    /// Write all pages below a folder of manuals, such as ~/.local/share/man
    #[arg(long, value_name = "DIR", conflicts_with = "topic")]
    write: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) for a page that there is none of.
pub fn run(args: HelpArgs, ctx: &Context) -> Result<()> {
    let pages = pages();
    if let Some(folder) = args.write {
        for page in &pages {
            write(&folder, page)?;
        }
        return Ok(());
    }
    let topic = args.topic.as_deref().unwrap_or("git-agile");
    let name = page_name(topic);
    let page = pages.iter().find(|page| page.name == name);
    let page = page.ok_or_else(|| {
        let known = pages
            .iter()
            .map(|page| page.name.strip_prefix("git-agile-").unwrap_or(&page.name));
        let error = Error::usage(format!("there is no page about `{}`", clean(topic)));
        error.hint(match nearest(topic, known) {
            Some(near) => format!("git agile help {near}"),
            None => "git agile -h lists the commands".into(),
        })
    })?;
    show(page, ctx)
}

fn page_name(topic: &str) -> String {
    match topic {
        "agile" => "git-agile".into(),
        "git-agile" | "agile.toml" => topic.into(),
        topic if topic.starts_with("git-agile-") => topic.into(),
        topic => format!("git-agile-{topic}"),
    }
}

/// Shows the page with `man` on a terminal, and as plain text elsewhere or where there is no `man`.
fn show(page: &Page, ctx: &Context) -> Result<()> {
    if ctx.output.is_read() {
        let folder = tempfile::tempdir().or_step(|| "cannot make a temporary folder".into())?;
        let file = write(folder.path(), page)?;
        // A name with a slash is a file for every `man`.
        if let Ok(status) = Process::new("man").arg(&file).status()
            && status.success()
        {
            return Ok(());
        }
    }
    ctx.output.bytes(manual::plain(page).as_bytes())
}

/// Writes the page to its file below `folder`, and gives that file.
fn write(folder: &Path, page: &Page) -> Result<PathBuf> {
    let folder = folder.join(format!("man{}", page.section));
    let file = folder.join(page.file());
    let cannot = || format!("cannot write {}", file.display());
    fs::create_dir_all(&folder).or_step(cannot)?;
    let mut temporary = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(&folder)
        .or_step(cannot)?;
    temporary
        .write_all(manual::roff(page).as_bytes())
        .or_step(cannot)?;
    temporary.persist(&file).or_step(cannot)?;
    Ok(file)
}

/// Every page: git-agile's, those of its commands, and those that are no command's.
fn pages() -> Vec<Page> {
    let mut cli = Cli::command();
    cli.build();
    let visible = |command: &&Command| !command.is_hide_set();
    let commands = cli.get_subcommands().filter(visible);
    let mut pages: Vec<Page> = commands.map(|command| page(command, &cli)).collect();
    pages.insert(0, page(&cli, &cli));
    pages.extend(manual::pages());
    pages
}

/// What there is a page about, with a line about each.
pub fn topics() -> Vec<(String, String)> {
    let topic = |page: Page| {
        let name = page.name.strip_prefix("git-agile-").unwrap_or(&page.name);
        (name.to_string(), page.about)
    };
    pages().into_iter().map(topic).collect()
}

fn page(command: &Command, cli: &Command) -> Page {
    let is_root = command.get_name() == cli.get_name();
    let name = match is_root {
        true => "git-agile".to_string(),
        false => format!("git-agile-{}", command.get_name()),
    };
    let about = about(command);
    let mut body = format!("# SYNOPSIS\n{}", synopsis(command));
    body += &format!("\n# DESCRIPTION\n{}\n", description(command));
    body += &commands(command, is_root);
    body += &options(command);
    let more = manual::more(&name);
    if !more.is_empty() {
        body += &format!("\n{more}");
    }
    if is_root {
        body += "\n# EXIT STATUS\n";
        for (status, meaning) in statuses() {
            body += &format!("\n`{status}`\n: {}.\n", capitalised(meaning));
        }
    }
    body += &format!("\n# SEE ALSO\n{}\n", see_also(command, cli));
    Page {
        name,
        section: 1,
        about: uncapitalised(&literal(&about)),
        body,
    }
}

fn about(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string);
    about
        .unwrap_or_default()
        .trim()
        .trim_end_matches('.')
        .to_string()
}

fn synopsis(command: &Command) -> String {
    let nested: Vec<&Command> = command
        .get_subcommands()
        .filter(|c| !c.is_hide_set())
        .collect();
    let is_root = command.get_name() == "git-agile";
    let lines: Vec<String> = match nested.is_empty() || is_root {
        true => vec![usage(command)],
        false => nested.into_iter().map(usage).collect(),
    };
    let lines: String = lines
        .into_iter()
        .map(|line| format!("    {line}\n"))
        .collect();
    lines
}

fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    usage.trim_start_matches("Usage:").trim().to_string()
}

/// The long text; its first paragraph, which `--help` shows and NAME has already said, only when it stands alone.
fn description(command: &Command) -> String {
    let about = about(command);
    let long = command.get_long_about().map(ToString::to_string);
    let long = long.unwrap_or_default();
    let rest = long
        .split_once("\n\n")
        .map(|(_, rest)| rest.trim())
        .filter(|rest| !rest.is_empty());
    literal(&rest.map_or_else(|| format!("{about}."), str::to_string))
}

fn commands(command: &Command, is_root: bool) -> String {
    let mut text = String::new();
    for inner in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        let term = match is_root {
            true => format!("`git agile {}`", inner.get_name()),
            false => format!("`{}`", usage(inner)),
        };
        let mut about = literal(&about(inner));
        if !is_root {
            about = format!("{about}. {}", arguments_in_a_line(inner));
        }
        text += &format!(
            "\n{term}\n: {}\n",
            about.trim_end_matches([' ', '.']).to_string() + "."
        );
    }
    match text.is_empty() {
        true => text,
        false => format!("\n# COMMANDS\n{text}"),
    }
}

fn arguments_in_a_line(command: &Command) -> String {
    let shown = command.get_arguments().filter(|arg| is_shown(arg));
    let each: Vec<String> = shown
        .map(|arg| format!("{}: {}", term(arg), help(arg)))
        .collect();
    each.join(" ")
}

fn is_shown(arg: &Arg) -> bool {
    !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version")
}

fn options(command: &Command) -> String {
    let mut text = String::new();
    let shown = command.get_arguments().filter(|arg| is_shown(arg));
    let (positional, named): (Vec<&Arg>, Vec<&Arg>) = shown.partition(|arg| arg.is_positional());
    for arg in positional.into_iter().chain(named) {
        text += &format!("\n{}\n: {}\n", term(arg), help(arg));
    }
    text += "\n`-h`, `--help`\n: A summary of this page.\n";
    format!("\n# OPTIONS\n{text}")
}

/// `-s`, `--server` *NAME*, or *RUN*.
fn term(arg: &Arg) -> String {
    let values: Vec<String> = arg
        .get_value_names()
        .unwrap_or_default()
        .iter()
        .map(|name| format!("*{name}*"))
        .collect();
    let takes_value = arg.get_action().takes_values();
    if arg.is_positional() {
        let name = match values.is_empty() {
            true => format!("*{}*", arg.get_id().as_str().to_uppercase()),
            false => values.join(" "),
        };
        let many = arg.get_num_args().is_some_and(|n| n.max_values() > 1);
        return name + if many { "…" } else { "" };
    }
    let names: Vec<String> = [
        arg.get_short().map(|short| format!("`-{short}`")),
        arg.get_long().map(|long| format!("`--{long}`")),
    ]
    .into_iter()
    .flatten()
    .collect();
    match takes_value && !values.is_empty() {
        true => format!("{} {}", names.join(", "), values.join(" ")),
        false => names.join(", "),
    }
}

fn help(arg: &Arg) -> String {
    let text = arg.get_long_help().or_else(|| arg.get_help());
    let mut text = literal(&text.map(ToString::to_string).unwrap_or_default()).replace('\n', " ");
    if !text.is_empty() && !text.ends_with('.') {
        text.push('.');
    }
    let words: Vec<String> = match arg.get_action().takes_values() {
        true => arg
            .get_possible_values()
            .iter()
            .filter(|value| !value.is_hide_set())
            .map(|value| match value.get_help() {
                Some(help) => format!("`{}`: {}", value.get_name(), literal(&help.to_string())),
                None => format!("`{}`", value.get_name()),
            })
            .collect(),
        false => Vec::new(),
    };
    if !words.is_empty() {
        text += &format!(" One of {}.", words.join("; "));
    }
    let defaults: Vec<String> =
        match arg.get_action().takes_values() && !arg.is_hide_default_value_set() {
            true => arg
                .get_default_values()
                .iter()
                .map(|value| format!("`{}`", value.to_string_lossy()))
                .collect(),
            false => Vec::new(),
        };
    if !defaults.is_empty() && !text.contains("[default") {
        text += &format!(" The default is {}.", defaults.join(" "));
    }
    text
}

fn see_also(command: &Command, cli: &Command) -> String {
    let mut others = Vec::new();
    if command.get_name() == cli.get_name() {
        others.extend(
            cli.get_subcommands()
                .filter(|c| !c.is_hide_set())
                .map(|c| format!("`git-agile-{}`(1)", c.get_name())),
        );
    } else {
        others.push("`git-agile`(1)".to_string());
    }
    others.push("`agile.toml`(5)".into());
    others.push("`git-agile-tutorial`(7)".into());
    others.join(", ")
}
