//! Which offsets of a queue are open. The committed offset is the first open one: it never passes an unsettled delivery.

use std::collections::VecDeque;

/// Offsets between the first open one and the last one pulled.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    /// Offset and whether it is settled, ascending; the front is always open.
    entries: VecDeque<(i64, bool)>,
    /// Everything below is settled or in `entries`.
    next: i64,
    /// Offset up to which what is open was set aside: only the first one of these is in `entries`.
    aside: Option<i64>,
}

impl Tracker {
    /// Starts anew at an offset; what is open is forgotten.
    pub fn reset(&mut self, next: i64) {
        self.entries.clear();
        self.next = next;
        self.aside = None;
    }

    /// Registers an offset as open. Offsets below the last one registered are ignored.
    pub fn open(&mut self, offset: i64) {
        if offset >= self.next {
            self.entries.push_back((offset, false));
            self.next = offset + 1;
        }
    }

    /// Everything below `next` has been pulled; offsets that were not opened are settled.
    pub fn advance(&mut self, next: i64) {
        self.next = self.next.max(next);
    }

    /// Settles an offset; unknown ones are ignored.
    pub fn settle(&mut self, offset: i64) {
        if let Ok(at) = self.entries.binary_search_by_key(&offset, |(offset, _)| *offset) {
            self.entries[at].1 = true;
        }
        while self.entries.front().is_some_and(|(_, settled)| *settled) {
            self.entries.pop_front();
        }
    }

    /// What is open up to an offset will be settled in order by [`settle_until`](Self::settle_until), and need not be remembered
    /// one by one.
    pub fn set_aside(&mut self, offset: i64) {
        let end = self.entries.partition_point(|(open, _)| *open <= offset);
        if end > 0 {
            self.entries.drain(1..end);
            self.aside = Some(self.aside.map_or(offset, |known| known.max(offset)));
        }
    }

    /// Settles everything up to an offset.
    pub fn settle_until(&mut self, offset: i64) {
        let end = self.entries.partition_point(|(open, _)| *open <= offset);
        self.entries.drain(..end);
        match self.aside {
            // What was set aside behind it is still open.
            Some(aside) if aside > offset && end > 0 => self.entries.push_front((offset + 1, false)),
            Some(aside) if aside <= offset => self.aside = None,
            _ => {}
        }
        while self.entries.front().is_some_and(|(_, settled)| *settled) {
            self.entries.pop_front();
        }
    }

    /// The offset that may be committed.
    pub fn committable(&self) -> i64 {
        self.entries.front().map_or(self.next, |(offset, _)| *offset)
    }

    /// Number of open offsets; those that were set aside count as one.
    pub fn open_count(&self) -> usize {
        self.entries.iter().filter(|(_, settled)| !settled).count()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the order in which deliveries are settled, the committable offset is the first open one.
        #[test]
        fn the_committable_offset_never_passes_an_open_delivery(
            start in 0i64..100, gaps in prop::collection::vec(1i64..4, 1..60), order in prop::collection::vec(any::<prop::sample::Index>(), 0..60)) {
            let mut tracker = Tracker::default();
            tracker.reset(start);
            let mut open = BTreeSet::new();
            let mut offset = start;
            for gap in gaps {
                tracker.open(offset);
                open.insert(offset);
                offset += gap;
            }
            tracker.advance(offset);
            for index in order {
                if open.is_empty() { break; }
                let settled = *open.iter().nth(index.index(open.len())).unwrap();
                open.remove(&settled);
                tracker.settle(settled);
                prop_assert_eq!(tracker.committable(), open.first().copied().unwrap_or(offset));
                prop_assert_eq!(tracker.open_count(), open.len());
            }
        }
    }

    proptest! {
        /// However offsets are set aside and settled, nothing is committed before it was settled, and in the end everything is.
        #[test]
        fn what_was_set_aside_is_committed_when_it_is_settled_and_not_before(
            gaps in prop::collection::vec(1i64..4, 1..60), steps in prop::collection::vec((any::<bool>(), 0i64..200), 0..40)) {
            let mut tracker = Tracker::default();
            tracker.reset(5);
            let mut offsets = Vec::new();
            let mut next = 5;
            for gap in gaps {
                tracker.open(next);
                offsets.push(next);
                next += gap;
            }
            tracker.advance(next);
            let (mut aside, mut settled) = (4, 4);
            for (sets_aside, offset) in steps {
                if sets_aside {
                    aside = aside.max(offset.min(next - 1));
                    tracker.set_aside(aside);
                } else {
                    settled = settled.max(offset.min(aside));
                    tracker.settle_until(settled);
                }
                let first_open = offsets.iter().copied().find(|offset| *offset > settled).unwrap_or(next);
                // Between two messages there may be offsets that nobody has to settle.
                prop_assert!(tracker.committable() <= first_open, "{} > {first_open}", tracker.committable());
                prop_assert!(tracker.committable() > settled || settled == 4);
            }
            tracker.set_aside(next - 1);
            prop_assert!(tracker.open_count() <= 1, "one entry stands for all");
            tracker.settle_until(next - 1);
            prop_assert_eq!(tracker.committable(), next);
        }
    }

    #[test]
    fn a_reset_forgets_and_old_offsets_are_ignored() {
        let mut tracker = Tracker::default();
        tracker.open(0);
        tracker.open(1);
        tracker.reset(10);
        tracker.settle(0);
        tracker.open(3);
        assert_eq!((tracker.committable(), tracker.open_count()), (10, 0));
    }
}
