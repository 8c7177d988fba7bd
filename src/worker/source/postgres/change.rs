//! Messages of the log as records: rows, truncations, and changed definitions by the sync's policy.

use std::cmp::Ordering;
use std::collections::HashMap;

use bytes::Bytes;
use serde_json::json;

use super::super::super::record::{Fields, Operation, Record};
use super::super::database::changes::Transaction;
use super::super::database::definition::Definitions;
use super::super::database::row::{Cells, Shape};
use super::super::database::state::Chunk;
use super::catalog::Table;
use super::pgoutput::{Change, Old, Relation, Value};
use super::progress::TableState;
use super::run::{Run, Session};
use super::snapshot::Snapshot;
use super::value::{is_ordered_here, json_or_null, key_order};
use super::{Result, unexpected};

/// Turns messages into records.
pub struct Reader<'a> {
    run: &'a Run,
    session: &'a Session,
    /// How tables looked last.
    definitions: Definitions,
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
    pub fn new(run: &'a Run, session: &'a Session, definitions: Definitions) -> Self {
        let mut inner = run.pipe.shared.lock();
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
                        self.truncate(&described, transaction, records);
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

    /// A table was truncated. When some of its chunks were read before that and others behind it, the log has the rows of
    /// the latter once more, and they are told again: the truncation takes them from the target, too.
    fn truncate(&mut self, described: &Described<'_>, transaction: &mut Transaction, records: &mut Vec<Record>) {
        let chunks = self.chunks(described, transaction).map(|state| &state.chunks);
        if chunks.is_some_and(|chunks| chunks.iter().all(|chunk| chunk.snapshot.has_seen(transaction.xid))) {
            // Every row was read behind it.
            return;
        }
        let mut cells = Cells::default();
        cells.fields.insert("table".to_owned(), json!(described.table.name));
        described.push(Operation::Truncate, cells, None, transaction, records);
        if self.loaded.remove(&described.table.name).is_some() {
            transaction.emptied.push(described.table.name.clone());
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
            let is_before = |chunk: &Chunk<Snapshot>| {
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
            described.relation.columns.iter().map(|column| (column.name.clone(), column.type_oid)).collect();
        let policy = (self.run.config.ddl, "source.postgres.ddl");
        self.definitions.meet(policy, &described.shape, &columns, || described.columns(), transaction, records)?;
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
                Value::Null => cells.push(&column.name, serde_json::Value::Null, 0),
                Value::Text(text) => {
                    let value = json_or_null(column.type_oid, Some(text_of(text)?));
                    cells.push(&column.name, value, text.len());
                }
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
        transaction.push(&self.shape, operation, cells, before, records);
    }
}

fn text_of(text: &Bytes) -> Result<&str> {
    std::str::from_utf8(text).map_err(|_| unexpected("a value is not UTF-8"))
}
