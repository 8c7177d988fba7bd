//! The sessions with a database: connected, set up, worked with, and connected again when they are lost.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::super::error::reported;
use super::super::super::record::Record;
use super::super::super::sync::Setting;
use super::ledger::End;
use super::shared::{Inner, Shared};
use super::{Parcel, Result, Trouble};
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::Mode;

/// First and longest wait before connecting again.
const WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// Time between two looks at the session that has the lock.
const LOOK: Duration = Duration::from_secs(2);

/// How a kind of database is read.
pub trait Engine: Send + Sync + 'static {
    /// What tells which changes a chunk has seen.
    type Snapshot: Clone + Send + Sync + 'static;
    /// A connection that keeps others out, and what is known of the database.
    type Session: Send + Sync;
    /// A connection that reads the log.
    type Feed: Send;

    /// The way to the pipeline.
    fn pipe(&self) -> &Pipe<Self::Snapshot>;

    /// Connects and sets up what is missing.
    fn connect(&self) -> impl Future<Output = Result<Self::Session>> + Send;

    /// Loads every table that is not loaded, and waits until the target has it all.
    fn load(&self, session: &Self::Session) -> impl Future<Output = Result<()>> + Send;

    /// Begins to read the log.
    fn replicate(&self, session: &Self::Session) -> impl Future<Output = Result<Self::Feed>> + Send;

    /// Reads the log, until the connection is lost.
    fn stream(&self, session: &Self::Session, feed: &mut Self::Feed) -> impl Future<Output = Result<()>> + Send;

    /// Makes durable what was acknowledged: all of it, or nothing.
    fn save(&self, session: &Self::Session, ends: &[End]) -> impl Future<Output = Result<()>> + Send;

    /// Checks that the session is there, and that it still keeps others out.
    fn check(&self, session: &Self::Session) -> impl Future<Output = Result<()>> + Send;

    /// Ends the reading of the log.
    fn end(feed: Self::Feed) -> impl Future<Output = ()> + Send;
}

/// The way from the sessions to the pipeline.
pub struct Pipe<Snapshot> {
    /// Full load, changes, or both.
    pub mode: Mode,
    /// Name of the pipeline, which sessions show.
    pub name: String,
    /// What the pipeline sees.
    pub shared: Arc<Shared<Snapshot>>,
    /// None when everything was read.
    sender: Mutex<Option<mpsc::Sender<Parcel>>>,
    /// Cancelled when the source is closed.
    token: CancellationToken,
}

impl<Snapshot: Clone> Pipe<Snapshot> {
    /// Prepares a run.
    pub fn new(
        setting: &Setting,
        shared: Arc<Shared<Snapshot>>,
        sender: mpsc::Sender<Parcel>,
        token: CancellationToken,
    ) -> Self {
        let (mode, name) = (setting.config.mode, setting.config.name.clone());
        Self { mode, name, shared, sender: Mutex::new(Some(sender)), token }
    }

    fn sender(&self) -> Option<mpsc::Sender<Parcel>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives records to the pipeline, and notes them at the same moment; waits while it is busy.
    ///
    /// # Errors
    /// The pipeline has ended.
    pub async fn hand_on(&self, records: Vec<Record>, note: impl FnOnce(&mut Inner<Snapshot>)) -> Result<()> {
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

    /// Waits until everything that was handed on is durable.
    pub async fn await_saved(&self) {
        let mut saved = self.shared.saved.subscribe();
        while !self.shared.lock().ledger.is_empty() {
            if saved.changed().await.is_err() {
                return;
            }
        }
    }

    /// Tells the pipeline that somebody has to decide something.
    async fn stop(&self, why: ReportedError) {
        self.shared.set_trouble(Some(why.clone()));
        if let Some(sender) = self.sender() {
            let _ = self.token.run_until_cancelled(sender.send(Err(why))).await;
        }
    }
}

/// Works until the source is closed or somebody has to decide something; connects again when a connection is lost.
pub async fn until_stopped<Reader: Engine>(engine: Reader, session: Reader::Session) {
    let pipe = engine.pipe();
    let (mut session, mut wait) = (Some(session), WAIT.0);
    loop {
        let connected = match session.take() {
            Some(session) => Ok(session),
            None => match pipe.token.run_until_cancelled(engine.connect()).await {
                Some(connected) => connected,
                None => return,
            },
        };
        let outcome = match connected {
            Ok(session) => {
                pipe.shared.set_trouble(None);
                wait = WAIT.0;
                work(&engine, &session).await
            }
            Err(trouble) => Err(trouble),
        };
        match outcome {
            Ok(()) => return,
            Err(Trouble::Stopped(why)) => pipe.stop(why).await,
            Err(Trouble::Again(why)) => {
                tracing::warn!(reason = why.reason, error = why.message, remedy = why.remedy, "the source is lost");
                pipe.shared.set_trouble(Some(why));
            }
        }
        if pipe.token.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
        wait = (wait * 2).min(WAIT.1);
    }
}

/// Reads, and makes durable what is acknowledged, until the source is closed.
async fn work<Reader: Engine>(engine: &Reader, session: &Reader::Session) -> Result<()> {
    let pipe = engine.pipe();
    pipe.shared.lock().drop_chunk();
    let mut feed = None;
    let outcome = tokio::select! {
        biased;
        () = pipe.token.cancelled() => Ok(()),
        Err(trouble) = keep(engine, session) => Err(trouble),
        outcome = read(engine, session, &mut feed) => outcome,
    };
    let outcome = match outcome {
        // What was handed on before is still to be acknowledged.
        Err(Trouble::Stopped(why)) => {
            pipe.stop(why).await;
            tokio::select! {
                () = pipe.token.cancelled() => Ok(()),
                kept = keep(engine, session) => kept,
            }
        }
        outcome => outcome,
    };
    if outcome.is_ok() {
        save(engine, session).await?;
    }
    if let Some(feed) = feed {
        Reader::end(feed).await;
    }
    outcome
}

async fn read<Reader: Engine>(
    engine: &Reader,
    session: &Reader::Session,
    feed: &mut Option<Reader::Feed>,
) -> Result<()> {
    let pipe = engine.pipe();
    if pipe.mode != Mode::Incremental {
        engine.load(session).await?;
    }
    if pipe.mode == Mode::Full {
        pipe.shared.set_caught_up(true);
        pipe.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        return std::future::pending().await;
    }
    let feed = feed.insert(engine.replicate(session).await?);
    engine.stream(session, feed).await
}

/// Makes durable what is acknowledged, for ever; ends with the session, and so with the lock.
async fn keep<Reader: Engine>(engine: &Reader, session: &Reader::Session) -> Result<()> {
    loop {
        let _ = tokio::time::timeout(LOOK, engine.pipe().shared.acknowledged.notified()).await;
        save(engine, session).await?;
        engine.check(session).await?;
    }
}

async fn save<Reader: Engine>(engine: &Reader, session: &Reader::Session) -> Result<()> {
    let shared = &engine.pipe().shared;
    let ready = shared.lock().ledger.ready();
    if ready.is_empty() {
        return Ok(());
    }
    engine.save(session, &ready).await?;
    let mut confirmed = *shared.saved.borrow();
    {
        let mut inner = shared.lock();
        inner.ledger.drop_front(ready.len());
        for end in ready {
            if let End::Log { position, definitions, emptied } = end {
                confirmed = confirmed.max(position);
                emptied.iter().for_each(|table| inner.table(table).chunks.clear());
                for (table, definition) in definitions {
                    inner.table(&table).definition = Some(definition);
                }
            }
        }
    }
    shared.saved.send_replace(confirmed);
    Ok(())
}

/// Now, in milliseconds since the Unix epoch.
pub fn now_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
