//! Remembers what was applied for each object, so that a worker's report costs one write of the status and no other request.
//!
//! Everything else that can change what is applied (the object, its children, what it refers to) invalidates the entry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::children::{Applied, Children};
use super::context::Key;

/// How long an entry is believed although no watch has told of a change.
pub const LIFETIME: Duration = Duration::from_hours(1);

/// What the last full reconciliation of an object came to.
#[derive(Debug)]
pub struct Settled {
    /// Children as the API server returned them.
    pub applied: Children<Applied>,
    /// Fields that hold a credential as a plain value.
    pub plain_credentials: Vec<String>,
}

/// Tells whether something has changed since it was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(u64);

#[derive(Debug, Default)]
struct Entry {
    epoch: u64,
    settled: Option<Remembered>,
    is_announced: bool,
    written: Option<u64>,
}

#[derive(Debug)]
struct Remembered {
    generation: i64,
    epoch: u64,
    at: Instant,
    settled: Arc<Settled>,
}

/// Settled objects.
#[derive(Debug, Default)]
pub struct Memory {
    entries: Mutex<HashMap<Key, Entry>>,
}

impl Memory {
    /// What was applied for `key` at `generation`, unless something has changed since.
    pub fn recall(&self, key: &Key, generation: i64) -> Option<Arc<Settled>> {
        let entries = self.entries();
        let entry = entries.get(key)?;
        let remembered = entry.settled.as_ref()?;
        let current = remembered.epoch == entry.epoch && remembered.generation == generation;
        (current && remembered.at.elapsed() < LIFETIME).then(|| Arc::clone(&remembered.settled))
    }

    /// The epoch of `key`: take it before reading anything that goes into what is remembered.
    pub fn epoch(&self, key: &Key) -> Epoch {
        Epoch(self.entries().get(key).map_or(0, |entry| entry.epoch))
    }

    /// Remembers `settled`. It is not recalled when something has changed since `epoch` was taken.
    pub fn remember(&self, key: &Key, generation: i64, epoch: Epoch, settled: Arc<Settled>) {
        let remembered = Remembered { generation, epoch: epoch.0, at: Instant::now(), settled };
        self.entries().entry(key.clone()).or_default().settled = Some(remembered);
    }

    /// Something has changed that may change what is to be applied for `key`.
    pub fn invalidate(&self, key: &Key) {
        let mut entries = self.entries();
        let entry = entries.entry(key.clone()).or_default();
        entry.epoch += 1;
        entry.settled = None;
    }

    /// Whether this is the first time that the object is to be announced. Its stored copy may be older than our own write.
    pub fn announce(&self, key: &Key) -> bool {
        let mut entries = self.entries();
        let entry = entries.entry(key.clone()).or_default();
        !std::mem::replace(&mut entry.is_announced, true)
    }

    /// Fingerprint of the status that was written last; none before the first write of this term.
    pub fn written(&self, key: &Key) -> Option<u64> {
        self.entries().get(key).and_then(|entry| entry.written)
    }

    /// Notes the fingerprint of the status that was written.
    pub fn note_written(&self, key: &Key, fingerprint: u64) {
        self.entries().entry(key.clone()).or_default().written = Some(fingerprint);
    }

    /// The object is gone.
    pub fn forget(&self, key: &Key) {
        self.entries().remove(key);
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key { kind: "K".to_owned(), namespace: "a".to_owned(), name: "b".to_owned() }
    }

    fn settled() -> Arc<Settled> {
        Arc::new(Settled { applied: Children::default(), plain_credentials: Vec::new() })
    }

    #[test]
    fn recalls_only_the_same_generation() {
        let memory = Memory::default();
        memory.remember(&key(), 3, memory.epoch(&key()), settled());
        assert!(memory.recall(&key(), 3).is_some());
        assert!(memory.recall(&key(), 4).is_none());
    }

    #[test]
    fn a_change_during_a_reconciliation_is_not_lost() {
        let memory = Memory::default();
        let epoch = memory.epoch(&key());
        memory.invalidate(&key());
        memory.remember(&key(), 1, epoch, settled());
        assert!(memory.recall(&key(), 1).is_none());
    }

    #[test]
    fn an_object_is_announced_once_until_it_is_gone() {
        let memory = Memory::default();
        assert!(memory.announce(&key()));
        memory.invalidate(&key());
        assert!(!memory.announce(&key()));
        memory.forget(&key());
        assert!(memory.announce(&key()));
    }

    #[test]
    fn invalidated_and_forgotten_entries_are_not_recalled() {
        let memory = Memory::default();
        memory.remember(&key(), 1, memory.epoch(&key()), settled());
        memory.invalidate(&key());
        assert!(memory.recall(&key(), 1).is_none());
        memory.remember(&key(), 1, memory.epoch(&key()), settled());
        assert!(memory.recall(&key(), 1).is_some());
        memory.forget(&key());
        assert!(memory.recall(&key(), 1).is_none());
    }
}
