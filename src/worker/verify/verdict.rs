//! What it means that a row is found as it is.

use std::collections::HashSet;

use super::super::sink::table::compare::Seen;
use super::ledger::Place;
use super::rows::{Expected, Presence, RowKey};
use crate::worker_config::verify::{Difference, VerifyCounts};

/// What a row is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Right,
    /// Nobody can tell.
    Undecided,
    /// Wrong, with the numbers of the columns that hold something else.
    Wrong(Difference, Vec<u16>),
}

/// Judges what was found of a row.
#[must_use]
pub fn judge(presence: Presence, seen: Seen) -> Verdict {
    match (presence, seen) {
        (Presence::Is, Seen::Missing) => Verdict::Wrong(Difference::Missing, Vec::new()),
        // An update that the policy leaves out where there is no row.
        (Presence::Perhaps, Seen::Missing) => Verdict::Undecided,
        (Presence::Is | Presence::Perhaps, Seen::Different(columns)) => Verdict::Wrong(Difference::Different, columns),
        (Presence::Is | Presence::Perhaps, Seen::Same) | (Presence::IsNot, Seen::Missing) => Verdict::Right,
        (Presence::IsNot, _) => Verdict::Wrong(Difference::Extra, Vec::new()),
    }
}

/// A row that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wrong {
    /// The newest message about it; its window is the number of its queue.
    pub place: Place,
    /// What is wrong.
    pub kind: Difference,
    /// Number of its table.
    pub table: usize,
    /// Its key, as texts.
    pub key: Vec<String>,
    /// Numbers of the columns that hold something else.
    pub columns: Vec<u16>,
}

/// What the rows of one round came to.
#[derive(Debug, Default)]
pub struct Judged {
    /// Figures, those of the source included.
    pub counts: VerifyCounts,
    /// The source's times of the oldest and newest message of the windows.
    pub span: Option<(i64, i64)>,
    /// Hashes of all rows that are wrong.
    pub hashes: HashSet<u64>,
    /// Those that are listed.
    pub wrong: Vec<Wrong>,
}

impl Judged {
    /// Takes note of a row.
    pub fn note(&mut self, hash: u64, key: &RowKey, expected: &Expected, verdict: Verdict) {
        let counts = &mut self.counts;
        let (kind, columns) = match verdict {
            Verdict::Right => {
                counts.target += 1;
                return;
            }
            Verdict::Undecided => {
                counts.undecided += 1;
                return;
            }
            Verdict::Wrong(kind, columns) => (kind, columns),
        };
        match kind {
            Difference::Missing => counts.missing += 1,
            Difference::Different => counts.different += 1,
            Difference::Extra => counts.extra += 1,
        }
        self.hashes.insert(hash);
        let text = |cell: &super::super::sink::table::value::Cell<'_>| match (cell.text(), cell.bytes()) {
            (Some(text), _) => text.to_owned(),
            (None, Some(bytes)) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            (None, None) => String::new(),
        };
        let key_texts = key.key.iter().map(text).collect();
        self.wrong.push(Wrong { place: expected.place, kind, table: key.table, key: key_texts, columns });
    }

    /// Adds another part of the same round, and keeps `most` rows that are listed: the first ones of the source.
    pub fn add(&mut self, other: Self, most: usize) {
        // Each part has read the whole window.
        let (source, left_out) = (other.counts.source, other.counts.left_out);
        self.counts.add(&other.counts);
        (self.counts.source, self.counts.left_out) = (source, left_out);
        self.span = other.span;
        self.hashes.extend(other.hashes);
        self.wrong.extend(other.wrong);
        self.wrong.sort_unstable();
        self.wrong.truncate(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_judged_by_what_is_known() {
        use Presence::{Is, IsNot, Perhaps};
        let different = || Seen::Different(vec![1]);
        let wrong = |kind| Verdict::Wrong(kind, Vec::new());
        assert_eq!(judge(Is, Seen::Same), Verdict::Right);
        assert_eq!(judge(Is, Seen::Missing), wrong(Difference::Missing));
        assert_eq!(judge(Is, different()), Verdict::Wrong(Difference::Different, vec![1]));
        assert_eq!(judge(Perhaps, Seen::Same), Verdict::Right);
        assert_eq!(judge(Perhaps, Seen::Missing), Verdict::Undecided);
        assert_eq!(judge(Perhaps, different()), Verdict::Wrong(Difference::Different, vec![1]));
        assert_eq!(judge(IsNot, Seen::Missing), Verdict::Right);
        assert_eq!(judge(IsNot, Seen::Same), wrong(Difference::Extra));
        assert_eq!(judge(IsNot, different()), wrong(Difference::Extra));
    }
}
