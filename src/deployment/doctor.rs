//! What a server lacks, judged from what it says of itself. Pure.

use indicatif::BinaryBytes;
use serde::Serialize;

use super::protocol::Answer;
use crate::model::config::{Config, Launcher, Manager, Server, Source};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and may not later, or not for everything.
    Warning,
    /// Something that is asked for cannot work.
    Error,
}

/// What was found about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The thing: one word.
    pub check: &'static str,
    /// What was found; it may hold what a server says.
    pub said: String,
    /// What mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    /// All is well with `check`.
    pub fn ok(check: &'static str, said: impl Into<String>) -> Self {
        Finding {
            level: Level::Ok,
            check,
            said: said.into(),
            mend: None,
        }
    }

    /// Something is not as it should be, and `mend` helps.
    pub fn bad(
        level: Level,
        check: &'static str,
        said: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Finding {
            level,
            check,
            said: said.into(),
            mend: Some(mend.into()),
        }
    }
}

/// What a project wants of its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    /// What builds environments.
    pub manager: Manager,
    /// The Python version; may be empty.
    pub python: String,
    /// Whether data sets are downloaded.
    pub data: bool,
    /// Whether a data set has no checksum.
    pub unchecked_data: bool,
    /// Whether the tree uses Git LFS.
    pub lfs: bool,
    /// Where servers fetch from; may be empty.
    pub url: String,
}

impl Wants {
    /// What `config` wants, with what the commit and the repository say.
    pub fn new(config: &Config, url: String, lfs: bool) -> Self {
        let python = config.environment.python.as_ref();
        Wants {
            manager: config.environment.manager,
            python: python.map_or(String::new(), |version| version.as_str().to_string()),
            data: !config.data.is_empty(),
            unchecked_data: config.data.values().any(|set| set.sha256.is_none()),
            lfs,
            url,
        }
    }

    /// What `server` fetches from; nothing when commits are sent to it.
    pub fn url_for(&self, server: &Server) -> &str {
        match server.source {
            Source::Origin => &self.url,
            Source::Direct => "",
        }
    }

    /// The programs that `server` is asked for.
    pub fn programs(&self, server: &Server) -> Vec<&'static str> {
        let mut names = vec!["git"];
        names.extend(managers(self.manager));
        if self.manager == Manager::Docker {
            names.extend(GPU_TOOLKIT);
        }
        match server.launcher {
            Launcher::Auto => names.extend(["screen", "tmux"]),
            Launcher::Screen => names.push("screen"),
            Launcher::Tmux => names.push("tmux"),
            Launcher::Slurm => names.extend(["sbatch", "squeue", "scancel", "sacct"]),
            Launcher::Nohup => {}
        }
        if self.data {
            names.extend(["curl", "wget", "sha256sum", "shasum", "openssl"]);
        }
        names.extend(self.lfs.then_some("lfs"));
        names
    }
}

/// The programs of which one shows that containers can be given GPUs.
const GPU_TOOLKIT: [&str; 2] = ["nvidia-ctk", "nvidia-container-cli"];

/// The programs of which a manager needs one.
fn managers(manager: Manager) -> &'static [&'static str] {
    match manager {
        Manager::Auto => &["uv"],
        Manager::Venv => &[],
        Manager::Uv => &["uv"],
        Manager::Virtualenv => &["virtualenv"],
        Manager::Pyenv => &["pyenv"],
        // What is locked is installed by pip.
        Manager::Pipenv => &[],
        Manager::Conda => &["conda", "mamba", "micromamba"],
        Manager::Docker => &["docker", "podman"],
    }
}

/// What was seen of a server in one call.
#[derive(Clone, Copy, Debug)]
pub struct Examination<'a> {
    /// The server.
    pub server: &'a Server,
    /// What is wanted of it.
    pub wants: &'a Wants,
    /// What it said.
    pub answer: &'a Answer,
    /// What its login shell printed before that.
    pub noise: &'a str,
    /// This machine's clock before the call and after it, seconds since 1970.
    pub asked: (i64, i64),
}

/// The oldest git on a server: the first that has `fetch --no-write-fetch-head`.
const SERVER_GIT: (u32, u32) = (2, 29);
/// Clocks may differ by so many seconds.
const CLOCK: i64 = 5;
/// Less room than this is worth a word: in KiB, and in files.
const ROOM: (u64, u64) = (2 << 20, 10_000);

impl Examination<'_> {
    /// All findings, in a fixed order.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = vec![self.git()];
        findings.extend(self.remote());
        findings.push(self.python());
        findings.extend(self.manager());
        findings.push(self.launcher());
        findings.extend(self.ends_sessions());
        findings.push(self.folder());
        findings.extend(self.room());
        findings.extend(self.downloads());
        findings.extend(self.lfs());
        findings.extend(self.shell());
        findings.extend(self.clock());
        findings.extend(self.gpu());
        findings
    }

    /// The values of the first fact `name`.
    fn fact(&self, name: &str) -> Vec<&str> {
        self.facts(name).next().unwrap_or_default()
    }

    fn facts(&self, name: &str) -> impl Iterator<Item = Vec<&str>> {
        let of = self
            .answer
            .iter()
            .filter(move |line| line.len() > 2 && line[0] == "fact" && line[1] == name);
        of.map(|line| line[2..].iter().map(String::as_str).collect())
    }

    /// What the first of `names` that is there says of its version.
    fn program(&self, names: &[&str]) -> Option<String> {
        let found = |name: &str| self.facts("program").find(|fact| fact[0] == name);
        names.iter().find_map(|name| found(name)).map(|fact| {
            let version = fact.get(1).copied().unwrap_or_default();
            match version.to_lowercase().contains(fact[0]) {
                true => version.to_string(),
                false => format!("{} {version}", fact[0]).trim().to_string(),
            }
        })
    }

    fn install(&self, package: &str) -> String {
        format!(
            "install it on {} (Debian, Ubuntu: sudo apt install {package})",
            self.server.name
        )
    }

    fn git(&self) -> Finding {
        let (major, minor) = SERVER_GIT;
        match self.program(&["git"]) {
            None => Finding::bad(Level::Error, "git", "there is none", self.install("git")),
            Some(said) if version(&said) < Some(SERVER_GIT) => Finding::bad(
                Level::Error,
                "git",
                format!("{said} is older than {major}.{minor}"),
                self.install("git"),
            ),
            Some(said) => Finding::ok("git", said),
        }
    }

    fn remote(&self) -> Option<Finding> {
        let said = *self.fact("remote").first()?;
        let url = self.wants.url_for(self.server);
        Some(match said {
            "ok" => Finding::ok("git host", format!("{url} answers")),
            // A token may still be handed over when it is needed.
            _ if url.starts_with("https:") => Finding::bad(
                Level::Warning,
                "git host",
                format!("{url}, without a token: {said}"),
                format!("git agile ssh {} git ls-remote {url}", self.server.name),
            ),
            _ => Finding::bad(
                Level::Error,
                "git host",
                format!("{url}: {said}; with source = \"direct\" the server needs no access"),
                format!("git agile ssh {} git ls-remote {url}", self.server.name),
            ),
        })
    }

    fn python(&self) -> Finding {
        let wanted = &self.wants.python;
        let is_uv = match self.wants.manager {
            Manager::Auto => self.program(&["uv"]).is_some(),
            manager => manager == Manager::Uv,
        };
        let needs_venv = matches!(self.wants.manager, Manager::Auto | Manager::Venv) && !is_uv;
        let brings_its_own = is_uv
            || matches!(
                self.wants.manager,
                Manager::Conda | Manager::Docker | Manager::Pyenv
            );
        match self.fact("python").as_slice() {
            [found, ..] if !wanted.is_empty() && !is_version(found, wanted) && !brings_its_own => {
                Finding::bad(
                    Level::Error,
                    "python",
                    format!("{found}, and {wanted} is wanted"),
                    format!(
                        "install uv on {}, which brings Python {wanted} along, or Python {wanted} itself",
                        self.server.name
                    ),
                )
            }
            [found, "venv", ..] => Finding::ok("python", *found),
            [found, ..] if needs_venv => Finding::bad(
                Level::Error,
                "python",
                format!("{found} without venv and ensurepip"),
                self.install("python3-venv"),
            ),
            [found, ..] => Finding::ok("python", *found),
            [] if is_uv => Finding::ok("python", "uv brings one along"),
            [] => Finding::bad(
                Level::Error,
                "python",
                "there is no python3",
                self.install("python3 python3-venv"),
            ),
        }
    }

    fn manager(&self) -> Option<Finding> {
        let manager = self.wants.manager;
        let names = managers(manager);
        match self.program(names) {
            Some(said) => Some(Finding::ok("manager", said)),
            None if names.is_empty() || manager == Manager::Auto => None,
            None if let [name, said] = *self.fact("silent") => Some(Finding::bad(
                Level::Error,
                "manager",
                format!("{name} does not answer: {said}"),
                format!(
                    "start it on {}, or let the account use it",
                    self.server.name
                ),
            )),
            None => Some(Finding::bad(
                Level::Error,
                "manager",
                format!("there is no {}", names.join(" or ")),
                format!(
                    "install it on {}, or set manager = \"auto\"",
                    self.server.name
                ),
            )),
        }
    }

    fn launcher(&self) -> Finding {
        let check = "launcher";
        let missing = |names: &[&'static str]| -> Vec<&'static str> {
            let names = names.iter().copied();
            names
                .filter(|name| self.program(&[name]).is_none())
                .collect()
        };
        match self.server.launcher {
            Launcher::Nohup => Finding::ok(check, "nohup"),
            Launcher::Auto => match self.program(&["screen", "tmux"]) {
                Some(said) => Finding::ok(check, said),
                None => Finding::bad(
                    Level::Warning,
                    check,
                    "neither screen nor tmux: runs have no window to attach to",
                    self.install("screen"),
                ),
            },
            Launcher::Slurm => match missing(&["sbatch", "squeue", "scancel"]).as_slice() {
                [] if self.program(&["sacct"]).is_none() => Finding::bad(
                    Level::Warning,
                    check,
                    "Slurm without sacct: what has ended is known from the runs alone",
                    "ask the cluster's administrator for Slurm accounting",
                ),
                [] => Finding::ok(check, self.program(&["sbatch"]).unwrap_or_default()),
                missing => Finding::bad(
                    Level::Error,
                    check,
                    format!("there is no {}", missing.join(", ")),
                    format!(
                        "is {} a login node of the cluster? `setup` is not read before sbatch",
                        self.server.host
                    ),
                ),
            },
            Launcher::Screen | Launcher::Tmux => {
                let name = self.server.launcher.as_str();
                match self.program(&[name]) {
                    Some(said) => Finding::ok(check, said),
                    None => Finding::bad(
                        Level::Error,
                        check,
                        format!("there is no {name}"),
                        self.install(name),
                    ),
                }
            }
        }
    }

    fn ends_sessions(&self) -> Option<Finding> {
        let person = *self.fact("ends-sessions").first()?;
        let level = match self.server.launcher {
            Launcher::Slurm => return None,
            _ => Level::Error,
        };
        Some(Finding::bad(
            level,
            "linger",
            ENDS_SESSIONS,
            linger_hint(self.server, person),
        ))
    }

    fn folder(&self) -> Finding {
        match self.fact("folder").as_slice() {
            ["there", place, "writable"] => Finding::ok("folder", *place),
            [_, place, "writable"] => Finding::ok("folder", format!("will be made in {place}")),
            [_, place, ..] => Finding::bad(
                Level::Error,
                "folder",
                format!("{place} cannot be written"),
                format!("correct `path` of [servers.{}]", self.server.name),
            ),
            _ => Finding::bad(
                Level::Error,
                "folder",
                "the server did not say",
                "git agile doctor",
            ),
        }
    }

    fn room(&self) -> Vec<Finding> {
        let pair = |text: &str| -> Option<(u64, u64)> {
            let (one, two) = text.split_once(' ')?;
            Some((one.parse().ok()?, two.parse().ok()?))
        };
        let size = |kib: u64| BinaryBytes(kib.saturating_mul(1024)).to_string();
        let mend = "git agile clean, or another `path`";
        let disk = self.fact("disk").first().copied().and_then(pair);
        let inodes = self.fact("inodes").first().copied().and_then(pair);
        let mut findings = Vec::new();
        findings.extend(disk.map(|(all, free)| {
            let said = format!("{} free of {}", size(free), size(all));
            match free < ROOM.0 {
                true => Finding::bad(Level::Warning, "disk", said, mend),
                false => Finding::ok("disk", said),
            }
        }));
        // File systems that make inodes as they need them have none, or say so.
        let few = inodes.filter(|(all, free)| *all > 0 && *free < ROOM.1);
        findings.extend(few.map(|(all, free)| {
            let said = format!("{free} free of {all}");
            Finding::bad(Level::Warning, "inodes", said, mend)
        }));
        let quota = |said: String, used: u64, limit: u64| {
            let is_short = used.saturating_mul(20) >= limit.saturating_mul(19);
            match is_short {
                true => Finding::bad(Level::Warning, "quota", said, mend),
                false => Finding::ok("quota", said),
            }
        };
        let quotas = self.facts("quota").filter_map(|fact| pair(fact[0]));
        findings.extend(quotas.map(|(used, limit)| {
            let said = format!("{} used of {}", size(used), size(limit));
            quota(said, used, limit)
        }));
        let files = self.facts("file-quota").filter_map(|fact| pair(fact[0]));
        findings.extend(files.map(|(used, limit)| {
            let said = format!("{used} files used of {limit}");
            quota(said, used, limit)
        }));
        findings
    }

    fn gpu(&self) -> Option<Finding> {
        if let Some(gpu) = self.fact("gpu").first() {
            if self.wants.manager != Manager::Docker || self.program(&GPU_TOOLKIT).is_some() {
                return Some(Finding::ok("gpu", *gpu));
            }
            let said = format!("{gpu}: no container gets it without NVIDIA's container toolkit");
            let mend = format!("install nvidia-container-toolkit on {}", self.server.name);
            return Some(Finding::bad(Level::Error, "gpu", said, mend));
        }
        let mend = format!("git agile ssh {} nvidia-smi", self.server.name);
        let wants_some = self
            .server
            .gpus
            .as_ref()
            .is_some_and(|gpus| !gpus.is_empty());
        match self.fact("gpu-silent").first() {
            Some(said) => {
                let said = format!("nvidia-smi shows none: {said}");
                Some(Finding::bad(Level::Warning, "gpu", said, mend))
            }
            None if wants_some => Some(Finding::bad(
                Level::Warning,
                "gpu",
                "agile.toml names `gpus`, and there is no nvidia-smi that would show one",
                mend,
            )),
            None => None,
        }
    }

    fn downloads(&self) -> Option<Finding> {
        if !self.wants.data {
            return None;
        }
        let check = "downloads";
        let has_sum = self.program(&["sha256sum", "shasum", "openssl"]).is_some();
        Some(match (self.program(&["curl"]), self.program(&["wget"])) {
            (None, None) => Finding::bad(
                Level::Error,
                check,
                "there is neither curl nor wget",
                self.install("curl"),
            ),
            _ if !has_sum => Finding::bad(
                Level::Error,
                check,
                "there is no program for SHA-256",
                self.install("coreutils"),
            ),
            (None, Some(_)) if self.wants.unchecked_data => Finding::bad(
                Level::Error,
                check,
                "data without a sha256 needs curl",
                self.install("curl"),
            ),
            (Some(said), _) | (None, Some(said)) => {
                let name: Vec<_> = said.split_whitespace().take(2).collect();
                Finding::ok(check, name.join(" "))
            }
        })
    }

    fn lfs(&self) -> Option<Finding> {
        self.wants.lfs.then(|| match self.program(&["lfs"]) {
            Some(said) => Finding::ok("lfs", said.trim_start_matches("lfs ")),
            None => Finding::bad(
                Level::Error,
                "lfs",
                "the commit uses Git LFS, and there is none",
                self.install("git-lfs"),
            ),
        })
    }

    fn shell(&self) -> Option<Finding> {
        let first = self.noise.lines().find(|line| !line.trim().is_empty())?;
        let first: String = first.chars().take(60).collect();
        Some(Finding::bad(
            Level::Warning,
            "shell",
            format!("start-up files print: {first}"),
            format!(
                "ssh {} true must print nothing: let them print for a terminal only",
                self.server.host
            ),
        ))
    }

    fn clock(&self) -> Option<Finding> {
        let clock = self.answer.iter().find(|line| line[0] == "clock")?;
        let theirs: i64 = clock.get(1)?.parse().ok()?;
        let (before, after) = self.asked;
        let off = match theirs {
            late if late > after => late.saturating_sub(after),
            early => early.saturating_sub(before).min(0),
        };
        let way = if off > 0 { "ahead of" } else { "behind" };
        Some(match off.saturating_abs() {
            seconds if seconds > CLOCK => Finding::bad(
                Level::Warning,
                "clock",
                format!("{seconds} seconds {way} this machine's"),
                "sudo timedatectl set-ntp true, on the one that is wrong",
            ),
            _ => Finding::ok("clock", "agrees with this machine's"),
        })
    }
}

/// What KillUserProcesses means for runs.
pub const ENDS_SESSIONS: &str = "this server ends everything that a person has started when they log out (KillUserProcesses=yes)";

/// What mends that.
pub fn linger_hint(server: &Server, person: &str) -> String {
    let who = match person.is_empty() {
        true => String::new(),
        false => format!(" {person}"),
    };
    format!("git agile ssh {} loginctl enable-linger{who}", server.name)
}

/// The first two numbers of a version in a text such as `git version 2.47.3`.
pub fn version(text: &str) -> Option<(u32, u32)> {
    let word = text
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut numbers = word.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn is_version(found: &str, wanted: &str) -> bool {
    found == wanted
        || found
            .strip_prefix(wanted)
            .is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::{Layer, load};

    fn examine(toml: &str, facts: &[&str], noise: &str, clock: i64) -> Vec<(Level, &'static str)> {
        let layer = Layer {
            file: "agile.toml".into(),
            content: format!("[servers.box]\nhost = \"box\"\n{toml}").into(),
            is_personal: false,
        };
        let config = load(&[layer], "proj").unwrap();
        let server = config.servers.values().next().unwrap();
        let wants = Wants::new(&config, "git@host:p.git".into(), true);
        let mut answer: Answer = facts
            .iter()
            .map(|fact| {
                format!("fact|{fact}")
                    .split('|')
                    .map(str::to_string)
                    .collect()
            })
            .collect();
        answer.push(vec!["clock".into(), clock.to_string()]);
        let examination = Examination {
            server,
            wants: &wants,
            answer: &answer,
            noise,
            asked: (1000, 1002),
        };
        let bad = |finding: Finding| {
            assert_eq!(
                finding.mend.is_none(),
                finding.level == Level::Ok,
                "{finding:?}"
            );
            (finding.level, finding.check)
        };
        let findings = examination.findings().into_iter().map(bad);
        findings.filter(|(level, _)| *level != Level::Ok).collect()
    }

    const GOOD: [&str; 7] = [
        "program|git|git version 2.39.5",
        "program|screen|Screen version 4.09.00",
        "program|lfs|git-lfs/3.3.0",
        "python|3.11.2|venv",
        "folder|there|/home/me/p|writable",
        "disk|100000000 50000000",
        "remote|ok",
    ];

    #[test]
    fn a_good_server_has_nothing_to_mend() {
        assert_eq!(examine("", &GOOD, "\n", 1001), []);
        assert_eq!(examine("", &GOOD, "", 1006), []);
    }

    #[test]
    fn what_is_missing_is_said() {
        use Level::*;
        let bare = examine("", &["python|3.8.1|bare"], "Welcome", 900);
        assert_eq!(
            bare,
            [
                (Error, "git"),
                (Error, "python"),
                (Warning, "launcher"),
                (Error, "folder"),
                (Error, "lfs"),
                (Warning, "shell"),
                (Warning, "clock")
            ]
        );
        let with = |toml: &str, fact: &'static str| {
            let name = |fact: &str| {
                let words = if fact.starts_with("program") { 2 } else { 1 };
                let words: Vec<_> = fact.split('|').take(words).collect();
                words.join("|")
            };
            let others = GOOD.iter().filter(|good| name(good) != name(fact));
            let facts: Vec<&str> = others.copied().chain([fact]).collect();
            examine(toml, &facts, "", 1001)
        };
        assert_eq!(with("", "program|git|git version 2.25.1"), [(Error, "git")]);
        assert_eq!(with("", "remote|Permission denied"), [(Error, "git host")]);
        assert_eq!(with("", "folder|missing|/|closed"), [(Error, "folder")]);
        assert_eq!(with("", "disk|100000000 1000"), [(Warning, "disk")]);
        assert_eq!(with("", "inodes|100000 9"), [(Warning, "inodes")]);
        assert_eq!(with("", "inodes|0 0"), []);
        assert_eq!(with("", "quota|96 100"), [(Warning, "quota")]);
        assert_eq!(with("", "file-quota|96 100"), [(Warning, "quota")]);
        assert_eq!(
            with("", "gpu-silent|No devices were found"),
            [(Warning, "gpu")]
        );
        assert_eq!(with("gpus = [0]\n", "x|y"), [(Warning, "gpu")]);
        let docker = "[environment]\nmanager = \"docker\"\n";
        assert_eq!(with(docker, "silent|docker|denied"), [(Error, "manager")]);
        let gpu = ["program|docker|27", "gpu|H100"];
        let bare = examine(docker, &[&GOOD[..], &gpu].concat(), "", 1001);
        assert_eq!(bare, [(Error, "gpu")]);
        let toolkit = ["program|nvidia-ctk|1.17"];
        let whole = examine(docker, &[&GOOD[..], &gpu, &toolkit].concat(), "", 1001);
        assert_eq!(whole, []);
        assert_eq!(with("", "ends-sessions|me"), [(Error, "linger")]);
        assert_eq!(with("launcher = \"tmux\"\n", "x|y"), [(Error, "launcher")]);
        assert_eq!(
            with("launcher = \"slurm\"\n", "program|squeue|slurm 23"),
            [(Error, "launcher")]
        );
        assert_eq!(
            with("[environment]\npython = \"3.12\"\n", "x|y"),
            [(Error, "python")]
        );
        assert_eq!(
            with("[environment]\nmanager = \"conda\"\n", "x|y"),
            [(Error, "manager")]
        );
        let data = "[data.d]\nurl = \"https://h/x\"\npath = \"d\"\n";
        assert_eq!(with(data, "x|y"), [(Error, "downloads")]);
    }

    #[test]
    fn versions_are_found() {
        assert_eq!(version("git version 2.47.3 (Apple Git-1)"), Some((2, 47)));
        assert_eq!(version("OpenSSH_9.2p1 Debian"), Some((9, 2)));
        assert_eq!(version("none"), None);
    }
}
