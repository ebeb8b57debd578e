//! JSON and JSON lines, with the `NaN`, `Infinity` and `-Infinity` that Python's json module writes.

use serde_json::{Deserializer, Value};

use super::{Curves, Reading, number};

/// One JSON value, or several one after another. Numbers in objects get the names on the way to them with dots
/// between; a list is a curve, or records one after another.
pub fn read_whole(bytes: &[u8]) -> Reading {
    let mut curves = Curves::new();
    for value in Deserializer::from_slice(&quote_specials(bytes)).into_iter::<Value>() {
        match value {
            Ok(value) => add(&mut curves, "", &value),
            Err(error) => return (curves, Some(error.to_string())),
        }
    }
    (curves, None)
}

/// A JSON value on each line. A line that is none is named, and those after it are read.
pub fn read_lines(bytes: &[u8]) -> Reading {
    let (mut curves, mut damage) = (Curves::new(), None);
    for (number, line) in bytes.split(|&b| b == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<Value>(&quote_specials(line)) {
            Ok(value) => add(&mut curves, "", &value),
            Err(error) => {
                damage.get_or_insert_with(|| format!("line {}: {error}", number + 1));
            }
        }
    }
    (curves, damage)
}

fn add(curves: &mut Curves, name: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match name {
                    "" => add(curves, key, value),
                    _ => add(curves, &format!("{name}.{key}"), value),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| add(curves, name, item)),
        _ => {
            let found = match value {
                Value::Number(found) => found.as_f64(),
                Value::String(text) if is_special(text) => number(text),
                _ => None,
            };
            if let Some(found) = found {
                let name = if name.is_empty() { "value" } else { name };
                curves.entry(name.to_string()).or_default().push(found);
            }
        }
    }
}

/// Other texts, such as a version `"1.10"`, are no metrics.
fn is_special(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    ["nan", "inf", "infinity"]
        .iter()
        .any(|special| text.eq_ignore_ascii_case(special))
}

/// Puts the words for numbers that JSON does not have between quotes, outside of strings.
fn quote_specials(bytes: &[u8]) -> Vec<u8> {
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
            (b'"', _) => {
                in_string = !in_string;
                1
            }
            _ => 1,
        };
        out.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_names() {
        let text = r#"{"loss": 0.5, "eval": {"top": {"1": 3}, "name": "x", "v": "1.5"}, "curve": [1, 2.5],
            "log": [{"step": 1, "l": 9}, {"step": 2}], "ok": true, "none": null, "a \"NaN\" b": 1}"#;
        let (curves, damage) = read_whole(text.as_bytes());
        assert_eq!(damage, None);
        let names: Vec<&str> = curves.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "a \"NaN\" b",
                "curve",
                "eval.top.1",
                "log.l",
                "log.step",
                "loss"
            ]
        );
        assert_eq!(
            (&curves["curve"], &curves["log.step"]),
            (&vec![1.0, 2.5], &vec![1.0, 2.0])
        );
    }

    #[test]
    fn specials_survive() {
        let (curves, damage) =
            read_whole(br#"{"a": NaN, "b": -Infinity, "c": Infinity, "d": "nan", "e": [NaN, 1]}"#);
        assert_eq!(damage, None);
        assert!(curves["a"][0].is_nan() && curves["d"][0].is_nan() && curves["e"][0].is_nan());
        assert_eq!(
            (curves["b"][0], curves["c"][0]),
            (f64::NEG_INFINITY, f64::INFINITY)
        );
    }

    #[test]
    fn a_cut_last_line_costs_only_itself() {
        let (curves, damage) = read_lines(b"{\"x\": 1}\n\n{\"x\": 2}\r\n{\"x\": ");
        assert_eq!(curves["x"], [1.0, 2.0]);
        assert!(damage.is_some_and(|why| why.starts_with("line 4: ")));
    }
}
