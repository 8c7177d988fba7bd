//! The full load: a table in chunks by its key, each read with a snapshot of its own.

use std::pin::pin;
use std::time::Duration;

use futures::TryStreamExt as _;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::super::super::database::postgres::failure;
use super::super::database::row::Cells;
use super::super::database::rows::{CHUNK, Rows};
use super::super::database::state::Chunk;
use super::catalog::Table;
use super::copy::copied;
use super::run::{Run, Session};
use super::snapshot::Snapshot;
use super::{Result, Trouble, quoted, unexpected, value};
use crate::worker_config::sync::Mode;

/// Time between two looks at transactions that are waited for.
const LOOK: Duration = Duration::from_millis(200);

impl Run {
    /// Loads every table that is not loaded, and waits until the target has it all.
    pub(super) async fn load_all(&self, session: &Session) -> Result<()> {
        let missing: Vec<&Table> =
            session.tables.values().filter(|table| !self.pipe.shared.lock().table(&table.name).is_loaded).collect();
        for table in session.tables.values() {
            let state = self.pipe.shared.lock().table(&table.name).clone();
            self.pipe.shared.note_table(&table.name, |progress| {
                (progress.rows, progress.is_complete) = (progress.rows.max(state.rows), state.is_loaded);
                progress.expected_rows = table.expected_rows;
            });
        }
        if !missing.is_empty() {
            let reader = self.connection(&session.access, "load").await?;
            self.await_running(&reader).await?;
            for table in &missing {
                while !self.pipe.shared.lock().table(&table.name).is_loaded {
                    self.load_chunk(session, &reader, table).await?;
                }
                self.pipe.shared.note_table(&table.name, |progress| progress.is_complete = true);
                tracing::info!(table = table.name, "the table was read in full");
            }
        }
        self.end_load(session, !missing.is_empty()).await
    }

    /// Waits until the target has all, and notes where the log is then.
    async fn end_load(&self, session: &Session, is_new: bool) -> Result<()> {
        let is_noted = self.pipe.shared.lock().slot.as_ref().is_some_and(|slot| slot.load_end.is_some());
        if self.pipe.mode == Mode::Full || (is_noted && !is_new) {
            return Ok(());
        }
        self.pipe.await_saved().await;
        let load_end = session.progress(self).load_ended().await?;
        if let Some(slot) = &mut self.pipe.shared.lock().slot {
            slot.load_end = Some(load_end);
        }
        Ok(())
    }

    /// Waits for the transactions that run now. One whose commit is in the log before the slot's first position, and which
    /// has not ended for others yet, would be neither in the log nor in a snapshot.
    async fn await_running(&self, reader: &Client) -> Result<()> {
        let first = self.snapshot(reader).await?;
        let first = Snapshot::parse(&first).ok_or_else(|| unexpected(format!("snapshot {first:?} cannot be read")))?;
        loop {
            let now = self.snapshot(reader).await?;
            if Snapshot::parse(&now).is_none_or(|now| !now.shares_running(&first)) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn snapshot(&self, reader: &Client) -> Result<String> {
        let row = reader.query_one("SELECT pg_current_snapshot()::text", &[]).await;
        row.map(|row| row.get(0)).map_err(|error| self.load_failed("a snapshot", &error))
    }

    fn load_failed(&self, what: &str, error: &tokio_postgres::Error) -> Trouble {
        failure(&self.config.server, &format!("failed to read {what}"), error).into()
    }

    /// The chunk to read next: one that was begun and cut off, or else the next one, noted before anything of it is handed on.
    async fn next_chunk(&self, session: &Session, reader: &Client, table: &Table) -> Result<usize> {
        let (begun, count, lower) = {
            let mut inner = self.pipe.shared.lock();
            let chunks = &inner.table(&table.name).chunks;
            let lower = chunks.last().and_then(|chunk| chunk.upper.clone());
            (chunks.iter().position(|chunk| !chunk.is_read), chunks.len(), lower)
        };
        if let Some(begun) = begun {
            return Ok(begun);
        }
        let text = self.snapshot(reader).await?;
        let snapshot = Snapshot::parse(&text).ok_or_else(|| unexpected(format!("snapshot {text:?} cannot be read")))?;
        let upper = self.upper(reader, table, lower.as_deref()).await?;
        session.progress(self).chunk_begins(&table.name, count, upper.as_deref(), &text).await?;
        self.pipe.shared.lock().table(&table.name).chunks.push(Chunk { upper, snapshot, is_read: false });
        Ok(count)
    }

    /// The key at the end of the chunk behind `lower`; none when the table ends before.
    async fn upper(&self, reader: &Client, table: &Table, lower: Option<&[String]>) -> Result<Option<Vec<String>>> {
        if table.key.is_empty() {
            return Ok(None);
        }
        let key = table.key_list();
        let statement = format!(
            "SELECT {key} FROM {}{} ORDER BY {key} OFFSET {} LIMIT 1",
            table.quoted,
            range(table, lower, None),
            CHUNK - 1
        );
        let found = reader.simple_query(&statement).await;
        let found = found.map_err(|error| self.load_failed(&format!("table {}", table.name), &error))?;
        let key = |message: SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned()).collect())
            }
            _ => None,
        };
        Ok(found.into_iter().find_map(key))
    }

    /// Reads the next chunk of a table.
    async fn load_chunk(&self, session: &Session, reader: &Client, table: &Table) -> Result<()> {
        let failed = |error: tokio_postgres::Error| self.load_failed(&format!("table {}", table.name), &error);
        reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(failed)?;
        let number = self.next_chunk(session, reader, table).await?;
        let (statement, offset) = {
            let mut inner = self.pipe.shared.lock();
            let chunks = &inner.table(&table.name).chunks;
            let lower = number.checked_sub(1).and_then(|before| chunks[before].upper.clone());
            let statement = statement(table, lower.as_deref(), chunks[number].upper.as_deref(), None);
            (statement, inner.open_chunk(&table.name, number))
        };
        let stream = reader.copy_out(&statement).await.map_err(failed)?;
        let mut stream = pin!(stream);
        let mut rows = Rows::new(&self.pipe, &table.name, self.shape(table), offset);
        while let Some(line) = stream.try_next().await.map_err(failed)? {
            let line = std::str::from_utf8(&line).map_err(|_| unexpected("a row is not UTF-8"))?;
            rows.push(row(table, line)).await?;
        }
        reader.batch_execute("COMMIT").await.map_err(failed)?;
        rows.finish().await
    }
}

/// The statement that reads the rows behind `lower`, up to and including `upper`, or the first `most` of them.
pub fn statement(table: &Table, lower: Option<&[String]>, upper: Option<&[String]>, most: Option<usize>) -> String {
    let columns = table.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ");
    let rows = range(table, lower, upper);
    let order = if table.key.is_empty() { String::new() } else { format!(" ORDER BY {}", table.key_list()) };
    let limit = most.map(|most| format!(" LIMIT {most}")).unwrap_or_default();
    format!("COPY (SELECT {columns} FROM {}{rows}{order}{limit}) TO STDOUT", table.quoted)
}

/// The condition for the rows behind `lower`, up to and including `upper`.
fn range(table: &Table, lower: Option<&[String]>, upper: Option<&[String]>) -> String {
    let key = table.key_list();
    let bound = |sign: &str, bound: &[String]| format!("ROW({key}) {sign} ROW({})", table.key_literals(bound));
    let bounds: Vec<String> =
        lower.map(|lower| bound(">", lower)).into_iter().chain(upper.map(|upper| bound("<=", upper))).collect();
    if bounds.is_empty() { String::new() } else { format!(" WHERE {}", bounds.join(" AND ")) }
}

/// A line as a row.
pub fn row(table: &Table, line: &str) -> Cells {
    let mut cells = Cells::default();
    for (column, text) in table.columns.iter().zip(copied(line)) {
        let size = text.as_ref().map_or(0, String::len);
        cells.push(&column.name, value::json_or_null(column.type_oid, text.as_deref()), size);
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::super::catalog::TableColumn;
    use super::*;

    fn table(key: &[&str]) -> Table {
        let column = |name: &str, type_oid, type_name: &str| TableColumn {
            name: name.into(),
            type_oid,
            type_name: type_name.into(),
        };
        Table::test("public.orders", vec![column("id", 20, "bigint"), column("part", 25, "text")], key)
    }

    #[test]
    fn chunks_follow_each_other_by_key() {
        let (lower, upper) = (["it's".to_owned(), "7".to_owned()], ["k".to_owned(), "1".to_owned()]);
        assert_eq!(
            statement(&table(&["part", "id"]), Some(&lower), Some(&upper), None),
            "COPY (SELECT \"id\", \"part\" FROM \"public\".\"orders\" \
             WHERE ROW(\"part\", \"id\") > ROW('it''s'::text, '7'::bigint) \
             AND ROW(\"part\", \"id\") <= ROW('k'::text, '1'::bigint) \
             ORDER BY \"part\", \"id\") TO STDOUT"
        );
        let whole = "COPY (SELECT \"id\", \"part\" FROM \"public\".\"orders\") TO STDOUT";
        assert_eq!(statement(&table(&[]), None, None, None), whole);
        let first = "COPY (SELECT \"id\", \"part\" FROM \"public\".\"orders\" ORDER BY \"id\" LIMIT 7) TO STDOUT";
        assert_eq!(statement(&table(&["id"]), None, None, Some(7)), first);
        let cells = row(&table(&["part", "id"]), "7\tx\n");
        assert_eq!(serde_json::Value::Object(cells.fields), serde_json::json!({"id": 7, "part": "x"}));
    }
}
