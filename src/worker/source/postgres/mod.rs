//! Tables of a PostgreSQL database as source: a full load in chunks, then the changes out of a replication slot.
//!
//! The slot is made first, so that it has every change from then on. Each chunk is read with a snapshot of its own, which is
//! kept with it; a change of the log is left out when the snapshot of the chunk that its row belongs to has seen its
//! transaction. So what was loaded and what follows fit together row by row, without a transaction that stays open for the
//! whole load, and the load goes on where it was after a crash. The log is confirmed as far as the target has everything.

mod catalog;
mod change;
mod feed;
mod ledger;
mod load;
mod pgoutput;
mod progress;
mod row;
mod run;
mod shared;
mod snapshot;
mod stream;
mod value;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::database::Failure;
use super::super::error::{Error, reported};
use super::super::record::{Position, Record};
use super::super::sync::Setting;
use super::{ReadError, Source, SourceStatus};
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::PostgresSourceConfig;
use run::Run;
use shared::Shared;

/// Parcels of records that wait to be read.
const PARCELS: usize = 4;
/// How long the end of the sessions may take when the source is closed.
const CLOSE: Duration = Duration::from_secs(5);

type Result<Value> = std::result::Result<Value, Trouble>;
type Parcel = std::result::Result<Vec<Record>, ReportedError>;

/// Why there are no records.
#[derive(Debug, Clone, PartialEq)]
enum Trouble {
    /// Connected again later.
    Again(ReportedError),
    /// Somebody has to decide something.
    Stopped(ReportedError),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Again(failure.report())
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Again(error.report())
    }
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

/// Reads tables and their changes.
pub struct PostgresSource {
    records: tokio::sync::Mutex<mpsc::Receiver<Parcel>>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl PostgresSource {
    /// Connects, and sets up what is missing in the database.
    ///
    /// # Errors
    /// The database cannot be reached, lets the worker not in or lacks something, or another worker reads there.
    pub async fn open(setting: &Setting, config: &PostgresSourceConfig) -> std::result::Result<Self, ReportedError> {
        let (sender, receiver) = mpsc::channel(PARCELS);
        let (shared, stop) = (Arc::new(Shared::new()), setting.session.child_token());
        let run = Run::new(setting, config, Arc::clone(&shared), sender, stop.clone());
        let at_source = |mut report: ReportedError| {
            report.message = format!("the source: {}", report.message);
            report
        };
        let session = match run.connect().await {
            Ok(session) => session,
            Err(Trouble::Again(report) | Trouble::Stopped(report)) => return Err(at_source(report)),
        };
        let task = tokio::spawn(run.until_stopped(session));
        Ok(Self { records: receiver.into(), shared, stop, task: Some(task).into() })
    }
}

impl Source for PostgresSource {
    async fn read(&self, _: usize) -> std::result::Result<Vec<Record>, ReadError> {
        match self.records.lock().await.recv().await {
            Some(Ok(records)) => Ok(records),
            Some(Err(report)) => Err(ReadError::Stopped(report)),
            None => Ok(Vec::new()),
        }
    }

    fn acknowledge(&self, positions: &[Position]) {
        for position in positions {
            self.shared.acknowledge(position.offset, position.index);
        }
    }

    fn status(&self) -> SourceStatus {
        self.shared.status()
    }

    async fn close(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && tokio::time::timeout(CLOSE, task).await.is_err()
        {
            tracing::warn!("the sessions with the database did not end in time");
        }
    }
}

/// Something that the server should not have said.
fn unexpected(what: impl Into<String>) -> Trouble {
    Trouble::Again(reported("ProtocolError", what, "look at the server's log; report this if it stays"))
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
