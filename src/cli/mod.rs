//! The command line: one small file per command, with its arguments, what it calls and what it prints.

mod context;
pub mod requirements;

pub use context::Context;
