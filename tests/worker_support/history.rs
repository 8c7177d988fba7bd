//! Rows that are changed while they are read, and whether a topic tells what happened to each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rocketmq_connector::rocketmq::ReceivedMessage;

use super::topic::change;

/// The states of each row in the order in which they were committed; none where it is gone.
pub type History = BTreeMap<i64, Vec<Option<i64>>>;

/// Changes rows `0..rows` of a table `(id, v)`, and adds and deletes some, until it is told to stop and has made at least
/// `least` transactions; `run` runs the statements of one.
pub async fn change_rows<Running: Future<Output = ()>>(
    mut run: impl FnMut(Vec<String>) -> Running,
    table: String,
    rows: i64,
    least: usize,
    stop: Arc<AtomicBool>,
) -> History {
    let mut history: History = (0..rows).map(|id| (id, vec![Some(0)])).collect();
    let (mut random, mut next, mut made) = (0x2545_f491_4f6c_dd1d_u64, rows, 0);
    let mut number = move |below: i64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as i64
    };
    while made < least || !stop.load(Ordering::Relaxed) {
        let mut statements = vec!["BEGIN".to_owned()];
        for _ in 0..=number(3) {
            let id = number(next);
            let states = history.entry(id).or_default();
            match (number(10), states.last().copied().flatten()) {
                (0, _) => {
                    statements.push(format!("INSERT INTO {table} (id, v) VALUES ({next}, 0)"));
                    history.insert(next, vec![None, Some(0)]);
                    next += 1;
                }
                (1, Some(_)) => {
                    statements.push(format!("DELETE FROM {table} WHERE id = {id}"));
                    states.push(None);
                }
                (_, Some(v)) => {
                    statements.push(format!("UPDATE {table} SET v = {} WHERE id = {id}", v + 1));
                    states.push(Some(v + 1));
                }
                (_, None) => {}
            }
        }
        statements.push("COMMIT".to_owned());
        run(statements).await;
        made += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    history
}

/// What was compared.
#[derive(Debug, Default)]
pub struct Compared {
    /// Rows that were loaded in a state that they had got meanwhile.
    pub loaded_late: usize,
    /// Changes that came behind the load.
    pub changes: usize,
    /// Messages that repeat one.
    pub repeated: usize,
}

/// Compares messages with what happened: each row in one state that it had, then each change behind that, in order and once;
/// with `may_repeat`, rows may be loaded again and changes may come again, and none may be missing all the same.
pub fn compare(history: &History, messages: &[ReceivedMessage], may_repeat: bool) -> Compared {
    let mut received: BTreeMap<i64, Vec<Option<i64>>> = BTreeMap::new();
    let mut inserts: BTreeMap<i64, Vec<bool>> = BTreeMap::new();
    for message in messages {
        let (operation, body) = change(message);
        let id = body["id"].as_i64().unwrap();
        received.entry(id).or_default().push((operation != "delete").then(|| body["v"].as_i64().unwrap()));
        inserts.entry(id).or_default().push(operation == "insert");
    }
    let mut compared = Compared::default();
    for (id, states) in history {
        let (got, inserts) = (received.remove(id).unwrap_or_default(), inserts.remove(id).unwrap_or_default());
        if may_repeat {
            compared.repeated += repeated(*id, states, &got, &inserts);
        } else {
            let begin = begins_at(states, &got, &inserts);
            let begin =
                begin.unwrap_or_else(|| panic!("row {id} had {states:?} and came as {got:?}, inserts {inserts:?}"));
            compared.loaded_late += usize::from(begin > 0 && states[begin].is_some());
            compared.changes += states.len() - 1 - begin;
        }
    }
    assert!(received.is_empty(), "rows that never were: {received:?}");
    compared
}

/// The state with which a row was loaded; none where what came does not fit to any.
fn begins_at(states: &[Option<i64>], got: &[Option<i64>], inserts: &[bool]) -> Option<usize> {
    (0..states.len()).find(|begin| {
        let expected = if states[*begin].is_some() { &states[*begin..] } else { &states[*begin + 1..] };
        // A row is an insert when it is loaded and when it is new, and in no other case.
        let is_insert = |(number, state): (usize, &Option<i64>)| number == 0 && state.is_some();
        got == expected && inserts.iter().copied().eq(expected.iter().enumerate().map(is_insert))
    })
}

/// Checks a row that may have come several times; the number of repetitions.
fn repeated(id: i64, states: &[Option<i64>], got: &[Option<i64>], inserts: &[bool]) -> usize {
    assert!(
        got.last().copied().unwrap_or_default() == *states.last().unwrap(),
        "row {id} is {:?} and came last as {:?}",
        states.last(),
        got.last()
    );
    // Behind the last time that it was loaded, everything has come, first in the order in which it happened.
    let loaded = inserts.iter().rposition(|is_insert| *is_insert);
    let begin = loaded.and_then(|place| states.iter().position(|state| *state == got[place]));
    let mut expected = begin.map_or(&states[states.len()..], |begin| &states[begin + 1..]).iter();
    let mut next = expected.next();
    for state in &got[loaded.map_or(0, |place| place + 1)..] {
        if Some(state) == next {
            next = expected.next();
        }
    }
    assert_eq!(next, None, "row {id} had {states:?} and came as {got:?}");
    let distinct: std::collections::BTreeSet<_> = got.iter().collect();
    got.len() - distinct.len()
}
