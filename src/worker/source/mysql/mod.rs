//! Tables of a MySQL or MariaDB database as source: a full load in chunks, then the changes out of the binary log.
//!
//! A place in the log is taken first. Each chunk is read in a transaction whose snapshot belongs to a place in the log, which
//! is kept with the chunk; a change of the log is left out when the snapshot of the chunk that its row belongs to has seen
//! it. So what was loaded and what follows fit together row by row, without a transaction that stays open for the whole load,
//! and the load goes on where it was after a crash. The place in the log is kept in the database, as far as the target has
//! everything.

mod binary;
mod catalog;
mod change;
mod control;
mod feed;
mod inspect;
mod json;
mod load;
mod log;
mod position;
mod progress;
mod run;
mod snapshot;
mod statement;
mod stream;
mod value;
mod variables;

use super::super::sync::Setting;
use super::database::{DatabaseSource, Result, Trouble, unexpected};
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::MySqlSourceConfig;
pub use inspect::MySqlInspector;
use position::LogPosition;
use run::Run;

/// Reads tables and their changes.
pub type MySqlSource = DatabaseSource<LogPosition>;

/// Connects, and sets up what is missing in the database.
///
/// # Errors
/// The database cannot be reached, lets the worker not in or lacks something, or another worker reads there.
pub async fn open(setting: &Setting, config: &MySqlSourceConfig) -> std::result::Result<MySqlSource, ReportedError> {
    DatabaseSource::open(setting, |pipe| Run::new(config, pipe)).await
}

/// A text as a literal of a statement; the sessions' `sql_mode` lets a backslash escape.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A name as statements write it.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_names_cannot_leave_their_quotes() {
        assert_eq!(literal(r"it's \"), r"'it''s \\'");
        assert_eq!(quoted("a`b"), "`a``b`");
    }
}
