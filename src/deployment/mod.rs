//! Stage 5, deployment: connections to servers, the scripts that run there, and what their answers mean.
//!
//! Everything a deployment does on a server is one POSIX `sh` script on the standard input of one command of one
//! multiplexed connection. The scripts' text is constant (`scripts/*.sh`); what varies reaches it as quoted
//! arguments. Nothing counts as done without the closing frame of the answer.

pub mod connection;
pub mod deploy;
mod master;
pub mod observe;
pub mod protocol;
pub mod requirements;
pub mod scripts;
pub mod trust;

pub use connection::Connection;
