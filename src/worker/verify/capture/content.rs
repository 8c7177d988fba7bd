//! What a message of a table's row says, and the same as digests: a value of a column is a number.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher};

use bytes::Bytes;
use serde_json::Value;

use super::super::super::format::OPERATION_PROPERTY;
use super::super::super::record::Fields;
use super::super::super::source::database::row::UNCHANGED_PROPERTY;
use crate::rocketmq::Properties;

/// A value of a column: the column's number in the upper 16 bits, a digest of the value in the others.
pub type Cell = u64;
/// Bits of the digest of a value.
const DIGEST_BITS: u32 = 48;
/// Largest whole number up to which every one is a floating-point number.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// What a message does to a row, or to all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It is there, with these fields.
    Put,
    /// The same, but fields that are not named keep what they had.
    Change,
    /// It is gone.
    Remove,
    /// All rows are gone.
    Clear,
}

/// What a message of the pipeline's says.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// What it does.
    pub act: Act,
    /// Fields of the row; of one that is gone, those that tell which it was.
    pub fields: Fields,
    /// The table, where the format tells it.
    pub table: Option<String>,
}

/// What a message says; none where it is not of a pipeline out of a database, or about no row.
#[must_use]
pub fn said(properties: &Properties, body: &Bytes) -> Option<Said> {
    let act = match &**properties.get(OPERATION_PROPERTY)? {
        "insert" | "update" if properties.contains_key(UNCHANGED_PROPERTY) => Act::Change,
        "insert" | "update" => Act::Put,
        "delete" => Act::Remove,
        "truncate" => Act::Clear,
        _ => return None,
    };
    let Value::Object(mut body) = serde_json::from_slice(body).ok()? else { return None };
    // A change event, or the row itself; when the format was changed, both stand in the topic.
    let is_event = ["before", "after", "op", "source"].iter().all(|name| body.contains_key(*name));
    if !is_event {
        let table = body.get("table").and_then(Value::as_str).filter(|_| act == Act::Clear).map(str::to_owned);
        return Some(Said { act, fields: body, table });
    }
    let table = body.get("source").and_then(|source| source.get("table")).and_then(Value::as_str).map(str::to_owned);
    let side = if act == Act::Remove { "before" } else { "after" };
    match body.get_mut(side).map(Value::take) {
        Some(Value::Object(fields)) => Some(Said { act, fields, table }),
        _ => (act == Act::Clear).then(|| Said { act, fields: Fields::new(), table }),
    }
}

/// Names of columns, and their numbers.
#[derive(Debug, Default)]
pub struct Columns {
    numbers: HashMap<String, u16>,
    names: Vec<String>,
}

impl Columns {
    /// The digests of a row's fields, by the numbers of their columns, without those that are left out.
    pub fn cells(&mut self, fields: &Fields, without: &[String]) -> Box<[Cell]> {
        let compared = fields.iter().filter(|(name, _)| !without.contains(name));
        let mut cells: Vec<Cell> =
            compared.map(|(name, value)| u64::from(self.number(name)) << DIGEST_BITS | digest(value)).collect();
        cells.sort_unstable();
        cells.into()
    }

    fn number(&mut self, name: &str) -> u16 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u16::try_from(self.names.len()).unwrap_or(u16::MAX);
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// The name of a column.
    #[must_use]
    pub fn name(&self, number: u16) -> String {
        self.names.get(usize::from(number)).cloned().unwrap_or_default()
    }
}

fn column(cell: Cell) -> u16 {
    u16::try_from(cell >> DIGEST_BITS).unwrap_or(u16::MAX)
}

/// Numbers of the columns that both name and that hold something else in each.
#[must_use]
pub fn differing(expected: &[Cell], found: &[Cell]) -> Vec<u16> {
    let mut rest = found.iter().copied().peekable();
    let mut columns = Vec::new();
    for cell in expected {
        while rest.next_if(|other| column(*other) < column(*cell)).is_some() {}
        if rest.peek().is_some_and(|other| column(*other) == column(*cell) && other != cell) {
            columns.push(column(*cell));
        }
    }
    columns
}

/// What a row holds after a change that does not name all of its columns.
#[must_use]
pub fn merged(before: &[Cell], change: &[Cell]) -> Box<[Cell]> {
    let is_named = |cell: &Cell| change.binary_search_by_key(&column(*cell), |named| column(*named)).is_ok();
    let kept = before.iter().copied().filter(|cell| !is_named(cell));
    let mut cells: Vec<Cell> = kept.chain(change.iter().copied()).collect();
    cells.sort_unstable();
    cells.into()
}

/// Half a digest of a value: the same for 1 and 1.0, and whatever the order of an object's names.
fn digest(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    feed(value, &mut hasher);
    hasher.finish() >> (u64::BITS - DIGEST_BITS)
}

/// Gives a value to a hasher.
pub fn feed(value: &Value, hasher: &mut impl Hasher) {
    match value {
        Value::Null => hasher.write_u8(0),
        Value::Bool(flag) => hasher.write_u8(1 + u8::from(*flag)),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), ..) => (3_u8, whole).hash(hasher),
            (None, Some(whole), _) => (4_u8, whole).hash(hasher),
            #[allow(clippy::cast_possible_truncation, reason = "it is a whole number that fits")]
            (None, None, Some(number)) if number.fract() == 0.0 && number.abs() <= WHOLE => {
                (3_u8, number as i64).hash(hasher);
            }
            (None, None, number) => (5_u8, number.map(f64::to_bits)).hash(hasher),
        },
        Value::String(text) => (6_u8, text).hash(hasher),
        Value::Array(items) => {
            (7_u8, items.len()).hash(hasher);
            items.iter().for_each(|item| feed(item, hasher));
        }
        Value::Object(fields) => {
            (8_u8, fields.len()).hash(hasher);
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort_unstable();
            for name in names {
                name.hash(hasher);
                feed(&fields[name], hasher);
            }
        }
    }
}

/// `a=1, b=x`: a key for people.
#[must_use]
pub fn key_text(names: &[String], fields: &Fields) -> String {
    let value = |name: &String| match fields.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    names.iter().map(|name| format!("{name}={}", value(name))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        let Value::Object(fields) = value else { panic!("an object") };
        fields
    }

    fn of(operation: &str, body: &Value) -> Option<Said> {
        let properties = Properties::from([(OPERATION_PROPERTY, operation)]);
        said(&properties, &Bytes::from(body.to_string()))
    }

    #[test]
    fn a_message_says_what_becomes_of_a_row() {
        let row = json!({"id": 1, "op": "x"});
        let plain = |act| Some(Said { act, fields: fields(row.clone()), table: None });
        assert_eq!(of("insert", &row), plain(Act::Put));
        assert_eq!(of("delete", &row), plain(Act::Remove));
        assert_eq!(of("ddl", &row), None);
        assert_eq!(said(&Properties::new(), &Bytes::from(row.to_string())), None, "of somebody else");
        let event = |before: Value, after: Value, op: &str| json!({"before": before, "after": after, "op": op, "source": {"table": "s.t"}});
        let told = |act| Some(Said { act, fields: fields(row.clone()), table: Some("s.t".to_owned()) });
        let update = event(json!({"id": 1}), row.clone(), "u");
        assert_eq!(of("update", &update), told(Act::Put));
        assert_eq!(of("delete", &event(row.clone(), Value::Null, "d")), told(Act::Remove));
        let cleared = of("truncate", &event(Value::Null, Value::Null, "t")).unwrap();
        assert_eq!((cleared.act, cleared.table.as_deref()), (Act::Clear, Some("s.t")));
        assert_eq!(of("truncate", &json!({"table": "s.t"})).unwrap().table.as_deref(), Some("s.t"));
    }

    #[test]
    fn values_are_compared_and_not_how_they_are_written() {
        let mut columns = Columns::default();
        let mut cells = |value: Value| columns.cells(&fields(value), &["id".to_owned()]);
        let row = cells(json!({"id": 1, "a": 1, "b": {"x": 1, "y": [null]}, "c": "t", "d": 0.1}));
        let same = cells(json!({"d": 0.1, "c": "t", "b": {"y": [null], "x": 1.0}, "a": 1.0, "id": 2}));
        assert_eq!(row, same);
        let other = cells(json!({"a": "1", "b": {"x": 1, "y": []}, "c": null, "e": 7}));
        let changed = cells(json!({"c": "u"}));
        assert_eq!(differing(&row, &changed).len(), 1);
        assert_eq!(differing(&row, &merged(&row, &changed)), differing(&row, &changed));
        assert!(differing(&merged(&other, &row), &row).is_empty());
        let names: Vec<String> = differing(&row, &other).into_iter().map(|number| columns.name(number)).collect();
        assert_eq!(names, ["a", "b", "c"], "what one of them does not name is not compared");
    }

    #[test]
    fn a_key_is_shown_by_its_columns() {
        let names = ["id".to_owned(), "part".to_owned()];
        assert_eq!(key_text(&names, &fields(json!({"part": "x", "id": 7}))), "id=7, part=x");
    }
}
