//! Stage 2, design: an experiment becomes its runs. Pure: no git, no network, no clock, and the same every time.

mod command;
mod expand;
mod identity;

pub use expand::{Setting, expand};
pub use identity::{Identity, Stops, run_id};
