//! The sessions with the database: connected, set up, worked with, and connected again when they are lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::super::super::database::{Access, postgres};
use super::super::super::error::reported;
use super::super::super::record::Record;
use super::super::super::sync::Setting;
use super::catalog::{Catalog, Table};
use super::feed::Feed;
use super::ledger::End;
use super::progress::Progress;
use super::row::Shape;
use super::shared::{Inner, Shared};
use super::{Parcel, Result, Trouble};
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::{Mode, PostgresSourceConfig};

/// First and longest wait before connecting again.
const WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// Time between two looks at the session that has the lock.
const LOOK: Duration = Duration::from_secs(2);
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
    /// Full load, changes, or both.
    pub mode: Mode,
    /// Name of the pipeline, which sessions show.
    pub name: String,
    /// What the pipeline sees.
    pub shared: Arc<Shared>,
    /// None when everything was read.
    sender: Mutex<Option<mpsc::Sender<Parcel>>>,
    /// Cancelled when the source is closed.
    pub token: CancellationToken,
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

impl Run {
    /// Prepares a run; connects to nothing.
    pub fn new(
        setting: &Setting,
        config: &PostgresSourceConfig,
        shared: Arc<Shared>,
        sender: mpsc::Sender<Parcel>,
        token: CancellationToken,
    ) -> Self {
        let sender = Mutex::new(Some(sender));
        let (mode, name) = (setting.config.mode, setting.config.name.clone());
        Self { config: config.clone(), mode, name, shared, sender, token }
    }

    /// A connection for `purpose`.
    pub async fn connection(&self, access: &Access, purpose: &str) -> Result<Client> {
        let application = format!("rocketmq-connector {} {purpose}", self.name);
        let client = postgres::connect(&self.config.server, access, &application).await?;
        let settings = SETTINGS.map(|(name, value)| format!("SET {name} = '{value}';")).concat();
        let set = client.batch_execute(&settings).await;
        set.map_err(|error| postgres::failure(&self.config.server, "failed to prepare the session", &error))?;
        Ok(client)
    }

    /// Connects and sets up what is missing.
    pub async fn connect(&self) -> Result<Session> {
        let access = Access::read(&self.config.server)?;
        let control = self.connection(&access, "control").await?;
        let catalog = Catalog { client: &control, server: &self.config.server };
        catalog.lock(&self.config.slot).await?;
        let changes = self.mode != Mode::Full;
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
        if self.shared.lock().slot.is_none() {
            let state = progress.load().await?;
            self.shared.lock().slot = Some(state);
        }
        Ok(Session { control, access, tables })
    }

    /// Works until the token is cancelled or somebody has to decide something; connects again when a connection is lost.
    pub async fn until_stopped(self, session: Session) {
        let (mut session, mut wait) = (Some(session), WAIT.0);
        loop {
            let connected = match session.take() {
                Some(session) => Ok(session),
                None => match self.token.run_until_cancelled(self.connect()).await {
                    Some(connected) => connected,
                    None => return,
                },
            };
            let outcome = match connected {
                Ok(session) => {
                    self.shared.set_trouble(None);
                    wait = WAIT.0;
                    self.work(&session).await
                }
                Err(trouble) => Err(trouble),
            };
            match outcome {
                Ok(()) => return,
                Err(Trouble::Stopped(why)) => self.stop(why).await,
                Err(Trouble::Again(why)) => {
                    tracing::warn!(reason = why.reason, error = why.message, remedy = why.remedy, "the source is lost");
                    self.shared.set_trouble(Some(why));
                }
            }
            if self.token.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
            wait = (wait * 2).min(WAIT.1);
        }
    }

    /// Reads, and makes durable what is acknowledged, until the token is cancelled.
    async fn work(&self, session: &Session) -> Result<()> {
        self.shared.lock().drop_chunk();
        let mut feed = None;
        let outcome = tokio::select! {
            biased;
            () = self.token.cancelled() => Ok(()),
            Err(trouble) = self.keep(session) => Err(trouble),
            outcome = self.read(session, &mut feed) => outcome,
        };
        let outcome = match outcome {
            // What was handed on before is still to be acknowledged.
            Err(Trouble::Stopped(why)) => {
                self.stop(why).await;
                tokio::select! {
                    () = self.token.cancelled() => Ok(()),
                    kept = self.keep(session) => kept,
                }
            }
            outcome => outcome,
        };
        if outcome.is_ok() {
            self.save(session).await?;
        }
        if let Some(feed) = feed {
            feed.end().await;
        }
        outcome
    }

    async fn read(&self, session: &Session, feed: &mut Option<Feed>) -> Result<()> {
        if self.mode != Mode::Incremental {
            self.load(session).await?;
        }
        if self.mode == Mode::Full {
            self.shared.set_caught_up(true);
            self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
            return std::future::pending().await;
        }
        let feed = feed.insert(self.replicate(session).await?);
        self.stream(session, feed).await
    }

    /// Tells the pipeline that somebody has to decide something.
    async fn stop(&self, why: ReportedError) {
        self.shared.set_trouble(Some(why.clone()));
        if let Some(sender) = self.sender() {
            let _ = self.token.run_until_cancelled(sender.send(Err(why))).await;
        }
    }

    /// Makes durable what is acknowledged, for ever; ends with the session, and so with the lock.
    async fn keep(&self, session: &Session) -> Result<()> {
        loop {
            let _ = tokio::time::timeout(LOOK, self.shared.acknowledged.notified()).await;
            self.save(session).await?;
            if session.control.is_closed() {
                let server = &self.config.server;
                let message = format!("lost the connection to PostgreSQL at {}:{}", server.host, server.port);
                let remedy = "check that the server runs; it is connected to again";
                return Err(Trouble::Again(reported("DatabaseUnreachable", message, remedy)));
            }
        }
    }

    async fn save(&self, session: &Session) -> Result<()> {
        let ready = self.shared.lock().ledger.ready();
        if ready.is_empty() {
            return Ok(());
        }
        session.progress(self).save(&ready).await?;
        let mut confirmed = *self.shared.saved.borrow();
        {
            let mut inner = self.shared.lock();
            inner.ledger.drop_front(ready.len());
            for end in ready {
                if let End::Log { lsn, definitions } = end {
                    confirmed = confirmed.max(lsn);
                    for (table, definition) in definitions {
                        inner.table(&table).definition = Some(definition);
                    }
                }
            }
        }
        self.shared.saved.send_replace(confirmed);
        Ok(())
    }

    /// Waits until everything that was handed on is durable.
    pub async fn await_saved(&self) {
        let mut saved = self.shared.saved.subscribe();
        while !self.shared.lock().ledger.is_empty() {
            if saved.changed().await.is_err() {
                return;
            }
        }
    }

    fn sender(&self) -> Option<mpsc::Sender<Parcel>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives records to the pipeline, and notes them at the same moment; waits while it is busy.
    pub async fn hand_on(&self, records: Vec<Record>, note: impl FnOnce(&mut Inner)) -> Result<()> {
        let closed = || Trouble::Again(reported("Closed", "the pipeline has ended", "nothing"));
        let sender = self.sender().ok_or_else(closed)?;
        let permit = sender.reserve().await.map_err(|_| closed())?;
        let mut inner = self.shared.lock();
        for record in &records {
            inner.ledger.send(record.position.offset, record.position.index);
        }
        note(&mut inner);
        permit.send(Ok(records));
        Ok(())
    }

    /// What the records of a table share.
    pub fn shape(&self, table: &Table) -> Shape {
        Shape {
            partition: self.config.slot.as_str().into(),
            entity: table.name.clone(),
            key_fields: table.key.clone().into(),
        }
    }
}

/// Now, in milliseconds since the Unix epoch.
pub fn now_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
