//! A fresh name for each question.

use std::fmt;
use std::io::Read;

use crate::error::{Context as _, Result};

/// Sixteen random bytes in hexadecimal, fresh for each question: an answer that does not repeat it is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// A fresh one from the system's random source.
    ///
    /// # Errors
    /// [`Kind::Step`](crate::error::Kind::Step) when `/dev/urandom` cannot be read.
    pub fn fresh() -> Result<Self> {
        let mut bytes = [0; 16];
        std::fs::File::open("/dev/urandom")
            .and_then(|mut source| source.read_exact(&mut bytes))
            .or_step(|| "cannot read /dev/urandom".to_string())?;
        Ok(Nonce(
            bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        ))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One that a test knows.
    #[cfg(test)]
    pub(crate) fn known(digits: &str) -> Self {
        Nonce(digits.to_string())
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
