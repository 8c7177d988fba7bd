//! What rows should be after the messages of a window: their changes merged by key, for one part of the keys at a time.
//!
//! What a row was before the window is not known, so neither is everything about it afterwards: whether it is there, and what
//! its columns hold, is known as far as the changes and the write policies tell. Only that is compared.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use super::super::sink::table::change::{Action, Change, Row};
use super::super::sink::table::schema::Keyed;
use super::super::sink::table::value::Cell;
use super::ledger::Place;

/// Bytes of a row besides its values, about.
const OVERHEAD: usize = 320;
/// Bytes of a value besides its text, about.
const CELL_OVERHEAD: usize = 48;

/// The key of a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowKey {
    /// Number of its table.
    pub table: usize,
    /// Values of the columns that identify it.
    pub key: Vec<Cell<'static>>,
}

/// Whether a row is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    Is,
    /// It is not.
    IsNot,
    /// It is, if it was before the window.
    Perhaps,
}

/// What a row should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Whether it is there.
    pub presence: Presence,
    /// What it holds, as far as that is known, apart from its key.
    pub values: Row<'static>,
    /// The newest message about it; its window is the number of its queue.
    pub place: Place,
    /// Whether messages of several queues have changed it, so that nobody knows which came last.
    pub is_unordered: bool,
    has_several_queues: bool,
}

/// Which rows are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Those whose hash leaves this rest.
    pub number: u64,
    /// Divided by this, a power of two.
    pub of: u64,
    /// Of those, rows with these hashes only.
    pub only: Option<&'a HashSet<u64>>,
}

/// The rows of one part of all keys.
#[derive(Debug)]
pub struct Rows<'a> {
    hashes: RandomState,
    part: Part<'a>,
    rows: HashMap<RowKey, Expected>,
    bytes: usize,
    /// Bytes that may be held.
    most: usize,
    /// Parts that were too much to be held as well.
    later: Vec<(u64, u64)>,
    /// Whether an insert that was refused since the row exists leaves a trace.
    refusals_are_known: bool,
}

impl<'a> Rows<'a> {
    /// None yet, of a part; `most` bytes are held. `hashes` are the same for all parts of a run.
    #[must_use]
    pub fn new(hashes: RandomState, part: Part<'a>, most: usize, refusals_are_known: bool) -> Self {
        Self { hashes, part, rows: HashMap::new(), bytes: 0, most, later: Vec::new(), refusals_are_known }
    }

    /// The hash of a key.
    #[must_use]
    pub fn hash(&self, key: &RowKey) -> u64 {
        self.hashes.hash_one(key)
    }

    /// Takes up a change, which stands at `place`. One behind the window counts for rows that the window has changed only.
    pub fn apply(&mut self, table: usize, keyed: &Keyed, change: Change<'_>, place: Place, is_later: bool) {
        let Change { action, key, row, .. } = change;
        let key = RowKey { table, key: key.into_iter().map(Cell::into_owned).collect() };
        let hash = self.hash(&key);
        let is_here = hash % self.part.of == self.part.number && self.part.only.is_none_or(|only| only.contains(&hash));
        if !is_here || (is_later && !self.rows.contains_key(&key)) {
            return;
        }
        let values: Row<'static> = row
            .into_iter()
            .filter(|(number, _)| !keyed.key.contains(number))
            .map(|(number, cell)| (number, cell.into_owned()))
            .collect();
        let key_size = size_of(key.key.iter());
        let expected = self.rows.entry(key).or_insert_with(|| {
            self.bytes += OVERHEAD + key_size;
            let (presence, values) = (Presence::Perhaps, Row::new());
            Expected { presence, values, place, is_unordered: false, has_several_queues: false }
        });
        let before = size_of(expected.values.iter().map(|(_, cell)| cell));
        expected.has_several_queues |= expected.place.window != place.window;
        let has_changed = expected.change(action, values, self.refusals_are_known);
        expected.is_unordered |= has_changed && expected.has_several_queues;
        expected.place = place;
        self.bytes = (self.bytes + size_of(expected.values.iter().map(|(_, cell)| cell))).saturating_sub(before);
        self.split();
    }

    /// Puts off halves of the rows until the rest can be held.
    fn split(&mut self) {
        while self.bytes > self.most && self.rows.len() > 1 && self.part.of < 1 << 40 {
            self.later.push((self.part.number + self.part.of, self.part.of * 2));
            self.part.of *= 2;
            let (hashes, part) = (self.hashes.clone(), self.part);
            self.rows.retain(|key, _| hashes.hash_one(key) % part.of == part.number);
            let size = |(key, expected): (&RowKey, &Expected)| {
                OVERHEAD + size_of(key.key.iter()) + size_of(expected.values.iter().map(|(_, cell)| cell))
            };
            self.bytes = self.rows.iter().map(size).sum();
        }
    }

    /// The rows.
    pub fn iter(&self) -> impl Iterator<Item = (&RowKey, &Expected)> {
        self.rows.iter()
    }

    /// Parts that were put off, as number and divisor.
    #[must_use]
    pub fn later(&self) -> &[(u64, u64)] {
        &self.later
    }
}

fn size_of<'a>(cells: impl Iterator<Item = &'a Cell<'static>>) -> usize {
    cells.map(|cell| CELL_OVERHEAD + cell.size()).sum()
}

impl Expected {
    /// Does to the row what the target does; whether it is another one then.
    fn change(&mut self, action: Action, values: Row<'static>, refusals_are_known: bool) -> bool {
        use Presence::{Is, IsNot, Perhaps};
        let before = self.presence;
        match (action, before) {
            (Action::Put, _) => {
                self.presence = Is;
                return self.overlay(values) || before != Is;
            }
            (Action::Add | Action::New, IsNot) => (self.presence, self.values) = (Is, values),
            // It was there, and stays as it is; a second one is refused.
            (Action::Add | Action::New, Is) | (Action::Change, IsNot) => return false,
            (Action::New, Perhaps) if refusals_are_known => (self.presence, self.values) = (Is, values),
            // Whichever of the two it is.
            (Action::Add | Action::New, Perhaps) => (self.presence, self.values) = (Is, Row::new()),
            (Action::Change, Is | Perhaps) => return self.overlay(values),
            (Action::Remove, _) => {
                self.values.clear();
                self.presence = IsNot;
                return before != IsNot;
            }
        }
        true
    }

    /// Takes over values; whether one is another than before.
    fn overlay(&mut self, values: Row<'static>) -> bool {
        let mut has_changed = false;
        for (number, cell) in values {
            match self.values.binary_search_by_key(&number, |(number, _)| *number) {
                Ok(at) if self.values[at].1 == cell => {}
                Ok(at) => (self.values[at].1, has_changed) = (cell, true),
                Err(at) => {
                    self.values.insert(at, (number, cell));
                    has_changed = true;
                }
            }
        }
        has_changed
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
