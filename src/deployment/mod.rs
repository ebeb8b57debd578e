//! Stage 5, deployment: connections to servers, the scripts that run there, and what their answers mean.
//!
//! Everything a deployment does on a server is one POSIX `sh` script on the standard input of one command of one
//! multiplexed connection. The scripts' text is constant (`scripts/*.sh`); what varies reaches it as quoted
//! arguments. Nothing counts as done without the closing frame of the answer.

pub mod connection;
pub mod deploy;
pub mod development;
pub mod direct;
mod dockerfile;
pub mod doctor;
pub mod environment;
pub mod foresee;
mod impatient;
mod master;
pub mod observe;
pub mod project;
pub mod protocol;
pub mod reproduction;
pub mod requirements;
pub mod scripts;
mod shell;
pub mod slurm;
pub mod trust;

pub use connection::Connection;
pub use master::{GitHost, shared_git_host};
