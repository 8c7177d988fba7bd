//! Rows as records.

use crate::rocketmq::Properties;
use bytestring::ByteString;
use std::sync::Arc;

use super::super::super::record::{Fields, MessageParts, Operation, Payload, Position, Record};

/// Property with the names of columns whose values are stored out of line and were not changed, so that the log lacks them.
pub const UNCHANGED_PROPERTY: &str = "connector-unchanged";

/// What is the same for all records of a table.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Name of the replication slot, or of what stands for one.
    pub partition: Arc<str>,
    /// `schema.table`.
    pub entity: ByteString,
    /// Names of the fields that identify a row.
    pub key_fields: Arc<[String]>,
}

/// A row, or a part of one.
#[derive(Debug, Clone, Default)]
pub struct Cells {
    /// Fields with their values.
    pub fields: Fields,
    /// Bytes of the values as the database wrote them.
    pub size: usize,
    /// Fields that the log does not have.
    pub unchanged: Vec<String>,
}

impl Cells {
    /// Adds a value that took `size` bytes.
    pub fn push(&mut self, name: &str, value: serde_json::Value, size: usize) {
        self.size += name.len() + size;
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
        let mut properties = Properties::new();
        if !cells.unchanged.is_empty() {
            properties.insert(UNCHANGED_PROPERTY, cells.unchanged.join(","));
        }
        Record {
            position: Position { partition: Arc::clone(&self.partition), offset, index, epoch: 0 },
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
