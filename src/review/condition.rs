//! `--where`: a small language of comparisons.
//!
//! ```text
//! or    = and { ("or" | "||") and }
//! and   = not { ("and" | "&&" | ",") not }
//! not   = ("not" | "!") not | "(" or ")" | name operator value
//! operator = "<" | "<=" | ">" | ">=" | "=" | "==" | "!=" | "~"
//! ```
//!
//! A name or value that is no plain word stands between quotes. `~` means that the text contains the value; `commit`
//! and `run` are equal to any beginning of theirs of four letters and more.

use std::borrow::Cow;

use super::row::{Column, Content, Field, Known, Row};
use crate::error::{Error, Result};

/// A condition on runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition(Expression);

#[derive(Clone, Debug, PartialEq)]
enum Expression {
    Compare(Column, Operator, String),
    Not(Box<Expression>),
    And(Vec<Expression>),
    Or(Vec<Expression>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
    Unequal,
    Contains,
}

/// How deep parentheses may stand in each other.
const DEEPEST: usize = 64;

impl Condition {
    /// Reads `text`, whose names must be columns of `rows`.
    ///
    /// # Errors
    /// [`Kind::Usage`](crate::error::Kind::Usage) that points at the place where it makes no sense.
    pub fn parse(text: &str, rows: &[Row]) -> Result<Self> {
        let mut parser = Parser {
            text,
            tokens: tokens(text)?,
            at: 0,
            depth: 0,
            known: Known::of(rows),
        };
        let expression = parser.or()?;
        match parser.peek() {
            None => Ok(Condition(expression)),
            Some(_) => Err(parser.wrong("`and` or `or`")),
        }
    }

    /// Whether it holds for `row`. A comparison with something that the run does not have does not.
    pub fn holds(&self, row: &Row) -> bool {
        self.0.holds(row)
    }
}

impl Expression {
    fn holds(&self, row: &Row) -> bool {
        match self {
            Expression::Compare(column, operator, value) => compare(row, column, *operator, value),
            Expression::Not(inner) => !inner.holds(row),
            Expression::And(all) => all.iter().all(|inner| inner.holds(row)),
            Expression::Or(any) => any.iter().any(|inner| inner.holds(row)),
        }
    }
}

fn compare(row: &Row, column: &Column, operator: Operator, value: &str) -> bool {
    let content = row.get(column);
    let text: Cow<str> = match &content {
        Content::Nothing => return false,
        Content::Number(number) => number.to_string().into(),
        Content::Text(text) => text.as_ref().into(),
    };
    let is_id = matches!(
        column,
        Column::Field(Field::Commit | Field::Run | Field::Sprint)
    );
    let whole = || Some((content.whole()?, value.parse::<i128>().ok()?));
    let is_equal = || match (content.number(), value.parse::<f64>()) {
        _ if is_id => text == value || (value.len() >= 4 && text.starts_with(value)),
        // `failed (1)` has failed.
        _ if *column == Column::Field(Field::State) => {
            text == value || text.split_once(" (").is_some_and(|(word, _)| word == value)
        }
        (Some(a), Ok(b)) => match whole() {
            Some((a, b)) => a == b,
            None => a == b || (a.is_nan() && b.is_nan()),
        },
        _ => text == value,
    };
    let order = || match (content.number(), value.parse::<f64>()) {
        (Some(a), Ok(b)) => match whole() {
            Some((a, b)) => Some(a.cmp(&b)),
            None => a.partial_cmp(&b),
        },
        // A word has no place among numbers.
        (Some(_), Err(_)) | (None, Ok(_)) => None,
        (None, Err(_)) => Some(text.as_ref().cmp(value)),
    };
    match operator {
        Operator::Less => order().is_some_and(|order| order.is_lt()),
        Operator::AtMost => order().is_some_and(|order| order.is_le()),
        Operator::More => order().is_some_and(|order| order.is_gt()),
        Operator::AtLeast => order().is_some_and(|order| order.is_ge()),
        Operator::Equal => is_equal(),
        Operator::Unequal => !is_equal(),
        Operator::Contains => text.contains(value),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Sign(&'static str),
}

const SIGNS: [&str; 14] = [
    "<=", ">=", "==", "!=", "&&", "||", "<", ">", "=", "~", "!", "(", ")", ",",
];

/// The tokens with their places in bytes.
fn tokens(text: &str) -> Result<Vec<(usize, Token)>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let at = text.len() - rest.len();
        let Some(first) = rest.chars().next() else {
            return Ok(tokens);
        };
        let (token, length) = if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign))
        {
            (Token::Sign(sign), sign.len())
        } else if matches!(first, '\'' | '"' | '`') {
            let Some(end) = rest[1..].find(first) else {
                return Err(wrong(text, at, "the quote has no end"));
            };
            (Token::Quoted(rest[1..=end].to_string()), end + 2)
        } else {
            let is_end = |c: char| c.is_whitespace() || "<>=!~(),&|'\"`".contains(c);
            let end = rest.find(is_end).unwrap_or(rest.len());
            if end == 0 {
                return Err(wrong(text, at, "this makes no sense"));
            }
            (Token::Word(rest[..end].to_string()), end)
        };
        tokens.push((at, token));
        rest = &rest[length..];
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
    known: Known,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    /// Takes the next token if it is one of these signs or words.
    fn take(&mut self, wanted: &[&str]) -> bool {
        let is_wanted = match self.peek() {
            Some(Token::Sign(sign)) => wanted.contains(sign),
            Some(Token::Word(word)) => wanted
                .iter()
                .any(|wanted| word.eq_ignore_ascii_case(wanted)),
            _ => false,
        };
        self.at += usize::from(is_wanted);
        is_wanted
    }

    fn or(&mut self) -> Result<Expression> {
        let mut any = vec![self.and()?];
        while self.take(&["or", "||"]) {
            any.push(self.and()?);
        }
        Ok(one_or(any, Expression::Or))
    }

    fn and(&mut self) -> Result<Expression> {
        let mut all = vec![self.not()?];
        while self.take(&["and", "&&", ","]) {
            all.push(self.not()?);
        }
        Ok(one_or(all, Expression::And))
    }

    fn not(&mut self) -> Result<Expression> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong("fewer parentheses"));
        }
        let inner = if self.take(&["not", "!"]) {
            Expression::Not(Box::new(self.not()?))
        } else if self.take(&["("]) {
            let inner = self.or()?;
            if !self.take(&[")"]) {
                return Err(self.wrong("`)`"));
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(inner)
    }

    fn comparison(&mut self) -> Result<Expression> {
        let name = self.word("a name")?;
        let column = self.known.column(&name)?;
        let operator = match self.peek() {
            Some(Token::Sign("<")) => Operator::Less,
            Some(Token::Sign("<=")) => Operator::AtMost,
            Some(Token::Sign(">")) => Operator::More,
            Some(Token::Sign(">=")) => Operator::AtLeast,
            Some(Token::Sign("=" | "==")) => Operator::Equal,
            Some(Token::Sign("!=")) => Operator::Unequal,
            Some(Token::Sign("~")) => Operator::Contains,
            _ => return Err(self.wrong("`<`, `<=`, `>`, `>=`, `=`, `!=` or `~`")),
        };
        self.at += 1;
        Ok(Expression::Compare(column, operator, self.word("a value")?))
    }

    fn word(&mut self, wanted: &str) -> Result<String> {
        match self.peek() {
            Some(Token::Word(word) | Token::Quoted(word)) => {
                let word = word.clone();
                self.at += 1;
                Ok(word)
            }
            _ => Err(self.wrong(wanted)),
        }
    }

    fn wrong(&self, wanted: &str) -> Error {
        let at = self
            .tokens
            .get(self.at)
            .map_or(self.text.len(), |(at, _)| *at);
        wrong(self.text, at, &format!("expected {wanted}"))
    }
}

fn one_or(mut several: Vec<Expression>, join: fn(Vec<Expression>) -> Expression) -> Expression {
    match several.len() {
        1 => several.remove(0),
        _ => join(several),
    }
}

fn wrong(text: &str, at: usize, why: &str) -> Error {
    let place = match &text[at..] {
        "" => "at its end".to_string(),
        rest => format!("before `{rest}`"),
    };
    Error::usage(format!("--where '{text}': {why} {place}"))
        .hint("for example: --where 'lr<0.1 and state=succeeded', with `…` around a name that is no plain word")
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::{rows, run};
    use super::*;
    use proptest::prelude::*;

    fn meant(text: &str) -> String {
        let mut rows = rows();
        rows.push(run(
            "e",
            &[
                ("lr", "auto"),
                ("odd name", "x y"),
                ("seed", "9007199254740993"),
            ],
            &[("val-loss", 2.0)],
        ));
        let condition = Condition::parse(text, &rows).unwrap_or_else(|error| panic!("{error}"));
        rows.iter()
            .filter(|row| condition.holds(row))
            .map(|row| row.run.as_str())
            .collect()
    }

    #[test]
    fn comparisons_choose_runs() {
        for (text, runs) in [
            ("lr<0.1", "bc"),
            ("lr <= 1e-1", "abc"),
            ("lr>=.1", "ad"),
            ("lr=0.10", "a"),
            ("lr=auto", "e"),
            ("lr!=auto", "abcd"),
            ("lr>auto", ""),
            ("loss=nan", "a"),
            ("loss<1 and lr<1 or run=e", "be"),
            ("loss<1 && (lr<1 || lr=1)", "bd"),
            ("not loss<1", "ace"),
            ("!(lr<0.1), lr<2", "ad"),
            ("val-loss>1", "e"),
            ("`odd name`='x y'", "e"),
            ("state=succeeded and commit=0123", "abcde"),
            ("commit=9999", ""),
            ("metric.loss<0.2", "d"),
            ("subject~it", "abcde"),
            ("seed=9007199254740993", "e"),
            ("seed>9007199254740992", "e"),
            ("seed=9007199254740992", ""),
        ] {
            assert_eq!(meant(text), runs, "{text}");
        }
    }

    #[test]
    fn nonsense_is_pointed_at() {
        let said = |text: &str| Condition::parse(text, &rows()).unwrap_err().message;
        for (text, said_there) in [
            ("", "expected a name at its end"),
            ("lr", "expected `<`"),
            ("lr<", "expected a value at its end"),
            ("lr<1 lr>2", "expected `and` or `or` before `lr>2`"),
            ("(lr<1", "expected `)` at its end"),
            ("lr='1", "the quote has no end before `'1`"),
            ("lr & 1", "this makes no sense before `& 1`"),
            ("rl<1", "no run has a metric or parameter `rl`"),
        ] {
            assert!(said(text).contains(said_there), "{text}: {}", said(text));
        }
        assert!(said(&"(".repeat(9999)).contains("fewer parentheses"));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[a-z<>=!~(),&|'\"` é.0-9-]{0,30}") {
            let _ = Condition::parse(&text, &rows());
        }
    }
}
