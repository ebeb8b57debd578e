//! JSON and JSON lines, with the `NaN`, `Infinity` and `-Infinity` that Python's json module writes.

use std::borrow::Cow;
use std::iter::once;

use memchr::memmem;
use serde::de::DeserializeSeed;
use serde_json::Deserializer;

use super::curve::{Collector, Reading};
use super::shape::Shape;
use super::tree::Walk;

/// One JSON value, or several one after another. Numbers in objects get the names on the way to them with dots
/// between; a list is a curve, or records one after another.
pub fn read_whole(bytes: &[u8]) -> Reading {
    let bytes = quote_specials(bytes);
    let mut collector = Collector::default();
    let mut values = Deserializer::from_slice(&bytes);
    let damage = loop {
        // The end is where nothing but space is left.
        if let Ok(()) = values.end() {
            break None;
        }
        if let Err(error) = Walk::new(&mut collector).deserialize(&mut values) {
            break Some(error.to_string());
        }
    };
    collector.finish(damage)
}

/// How many shapes of lines are known at a time: a program logs its training and its evaluation in turn.
const SHAPES: usize = 4;

/// A JSON value on each line. A line that is none is named, and those after it are read.
pub fn read_lines(bytes: &[u8]) -> Reading {
    let bytes = quote_specials(bytes);
    let (mut collector, mut damage) = (Collector::default(), None);
    let mut shapes: Vec<Shape> = Vec::new();
    for (number, line) in lines(&bytes).enumerate() {
        let is_known = shapes.iter().any(|shape| shape.read(line, &mut collector));
        if is_known || line.trim_ascii().is_empty() {
            continue;
        }
        let mut value = Deserializer::from_slice(line);
        let (start, before) = (collector.begin(), collector.count());
        let read = Walk::new(&mut collector).deserialize(&mut value);
        if let Err(error) = read.and_then(|()| value.end()) {
            damage.get_or_insert_with(|| format!("line {}: {error}", number + 1));
            collector.give_up(start);
            continue;
        }
        let record = collector.only_record(before);
        if let Some(shape) = record.and_then(|record| Shape::of(line, record)) {
            shapes.truncate(SHAPES - 1);
            shapes.insert(0, shape);
        }
    }
    collector.finish(damage)
}

/// What stands between the line feeds.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    let ends = memchr::memchr_iter(b'\n', bytes).chain(once(bytes.len()));
    ends.map(move |end| {
        let line = &bytes[start..end];
        start = end + 1;
        line
    })
}

/// Puts the words for numbers that JSON does not have between quotes, outside of strings.
fn quote_specials(bytes: &[u8]) -> Cow<'_, [u8]> {
    if memmem::find(bytes, b"NaN").is_none() && memmem::find(bytes, b"Infinity").is_none() {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len() + 16);
    let (mut rest, mut in_string) = (bytes, false);
    while let Some(&byte) = rest.first() {
        let words: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
        let word = words
            .iter()
            .find(|word| !in_string && rest.starts_with(word));
        let length = match (byte, word) {
            (_, Some(word)) => {
                out.extend([b"\"", *word, b"\""].concat());
                rest = &rest[word.len()..];
                continue;
            }
            (b'\\', _) if in_string => rest.len().min(2),
            // No string of JSON goes over a line's end: what was cut within one costs that line alone.
            (b'\n', _) => {
                in_string = false;
                1
            }
            (b'"', _) => {
                in_string = !in_string;
                1
            }
            _ => 1,
        };
        out.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_names() {
        let text = r#"{"loss": 0.5, "eval": {"top": {"1": 3}, "name": "x", "v": "1.5"}, "curve": [1, 2.5],
            "log": [{"step": 1, "l": 9}, {"l": 8, "step": 2}], "ok": true, "none": null, "a \"NaN\" b": 1}"#;
        let (curves, damage) = read_whole(text.as_bytes());
        assert_eq!(damage, None);
        let names: Vec<&str> = curves.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["loss", "eval.top.1", "curve", "log.l", "a \"NaN\" b"]
        );
        assert_eq!(curves["curve"].values, [1.0, 2.5]);
        assert_eq!(curves["curve"].steps, [1.0, 2.0]);
        let log = &curves["log.l"];
        assert_eq!(
            (log.axis.as_str(), &log.steps, &log.values),
            ("step", &vec![1.0, 2.0], &vec![9.0, 8.0])
        );
    }

    #[test]
    fn lists_side_by_side_have_an_axis() {
        let (curves, _) = read_whole(br#"{"epoch": [0, 5], "loss": [2, 1], "best": 1}"#);
        assert_eq!(
            (curves["loss"].axis.as_str(), &curves["loss"].steps),
            ("epoch", &vec![0.0, 5.0])
        );
        assert_eq!(curves.keys().collect::<Vec<_>>(), ["loss", "best"]);
    }

    #[test]
    fn the_place_of_a_record_is_its_own() {
        let axes = |text: &str| {
            let (curves, _) = read_lines(text.as_bytes());
            let of = |(name, curve): (String, super::super::Curve)| {
                format!("{name}: {} {:?}", curve.axis, curve.steps)
            };
            curves.into_iter().map(of).collect::<Vec<_>>()
        };
        let best = "{\"epoch\": 5, \"loss\": 1, \"best\": {\"step\": 3}, \"batch\": 64}\n\
                    {\"epoch\": 6, \"loss\": 1, \"best\": {\"step\": 3}, \"batch\": 64}\n";
        assert_eq!(
            axes(best),
            ["loss: epoch [5.0, 6.0]", "best.step: epoch [5.0, 6.0]"]
        );
        let beside =
            "{\"loss\": 1, \"best\": {\"epoch\": 7}}\n{\"loss\": 2, \"best\": {\"epoch\": 7}}\n";
        assert_eq!(axes(beside)[0], "loss:  [1.0, 2.0]");
        let nested =
            "{\"train\": {\"epoch\": 3, \"loss\": 1}}\n{\"train\": {\"epoch\": 4, \"loss\": 2}}\n";
        assert_eq!(axes(nested), ["train.loss: epoch [3.0, 4.0]"]);
        let apart = "{\"progress\": {\"step\": 100}, \"reward\": 1}\n{\"progress\": {\"step\": 200}, \"reward\": 2}\n";
        assert_eq!(axes(apart), ["reward: step [100.0, 200.0]"]);
    }

    #[test]
    fn a_single_record_keeps_its_epoch() {
        let (curves, _) = read_whole(br#"{"epoch": 7, "loss": 2}"#);
        assert_eq!(
            (curves["epoch"].last(), &curves["loss"].steps),
            (7.0, &vec![7.0])
        );
    }

    #[test]
    fn specials_survive() {
        let (curves, damage) =
            read_whole(br#"{"a": NaN, "b": -Infinity, "c": Infinity, "d": "nan", "e": [NaN, 1]}"#);
        assert_eq!(damage, None);
        for name in ["a", "d", "e"] {
            assert!(curves[name].values[0].is_nan());
        }
        assert_eq!(
            (curves["b"].last(), curves["c"].last()),
            (f64::NEG_INFINITY, f64::INFINITY)
        );
    }

    #[test]
    fn a_damaged_line_costs_only_itself() {
        let text = b"{\"x\": 1}\n\n{\"x\": \"NaN\n{\"x\": NaN}\r\n{\"x\": 2}\n{\"x\": 3, \"y\": ";
        let (curves, damage) = read_lines(text);
        let x = &curves["x"].values;
        assert!(
            x.len() == 3 && x[0] == 1.0 && x[1].is_nan() && x[2] == 2.0,
            "{x:?}"
        );
        assert!(damage.is_some_and(|why| why.starts_with("line 3: ")));
    }

    #[test]
    fn lines_alike_are_read_as_if_each_were_the_first() {
        let text = "{\"step\": 1, \"loss\": 0.5}\n{\"step\": 2, \"loss\": 0.25}\n{\"step\": 2, \"eval\": {\"f1\": 3}}\n\
            {\"step\": 3, \"loss\": NaN}\n{\"step\": 4, \"eval\": {\"f1\": 5}}\n{\"step\": 4, \"loss\": 1e999}\n{\"step\": 5, \"loss\": 7}";
        let (curves, damage) = read_lines(text.as_bytes());
        assert!(damage.is_some_and(|why| why.starts_with("line 6: ")));
        let loss = &curves["loss"];
        assert_eq!(loss.steps, [1.0, 2.0, 3.0, 5.0]);
        assert!(loss.values[2].is_nan() && loss.last() == 7.0);
        let eval = &curves["eval.f1"];
        assert_eq!(
            (&eval.steps, &eval.values),
            (&vec![2.0, 4.0], &vec![3.0, 5.0])
        );
        // Each has as many numbers as its last record, and others beside.
        for line in [
            r#"[{"a": 1}, "nan"]"#,
            r#"{"b": [{"s": "nan"}], "a": 1}"#,
            r#"[{"a": 1}, {"a": 1}]"#,
            r#"[1, {"a": 1}]"#,
        ] {
            let (alone, _) = read_whole(line.as_bytes());
            let (twice, _) = read_lines(format!("{line}\n{line}").as_bytes());
            for (name, curve) in alone {
                assert_eq!(twice[&name].values.len(), 2 * curve.values.len(), "{line}");
            }
        }
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let many: String = (0..20_000).map(|i| format!("{{\"n{i}\": 1}}\n")).collect();
        assert!(
            read_whole(many.as_bytes())
                .1
                .is_some_and(|why| why.starts_with("more than"))
        );
        let deep = "[".repeat(100_000);
        assert!(read_whole(deep.as_bytes()).1.is_some());
    }
}
