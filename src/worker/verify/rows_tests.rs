use std::borrow::Cow;

use super::super::super::sink::table::schema::{Column, Dialect, Kind, Table};
use super::*;

fn keyed() -> Keyed {
    let column = |name: &str| Column {
        name: name.to_owned(),
        kind: Kind::Text,
        sql_type: "text".to_owned(),
        stored_type: "text".to_owned(),
        is_generated: false,
    };
    let columns = ["id", "a", "b"].map(column).to_vec();
    Keyed::new(Table::new(Dialect::Postgres, "t".to_owned(), columns, &["id".to_owned()], &[]), &[]).unwrap()
}

fn text(value: &str) -> Cell<'static> {
    Cell::Text(Cow::Owned(value.to_owned()))
}

fn change(action: Action, id: &str, a: &str) -> Change<'static> {
    let mut row = vec![(0, text(id))];
    if !a.is_empty() {
        row.push((1, text(a)));
    }
    let row = if action == Action::Remove { Vec::new() } else { row };
    Change { index: 0, action, key: vec![text(id)], row, weight: 1 }
}

const ALL: Part<'static> = Part { number: 0, of: 1, only: None };

fn rows(most: usize) -> Rows<'static> {
    Rows::new(RandomState::new(), ALL, most, true)
}

/// The row after these actions, each with its value of `a`.
fn after(actions: &[(Action, &str)]) -> (Presence, Vec<(u16, String)>) {
    let (keyed, mut rows) = (keyed(), rows(1 << 20));
    for (offset, (action, a)) in actions.iter().enumerate() {
        rows.apply(0, &keyed, change(*action, "1", a), Place { window: 0, offset: offset as i64 }, false);
    }
    let (_, expected) = rows.iter().next().unwrap();
    let values = expected.values.iter().map(|(number, cell)| (*number, cell.text().unwrap().to_owned()));
    (expected.presence, values.collect())
}

#[test]
fn what_is_known_of_a_row_follows_from_its_changes_and_the_policies() {
    use Action::{Add, Change, New, Put, Remove};
    use Presence::{Is, IsNot, Perhaps};
    let holds = |a: &str| vec![(1, a.to_owned())];
    let nothing = Vec::new();
    assert_eq!(after(&[(Put, "x"), (Put, "y")]), (Is, holds("y")));
    assert_eq!(after(&[(Put, "x"), (Put, "")]), (Is, holds("x")), "a column that does not come stays");
    assert_eq!(after(&[(Put, "x"), (Remove, "")]), (IsNot, nothing.clone()));
    assert_eq!(after(&[(Remove, ""), (Put, "x")]), (Is, holds("x")));
    assert_eq!(after(&[(Add, "x")]), (Is, nothing.clone()), "it may have been there before with other values");
    assert_eq!(after(&[(Remove, ""), (Add, "x"), (Add, "y")]), (Is, holds("x")));
    assert_eq!(after(&[(Put, "x"), (Add, "y")]), (Is, holds("x")));
    assert_eq!(after(&[(New, "x")]), (Is, holds("x")));
    assert_eq!(after(&[(Change, "x")]), (Perhaps, holds("x")));
    assert_eq!(after(&[(Put, "x"), (Change, "y")]), (Is, holds("y")));
    assert_eq!(after(&[(Remove, ""), (Change, "x")]), (IsNot, nothing.clone()));
    assert_eq!(after(&[(Change, "x"), (Add, "y")]), (Is, nothing));
}

#[test]
fn an_insert_that_may_have_been_refused_without_a_trace_tells_no_values() {
    let mut rows = Rows::new(RandomState::new(), ALL, 1 << 20, false);
    rows.apply(0, &keyed(), change(Action::New, "1", "x"), Place { window: 0, offset: 0 }, false);
    let (_, expected) = rows.iter().next().unwrap();
    assert_eq!((expected.presence, expected.values.len()), (Presence::Is, 0));
}

#[test]
fn messages_behind_the_window_count_for_its_rows_only() {
    let (keyed, mut rows) = (keyed(), rows(1 << 20));
    rows.apply(0, &keyed, change(Action::Put, "1", "x"), Place { window: 0, offset: 0 }, false);
    rows.apply(0, &keyed, change(Action::Put, "1", "y"), Place { window: 0, offset: 1 }, true);
    rows.apply(0, &keyed, change(Action::Put, "2", "y"), Place { window: 0, offset: 2 }, true);
    let found: Vec<_> = rows.iter().collect();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].1.values.clone(), found[0].1.place.offset), (vec![(1, text("y"))], 1));
}

#[test]
fn a_row_of_several_queues_has_no_order_unless_they_say_the_same() {
    let (keyed, mut rows) = (keyed(), rows(1 << 20));
    for (queue, id, a) in [(0, "same", "x"), (1, "same", "x"), (0, "other", "x"), (1, "other", "y")] {
        rows.apply(0, &keyed, change(Action::Put, id, a), Place { window: queue, offset: 0 }, false);
    }
    let unordered = |id: &str| rows.iter().find(|(key, _)| key.key[0] == text(id)).unwrap().1.is_unordered;
    assert_eq!((unordered("same"), unordered("other")), (false, true));
}

#[test]
fn what_is_too_much_is_put_off_and_nothing_is_lost() {
    let (keyed, hashes, most) = (keyed(), RandomState::new(), 40_000);
    let (mut todo, mut seen, mut passes) = (vec![(0, 1)], HashSet::new(), 0);
    while let Some((number, of)) = todo.pop() {
        passes += 1;
        let mut rows = Rows::new(hashes.clone(), Part { number, of, only: None }, most, true);
        for id in 0..1_000 {
            rows.apply(0, &keyed, change(Action::Put, &id.to_string(), "x"), Place { window: 0, offset: id }, false);
            assert!(rows.bytes <= most, "{}", rows.bytes);
        }
        todo.extend(rows.later());
        for (key, _) in rows.iter() {
            assert!(seen.insert(key.key[0].text().unwrap().to_owned()), "{key:?} came twice");
        }
    }
    assert_eq!(seen.len(), 1_000);
    assert!(passes > 8, "{passes}");
    let mut only = HashSet::new();
    let one = RowKey { table: 0, key: vec![text("7")] };
    only.insert(hashes.hash_one(&one));
    let mut rows = Rows::new(hashes, Part { only: Some(&only), ..ALL }, most, true);
    (0..1_000).for_each(|id| {
        rows.apply(0, &keyed, change(Action::Put, &id.to_string(), "x"), Place { window: 0, offset: id }, false);
    });
    assert_eq!(rows.iter().map(|(key, _)| key).collect::<Vec<_>>(), [&one]);
}
