//! The report: one HTML page with everything in it, that loads and sends nothing.
//!
//! Its policy (Content Security Policy 3, hashes of section 2.3.1) allows the style sheet and the script that stand
//! here and nothing else, so that a name or value could do nothing even where its escaping were wrong.

mod sections;
mod tables;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::picture::Data;
use super::row::Row;
use crate::terminal::clean;

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// Everything that the page tells.
pub struct Report<'a> {
    /// The project's name.
    pub project: String,
    /// When and by what the page was made.
    pub made: String,
    /// What was run, the newest first.
    pub ran: Vec<Ran>,
    /// The runs.
    pub rows: &'a [Row],
    /// Where each run's files are, seen from the page.
    pub links: Vec<Links>,
    /// The runs that did not succeed.
    pub failures: Vec<Failure>,
    /// The metric whose pictures come first.
    pub metric: Option<String>,
    /// What the pictures are drawn from.
    pub data: Data<'a>,
}

/// One experiment of one commit.
pub struct Ran {
    /// The commit's id.
    pub commit: String,
    /// The first line of its message.
    pub subject: String,
    /// When it was asked for.
    pub date: String,
    /// The experiment, and its command.
    pub experiment: String,
    /// How many runs of which state.
    pub runs: String,
    /// Where.
    pub servers: String,
    /// In what environment.
    pub environment: String,
}

/// Addresses relative to the page, as they stand in a link; nothing where there is no such file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// The folder of a run's results.
    pub results: Option<String>,
    /// Its log.
    pub log: Option<String>,
}

/// A run that did not succeed.
pub struct Failure {
    /// Its place among the rows.
    pub row: usize,
    /// Why, as far as it is known.
    pub reason: String,
    /// The last lines of its log.
    pub log: String,
}

/// `text` for HTML and for attributes between double quotes: nothing in it is markup, and nothing hides or reorders
/// other text.
pub fn escape(text: &str) -> String {
    escape_clean(&clean(text))
}

fn escape_clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A relative path as an address: every byte that is not a letter, digit or one of `-._~/` with `%`
/// (RFC 3986, section 2.3).
pub fn address(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len());
    for &byte in path {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(byte as char)
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl Report<'_> {
    /// The page.
    pub fn page(&self) -> String {
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
        let sections = [
            self.winner(),
            self.what_was_run(),
            self.groups(),
            self.runs(),
            self.curves(),
            self.effects(),
            self.parallel(),
            self.failed(),
        ];
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{0}'; \
             script-src 'sha256-{1}'; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n<title>Review of {2}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#runs\">To the runs</a>\n\
             <header><h1>Review of {2}</h1><p class=\"dim\">{3}</p></header>\n<main>\n{4}</main>\n\
             <footer>{5}</footer>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
            hash(STYLE),
            hash(SCRIPT),
            escape(&self.project),
            escape(&self.in_short()),
            sections.concat(),
            escape(&self.made),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_markup() {
        assert_eq!(
            escape("<b a='1'>&\"\u{202e}\u{1b}"),
            "&lt;b a=&#39;1&#39;&gt;&amp;&quot;\\u{202e}\\x1b"
        );
        assert_eq!(address(b"../a b/\xff%.log"), "../a%20b/%FF%25.log");
    }
}
