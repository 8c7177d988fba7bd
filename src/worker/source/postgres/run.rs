//! The sessions with the database: connected, set up, worked with, and connected again when they are lost.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use super::super::super::database::{Access, postgres};
use super::super::super::error::reported;
use super::super::database::ledger::End;
use super::super::database::row::Shape;
use super::super::database::run::{Engine, Pipe};
use super::catalog::{Catalog, Table};
use super::feed::Feed;
use super::progress::Progress;
use super::snapshot::Snapshot;
use super::{Result, Trouble};
use crate::worker_config::sync::{DatabaseConfig, Mode, PostgresSourceConfig};

/// How values are written, and that no time limit of the server's configuration ends a long read.
pub const SETTINGS: [(&str, &str); 7] = [
    ("timezone", "UTC"),
    ("datestyle", "ISO"),
    ("intervalstyle", "iso_8601"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    ("statement_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
];

/// Reads a database.
pub struct Run {
    /// Where and what.
    pub config: PostgresSourceConfig,
    /// The way to the pipeline.
    pub pipe: Pipe<Snapshot>,
}

/// A connection that has the lock of the slot, and what is known of the database.
pub struct Session {
    /// The connection.
    pub control: Client,
    /// User, password and certificates.
    pub access: Access,
    /// Tables by name.
    pub tables: BTreeMap<String, Table>,
}

impl Session {
    /// The progress of the run's slot.
    pub fn progress<'a>(&'a self, run: &'a Run) -> Progress<'a> {
        Progress { client: &self.control, server: &run.config.server, slot: &run.config.slot }
    }
}

/// A connection of the pipeline `name` for `purpose`, which writes values as those of the log are written.
pub async fn connection(server: &DatabaseConfig, access: &Access, name: &str, purpose: &str) -> Result<Client> {
    let client = postgres::connect(server, access, &format!("rocketmq-connector {name} {purpose}")).await?;
    let settings = SETTINGS.into_iter().chain(postgres::WATCH);
    let settings: String = settings.map(|(name, value)| format!("SET {name} = '{value}';")).collect();
    let set = client.batch_execute(&settings).await;
    set.map_err(|error| postgres::failure(server, "failed to prepare the session", &error))?;
    Ok(client)
}

impl Run {
    /// Prepares a run; connects to nothing.
    pub fn new(config: &PostgresSourceConfig, pipe: Pipe<Snapshot>) -> Self {
        Self { config: config.clone(), pipe }
    }

    /// A connection for `purpose`.
    pub async fn connection(&self, access: &Access, purpose: &str) -> Result<Client> {
        connection(&self.config.server, access, &self.pipe.name, purpose).await
    }

    /// What the records of a table share.
    pub fn shape(&self, table: &Table) -> Shape {
        table.shape(&self.config.slot)
    }
}

impl Engine for Run {
    type Snapshot = Snapshot;
    type Session = Session;
    type Feed = Feed;

    fn pipe(&self) -> &Pipe<Snapshot> {
        &self.pipe
    }

    async fn connect(&self) -> Result<Session> {
        let access = Access::read(&self.config.server)?;
        let control = self.connection(&access, "control").await?;
        let catalog = Catalog { client: &control, server: &self.config.server };
        catalog.lock(&self.config.slot).await?;
        let changes = self.pipe.mode != Mode::Full;
        let tables = catalog.tables(&self.config.tables, changes).await?;
        let progress = Progress { client: &control, server: &self.config.server, slot: &self.config.slot };
        progress.ensure().await?;
        progress.keep_only(tables.keys()).await?;
        if changes {
            catalog.check_server().await?;
            let was_made = progress.load().await?.is_made;
            if !was_made {
                progress.forget().await?;
            }
            catalog.publish(&self.config.publication, &tables).await?;
            catalog.ensure_slot(&self.config.slot, was_made).await?;
            progress.slot_made().await?;
            progress.forget_chunks().await?;
        }
        // What is known here is newer than what was made durable.
        if self.pipe.shared.lock().slot.is_none() {
            let state = progress.load().await?;
            self.pipe.shared.lock().slot = Some(state);
        }
        Ok(Session { control, access, tables })
    }

    async fn load(&self, session: &Session) -> Result<()> {
        self.load_all(session).await
    }

    async fn replicate(&self, session: &Session) -> Result<Feed> {
        self.start(session).await
    }

    async fn stream(&self, session: &Session, feed: &mut Feed) -> Result<()> {
        self.follow(session, feed).await
    }

    async fn save(&self, session: &Session, ends: &[End]) -> Result<()> {
        session.progress(self).save(ends).await
    }

    async fn check(&self, session: &Session) -> Result<()> {
        if !session.control.is_closed() {
            return Ok(());
        }
        let server = &self.config.server;
        let message = format!("lost the connection to PostgreSQL at {}:{}", server.host, server.port);
        let remedy = "check that the server runs; it is connected to again";
        Err(Trouble::Again(reported("DatabaseUnreachable", message, remedy)))
    }

    async fn end(feed: Feed) {
        feed.end().await;
    }
}
