//! A page as plain text, for a machine without `man`.

use super::Page;
use super::markup::{Block, Span, blocks, spans};

/// The most characters in a line.
const WIDTH: usize = 80;

/// The page as text.
pub fn plain(page: &Page) -> String {
    let mut out = format!("NAME\n       {} - {}\n", page.name, words(&page.about));
    for block in blocks(&page.body) {
        out += &match block {
            Block::Heading(name) => format!("\n{name}\n"),
            Block::Subheading(name) => format!("\n   {}\n", words(&name)),
            Block::Text(text) => format!("{}\n", wrapped(&text, 7)),
            Block::Item(term, text) => {
                format!("       {}\n{}\n", words(&term), wrapped(&text, 14))
            }
            Block::Code(lines) => {
                let lines: String = lines
                    .iter()
                    .map(|line| format!("{}\n", format!("           {line}").trim_end()))
                    .collect();
                format!("{lines}\n")
            }
        };
    }
    out
}

fn words(text: &str) -> String {
    spans(text)
        .into_iter()
        .map(|span| match span {
            Span::Plain(text) | Span::Literal(text) | Span::Meta(text) => text,
        })
        .collect()
}

fn wrapped(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut width = WIDTH;
    for word in words(text).split_whitespace() {
        if width + 1 + word.chars().count() > WIDTH {
            out += &format!("\n{}", " ".repeat(indent));
            width = indent;
        } else {
            out.push(' ');
            width += 1;
        }
        out += word;
        width += word.chars().count();
    }
    out.split_off(1.min(out.len())) + "\n"
}
