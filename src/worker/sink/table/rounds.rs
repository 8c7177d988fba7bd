//! The changes of a batch, gathered so that each statement touches a row once.
//!
//! Changes of one row are merged where one statement does what they do one after the other; where none does, the later one
//! goes to the next round. In a round, deletions come first.

use std::collections::HashMap;

use super::change::{Action, Change, Row};
use super::value::Cell;

/// A deletion of a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal<'a> {
    /// Values of the columns that identify the row.
    pub key: Vec<Cell<'a>>,
    /// Number of the first record that it stands for, in the batch.
    pub index: usize,
    /// Records that are left out when the row is missing.
    pub weight: u64,
}

/// A row of a round, written by one of [`Action::Put`], [`Action::Add`], [`Action::New`] and [`Action::Change`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write<'a> {
    /// Values of columns.
    pub row: Row<'a>,
    /// Number of the first record that it stands for, in the batch.
    pub index: usize,
    /// Records that are left out when it has no effect.
    pub weight: u64,
}

/// Rows that one statement writes: the same is done to the same columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<'a> {
    /// What is done.
    pub action: Action,
    /// The rows.
    pub writes: Vec<Write<'a>>,
}

impl Group<'_> {
    /// Numbers of the columns that are written.
    #[must_use]
    pub fn columns(&self) -> Vec<u16> {
        self.writes.first().map(|write| write.row.iter().map(|(number, _)| *number).collect()).unwrap_or_default()
    }
}

/// Changes that touch no row twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Round<'a> {
    /// Deletions, which come first.
    pub removals: Vec<Removal<'a>>,
    /// Rows that are written then.
    pub groups: Vec<Group<'a>>,
}

/// The changes of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rounds<'a> {
    /// Rounds, one after the other.
    pub rounds: Vec<Round<'a>>,
    /// Records that the policies leave out whatever the table holds.
    pub left_out: u64,
}

/// What is done to a row in a round.
#[derive(Debug)]
enum Step<'a> {
    Write(Action, Row<'a>),
    /// Deleted, `weight` records of which are left out when it is missing.
    Remove,
    /// Deleted, then inserted.
    Replace(Row<'a>),
}

#[derive(Debug)]
struct Entry<'a> {
    key: Vec<Cell<'a>>,
    step: Step<'a>,
    index: usize,
    weight: u64,
}

impl<'a> Rounds<'a> {
    /// The rounds of these changes of one table, which are in their order.
    #[must_use]
    pub fn of(changes: Vec<Change<'a>>) -> Self {
        let (mut rounds, mut left_out) = (Vec::<Vec<Entry<'a>>>::new(), 0);
        let mut places: HashMap<Vec<Cell<'a>>, (usize, usize)> = HashMap::with_capacity(changes.len());
        for Change { index, action, key, row, weight } in changes {
            let step = match action {
                Action::Remove => Step::Remove,
                action => Step::Write(action, row),
            };
            let mut entry = Entry { key, step, index, weight };
            let mut round = 0;
            // Rows without a key are never the same.
            if let Some((at, number)) = places.get(&entry.key).filter(|_| !entry.key.is_empty()).copied() {
                match merge(&mut rounds[at][number], entry, &mut left_out) {
                    None => continue,
                    Some(refused) => (entry, round) = (refused, at + 1),
                }
            }
            if rounds.len() <= round {
                rounds.push(Vec::new());
            }
            if !entry.key.is_empty() {
                places.insert(entry.key.clone(), (round, rounds[round].len()));
            }
            rounds[round].push(entry);
        }
        Self { rounds: rounds.into_iter().map(Round::of).collect(), left_out }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rounds.is_empty()
    }
}

/// Makes one of two, which come one after the other; gives the second back when they cannot be one.
fn merge<'a>(first: &mut Entry<'a>, second: Entry<'a>, left_out: &mut u64) -> Option<Entry<'a>> {
    use Action::{Add, Change, New, Put};
    let Entry { key, step, index, weight } = second;
    let refused = |step| Some(Entry { key, step, index, weight });
    match (&mut first.step, step) {
        // The row is there after the first one, whatever was before.
        (Step::Write(Put | New, row) | Step::Replace(row), Step::Write(Put | Change, later)) => overlay(row, later),
        (Step::Write(Put | New, _) | Step::Replace(_), Step::Write(Add, _)) => *left_out += weight,
        // That it is missing before means nothing: it would have been inserted in between.
        (Step::Write(Put, _), Step::Remove) => (first.step, first.weight) = (Step::Remove, 0),
        // What is left out when it is missing before is the first deletion.
        (Step::Replace(_), Step::Remove) => first.step = Step::Remove,
        (Step::Write(Add, _), Step::Write(Add, _)) => *left_out += weight,
        (Step::Write(Change, row), Step::Write(Change, later)) => {
            overlay(row, later);
            first.weight += weight;
        }
        (Step::Write(Change, _), Step::Remove) => {
            first.step = Step::Remove;
            first.weight += weight;
        }
        // The row is missing after the first one.
        (Step::Remove, Step::Write(Put | Add | New, row)) => first.step = Step::Replace(row),
        (Step::Remove, Step::Write(Change, _) | Step::Remove) => *left_out += weight,
        (_, step) => return refused(step),
    }
    None
}

/// The later values win.
fn overlay<'a>(row: &mut Row<'a>, later: Row<'a>) {
    for (number, cell) in later {
        match row.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(at) => row[at].1 = cell,
            Err(at) => row.insert(at, (number, cell)),
        }
    }
}

impl<'a> Round<'a> {
    fn of(entries: Vec<Entry<'a>>) -> Self {
        let mut round = Self::default();
        let mut places: HashMap<(u8, Vec<u16>), usize> = HashMap::new();
        for Entry { key, step, index, weight } in entries {
            let (action, row, weight) = match step {
                Step::Write(action, row) => (action, row, weight),
                Step::Remove => {
                    round.removals.push(Removal { key, index, weight });
                    continue;
                }
                Step::Replace(row) => {
                    round.removals.push(Removal { key, index, weight });
                    (Action::Put, row, 0)
                }
            };
            let shape = (action as u8, row.iter().map(|(number, _)| *number).collect::<Vec<_>>());
            let at = *places.entry(shape).or_insert_with(|| {
                round.groups.push(Group { action, writes: Vec::new() });
                round.groups.len() - 1
            });
            round.groups[at].writes.push(Write { row, index, weight });
        }
        round
    }
}

#[cfg(test)]
#[path = "rounds_tests.rs"]
mod tests;
