use serde_json::{Value, json};

use super::super::content::Columns;
use super::*;

const RULES: Rules = Rules { has_loaded: true, tells_deletions: true, is_trimmed: Vec::new() };

struct Bench<'a> {
    ledger: Ledger<'a>,
    columns: Columns,
    at_millis: i64,
}

impl<'a> Bench<'a> {
    fn new(part: Part<'a>) -> Self {
        Self { ledger: Ledger::new(part, 1 << 30), columns: Columns::default(), at_millis: 1_000_000 }
    }

    fn cells(&mut self, row: Value) -> Box<[Cell]> {
        let Value::Object(fields) = row else { panic!("an object") };
        self.columns.cells(&fields, &[])
    }

    /// The row of a key as the table has it.
    fn has(&mut self, key: u64, row: Value) {
        let cells = self.cells(row);
        self.ledger.expect(key, (0, 0), Some(cells), format!("id={key}"));
    }

    /// A message of the queue 0, a minute after the one before.
    fn says(&mut self, key: u64, offset: i64, act: Act, row: Value) {
        self.at_millis += 60_000;
        self.says_at((0, offset), self.at_millis, key, act, row);
    }

    fn says_at(&mut self, (window, offset): (usize, i64), at_millis: i64, key: u64, act: Act, row: Value) {
        let (cells, place) = (self.cells(row), Place { window, offset });
        let word = Word { hash: key, table: 0, act, cells, place, at_millis };
        self.ledger.find(word, || format!("id={key}"));
    }

    fn close(self, rules: &Rules) -> Judged {
        self.ledger.close(rules)
    }
}

fn whole<'a>() -> Part<'a> {
    Part { number: 0, of: 1, only: None }
}

fn some(keys: std::ops::Range<u64>) -> Again {
    keys.map(|key| (key, Difference::Missing)).collect()
}

fn row(v: i32) -> Value {
    json!({"v": v, "note": "n"})
}

#[test]
fn what_is_missing_different_or_extra_is_told() {
    let only = some(1..7);
    let mut bench = Bench::new(Part { only: Some(&only), ..whole() });
    for key in [1, 2, 3, 4] {
        bench.has(key, row(1));
    }
    bench.ledger.read_from(vec![vec![100]]);
    bench.says(1, 0, Act::Put, row(0));
    bench.says(1, 1, Act::Put, row(1));
    bench.says(2, 2, Act::Put, json!({"v": 2, "note": "n"}));
    bench.says(3, 3, Act::Put, row(1));
    bench.says(3, 4, Act::Remove, json!({}));
    bench.says(5, 5, Act::Put, row(1));
    bench.says(6, 6, Act::Put, row(1));
    bench.says(6, 7, Act::Remove, json!({}));
    bench.says(7, 8, Act::Put, row(1));
    let mut columns = std::mem::take(&mut bench.columns);
    let v = columns.cells(json!({"v": 0}).as_object().unwrap(), &[])[0];
    let mut judged = bench.close(&RULES);
    judged.wrong.sort();
    let counts = judged.counts;
    assert_eq!((counts.source, counts.target, counts.missing, counts.different, counts.extra), (4, 1, 2, 1, 1));
    let listed: Vec<_> = judged.wrong.iter().map(|wrong| (wrong.kind, wrong.key.as_str())).collect();
    use Difference::{Different, Extra, Missing};
    assert_eq!(listed, [(Missing, "id=3"), (Missing, "id=4"), (Different, "id=2"), (Extra, "id=5")]);
    assert_eq!(judged.wrong[2].columns, [u16::try_from(v >> 48).unwrap()]);
    assert_eq!(judged.again.len(), 4);
}

#[test]
fn a_row_that_goes_on_changing_is_right_when_the_topic_has_said_so_since() {
    let mut bench = Bench::new(whole());
    for key in 1..8 {
        bench.has(key, row(5));
    }
    bench.ledger.read_from(vec![vec![10]]);
    // As it was at the mark, then changed; said behind the mark, then changed; gone since; changed twice, and never so.
    bench.says(1, 9, Act::Put, row(5));
    bench.says(1, 10, Act::Put, row(6));
    bench.says(2, 8, Act::Put, row(4));
    bench.says(2, 11, Act::Put, row(5));
    bench.says(2, 12, Act::Put, row(6));
    bench.says(3, 7, Act::Put, row(5));
    bench.says(3, 13, Act::Remove, json!({}));
    bench.says(4, 9, Act::Put, row(4));
    bench.says(4, 14, Act::Put, row(6));
    // Before the mark does not count when it was changed before the mark, too.
    bench.says(5, 5, Act::Put, row(5));
    bench.says(5, 6, Act::Put, row(4));
    // Changes that do not name all columns.
    bench.says(6, 5, Act::Put, json!({"v": 1, "note": "n"}));
    bench.says(6, 6, Act::Change, json!({"v": 5}));
    bench.says(7, 5, Act::Put, json!({"v": 5, "note": "other"}));
    bench.says(7, 6, Act::Change, json!({"v": 5}));
    // Rows that came and went.
    bench.says(21, 15, Act::Put, row(1));
    bench.says(22, 9, Act::Put, row(1));
    bench.says(22, 16, Act::Remove, json!({}));
    bench.says(22, 17, Act::Put, row(1));
    bench.says(23, 9, Act::Put, row(1));
    let judged = bench.close(&RULES);
    let mut again: Vec<_> = judged.again.into_iter().collect();
    again.sort();
    use Difference::{Different, Extra};
    assert_eq!(again, [(4, Different), (5, Different), (7, Different), (23, Extra)]);
    assert_eq!(judged.counts.target, 4);
}

#[test]
fn what_nobody_can_tell_is_undecided() {
    let undecided = |rules: &Rules| {
        let mut bench = Bench::new(whole());
        bench.has(1, row(1));
        bench.ledger.expect(3, (0, 0), None, String::new());
        bench.ledger.read_from(vec![vec![100, 100]]);
        bench.says(2, 0, Act::Put, row(1));
        bench.says(3, 1, Act::Put, row(1));
        let counts = bench.close(rules).counts;
        assert_eq!((counts.source, counts.left_out), (2, 1));
        (counts.undecided, counts.missing, counts.extra)
    };
    assert_eq!(undecided(&RULES), (0, 1, 1));
    assert_eq!(undecided(&Rules { has_loaded: false, ..RULES }), (1, 0, 1));
    assert_eq!(undecided(&Rules { tells_deletions: false, ..RULES }), (1, 1, 0));
    assert_eq!(undecided(&Rules { is_trimmed: vec![true], ..RULES }), (1, 0, 1));
}

#[test]
fn of_several_queues_the_newer_message_counts_where_that_can_be_told() {
    let mut bench = Bench::new(whole());
    for key in 1..5 {
        bench.has(key, row(5));
    }
    bench.ledger.read_from(vec![vec![100, 100]]);
    let (old, new) = (1_000_000, 1_060_000);
    // Queues are read in any order.
    bench.says_at((0, 1), new, 1, Act::Put, row(5));
    bench.says_at((1, 1), old, 1, Act::Put, row(4));
    bench.says_at((0, 2), old, 2, Act::Put, row(5));
    bench.says_at((1, 2), new, 2, Act::Put, row(4));
    bench.says_at((0, 3), new, 3, Act::Put, row(4));
    bench.says_at((1, 3), new + 1, 3, Act::Put, row(3));
    bench.says_at((0, 4), new, 4, Act::Put, row(4));
    bench.says_at((1, 4), new + 1, 4, Act::Put, row(5));
    let judged = bench.close(&RULES);
    let counts = judged.counts;
    assert_eq!((counts.target, counts.different, counts.undecided), (2, 1, 1));
    assert!(judged.again.contains_key(&2));
}

#[test]
fn rows_are_gone_with_a_truncation() {
    let mut bench = Bench::new(whole());
    for key in [1, 2, 7] {
        bench.has(key, row(5));
    }
    bench.ledger.read_from(vec![vec![50, 50]]);
    let at = |minutes: i64| minutes * 60_000;
    bench.says_at((0, 1), at(1), 1, Act::Put, row(5));
    bench.says_at((0, 2), at(1), 3, Act::Put, row(5));
    bench.says_at((1, 1), at(1), 4, Act::Put, row(5));
    bench.says_at((0, 10), at(2), 0, Act::Clear, json!({}));
    bench.says_at((0, 11), at(2), 2, Act::Put, row(5));
    bench.says_at((0, 12), at(2), 5, Act::Put, row(5));
    // In another queue, at about the same time.
    bench.says_at((1, 2), at(2) - 1, 6, Act::Put, row(5));
    bench.says_at((1, 3), at(2) - 1, 7, Act::Put, row(5));
    let judged = bench.close(&RULES);
    let mut again: Vec<_> = judged.again.into_iter().collect();
    again.sort();
    use Difference::{Extra, Missing};
    assert_eq!(again, [(1, Missing), (5, Extra)]);
    assert_eq!((judged.counts.target, judged.counts.undecided), (2, 0));
    // Since the rows were looked at.
    let mut bench = Bench::new(whole());
    bench.has(1, row(5));
    bench.ledger.read_from(vec![vec![50]]);
    bench.says(1, 1, Act::Put, row(5));
    bench.says(2, 2, Act::Put, row(5));
    bench.says(0, 60, Act::Clear, json!({}));
    assert!(bench.close(&RULES).again.is_empty());
}

#[test]
fn parts_that_are_put_off_are_the_whole_with_the_rest() {
    let (mut todo, mut counts, mut passes) = (vec![(0, 1)], VerifyCounts::default(), 0);
    while let Some((number, of)) = todo.pop() {
        passes += 1;
        let mut bench = Bench::new(Part { number, of, only: None });
        bench.ledger.most = 100 * OVERHEAD;
        for key in 0..500 {
            bench.has(key, row(1));
        }
        bench.ledger.read_from(vec![vec![1_000]]);
        for key in 5..600 {
            bench.says(key, i64::try_from(key).unwrap(), Act::Put, row(1));
        }
        assert!(bench.ledger.entries.len() <= 100);
        todo.extend(bench.ledger.later());
        counts.add(&bench.close(&RULES).counts);
    }
    assert_eq!((counts.source, counts.target, counts.missing, counts.extra), (500, 495, 5, 100));
    assert_eq!(passes, 8);
}
