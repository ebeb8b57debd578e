//! The manual: pages in a small part of Markdown, as roff for `man` and as plain text where there is none.
//!
//! A page is `# HEADING`, `## Subheading`, paragraphs, code that is indented by four spaces, and definitions: a line
//! with the term, then a line that begins with `: `. Within a line, `` `this` `` is literal and `*that*` stands for
//! something; a backslash takes the meaning of either away.

mod configuration;
mod markup;
mod plain;
mod roff;

use configuration::keys;
pub use markup::{capitalised, literal, uncapitalised};
pub use plain::plain;
pub use roff::roff;

/// One page of the manual.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its name, such as `git-agile-push`.
    pub name: String,
    /// The section of the manual: 1 commands, 5 files, 7 overviews.
    pub section: u8,
    /// What it is about, in a line.
    pub about: String,
    /// What follows the NAME section.
    pub body: String,
}

impl Page {
    /// Its file under `man/`, such as `git-agile-push.1`.
    pub fn file(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }
}

/// The pages that are no command's.
pub fn pages() -> Vec<Page> {
    let configuration = include_str!("texts/agile.toml.md").replace("@KEYS@\n", &keys());
    vec![
        Page {
            name: "agile.toml".into(),
            section: 5,
            about: "what git-agile runs, and where".into(),
            body: configuration,
        },
        Page {
            name: "git-agile-tutorial".into(),
            section: 7,
            about: "from a first commit to a table of results".into(),
            body: include_str!("texts/tutorial.md").into(),
        },
    ]
}

/// The hand-written part of a command's page: examples, files and the like. Empty for a command without one.
pub fn more(command: &str) -> &'static str {
    match command {
        "git-agile" => include_str!("texts/git-agile.md"),
        "git-agile-init" => include_str!("texts/init.md"),
        "git-agile-install" => include_str!("texts/install.md"),
        "git-agile-requirements" => include_str!("texts/requirements.md"),
        "git-agile-design" => include_str!("texts/design.md"),
        "git-agile-push" => include_str!("texts/push.md"),
        "git-agile-deploy" => include_str!("texts/deploy.md"),
        "git-agile-status" => include_str!("texts/status.md"),
        "git-agile-logs" => include_str!("texts/logs.md"),
        "git-agile-attach" => include_str!("texts/attach.md"),
        "git-agile-stop" => include_str!("texts/stop.md"),
        "git-agile-wait" => include_str!("texts/wait.md"),
        "git-agile-trust" => include_str!("texts/trust.md"),
        "git-agile-fetch-results" => include_str!("texts/fetch-results.md"),
        "git-agile-review" => include_str!("texts/review.md"),
        "git-agile-reproduce" => include_str!("texts/reproduce.md"),
        "git-agile-records" => include_str!("texts/records.md"),
        "git-agile-completions" => include_str!("texts/completions.md"),
        _ => "",
    }
}
