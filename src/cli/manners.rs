//! What git's configuration says about how a person wants to be talked to.

use git2::Config;

use crate::development::git;
use crate::terminal::Colour;

/// Whether to colour: `color.agile`, else `color.ui`, as git has them (git-config(1)).
pub fn colour() -> Colour {
    let value = setting("color.agile").or_else(|| setting("color.ui"));
    match value.as_deref().map(str::to_ascii_lowercase).as_deref() {
        Some("always") => Colour::Always,
        Some("never" | "false" | "no" | "off" | "0" | "") => Colour::Never,
        _ => Colour::Auto,
    }
}

/// A value of git's configuration: of the repository at hand, else of the person.
pub fn setting(key: &str) -> Option<String> {
    // `git -c KEY=VALUE agile …` comes in the environment, which libgit2 does not read.
    let is_given = ["GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    if is_given {
        return git::ask(git::command(), &["config", "--get", key]).ok()?;
    }
    let config = match git2::Repository::open_from_env() {
        Ok(repository) => repository.config(),
        Err(_) => Config::open_default(),
    };
    config.ok()?.snapshot().ok()?.get_string(key).ok()
}
