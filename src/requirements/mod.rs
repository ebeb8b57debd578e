//! Stage 1, requirements: the imports of Python code to the distributions that provide them.

pub mod name;
pub mod scan;
mod settings;
pub mod tables;

pub use settings::{Hook, Optional, Pin, Settings};
