//! Reading the markup of the manual's pages.

/// A part of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// A section's name.
    Heading(String),
    /// A subsection's name.
    Subheading(String),
    /// Running text.
    Text(String),
    /// Lines to be shown as they are.
    Code(Vec<String>),
    /// A term, and what it means.
    Item(String, String),
}

/// A part of running text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Span {
    Plain(String),
    /// To be typed as it stands.
    Literal(String),
    /// Stands for something.
    Meta(String),
}

/// The parts of a page, in order.
pub(super) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut fresh = true;
    for line in text.lines() {
        let open = blocks.last_mut().filter(|_| !fresh);
        fresh = false;
        let words = line.trim();
        if let Some(code) = line.strip_prefix("    ") {
            match (blocks.last_mut(), code) {
                (Some(Block::Code(lines)), code) => lines.push(code.into()),
                (_, code) => blocks.push(Block::Code(vec![code.into()])),
            }
        } else if words.is_empty() {
            // Code goes on after an empty line; whatever else begins ends it.
            match open {
                Some(Block::Code(lines)) => lines.push(String::new()),
                _ => fresh = true,
            }
        } else if let Some(name) = line.strip_prefix("## ") {
            blocks.push(Block::Subheading(name.into()));
            fresh = true;
        } else if let Some(name) = line.strip_prefix("# ") {
            blocks.push(Block::Heading(name.into()));
            fresh = true;
        } else {
            match (open, line.strip_prefix(": ")) {
                (Some(Block::Text(term)), Some(meaning)) => {
                    let item = Block::Item(std::mem::take(term), meaning.into());
                    blocks.pop();
                    blocks.push(item);
                }
                (Some(Block::Text(text) | Block::Item(_, text)), _) => {
                    text.push(' ');
                    text.push_str(words);
                }
                _ => blocks.push(Block::Text(words.into())),
            }
        }
    }
    for block in &mut blocks {
        if let Block::Code(lines) = block {
            while lines.last().is_some_and(String::is_empty) {
                lines.pop();
            }
        }
    }
    blocks
}

/// The parts of running text.
pub(super) fn spans(text: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => plain.extend(rest.next()),
            '`' | '*' => {
                let after = rest.as_str();
                let Some((inner, behind)) = after.split_once(c) else {
                    plain.push(c);
                    continue;
                };
                spans.push(Span::Plain(std::mem::take(&mut plain)));
                spans.push(match c {
                    '`' => Span::Literal(inner.into()),
                    _ => Span::Meta(inner.into()),
                });
                rest = behind.chars();
            }
            c => plain.push(c),
        }
    }
    spans.push(Span::Plain(plain));
    spans.retain(|span| *span != Span::Plain(String::new()));
    spans
}

/// `text` that knows no markup but `` `literal` ``, as markup that means the same.
pub fn literal(text: &str) -> String {
    let mut within = false;
    let mut marked = String::new();
    for c in text.chars() {
        within ^= c == '`';
        if !within && matches!(c, '*' | '\\') {
            marked.push('\\');
        }
        marked.push(c);
    }
    marked
}

/// `text` as it stands within a sentence.
pub fn uncapitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}

/// `text` as it stands at the beginning of a sentence.
pub fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_block() {
        let text = "# NAME\nOne\ntwo.\n\n`-x` *N*\n: What\n  it is.\n\nBefore:\n\n    $ a\n\n      b\n\nAfter.\n";
        assert_eq!(
            blocks(text),
            [
                Block::Heading("NAME".into()),
                Block::Text("One two.".into()),
                Block::Item("`-x` *N*".into(), "What it is.".into()),
                Block::Text("Before:".into()),
                Block::Code(vec!["$ a".into(), String::new(), "  b".into()]),
                Block::Text("After.".into()),
            ]
        );
    }

    #[test]
    fn what_stands_in_a_line() {
        assert_eq!(
            spans(r"a `b*c` *d* \*e `f"),
            [
                Span::Plain("a ".into()),
                Span::Literal("b*c".into()),
                Span::Plain(" ".into()),
                Span::Meta("d".into()),
                Span::Plain(" *e `f".into()),
            ]
        );
        assert_eq!(
            spans(&literal("a*b `c*d` e*")),
            [
                Span::Plain("a*b ".into()),
                Span::Literal("c*d".into()),
                Span::Plain(" e*".into()),
            ]
        );
    }
}
