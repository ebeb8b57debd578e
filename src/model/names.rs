//! Names with one checking constructor each, so that later code never validates again.
//!
//! Everything here arrives from a repository, a command line or a server, all of them possibly hostile: none
//! of these values can be an option, leave a folder, or carry a control character.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not the name it should be: the text as given and the rule it breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not a valid {noun}: {rule}", crate::terminal::clean(.text))]
pub struct BadName {
    text: String,
    noun: &'static str,
    rule: &'static str,
}

fn bad(text: &str, noun: &'static str, rule: &'static str) -> BadName {
    let text = text.chars().take(120).collect();
    BadName { text, noun, rule }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $noun:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The checked name.
            ///
            /// # Errors
            /// [`BadName`] with the rule that `text` breaks.
            pub fn new(text: impl Into<String>) -> Result<Self, BadName> {
                let text = text.into();
                let check: fn(&str) -> Option<&'static str> = $check;
                match check(&text) {
                    Some(rule) => Err(bad(&text, $noun, rule)),
                    None => Ok($name(text)),
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                Self::new(text)
            }
        }
    };
}

fn check_label(text: &str) -> Option<&'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || text.len() > 64 {
        Some("it needs 1 to 64 characters")
    } else if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        Some("it must begin with a letter or digit")
    } else if !text.chars().all(legal) {
        Some("only letters, digits, `.`, `_` and `-` are allowed")
    } else {
        None
    }
}

name!(
    /// The name of a server in `agile.toml`.
    ServerName, "server name", check_label
);
name!(
    /// The name of an experiment in `agile.toml`.
    ExperimentName, "experiment name", check_label
);
name!(
    /// The name of a data set in `agile.toml`.
    DataName, "data name", check_label
);
name!(
    /// A parameter of an experiment; the run sees it as `AGILE_PARAM_NAME` in capitals.
    ParamName, "parameter name", check_variable
);
name!(
    /// An environment variable that a server's `env` table sets.
    EnvName, "environment variable", check_environment
);

fn check_variable(text: &str) -> Option<&'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || text.len() > 64 {
        Some("it needs 1 to 64 characters")
    } else if text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(legal) {
        Some("only letters, digits and `_` are allowed, and no digit first")
    } else {
        None
    }
}

fn check_environment(text: &str) -> Option<&'static str> {
    const SHELL: [&str; 7] = [
        "IFS",
        "ENV",
        "BASH_ENV",
        "SHELLOPTS",
        "BASHOPTS",
        "PS4",
        "LD_PRELOAD",
    ];
    if SHELL.contains(&text) {
        Some("it changes what a shell or loader runs")
    } else if text.starts_with("AGILE_") {
        Some("names that begin with AGILE_ are git-agile's own")
    } else {
        check_variable(text)
    }
}

name!(
    /// The id of a run, `[a-z0-9-]`, at most 60 characters: experiment, commit and a digest of the rest. It is
    /// the name of the run's folder, ref and session.
    RunId, "run id", check_run_id
);

fn check_run_id(text: &str) -> Option<&'static str> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 60 {
        Some("it needs 1 to 60 characters")
    } else if text.starts_with('-') || text.ends_with('-') || !text.chars().all(legal) {
        Some("only a-z, 0-9 and inner `-` are allowed")
    } else {
        None
    }
}

name!(
    /// A full commit id, 40 or 64 lower-case hexadecimal digits.
    CommitId, "commit id", |text| {
        let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (!(hex && matches!(text.len(), 40 | 64))).then_some("it needs 40 or 64 hexadecimal digits")
    }
);

impl CommitId {
    /// The first seven digits, as git abbreviates.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

impl From<git2::Oid> for CommitId {
    fn from(oid: git2::Oid) -> Self {
        CommitId(oid.to_string())
    }
}

name!(
    /// A path inside the repository: relative, `/`-separated, no `..`, no `.git`, nothing a shell expands.
    RelPath, "path", check_relative
);

fn check_relative(text: &str) -> Option<&'static str> {
    if text.is_empty() || text.len() > 1024 {
        Some("it needs 1 to 1024 characters")
    } else if text.starts_with('/') || text.split('/').any(|part| part == "..") {
        Some("it leaves the repository")
    } else if text
        .split('/')
        .any(|part| part.eq_ignore_ascii_case(".git"))
    {
        Some("it leads into .git")
    } else if text.starts_with(['-', '~', '$']) || text.chars().any(char::is_control) {
        Some("it begins with `-`, `~` or `$`, or holds a control character")
    } else {
        None
    }
}

/// What is wrong with the classes in brackets of a pattern like those of gitignore(5), if anything is.
pub fn wrong_class(pattern: &str) -> Option<&'static str> {
    let mut rest = pattern;
    while let Some(at) = rest.find(['[', '\\']) {
        let class = &rest[at + 1..];
        if rest[at..].starts_with('\\') {
            rest = class.get(1..).unwrap_or_default();
            continue;
        }
        let class = class.strip_prefix(['!', '^']).unwrap_or(class);
        // A bracket that comes first is one of the characters.
        let first = class.chars().next().map_or(0, char::len_utf8);
        let Some(end) = class[first..].find(']').map(|end| first + end) else {
            return Some("it has `[` without `]`; for the character itself write `\\[`");
        };
        let members: Vec<char> = class[..end].chars().collect();
        if members.windows(3).any(|it| it[1] == '-' && it[0] > it[2]) {
            return Some("it has a range that ends before it begins");
        }
        rest = &class[end + 1..];
    }
    None
}

name!(
    /// A server's folder for this project: absolute, or below the home folder with or without `~/`.
    RemotePath, "server path", check_remote_path
);

impl RemotePath {
    /// The names on the way, from the root or from the home folder.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        let text = self.as_str();
        let root = text.starts_with('/').then_some("/");
        let names = text.strip_prefix("~/").unwrap_or(text).split('/');
        let names = names.filter(|name| !matches!(*name, "" | "."));
        root.into_iter().chain(names)
    }
}

/// The characters that some login shell expands even between single quotes are refused, since `attach` and
/// `ssh` pass the path through the login shell.
fn check_remote_path(text: &str) -> Option<&'static str> {
    if text.is_empty() || text.len() > 256 {
        Some("it needs 1 to 256 characters")
    } else if text
        .chars()
        .any(|c| c.is_control() || "'\"\\$`!*?[]{}<>|&;()#".contains(c))
    {
        Some("it holds a control character or one that a shell expands")
    } else if text.contains(':') {
        Some("it holds a `:`, which stands between the folders of PATH")
    } else if text.starts_with('-') || (text.starts_with('~') && !text.starts_with("~/")) {
        Some("it must be absolute, or begin with `~/` or a folder name")
    } else if text.split('/').any(|part| part == "..") || matches!(text, "/" | "~/" | ".") {
        Some("it must name a folder of its own")
    } else {
        None
    }
}

name!(
    /// Where `ssh` connects: `host`, `user@host`, an alias of the person's ssh configuration, or
    /// `ssh://[user@]host[:port]`.
    Destination, "host name", check_destination
);

fn check_destination(text: &str) -> Option<&'static str> {
    let rest = text.strip_prefix("ssh://").unwrap_or(text);
    let (user, host) = rest
        .rsplit_once('@')
        .map_or((None, rest), |(user, host)| (Some(user), host));
    let legal_host = |c: char| c.is_ascii_alphanumeric() || "._:%-[]".contains(c);
    let legal_user = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if host.is_empty() || host.len() > 255 || host.starts_with('-') || !host.chars().all(legal_host)
    {
        Some("a host has letters, digits and `._:%-`, and does not begin with `-`")
    } else if user.is_some_and(|user| {
        user.is_empty() || user.starts_with('-') || !user.chars().all(legal_user)
    }) {
        Some("a user has letters, digits and `._-`, and does not begin with `-`")
    } else {
        None
    }
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Host {
    /// This machine, without ssh: `host = "local"`.
    Local,
    /// Over OpenSSH.
    Ssh(Destination),
}

impl TryFrom<String> for Host {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        if text == "local" {
            Ok(Host::Local)
        } else {
            Destination::new(text).map(Host::Ssh)
        }
    }
}

impl From<Host> for String {
    fn from(host: Host) -> String {
        host.to_string()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Local => f.pad("local"),
            Host::Ssh(destination) => destination.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_patterns_are_whole() {
        for good in [
            "out/*.csv",
            "[!a-z]*",
            "[]]",
            "[^]-a]x",
            "a\\[b",
            "[[:alpha:]]",
            "[-a]",
            "\u{e9}[\u{e9}]",
        ] {
            assert_eq!(wrong_class(good), None, "{good}");
        }
        for wrong in ["out/[a-", "[]", "[!]", "[z-a]*", "x[\u{e9}-a]", "["] {
            assert!(wrong_class(wrong).is_some(), "{wrong}");
        }
    }

    #[test]
    fn destinations_are_never_options_or_shell_text() {
        for good in [
            "gpu1",
            "me@10.0.0.1",
            "a.b-c.example",
            "::1",
            "ssh://me@h:2222",
            "fe80::1%eth0",
        ] {
            assert!(Destination::new(good).is_ok(), "{good}");
        }
        for hostile in [
            "",
            "-oProxyCommand=x",
            "me@-V",
            "-l@h",
            "a$HOME@h",
            "h;id",
            "h h",
            "h\n",
            "h`id`",
            "@h",
            "me@",
            "a@b@c",
            "h\u{202e}",
            "ü",
            "ssh://-h",
            "h/..",
            "\\h",
            "'h'",
        ] {
            assert!(Destination::new(hostile).is_err(), "{hostile:?}");
        }
    }

    #[test]
    fn paths_stay_inside() {
        for good in ["results/**", "*.png", "data/a b.npz", "a..b"] {
            assert!(RelPath::new(good).is_ok(), "{good}");
        }
        for hostile in [
            "",
            "/etc",
            "../x",
            "a/../..",
            ".git/config",
            "a/.GIT",
            "~/x",
            "$HOME",
            "-x",
            "a\nb",
        ] {
            assert!(RelPath::new(hostile).is_err(), "{hostile:?}");
        }
        for good in ["~/agile/p", "/data/me/p q", "agile"] {
            assert!(RemotePath::new(good).is_ok(), "{good}");
        }
        for hostile in [
            "", "/", "~", "~root/x", "a/../b", "-x", "a'b", "$(id)", "a\nb", "a!b", "~/",
        ] {
            assert!(RemotePath::new(hostile).is_err(), "{hostile:?}");
        }
    }

    #[test]
    fn run_ids_are_safe_as_folder_ref_and_session() {
        assert!(RunId::new("train-1a2b3c4-9f8e7d6c5b").is_ok());
        for hostile in [
            "",
            "A",
            "a/b",
            "a.b",
            "a:b",
            "-a",
            "a-",
            "#(id)",
            &"a".repeat(61),
        ] {
            assert!(RunId::new(hostile).is_err(), "{hostile:?}");
        }
    }

    #[test]
    fn messages_show_no_control_characters() {
        let message = ServerName::new("a\u{1b}[2J").unwrap_err().to_string();
        assert_eq!(
            message,
            "\"a\\x1b[2J\" is not a valid server name: only letters, digits, `.`, `_` and `-` are allowed"
        );
    }
}
