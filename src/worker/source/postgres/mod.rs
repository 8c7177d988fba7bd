//! Tables of a PostgreSQL database as source: a full load in chunks, then the changes out of a replication slot.
//!
//! The slot is made first, so that it has every change from then on. Each chunk is read with a snapshot of its own, which is
//! kept with it; a change of the log is left out when the snapshot of the chunk that its row belongs to has seen its
//! transaction. So what was loaded and what follows fit together row by row, without a transaction that stays open for the
//! whole load, and the load goes on where it was after a crash. The log is confirmed as far as the target has everything.

mod catalog;
mod change;
mod copy;
mod feed;
mod inspect;
mod load;
mod pgoutput;
mod progress;
mod run;
mod snapshot;
mod stream;
mod value;
mod wire;

use super::super::sync::Setting;
use super::database::{DatabaseSource, Result, Trouble, unexpected};
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::PostgresSourceConfig;
pub use inspect::PostgresInspector;
use run::Run;
use snapshot::Snapshot;

/// Reads tables and their changes.
pub type PostgresSource = DatabaseSource<Snapshot>;

/// Connects, and sets up what is missing in the database.
///
/// # Errors
/// The database cannot be reached, lets the worker not in or lacks something, or another worker reads there.
pub async fn open(
    setting: &Setting,
    config: &PostgresSourceConfig,
) -> std::result::Result<PostgresSource, ReportedError> {
    DatabaseSource::open(setting, |pipe| Run::new(config, pipe)).await
}

/// A text as a literal of a statement.
fn literal(text: &str) -> String {
    // With a backslash it needs the E form, whatever standard_conforming_strings is.
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// A name as statements write it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_names_cannot_leave_their_quotes() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
        assert_eq!(quoted(r#"a"b"#), r#""a""b""#);
    }
}
