//! Events of the log as records: rows, truncations, and changed definitions by the sync's policy.

use std::cmp::Ordering;
use std::collections::HashMap;

use serde_json::json;

use super::super::super::error::reported;
use super::super::super::record::{Fields, Operation, Record};
use super::super::database::changes::Transaction;
use super::super::database::definition::Definitions;
use super::super::database::row::{Cells, Shape};
use super::super::database::state::Chunk;
use super::catalog::Table;
use super::load::beyond;
use super::log::{Column, Rows, TableMap, Unusable, kinds};
use super::position::LogPosition;
use super::run::{Run, Session};
use super::statement::Name;
use super::value::{Kind, key_text};
use super::{Result, Trouble, unexpected};
use crate::worker_config::sync::Ddl;

/// Turns events into records.
pub struct Reader<'a> {
    run: &'a Run,
    session: &'a Session,
    /// How tables looked last.
    definitions: Definitions,
    /// Tables of the log that are read, by their numbers there.
    described: HashMap<u64, Described<'a>>,
    /// Chunks of tables that may have seen what the log tells, in their order.
    chunks: HashMap<String, Vec<Chunk<LogPosition>>>,
}

/// A table with its columns at this place of the log.
struct Described<'a> {
    table: &'a Table,
    /// The event that has described it.
    event: Vec<u8>,
    columns: Vec<Column>,
    is_wanted: Vec<bool>,
    shape: Shape,
}

impl<'a> Reader<'a> {
    /// A reader of a session.
    pub fn new(run: &'a Run, session: &'a Session) -> Self {
        let mut inner = run.pipe.shared.lock();
        let (mut definitions, mut chunks) = (Vec::new(), HashMap::new());
        for name in session.tables.keys() {
            let state = inner.table(name);
            definitions.extend(state.definition.clone().map(|definition| (name.clone(), definition)));
            chunks.insert(name.clone(), state.chunks.clone());
        }
        Self { run, session, definitions: Definitions::new(definitions), described: HashMap::new(), chunks }
    }

    /// Numbers of tables mean others from here on.
    pub fn forget(&mut self) {
        self.described.clear();
    }

    /// A table of this name, if it is read.
    fn table(&self, database: &str, table: &str) -> Option<&'a Table> {
        self.session.tables.get(&format!("{database}.{table}"))
    }

    /// Takes the description of a table; whether it is one that is read.
    ///
    /// # Errors
    /// It cannot be used, or the definition has changed and the sync is to stop then.
    pub fn describe(&mut self, data: &[u8], transaction: &mut Transaction, records: &mut Vec<Record>) -> Result<bool> {
        let malformed = || unexpected("a description of a table in the binary log cannot be read");
        let map = TableMap::read(data).ok_or_else(malformed)?;
        let (database, name) = (String::from_utf8_lossy(map.database), String::from_utf8_lossy(map.table));
        let (id, found) = (map.id, self.table(&database, &name));
        let Some(table) = found else {
            self.described.remove(&id);
            return Ok(false);
        };
        if self.described.get(&id).is_some_and(|known| known.event == data) {
            return Ok(true);
        }
        let mut columns = map.columns(&self.session.charsets).map_err(|unusable| match unusable {
            Unusable::Malformed => malformed(),
            unusable => unusable_columns(table, &unusable),
        })?;
        for column in &mut columns {
            let is_document =
                |known: &&super::catalog::TableColumn| known.name == column.name && known.kind == Kind::Json;
            column.is_json = table.columns.iter().any(|known| is_document(&known));
        }
        let is_wanted: Vec<bool> = columns.iter().map(|column| !table.generated.contains(&column.name)).collect();
        let shape = self.run.shape(table);
        let wanted = || columns.iter().zip(&is_wanted).filter(|(_, is_wanted)| **is_wanted).map(|(column, _)| column);
        let definition: Vec<_> = wanted().map(|column| (column.name.clone(), column.type_name())).collect();
        let told = || wanted().map(|column| json!({"name": column.name, "type": column.type_name()})).collect();
        let policy = (self.run.config.ddl, "source.mysql.ddl");
        self.definitions.meet(policy, &shape, &definition, told, transaction, records)?;
        self.described.insert(id, Described { table, event: data.to_vec(), columns, is_wanted, shape });
        Ok(true)
    }

    /// Whether an event has rows of a table that is read.
    #[must_use]
    pub fn is_read(&self, kind: u8, data: &[u8]) -> bool {
        Rows::read(kind, data).is_some_and(|rows| self.described.contains_key(&rows.id))
    }

    /// Takes rows.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn rows(
        &self,
        kind: u8,
        data: &[u8],
        transaction: &mut Transaction,
        records: &mut Vec<Record>,
    ) -> Result<()> {
        let malformed = |table: &str, column: &str| {
            unexpected(format!("rows of table {table} in the binary log cannot be read, from column {column:?} on"))
        };
        let mut rows = Rows::read(kind, data).ok_or_else(|| malformed("", ""))?;
        let Some(described) = self.described.get(&rows.id) else { return Ok(()) };
        let name = &described.table.name;
        while let Some(images) =
            rows.next(&described.columns, &described.is_wanted).map_err(|column| malformed(name, &column))?
        {
            match images {
                (None, Some(new)) => self.insert(described, new, transaction, records).await?,
                (Some(old), None) => self.delete(described, old, transaction, records).await?,
                (Some(old), Some(new)) if kinds::UPDATES.contains(&kind) => {
                    self.update(described, old, new, transaction, records).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn insert(
        &self,
        described: &Described<'_>,
        new: Cells,
        transaction: &mut Transaction,
        records: &mut Vec<Record>,
    ) -> Result<()> {
        if !self.is_loaded(described.table, transaction, &described.key(&new)).await? {
            transaction.push(&described.shape, Operation::Insert, new, None, records);
        }
        Ok(())
    }

    /// An update that changes the key is a deletion and an insert: otherwise the row would stay under its old key.
    async fn update(
        &self,
        described: &Described<'_>,
        old: Cells,
        new: Cells,
        transaction: &mut Transaction,
        records: &mut Vec<Record>,
    ) -> Result<()> {
        let (old_key, key) = (described.key(&old), described.key(&new));
        if old_key != key {
            self.delete(described, old, transaction, records).await?;
            return self.insert(described, new, transaction, records).await;
        }
        if !self.is_loaded(described.table, transaction, &key).await? {
            transaction.push(&described.shape, Operation::Update, new, Some(old.fields), records);
        }
        Ok(())
    }

    async fn delete(
        &self,
        described: &Described<'_>,
        old: Cells,
        transaction: &mut Transaction,
        records: &mut Vec<Record>,
    ) -> Result<()> {
        if !self.is_loaded(described.table, transaction, &described.key(&old)).await? {
            let before: Option<Fields> = Some(old.fields.clone());
            transaction.push(&described.shape, Operation::Delete, old, before, records);
        }
        Ok(())
    }

    /// Number of chunks that have not seen a transaction: the first ones, since snapshots follow each other; and of all.
    fn unseen(&self, table: &Table, transaction: &Transaction) -> (usize, usize) {
        let chunks = self.chunks.get(&table.name).map_or(&[][..], Vec::as_slice);
        (chunks.partition_point(|chunk| chunk.snapshot <= transaction.offset), chunks.len())
    }

    /// Whether the chunk that a row belongs to has seen a transaction, so that the row was handed on with what it did.
    async fn is_loaded(&self, table: &Table, transaction: &Transaction, key: &[String]) -> Result<bool> {
        let (unseen, all) = self.unseen(table, transaction);
        let Some(last) = unseen.checked_sub(1) else { return Ok(all > 0) };
        let upper = match self.chunks.get(&table.name).and_then(|chunks| chunks[last].upper.as_ref()) {
            Some(upper) if unseen < all => upper,
            _ => return Ok(false),
        };
        if table.key_columns().all(|column| column.kind == Kind::Integer) {
            let number = |text: &String| text.parse::<i128>().unwrap_or_default();
            return Ok(key.iter().map(number).cmp(upper.iter().map(number)) == Ordering::Greater);
        }
        let statement = format!("SELECT {}", beyond('>', &table.key_literals(key), &table.key_literals(upper)));
        let found = self.session.control.rows("failed to compare keys", &statement).await?;
        Ok(found.first().and_then(|row| row.first()?.as_deref()) == Some("1"))
    }

    /// A table was truncated. When some of its chunks were read before that and others behind it, the log has the rows of
    /// the latter once more, and they are told again: the truncation takes them from the target, too. Whether it is a table that
    /// is read.
    pub fn truncate(
        &mut self,
        (database, name): (&str, &Name),
        transaction: &mut Transaction,
        records: &mut Vec<Record>,
    ) -> bool {
        let database = name.database.as_deref().unwrap_or(database);
        let Some(table) = self.table(database, &name.table) else { return false };
        let (unseen, all) = self.unseen(table, transaction);
        if unseen == 0 && all > 0 {
            // Every row was read behind it.
            return true;
        }
        self.tell(table, Operation::Truncate, None, transaction, records);
        if self.chunks.remove(&table.name).is_some_and(|chunks| !chunks.is_empty()) {
            transaction.emptied.push(table.name.clone());
        }
        true
    }

    /// A table was dropped.
    ///
    /// # Errors
    /// The sync is to stop then.
    pub fn dropped(
        &self,
        (database, name): (&str, &Name),
        transaction: &mut Transaction,
        records: &mut Vec<Record>,
    ) -> Result<()> {
        let database = name.database.as_deref().unwrap_or(database);
        let Some(table) = self.table(database, &name.table) else { return Ok(()) };
        match self.run.config.ddl {
            Ddl::Stop => Err(Trouble::Stopped(reported(
                "DefinitionChanged",
                format!("table {} was dropped", table.name),
                "remove it from source.mysql.tables, or set source.mysql.ddl to Ignore or Forward",
            ))),
            Ddl::Ignore => Ok(()),
            Ddl::Forward => {
                self.tell(table, Operation::Definition, Some("the table was dropped"), transaction, records);
                Ok(())
            }
        }
    }

    /// Tells what has happened to a table as a whole.
    fn tell(
        &self,
        table: &Table,
        operation: Operation,
        change: Option<&str>,
        transaction: &mut Transaction,
        records: &mut Vec<Record>,
    ) {
        let mut cells = Cells::default();
        cells.fields.insert("table".to_owned(), json!(table.name));
        if let Some(change) = change {
            cells.fields.insert("change".to_owned(), json!(change));
        }
        transaction.push(&self.run.shape(table), operation, cells, None, records);
    }

    /// The table that is read among the words of a statement, which changes rows without telling them.
    #[must_use]
    pub fn named(&self, words: &[String]) -> Option<&'a Table> {
        let is_named = |table: &&Table| words.iter().any(|word| word.eq_ignore_ascii_case(&table.table));
        self.session.tables.values().find(|table| is_named(table))
    }
}

impl Described<'_> {
    /// The key of a row; empty for a table without one.
    fn key(&self, cells: &Cells) -> Vec<String> {
        let text = |name: &String| cells.fields.get(name).map(key_text).unwrap_or_default();
        self.table.key.iter().map(text).collect()
    }
}

fn unusable_columns(table: &Table, unusable: &Unusable) -> Trouble {
    let name = &table.name;
    let again = "as it stands in the log: begin anew as docs/mysql-source.md tells, after";
    Trouble::Stopped(match unusable {
        Unusable::Charset(column) => reported(
            "UnsupportedCharacterSet",
            format!("column {column} of table {name} has a character set that is not read, {again} it was changed"),
            format!("ALTER TABLE {}: CONVERT TO CHARACTER SET utf8mb4, or leave the table out", table.quoted),
        ),
        _ => reported(
            "ReplicationUnavailable",
            format!("the binary log describes table {name} without names of columns"),
            format!("SET GLOBAL binlog_row_metadata = FULL; {again} that"),
        ),
    })
}
