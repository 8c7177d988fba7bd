//! Verification: whether the target of a pipeline holds what it should, by count and digest over a closed window of the source.
//!
//! A window begins where the worker began, where the run before ended, or a given time ago, and ends with what is acknowledged: what
//! stands in it is at the target, or is missing.

mod ledger;
pub mod once;
mod run;
mod task;
mod window;

pub use run::{Outcome, Subject};
pub use task::watch;
pub use window::Window;
