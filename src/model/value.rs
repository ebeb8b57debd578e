//! The value of a parameter.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a parameter may be set to. Lists and tables reach the program as JSON text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Value(serde_json::Value);

impl Value {
    /// The value that `toml` holds. Dates become text; infinities and NaN, which JSON lacks, become `inf`,
    /// `-inf` and `nan`.
    pub fn from_toml(toml: &toml::Value) -> Self {
        Value(json(toml))
    }

    /// What a person typed after `--set name=`: a TOML value where it is one, else the text itself.
    pub fn from_typed(text: &str) -> Self {
        let document = format!("value = {text}");
        let parsed = toml::from_str::<toml::Table>(&document).ok();
        match parsed
            .filter(|table| table.len() == 1)
            .and_then(|table| table.get("value").map(Value::from_toml))
        {
            Some(value) => value,
            None => Value(serde_json::Value::String(text.to_string())),
        }
    }

    /// The value as JSON.
    pub fn json(&self) -> &serde_json::Value {
        &self.0
    }
}

/// Text stays as it is; everything else is its JSON form, so that `0.1` is `0.1` and `true` is `true`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            serde_json::Value::String(text) => f.pad(text),
            other => f.pad(&other.to_string()),
        }
    }
}

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        Value(value)
    }
}

fn json(toml: &toml::Value) -> serde_json::Value {
    match toml {
        toml::Value::String(text) => text.clone().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => match serde_json::Number::from_f64(*number) {
            Some(number) => number.into(),
            None => number.to_string().to_lowercase().into(),
        },
        toml::Value::Boolean(yes) => (*yes).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.iter().map(json).collect(),
        toml::Value::Table(table) => table
            .iter()
            .map(|(key, value)| (key.clone(), json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_written() {
        for (typed, shown) in [
            ("0.1", "0.1"),
            ("1e-5", "0.00001"),
            ("3", "3"),
            ("true", "true"),
            ("adam", "adam"),
            ("\"0.10\"", "0.10"),
            ("[1, 2]", "[1,2]"),
            ("nan", "nan"),
            ("a = b\nx = 1", "a = b\nx = 1"),
        ] {
            assert_eq!(Value::from_typed(typed).to_string(), shown);
        }
    }
}
