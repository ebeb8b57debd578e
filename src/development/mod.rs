//! Stage 3, development in git: the repository, its index and hooks, what a push did, and the runs' records.
//!
//! libgit2 reads and writes objects, index and refs; what talks to a remote or runs hooks is the `git`
//! executable, and [`git`] is the only door to it.

mod cache;
pub mod contents;
pub mod credential;
pub mod git;
pub mod hooks;
pub mod lock;
pub mod pack;
pub mod partial;
pub mod plain_push;
pub mod pre_commit;
pub mod push;
pub mod records;
pub mod repository;
pub mod requirements;
pub mod sharing;
pub mod tracked;
