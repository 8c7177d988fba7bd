//! How far tables were loaded, how they look, and where in the log the sync is: kept in two tables of the source database.

use super::super::database::ledger::End;
use super::super::database::state::{Chunk, LoadedChunk};
use super::control::Control;
use super::position::{LogName, LogPosition, StoredPosition, at};
use super::{Result, literal};

/// What is known of a sync.
pub type SlotState = super::super::database::state::SlotState<LogPosition>;

/// What the tables are; where the user may not create them, somebody else does.
const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS rocketmq_connector_sync_table (\
     slot varchar(63) NOT NULL, name varchar(129) NOT NULL, is_loaded boolean NOT NULL DEFAULT false, \
     loaded_rows bigint NOT NULL DEFAULT 0, position varchar(400), definition mediumtext, PRIMARY KEY (slot, name)) \
     ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS rocketmq_connector_sync_chunk (\
     slot varchar(63) NOT NULL, name varchar(129) NOT NULL, number bigint NOT NULL, upper_key mediumtext, \
     snapshot varchar(400) NOT NULL, is_done boolean NOT NULL DEFAULT false, PRIMARY KEY (slot, name, number)) \
     ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
];
/// Names of the tables.
pub const OWN_TABLES: [&str; 2] = ["rocketmq_connector_sync_table", "rocketmq_connector_sync_chunk"];

/// Name of the row that stands for the sync itself.
const SLOT: &str = "";

/// Reads and writes the progress of one sync.
pub struct Progress<'a> {
    /// The session.
    pub control: &'a Control,
    /// Name of the sync.
    pub slot: &'a str,
}

impl Progress<'_> {
    async fn run(&self, statements: Vec<String>) -> Result<()> {
        self.control.run("failed to write the progress in rocketmq_connector_sync_table and _chunk", statements).await
    }

    /// Makes the tables unless they are there.
    ///
    /// # Errors
    /// The user may not.
    pub async fn ensure(&self) -> Result<()> {
        if self.exists().await? {
            return Ok(());
        }
        for table in TABLES {
            self.control.rows("failed to create the tables of the progress", table).await?;
        }
        Ok(())
    }

    /// Whether the tables are there.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn exists(&self) -> Result<bool> {
        let names = OWN_TABLES.map(literal).join(", ");
        let found = format!(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name IN ({names})"
        );
        Ok(self.control.rows("failed to look for the progress", &found).await?.len() == TABLES.len())
    }

    /// What is known, and where in the log the sync is.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn load(&self) -> Result<(SlotState, Option<StoredPosition>)> {
        let what = "failed to read the progress in rocketmq_connector_sync_table and _chunk";
        let slot = literal(self.slot);
        let (mut state, mut position) = (SlotState::default(), None);
        let tables = format!(
            "SELECT name, is_loaded, loaded_rows, position, definition FROM rocketmq_connector_sync_table WHERE slot = {slot}"
        );
        for row in self.control.rows(what, &tables).await? {
            let [Some(name), Some(is_loaded), Some(rows), place, definition] = row.as_slice() else { continue };
            if name == SLOT {
                position = place.as_deref().and_then(StoredPosition::parse);
                state.is_made = position.is_some();
                continue;
            }
            let table = state.tables.entry(name.clone()).or_default();
            table.is_loaded = is_loaded == "1";
            table.rows = rows.parse().unwrap_or_default();
            table.definition.clone_from(definition);
        }
        let chunks = format!(
            "SELECT name, upper_key, snapshot, is_done FROM rocketmq_connector_sync_chunk WHERE slot = {slot} ORDER BY name, number"
        );
        for row in self.control.rows(what, &chunks).await? {
            let [Some(name), upper, Some(snapshot), Some(is_done)] = row.as_slice() else { continue };
            let upper = upper.as_deref().map(|upper| serde_json::from_str(upper).unwrap_or_default());
            let snapshot = StoredPosition::parse(snapshot).map_or(0, |place| place.position);
            let chunk = Chunk { upper, snapshot, is_read: is_done == "1" };
            state.tables.entry(name.clone()).or_default().chunks.push(chunk);
        }
        Ok((state, position))
    }

    /// Forgets a load that goes on from no place in the log: what has changed since cannot be known.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn forget(&self) -> Result<()> {
        self.run(self.deletions("true")).await
    }

    /// Forgets tables that are not read any more: what happens to them meanwhile is not seen, so that they are loaded anew when
    /// they come back.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn keep_only<'a>(&self, tables: impl Iterator<Item = &'a String>) -> Result<()> {
        let names: Vec<String> = tables.map(|name| literal(name)).chain([literal(SLOT)]).collect();
        self.run(self.deletions(&format!("name NOT IN ({})", names.join(", ")))).await
    }

    fn deletions(&self, which: &str) -> Vec<String> {
        let delete = |table: &str| format!("DELETE FROM {table} WHERE slot = {} AND {which}", literal(self.slot));
        OWN_TABLES.iter().map(|table| delete(table)).collect()
    }

    /// Forgets the chunks of tables when the log is behind all of their snapshots.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn forget_chunks(&self, state: &mut SlotState, position: LogPosition) -> Result<()> {
        let mut statements = Vec::new();
        for (name, table) in &mut state.tables {
            let is_behind = table.chunks.iter().all(|chunk| chunk.snapshot <= position);
            if table.is_loaded && is_behind && !table.chunks.is_empty() {
                table.chunks.clear();
                statements.push(self.chunks_gone(name));
            }
        }
        if statements.is_empty() { Ok(()) } else { self.run(statements).await }
    }

    fn chunks_gone(&self, table: &str) -> String {
        format!("DELETE FROM {} WHERE slot = {} AND name = {}", OWN_TABLES[1], literal(self.slot), literal(table))
    }

    /// Notes where in the log the sync is.
    fn position(&self, position: &StoredPosition) -> String {
        format!(
            "INSERT INTO rocketmq_connector_sync_table (slot, name, position) VALUES ({}, '{SLOT}', {}) \
             ON DUPLICATE KEY UPDATE position = VALUES(position)",
            literal(self.slot),
            literal(&position.text())
        )
    }

    /// Notes where in the log the sync begins.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn begin(&self, position: &StoredPosition) -> Result<()> {
        self.run(vec![self.position(position)]).await
    }

    /// Makes durable what was acknowledged; `place` gives a place of the log with its file.
    ///
    /// # Errors
    /// It cannot be written; nothing of it was.
    pub async fn save(&self, ends: &[End], place: impl Fn(LogPosition) -> StoredPosition) -> Result<()> {
        let (mut statements, mut newest): (Vec<String>, Option<LogPosition>) = (Vec::new(), None);
        for end in ends {
            match end {
                End::Chunk(chunk) => statements.extend(self.chunk(chunk)),
                End::Log { position, definitions, emptied } => {
                    newest = newest.max(Some(*position));
                    statements.extend(emptied.iter().map(|name| self.chunks_gone(name)));
                    statements.extend(definitions.iter().map(|(name, definition)| {
                        format!(
                            "INSERT INTO rocketmq_connector_sync_table (slot, name, definition) VALUES ({}, {}, {}) \
                             ON DUPLICATE KEY UPDATE definition = VALUES(definition)",
                            literal(self.slot),
                            literal(name),
                            literal(definition)
                        )
                    }));
                }
                End::Nothing => {}
            }
        }
        statements.extend(newest.map(|newest| self.position(&place(newest))));
        if statements.is_empty() { Ok(()) } else { self.run(statements).await }
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
        snapshot: Option<&StoredPosition>,
    ) -> Result<()> {
        let upper = upper.map_or_else(|| "NULL".to_owned(), |upper| literal(&serde_json::json!(upper).to_string()));
        // Without a log there is no place, and nothing follows.
        let nowhere =
            StoredPosition { name: LogName { base: "none".to_owned(), number: 0 }, position: at(0, 0), created: None };
        let snapshot = literal(&snapshot.unwrap_or(&nowhere).text());
        self.run(vec![format!(
            "INSERT INTO rocketmq_connector_sync_chunk (slot, name, number, upper_key, snapshot) \
             VALUES ({}, {}, {number}, {upper}, {snapshot}) \
             ON DUPLICATE KEY UPDATE upper_key = VALUES(upper_key), snapshot = VALUES(snapshot)",
            literal(self.slot),
            literal(table)
        )])
        .await
    }

    /// The target has a chunk. May run twice: a statement may have been carried out although no answer came.
    fn chunk(&self, chunk: &LoadedChunk) -> [String; 2] {
        let LoadedChunk { table, number, is_last, rows } = chunk;
        let (slot, name) = (literal(self.slot), literal(table));
        let which = format!("slot = {slot} AND name = {name} AND number = {number}");
        [
            format!(
                "INSERT INTO rocketmq_connector_sync_table (slot, name, is_loaded, loaded_rows) \
                 SELECT slot, name, {is_last}, {rows} FROM rocketmq_connector_sync_chunk WHERE {which} AND NOT is_done \
                 ON DUPLICATE KEY UPDATE is_loaded = is_loaded OR {is_last}, loaded_rows = loaded_rows + {rows}"
            ),
            format!("UPDATE rocketmq_connector_sync_chunk SET is_done = true WHERE {which}"),
        ]
    }
}
