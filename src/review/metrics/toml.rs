//! TOML.

use serde::de::DeserializeSeed;

use super::curve::{Collector, Reading};
use super::tree::Walk;

/// Numbers in tables get the names on the way to them with dots between.
pub fn read(bytes: &[u8]) -> Reading {
    let mut collector = Collector::default();
    let read = match ::toml::from_slice::<::toml::Value>(bytes) {
        Ok(value) => Walk::new(&mut collector).deserialize(value),
        Err(error) => Err(error),
    };
    let damage = read.err().map(|error| error.message().to_string());
    collector.finish(damage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_records_are_read() {
        let text = "loss = nan\n[eval]\nacc = 0.5\nname = 'x'\nday = 2024-01-01\n\
            [[log]]\nepoch = 1\nl = 3\n[[log]]\nepoch = 2\nl = -inf\n";
        let (curves, damage) = read(text.as_bytes());
        assert_eq!(damage, None);
        assert!(curves["loss"].last().is_nan());
        assert_eq!(curves["eval.acc"].values, [0.5]);
        assert_eq!(curves["log.l"].values, [3.0, f64::NEG_INFINITY]);
        assert_eq!(curves["log.l"].axis, "epoch");
        assert!(read(b"a = 1\nb =").1.is_some());
        let deep = format!("a = {}{}", "[".repeat(9999), "]".repeat(9999));
        assert!(read(deep.as_bytes()).1.is_some());
    }
}
