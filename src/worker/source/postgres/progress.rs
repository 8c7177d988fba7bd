//! How far tables were loaded, and how they look: kept in the source database, in the schema `rocketmq_connector`, because a
//! replication slot keeps the place in the log only.

use tokio_postgres::{Client, Row};

use super::super::super::database::postgres::failure;
use super::super::database::ledger::End;
use super::super::database::state::{Chunk, LoadedChunk};
use super::snapshot::Snapshot;
use super::{Result, literal};
use crate::worker_config::sync::DatabaseConfig;

/// What the tables are; users who may not create a schema let somebody else do it.
const TABLES: &str = "\
CREATE SCHEMA IF NOT EXISTS rocketmq_connector;
CREATE TABLE IF NOT EXISTS rocketmq_connector.sync_table (
  slot text, name text, is_loaded boolean NOT NULL DEFAULT false, rows bigint NOT NULL DEFAULT 0,
  load_end pg_lsn, definition text, PRIMARY KEY (slot, name));
CREATE TABLE IF NOT EXISTS rocketmq_connector.sync_chunk (
  slot text, name text, number bigint, upper_key text[], snapshot text NOT NULL, is_done boolean NOT NULL DEFAULT false,
  PRIMARY KEY (slot, name, number));";

/// What is known of a slot.
pub type SlotState = super::super::database::state::SlotState<Snapshot>;
/// What is known of a table.
pub type TableState = super::super::database::state::TableState<Snapshot>;

/// Name of the row that stands for the slot itself.
const SLOT: &str = "";

/// Reads and writes the progress of one slot.
pub struct Progress<'a> {
    /// The session.
    pub client: &'a Client,
    /// The server, for messages.
    pub server: &'a DatabaseConfig,
    /// The slot.
    pub slot: &'a str,
}

impl Progress<'_> {
    async fn query(&self, statement: &str) -> Result<Vec<Row>> {
        let what = "failed to read the progress in schema rocketmq_connector";
        self.client.query(statement, &[]).await.map_err(|error| failure(self.server, what, &error).into())
    }

    async fn run(&self, statement: &str) -> Result<()> {
        let what = "failed to write the progress in schema rocketmq_connector";
        self.client.batch_execute(statement).await.map_err(|error| failure(self.server, what, &error).into())
    }

    /// Makes the tables unless they are there.
    ///
    /// # Errors
    /// The user may not.
    pub async fn ensure(&self) -> Result<()> {
        if self.exists().await? { Ok(()) } else { self.run(TABLES).await }
    }

    /// Whether the tables are there.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn exists(&self) -> Result<bool> {
        let found = "SELECT to_regclass('rocketmq_connector.sync_table') IS NOT NULL \
                     AND to_regclass('rocketmq_connector.sync_chunk') IS NOT NULL";
        Ok(self.query(found).await?.first().is_some_and(|row| row.get(0)))
    }

    /// What is known.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn load(&self) -> Result<SlotState> {
        let slot = literal(self.slot);
        let mut state = SlotState::default();
        let tables = format!(
            "SELECT name, is_loaded, rows, (load_end - '0/0')::text, definition FROM rocketmq_connector.sync_table \
             WHERE slot = {slot}"
        );
        for row in self.query(&tables).await? {
            let (name, load_end): (String, Option<String>) = (row.get(0), row.get(3));
            if name == SLOT {
                (state.is_made, state.load_end) = (true, load_end.and_then(|lsn| lsn.parse().ok()));
                continue;
            }
            let rows = u64::try_from(row.get::<_, i64>(2)).unwrap_or_default();
            let table = TableState { is_loaded: row.get(1), rows, chunks: Vec::new(), definition: row.get(4) };
            state.tables.insert(name, table);
        }
        let chunks = format!(
            "SELECT name, upper_key, snapshot, is_done FROM rocketmq_connector.sync_chunk WHERE slot = {slot} ORDER BY name, number"
        );
        for row in self.query(&chunks).await? {
            let table = state.tables.entry(row.get(0)).or_default();
            if let Some(snapshot) = Snapshot::parse(row.get(2)) {
                table.chunks.push(Chunk { upper: row.get(1), snapshot, is_read: row.get(3) });
            }
        }
        Ok(state)
    }

    /// Forgets a load that no slot goes on from: what has changed since cannot be known.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn forget(&self) -> Result<()> {
        let slot = literal(self.slot);
        self.run(&format!(
            "DELETE FROM rocketmq_connector.sync_chunk WHERE slot = {slot};\n\
             DELETE FROM rocketmq_connector.sync_table WHERE slot = {slot};"
        ))
        .await
    }

    /// Forgets tables that are not read any more: what happens to them meanwhile is not seen, so that they are loaded anew when
    /// they come back.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn keep_only<'a>(&self, tables: impl Iterator<Item = &'a String>) -> Result<()> {
        let slot = literal(self.slot);
        let names: Vec<String> = tables.map(|name| literal(name)).chain([literal(SLOT)]).collect();
        let others = format!("slot = {slot} AND name NOT IN ({})", names.join(", "));
        self.run(&format!(
            "DELETE FROM rocketmq_connector.sync_chunk WHERE {others};\n\
             DELETE FROM rocketmq_connector.sync_table WHERE {others};"
        ))
        .await
    }

    /// Notes that the slot was made.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn slot_made(&self) -> Result<()> {
        self.run(&format!(
            "INSERT INTO rocketmq_connector.sync_table (slot, name) VALUES ({}, '{SLOT}') ON CONFLICT DO NOTHING",
            literal(self.slot)
        ))
        .await
    }

    /// Notes where the log is now that everything was loaded.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub async fn load_ended(&self) -> Result<u64> {
        let statement = format!(
            "INSERT INTO rocketmq_connector.sync_table (slot, name, load_end) \
             VALUES ({}, '{SLOT}', pg_current_wal_insert_lsn()) \
             ON CONFLICT (slot, name) DO UPDATE SET load_end = excluded.load_end RETURNING (load_end - '0/0')::text",
            literal(self.slot)
        );
        let rows = self.query(&statement).await?;
        Ok(rows.first().and_then(|row| row.get::<_, String>(0).parse().ok()).unwrap_or(u64::MAX))
    }

    /// Forgets the chunks when the log is behind the end of the load.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn forget_chunks(&self) -> Result<()> {
        let slot = literal(self.slot);
        self.run(&format!(
            "DELETE FROM rocketmq_connector.sync_chunk c USING rocketmq_connector.sync_table t, pg_replication_slots s \
             WHERE c.slot = {slot} AND t.slot = c.slot AND t.name = '{SLOT}' AND s.slot_name = c.slot \
             AND s.confirmed_flush_lsn >= t.load_end"
        ))
        .await
    }

    /// Makes durable what was acknowledged.
    ///
    /// # Errors
    /// It cannot be written; nothing of it was.
    pub async fn save(&self, ends: &[End]) -> Result<()> {
        let mut statements = String::new();
        for end in ends {
            match end {
                End::Chunk(chunk) => statements.push_str(&self.chunk(chunk)),
                End::Log { definitions, emptied, .. } => {
                    for name in emptied {
                        statements.push_str(&format!(
                            "DELETE FROM rocketmq_connector.sync_chunk WHERE slot = {} AND name = {};\n",
                            literal(self.slot),
                            literal(name)
                        ));
                    }
                    for (name, definition) in definitions {
                        statements.push_str(&format!(
                            "INSERT INTO rocketmq_connector.sync_table (slot, name, definition) VALUES ({}, {}, {}) \
                             ON CONFLICT (slot, name) DO UPDATE SET definition = excluded.definition;\n",
                            literal(self.slot),
                            literal(name),
                            literal(definition)
                        ));
                    }
                }
                End::Nothing => {}
            }
        }
        // Several statements of one simple query are one transaction.
        if statements.is_empty() { Ok(()) } else { self.run(&statements).await }
    }

    /// Notes a chunk before the first of its rows is handed on; once more if no answer came the first time.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn chunk_begins(
        &self,
        table: &str,
        number: usize,
        upper: Option<&[String]>,
        snapshot: &str,
    ) -> Result<()> {
        let upper = upper.map_or_else(
            || "NULL".to_owned(),
            |key| format!("ARRAY[{}]::text[]", key.iter().map(|part| literal(part)).collect::<Vec<_>>().join(", ")),
        );
        self.run(&format!(
            "INSERT INTO rocketmq_connector.sync_chunk (slot, name, number, upper_key, snapshot) \
             VALUES ({}, {}, {number}, {upper}, {}) \
             ON CONFLICT (slot, name, number) DO UPDATE SET upper_key = excluded.upper_key, snapshot = excluded.snapshot",
            literal(self.slot),
            literal(table),
            literal(snapshot)
        ))
        .await
    }

    /// The target has a chunk. May run twice: a statement may have been carried out although no answer came.
    fn chunk(&self, chunk: &LoadedChunk) -> String {
        let LoadedChunk { table, number, is_last, rows } = chunk;
        let (slot, table) = (literal(self.slot), literal(table));
        format!(
            "WITH done AS (UPDATE rocketmq_connector.sync_chunk SET is_done = true \
             WHERE slot = {slot} AND name = {table} AND number = {number} AND NOT is_done RETURNING 1) \
             INSERT INTO rocketmq_connector.sync_table AS t (slot, name, is_loaded, rows) \
             SELECT {slot}, {table}, {is_last}, {rows} * (SELECT count(*) FROM done) \
             ON CONFLICT (slot, name) DO UPDATE SET is_loaded = t.is_loaded OR excluded.is_loaded, rows = t.rows + excluded.rows;\n"
        )
    }

    /// Number of chunks of a table that end before `key`, which is written as literals with types.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn chunks_before(&self, table: &str, types: &[String], key: &str) -> Result<usize> {
        let parts = types.iter().enumerate().map(|(number, name)| format!("(upper_key[{}])::{name}", number + 1));
        let parts = parts.collect::<Vec<_>>().join(", ");
        let statement = format!(
            "SELECT count(*) FROM rocketmq_connector.sync_chunk WHERE slot = {} AND name = {} AND upper_key IS NOT NULL \
             AND ROW({parts}) < ROW({key})",
            literal(self.slot),
            literal(table)
        );
        let rows = self.query(&statement).await?;
        Ok(rows.first().and_then(|row| usize::try_from(row.get::<_, i64>(0)).ok()).unwrap_or_default())
    }
}
