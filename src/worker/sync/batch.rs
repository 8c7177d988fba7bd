//! Records that are written together, with how far their partitions are done when they are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::record::{Invalid, Position, Record};
use crate::worker_config::sync::BatchConfig;

/// Records without content that a batch may carry for each one with content, before it is closed.
const LEFT_OUT_FACTOR: usize = 8;

/// Records that are written together.
#[derive(Default)]
pub struct Batch {
    /// What is to be written.
    pub records: Vec<Record>,
    /// What goes to the dead-letter topic.
    pub dead: Vec<(Record, Invalid)>,
    /// Newest position of each partition that is done with this batch, records that were left out included.
    ends: HashMap<Arc<str>, Position>,
    /// Records that it accounts for.
    count: usize,
    bytes: usize,
    began: Option<Instant>,
    newest_millis: Option<i64>,
    oldest_beat_millis: Option<i64>,
}

impl Batch {
    /// Accounts for a record that was read.
    pub fn note(&mut self, record: &Record) {
        self.began.get_or_insert_with(Instant::now);
        self.count += 1;
        self.newest_millis = Some(self.newest_millis.map_or(record.at_millis, |known| known.max(record.at_millis)));
        match self.ends.get_mut(&record.position.partition) {
            Some(end) => end.clone_from(&record.position),
            None => _ = self.ends.insert(Arc::clone(&record.position.partition), record.position.clone()),
        }
    }

    /// Takes a heartbeat along, which was written at this time: it is through when the batch is.
    pub fn note_beat(&mut self, at_millis: i64) {
        self.began.get_or_insert_with(Instant::now);
        self.oldest_beat_millis.get_or_insert(at_millis);
    }

    /// When the oldest heartbeat was written that goes with it, milliseconds since the Unix epoch.
    #[must_use]
    pub fn beat(&self) -> Option<i64> {
        self.oldest_beat_millis
    }

    /// Adds a record that is to be written.
    pub fn push(&mut self, record: Record) {
        self.bytes += record.bytes();
        self.records.push(record);
    }

    /// Adds a record for the dead-letter topic.
    pub fn bury(&mut self, record: Record, why: Invalid) {
        self.bytes += record.bytes();
        self.dead.push((record, why));
    }

    /// Whether nothing was read for it, no heartbeat either.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0 && self.oldest_beat_millis.is_none()
    }

    /// Records that it accounts for.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether a bound is reached.
    #[must_use]
    pub fn is_full(&self, bounds: &BatchConfig) -> bool {
        let most = usize::try_from(bounds.max_records).unwrap_or(usize::MAX).max(1);
        let bytes = usize::try_from(bounds.max_bytes).unwrap_or(usize::MAX);
        self.records.len() + self.dead.len() >= most
            || self.bytes >= bytes
            || self.count >= most.saturating_mul(LEFT_OUT_FACTOR)
    }

    /// When it is to be written although no bound is reached; none while it is empty.
    #[must_use]
    pub fn deadline(&self, bounds: &BatchConfig) -> Option<Instant> {
        self.began.map(|began| began + Duration::from_millis(bounds.max_wait_millis))
    }

    /// The positions to acknowledge when all is done.
    #[must_use]
    pub fn ends(&self) -> Vec<Position> {
        self.ends.values().cloned().collect()
    }

    /// The source's time of its newest record, milliseconds since the Unix epoch.
    #[must_use]
    pub fn newest_millis(&self) -> Option<i64> {
        self.newest_millis
    }

    /// Keeps the records before `index` only, and acknowledges no further than they go.
    pub fn cut(&mut self, index: usize) {
        let cut: Vec<Record> = self.records.drain(index..).collect();
        let first_of = |partition: &Arc<str>| {
            cut.iter().map(|record| &record.position).find(|position| position.partition == *partition)
        };
        let records = &self.records;
        self.ends.retain(|partition, end| {
            if first_of(partition).is_none() {
                return true;
            }
            let last =
                records.iter().rev().map(|record| &record.position).find(|position| position.partition == *partition);
            last.map(|last| end.clone_from(last)).is_some()
        });
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;

    use super::super::super::record::{MessageParts, Operation, Payload};
    use super::*;

    /// A record at this place.
    pub fn record(partition: &str, offset: u64) -> Record {
        Record {
            position: Position { partition: partition.into(), offset, index: 0, epoch: 0 },
            entity: "t".into(),
            operation: Operation::Insert,
            payload: Payload::Raw(Bytes::from_static(b"x")),
            before: None,
            key_fields: Arc::from([]),
            message: MessageParts::default(),
            at_millis: 5,
            original: None,
            is_changed: false,
        }
    }

    fn batch(places: &[(&str, u64)]) -> Batch {
        let mut batch = Batch::default();
        for (partition, offset) in places {
            let record = record(partition, *offset);
            batch.note(&record);
            batch.push(record);
        }
        batch
    }

    fn ends(batch: &Batch) -> Vec<(String, u64)> {
        let mut ends: Vec<_> = batch.ends().into_iter().map(|end| (end.partition.to_string(), end.offset)).collect();
        ends.sort();
        ends
    }

    #[test]
    fn what_is_left_out_is_acknowledged_with_its_batch() {
        let mut batch = batch(&[("a", 1), ("b", 4)]);
        batch.note(&record("a", 9));
        assert_eq!(ends(&batch), [("a".to_owned(), 9), ("b".to_owned(), 4)]);
    }

    #[test]
    fn a_cut_acknowledges_nothing_behind_it() {
        let mut batch = batch(&[("a", 1), ("b", 4), ("a", 2), ("c", 7), ("b", 5)]);
        batch.cut(2);
        assert_eq!(ends(&batch), [("a".to_owned(), 1), ("b".to_owned(), 4)]);
        assert_eq!(batch.records.len(), 2);
    }

    #[test]
    fn a_heartbeat_alone_makes_a_batch_that_is_due() {
        let bounds = BatchConfig { max_records: 2, max_bytes: 1 << 20, max_wait_millis: 100 };
        let mut batch = Batch::default();
        batch.note_beat(7);
        batch.note_beat(9);
        assert_eq!((batch.is_empty(), batch.count(), batch.beat()), (false, 0, Some(7)));
        assert!(batch.deadline(&bounds).is_some() && !batch.is_full(&bounds));
    }

    #[test]
    fn bounds_close_a_batch() {
        let bounds = BatchConfig { max_records: 2, max_bytes: 1 << 20, max_wait_millis: 100 };
        assert!(!batch(&[("a", 1)]).is_full(&bounds));
        assert!(batch(&[("a", 1), ("a", 2)]).is_full(&bounds));
        assert!(batch(&[("a", 1)]).is_full(&BatchConfig { max_bytes: 10, ..bounds }));
        assert_eq!(Batch::default().deadline(&BatchConfig { max_records: 1, max_bytes: 1, max_wait_millis: 1 }), None);
    }
}
