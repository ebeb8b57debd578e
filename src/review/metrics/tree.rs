//! Nested values of any serde format, walked without being kept.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::curve::Collector;
use super::number;

/// Gives a value's numbers to a [`Collector`]: those in a table get the names on the way to them; a list is a curve,
/// or records one after another.
pub(super) struct Walk<'a> {
    to: &'a mut Collector,
    is_record: bool,
}

impl<'a> Walk<'a> {
    /// For a value that stands alone, such as a file or a line.
    pub fn new(to: &'a mut Collector) -> Self {
        Walk {
            to,
            is_record: true,
        }
    }

    fn number<E: Error>(self, value: f64) -> Result<(), E> {
        self.to.number(value).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metrics")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.number(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.number(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.number(value as f64)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    /// Of texts, only the numbers that JSON lacks are metrics; a version `"1.10"` is none.
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match is_special(text).then(|| number(text)).flatten() {
            Some(value) => self.number(value),
            None => Ok(()),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let start = self.is_record.then(|| self.to.begin());
        while let Some(before) = map.next_key_seed(Key(self.to))? {
            let walk = Walk {
                to: self.to,
                is_record: false,
            };
            map.next_value_seed(walk)?;
            self.to.leave(before);
        }
        if let Some(start) = start {
            self.to.end(start);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Walk::new(self.to))?.is_some() {}
        Ok(())
    }
}

/// Enters the name that a key is, without keeping it.
struct Key<'a>(&'a mut Collector);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<usize, E> {
        Ok(self.0.enter(name))
    }
}

fn is_special(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    ["nan", "inf", "infinity"]
        .iter()
        .any(|special| text.eq_ignore_ascii_case(special))
}
