//! Lines of JSON that differ from an earlier one in their numbers alone, as a program that logs writes them: read
//! without a parser.

use super::curve::Collector;
use super::digits::take_number;

/// A line that was read, as the text around its numbers.
pub(super) struct Shape<'a> {
    /// What is before each number, with the place of the number's name in the collector.
    numbers: Vec<(&'a [u8], usize)>,
    /// What is after the last one.
    end: &'a [u8],
}

impl<'a> Shape<'a> {
    /// The shape of `line`, valid JSON that gave the one record `numbers`; none where it has no number or others.
    pub fn of(line: &'a [u8], numbers: &[(usize, f64)]) -> Option<Self> {
        let (mut around, mut rest) = (Vec::with_capacity(numbers.len()), line);
        for &(column, value) in numbers {
            let (before, number) = rest.split_at(find_number(rest)?);
            let (found, after) = take_number(number)?;
            // The parser of the first line may round the last digit otherwise.
            if (found - value).abs() > 1e-12 * value.abs() {
                return None;
            }
            around.push((before, column));
            rest = after;
        }
        let is_all = !around.is_empty() && find_number(rest).is_none();
        is_all.then_some(Shape {
            numbers: around,
            end: rest,
        })
    }

    /// Gives the numbers of `line` to the collector; false, and nothing is given, where the line is not of this shape.
    pub fn read(&self, line: &[u8], to: &mut Collector) -> bool {
        let start = to.begin();
        let is_read = self.add(line, to).is_some();
        match is_read {
            true => to.end(start),
            false => to.give_up(start),
        }
        is_read
    }

    fn add(&self, line: &[u8], to: &mut Collector) -> Option<()> {
        let mut rest = line;
        for &(before, column) in &self.numbers {
            let (value, after) = take_number(rest.strip_prefix(before)?)?;
            to.add(column, value).ok()?;
            rest = after;
        }
        (rest == self.end).then_some(())
    }
}

/// Where the first number outside of strings begins in the text of valid JSON.
fn find_number(text: &[u8]) -> Option<usize> {
    let (mut at, mut in_string) = (0, false);
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'0'..=b'9' if !in_string => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_another_shape_gives_nothing() {
        let mut collector = Collector::default();
        let columns = ["step", "a\\\"1"].map(|name| collector.name(name).unwrap());
        let first = br#"{"step": 1, "a\"1": -2.5, "t": "x9"}"#;
        let shape = Shape::of(first, &[(columns[0], 1.0), (columns[1], -2.5)]).unwrap();
        assert!(shape.read(br#"{"step": 20, "a\"1": 3e2, "t": "x9"}"#, &mut collector));
        for line in [
            r#"{"step": 2, "a\"1": 3, "t": "x8"}"#,
            r#"{"step": 2, "a\"1": "3", "t": "x9"}"#,
            r#"{"step": 2, "a\"1": 3}"#,
            r#"{"step": 2, "a\"1": 3, "t": "x9"} "#,
            r#"{"step": 2"#,
            "",
        ] {
            assert!(!shape.read(line.as_bytes(), &mut collector), "{line}");
        }
        let (curves, _) = collector.finish(None);
        assert_eq!(curves[1].values, [300.0]);
        for numbers in [&[][..], &[(0, 1.0)], &[(0, 1.0), (1, 2.5)]] {
            assert!(Shape::of(first, numbers).is_none());
        }
    }
}
