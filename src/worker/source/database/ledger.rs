//! What was handed on and is not acknowledged: chunks of tables and transactions of the log, in their order.

use std::collections::VecDeque;

use super::state::LoadedChunk;

/// What becomes durable when everything of an entry is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A chunk of a table.
    Chunk(LoadedChunk),
    /// The log up to this position, and what tables look like from there on.
    Log {
        /// The position behind it.
        position: u64,
        /// Names of tables, and their columns as JSON.
        definitions: Vec<(String, String)>,
        /// Tables that were truncated there: their chunks are over.
        emptied: Vec<String>,
    },
    /// Nothing: a chunk that was cut off, and is read again.
    Nothing,
}

/// Chunks and transactions in the order of their positions.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: VecDeque<Entry>,
    acknowledged: (u64, u32),
    /// Newest position that was handed on.
    sent: (u64, u32),
}

#[derive(Debug)]
struct Entry {
    offset: u64,
    /// Index of its newest record.
    last: Option<u32>,
    /// None while more of it may come.
    end: Option<End>,
}

impl End {
    /// The log up to a position, and nothing else.
    #[must_use]
    pub fn log(position: u64) -> Self {
        Self::Log { position, definitions: Vec::new(), emptied: Vec::new() }
    }

    /// The position, where nothing else becomes durable with it.
    fn bare_position(&self) -> Option<u64> {
        match self {
            Self::Log { position, definitions, emptied } if definitions.is_empty() && emptied.is_empty() => {
                Some(*position)
            }
            _ => None,
        }
    }
}

impl Ledger {
    /// Whether a record was handed on before; the log repeats some after a lost connection.
    #[must_use]
    pub fn was_sent(&self, offset: u64, index: u32) -> bool {
        (offset, index) <= self.sent
    }

    /// A record is handed on.
    pub fn send(&mut self, offset: u64, index: u32) {
        self.sent = self.sent.max((offset, index));
        match self.entries.back_mut().filter(|entry| entry.offset == offset && entry.end.is_none()) {
            Some(entry) => entry.last = Some(index),
            None => self.entries.push_back(Entry { offset, last: Some(index), end: None }),
        }
    }

    /// Nothing more of `offset` comes.
    pub fn finish(&mut self, offset: u64, end: End) {
        let back = self.entries.back_mut();
        match back {
            Some(entry) if entry.offset == offset && entry.end.is_none() => entry.end = Some(end),
            // The log stands still, or has nothing for us: the newest position is enough.
            Some(Entry { last: None, end: Some(known), .. }) if known.bare_position().is_some() => {
                match (known.bare_position(), end.bare_position()) {
                    (Some(position), Some(newer)) => *known = End::log(newer.max(position)),
                    _ => self.entries.push_back(Entry { offset, last: None, end: Some(end) }),
                }
            }
            // Repeated by the log, and finished before.
            Some(entry) if entry.offset >= offset && entry.last.is_some() => {}
            _ => self.entries.push_back(Entry { offset, last: None, end: Some(end) }),
        }
    }

    /// The target has everything up to this position.
    pub fn acknowledge(&mut self, offset: u64, index: u32) {
        self.acknowledged = self.acknowledged.max((offset, index));
    }

    /// What may be made durable now, oldest first; [`drop_front`](Self::drop_front) when it is.
    #[must_use]
    pub fn ready(&self) -> Vec<End> {
        let is_done = |entry: &&Entry| entry.last.is_none_or(|last| (entry.offset, last) <= self.acknowledged);
        self.entries.iter().take_while(is_done).map_while(|entry| entry.end.clone()).collect()
    }

    /// Forgets the `count` oldest entries.
    pub fn drop_front(&mut self, count: usize) {
        self.entries.drain(..count.min(self.entries.len()));
    }

    /// Whether nothing waits for an acknowledgement.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(position: u64) -> End {
        End::log(position)
    }

    #[test]
    fn a_transaction_is_done_when_its_last_record_is() {
        let mut ledger = Ledger::default();
        for index in 0..3 {
            ledger.send(100, index);
        }
        ledger.acknowledge(100, 2);
        assert_eq!(ledger.ready(), [], "more of it may come");
        ledger.send(100, 3);
        ledger.finish(100, log(110));
        assert_eq!(ledger.ready(), []);
        ledger.acknowledge(100, 3);
        assert_eq!(ledger.ready(), [log(110)]);
        ledger.drop_front(1);
        assert!(ledger.is_empty());
    }

    #[test]
    fn what_is_empty_waits_for_what_is_before_it() {
        let mut ledger = Ledger::default();
        ledger.send(100, 0);
        ledger.finish(100, log(110));
        ledger.finish(120, log(130));
        ledger.finish(140, log(150));
        assert_eq!(ledger.ready(), []);
        ledger.acknowledge(100, 0);
        assert_eq!(ledger.ready(), [log(110), log(150)], "empty ones are one");
        ledger.drop_front(2);
        ledger.finish(160, log(170));
        assert_eq!(ledger.ready(), [log(170)]);
        let emptied = End::Log { position: 190, definitions: Vec::new(), emptied: vec!["t".to_owned()] };
        ledger.finish(180, emptied.clone());
        ledger.finish(200, log(210));
        assert_eq!(ledger.ready(), [log(170), emptied, log(210)], "what more becomes durable is kept");
    }

    #[test]
    fn what_the_log_repeats_is_known() {
        let mut ledger = Ledger::default();
        ledger.send(100, 0);
        ledger.finish(100, log(110));
        ledger.send(120, 0);
        assert!(ledger.was_sent(100, 0) && ledger.was_sent(120, 0) && !ledger.was_sent(120, 1));
        ledger.finish(100, log(110));
        ledger.send(120, 1);
        ledger.finish(120, log(130));
        ledger.acknowledge(120, 1);
        assert_eq!(ledger.ready(), [log(110), log(130)]);
    }
}
