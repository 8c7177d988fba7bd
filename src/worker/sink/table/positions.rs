//! How far each partition of the source is in the target, kept in the target itself: written in the transaction of the rows,
//! so that what is there is never written again, and what is not there is never left out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::super::super::record::{Position, Record};

/// How far a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Offset of the newest record that the target has.
    pub offset: u64,
    /// Its place among the records of that offset.
    pub index: u32,
    /// The newest source time of all records that the target has, milliseconds since the Unix epoch.
    pub newest_millis: i64,
}

/// A partition that goes from one position to another. It is written only where the target has `from`: a writer that has
/// been overtaken by another one changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The partition.
    pub partition: Arc<str>,
    /// What the target should have; none when it should have nothing.
    pub from: Option<Stored>,
    /// What it gets.
    pub to: Stored,
}

/// What the target is known to have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions {
    known: HashMap<Arc<str>, Stored>,
}

impl Positions {
    /// What was read from the target.
    pub fn new(known: impl IntoIterator<Item = (Arc<str>, Stored)>) -> Self {
        Self { known: known.into_iter().collect() }
    }

    /// How far a partition is; none when the target has nothing of it.
    #[must_use]
    pub fn of(&self, partition: &str) -> Option<Stored> {
        self.known.get(partition).copied()
    }

    /// Whether the target has the record.
    ///
    /// A record at a place that the target has passed, which is newer than everything that it has, is another one: the
    /// partition has begun anew, as the queues of a topic do that was deleted and created again.
    #[must_use]
    pub fn have(&self, record: &Record) -> bool {
        self.known
            .get(&record.position.partition)
            .is_some_and(|stored| is_behind(&record.position, stored) && record.at_millis <= stored.newest_millis)
    }

    /// What writing `records`, which the target does not have, does to the positions.
    pub fn moves<'a>(&self, records: impl IntoIterator<Item = &'a Record>) -> Vec<Move> {
        // In the order of their names, so that two writers never wait for each other.
        let mut moves: BTreeMap<&Arc<str>, Move> = BTreeMap::new();
        for record in records {
            let Position { partition, offset, index, .. } = &record.position;
            let from = self.known.get(partition).copied();
            let to = Stored { offset: *offset, index: *index, newest_millis: record.at_millis };
            let entry = moves.entry(partition).or_insert_with(|| {
                let newest = from.filter(|from| !is_behind(&record.position, from)).map(|from| from.newest_millis);
                let newest_millis = newest.map_or(to.newest_millis, |newest| newest.max(to.newest_millis));
                Move { partition: Arc::clone(partition), from, to: Stored { newest_millis, ..to } }
            });
            let newest_millis = entry.to.newest_millis.max(to.newest_millis);
            entry.to = Stored { newest_millis, ..to };
        }
        moves.into_values().collect()
    }

    /// Takes note of moves that the target has.
    pub fn advance(&mut self, moves: Vec<Move>) {
        self.known.extend(moves.into_iter().map(|done| (done.partition, done.to)));
    }
}

fn is_behind(position: &Position, stored: &Stored) -> bool {
    (position.offset, position.index) <= (stored.offset, stored.index)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::super::super::record::{MessageParts, Operation, Payload};
    use super::*;

    fn record(partition: &str, offset: u64, at_millis: i64) -> Record {
        Record {
            position: Position { partition: partition.into(), offset, index: 0, epoch: 0 },
            entity: "t".into(),
            operation: Operation::Insert,
            payload: Payload::Raw(Bytes::new()),
            before: None,
            key_fields: Arc::from([]),
            message: MessageParts::default(),
            at_millis,
            original: None,
            is_changed: false,
        }
    }

    fn stored(offset: u64, newest_millis: i64) -> Stored {
        Stored { offset, index: 0, newest_millis }
    }

    #[test]
    fn what_was_written_is_not_written_again() {
        let mut positions = Positions::default();
        let batch = [record("a", 4, 10), record("b", 9, 11), record("a", 5, 9)];
        assert!(!batch.iter().any(|record| positions.have(record)));
        let moves = positions.moves(&batch);
        assert_eq!(
            moves.iter().map(|one| (one.partition.as_ref(), one.from, one.to)).collect::<Vec<_>>(),
            [("a", None, stored(5, 10)), ("b", None, stored(9, 11)),]
        );
        positions.advance(moves);
        assert!(batch.iter().all(|record| positions.have(record)));
        assert!(!positions.have(&record("a", 6, 12)));
        assert_eq!(positions.moves(&[record("a", 6, 3)])[0].to, stored(6, 10), "the newest time stays the newest");
    }

    #[test]
    fn a_queue_that_begins_anew_is_written_anew() {
        let mut positions = Positions::new([(Arc::from("a"), stored(100, 50))]);
        let batch = [record("a", 0, 60), record("a", 1, 61)];
        assert!(!batch.iter().any(|record| positions.have(record)));
        let moves = positions.moves(&batch);
        assert_eq!((moves[0].from, moves[0].to), (Some(stored(100, 50)), stored(1, 61)));
        positions.advance(moves);
        assert!(positions.have(&record("a", 1, 61)));
    }
}
