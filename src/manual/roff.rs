//! A page as roff with the macros of man(7), as groff and mandoc both read them.

use super::Page;
use super::markup::{Block, Span, blocks, spans};

/// When the manual of this version was written; a page needs a date, and one that is built twice is the same.
const DATE: &str = "2026-11-23";

/// The most characters in a line of running text.
const WIDTH: usize = 80;

/// The page as a file for `man`.
pub fn roff(page: &Page) -> String {
    let mut out = format!(
        ".TH {} {} {DATE} \"git-agile {}\" \"Git Manual\"\n.SH NAME\n{} \\- {}\n",
        quoted(&page.name.to_uppercase()),
        page.section,
        env!("CARGO_PKG_VERSION"),
        escape(&page.name),
        line(&page.about),
    );
    let mut is_after_heading = true;
    for block in blocks(&page.body) {
        let paragraph = if is_after_heading { "" } else { ".PP\n" };
        is_after_heading = matches!(block, Block::Heading(_) | Block::Subheading(_));
        out += &match block {
            Block::Heading(name) => format!(".SH {}\n", quoted(&name)),
            Block::Subheading(name) => format!(".SS {}\n", quoted(&plain(&name))),
            Block::Text(text) => format!("{paragraph}{}\n", wrapped(&line(&text))),
            Block::Item(term, text) => {
                format!(".TP\n{}\n{}\n", line(&term), wrapped(&line(&text)))
            }
            Block::Code(lines) => {
                let lines: String = lines
                    .iter()
                    .map(|text| format!("{}\n", at_start(&escape(text))))
                    .collect();
                format!("{paragraph}.RS 4\n.nf\n{lines}.fi\n.RE\n")
            }
        };
    }
    out
}

fn line(text: &str) -> String {
    let marked: String = spans(text)
        .into_iter()
        .map(|span| match span {
            Span::Plain(text) => escape(&text),
            Span::Literal(text) => format!("\\fB{}\\fR", escape(&text)),
            Span::Meta(text) => format!("\\fI{}\\fR", escape(&text)),
        })
        .collect();
    at_start(&marked)
}

/// Lines that a person can read, and that differ only where the text does.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + word.len() < WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(at_start(word)),
        }
    }
    lines.join("\n")
}

fn plain(text: &str) -> String {
    spans(text)
        .into_iter()
        .map(|span| match span {
            Span::Plain(text) | Span::Literal(text) | Span::Meta(text) => text,
        })
        .collect()
}

/// A dot or an apostrophe at the start of a line would be a request.
fn at_start(line: &str) -> String {
    match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line.to_string(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escape(text).replace('"', "\\(dq"))
}

/// What roff would set as a hyphen, a quote or nothing at all is set as typed: people copy from manuals.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '`' => out.push_str("\\(ga"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            c if c.is_ascii() => out.push(c),
            c => out.push_str(&format!("\\[u{:04X}]", u32::from(c))),
        }
    }
    out
}
