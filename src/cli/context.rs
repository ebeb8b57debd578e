//! What every command is given.

use crate::development::repository::Repository;
use crate::error::Result;
use crate::terminal::Output;

/// The surroundings of one command; nothing is found through globals.
pub struct Context {
    /// The one way to print.
    pub output: Output,
}

impl Context {
    /// The repository at hand.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub fn repository(&self) -> Result<Repository> {
        Repository::open()
    }
}
