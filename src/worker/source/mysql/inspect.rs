//! Rows as verification reads them, and how far in the binary log the sync is.
//!
//! The place that the sync has stored stands behind the newest group of events about one of its tables; what others do is noted
//! now and then only, and storing it is written to the log, too. So the sync has everything when the log has nothing about its
//! tables between that place and the rows that are looked at, which the server's list of events tells.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error};

use super::super::super::database::Access;
use super::super::super::database::mysql::failure;
use super::super::super::error::reported;
use super::super::database::inspect::{Each, Inspect, NOT_LOADED};
use super::super::database::row::Shape;
use super::super::database::rows::CHUNK;
use super::catalog::{Catalog, Table};
use super::control::Control;
use super::load::{cells, statement};
use super::position::{LogName, LogPosition, at, file_of, offset_of};
use super::progress::{Progress, SlotState};
use super::run::connection;
use super::statement::Statement;
use super::value::key_text;
use super::{Result, Trouble, unexpected};
use crate::worker_config::sync::{Mode, MySqlSourceConfig};

/// Events that are asked for at once.
const EVENTS: usize = 2_000;
const UNPREPARED: &str = "failed to prepare the session";
/// Offset of the first event of a file.
const FIRST: u64 = 4;

/// A session that looks at the tables of a sync.
pub struct MySqlInspector {
    control: Control,
    /// The session that sees one moment.
    reader: Conn,
    config: MySqlSourceConfig,
    mode: Mode,
    tables: Vec<Table>,
    /// Place in the log behind everything that was looked at.
    end: LogPosition,
    /// Place in the log up to which the sync has everything.
    passed: LogPosition,
}

/// What the list of events tells of a part of the log.
enum Found {
    /// Nothing about the tables, up to this place.
    Nothing(LogPosition),
    /// Something that the sync has not acknowledged yet, behind this place.
    Ours(LogPosition),
}

impl MySqlInspector {
    fn catalog(&self) -> Catalog<'_> {
        Catalog { control: &self.control, config: &self.config }
    }

    fn progress(&self) -> Progress<'_> {
        Progress { control: &self.control, slot: &self.config.slot }
    }

    async fn run(&mut self, statement: &str) -> Result<()> {
        let done = self.reader.query_drop(statement).await;
        done.map_err(|error| self.control.failed("failed to look at the tables", &error))
    }

    /// Looks at the next events behind `passed`.
    async fn events(&self, name: &LogName) -> Result<Found> {
        let file = file_of(self.passed);
        let statement = format!(
            "SHOW BINLOG EVENTS IN {} FROM {} LIMIT {EVENTS}",
            super::literal(&name.file(file)),
            offset_of(self.passed)
        );
        let events = self.control.rows("failed to look into the binary log", &statement).await?;
        let mut passed = self.passed;
        for event in &events {
            let [_, Some(begin), Some(kind), _, Some(end), info] = event.as_slice() else { continue };
            let (begin, end) = (begin.parse().unwrap_or(u64::MAX), end.parse().unwrap_or(0));
            if at(file, begin) >= self.end {
                return Ok(Found::Nothing(self.end));
            }
            if self.is_ours(kind, info.as_deref().unwrap_or_default()) {
                return Ok(Found::Ours(passed));
            }
            passed = passed.max(at(file, end));
        }
        match events.len() < EVENTS && passed < self.end {
            false => Ok(Found::Nothing(passed)),
            true if file < file_of(self.end) => Ok(Found::Nothing(at(file + 1, FIRST))),
            true => Ok(Found::Nothing(self.end)),
        }
    }

    /// Whether an event of the list may be about a table that is read.
    fn is_ours(&self, kind: &str, info: &str) -> bool {
        match kind {
            "Table_map" => self.tables.iter().any(|table| info.ends_with(&format!("({})", table.name))),
            "Query" => {
                let (database, text) = match info.strip_prefix("use `").and_then(|rest| rest.split_once("`; ")) {
                    Some((database, text)) => (database.replace("``", "`"), text),
                    None => (String::new(), info),
                };
                let Statement::Truncate(name) = Statement::read(text) else { return false };
                let name = format!("{}.{}", name.database.unwrap_or(database), name.table);
                self.tables.iter().any(|table| table.name == name)
            }
            // A compressed transaction, whose events are not listed.
            "Transaction_payload" => true,
            _ => false,
        }
    }
}

impl Inspect for MySqlInspector {
    type Config = MySqlSourceConfig;

    async fn open(config: &MySqlSourceConfig, mode: Mode, _: &str) -> Result<Self> {
        let access = Access::read(&config.server)?;
        let (mut control, mut reader) =
            (connection(&config.server, &access).await?, connection(&config.server, &access).await?);
        for conn in [&mut control, &mut reader] {
            let patience = conn.query_drop("SET SESSION wait_timeout = 3600").await;
            patience.map_err(|error| failure(&config.server, UNPREPARED, &error))?;
        }
        let isolation = reader.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await;
        isolation.map_err(|error| failure(&config.server, UNPREPARED, &error))?;
        let control = Control::new(control, &config.server);
        let tables = Catalog { control: &control, config }.tables().await?.into_values().collect();
        Ok(Self { control, reader, config: config.clone(), mode, tables, end: 0, passed: 0 })
    }

    fn shapes(&self) -> Vec<Shape> {
        self.tables.iter().map(|table| table.shape(&self.config.slot)).collect()
    }

    async fn is_ready(&mut self) -> Result<()> {
        let progress = self.progress();
        let state = if progress.exists().await? { progress.load().await?.0 } else { SlotState::default() };
        let is_missing = |table: &&Table| !state.tables.get(&table.name).is_some_and(|table| table.is_loaded);
        match self.tables.iter().find(is_missing) {
            Some(table) if self.mode != Mode::Incremental => Err(Trouble::Again(reported(
                NOT_LOADED,
                format!("table {} is not read in full yet", table.name),
                "compare when status.tables says that all are complete",
            ))),
            _ if self.mode != Mode::Full && !state.is_made => Err(not_started()),
            _ => Ok(()),
        }
    }

    async fn look(&mut self) -> Result<()> {
        self.run("COMMIT").await?;
        self.run("START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
        if self.mode == Mode::Full {
            return Ok(());
        }
        // What the snapshot sees was in the log before it could be seen.
        let (file, offset) = self.catalog().log_end().await?;
        let name = LogName::parse(file.rsplit('/').next().unwrap_or(&file));
        let name = name.ok_or_else(|| unexpected(format!("binary log {file:?} has no number")))?;
        self.end = self.end.max(at(name.number, offset));
        Ok(())
    }

    async fn rows(&mut self, table: usize, behind: Option<&[String]>, each: Each<'_>) -> Result<Option<Vec<String>>> {
        let table = &self.tables[table];
        let what = format!("failed to read table {}", table.name);
        let control = &self.control;
        let failed = |error: Error| control.failed(&what, &error);
        let limit = if table.has_pieces { format!(" LIMIT {CHUNK}") } else { String::new() };
        let statement = format!("{}{limit}", statement(table, behind, None));
        let mut found = self.reader.exec_iter(statement, ()).await.map_err(failed)?;
        let (mut count, mut last) = (0, None);
        while let Some(row) = found.next().await.map_err(failed)? {
            let row = cells(table, row);
            count += 1;
            if table.has_pieces && count == CHUNK {
                let text = |name: &String| row.fields.get(name).map(key_text).unwrap_or_default();
                last = Some(table.key.iter().map(text).collect());
            }
            each(row);
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
        let Some(stored) = self.progress().load().await?.1 else { return Err(not_started()) };
        self.passed = self.passed.max(stored.position);
        while self.passed < self.end {
            match self.events(&stored.name).await? {
                Found::Nothing(passed) => self.passed = passed,
                Found::Ours(passed) => {
                    self.passed = passed;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

fn not_started() -> Trouble {
    let message = "the sync has not begun: it has no place in the binary log yet";
    Trouble::Again(reported("NotStarted", message, "start the sync first"))
}
