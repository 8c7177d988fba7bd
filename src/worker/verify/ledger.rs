//! What should be at the target, and what is: digests by key, for one part of the keys at a time.

use crate::rocketmq::Properties;
use bytestring::ByteString;
use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};

use crate::rocketmq::{Message, ReceivedMessage};
use crate::worker_config::verify::{Difference, VerifyCounts};

/// Half of a SHA-256: enough to tell messages apart.
pub type Hash = u128;

/// Which message it is, and what it holds: equal for a message and its copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Print {
    /// Of topic and id; none without an id of the sender.
    by_id: Option<Hash>,
    /// Of all that a copy keeps.
    content: Hash,
}

impl Print {
    /// Of a message that is to be written.
    #[must_use]
    pub fn of_expected(message: &Message) -> Self {
        let Message { topic, body, tag, keys, sharding_key, properties, id, .. } = message;
        Self {
            by_id: id.as_ref().map(|id| key(topic, id)),
            content: content(topic, body, tag.as_deref(), keys, sharding_key.as_deref(), properties),
        }
    }

    /// Of a message that was read from `topic`. The producer gives an id where the original had none.
    #[must_use]
    pub fn of_found(topic: &str, message: &ReceivedMessage) -> Self {
        let ReceivedMessage { body, tag, keys, sharding_key, properties, message_id, .. } = message;
        Self {
            by_id: Some(key(topic, message_id)),
            content: content(topic, body, tag.as_deref(), keys, sharding_key.as_deref(), properties),
        }
    }

    /// By what it is told from others.
    #[must_use]
    pub fn key(&self) -> Hash {
        self.by_id.unwrap_or(self.content)
    }

    /// Of all that a copy keeps.
    #[must_use]
    pub fn content(&self) -> Hash {
        self.content
    }

    /// Whether its sender gave no id.
    #[must_use]
    pub fn has_no_id(&self) -> bool {
        self.by_id.is_none()
    }
}

/// Each part with its length, so that no two messages are the same bytes.
fn content(
    topic: &str,
    body: &[u8],
    tag: Option<&str>,
    keys: &[ByteString],
    sharding_key: Option<&str>,
    properties: &Properties,
) -> Hash {
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    };
    add(topic.as_bytes());
    add(body);
    add(tag.unwrap_or_default().as_bytes());
    add(keys.join(" ").as_bytes());
    add(sharding_key.unwrap_or_default().as_bytes());
    for (name, value) in properties.iter() {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    half(digest)
}

fn key(topic: &str, id: &str) -> Hash {
    let mut digest = Sha256::new();
    digest.update((topic.len() as u64).to_be_bytes());
    digest.update(topic);
    digest.update(id);
    half(digest)
}

fn half(digest: Sha256) -> Hash {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.finalize()[..16]);
    Hash::from_be_bytes(bytes)
}

/// Where a message stands in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Number of its window.
    pub window: usize,
    /// Offset in its queue.
    pub offset: i64,
}

#[derive(Debug)]
struct Entry {
    content: Hash,
    place: Place,
    /// How often the source holds it.
    expected: u32,
    /// How often the target does.
    matched: u32,
    /// Messages of its id at the target that hold something else.
    differing: u32,
    /// The source holds several contents under one id: they are only counted.
    is_ambiguous: bool,
}

/// The messages of one part of all keys.
#[derive(Debug)]
pub struct Ledger {
    part: u64,
    parts: u64,
    entries: HashMap<Hash, Entry>,
    /// Contents of messages at the target that were found although they have another id.
    found_by_content: HashSet<Hash>,
    has_messages_without_id: bool,
}

/// Whether a message of the target is one of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// Its key belongs to another part.
    Elsewhere,
}

impl Ledger {
    /// An empty one for the part `part` of `parts`.
    #[must_use]
    pub fn new(part: u64, parts: u64) -> Self {
        let (entries, found_by_content) = (HashMap::new(), HashSet::new());
        Self { part, parts: parts.max(1), entries, found_by_content, has_messages_without_id: false }
    }

    fn is_here(&self, hash: Hash) -> bool {
        hash % Hash::from(self.parts) == Hash::from(self.part)
    }

    /// Notes a message that should be at the target.
    pub fn expect(&mut self, print: Print, place: Place) {
        self.has_messages_without_id |= print.has_no_id();
        let (key, content) = (print.key(), print.content);
        if !self.is_here(key) {
            return;
        }
        let fresh = Entry { content, place, expected: 0, matched: 0, differing: 0, is_ambiguous: false };
        let entry = self.entries.entry(key).or_insert(fresh);
        entry.expected += 1;
        entry.is_ambiguous |= entry.content != content;
    }

    /// Notes a message that is at the target.
    pub fn find(&mut self, print: Print) -> Known {
        if self.has_messages_without_id
            && self.is_here(print.content)
            && let Some(entry) = self.entries.get_mut(&print.content)
        {
            entry.matched += 1;
            self.found_by_content.insert(print.content);
            return Known::Yes;
        }
        if !self.is_here(print.key()) {
            return Known::Elsewhere;
        }
        let Some(entry) = self.entries.get_mut(&print.key()) else { return Known::No };
        match entry.is_ambiguous || entry.content == print.content {
            true => entry.matched += 1,
            false => entry.differing += 1,
        }
        Known::Yes
    }

    /// Contents that were found although their ids are others than in the source.
    pub fn take_found_by_content(&mut self) -> HashSet<Hash> {
        std::mem::take(&mut self.found_by_content)
    }

    /// What it comes to: figures, and where what is missing or different stands in the source.
    #[must_use]
    pub fn close(self) -> (VerifyCounts, Vec<(Place, Difference)>) {
        let (mut counts, mut differences) = (VerifyCounts::default(), Vec::new());
        for entry in self.entries.into_values() {
            let Entry { expected, matched, differing, place, .. } = entry;
            counts.target += u64::from(matched.min(expected));
            counts.duplicates += u64::from(matched.saturating_sub(expected));
            let lacking = expected.saturating_sub(matched);
            // What holds something else stands for what is lacking; beyond that it is one too many, and wrong.
            let different = if lacking == 0 { differing.min(1) } else { differing.min(lacking) };
            let missing = lacking - different.min(lacking);
            counts.different += u64::from(different);
            counts.missing += u64::from(missing);
            differences.extend((different > 0).then_some((place, Difference::Different)));
            differences.extend((missing > 0).then_some((place, Difference::Missing)));
        }
        differences.sort_unstable();
        (counts, differences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, body: &str) -> Message {
        Message { id: (!id.is_empty()).then(|| id.into()), ..Message::new("t", body.to_owned()) }
    }

    fn print(id: &str, body: &str) -> Print {
        Print::of_expected(&message(id, body))
    }

    fn found(id: &str, body: &str) -> Print {
        // What the target holds always has an id.
        Print { by_id: Some(key("t", id)), ..print(id, body) }
    }

    fn place(offset: i64) -> Place {
        Place { window: 0, offset }
    }

    #[test]
    fn every_part_of_a_message_counts() {
        let plain = message("1", "a");
        let changes: [fn(&mut Message); 5] = [
            |message| message.body = "b".into(),
            |message| message.tag = Some("t".into()),
            |message| message.keys = vec!["k".into()],
            |message| message.sharding_key = Some("s".into()),
            |message| message.properties.insert("p", "v"),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut other = plain.clone();
            change(&mut other);
            assert_ne!(Print::of_expected(&other).content, Print::of_expected(&plain).content, "change {number}");
            assert_eq!(Print::of_expected(&other).key(), Print::of_expected(&plain).key());
        }
    }

    #[test]
    fn what_is_lost_changed_or_repeated_is_told() {
        let mut ledger = Ledger::new(0, 1);
        for (offset, id) in ["lost", "changed", "twice", "fine", "fine and changed"].into_iter().enumerate() {
            ledger.expect(print(id, id), place(offset as i64));
        }
        for (id, body) in [("changed", "x"), ("twice", "twice"), ("twice", "twice"), ("fine", "fine")] {
            assert_eq!(ledger.find(found(id, body)), Known::Yes);
        }
        ledger.find(found("fine and changed", "fine and changed"));
        ledger.find(found("fine and changed", "x"));
        assert_eq!(ledger.find(found("stranger", "x")), Known::No);
        let (counts, differences) = ledger.close();
        let expected = VerifyCounts { target: 3, missing: 1, different: 2, duplicates: 1, ..VerifyCounts::default() };
        assert_eq!(counts, expected);
        let expected =
            [(place(0), Difference::Missing), (place(1), Difference::Different), (place(4), Difference::Different)];
        assert_eq!(differences, expected);
    }

    #[test]
    fn messages_without_an_id_are_told_by_their_content() {
        let mut ledger = Ledger::new(0, 1);
        ledger.expect(print("", "a"), place(0));
        ledger.expect(print("", "a"), place(1));
        ledger.expect(print("", "b"), place(2));
        assert_eq!(ledger.find(found("made-1", "a")), Known::Yes);
        assert_eq!(ledger.find(found("made-2", "c")), Known::No);
        let (counts, differences) = ledger.close();
        assert_eq!((counts.target, counts.missing), (1, 2));
        assert_eq!(differences, [(place(0), Difference::Missing), (place(2), Difference::Missing)]);
    }

    #[test]
    fn parts_together_are_the_whole() {
        let ids: Vec<String> = (0..500).map(|number| format!("id-{number}")).collect();
        let mut total = VerifyCounts::default();
        let mut strangers = 0;
        for part in 0..7 {
            let mut ledger = Ledger::new(part, 7);
            ids.iter().enumerate().for_each(|(offset, id)| ledger.expect(print(id, id), place(offset as i64)));
            ids.iter().skip(5).for_each(|id| _ = ledger.find(found(id, id)));
            strangers += u64::from(ledger.find(found("stranger", "x")) == Known::No);
            assert!(ledger.entries.len() < 200, "{}", ledger.entries.len());
            total.add(&ledger.close().0);
        }
        assert_eq!((total.target, total.missing, strangers), (495, 5, 1));
    }
}
