//! The full load: a table in chunks by its key, each read in a transaction whose place in the log is known.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Row};

use super::super::database::row::Cells;
use super::super::database::rows::{CHUNK, Rows};
use super::super::database::state::Chunk;
use super::catalog::{Catalog, Table};
use super::run::{Run, Session};
use super::snapshot::{Snapshots, is_exact};
use super::value::{json, key_text};
use super::{Result, quoted};
use crate::worker_config::sync::Mode;

impl Run {
    /// Loads every table that is not loaded.
    pub(super) async fn load_all(&self, session: &Session) -> Result<()> {
        let shared = &self.pipe.shared;
        let missing: Vec<&Table> =
            session.tables.values().filter(|table| !shared.lock().table(&table.name).is_loaded).collect();
        for table in session.tables.values() {
            let state = shared.lock().table(&table.name).clone();
            shared.note_table(&table.name, |progress| {
                (progress.rows, progress.is_complete) = (progress.rows.max(state.rows), state.is_loaded);
                progress.expected_rows = table.expected_rows;
            });
        }
        if missing.is_empty() {
            return Ok(());
        }
        let reader = self.reader(session).await?;
        // Without a log there is nothing that a snapshot could miss.
        let is_bound = self.pipe.mode == Mode::Full || is_exact(&session.control).await?;
        let locking = if is_bound { None } else { Some(self.patient(session).await?) };
        let mut snapshots = Snapshots::new(reader, locking);
        for table in missing {
            while !shared.lock().table(&table.name).is_loaded {
                self.load_chunk(session, &mut snapshots, table).await?;
            }
            shared.note_table(&table.name, |progress| progress.is_complete = true);
            tracing::info!(table = table.name, "the table was read in full");
        }
        Ok(())
    }

    async fn reader(&self, session: &Session) -> Result<Conn> {
        let mut reader = self.patient(session).await?;
        let isolation = reader.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await;
        isolation.map_err(|error| session.control.failed("failed to prepare the session", &error))?;
        Ok(reader)
    }

    /// A connection that stays while the pipeline does not take what was read.
    async fn patient(&self, session: &Session) -> Result<Conn> {
        let mut conn = self.connection(&session.access).await?;
        let patience = conn.query_drop("SET SESSION wait_timeout = 3600").await;
        patience.map_err(|error| session.control.failed("failed to prepare the session", &error))?;
        Ok(conn)
    }

    /// The chunk to read next: one that was begun and cut off, or else the next one, noted before anything of it is handed on.
    async fn next_chunk(&self, session: &Session, snapshots: &mut Snapshots, table: &Table) -> Result<usize> {
        let catalog = Catalog { control: &session.control, config: &self.config };
        let place = snapshots.begin(&catalog, table).await?;
        let (begun, count, lower) = {
            let mut inner = self.pipe.shared.lock();
            let chunks = &inner.table(&table.name).chunks;
            let lower = chunks.last().and_then(|chunk| chunk.upper.clone());
            (chunks.iter().position(|chunk| !chunk.is_read), chunks.len(), lower)
        };
        if let Some(begun) = begun {
            return Ok(begun);
        }
        let upper = self.upper(session, &mut snapshots.conn, table, lower.as_deref()).await?;
        let progress = session.progress(self);
        progress.chunk_begins(&table.name, count, upper.as_deref(), place.as_ref()).await?;
        let snapshot = place.map_or(0, |place| place.position);
        self.pipe.shared.lock().table(&table.name).chunks.push(Chunk { upper, snapshot, is_read: false });
        Ok(count)
    }

    /// The key at the end of the chunk behind `lower`; none when the table ends before.
    async fn upper(
        &self,
        session: &Session,
        conn: &mut Conn,
        table: &Table,
        lower: Option<&[String]>,
    ) -> Result<Option<Vec<String>>> {
        if !table.has_pieces {
            return Ok(None);
        }
        let key = table.key_list();
        let statement = format!(
            "SELECT {key} FROM {}{} ORDER BY {key} LIMIT 1 OFFSET {}",
            table.quoted,
            range(table, lower, None),
            CHUNK - 1
        );
        let found: Option<Row> = conn
            .exec_first(statement, ())
            .await
            .map_err(|error| session.control.failed(&format!("failed to read table {}", table.name), &error))?;
        let text = |row: Row| {
            let values = table.key_columns().zip(row.unwrap());
            values.map(|(column, value)| key_text(&json(column.kind, value).0)).collect()
        };
        Ok(found.map(text))
    }

    /// Reads the next chunk of a table.
    async fn load_chunk(&self, session: &Session, snapshots: &mut Snapshots, table: &Table) -> Result<()> {
        let what = format!("failed to read table {}", table.name);
        let failed = |error: Error| session.control.failed(&what, &error);
        let number = self.next_chunk(session, snapshots, table).await?;
        let (statement, offset) = {
            let mut inner = self.pipe.shared.lock();
            let chunks = &inner.table(&table.name).chunks;
            let lower = number.checked_sub(1).and_then(|before| chunks[before].upper.clone());
            let statement = statement(table, lower.as_deref(), chunks[number].upper.as_deref());
            (statement, inner.open_chunk(&table.name, number))
        };
        let mut rows = Rows::new(&self.pipe, &table.name, self.shape(table), offset);
        let mut found = snapshots.conn.exec_iter(statement, ()).await.map_err(failed)?;
        while let Some(row) = found.next().await.map_err(failed)? {
            rows.push(cells(table, row)).await?;
        }
        drop(found);
        rows.finish().await
    }
}

/// A row of the statement as one.
pub fn cells(table: &Table, row: Row) -> Cells {
    let mut cells = Cells::default();
    for (column, value) in table.columns.iter().zip(row.unwrap()) {
        let (value, size) = json(column.kind, value);
        cells.push(&column.name, value, size);
    }
    cells
}

/// The statement that reads the rows behind `lower`, up to and including `upper`.
pub fn statement(table: &Table, lower: Option<&[String]>, upper: Option<&[String]>) -> String {
    let columns = table.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ");
    let rows = range(table, lower, upper);
    let order = if table.has_pieces { format!(" ORDER BY {}", table.key_list()) } else { String::new() };
    format!("SELECT {columns} FROM {}{rows}{order}", table.quoted)
}

/// The condition for the rows behind `lower`, up to and including `upper`.
fn range(table: &Table, lower: Option<&[String]>, upper: Option<&[String]>) -> String {
    let columns: Vec<String> = table.key.iter().map(|name| quoted(name)).collect();
    // The first column alone lets the index be used for keys of several ones.
    let bound = |sign: char, bound: &[String]| {
        let bound = table.key_literals(bound);
        let equal = if sign == '<' { format!(" OR {}", all_equal(&columns, &bound)) } else { String::new() };
        let first = columns.iter().zip(&bound).map(|(column, bound)| format!("{column} {sign}= {bound}")).next();
        format!("{} AND ({}{equal})", first.unwrap_or_default(), beyond(sign, &columns, &bound))
    };
    let bounds: Vec<String> =
        lower.map(|lower| bound('>', lower)).into_iter().chain(upper.map(|upper| bound('<', upper))).collect();
    if bounds.is_empty() { String::new() } else { format!(" WHERE {}", bounds.join(" AND ")) }
}

fn all_equal(left: &[String], right: &[String]) -> String {
    let parts = left.iter().zip(right).map(|(left, right)| format!("{left} = {right}"));
    format!("({})", parts.collect::<Vec<_>>().join(" AND "))
}

/// The condition that one key is before or behind another, column by column: as one comparison of rows it would use no index.
pub fn beyond(sign: char, left: &[String], right: &[String]) -> String {
    let parts = (0..left.len().min(right.len())).map(|place| {
        let beyond = format!("{} {sign} {}", left[place], right[place]);
        if place == 0 { beyond } else { format!("({} AND {beyond})", all_equal(&left[..place], &right[..place])) }
    });
    parts.collect::<Vec<_>>().join(" OR ")
}
