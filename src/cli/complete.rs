//! `git agile complete`: what can come next on a command line, for the scripts in `completions/`.
//!
//! It is given the words after `git agile`, the last of which is being typed. The first line of its answer is `words`,
//! `files` or `folders`; with `words` each further line is a candidate, a tab and a description. It reads the
//! repository and nothing else, says nothing about what is wrong, and always succeeds.

use std::collections::BTreeSet;

use clap::{Arg, Args, Command, CommandFactory, ValueHint};
use git2::{BranchType, Reference};

use super::{Cli, Context, help, status};
use crate::development::records::{self, Record};
use crate::development::repository::Repository;
use crate::development::{git, push};
use crate::error::Result;
use crate::model::config::{Config, Settings};
use crate::model::names::RunId;
use crate::terminal::clean;

/// What can come next on a command line
#[derive(Debug, Args)]
pub struct CompleteArgs {
    /// The words after `git agile`, the last one as far as it is typed
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// A candidate and its description.
type Candidate = (String, String);

/// Runs the command.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when standard output cannot be written.
pub fn run(args: &CompleteArgs, ctx: &Context) -> Result<()> {
    let mut cli = Cli::command();
    cli.build();
    let place = Place::of(&cli, &args.words);
    let mut answer = String::from("words\n");
    match place.wanted {
        Wanted::File => answer = "files\n".into(),
        Wanted::Folder => answer = "folders\n".into(),
        _ => {
            for (value, description) in place.candidates(ctx) {
                // What a line or a tab would break in two is no candidate.
                if !value.chars().any(char::is_control) {
                    answer += &format!("{value}\t{}\n", clean(&description));
                }
            }
        }
    }
    ctx.output.bytes(answer.as_bytes())
}

/// Where on the command line the person is.
struct Place<'a> {
    /// The command whose words these are.
    command: &'a Command,
    /// What stands before what is wanted in the same word, such as `--server=`.
    before: String,
    /// The word as far as it is typed, without that.
    typed: &'a str,
    wanted: Wanted<'a>,
}

/// What can stand there.
enum Wanted<'a> {
    Command,
    Option,
    Value(&'a Arg),
    File,
    Folder,
    /// The arguments of `git push`, so far.
    Push(&'a [String]),
    Nothing,
}

impl<'a> Place<'a> {
    fn of(cli: &'a Command, words: &'a [String]) -> Self {
        let (typed, done) = match words.split_last() {
            Some((typed, done)) => (typed.as_str(), done),
            None => ("", words),
        };
        let (mut command, mut positional, mut only_values) = (cli, 0, false);
        let mut pending: Option<&Arg> = None;
        let place = |command, wanted| Place {
            command,
            before: String::new(),
            typed,
            wanted,
        };
        for (at, word) in done.iter().enumerate() {
            if is_git_push(command) {
                return place(command, Wanted::Push(&done[at..]));
            }
            if pending.take().is_some() {
                continue;
            }
            if !only_values && word.starts_with('-') && word.len() > 1 {
                only_values = word == "--";
                pending = waiting(command, word);
            } else if let Some(inner) = command.find_subcommand(word).filter(|_| positional == 0) {
                command = inner;
            } else {
                positional += 1;
            }
        }
        let value = |arg: &'a Arg| match arg.get_value_hint() {
            ValueHint::DirPath => Wanted::Folder,
            ValueHint::AnyPath | ValueHint::FilePath | ValueHint::ExecutablePath => Wanted::File,
            _ => Wanted::Value(arg),
        };
        if let Some(arg) = pending {
            return place(command, value(arg));
        }
        if is_git_push(command) {
            return place(command, Wanted::Push(&[]));
        }
        if !only_values && typed.starts_with('-') {
            let Some((name, rest)) = typed.split_once('=') else {
                return place(command, Wanted::Option);
            };
            let arg = long(command, name).filter(|arg| arg.get_action().takes_values());
            return Place {
                command,
                before: format!("{name}="),
                typed: rest,
                wanted: arg.map_or(Wanted::Nothing, Wanted::Value),
            };
        }
        if positional == 0 && command.get_subcommands().next().is_some() {
            return place(command, Wanted::Command);
        }
        let many = |arg: &Arg| arg.get_num_args().is_some_and(|n| n.max_values() > 1);
        let arg = command
            .get_positionals()
            .nth(positional)
            .or_else(|| command.get_positionals().last().filter(|arg| many(arg)))
            .filter(|arg| !arg.is_trailing_var_arg_set());
        place(command, arg.map_or(Wanted::Nothing, value))
    }

    fn candidates(&self, ctx: &Context) -> Vec<Candidate> {
        let found = match &self.wanted {
            Wanted::Command => commands(self.command),
            Wanted::Option => options(self.command),
            Wanted::Value(arg) => self.values(arg, ctx).unwrap_or_default(),
            Wanted::Push(done) => pushed(done, self.typed, ctx).unwrap_or_default(),
            Wanted::File | Wanted::Folder | Wanted::Nothing => Vec::new(),
        };
        let whole = |(value, about): Candidate| (format!("{}{value}", self.before), about);
        found.into_iter().map(whole).collect()
    }

    /// The values of an argument: the words it takes, else by its name what the repository knows.
    fn values(&self, arg: &Arg, ctx: &Context) -> Result<Vec<Candidate>> {
        let words = arg.get_possible_values();
        if !words.is_empty() {
            let about = |help: Option<&clap::builder::StyledStr>| help.map(ToString::to_string);
            return Ok(words
                .iter()
                .filter(|word| !word.is_hide_set())
                .map(|word| {
                    (
                        word.get_name().into(),
                        about(word.get_help()).unwrap_or_default(),
                    )
                })
                .collect());
        }
        let command = self.command.get_name();
        let name = arg.get_id().as_str();
        if name == "topic" {
            return Ok(help::topics());
        }
        if command == "init" {
            return Ok(Vec::new()); // its names are new ones
        }
        let repository = ctx.repository()?;
        let config = || ctx.config(&repository, repository.commit("HEAD")?);
        Ok(match name {
            "run" | "runs" => runs(
                &repository,
                self.typed,
                matches!(command, "stop" | "attach"),
            )?,
            "server" | "servers" => servers(&config()?),
            "experiment" | "experiments" => experiments(&config()?),
            "set" => settings(&config()?, self.typed),
            "sprint" => sprints(&repository)?,
            "sort" | "group_by" => parameters(&repository)?,
            "commit" => commits(&repository),
            "remote" => remotes(&repository),
            _ => Vec::new(),
        })
    }
}

/// Whether the arguments are those of `git push`.
fn is_git_push(command: &Command) -> bool {
    let takes_anything = |arg: &Arg| arg.is_trailing_var_arg_set();
    command.get_name() == "push" && command.get_positionals().any(takes_anything)
}

/// The option that takes its value from the word after `word`.
fn waiting<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let arg = match word.strip_prefix("--") {
        Some(_) => long(command, word)?,
        None => {
            let last = word.chars().last()?;
            command
                .get_arguments()
                .find(|arg| arg.get_short() == Some(last))?
        }
    };
    arg.get_action().takes_values().then_some(arg)
}

fn long<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let name = word.strip_prefix("--")?;
    command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(name))
}

fn commands(command: &Command) -> Vec<Candidate> {
    let visible = command.get_subcommands().filter(|c| !c.is_hide_set());
    let about = |c: &Command| c.get_about().map(ToString::to_string).unwrap_or_default();
    visible
        .map(|c| (c.get_name().to_string(), about(c)))
        .collect()
}

fn options(command: &Command) -> Vec<Candidate> {
    let visible = command.get_arguments().filter(|arg| !arg.is_hide_set());
    visible
        .filter_map(|arg| {
            let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
            Some((format!("--{}", arg.get_long()?), about))
        })
        .collect()
}

/// How many records can be read before the person has to wait for them.
const MANY: usize = 100;

/// The runs that begin as `typed`, the newest first; with `only_open` those that have not ended. Many have their names
/// alone.
fn runs(repository: &Repository, typed: &str, only_open: bool) -> Result<Vec<Candidate>> {
    let mut ids = records::ids(repository)?;
    ids.retain(|id| typed == "@" || id.as_str().starts_with(typed));
    if ids.len() > MANY {
        let newest = ("@".to_string(), "the newest".to_string());
        let alone = |id: RunId| (id.to_string(), String::new());
        let each = ids.into_iter().map(alone);
        return Ok(std::iter::once(newest).chain(each).collect());
    }
    let about = |record: &Record| {
        let run = &record.run;
        let parameters = status::parameters(run);
        let text = format!(
            "{} {} on {} {parameters}",
            status::state_word(&record.known),
            run.experiment,
            run.server.name
        );
        text.trim_end().to_string()
    };
    let read = |id: &RunId| records::find(repository, id).ok().flatten();
    let mut records: Vec<Record> = ids.iter().filter_map(read).collect();
    records::sort(&mut records);
    let mut found: Vec<Candidate> = records
        .iter()
        .rev()
        .filter(|record| !only_open || record.known.is_open())
        .map(|record| (record.run.id.to_string(), about(record)))
        .collect();
    if let Some((_, newest)) = found.first().filter(|_| matches!(typed, "" | "@")) {
        let newest = format!("the newest: {newest}");
        found.insert(0, ("@".into(), newest));
    }
    Ok(found)
}

/// The pushes, the newest first; many have the commits' names alone, which those of the runs hold.
fn sprints(repository: &Repository) -> Result<Vec<Candidate>> {
    let ids = records::ids(repository)?;
    if ids.len() > MANY {
        let commit = |id: &RunId| Some(id.as_str().rsplit('-').nth(1)?.to_string());
        let commits: BTreeSet<String> = ids.iter().filter_map(commit).collect();
        return Ok(commits
            .into_iter()
            .map(|name| (name, String::new()))
            .collect());
    }
    let mut found: Vec<Candidate> = Vec::new();
    for record in records::all(repository, |_| ())?.iter().rev() {
        let commit = record.run.commit.as_str();
        let short = commit.get(..7).unwrap_or(commit).to_string();
        if found.iter().all(|(known, _)| *known != short) {
            found.push((short, record.run.subject.clone()));
        }
    }
    Ok(found)
}

/// The parameters of the runs; of many, those of some.
fn parameters(repository: &Repository) -> Result<Vec<Candidate>> {
    let ids = records::ids(repository)?;
    let mut found: Vec<Candidate> = Vec::new();
    for id in ids.iter().step_by(ids.len() / MANY + 1) {
        let Ok(Some(record)) = records::find(repository, id) else {
            continue;
        };
        for name in record.run.parameters.keys() {
            if found.iter().all(|(known, _)| known != name.as_str()) {
                found.push((name.to_string(), "parameter".into()));
            }
        }
    }
    Ok(found)
}

fn servers(config: &Config) -> Vec<Candidate> {
    let each = config.servers.values();
    each.map(|server| (server.name.to_string(), server.host.to_string()))
        .collect()
}

fn experiments(config: &Config) -> Vec<Candidate> {
    let each = config.experiments.values();
    each.map(|experiment| (experiment.name.to_string(), experiment.command.clone()))
        .collect()
}

/// `NAME=` for each parameter of the experiments, or its values once the name is typed.
fn settings(config: &Config, typed: &str) -> Vec<Candidate> {
    let wanted = typed.split_once('=').map(|(name, _)| name);
    let mut found: Vec<Candidate> = Vec::new();
    let mut add = |candidate: Candidate| {
        if found.iter().all(|(known, _)| *known != candidate.0) {
            found.push(candidate);
        }
    };
    for experiment in config.experiments.values() {
        let mut known: Vec<(String, Vec<String>)> = Vec::new();
        let fixed =
            |name: &dyn ToString, value: &dyn ToString| (name.to_string(), vec![value.to_string()]);
        known.extend(
            experiment
                .set
                .iter()
                .map(|(name, value)| fixed(name, value)),
        );
        match &experiment.settings {
            Settings::Grid(axes) => known.extend(axes.iter().map(|(name, values)| {
                (
                    name.to_string(),
                    values.iter().map(ToString::to_string).collect(),
                )
            })),
            Settings::List(settings) => {
                let each = settings.iter().flatten();
                known.extend(each.map(|(name, value)| fixed(name, value)));
            }
            Settings::Random(random) => {
                known.extend(
                    random
                        .parameters
                        .keys()
                        .map(|name| (name.to_string(), Vec::new())),
                );
            }
        }
        for (name, values) in known {
            match wanted {
                None => add((
                    format!("{name}="),
                    format!("parameter of {}", experiment.name),
                )),
                Some(wanted) if wanted == name => {
                    for value in values {
                        add((format!("{name}={value}"), String::new()));
                    }
                }
                Some(_) => {}
            }
        }
    }
    found
}

/// The remotes, each with its address, in which no password is shown.
fn remotes(repository: &Repository) -> Vec<Candidate> {
    let Ok(names) = repository.git().remotes() else {
        return Vec::new();
    };
    let address = |name: &str| {
        let remote = repository.git().find_remote(name).ok()?;
        Some(push::without_password(remote.url()?))
    };
    names
        .iter()
        .flatten()
        .map(|name| (name.to_string(), address(name).unwrap_or_default()))
        .collect()
}

fn commits(repository: &Repository) -> Vec<Candidate> {
    let mut found = vec![("HEAD".to_string(), "what is checked out".to_string())];
    for reference in references(repository) {
        let name = reference.shorthand().unwrap_or_default().to_string();
        if reference.is_branch() {
            found.push((name, "branch".into()));
        } else if reference.is_tag() {
            found.push((name, "tag".into()));
        }
    }
    found
}

fn references(repository: &Repository) -> impl Iterator<Item = Reference<'_>> {
    let all = repository.git().references();
    all.into_iter().flatten().flatten()
}

/// The next argument of `git push` after `done`: a remote, then branches, and its options.
fn pushed(done: &[String], typed: &str, ctx: &Context) -> Result<Vec<Candidate>> {
    let repository = ctx.repository()?;
    if typed.starts_with('-') {
        let known = git::read(git::command(), &["push", "--git-completion-helper"])?;
        let options = known.split_whitespace().filter(|word| word.len() > 2);
        return Ok(options.map(|word| (word.into(), String::new())).collect());
    }
    let given: Vec<_> = done.iter().map(Into::into).collect();
    let Some(remote) = push::positional(&given).next() else {
        return Ok(remotes(&repository));
    };
    let branches = |kind, prefix: &str| -> Vec<String> {
        let all = repository
            .git()
            .branches(Some(kind))
            .into_iter()
            .flatten()
            .flatten();
        all.filter_map(|(branch, _)| Some(branch.name().ok()??.strip_prefix(prefix)?.to_string()))
            .collect()
    };
    let force = if typed.starts_with('+') { "+" } else { "" };
    Ok(match typed.split_once(':') {
        None => branches(BranchType::Local, "")
            .into_iter()
            .map(|name| (format!("{force}{name}"), "branch".into()))
            .collect(),
        Some((source, _)) => branches(BranchType::Remote, &format!("{remote}/"))
            .into_iter()
            .filter(|name| name != "HEAD")
            .map(|name| (format!("{source}:{name}"), format!("branch of {remote}")))
            .collect(),
    })
}
