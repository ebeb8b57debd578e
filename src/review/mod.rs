//! Stage 6: results home, verified, and the metrics in them as a table.
//!
//! A fetch from one server is one question where nothing or everything is here already, and two otherwise:
//!
//! 1. `python3 -c PROGRAM` with [`fetch_arguments`]: for each run, what its [`Standing`] here asks for. [`Offer::read`]
//!    reads and checks the list of what there is.
//! 2. [`prepare`] compares it with what lies in each run's [`Destination`] and gives a [`Plan`].
//! 3. [`Contents::receive`] writes what comes with the list to the disk, and gives the rest of the plan.
//! 4. [`settle`] when that [is empty](Plan::is_empty); else the program with [`send_arguments`] for the same
//!    [`Source`]s, whose answer [`receive`] writes to the disk.
//!
//! Then [`metrics::read`] reads numbers from what came, and [`table`](mod@table) shows them beside the parameters.
//!
//! A server is not trusted: nothing outside `results/<run>/` changes whatever it sends, no link is ever made, and
//! what is refused is in the [`Report`] with its [`Reason`].

pub mod agreement;
pub mod condition;
mod contents;
mod destination;
mod digest;
pub mod direction;
mod folder;
pub mod group;
pub mod html;
mod index;
mod manifest;
pub mod metrics;
pub mod number;
mod path;
pub mod picture;
mod plan;
mod receive;
mod refusal;
mod request;
pub mod row;
pub mod statistics;
pub mod table;
mod wire;
mod writer;

/// The name of the run's own log among its results, of which `is_there` tells: `log`, or with as many `run.` before it as
/// keep it apart from results that are called so.
pub fn log_name(is_there: impl Fn(&str) -> bool) -> String {
    let mut name = "log".to_string();
    loop {
        let longer = format!("run.{name}");
        match is_there(&longer) {
            true => name = longer,
            false => return name,
        }
    }
}

pub use crate::model::nonce::Nonce;
pub use contents::Contents;
pub use destination::{Destination, Here, Local, Standing, untouched};
pub use digest::Digest;
pub use folder::Stamp;
pub use manifest::{Ask, File, Limits, Listing, Manifest, Offer, read_manifest};
pub use path::{BadPath, ResultPath};
pub use plan::{GitParts, Plan, RunPlan, Wanted, plan};
pub use receive::{Progress, Report, prepare, preview, receive, settle};
pub use refusal::{Reason, Refusal};
pub use request::{PROGRAM, Source, fetch_arguments, manifest_arguments, send_arguments};
