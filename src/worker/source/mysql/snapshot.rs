//! Transactions whose snapshot belongs to a place in the log: what the log has before it is in the snapshot, and nothing else.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error};

use super::catalog::{Catalog, Table};
use super::control::Control;
use super::position::{LogName, StoredPosition, at};
use super::{Result, unexpected};

/// How long the tables of one snapshot are read, where taking one holds up writers.
const LONGEST: Duration = Duration::from_secs(30);
/// Seconds that writers of a table are waited for.
const LOCK_WAIT: u32 = 10;

/// A session that reads tables.
pub struct Snapshots {
    /// The session: in a transaction once one was begun.
    pub conn: Conn,
    /// One that holds up writers of a table for a moment, where the server does not tell the place of a snapshot.
    locking: Option<Conn>,
    /// The place of the transaction, the table that it was begun for, and when.
    current: Option<(Option<StoredPosition>, String, Instant)>,
}

impl Snapshots {
    /// Nothing was begun yet; `locking` is for servers that do not tell the place of a snapshot.
    pub fn new(conn: Conn, locking: Option<Conn>) -> Self {
        Self { conn, locking, current: None }
    }

    /// Begins a transaction for a chunk of a table, and tells its place; none where there is no log.
    ///
    /// # Errors
    /// The server refuses it, or is lost.
    pub async fn begin(&mut self, catalog: &Catalog<'_>, table: &Table) -> Result<Option<StoredPosition>> {
        let Some(locking) = &mut self.locking else {
            let failed = |error: Error| catalog.control.failed("failed to begin a snapshot", &error);
            return exact(&mut self.conn).await.map_err(failed)?.map(|(file, offset)| place(&file, offset)).transpose();
        };
        if let Some((place, of_table, since)) = &self.current
            && *of_table == table.name
            && since.elapsed() < LONGEST
        {
            return Ok(place.clone());
        }
        let what = format!("failed to lock table {} for a moment", table.name);
        let failed = |error: Error| catalog.control.failed(&what, &error);
        self.conn.query_drop("COMMIT").await.map_err(failed)?;
        locking.query_drop(format!("SET SESSION lock_wait_timeout = {LOCK_WAIT}")).await.map_err(failed)?;
        // Whoever has changed rows of the table has ended then, for all others to see.
        locking.query_drop(format!("LOCK TABLES {} READ", table.quoted)).await.map_err(failed)?;
        self.conn.query_drop(BEGIN).await.map_err(failed)?;
        let (file, offset) = catalog.log_end().await?;
        locking.query_drop("UNLOCK TABLES").await.map_err(failed)?;
        let place = Some(place(&file, offset)?);
        self.current = Some((place.clone(), table.name.clone(), Instant::now()));
        Ok(place)
    }
}

const BEGIN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT";

/// Begins a transaction, and tells its place where the server knows it: MariaDB, and Percona's server.
async fn exact(conn: &mut Conn) -> std::result::Result<Option<(String, u64)>, Error> {
    conn.query_drop("COMMIT").await?;
    conn.query_drop(BEGIN).await?;
    let found: Vec<(String, String)> = conn.query("SHOW STATUS LIKE 'binlog_snapshot_%'").await?;
    let value =
        |name: &str| found.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    let file = value("binlog_snapshot_file").filter(|file| !file.is_empty());
    Ok(file.zip(value("binlog_snapshot_position").and_then(|offset| offset.parse().ok())))
}

/// Whether the server tells the place of a snapshot.
///
/// # Errors
/// It is lost.
pub async fn is_exact(control: &Control) -> Result<bool> {
    let found = control.rows("failed to look at the server", "SHOW STATUS LIKE 'binlog_snapshot_file'").await?;
    Ok(!found.is_empty())
}

/// A place at which the log can be begun to be read: all that is before it is visible to every snapshot from now on, or else is
/// waited for by the lock that comes with each.
///
/// # Errors
/// The server refuses it, or is lost.
pub async fn first_place(catalog: &Catalog<'_>, conn: &mut Conn) -> Result<StoredPosition> {
    let failed = |error: Error| catalog.control.failed("failed to begin a snapshot", &error);
    let (file, offset) = catalog.log_end().await?;
    let (file, offset) = exact(conn).await.map_err(failed)?.unwrap_or((file, offset));
    place(&file, offset)
}

fn place(file: &str, offset: u64) -> Result<StoredPosition> {
    let file = file.rsplit('/').next().unwrap_or(file);
    let name = LogName::parse(file).ok_or_else(|| unexpected(format!("binary log {file:?} has no number")))?;
    Ok(StoredPosition { position: at(name.number, offset), name, created: None })
}
