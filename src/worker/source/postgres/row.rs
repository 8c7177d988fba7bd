//! Rows as records.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::super::record::{Fields, MessageParts, Operation, Payload, Position, Record};
use super::value;

/// Property with the names of columns whose values are stored out of line and were not changed, so that the log lacks them.
pub const UNCHANGED_PROPERTY: &str = "connector-unchanged";

/// What is the same for all records of a table.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Name of the replication slot.
    pub partition: Arc<str>,
    /// `schema.table`.
    pub entity: String,
    /// Names of the fields that identify a row.
    pub key_fields: Arc<[String]>,
}

/// A row, or a part of one.
#[derive(Debug, Clone, Default)]
pub struct Cells {
    /// Fields with their values.
    pub fields: Fields,
    /// Bytes of the values in the text form of PostgreSQL.
    pub size: usize,
    /// Fields that the log does not have.
    pub unchanged: Vec<String>,
}

impl Cells {
    /// Adds a value; none is null.
    pub fn push(&mut self, name: &str, type_oid: u32, text: Option<&str>) {
        self.size += name.len() + text.map_or(0, str::len);
        let value = text.map_or(serde_json::Value::Null, |text| value::json(type_oid, text));
        self.fields.insert(name.to_owned(), value);
    }
}

impl Shape {
    /// The record of a row.
    #[must_use]
    pub fn record(
        &self,
        (offset, index): (u64, u32),
        operation: Operation,
        cells: Cells,
        before: Option<Fields>,
        at_millis: i64,
    ) -> Record {
        let mut properties = BTreeMap::new();
        if !cells.unchanged.is_empty() {
            properties.insert(UNCHANGED_PROPERTY.to_owned(), cells.unchanged.join(","));
        }
        Record {
            position: Position { partition: Arc::clone(&self.partition), offset, index },
            entity: self.entity.clone(),
            operation,
            payload: Payload::Fields { fields: cells.fields, size: cells.size },
            before,
            key_fields: Arc::clone(&self.key_fields),
            message: MessageParts { properties, born_millis: at_millis, ..MessageParts::default() },
            at_millis,
            original: None,
            is_changed: false,
        }
    }
}

/// The values of a line of `COPY … TO STDOUT` in text form; none is null.
///
/// Source: PostgreSQL's documentation of COPY, "Text Format".
pub fn copied(line: &str) -> impl Iterator<Item = Option<String>> {
    line.trim_end_matches('\n').split('\t').map(|part| {
        if part == "\\N" {
            return None;
        }
        if !part.contains('\\') {
            return Some(part.to_owned());
        }
        let (mut text, mut characters) = (String::with_capacity(part.len()), part.chars());
        while let Some(character) = characters.next() {
            text.push(match character {
                '\\' => match characters.next() {
                    Some('b') => '\u{8}',
                    Some('f') => '\u{c}',
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some('v') => '\u{b}',
                    Some(other) => other,
                    None => '\\',
                },
                other => other,
            });
        }
        Some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copied_line_has_its_values() {
        let values: Vec<_> = copied("1\t\\N\ta\\tb\\\\n\\n\t\n").collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(values, [text("1"), None, text("a\tb\\n\n"), text("")]);
    }
}
