//! The sessions with the database: how they are set up, and what is kept of the log.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, OptsBuilder};

use super::super::super::database::{Access, mysql};
use super::super::database::ledger::End;
use super::super::database::row::Shape;
use super::super::database::run::{Engine, Pipe};
use super::Result;
use super::catalog::{Catalog, Table};
use super::control::Control;
use super::feed::{Created, Feed};
use super::position::{LogPosition, StoredPosition, file_of};
use super::progress::Progress;
use super::snapshot::first_place;
use super::stream::gone;
use super::variables::check_server;
use crate::worker_config::sync::{DatabaseConfig, Mode, MySqlSourceConfig};

/// Time between two notes of what is acknowledged.
const SAVE: Duration = Duration::from_millis(250);
/// Largest event that is read: rows may be a little larger than what the server takes from its clients.
const LARGEST: usize = 1 << 30;
/// That no time limit of the server's configuration ends a long read, nor one that waits for the pipeline. Each server knows
/// some of them.
const SETTINGS: [&str; 5] = [
    "SET SESSION net_write_timeout = 86400",
    "SET SESSION max_statement_time = 0",
    "SET SESSION max_execution_time = 0",
    "SET SESSION idle_transaction_timeout = 0",
    "SET SESSION idle_readonly_transaction_timeout = 0",
];
/// Code of a variable that the server does not know.
const UNKNOWN_VARIABLE: u16 = 1193;

/// Reads a database.
pub struct Run {
    /// Where and what.
    pub config: MySqlSourceConfig,
    /// The way to the pipeline.
    pub pipe: Pipe<LogPosition>,
    created: Mutex<Created>,
    /// Numbers of the newest sessions: the one that had the lock of the sync, and the one that read the log.
    sessions: Mutex<Vec<u64>>,
}

/// A connection that has the lock of the sync, and what is known of the database.
pub struct Session {
    /// The connection.
    pub control: Control,
    /// User, password and certificates.
    pub access: Access,
    /// Tables by name.
    pub tables: BTreeMap<String, Table>,
    /// Character sets by the numbers of collations.
    pub charsets: HashMap<u64, String>,
    /// Where in the log the reading begins; none where no changes are read.
    first: Option<StoredPosition>,
}

impl Session {
    /// The progress of the sync.
    pub fn progress<'a>(&'a self, run: &'a Run) -> Progress<'a> {
        Progress { control: &self.control, slot: &run.config.slot }
    }
}

/// A connection.
pub async fn connection(server: &DatabaseConfig, access: &Access) -> Result<Conn> {
    let settings = OptsBuilder::from_opts(mysql::settings(server, access)).max_allowed_packet(Some(LARGEST));
    let mut conn = mysql::connect_with(server, settings.into()).await?;
    for setting in SETTINGS {
        match conn.query_drop(setting).await {
            Err(Error::Server(error)) if error.code == UNKNOWN_VARIABLE => {}
            set => set.map_err(|error| mysql::failure(server, "failed to prepare the session", &error))?,
        }
    }
    Ok(conn)
}

impl Run {
    /// Prepares a run; connects to nothing.
    pub fn new(config: &MySqlSourceConfig, pipe: Pipe<LogPosition>) -> Self {
        Self { config: config.clone(), pipe, created: Mutex::default(), sessions: Mutex::default() }
    }

    /// When files of the log were made, as far as that is known.
    pub fn created(&self) -> MutexGuard<'_, Created> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions(&self) -> MutexGuard<'_, Vec<u64>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection.
    pub async fn connection(&self, access: &Access) -> Result<Conn> {
        connection(&self.config.server, access).await
    }

    /// What the records of a table share.
    pub fn shape(&self, table: &Table) -> Shape {
        table.shape(&self.config.slot)
    }

    /// Where the log goes on: where the target has everything, or where it is now.
    async fn place(&self, catalog: &Catalog<'_>, progress: &Progress<'_>, access: &Access) -> Result<StoredPosition> {
        check_server(catalog.control, self.config.server_id).await?;
        let end = catalog.log_end().await?;
        if let (_, Some(known)) = progress.load().await? {
            let file = known.name.file(known.name.number);
            if catalog.logs().await?.contains(&file) {
                return Ok(known);
            }
            let message = format!("the server does not have its binary log {file} any more; it is at {} now", end.0);
            return Err(gone(message));
        }
        progress.forget().await?;
        let first = first_place(catalog, &mut self.connection(access).await?).await?;
        progress.begin(&first).await?;
        Ok(first)
    }
}

impl Engine for Run {
    type Snapshot = LogPosition;
    type Session = Session;
    type Feed = Feed;

    fn pipe(&self) -> &Pipe<LogPosition> {
        &self.pipe
    }

    async fn connect(&self) -> Result<Session> {
        let access = Access::read(&self.config.server)?;
        let control = Control::new(self.connection(&access).await?, &self.config.server);
        let catalog = Catalog { control: &control, config: &self.config };
        let earlier = self.sessions().clone();
        let session = catalog.lock(&earlier).await?;
        *self.sessions() = vec![session];
        let tables = catalog.tables().await?;
        let charsets = catalog.charsets().await?;
        let progress = Progress { control: &control, slot: &self.config.slot };
        progress.ensure().await?;
        progress.keep_only(tables.keys()).await?;
        let first = match self.pipe.mode {
            Mode::Full => None,
            _ => Some(self.place(&catalog, &progress, &access).await?),
        };
        // What is known here is newer than what was made durable.
        if self.pipe.shared.lock().slot.is_none() {
            let (mut state, _) = progress.load().await?;
            if let Some(first) = &first {
                progress.forget_chunks(&mut state, first.position).await?;
            }
            self.pipe.shared.lock().slot = Some(state);
        }
        Ok(Session { control, access, tables, charsets, first })
    }

    async fn load(&self, session: &Session) -> Result<()> {
        self.load_all(session).await
    }

    async fn replicate(&self, session: &Session) -> Result<Feed> {
        let Some(first) = session.first.clone() else { return std::future::pending().await };
        let mut conn = self.connection(&session.access).await?;
        let number = conn.query_first("SELECT CONNECTION_ID()").await;
        let number: Option<u64> = number.map_err(|error| self.stream_failed(&error))?;
        self.sessions().extend(number);
        let feed = Feed::start(conn, self.config.server_id, first).await;
        feed.map_err(|error| self.stream_failed(&error))
    }

    async fn stream(&self, session: &Session, feed: &mut Feed) -> Result<()> {
        self.follow(session, feed).await
    }

    async fn save(&self, session: &Session, ends: &[End]) -> Result<()> {
        let place = |position: LogPosition| {
            let number = file_of(position);
            let mut name = session.first.clone().map(|first| first.name).unwrap_or_default();
            name.number = number;
            StoredPosition { name, position, created: self.created().get(&number).copied() }
        };
        session.progress(self).save(ends, place).await
    }

    async fn check(&self, session: &Session) -> Result<()> {
        tokio::time::sleep(SAVE).await;
        Catalog { control: &session.control, config: &self.config }.check_lock().await
    }

    async fn end(feed: Feed) {
        feed.end().await;
    }
}
