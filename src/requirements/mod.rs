//! Stage 1, requirements: the imports of Python code to the distributions that provide them.

pub mod declared;
pub mod document;
pub mod edit;
pub mod environment;
pub mod findings;
pub mod installed;
pub mod name;
pub mod needs;
pub mod notebook;
pub mod plan;
pub mod project;
pub mod pyproject;
pub mod python;
pub mod report;
pub mod resolve;
pub mod scan;
pub mod settings;
pub mod tables;

pub use settings::{Hook, Optional, Pin, Settings};
