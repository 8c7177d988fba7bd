//! Changes of the log on their way to the pipeline, and what ends with them.

use super::super::super::record::{Fields, Operation, Record};
use super::Result;
use super::ledger::End;
use super::row::{Cells, Shape};
use super::run::Pipe;

/// Records and bytes that are handed on together.
const PARCEL: usize = 256;
const PARCEL_BYTES: usize = 1 << 20;

/// A transaction of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Its position: that of its records.
    pub offset: u64,
    /// Its number, where the log has one.
    pub xid: u32,
    /// When it was committed, milliseconds since the Unix epoch.
    pub at_millis: i64,
    /// Index of its next record.
    pub index: u32,
    /// Tables that look otherwise from here on, and their columns.
    pub definitions: Vec<(String, String)>,
    /// Tables that it has truncated: the log has everything of them from here on, and what their chunks have seen is over.
    pub emptied: Vec<String>,
}

impl Transaction {
    /// The transaction at `offset`, of which nothing was read yet.
    #[must_use]
    pub fn new(offset: u64, xid: u32, at_millis: i64) -> Self {
        Self { offset, xid, at_millis, index: 0, definitions: Vec::new(), emptied: Vec::new() }
    }

    /// Adds the next record of the transaction.
    pub fn push(
        &mut self,
        shape: &Shape,
        operation: Operation,
        cells: Cells,
        before: Option<Fields>,
        records: &mut Vec<Record>,
    ) {
        records.push(shape.record((self.offset, self.index), operation, cells, before, self.at_millis));
        self.index = self.index.saturating_add(1);
    }
}

/// What is handed on next.
#[derive(Default)]
pub struct Changes {
    /// Records, with their bytes counted by [`count`](Self::count).
    pub records: Vec<Record>,
    bytes: usize,
    /// What ends behind so many of the records, and its position.
    ends: Vec<(usize, u64, End)>,
}

impl Changes {
    /// Counts what was added behind the first `before` records.
    pub fn count(&mut self, before: usize) {
        self.bytes += self.records[before..].iter().map(Record::bytes).sum::<usize>();
    }

    /// Something ends here.
    pub fn end(&mut self, offset: u64, end: End) {
        self.ends.push((self.records.len(), offset, end));
    }

    /// Whether it is enough to be handed on.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.records.len() >= PARCEL || self.bytes >= PARCEL_BYTES
    }

    /// Hands it on, without what was handed on before a connection was lost.
    ///
    /// # Errors
    /// The pipeline has ended.
    pub async fn hand_on<Snapshot: Clone>(self, pipe: &Pipe<Snapshot>) -> Result<()> {
        let (mut records, mut handed_on) = (self.records.into_iter(), 0);
        for (behind, offset, end) in self.ends {
            hand_on_new(pipe, records.by_ref().take(behind - handed_on).collect()).await?;
            handed_on = behind;
            pipe.shared.lock().ledger.finish(offset, end);
            pipe.shared.acknowledged.notify_one();
        }
        hand_on_new(pipe, records.collect()).await
    }
}

async fn hand_on_new<Snapshot: Clone>(pipe: &Pipe<Snapshot>, mut records: Vec<Record>) -> Result<()> {
    {
        let inner = pipe.shared.lock();
        records.retain(|record| !inner.ledger.was_sent(record.position.offset, record.position.index));
    }
    if records.is_empty() { Ok(()) } else { pipe.hand_on(records, |_| {}).await }
}
