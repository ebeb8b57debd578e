//! The credential with which servers fetch from a git host over https.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::git;
use super::push::{git_host, remote_url, without_password};
use super::repository::Repository;
use crate::error::{Context as _, Error, Result};
use crate::model::percent;

/// The variable that holds a token for the git host.
pub const TOKEN: &str = "GIT_AGILE_TOKEN";
/// How long the person's credential helpers may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A user name and a password or token for one git host. It has neither `Debug` nor `Display`, so that it cannot be
/// printed by mistake.
#[derive(Clone)]
pub struct Credential {
    place: String,
    user: String,
    password: String,
}

impl Credential {
    /// The lines that a server is given: `https://host[:port]`, user name, password.
    pub fn lines(&self) -> String {
        format!("{}\n{}\n{}", self.place, self.user, self.password)
    }

    /// `text` without this credential, as it is or as a header of basic authentication has it (RFC 7617): a git host may
    /// repeat what it was shown.
    pub fn hidden_in(&self, text: &str) -> String {
        let header = BASE64_STANDARD.encode(format!("{}:{}", self.user, self.password));
        text.replace(&self.password, "***")
            .replace(header.trim_end_matches('='), "***")
    }
}

/// What servers need to fetch from the remote `name`: `GIT_AGILE_TOKEN`, else what stands in the remote's own
/// address, else what the person's credential helpers know (`git credential fill`, which asks nobody here). Nothing
/// for addresses other than https, or where there is none.
///
/// Plain http is sent in the clear, so it gets one only where it does not leave the machine.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) when the credential holds a control character.
pub fn credential(repository: &Repository, name: &str) -> Result<Option<Credential>> {
    let url = remote_url(repository, name)?;
    let bare = without_password(&url);
    let Some(place) = place(&bare) else {
        return Ok(None);
    };
    let (user, password) = user_information(&url);
    let found = if let Some(token) = std::env::var(TOKEN).ok().filter(|text| !text.is_empty()) {
        // Git hosts take any user name beside a token; this one also where they look at it.
        Some((user.unwrap_or_else(|| "x-access-token".into()), token))
    } else if let Some(password) = password {
        Some((user.unwrap_or_default(), password))
    } else {
        ask_helpers(repository, &url)?
    };
    let Some((user, password)) = found else {
        return Ok(None);
    };
    if [&place, &user, &password]
        .iter()
        .any(|text| text.chars().any(char::is_control))
    {
        return Err(Error::config(format!(
            "the credential for {} holds a control character",
            git_host(&bare)
        ))
        .hint(format!("look at {TOKEN}, and at the address of the remote")));
    }
    Ok(Some(Credential {
        place,
        user,
        password,
    }))
}

/// `https://host[:port]` of an address that a credential may be sent to.
fn place(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.split(':').next().unwrap_or(authority),
    };
    let is_here = host == "localhost"
        || host == "::1"
        || host.starts_with("127.") && !host.ends_with(char::is_alphabetic);
    match scheme {
        "https" => Some(format!("https://{authority}")),
        "http" if is_here => Some(format!("http://{authority}")),
        _ => None,
    }
}

/// The user name and the password of an address, as they are meant (RFC 3986, section 2.1).
fn user_information(url: &str) -> (Option<String>, Option<String>) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    let Some((information, _)) = authority.rsplit_once('@') else {
        return (None, None);
    };
    let meant = |text: &str| Some(percent::decoded(text)).filter(|text| !text.is_empty());
    match information.split_once(':') {
        Some((user, password)) => (meant(user), meant(password)),
        None => (meant(information), None),
    }
}

/// What the credential helpers of this person know for `url` (git-credential(1)).
fn ask_helpers(repository: &Repository, url: &str) -> Result<Option<(String, String)>> {
    let mut command = git::command_in(repository.root());
    command
        .args(["-c", "core.askPass=", "credential", "fill"])
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GCM_INTERACTIVE", "never")
        .env_remove("GIT_ASKPASS")
        .env_remove("SSH_ASKPASS")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let cannot = || "cannot run `git credential fill`".to_string();
    let mut child = command.spawn().or_step(cannot)?;
    if let Some(mut input) = child.stdin.take() {
        let _ = writeln!(input, "url={url}\n");
    }
    // Read beside the wait: an answer is far smaller than a pipe.
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        match child.try_wait().or_step(cannot)? {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    if status.is_none() {
        let _ = child.kill();
    }
    let output = child.wait_with_output().or_step(cannot)?;
    if !status.is_some_and(|status| status.success()) {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(str::to_string)
    };
    Ok(value("password").map(|password| (value("username").unwrap_or_default(), password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_goes_to_its_own_host_and_over_no_open_line() {
        for (url, expected) in [
            ("https://git.example/p.git", Some("https://git.example")),
            (
                "https://git.example:8443/p",
                Some("https://git.example:8443"),
            ),
            ("http://git.example/p.git", None),
            ("http://127.0.0.1:80/p", Some("http://127.0.0.1:80")),
            ("http://127.0.0.1.evil.example/p", None),
            ("http://localhost/p", Some("http://localhost")),
            ("http://[::1]:80/p", Some("http://[::1]:80")),
            ("ssh://git@host/p", None),
            ("git@host:p", None),
            ("/srv/p.git", None),
        ] {
            assert_eq!(place(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn what_a_git_host_repeats_is_hidden() {
        let credential = Credential {
            place: "https://h".into(),
            user: "me".into(),
            password: "secret".into(),
        };
        let said = "no: Basic bWU6c2VjcmV0 (me:secret)";
        assert_eq!(credential.hidden_in(said), "no: Basic *** (me:***)");
    }

    #[test]
    fn an_address_may_hold_one() {
        let both = |user: &str, password: &str| (Some(user.into()), Some(password.into()));
        assert_eq!(
            user_information("https://me:a%40b%2@h/p"),
            both("me", "a@b%2")
        );
        assert_eq!(
            user_information("https://me@h/p"),
            (Some("me".into()), None)
        );
        assert_eq!(user_information("https://h/p@x:y"), (None, None));
    }
}
