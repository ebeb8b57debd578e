//! `git push`, and what it says has arrived.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use git2::Oid;

use super::git;
use super::repository::Repository;
use crate::error::{Context as _, Error, Kind, Result};
use crate::model::names::Destination;
use crate::terminal::{Output, clean_bytes};

/// A ref that is on the remote now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The local side: a full ref name, or what the person typed.
    pub local: String,
    /// The full name of the remote ref.
    pub remote: String,
    /// The remote's address.
    pub url: String,
    /// The commit that arrived, as git abbreviates it, where git says so.
    new: Option<String>,
}

impl Arrived {
    /// The commit that arrived: as git says, else what the ref was `before` the push, since it may have moved meanwhile.
    pub fn commit(&self, repository: &Repository, before: &Snapshot) -> Option<Oid> {
        let said = self
            .new
            .as_ref()
            .and_then(|new| repository.commit(new).ok());
        let known = || before.0.get(&self.local).copied();
        said.or_else(known)
            .or_else(|| repository.commit(&self.local).ok())
    }
}

/// Which commits the local refs mean at one moment.
#[derive(Debug, Default)]
pub struct Snapshot(HashMap<String, Oid>);

impl Snapshot {
    /// That of now.
    pub fn take(repository: &Repository) -> Self {
        let mut refs = HashMap::new();
        refs.extend(
            repository
                .commit("HEAD")
                .ok()
                .map(|id| ("HEAD".to_string(), id)),
        );
        for reference in repository
            .git()
            .references()
            .into_iter()
            .flatten()
            .flatten()
        {
            if let (Some(name), Ok(commit)) = (reference.name(), reference.peel_to_commit()) {
                refs.insert(name.to_string(), commit.id());
            }
        }
        Snapshot(refs)
    }
}

/// What a push did.
#[derive(Debug)]
pub struct Pushed {
    /// git's exit status.
    pub status: u8,
    /// What is on the remote now, also what was there before; nothing after a dry run.
    pub arrived: Vec<Arrived>,
}

/// Runs `git push` with `args`, its questions and progress on this terminal, and shows what it says as it would
/// without us. With `ssh`, that is what git uses as its `ssh`.
///
/// # Errors
/// [`Kind::Step`] when git cannot be started.
pub fn push(args: &[OsString], ssh: Option<&str>, output: &Output) -> Result<Pushed> {
    let own_porcelain = has_flag(args, "--porcelain", "--po", None);
    let is_quiet = is_quiet(args);
    let mut command = git::command();
    command
        .arg("push")
        .args((!own_porcelain).then_some("--porcelain"));
    if is_quiet {
        // A quiet push does not say what has arrived: git speaks to us, and we are quiet.
        command
            .arg("--no-progress")
            .args(args.iter().filter_map(without_quiet));
    } else {
        command.args(args);
    }
    command.envs(ssh.map(|ssh| ("GIT_SSH_COMMAND", ssh)));
    command.env("GIT_AGILE_PUSH", "1").stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .or_step(|| "cannot run `git`".into())
        .map_err(|error| error.hint("install git"))?;
    let mut report = Report {
        is_verbose: has_flag(args, "--verbose", "--verb", Some('v')),
        ..Report::default()
    };
    let mut held = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .or_step(|| "cannot read what `git push` says".into())?
            > 0
        {
            let said = report.read(&line);
            match said {
                _ if own_porcelain => output.bytes(&line)?,
                Some(Said::Ref(text)) if is_quiet => held.push(text),
                Some(Said::Ref(text)) => show(&text),
                Some(Said::Other(text)) if !is_quiet => output.data(&text)?,
                _ => {}
            }
            line.clear();
        }
    }
    if report.has_refusal {
        // Then git is not quiet about the others either.
        held.iter().for_each(|text| show(text));
    }
    let status = child
        .wait()
        .or_step(|| "cannot wait for `git push`".into())?;
    let status = status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(Kind::Interrupted.status());
    if is_dry_run(args) {
        report.arrived.clear();
    } else if status == 0 && !is_quiet && !own_porcelain && report.is_all_up_to_date() {
        show("Everything up-to-date");
    }
    Ok(Pushed {
        status,
        arrived: report.arrived,
    })
}

fn show(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether `args` of `git push` make it quiet.
pub fn is_quiet(args: &[OsString]) -> bool {
    has_flag(args, "--quiet", "--q", Some('q'))
}

/// The argument without what makes git quiet: nothing for `-q` and `--quiet`, `-u` for `-uq`.
fn without_quiet(arg: &OsString) -> Option<OsString> {
    let text = arg.to_string_lossy();
    let letters = cluster(&text);
    match text.as_ref() {
        "-q" => None,
        long if is_long(long, "--quiet", "--q") => None,
        text if letters.contains('q') => {
            let value = &text[1 + letters.len()..];
            Some(format!("-{}{value}", letters.replace('q', "")).into())
        }
        _ => Some(arg.clone()),
    }
}

/// Whether `args` hold the flag in its long form, abbreviated down to `shortest` as git allows, or its short one alone or
/// among others (`-fn`).
pub fn has_flag(args: &[OsString], long: &str, shortest: &str, short: Option<char>) -> bool {
    let before_dashes = args.iter().take_while(|arg| *arg != "--");
    before_dashes.map(|arg| arg.to_string_lossy()).any(|arg| {
        is_long(&arg, long, shortest) || short.is_some_and(|short| cluster(&arg).contains(short))
    })
}

/// The letters of short options in one argument: `-fo` takes a value, and so does what follows the `o` of `-fox`.
fn cluster(arg: &str) -> &str {
    let letters = arg.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
    let letters = letters.unwrap_or_default();
    letters.split('o').next().unwrap_or_default()
}

fn is_long(arg: &str, long: &str, shortest: &str) -> bool {
    arg.starts_with(shortest) && long.starts_with(arg)
}

/// The remote that `args` of `git push` mean: the first that is no option, else what git takes by itself. An address is
/// named by the remote that has it, if there is one, and never with a password.
///
/// # Errors
/// [`Kind::Step`] when git cannot be asked.
pub fn remote_of(repository: &Repository, args: &[OsString]) -> Result<String> {
    if let Some(name) = positional(args).next() {
        return Ok(named(repository, name));
    }
    // All of them in one question, each after its key and a line break (git-config(1), -z); the last of equal keys counts.
    const KEYS: &str = r"^(branch\..*\.(pushremote|remote)|remote\.pushdefault)$";
    let set = git::ask(
        git::command_in(repository.root()),
        &["config", "-z", "--get-regexp", KEYS],
    )?
    .unwrap_or_default();
    let value = |key: &str| {
        let mut pairs = set.split('\0').filter_map(|pair| pair.split_once('\n'));
        let found = pairs.rfind(|(name, _)| *name == key);
        found.map(|(_, value)| value.to_string())
    };
    let head = repository.git().head().ok();
    let branch = head.as_ref().and_then(|head| head.shorthand());
    let of_branch = |key: &str| value(&format!("branch.{}.{key}", branch?));
    let found = of_branch("pushremote")
        .or_else(|| value("remote.pushdefault"))
        .or_else(|| of_branch("remote"));
    if let Some(name) = found {
        return Ok(name);
    }
    let remotes = repository
        .git()
        .remotes()
        .or_step(|| "cannot list the remotes".into())?;
    Ok(if remotes.len() == 1 {
        remotes.get(0).unwrap_or("origin")
    } else {
        "origin"
    }
    .to_string())
}

/// `name`, or the remote's name when it is a remote's address.
fn named(repository: &Repository, name: String) -> String {
    let git = repository.git();
    let has_url = |remote: &&str| {
        git.find_remote(remote)
            .is_ok_and(|remote| remote.url() == Some(&name) || remote.pushurl() == Some(&name))
    };
    let remotes = git.remotes();
    let found = remotes
        .iter()
        .flat_map(|remotes| remotes.iter().flatten())
        .find(has_url);
    found.map_or_else(|| without_password(&name), str::to_string)
}

/// The branches of the remote to which `args` push what HEAD means, as far as that can be told: that of HEAD where they name
/// no ref, else those whose source is the same commit.
pub fn head_branches(repository: &Repository, args: &[OsString]) -> Vec<String> {
    let git = repository.git();
    let current = || {
        let head = git.head().ok();
        head.and_then(|head| head.shorthand().map(str::to_string))
            .unwrap_or_else(|| "HEAD".to_string())
    };
    let head = repository.commit("HEAD").ok();
    let target = |spec: String| {
        let spec = spec.trim_start_matches('+');
        let (source, target) = spec.split_once(':').unwrap_or((spec, spec));
        let is_head = !source.is_empty() && repository.commit(source).ok() == head;
        is_head.then(|| match target.strip_prefix("refs/heads/") {
            None if target == "HEAD" || target == "@" => current(),
            None => target.to_string(),
            Some(branch) => branch.to_string(),
        })
    };
    let mut refs = positional(args).skip(1).peekable();
    match refs.peek() {
        None => vec![current()],
        Some(_) => refs.filter_map(target).collect(),
    }
}

/// Whether `args` of `git push` ask what it would do.
pub fn is_dry_run(args: &[OsString]) -> bool {
    has_flag(args, "--dry-run", "--dr", Some('n'))
}

/// What is neither an option of `git push` nor the value of one (git-push(1)).
pub fn positional(args: &[OsString]) -> impl Iterator<Item = String> {
    let (mut skip, mut only) = (false, false);
    args.iter()
        .map(|arg| arg.to_string_lossy().into_owned())
        .filter(move |arg| {
            if std::mem::take(&mut skip) {
                return false;
            }
            if only || !arg.starts_with('-') {
                return true;
            }
            only = arg == "--";
            skip = takes_next(arg);
            false
        })
}

/// Whether an option of `git push` has the next argument for its value; long ones may be abbreviated.
fn takes_next(option: &str) -> bool {
    let long = [
        ("--push-option", "--pu"),
        ("--recurse-submodules", "--recu"),
        ("--receive-pack", "--rece"),
        ("--repo", "--rep"),
        ("--exec", "--e"),
    ];
    let is_short = cluster(option).len() + 2 == option.len() && option.ends_with('o');
    is_short
        || long
            .iter()
            .any(|(long, shortest)| is_long(option, long, shortest))
}

/// The address that servers fetch from for the remote `name`: its fetch address, absolute when it is a folder, and
/// without a password.
///
/// # Errors
/// [`Kind::Config`] when there is no such remote.
pub fn fetch_url(repository: &Repository, name: &str) -> Result<String> {
    let url = remote_url(repository, name)?;
    let is_folder = !url.contains("://") && !is_scp_like(&url);
    if is_folder {
        let path = repository.root().join(&url);
        let path = path.canonicalize().unwrap_or(path);
        return Ok(path.to_string_lossy().into_owned());
    }
    Ok(without_password(&url))
}

/// The fetch address of the remote `name` as git has it, which may hold a password.
///
/// # Errors
/// [`Kind::Config`] when there is no such remote.
pub(super) fn remote_url(repository: &Repository, name: &str) -> Result<String> {
    let url = git::ask(
        git::command_in(repository.root()),
        &["remote", "get-url", "--", name],
    );
    url.ok().flatten().ok_or_else(|| {
        let others = repository.git().remotes();
        let other = others.iter().flatten().flatten().next().map(str::to_string);
        let error = Error::config(format!("there is no git remote `{name}`"));
        match other {
            Some(other) => error.hint(format!(
                "remotes = [\"{other}\"] under [push] in agile.toml, and commit it"
            )),
            None => error.hint(format!(
                "git remote add {name} URL; or source = \"direct\" for every server, which then needs none"
            )),
        }
    })
}

/// By what, to which host and to which port a push to the remote `name` goes by OpenSSH (`GIT_SSH_COMMAND` in git(1),
/// shell text); nothing where it goes elsewhere or to several places, or where the person has chosen another program.
pub fn ssh_host(repository: &Repository, name: &str) -> Option<(String, Destination, Option<u16>)> {
    let config = repository.git().config().ok()?;
    let variant = std::env::var("GIT_SSH_VARIANT").or_else(|_| config.get_string("ssh.variant"));
    if std::env::var_os("GIT_SSH").is_some() || variant.is_ok_and(|variant| variant != "ssh") {
        return None;
    }
    let ssh = match std::env::var_os("GIT_SSH_COMMAND") {
        Some(command) => command.into_string().ok()?,
        None => config
            .get_string("core.sshCommand")
            .unwrap_or_else(|_| "ssh".into()),
    };
    let program = ssh.split_whitespace().next()?;
    if Path::new(program).file_name()? != "ssh" {
        return None;
    }
    let args = ["remote", "get-url", "--push", "--all", "--", name];
    let url = git::ask(git::command_in(repository.root()), &args).ok()??;
    let (host, port) = match url.strip_prefix("ssh://") {
        Some(rest) => {
            let authority = rest.split('/').next()?;
            match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port.parse().ok()?)),
                None => (authority, None),
            }
        }
        None if !url.contains("://") && is_scp_like(&url) => (url.split(':').next()?, None),
        None => return None,
    };
    Some((ssh, Destination::new(host).ok()?, port))
}

/// `host:path`, as git tells it from a folder: a colon before the first slash (gitfaq, git-clone(1)).
pub(super) fn is_scp_like(url: &str) -> bool {
    url.split('/')
        .next()
        .is_some_and(|first| first.contains(':'))
}

/// The password or token in an address, if it has one.
pub fn password(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (user, _) = rest.split('/').next()?.rsplit_once('@')?;
    let secret = user.split_once(':').map_or(user, |(_, secret)| secret);
    (!secret.is_empty() && without_password(url) != url).then(|| secret.to_string())
}

/// `url` without the password or token of its user information.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_string();
    };
    let (authority, path) = rest
        .split_once('/')
        .map_or((rest, None), |(authority, path)| (authority, Some(path)));
    let authority = match authority.rsplit_once('@') {
        // Elsewhere than in ssh a user name alone is a token as often as not.
        Some((_, host)) if !matches!(scheme, "ssh" | "git+ssh" | "ssh+git") => host.to_string(),
        Some((user, host)) => format!("{}@{host}", user.split(':').next().unwrap_or(user)),
        None => authority.to_string(),
    };
    path.map_or(format!("{scheme}://{authority}"), |path| {
        format!("{scheme}://{authority}/{path}")
    })
}

/// The host of a git address, `local` for a folder.
pub fn git_host(url: &str) -> String {
    let host = match url.split_once("://") {
        Some(("file", _)) => "local",
        Some((_, rest)) => rest.split('/').next().unwrap_or(rest),
        None if is_scp_like(url) => url.split(':').next().unwrap_or(url),
        None => "local",
    };
    host.rsplit_once('@')
        .map_or(host, |(_, host)| host)
        .to_string()
}

/// A line as git would have printed it without `--porcelain`.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// What became of a ref; on standard error.
    Ref(String),
    /// Something else, such as that a branch tracks another now; on standard output.
    Other(String),
}

/// Reads the lines of `git push --porcelain` (git-push(1), OUTPUT).
#[derive(Default)]
struct Report {
    is_verbose: bool,
    url: String,
    arrived: Vec<Arrived>,
    lines: usize,
    up_to_date: usize,
    has_refusal: bool,
    width: usize,
}

impl Report {
    /// Takes in a line; gives what git would have printed for it without `--porcelain`.
    fn read(&mut self, line: &[u8]) -> Option<Said> {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches('\n');
        if let Some(url) = text.strip_prefix("To ") {
            self.url = url.to_string();
            self.width = 0;
            return None;
        }
        let mut fields = text.splitn(3, '\t');
        let (Some(flag), Some(refs), Some(summary)) = (fields.next(), fields.next(), fields.next())
        else {
            return (text != "Done").then(|| Said::Other(clean_bytes(text.as_bytes())));
        };
        let (Some(flag), Some((local, remote))) = (flag.chars().next(), refs.split_once(':'))
        else {
            return Some(Said::Other(clean_bytes(text.as_bytes())));
        };
        self.lines += 1;
        self.has_refusal |= flag == '!';
        if matches!(flag, ' ' | '+' | '*' | '=') {
            self.arrived.push(Arrived {
                local: local.into(),
                remote: remote.into(),
                url: self.url.clone(),
                new: summary
                    .split([' ', '\t'])
                    .next()
                    .and_then(|ids| ids.rsplit_once(".."))
                    .map(|(_, new)| new.to_string()),
            });
        }
        self.up_to_date += usize::from(flag == '=');
        if flag == '=' && !self.is_verbose {
            return None;
        }
        let shown = match self.is_verbose {
            true => self.lines,
            false => self.lines - self.up_to_date,
        };
        let head = (shown == 1).then(|| format!("To {}\n", clean_bytes(self.url.as_bytes())));
        let (summary, reason) = summary
            .split_once(" (")
            .map_or((summary, None), |(summary, rest)| (summary, Some(rest)));
        self.width = self.width.max(summary.len()).max(17);
        let reason = reason.map_or(String::new(), |reason| format!(" ({reason}"));
        let names = if flag == '-' {
            short(remote)
        } else {
            format!("{} -> {}", short(local), short(remote))
        };
        let body = clean_bytes(
            format!(
                "{flag} {summary:<width$} {names}{reason}",
                width = self.width
            )
            .as_bytes(),
        );
        Some(Said::Ref(format!("{} {body}", head.unwrap_or_default())))
    }

    fn is_all_up_to_date(&self) -> bool {
        self.lines > 0 && self.lines == self.up_to_date
    }
}

/// A ref's name as git shows it to people.
fn short(name: &str) -> String {
    let prefixes = ["refs/heads/", "refs/tags/", "refs/remotes/"];
    prefixes
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_and_shown_as_git_does() {
        let mut report = Report::default();
        let mut said = String::new();
        for line in [
            "To origin:proj.git\n",
            " \trefs/heads/main:refs/heads/main\t1111111..2222222\n",
            "*\trefs/heads/new:refs/heads/new\t[new branch]\n",
            "=\trefs/heads/old:refs/heads/old\t[up to date]\n",
            "!\trefs/heads/bad:refs/heads/bad\t[rejected] (fetch first)\n",
            "-\t:refs/heads/gone\t[deleted]\n",
            "Done\n",
        ] {
            if let Some(Said::Ref(text)) = report.read(line.as_bytes()) {
                said += &(text + "\n");
            }
        }
        let arrived: Vec<_> = report
            .arrived
            .iter()
            .map(|arrived| arrived.local.as_str())
            .collect();
        assert_eq!(
            arrived,
            ["refs/heads/main", "refs/heads/new", "refs/heads/old"]
        );
        assert_eq!(
            said,
            "To origin:proj.git\n   1111111..2222222  main -> main\n * [new branch]      new -> new\n \
             ! [rejected]        bad -> bad (fetch first)\n - [deleted]         gone\n"
        );
    }

    #[test]
    fn arguments_are_read_as_git_does() {
        let args = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let loud: Vec<_> = args("-q -uq --quiet qa")
            .iter()
            .filter_map(without_quiet)
            .collect();
        assert_eq!(loud, args("-u qa"));
        assert!(has_flag(
            &args("-fn origin"),
            "--dry-run",
            "--dr",
            Some('n')
        ));
        assert!(has_flag(
            &args("--dry origin"),
            "--dry-run",
            "--dr",
            Some('n')
        ));
        assert!(!has_flag(
            &args("--delete x"),
            "--dry-run",
            "--dr",
            Some('n')
        ));
        assert!(!has_flag(
            &args("-o n origin -- -n"),
            "--dry-run",
            "--dr",
            Some('n')
        ));
        assert_eq!(
            positional(&args("-o x --force origin main")).collect::<Vec<_>>(),
            ["origin", "main"]
        );
        for one in [
            "--recurse-submodules on-demand origin main",
            "--push-opt x origin main",
            "-fo x origin main",
            "-ox origin main",
            "--repo=y origin main",
        ] {
            let found: Vec<_> = positional(&args(one)).collect();
            assert_eq!(found, ["origin", "main"], "{one}");
        }
        assert!(!has_flag(&args("-fon"), "--dry-run", "--dr", Some('n')));
        assert_eq!(positional(&args("-- -odd")).collect::<Vec<_>>(), ["-odd"]);
    }

    #[test]
    fn passwords_stay_here() {
        assert_eq!(
            without_password("https://me:token@host/p.git"),
            "https://host/p.git"
        );
        assert_eq!(
            without_password("https://token@host/p.git"),
            "https://host/p.git"
        );
        assert_eq!(
            without_password("ssh://git@host:2222/p.git"),
            "ssh://git@host:2222/p.git"
        );
        assert_eq!(git_host("git@github.com:a/b"), "github.com");
        assert_eq!(git_host("https://github.com/a/b"), "github.com");
        assert_eq!(git_host("/srv/a.git"), "local");
    }
}
