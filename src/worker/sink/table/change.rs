//! What a record does to a table: an action on a row that is found by its key.

use std::borrow::Cow;

use serde_json::Value;

use super::super::super::format::operation_name;
use super::super::super::record::{Fields, Invalid, Operation, Payload, Record};
use super::schema::{Dialect, Keyed, Kind, NewColumn};
use super::value::{Cell, cell};
use crate::worker_config::sync::{OnExists, OnMissing, WriteConfig};

const INVALID_KEY: &str = "InvalidKey";
/// Reason of a field that its table has no column for.
pub const UNKNOWN_FIELD: &str = "UnknownField";

/// Columns of messages whose bodies are not looked into, and what they hold. The first ones identify the message.
pub const RAW_COLUMNS: [(&str, Kind); 10] = [
    ("topic", Kind::Text),
    ("broker", Kind::Text),
    ("queue", Kind::Integer),
    ("queue_offset", Kind::Integer),
    ("message_id", Kind::Text),
    ("tag", Kind::Text),
    ("message_keys", Kind::Text),
    ("properties", Kind::Json),
    ("born_at", Kind::Moment),
    ("body", Kind::Bytes),
];
/// How many of [`RAW_COLUMNS`] are the key of a table that is made for them.
pub const RAW_KEY: usize = 4;

/// Values by numbers of columns, in their order.
pub type Row<'a> = Vec<(u16, Cell<'a>)>;

/// What is done to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is inserted, or updated where it exists.
    Put,
    /// It is inserted, or left alone where it exists.
    Add,
    /// It is inserted; that it exists is an error.
    New,
    /// It is updated, or left out where it is missing.
    Change,
    /// It is deleted, or left out where it is missing.
    Remove,
}

/// What a record does to a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'a> {
    /// Number of the record in its batch.
    pub index: usize,
    /// What is done.
    pub action: Action,
    /// Values of the columns that identify the row; none of a table that is only appended to.
    pub key: Vec<Cell<'a>>,
    /// Values of columns, those of the key included; none of a row that is deleted.
    pub row: Row<'a>,
    /// Records that are left out when it has no effect: 1, or 0 of the deletion of a row that gets another key.
    pub weight: u64,
}

/// What becomes of fields that a table has no column for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// The record is invalid.
    Refuse,
    /// Those that are null are left out: a column is made when its first value comes.
    RefuseValues,
}

/// How records become changes.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Whose dialect the values are written in.
    pub dialect: Dialect,
    /// What is done where a row exists, or is missing.
    pub write: WriteConfig,
    /// What becomes of fields that a table has no column for.
    pub unknown: Unknown,
}

/// The changes of a record: one, or two when a row gets another key.
///
/// # Errors
/// What is wrong with the record.
pub fn changes<'a>(
    record: &'a Record,
    index: usize,
    keyed: &Keyed,
    rules: &Rules,
    into: &mut Vec<Change<'a>>,
) -> Result<(), Invalid> {
    let fields = match &record.payload {
        Payload::Raw(_) => {
            let row = raw_row(record, keyed, rules.dialect)?;
            let key = key_of(keyed, &row)?;
            let action = if key.is_empty() { Action::New } else { on_insert(rules.write.insert) };
            into.push(Change { index, action, key, row, weight: 1 });
            return Ok(());
        }
        Payload::Fields { fields, .. } => fields,
    };
    if keyed.key.is_empty() {
        if record.operation != Operation::Insert {
            return Err(Invalid::new(
                INVALID_KEY,
                format!("{} {}: the table has no key", operation_name(record.operation), keyed.table.quoted),
                "set target.keyFields, or give the table a primary key",
            ));
        }
        into.push(Change { index, action: Action::New, key: Vec::new(), row: row(fields, keyed, rules)?, weight: 1 });
        return Ok(());
    }
    let write = &rules.write;
    let action = match record.operation {
        Operation::Insert => on_insert(write.insert),
        Operation::Update if write.update == OnMissing::Insert => Action::Put,
        Operation::Update => Action::Change,
        Operation::Delete => {
            let key = key_in(fields, keyed, rules.dialect)?;
            into.push(Change { index, action: Action::Remove, key, row: Row::new(), weight: 1 });
            return Ok(());
        }
        // No row: what a source out of RocketMQ never has.
        Operation::Truncate | Operation::Definition => return Ok(()),
    };
    let row = row(fields, keyed, rules)?;
    let key = key_of(keyed, &row)?;
    let before = record.before.as_ref().filter(|_| record.operation == Operation::Update);
    // A source that tells the row before an update tells of another key by it.
    let old_key = before.and_then(|before| key_in(before, keyed, rules.dialect).ok()).filter(|old| *old != key);
    match old_key {
        Some(old_key) => {
            into.push(Change { index, action: Action::Remove, key: old_key, row: Row::new(), weight: 0 });
            into.push(Change { index, action: Action::Put, key, row, weight: 1 });
        }
        None => into.push(Change { index, action, key, row, weight: 1 }),
    }
    Ok(())
}

fn on_insert(policy: OnExists) -> Action {
    match policy {
        OnExists::Update => Action::Put,
        OnExists::Ignore => Action::Add,
        OnExists::Fail => Action::New,
    }
}

fn row<'a>(fields: &'a Fields, keyed: &Keyed, rules: &Rules) -> Result<Row<'a>, Invalid> {
    let mut row = Row::with_capacity(fields.len());
    for (name, value) in fields {
        match keyed.table.number(name) {
            Some(number) if keyed.table.column(number).is_generated => {}
            Some(number) => row.push((number, cell(value, keyed.table.column(number), rules.dialect)?)),
            None if value.is_null() && rules.unknown == Unknown::RefuseValues => {}
            None => {
                return Err(Invalid::new(
                    UNKNOWN_FIELD,
                    format!("field {name}: {} has no such column", keyed.table.quoted),
                    "add the column, set target.createTable: true, or drop the field by a transform",
                ));
            }
        }
    }
    row.sort_unstable_by_key(|(number, _)| *number);
    match row.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        None => Ok(row),
        Some(pair) => Err(Invalid::new(
            UNKNOWN_FIELD,
            format!("field {}: two fields differ in case only, and are one column", keyed.table.column(pair[0].0).name),
            "rename or drop one of them by a transform",
        )),
    }
}

fn key_in<'a>(fields: &'a Fields, keyed: &Keyed, dialect: Dialect) -> Result<Vec<Cell<'a>>, Invalid> {
    let value = |number: &u16| {
        let column = keyed.table.column(*number);
        match fields.get(&column.name) {
            None | Some(Value::Null) => Err(no_key(&column.name)),
            Some(value) => cell(value, column, dialect),
        }
    };
    keyed.key.iter().map(value).collect()
}

fn key_of<'a>(keyed: &Keyed, row: &Row<'a>) -> Result<Vec<Cell<'a>>, Invalid> {
    let value = |number: &u16| match row.iter().find(|(at, _)| at == number) {
        None | Some((_, Cell::Null)) => Err(no_key(&keyed.table.column(*number).name)),
        Some((_, cell)) => Ok(cell.clone()),
    };
    keyed.key.iter().map(value).collect()
}

fn no_key(field: &str) -> Invalid {
    let message = format!("field {field}: is missing or null, and identifies the row");
    Invalid::new(INVALID_KEY, message, "correct the sender, or name other fields in target.keyFields")
}

/// The row of a message whose body is not looked into: what the table has columns for.
fn raw_row<'a>(record: &'a Record, keyed: &Keyed, dialect: Dialect) -> Result<Row<'a>, Invalid> {
    let mut row = Row::new();
    for (name, _) in RAW_COLUMNS {
        let Some(number) = keyed.table.number(name) else { continue };
        let column = keyed.table.column(number);
        if !column.is_generated {
            let value =
                if name == "body" { body(record, column.kind)? } else { raw_cell(record, name, column, dialect)? };
            row.push((number, value));
        }
    }
    row.sort_unstable_by_key(|(number, _)| *number);
    Ok(row)
}

fn body(record: &Record, kind: Kind) -> Result<Cell<'_>, Invalid> {
    let Payload::Raw(body) = &record.payload else { return Ok(Cell::Null) };
    if kind == Kind::Bytes {
        return Ok(Cell::Bytes(Cow::Borrowed(body)));
    }
    match std::str::from_utf8(body) {
        Ok(text) => Ok(Cell::Text(Cow::Borrowed(text))),
        Err(error) => {
            let message = format!("body: is no text, and the column body holds text: {error}");
            Err(Invalid::new("InvalidBody", message, "give the column body a type for bytes, or correct the sender"))
        }
    }
}

fn raw_cell(
    record: &Record,
    name: &str,
    column: &super::schema::Column,
    dialect: Dialect,
) -> Result<Cell<'static>, Invalid> {
    let mut place = record.position.partition.split('@');
    let (topic, broker, queue) = (place.next(), place.next(), place.next());
    let message = &record.message;
    let value = match name {
        "topic" => Value::from(topic),
        "broker" => Value::from(broker),
        "queue" => Value::from(queue.and_then(|queue| queue.parse::<i64>().ok())),
        "queue_offset" => Value::from(record.position.offset),
        "message_id" => Value::from(&*message.id),
        "tag" => Value::from(message.tag.as_deref()),
        "message_keys" if message.keys.is_empty() => Value::Null,
        "message_keys" => Value::from(message.keys.join(" ")),
        "properties" => {
            message.properties.iter().map(|(name, value)| (name.to_string(), Value::from(&**value))).collect()
        }
        _ => Value::from(message.born_millis),
    };
    cell(&value, column, dialect).map(Cell::into_owned)
}

/// The columns that a table lacks for these records, in the order in which they first come. A name that no column can have
/// is not among them.
#[must_use]
pub fn missing_columns<'a>(
    records: impl Iterator<Item = &'a Record>,
    dialect: Dialect,
    has: impl Fn(&str) -> bool,
) -> Vec<NewColumn> {
    let is_same = |one: &str, other: &str| match dialect {
        Dialect::Postgres => one == other,
        Dialect::MySql => one.eq_ignore_ascii_case(other),
    };
    let mut names: Vec<&str> = Vec::new();
    let mut values: Vec<Vec<&Value>> = Vec::new();
    let mut is_raw = false;
    for record in records {
        let Some(fields) = record.fields() else {
            is_raw = true;
            continue;
        };
        for (name, value) in fields.iter().filter(|(name, _)| is_column_name(name) && !has(name)) {
            match names.iter().position(|known| is_same(known, name)) {
                Some(at) => values[at].push(value),
                None => {
                    names.push(name);
                    values.push(vec![value]);
                }
            }
        }
    }
    let raw = RAW_COLUMNS.iter().filter(|(name, _)| is_raw && !has(name));
    let raw = raw.map(|(name, kind)| NewColumn { name: (*name).to_owned(), kind: *kind });
    let of_fields = names.into_iter().zip(values).filter_map(|(name, values)| {
        let kind = super::schema::kind_of(values)?;
        Some(NewColumn { name: name.to_owned(), kind })
    });
    raw.chain(of_fields).collect()
}

/// What both servers take as a name: 63 bytes, and nothing that ends a text or a line.
fn is_column_name(name: &str) -> bool {
    !name.trim_end().is_empty()
        && name.len() <= 63
        && name.trim_end() == name
        && !name.contains(|c: char| c.is_control())
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
