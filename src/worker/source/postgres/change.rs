//! Messages of the log as records: rows, truncations, and changed definitions by the sync's policy.

use std::cmp::Ordering;
use std::collections::HashMap;

use bytes::Bytes;
use serde_json::json;

use super::super::super::error::reported;
use super::super::super::record::{Fields, Operation, Record};
use super::catalog::Table;
use super::pgoutput::{Change, Old, Relation, Value};
use super::progress::{Chunk, TableState};
use super::row::{Cells, Shape};
use super::run::{Run, Session};
use super::stream::Transaction;
use super::value::{is_ordered_here, key_order};
use super::{Result, Trouble, unexpected};
use crate::worker_config::sync::Ddl;

/// Turns messages into records.
pub struct Reader<'a> {
    run: &'a Run,
    session: &'a Session,
    /// Columns of tables as the log had them last, as JSON.
    definitions: HashMap<String, String>,
    /// Tables of the log that are read.
    relations: HashMap<u32, Described<'a>>,
    /// Tables whose chunks may have seen what the log tells.
    loaded: HashMap<String, TableState>,
    /// Position of the log behind which no chunk has seen anything.
    load_end: u64,
}

/// A table with its columns at this place of the log.
#[derive(Clone)]
struct Described<'a> {
    table: &'a Table,
    relation: Relation,
    shape: Shape,
}

impl<'a> Reader<'a> {
    /// A reader of a session.
    pub fn new(run: &'a Run, session: &'a Session, definitions: HashMap<String, String>) -> Self {
        let mut inner = run.shared.lock();
        let loaded = session.tables.keys().map(|name| (name.clone(), inner.table(name).clone()));
        let loaded: HashMap<_, _> = loaded.filter(|(_, state)| !state.chunks.is_empty()).collect();
        let load_end = inner.slot.as_ref().and_then(|slot| slot.load_end);
        let load_end = if loaded.is_empty() { 0 } else { load_end.unwrap_or(u64::MAX) };
        Self { run, session, definitions, relations: HashMap::new(), loaded, load_end }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// It cannot be read, or a definition has changed and the sync is to stop then.
    pub async fn read(
        &mut self,
        change: Change,
        transaction: &mut Transaction,
        records: &mut Vec<Record>,
    ) -> Result<()> {
        match change {
            Change::Relation(relation) => self.describe(relation, transaction, records),
            Change::Insert(oid, new) => {
                let Some(described) = self.relations.get(&oid).cloned() else { return Ok(()) };
                if !self.is_loaded(&described, transaction, &described.key(&new)?).await? {
                    described.push(Operation::Insert, described.cells(&new, None)?, None, transaction, records);
                }
                Ok(())
            }
            Change::Update(oid, old, new) => {
                let Some(described) = self.relations.get(&oid).cloned() else { return Ok(()) };
                self.update(&described, old, &new, transaction, records).await
            }
            Change::Delete(oid, old) => {
                let Some(described) = self.relations.get(&oid).cloned() else { return Ok(()) };
                self.delete(&described, &old, transaction, records).await
            }
            Change::Truncate(oids) => {
                for oid in oids {
                    if let Some(described) = self.relations.get(&oid).cloned() {
                        self.truncate(&described, transaction, records)?;
                    }
                }
                Ok(())
            }
            Change::Begin(..) | Change::Commit(_) | Change::Other => Ok(()),
        }
    }

    /// An update that changes the key is a deletion and an insert: otherwise the row would stay under its old key.
    async fn update(
        &self,
        described: &Described<'_>,
        old: Option<Old>,
        new: &[Value],
        transaction: &mut Transaction,
        records: &mut Vec<Record>,
    ) -> Result<()> {
        let key = described.key(new)?;
        let (old_values, whole) = match &old {
            Some(Old::Key(values)) => (Some(values.as_slice()), None),
            Some(Old::Row(values)) => (Some(values.as_slice()), Some(values.as_slice())),
            None => (None, None),
        };
        let old_key = old_values.map(|values| described.key(values)).transpose()?;
        let is_moved = !key.is_empty() && old_key.is_some_and(|old| old != key);
        if is_moved && let Some(old) = &old {
            self.delete(described, old, transaction, records).await?;
        }
        if self.is_loaded(described, transaction, &key).await? {
            return Ok(());
        }
        let cells = described.cells(new, whole)?;
        if is_moved {
            described.push(Operation::Insert, cells, None, transaction, records);
        } else {
            let before = whole.map(|values| described.cells(values, None)).transpose()?.map(|cells| cells.fields);
            described.push(Operation::Update, cells, before, transaction, records);
        }
        Ok(())
    }

    async fn delete(
        &self,
        described: &Described<'_>,
        old: &Old,
        transaction: &mut Transaction,
        records: &mut Vec<Record>,
    ) -> Result<()> {
        let (Old::Key(values) | Old::Row(values)) = old;
        if self.is_loaded(described, transaction, &described.key(values)?).await? {
            return Ok(());
        }
        let mut cells = described.cells(values, None)?;
        if matches!(old, Old::Key(_)) {
            // The other columns are null in the log, whatever they were.
            cells.fields.retain(|name, _| described.table.key.contains(name));
        }
        let before = Some(cells.fields.clone());
        described.push(Operation::Delete, cells, before, transaction, records);
        Ok(())
    }

    fn truncate(
        &self,
        described: &Described<'_>,
        transaction: &mut Transaction,
        records: &mut Vec<Record>,
    ) -> Result<()> {
        let seen = self.chunks(described, transaction).map(|state| {
            let seen = state.chunks.iter().filter(|chunk| chunk.snapshot.has_seen(transaction.xid)).count();
            (seen, state.chunks.len())
        });
        match seen {
            Some((seen, all)) if seen == all => Ok(()),
            Some((seen, _)) if seen > 0 => Err(Trouble::Stopped(reported(
                "TruncatedWhileLoading",
                format!(
                    "table {} was truncated while it was read in full: what was written holds rows that are gone",
                    described.table.name
                ),
                "empty the target topic's consumers, then begin anew as docs/postgres-source.md tells",
            ))),
            _ => {
                let mut cells = Cells::default();
                cells.fields.insert("table".to_owned(), json!(described.table.name));
                described.push(Operation::Truncate, cells, None, transaction, records);
                Ok(())
            }
        }
    }

    /// The chunks that may have seen a transaction.
    fn chunks(&self, described: &Described<'_>, transaction: &Transaction) -> Option<&TableState> {
        if transaction.offset > self.load_end { None } else { self.loaded.get(&described.table.name) }
    }

    /// Whether the chunk that a row belongs to has seen a transaction, so that the row was handed on with what it did.
    async fn is_loaded(&self, described: &Described<'_>, transaction: &Transaction, key: &[String]) -> Result<bool> {
        let Some(TableState { chunks, .. }) = self.chunks(described, transaction) else { return Ok(false) };
        let mut seen = chunks.iter().map(|chunk| chunk.snapshot.has_seen(transaction.xid));
        let first = seen.next().unwrap_or(false);
        if seen.all(|seen| seen == first) {
            return Ok(first);
        }
        let types: Vec<u32> = described.table.key_columns().map(|column| column.type_oid).collect();
        let place = if types.iter().all(|oid| is_ordered_here(*oid)) {
            let is_before = |chunk: &Chunk| {
                chunk.upper.as_ref().is_some_and(|upper| key_order(&types, upper, key) == Ordering::Less)
            };
            chunks.partition_point(is_before)
        } else {
            let types: Vec<String> = described.table.key_columns().map(|column| column.type_name.clone()).collect();
            let literals = described.table.key_literals(key);
            self.session.progress(self.run).chunks_before(&described.table.name, &types, &literals).await?
        };
        Ok(chunks.get(place).is_some_and(|chunk| chunk.snapshot.has_seen(transaction.xid)))
    }

    fn describe(&mut self, relation: Relation, transaction: &mut Transaction, records: &mut Vec<Record>) -> Result<()> {
        let Some(table) = self.session.tables.get(&relation.name) else { return Ok(()) };
        let described = Described { table, shape: self.run.shape(table), relation };
        let columns: Vec<_> =
            described.relation.columns.iter().map(|column| json!([column.name, column.type_oid])).collect();
        let definition = json!(columns).to_string();
        let known = self.definitions.get(&table.name);
        if known.is_some_and(|known| *known != definition) {
            let known = known.cloned().unwrap_or_default();
            match self.run.config.ddl {
                Ddl::Stop => return Err(changed(&table.name, &difference(&known, &definition))),
                Ddl::Ignore => tracing::info!(table = table.name, "the definition of a table has changed"),
                Ddl::Forward => {
                    let mut cells = Cells::default();
                    cells.fields.insert("table".to_owned(), json!(table.name));
                    cells.fields.insert("columns".to_owned(), described.columns());
                    cells.fields.insert("change".to_owned(), json!(difference(&known, &definition)));
                    described.push(Operation::Definition, cells, None, transaction, records);
                }
            }
        }
        if known != Some(&definition) {
            transaction.definitions.push((table.name.clone(), definition.clone()));
            self.definitions.insert(table.name.clone(), definition);
        }
        self.relations.insert(described.relation.oid, described);
        Ok(())
    }
}

impl Described<'_> {
    fn columns(&self) -> serde_json::Value {
        let type_of =
            |name: &str| self.table.columns.iter().find(|column| column.name == name).map(|column| &column.type_name);
        let columns = self.relation.columns.iter();
        columns.map(|column| json!({"name": column.name, "type": type_of(&column.name)})).collect()
    }

    /// The key of a row; empty for a table without one.
    fn key(&self, values: &[Value]) -> Result<Vec<String>> {
        let value = |name: &String| {
            let place = self.relation.columns.iter().position(|column| column.name == *name);
            match place.and_then(|place| values.get(place)) {
                Some(Value::Text(text)) => text_of(text).map(str::to_owned),
                _ => Ok(String::new()),
            }
        };
        self.table.key.iter().map(value).collect()
    }

    /// The fields of a row; what the log leaves out comes from `before`, where there is one.
    fn cells(&self, values: &[Value], before: Option<&[Value]>) -> Result<Cells> {
        let mut cells = Cells::default();
        for (place, (column, value)) in self.relation.columns.iter().zip(values).enumerate() {
            let value = match value {
                Value::Unchanged => before.and_then(|before| before.get(place)).unwrap_or(value),
                value => value,
            };
            match value {
                Value::Null => cells.push(&column.name, column.type_oid, None),
                Value::Text(text) => cells.push(&column.name, column.type_oid, Some(text_of(text)?)),
                Value::Unchanged => cells.unchanged.push(column.name.clone()),
            }
        }
        Ok(cells)
    }

    fn push(
        &self,
        operation: Operation,
        cells: Cells,
        before: Option<Fields>,
        transaction: &mut Transaction,
        records: &mut Vec<Record>,
    ) {
        let position = (transaction.offset, transaction.index);
        records.push(self.shape.record(position, operation, cells, before, transaction.at_millis));
        transaction.index = transaction.index.saturating_add(1);
    }
}

fn text_of(text: &Bytes) -> Result<&str> {
    std::str::from_utf8(text).map_err(|_| unexpected("a value is not UTF-8"))
}

fn changed(table: &str, difference: &str) -> Trouble {
    Trouble::Stopped(reported(
        "DefinitionChanged",
        format!("the definition of table {table} has changed: {difference}"),
        "set source.postgres.ddl to Ignore to go on with the new definition, or to Forward to pass such changes on",
    ))
}

/// What is new and what is gone, for people.
fn difference(known: &str, now: &str) -> String {
    let read = |text: &str| serde_json::from_str::<Vec<(String, u32)>>(text).unwrap_or_default();
    let (known, now) = (read(known), read(now));
    let type_in =
        |columns: &[(String, u32)], name: &str| columns.iter().find(|(other, _)| other == name).map(|(_, oid)| *oid);
    let mut parts = Vec::new();
    for (name, oid) in &now {
        match type_in(&known, name) {
            None => parts.push(format!("column {name} is new")),
            Some(before) if before != *oid => parts.push(format!("column {name} has another type")),
            Some(_) => {}
        }
    }
    let gone = known.iter().filter(|(name, _)| type_in(&now, name).is_none());
    parts.extend(gone.map(|(name, _)| format!("column {name} is gone")));
    if parts.is_empty() { "the order of columns is another".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_definition_is_told_column_by_column() {
        let known = r#"[["id",20],["a",25],["b",25]]"#;
        assert_eq!(
            difference(known, r#"[["id",20],["b",23],["c",25]]"#),
            "column b has another type, column c is new, column a is gone"
        );
        assert_eq!(difference(known, r#"[["id",20],["b",25],["a",25]]"#), "the order of columns is another");
    }
}
