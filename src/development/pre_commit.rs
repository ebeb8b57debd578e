//! The pre-commit hook's work.
use crate::cli::Context;
use crate::error::Result;
/// Placeholder until the requirements stage is merged.
pub fn pre_commit(_: &Context) -> Result<()> {
    Ok(())
}
