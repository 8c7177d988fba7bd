//! Rows as verification reads them, and how far the replication slot is.

use std::pin::pin;

use futures::TryStreamExt as _;
use tokio_postgres::Client;

use super::super::super::database::Access;
use super::super::super::database::postgres::failure;
use super::super::super::error::reported;
use super::super::database::inspect::{Each, Inspect, NOT_LOADED};
use super::super::database::row::Shape;
use super::super::database::rows::CHUNK;
use super::catalog::{Catalog, Table};
use super::copy::copied;
use super::load::{row, statement};
use super::progress::Progress;
use super::run::connection;
use super::{Result, Trouble, literal, unexpected};
use crate::worker_config::sync::{Mode, PostgresSourceConfig};

/// Bytes of a page of the log, and of the headers of a page and of the first page of a segment.
const PAGE: u64 = 8_192;
const PAGE_HEADER: u64 = 24;
const SEGMENT_HEADER: u64 = 40;
/// The smallest segment of the log.
const SEGMENT: u64 = 1 << 20;

/// A session that looks at the tables of a sync.
pub struct PostgresInspector {
    client: Client,
    config: PostgresSourceConfig,
    mode: Mode,
    tables: Vec<Table>,
    /// Position of the log behind everything that was looked at.
    end: u64,
}

impl PostgresInspector {
    fn failed(&self, what: &str, error: &tokio_postgres::Error) -> Trouble {
        failure(&self.config.server, what, error).into()
    }

    async fn run(&self, statement: &str) -> Result<()> {
        self.client.batch_execute(statement).await.map_err(|error| self.failed("failed to look at the tables", &error))
    }

    /// The first value of a statement, which is a position of the log.
    async fn position(&self, what: &str, statement: &str) -> Result<Option<u64>> {
        let found = self.client.query_opt(statement, &[]).await.map_err(|error| self.failed(what, &error))?;
        let text: Option<String> = found.and_then(|row| row.get(0));
        Ok(text.and_then(|text| text.parse().ok()))
    }
}

impl Inspect for PostgresInspector {
    type Config = PostgresSourceConfig;

    async fn open(config: &PostgresSourceConfig, mode: Mode, name: &str) -> Result<Self> {
        let access = Access::read(&config.server)?;
        let client = connection(&config.server, &access, name, "verify").await?;
        let tables = Catalog { client: &client, server: &config.server }.tables(&config.tables, false).await?;
        Ok(Self { client, config: config.clone(), mode, tables: tables.into_values().collect(), end: 0 })
    }

    fn shapes(&self) -> Vec<Shape> {
        self.tables.iter().map(|table| table.shape(&self.config.slot)).collect()
    }

    async fn is_ready(&mut self) -> Result<()> {
        let slot = &self.config.slot;
        let progress = Progress { client: &self.client, server: &self.config.server, slot };
        let state =
            if progress.exists().await? { progress.load().await? } else { super::progress::SlotState::default() };
        let is_missing = |table: &&Table| !state.tables.get(&table.name).is_some_and(|table| table.is_loaded);
        match self.tables.iter().find(is_missing) {
            Some(table) if self.mode != Mode::Incremental => Err(Trouble::Again(reported(
                NOT_LOADED,
                format!("table {} is not read in full yet", table.name),
                "compare when status.tables says that all are complete",
            ))),
            _ if self.mode != Mode::Full && !state.is_made => Err(Trouble::Again(reported(
                "NotStarted",
                format!("the sync has not begun: it has no replication slot {slot} yet"),
                "start the sync first",
            ))),
            _ => Ok(()),
        }
    }

    async fn look(&mut self) -> Result<()> {
        self.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        // The snapshot is taken before the position is asked for.
        let statement = "SELECT (pg_current_wal_insert_lsn() - '0/0')::text";
        if let Some(position) = self.position("failed to look where the log is", statement).await? {
            self.end = self.end.max(record_end(position));
        }
        Ok(())
    }

    async fn rows(&mut self, table: usize, behind: Option<&[String]>, each: Each<'_>) -> Result<Option<Vec<String>>> {
        let table = &self.tables[table];
        let what = format!("failed to read table {}", table.name);
        let failed = |error: tokio_postgres::Error| self.failed(&what, &error);
        let stream = self.client.copy_out(&statement(table, behind, None, Some(CHUNK))).await.map_err(failed)?;
        let mut stream = pin!(stream);
        let (mut count, mut last) = (0, None);
        while let Some(line) = stream.try_next().await.map_err(failed)? {
            let line = std::str::from_utf8(&line).map_err(|_| unexpected("a row is not UTF-8"))?;
            each(row(table, line));
            count += 1;
            last = (count == CHUNK).then(|| key(table, line));
        }
        Ok(last)
    }

    async fn leave(&mut self) -> Result<()> {
        self.run("COMMIT").await
    }

    async fn is_acknowledged(&mut self) -> Result<bool> {
        if self.mode == Mode::Full {
            return Ok(true);
        }
        let slot = &self.config.slot;
        let statement = format!(
            "SELECT (confirmed_flush_lsn - '0/0')::text FROM pg_replication_slots WHERE slot_name = {}",
            literal(slot)
        );
        match self.position("failed to look how far the sync is", &statement).await? {
            Some(confirmed) => Ok(confirmed >= self.end),
            None => Err(Trouble::Stopped(reported(
                "SlotLost",
                format!("replication slot {slot} does not exist any more: nobody knows how far the sync is"),
                "look at the sync's conditions",
            ))),
        }
    }
}

/// The key of a line of the table.
fn key(table: &Table, line: &str) -> Vec<String> {
    let texts: Vec<Option<String>> = copied(line).collect();
    let place = |name: &String| table.columns.iter().position(|column| column.name == *name);
    let text = |name| place(name).and_then(|place| texts.get(place)?.clone()).unwrap_or_default();
    table.key.iter().map(text).collect()
}

/// Where the last record ends: at the end of a page the next one is told to begin behind the header of the page that follows, which
/// nobody can confirm before something is written there.
fn record_end(position: u64) -> u64 {
    let is_at_header =
        position % PAGE == PAGE_HEADER || (position % SEGMENT == SEGMENT_HEADER && position > SEGMENT_HEADER);
    if is_at_header { position - position % PAGE } else { position }
}

#[cfg(test)]
mod tests {
    use super::super::catalog::TableColumn;
    use super::*;

    #[test]
    fn the_last_record_ends_before_the_header_of_a_page() {
        let page = 0x16_B2000;
        assert_eq!(record_end(page + 24), page);
        assert_eq!(record_end(page + 40), page + 40, "the rest of a record");
        assert_eq!(record_end(page + 32), page + 32);
        assert_eq!(record_end((1 << 24) + 40), 1 << 24);
    }

    #[test]
    fn a_line_has_its_key() {
        let column = |name: &str| TableColumn { name: name.into(), type_oid: 25, type_name: "text".into() };
        let table = Table::test("public.t", vec![column("a"), column("b"), column("c")], &["c", "a"]);
        assert_eq!(key(&table, "x\\ty\t\\N\tz\n"), ["z", "x\ty"]);
    }
}
