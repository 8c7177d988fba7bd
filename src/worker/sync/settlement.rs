//! What may be acknowledged when: a sink that gathers records over many batches makes them durable later, and not in the order of
//! their coming.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::super::record::Position;
use super::super::sink::Sink;
use super::batch::Batch;

/// What was written and is not acknowledged.
#[derive(Default)]
pub struct Settlement {
    /// Newest position of each partition that was written.
    ends: HashMap<Arc<str>, End>,
    /// When heartbeats were taken, with the times of their writing.
    beats: VecDeque<(Instant, i64)>,
}

struct End {
    newest: Position,
    /// Offset up to which it was acknowledged.
    acknowledged: Option<u64>,
}

/// What a look at the sink finds.
#[derive(Default)]
pub struct Settled {
    /// Positions up to which everything is durable.
    pub durable: Vec<Position>,
    /// Positions up to which everything was taken, which is not all durable.
    pub aside: Vec<Position>,
    /// When the newest heartbeat was written that is through, milliseconds since the Unix epoch.
    pub beat: Option<i64>,
}

impl Settlement {
    /// Takes note of a batch that was written.
    pub fn note(&mut self, batch: &Batch) {
        if let Some(at_millis) = batch.beat() {
            self.beats.push_back((Instant::now(), at_millis));
        }
        for newest in batch.ends() {
            match self.ends.get_mut(&newest.partition) {
                Some(end) if end.newest.epoch == newest.epoch => end.newest = newest,
                _ => _ = self.ends.insert(Arc::clone(&newest.partition), End { newest, acknowledged: None }),
            }
        }
    }

    /// What became durable since the last look.
    pub fn settle(&mut self, sink: &impl Sink) -> Settled {
        let mut settled = Settled::default();
        self.ends.retain(|partition, end| {
            let Some(first) = sink.first_gathered(partition) else {
                settled.durable.push(end.newest.clone());
                return false;
            };
            settled.aside.push(end.newest.clone());
            let before = first.offset.checked_sub(1).filter(|_| first.epoch == end.newest.epoch);
            let until = before.filter(|until| end.acknowledged.is_none_or(|known| known < *until));
            if let Some(until) = until {
                end.acknowledged = Some(until);
                settled.durable.push(Position { offset: until, index: u32::MAX, ..end.newest.clone() });
            }
            true
        });
        let oldest = sink.gathered().oldest;
        while let Some((taken, at_millis)) = self.beats.front().copied() {
            if oldest.is_some_and(|oldest| oldest <= taken) {
                break;
            }
            self.beats.pop_front();
            settled.beat = Some(at_millis);
        }
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::record::Record;
    use super::super::super::sink::{Gathered, WriteError, Written};
    use super::super::batch::tests::record;
    use super::*;

    /// A sink that gathers from these positions on.
    #[derive(Default)]
    struct Gathering(Vec<Position>, Option<Instant>);

    impl Sink for Gathering {
        async fn write(&mut self, _: &[Record]) -> Result<Written, WriteError> {
            Ok(Written::default())
        }

        fn gathered(&self) -> Gathered {
            Gathered { records: 1, oldest: self.1, due: None }
        }

        fn first_gathered(&self, partition: &str) -> Option<&Position> {
            self.0.iter().find(|position| &*position.partition == partition)
        }

        async fn close(self) -> Result<(), WriteError> {
            Ok(())
        }
    }

    fn position(partition: &str, offset: u64) -> Position {
        Position { partition: partition.into(), offset, index: 0, epoch: 0 }
    }

    fn batch(places: &[(&str, u64)]) -> Batch {
        let mut batch = Batch::default();
        for (partition, offset) in places {
            batch.note(&record(partition, *offset));
        }
        batch
    }

    fn places(positions: &[Position]) -> Vec<(String, u64)> {
        let mut places: Vec<_> = positions.iter().map(|one| (one.partition.to_string(), one.offset)).collect();
        places.sort();
        places
    }

    #[test]
    fn what_is_gathered_is_acknowledged_when_it_is_durable() {
        let mut settlement = Settlement::default();
        settlement.note(&batch(&[("a", 9), ("b", 4)]));
        let sink = Gathering(vec![position("a", 7)], None);
        let settled = settlement.settle(&sink);
        // What stands before the first gathered record was left out or is durable.
        assert_eq!(places(&settled.durable), [("a".to_owned(), 6), ("b".to_owned(), 4)]);
        assert_eq!(places(&settled.aside), [("a".to_owned(), 9)]);
        let again = settlement.settle(&sink);
        assert_eq!((places(&again.durable), places(&again.aside)), (vec![], vec![("a".to_owned(), 9)]));
        assert_eq!(places(&settlement.settle(&Gathering::default()).durable), [("a".to_owned(), 9)]);
        assert!(settlement.settle(&Gathering::default()).durable.is_empty());
    }

    #[test]
    fn a_partition_that_is_read_anew_is_acknowledged_for_what_is_read_now() {
        let (mut settlement, old) = (Settlement::default(), position("a", 7));
        settlement.note(&batch(&[("a", 9)]));
        assert_eq!(places(&settlement.settle(&Gathering(vec![old.clone()], None)).durable), [("a".to_owned(), 6)]);
        let mut anew = Batch::default();
        let mut record = record("a", 5);
        record.position.epoch = 1;
        anew.note(&record);
        settlement.note(&anew);
        // What was gathered before says nothing of how far the partition is now.
        assert!(settlement.settle(&Gathering(vec![old], None)).durable.is_empty());
        let settled = settlement.settle(&Gathering(vec![Position { epoch: 1, ..position("a", 5) }], None));
        assert_eq!((places(&settled.durable), settled.durable[0].epoch), (vec![("a".to_owned(), 4)], 1));
    }

    #[test]
    fn a_heartbeat_is_through_when_everything_before_it_is() {
        let (mut settlement, before) = (Settlement::default(), Instant::now());
        let mut with_beat = batch(&[("a", 1)]);
        with_beat.note_beat(77);
        settlement.note(&with_beat);
        assert_eq!(settlement.settle(&Gathering(vec![position("a", 1)], Some(before))).beat, None);
        let later = Instant::now() + std::time::Duration::from_secs(1);
        assert_eq!(settlement.settle(&Gathering(vec![position("a", 2)], Some(later))).beat, Some(77));
    }
}
