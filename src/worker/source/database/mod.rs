//! What databases as sources have in common: tables are read in full in chunks, then their changes out of the log, and both
//! fit together by the snapshots of the chunks. What becomes durable, and when, is decided here; how a database is asked, and
//! what its log says, is in the folder of each.

pub mod changes;
pub mod definition;
pub mod inspect;
pub mod ledger;
pub mod row;
pub mod rows;
pub mod run;
pub mod shared;
pub mod state;

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
use run::{Engine, Pipe};
use shared::Shared;

/// Parcels of records that wait to be read.
const PARCELS: usize = 4;
/// How long the end of the sessions may take when the source is closed.
const CLOSE: Duration = Duration::from_secs(5);

/// What an attempt gives.
pub type Result<Value> = std::result::Result<Value, Trouble>;
/// What the pipeline is given: records, or why there are no more.
pub type Parcel = std::result::Result<Vec<Record>, ReportedError>;

/// Why there are no records.
#[derive(Debug, Clone, PartialEq)]
pub enum Trouble {
    /// Connected again later.
    Again(ReportedError),
    /// Somebody has to decide something.
    Stopped(ReportedError),
}

impl Trouble {
    /// What it is, without what is done about it.
    #[must_use]
    pub fn report(self) -> ReportedError {
        let (Self::Again(report) | Self::Stopped(report)) = self;
        report
    }
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

/// Something that the server should not have said.
pub fn unexpected(what: impl Into<String>) -> Trouble {
    Trouble::Again(reported("ProtocolError", what, "look at the server's log; report this if it stays"))
}

/// Reads tables and their changes; `Snapshot` tells what a chunk has seen.
pub struct DatabaseSource<Snapshot> {
    records: tokio::sync::Mutex<mpsc::Receiver<Parcel>>,
    shared: Arc<Shared<Snapshot>>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl<Snapshot: Clone + Send + Sync + 'static> DatabaseSource<Snapshot> {
    /// Connects, and sets up what is missing in the database; `engine` makes what reads it.
    ///
    /// # Errors
    /// The database cannot be reached, lets the worker not in or lacks something, or another worker reads there.
    pub async fn open<Reader: Engine<Snapshot = Snapshot>>(
        setting: &Setting,
        engine: impl FnOnce(Pipe<Snapshot>) -> Reader,
    ) -> std::result::Result<Self, ReportedError> {
        let (sender, receiver) = mpsc::channel(PARCELS);
        let (shared, stop) = (Arc::new(Shared::new()), setting.session.child_token());
        let engine = engine(Pipe::new(setting, Arc::clone(&shared), sender, stop.clone()));
        let at_source = |mut report: ReportedError| {
            report.message = format!("the source: {}", report.message);
            report
        };
        let session = match engine.connect().await {
            Ok(session) => session,
            Err(trouble) => return Err(at_source(trouble.report())),
        };
        let task = tokio::spawn(run::until_stopped(engine, session));
        Ok(Self { records: receiver.into(), shared, stop, task: Some(task).into() })
    }
}

impl<Snapshot: Send + Sync> Source for DatabaseSource<Snapshot> {
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
