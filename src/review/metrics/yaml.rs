//! YAML, event by event: an alias (`*name`) gives nothing, so that no file grows when it is read.

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::curve::{Collector, Reading};
use super::number;

/// How deep lists and tables may stand in each other.
const DEEPEST: usize = 128;

/// Numbers in mappings get the names on the way to them with dots between; several documents are records one after
/// another.
pub fn read(bytes: &[u8]) -> Reading {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Collector::default().finish(Some(error.to_string())),
    };
    let mut walk = Walk::default();
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((event, _)) => walk.take(&event),
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = step {
            return walk.to.finish(Some(why));
        }
    }
    walk.to.finish(None)
}

#[derive(Default)]
struct Walk {
    to: Collector,
    /// What the next event stands in, the innermost last.
    inside: Vec<Inside>,
}

enum Inside {
    List,
    Table {
        /// Where the table's record began, if it is one.
        start: Option<usize>,
        key: Key,
    },
}

/// Where in a table the next event stands.
enum Key {
    /// It is the next key.
    Awaited,
    /// It is the value of a key; the path was this long before.
    Entered(usize),
    /// It is the value of a key that is no text.
    Skipped,
}

impl Walk {
    fn take(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, ..) => self.scalar(text, *style == ScalarStyle::Plain),
            Event::Alias(_) => self.scalar("", false),
            Event::SequenceStart(..) => self.open(Inside::List),
            Event::MappingStart(..) => {
                let is_record = matches!(self.inside.last(), None | Some(Inside::List));
                let start = is_record.then(|| self.to.begin());
                self.open(Inside::Table {
                    start,
                    key: Key::Awaited,
                })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Inside::Table {
                    start: Some(start), ..
                }) = self.inside.pop()
                {
                    self.to.end(start);
                }
                self.value_done();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, inside: Inside) -> Result<(), String> {
        if self.inside.len() == DEEPEST {
            return Err(format!("more than {DEEPEST} levels"));
        }
        self.inside.push(inside);
        Ok(())
    }

    fn scalar(&mut self, text: &str, is_plain: bool) -> Result<(), String> {
        if let Some(Inside::Table { key, .. }) = self.inside.last_mut()
            && matches!(key, Key::Awaited)
        {
            *key = Key::Entered(self.to.enter(text));
            return Ok(());
        }
        let is_named = !matches!(
            self.inside.last(),
            Some(Inside::Table {
                key: Key::Skipped,
                ..
            })
        );
        if let Some(value) = plain_number(text).filter(|_| is_plain && is_named) {
            self.to.number(value)?;
        }
        self.value_done();
        Ok(())
    }

    /// A value is complete: in a table, a key follows. A list or table that was itself a key names nothing.
    fn value_done(&mut self) {
        if let Some(Inside::Table { key, .. }) = self.inside.last_mut() {
            match *key {
                Key::Awaited => *key = Key::Skipped,
                Key::Entered(before) => {
                    self.to.leave(before);
                    *key = Key::Awaited;
                }
                Key::Skipped => *key = Key::Awaited,
            }
        }
    }
}

/// A number as YAML writes it: `.nan` and `.inf` too (YAML 1.2.2, section 10.2.1.4), and the `nan` of careless programs.
fn plain_number(text: &str) -> Option<f64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    match rest {
        ".nan" | ".NaN" | ".NAN" => Some(f64::NAN),
        ".inf" | ".Inf" | ".INF" => Some(sign * f64::INFINITY),
        _ => number(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_lists_and_documents_are_read() {
        let text = "loss: 0.5\neval: {acc: .nan, worst: -.inf, 'v': '1.5'}\n? [a, b]\n: 7\n\
            log:\n- {epoch: 1, l: 1e-3}\n- {epoch: 2, l: 2}\ncurve: [1, 2.5]\n";
        let (curves, damage) = read(text.as_bytes());
        assert_eq!(damage, None);
        let names: Vec<&str> = curves.keys().map(String::as_str).collect();
        assert_eq!(names, ["loss", "eval.acc", "eval.worst", "log.l", "curve"]);
        assert!(curves["eval.acc"].last().is_nan());
        assert_eq!(curves["eval.worst"].last(), f64::NEG_INFINITY);
        assert_eq!(
            (curves["log.l"].axis.as_str(), &curves["log.l"].values),
            ("epoch", &vec![0.001, 2.0])
        );
        let (curves, _) = read(b"---\nstep: 1\nx: 3\n---\nstep: 2\nx: 4\n");
        assert_eq!(curves["x"].steps, [1.0, 2.0]);
    }

    #[test]
    fn hostile_files_stay_small() {
        let mut bomb = "a: &a [1,1,1,1,1,1,1,1,1]\n".to_string();
        for (this, next) in ('a'..'i').zip('b'..'j') {
            bomb += &format!("{next}: &{next} [*{this},*{this},*{this},*{this},*{this},*{this}]\n");
        }
        let (curves, damage) = read(bomb.as_bytes());
        assert_eq!((curves.len(), damage), (1, None));
        assert!(read("[".repeat(5000).as_bytes()).1.is_some());
        assert!(read(b"a: 1\nb: [1\nc: }").1.is_some());
        assert!(read(b"a: \xff").1.is_some());
    }
}
