//! git-agile: commit, push, and the experiment runs on your servers.
//!
//! The folders are the stages of the model: [`requirements`] (imports to distributions), [`design`] (an
//! experiment to its runs), [`development`] (git: index, push, hooks, records), [`deployment`] (servers) and
//! [`review`] (results). [`model`] holds the nouns they share, [`terminal`] is the one door to the person,
//! and [`cli`] ties them together.

pub mod cli;
pub mod deployment;
pub mod design;
pub mod development;
pub mod error;
pub mod manual;
pub mod model;
pub mod requirements;
pub mod review;
pub mod terminal;
