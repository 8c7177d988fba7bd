use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn cell(value: u8) -> Cell<'static> {
    Cell::Text(Cow::Owned(value.to_string()))
}

/// A change of the row `key`: column 0 is the key, the other columns get values.
fn change(index: usize, action: Action, key: u8, columns: &[(u16, u8)]) -> Change<'static> {
    let mut row: BTreeMap<u16, Cell<'static>> = columns.iter().map(|(column, value)| (*column, cell(*value))).collect();
    row.insert(0, cell(key));
    let row = if action == Action::Remove { Row::new() } else { row.into_iter().collect() };
    Change { index, action, key: vec![cell(key)], row, weight: 1 }
}

/// A table: rows by key.
#[derive(Debug, Default, Clone, PartialEq)]
struct Model {
    rows: BTreeMap<String, BTreeMap<u16, Cell<'static>>>,
    left_out: u64,
}

impl Model {
    /// Does one change; false when it is an error.
    fn apply(&mut self, action: Action, key: &[Cell<'static>], row: &Row<'static>, weight: u64) -> bool {
        let key = key[0].text().unwrap().to_owned();
        let exists = self.rows.contains_key(&key);
        match (action, exists) {
            (Action::New, true) => return false,
            (Action::Add, true) | (Action::Change | Action::Remove, false) => self.left_out += weight,
            (Action::Remove, true) => _ = self.rows.remove(&key),
            _ => self.rows.entry(key).or_default().extend(row.iter().cloned()),
        }
        true
    }

    fn apply_rounds(&mut self, rounds: &Rounds<'static>) -> bool {
        self.left_out += rounds.left_out;
        for round in &rounds.rounds {
            for removal in &round.removals {
                self.apply(Action::Remove, &removal.key, &Row::new(), removal.weight);
            }
            for group in &round.groups {
                for write in &group.writes {
                    if !self.apply(group.action, &[write.row[0].1.clone()], &write.row, write.weight) {
                        return false;
                    }
                }
            }
        }
        true
    }
}

fn actions() -> impl Strategy<Value = Action> {
    prop_oneof![Just(Action::Put), Just(Action::Add), Just(Action::New), Just(Action::Change), Just(Action::Remove)]
}

proptest! {
    /// Whatever comes in whatever order: rounds do what the changes do one after the other.
    #[test]
    fn rounds_do_what_the_changes_do(
        before in proptest::collection::btree_map(0..4_u8, 0..9_u8, 0..3),
        changes in proptest::collection::vec(
            (actions(), 0..4_u8, proptest::collection::vec((1..4_u16, 0..9_u8), 0..3)),
            0..24,
        ),
    ) {
        let mut model = Model::default();
        for (key, value) in before {
            let row = change(0, Action::Put, key, &[(1, value)]);
            model.apply(Action::Put, &row.key, &row.row, 1);
        }
        let mut merged = model.clone();
        let changes: Vec<_> = changes
            .into_iter()
            .enumerate()
            .map(|(index, (action, key, columns))| change(index, action, key, &columns))
            .collect();
        let one_by_one = changes.iter().all(|change| model.apply(change.action, &change.key, &change.row, change.weight));
        let rounds = Rounds::of(changes);
        for round in &rounds.rounds {
            let written: Vec<_> = round.groups.iter().flat_map(|group| &group.writes).map(|write| format!("{:?}", write.row[0])).collect();
            prop_assert_eq!(written.iter().collect::<BTreeSet<_>>().len(), written.len(), "a row is touched twice");
            for group in &round.groups {
                let columns = group.columns();
                prop_assert!(group.writes.iter().all(|write| write.row.iter().map(|(number, _)| *number).eq(columns.iter().copied())));
            }
        }
        prop_assert_eq!(merged.apply_rounds(&rounds), one_by_one);
        if one_by_one {
            prop_assert_eq!(merged, model);
        }
    }
}

#[test]
fn a_row_that_changes_often_is_written_once() {
    let changes = (0..100).map(|n| change(n, if n == 0 { Action::Put } else { Action::Change }, 1, &[(1, n as u8)]));
    let rounds = Rounds::of(changes.collect());
    assert_eq!(rounds.rounds.len(), 1);
    assert_eq!(rounds.rounds[0].groups[0].writes[0].row[1].1, cell(99));
}

#[test]
fn rows_of_other_columns_are_groups_of_their_own() {
    let changes = [
        change(0, Action::Put, 1, &[(1, 1)]),
        change(1, Action::Put, 2, &[(2, 1)]),
        change(2, Action::Put, 3, &[(1, 3)]),
    ];
    let rounds = Rounds::of(changes.to_vec());
    let sizes: Vec<_> = rounds.rounds[0].groups.iter().map(|group| (group.columns(), group.writes.len())).collect();
    assert_eq!(sizes, [(vec![0, 1], 2), (vec![0, 2], 1)]);
}

#[test]
fn rows_without_a_key_are_all_kept() {
    let append = |index| Change { key: Vec::new(), ..change(index, Action::New, 1, &[(1, 1)]) };
    let rounds = Rounds::of((0..3).map(append).collect());
    assert_eq!(rounds.rounds.len(), 1);
    assert_eq!(rounds.rounds[0].groups[0].writes.len(), 3);
}
