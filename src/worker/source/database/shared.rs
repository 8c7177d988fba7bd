//! What the sessions with a database and the pipeline share.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::super::SourceStatus;
use super::ledger::{End, Ledger};
use super::state::{LoadedChunk, SlotState, TableState};
use crate::worker_config::report::{ReportedError, TableProgress};

/// What both sides know; it outlives a lost connection.
pub struct Shared<Snapshot> {
    inner: Mutex<Inner<Snapshot>>,
    /// Something was acknowledged.
    pub acknowledged: Notify,
    /// Position of the log that may be confirmed; told each time something became durable.
    pub saved: watch::Sender<u64>,
}

/// The state behind the lock.
pub struct Inner<Snapshot> {
    /// What was handed on.
    pub ledger: Ledger,
    /// What is known of the source; none until it was read.
    pub slot: Option<SlotState<Snapshot>>,
    /// Chunk that is being read.
    pub open: Option<OpenChunk>,
    /// Chunks so far: the positions of their rows, all below those of a log, which begins at 16 MiB and above.
    chunks: u64,
    progress: BTreeMap<String, TableProgress>,
    is_connected: bool,
    is_caught_up: bool,
    trouble: Option<ReportedError>,
}

/// A chunk that is being read.
pub struct OpenChunk {
    /// Its position.
    pub offset: u64,
    /// `schema.table`.
    pub table: String,
    /// Number in its table.
    pub number: usize,
    /// Rows that were handed on.
    pub rows: u64,
}

impl<Snapshot> Shared<Snapshot> {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        let inner = Inner {
            ledger: Ledger::default(),
            slot: None,
            open: None,
            chunks: 0,
            progress: BTreeMap::new(),
            is_connected: false,
            is_caught_up: false,
            trouble: None,
        };
        Self { inner: Mutex::new(inner), acknowledged: Notify::new(), saved: watch::Sender::new(0) }
    }

    /// The state.
    pub fn lock(&self) -> MutexGuard<'_, Inner<Snapshot>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The target has everything up to this position.
    pub fn acknowledge(&self, offset: u64, index: u32) {
        self.lock().ledger.acknowledge(offset, index);
        self.acknowledged.notify_one();
    }

    /// Notes that the sessions work, or why not.
    pub fn set_trouble(&self, trouble: Option<ReportedError>) {
        let mut inner = self.lock();
        (inner.is_connected, inner.trouble) = (trouble.is_none(), trouble);
    }

    /// Notes whether everything that the log has was handed on.
    pub fn set_caught_up(&self, is_caught_up: bool) {
        self.lock().is_caught_up = is_caught_up;
    }

    /// Notes how far a table is.
    pub fn note_table(&self, table: &str, change: impl FnOnce(&mut TableProgress)) {
        let mut inner = self.lock();
        let empty = || TableProgress { table: table.to_owned(), rows: 0, expected_rows: None, is_complete: false };
        change(inner.progress.entry(table.to_owned()).or_insert_with(empty));
    }

    /// How the source stands.
    #[must_use]
    pub fn status(&self) -> SourceStatus {
        let inner = self.lock();
        SourceStatus {
            partitions: u32::from(inner.is_connected),
            lag: (inner.is_connected && inner.is_caught_up).then_some(0),
            trouble: inner.trouble.clone(),
            tables: inner.progress.values().cloned().collect(),
            waiting_beat_millis: None,
        }
    }
}

impl<Snapshot> Inner<Snapshot> {
    /// What is known of a table.
    pub fn table(&mut self, name: &str) -> &mut TableState<Snapshot> {
        self.slot.get_or_insert_with(SlotState::default).tables.entry(name.to_owned()).or_default()
    }

    /// Begins to read a chunk; its position.
    pub fn open_chunk(&mut self, table: &str, number: usize) -> u64 {
        self.chunks += 1;
        self.open = Some(OpenChunk { offset: self.chunks, table: table.to_owned(), number, rows: 0 });
        self.chunks
    }

    /// All rows of the chunk that is open were handed on.
    pub fn finish_chunk(&mut self) {
        let Some(OpenChunk { offset, table, number, rows }) = self.open.take() else { return };
        let state = self.table(&table);
        let mut is_last = false;
        if let Some(chunk) = state.chunks.get_mut(number) {
            chunk.is_read = true;
            is_last = chunk.upper.is_none();
        }
        state.is_loaded = is_last;
        self.ledger.finish(offset, End::Chunk(LoadedChunk { table, number, is_last, rows }));
    }

    /// The chunk that is open, if one is, will be read again.
    pub fn drop_chunk(&mut self) {
        if let Some(OpenChunk { offset, .. }) = self.open.take().filter(|open| open.rows > 0) {
            self.ledger.finish(offset, End::Nothing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::Chunk;
    use super::*;

    #[test]
    fn a_chunk_is_loaded_when_all_of_it_is_acknowledged() {
        let shared = Shared::new();
        let mut inner = shared.lock();
        inner.table("public.t").chunks.push(Chunk { upper: None, snapshot: (), is_read: false });
        let offset = inner.open_chunk("public.t", 0);
        inner.ledger.send(offset, 0);
        inner.open.as_mut().unwrap().rows = 1;
        inner.drop_chunk();
        inner.ledger.acknowledge(offset, 0);
        assert_eq!(inner.ledger.ready(), [End::Nothing], "it was cut off, and is read again");
        inner.ledger.drop_front(1);
        let offset = inner.open_chunk("public.t", 0);
        inner.ledger.send(offset, 0);
        inner.open.as_mut().unwrap().rows = 1;
        inner.finish_chunk();
        assert!(inner.table("public.t").is_loaded);
        assert_eq!(inner.ledger.ready(), []);
        inner.ledger.acknowledge(offset, 0);
        let loaded = LoadedChunk { table: "public.t".into(), number: 0, is_last: true, rows: 1 };
        assert_eq!(inner.ledger.ready(), [End::Chunk(loaded)]);
    }
}
