//! Rows of tables beside the last word that topics have on each, for one part of the keys at a time.
//!
//! Rows are noted first, then messages in the order of their queues. A row is looked at while the pipeline goes on writing: of each
//! queue it is known where it ended before the row was looked at (its mark), and it is read up to where everything had come that
//! the row can have seen. So the row is right when it is what the queue says at its mark, or anywhere behind it.

use std::collections::HashMap;

use super::super::ledger::Place;
use super::content::{Act, Cell, differing, merged};
use crate::worker_config::verify::{Difference, VerifyCounts};

/// Bytes of an entry besides its cells and texts, about.
const OVERHEAD: usize = 260;
/// Times of messages in different queues that are nearer to each other, in milliseconds, do not tell which came first.
const APART: i64 = 5_000;
/// Most rows that seem wrong and are looked at again: more are no coincidence.
const MOST_AGAIN: usize = 100_000;

/// Rows that seem wrong, by the hashes of their keys.
pub type Again = HashMap<u64, Difference>;

/// Which keys are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Those whose hash leaves this rest.
    pub number: u64,
    /// Divided by this, a power of two.
    pub of: u64,
    /// Of those, these only, whose keys are kept as texts.
    pub only: Option<&'a Again>,
}

/// What a table says about a key.
#[derive(Debug)]
enum Expected {
    /// It has no such row.
    Absent,
    /// Its row is left out by the pipeline.
    LeftOut,
    /// Its row, as the pipeline writes it.
    Row(Box<[Cell]>),
}

/// What a topic says about a key.
#[derive(Debug)]
enum Found {
    Nothing,
    Gone,
    /// What the row holds, in all columns that both name.
    Same,
    Other(Box<[Cell]>),
}

#[derive(Debug)]
struct Entry {
    table: usize,
    /// Number of the look at the database at which the row was seen.
    look: usize,
    expected: Expected,
    found: Found,
    /// Whether the topic has said what the row holds, since it was looked at.
    is_right: bool,
    /// Whether several queues have messages about it, so that nobody knows which came last.
    is_unordered: bool,
    /// The newest message about it, and when it was stored.
    place: Option<(Place, i64)>,
    text: Box<str>,
}

/// A message about a key.
#[derive(Debug)]
pub struct Word {
    /// Hash of the key.
    pub hash: u64,
    /// Number of its table.
    pub table: usize,
    /// What it does.
    pub act: Act,
    /// What it holds.
    pub cells: Box<[Cell]>,
    /// Where it stands; its window is the number of the queue.
    pub place: Place,
    /// When the broker stored it, milliseconds since the Unix epoch.
    pub at_millis: i64,
}

/// What is taken for granted of the pipeline.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Whether rows that have never changed have messages.
    pub has_loaded: bool,
    /// Whether the deletion of a row always has a message.
    pub tells_deletions: bool,
    /// By the numbers of tables, whether topics have lost messages by age.
    pub is_trimmed: Vec<bool>,
}

/// A row that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wrong {
    /// What is wrong.
    pub kind: Difference,
    /// Number of its table.
    pub table: usize,
    /// Its key.
    pub key: String,
    /// Numbers of the columns that hold something else.
    pub columns: Vec<u16>,
    /// The newest message about it.
    pub place: Option<Place>,
}

/// What the rows of a round came to.
#[derive(Debug, Default)]
pub struct Judged {
    /// Figures.
    pub counts: VerifyCounts,
    /// Rows that are wrong, as many as are looked at again.
    pub again: Again,
    /// Figures of those that are wrong beyond that.
    pub beyond: VerifyCounts,
    /// Those that are wrong, where keys are kept as texts.
    pub wrong: Vec<Wrong>,
}

/// The rows of one part of all keys.
#[derive(Debug)]
pub struct Ledger<'a> {
    part: Part<'a>,
    /// Parts that were too much to be held as well.
    later: Vec<(u64, u64)>,
    entries: HashMap<u64, Entry>,
    bytes: usize,
    most: usize,
    /// By look at the database, the ends of the queues before it.
    marks: Vec<Vec<i64>>,
    /// By table, the newest message that says that all rows are gone.
    cleared: HashMap<usize, (Place, i64)>,
}

impl<'a> Ledger<'a> {
    /// Nothing yet, of a part; `most` bytes are held.
    #[must_use]
    pub fn new(part: Part<'a>, most: usize) -> Self {
        let (later, entries, marks, cleared) = (Vec::new(), HashMap::new(), Vec::new(), HashMap::new());
        Self { part, later, entries, bytes: 0, most, marks, cleared }
    }

    /// Whether a key belongs to the part.
    #[must_use]
    pub fn wants(&self, hash: u64) -> bool {
        hash % self.part.of == self.part.number && self.part.only.is_none_or(|only| only.contains_key(&hash))
    }

    /// Whether keys are kept as texts.
    #[must_use]
    pub fn keeps_texts(&self) -> bool {
        self.part.only.is_some()
    }

    /// Parts that were put off, as number and divisor.
    #[must_use]
    pub fn later(&self) -> &[(u64, u64)] {
        &self.later
    }

    /// Notes a row that the table had at a look; without cells when the pipeline leaves it out.
    pub fn expect(&mut self, hash: u64, (table, look): (usize, usize), cells: Option<Box<[Cell]>>, text: String) {
        if !self.wants(hash) {
            return;
        }
        let expected = cells.map_or(Expected::LeftOut, Expected::Row);
        let entry = Entry { look, expected, ..Entry::new(table, text) };
        self.bytes += entry.size();
        if let Some(twice) = self.entries.insert(hash, entry) {
            self.bytes -= twice.size();
        }
        self.split();
    }

    /// All rows were noted; `marks` are the ends of the queues before each look. Queues that are not among them are newer.
    pub fn read_from(&mut self, marks: Vec<Vec<i64>>) {
        self.marks = marks;
    }

    fn is_since(marks: &[Vec<i64>], look: usize, place: Place) -> bool {
        place.offset >= marks.get(look).and_then(|ends| ends.get(place.window)).copied().unwrap_or(0)
    }

    /// Notes a message.
    pub fn find(&mut self, word: Word, text: impl FnOnce() -> String) {
        let Word { hash, table, act, cells, place, at_millis } = word;
        if act == Act::Clear {
            let newest = self.cleared.entry(table).or_insert((place, at_millis));
            if (at_millis, place) > (newest.1, newest.0) {
                *newest = (place, at_millis);
            }
            return;
        }
        if !self.wants(hash) {
            return;
        }
        let (keeps_texts, bytes) = (self.keeps_texts(), &mut self.bytes);
        let entry = self.entries.entry(hash).or_insert_with(|| {
            let entry = Entry::new(table, if keeps_texts { text() } else { String::new() });
            *bytes += entry.size();
            entry
        });
        let before = entry.size();
        let is_since = Self::is_since(&self.marks, entry.look, place);
        entry.is_right |= is_since && entry.is_as_expected();
        if entry.is_older(place, at_millis) {
            return;
        }
        entry.found = entry.after(act, cells);
        entry.is_right |= is_since && entry.is_as_expected();
        entry.place = Some((place, at_millis));
        let after = entry.size();
        self.bytes = (self.bytes + after).saturating_sub(before);
        self.split();
    }

    /// Puts off halves of the keys until the rest can be held.
    fn split(&mut self) {
        while self.bytes > self.most && self.entries.len() > 1 && self.part.of < 1 << 40 {
            self.later.push((self.part.number + self.part.of, self.part.of * 2));
            self.part.of *= 2;
            let Part { number, of, .. } = self.part;
            self.entries.retain(|hash, _| hash % of == number);
            self.entries.shrink_to_fit();
            self.bytes = self.entries.values().map(Entry::size).sum();
        }
    }

    /// What it comes to.
    #[must_use]
    pub fn close(self, rules: &Rules) -> Judged {
        let mut judged = Judged::default();
        for (hash, mut entry) in self.entries {
            if let Some(cleared) = self.cleared.get(&entry.table) {
                let is_since = Self::is_since(&self.marks, entry.look, cleared.0);
                entry.clear(*cleared, is_since);
            }
            judged.note(hash, entry, rules);
        }
        judged
    }
}

impl Entry {
    fn new(table: usize, text: String) -> Self {
        Self {
            table,
            look: 0,
            expected: Expected::Absent,
            found: Found::Nothing,
            is_right: false,
            is_unordered: false,
            place: None,
            text: text.into(),
        }
    }

    fn size(&self) -> usize {
        let expected = if let Expected::Row(cells) = &self.expected { cells.len() } else { 0 };
        let found = if let Found::Other(cells) = &self.found { cells.len() } else { 0 };
        OVERHEAD + self.text.len() + (expected + found) * size_of::<Cell>()
    }

    fn is_as_expected(&self) -> bool {
        match (&self.expected, &self.found) {
            (Expected::LeftOut, _)
            | (Expected::Row(_), Found::Same)
            | (Expected::Absent, Found::Nothing | Found::Gone) => true,
            (Expected::Row(_) | Expected::Absent, _) => false,
        }
    }

    /// Whether a message is older than the one that was found before it; notes it when that cannot be told.
    fn is_older(&mut self, place: Place, at_millis: i64) -> bool {
        let Some((newest, newest_millis)) = self.place.filter(|(newest, _)| newest.window != place.window) else {
            return false;
        };
        let is_older = (at_millis, place) < (newest_millis, newest);
        let is_near = (at_millis - newest_millis).abs() <= APART;
        self.is_unordered = is_near || (is_older && self.is_unordered);
        is_older
    }

    /// What a message makes of the row.
    fn after(&self, act: Act, cells: Box<[Cell]>) -> Found {
        if matches!(act, Act::Remove | Act::Clear) {
            return Found::Gone;
        }
        // Of a row that is not expected it only counts that it is there.
        let Expected::Row(expected) = &self.expected else { return Found::Other(Box::default()) };
        let cells = match (act, &self.found) {
            (Act::Change, Found::Other(before)) => merged(before, &cells),
            (Act::Change, Found::Same) => merged(expected, &cells),
            _ => cells,
        };
        if differing(expected, &cells).is_empty() { Found::Same } else { Found::Other(cells) }
    }

    /// All rows of the table were gone at a place and time, `is_since` the row was looked at.
    fn clear(&mut self, (place, at_millis): (Place, i64), is_since: bool) {
        let Some((newest, newest_millis)) = self.place else { return };
        let is_behind = match newest.window == place.window {
            true => place.offset > newest.offset,
            false => at_millis > newest_millis + APART,
        };
        let is_unsure = newest.window != place.window && (at_millis - newest_millis).abs() <= APART;
        if is_behind && !is_since {
            self.found = Found::Gone;
        } else if is_behind || is_unsure {
            // It has been both, or nobody knows.
            self.is_right |= matches!(self.expected, Expected::Absent);
            self.is_unordered |= is_unsure;
        }
    }
}

impl Judged {
    fn note(&mut self, hash: u64, entry: Entry, rules: &Rules) {
        let is_right = entry.is_right || entry.is_as_expected();
        let counts = &mut self.counts;
        counts.source += u64::from(!matches!(entry.expected, Expected::Absent));
        let is_trimmed = rules.is_trimmed.get(entry.table).copied().unwrap_or(false);
        let (kind, columns) = match (&entry.expected, &entry.found) {
            (Expected::LeftOut, _) => return counts.left_out += 1,
            (Expected::Absent, _) if is_right => return,
            (Expected::Row(_), _) if is_right => return counts.target += 1,
            _ if entry.is_unordered => return counts.undecided += 1,
            (Expected::Absent, _) if !rules.tells_deletions => return counts.undecided += 1,
            (Expected::Absent, _) => (Difference::Extra, Vec::new()),
            (Expected::Row(_), Found::Nothing) if !rules.has_loaded || is_trimmed => return counts.undecided += 1,
            (Expected::Row(expected), Found::Other(found)) => (Difference::Different, differing(expected, found)),
            (Expected::Row(_), _) => (Difference::Missing, Vec::new()),
        };
        counts.add(&one(kind));
        self.look_again(hash, kind);
        if !entry.text.is_empty() {
            let (key, place) = (entry.text.into(), entry.place.map(|(place, _)| place));
            self.wrong.push(Wrong { kind, table: entry.table, key, columns, place });
        }
    }

    fn look_again(&mut self, hash: u64, kind: Difference) {
        if self.again.len() < MOST_AGAIN {
            self.again.insert(hash, kind);
        } else {
            self.beyond.add(&one(kind));
        }
    }

    /// Adds another part of the same round, and keeps `most` rows that are listed.
    pub fn add(&mut self, other: Self, most: usize) {
        self.counts.add(&other.counts);
        self.beyond.add(&other.beyond);
        other.again.into_iter().for_each(|(hash, kind)| self.look_again(hash, kind));
        self.wrong.extend(other.wrong);
        self.wrong.sort_unstable();
        self.wrong.truncate(most);
    }
}

fn one(kind: Difference) -> VerifyCounts {
    let mut one = VerifyCounts::default();
    match kind {
        Difference::Missing => one.missing = 1,
        Difference::Different => one.different = 1,
        Difference::Extra => one.extra = 1,
    }
    one
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
