//! Verification: whether the target of a pipeline holds what it should, over a closed window of the source: messages by count and
//! digest, rows as the database compares them; and whether topics hold what the tables of a database do.
//!
//! A window of topics begins where the worker began, where the run before ended, or a given time ago, and ends with what is acknowledged: what
//! stands in it is at the target, or is missing.

mod capture;
mod ledger;
pub mod once;
mod passed;
mod refused;
mod rows;
mod run;
mod schedule;
mod table;
mod task;
mod verdict;
mod window;

pub use run::{Outcome, Subject};
pub use task::watch;
pub use window::Window;
