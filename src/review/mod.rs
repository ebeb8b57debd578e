//! Stage 6: results home, verified, and the metrics in them as a table.
//!
//! A fetch from one server is two questions and what lies between them:
//!
//! 1. `python3 -c PROGRAM` with [`manifest_arguments`]; [`read_manifest`] checks the answer.
//! 2. [`prepare`] compares it with what lies in each run's [`Destination`] and gives a [`Plan`].
//! 3. [`settle`] when the plan [is empty](Plan::is_empty); else the program with [`send_arguments`] for the same
//!    [`Source`]s, whose answer [`receive`] writes to the disk.
//!
//! Then [`metrics::read`] reads numbers from what came, and [`table`](mod@table) shows them beside the parameters.
//!
//! A server is not trusted: nothing outside `results/<run>/` changes whatever it sends, no link is ever made, and
//! what is refused is in the [`Report`] with its [`Reason`].

mod destination;
mod digest;
mod folder;
mod index;
mod manifest;
pub mod metrics;
mod path;
mod plan;
mod receive;
mod refusal;
mod request;
pub mod table;
mod wire;
mod writer;

pub use crate::model::nonce::Nonce;
pub use destination::{Destination, Here, Local};
pub use digest::Digest;
pub use folder::Stamp;
pub use manifest::{File, Limits, Listing, Manifest, read_manifest};
pub use path::{BadPath, ResultPath};
pub use plan::{GitParts, Plan, RunPlan, Wanted, plan};
pub use receive::{Progress, Report, prepare, receive, settle};
pub use refusal::{Reason, Refusal};
pub use request::{PROGRAM, Source, manifest_arguments, send_arguments};
