//! Role sync: a data pipeline.
//!
//! ```text
//! source ─▸ decode ─▸ transforms ─┬▸ batch ─▸ channel of one ─▸ sink ─▸ dead letters ─▸ acknowledgement to the source
//!                                 └▸ …                          (one a writer)
//! ```
//! Of each writer a batch gathers, one waits and one is being written: nothing else is held here, and a target that is slow or
//! gone stops the reading. A batch is acknowledged when the target has all of it durably. All records of a partition go to one
//! writer, which writes its batches one after the other, so what is acknowledged of a partition is contiguous, and its records
//! stay in order. A crash at any point repeats records and loses none.

pub mod batch;
pub mod cluster;
pub mod dead_letter;
pub mod metrics;
mod reader;
pub mod settlement;
pub mod state;
mod writer;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::error::Result;
use super::report::Reporter;
use super::sink::AnySink;
use super::source::{AnySource, Source};
use super::transform::Steps;
use super::verify;
use crate::worker_config::report::{ReportedError, WorkerState};
use crate::worker_config::{Identity, SyncConfig};
use dead_letter::DeadLetters;
use metrics::SyncMetrics;
use reader::{ReadEnd, Reader, Skipped};
use settlement::Settlement;
use state::{Part, State};
use writer::{WriteEnd, Writer};

/// First and longest wait between two attempts to open a side.
const OPEN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// How long a batch that is being written may take when the worker ends.
const DRAIN: Duration = Duration::from_secs(20);

/// What the parts of a pipeline get.
#[derive(Clone)]
pub struct Setting {
    /// The pipeline.
    pub config: Arc<SyncConfig>,
    /// The custom resource served.
    pub identity: Identity,
    /// The report behind `/status`.
    pub reporter: Reporter,
    /// Cancelled when the pipeline ends, or is to begin anew because certificates have changed.
    pub session: CancellationToken,
    /// Whether there was nothing to read when this process looked for it: what comes then is read from its beginning.
    pub has_waited: Arc<AtomicBool>,
}

/// A pipeline that is ready to run.
pub struct Sync {
    context: Context,
    config: Arc<SyncConfig>,
    steps: Arc<Steps>,
    state: Arc<State>,
    skipped: Arc<Skipped>,
    has_waited: Arc<AtomicBool>,
}

/// How a session of a pipeline ended.
enum Ended {
    /// It was told to, or is to begin anew.
    Cancelled,
    /// The source has come to its end and the target has everything.
    Finished,
    /// It needs a decision.
    Stopped(ReportedError),
}

impl Sync {
    /// Prepares a pipeline; dials nothing yet.
    ///
    /// # Errors
    /// An expression does not compile.
    pub fn new(context: Context, config: SyncConfig) -> Result<Self> {
        let steps = Arc::new(Steps::compile(&config.transforms)?);
        let state = Arc::new(State::new(SyncMetrics::register(&context.metrics, &context.identity)));
        Ok(Self {
            context,
            config: Arc::new(config),
            steps,
            state,
            skipped: Arc::default(),
            has_waited: Arc::default(),
        })
    }

    /// Runs until `token` is cancelled, then drains.
    pub async fn run(self, token: CancellationToken) {
        let stop = token.child_token();
        let work = async {
            while !stop.is_cancelled() {
                match self.session(&stop).await {
                    Ended::Cancelled => {}
                    Ended::Finished => {
                        tracing::info!("everything was read and written");
                        stop.cancelled().await;
                    }
                    Ended::Stopped(why) => {
                        tracing::error!(
                            reason = why.reason,
                            error = why.message,
                            remedy = why.remedy,
                            "the sync has stopped"
                        );
                        self.state.set(Part::Stopped, Some(why));
                        stop.cancelled().await;
                    }
                }
            }
        };
        tokio::join!(work, self.observe(&stop));
        self.publish();
    }

    async fn session(&self, stop: &CancellationToken) -> Ended {
        let session = stop.child_token();
        let setting = Setting {
            config: Arc::clone(&self.config),
            identity: self.context.identity.clone(),
            reporter: self.context.reporter.clone(),
            session: session.clone(),
            has_waited: Arc::clone(&self.has_waited),
        };
        // The target first: a member of a consumer group that cannot write would only keep queues from others.
        let mut sinks = Vec::new();
        for writer in 0..self.config.writers.max(1) {
            let Some(sink) = self.open(Part::Target(writer), &session, || AnySink::open(&setting)).await else {
                return Ended::Cancelled;
            };
            sinks.push(sink);
        }
        let Some(source) = self.open(Part::Source, &session, || AnySource::open(&setting)).await else {
            return Ended::Cancelled;
        };
        self.state.opened(sinks.len());
        self.state.metrics.in_flight.set(0);
        let source = Arc::new(source);
        let pump = async {
            let ended = self.pump(setting.clone(), Arc::clone(&source), sinks).await;
            if matches!(ended, Ended::Finished) && self.config.verify.is_some() {
                tracing::info!("everything was read and written; it is there to be compared");
                session.cancelled().await;
                return Ended::Cancelled;
            }
            ended
        };
        let ended = tokio::select! {
            ended = pump => ended,
            () = self.watch(&source) => Ended::Cancelled,
            () = verify::watch(&setting, &self.steps, &source) => Ended::Cancelled,
        };
        self.state.observe(source.status());
        source.close().await;
        session.cancel();
        ended
    }

    /// Reads and writes at the same time until one of them ends.
    async fn pump(&self, setting: Setting, source: Arc<AnySource>, sinks: Vec<AnySink>) -> Ended {
        let session = setting.session.clone();
        let (reading, writing) = (session.child_token(), session.child_token());
        let (mut lanes, mut writers) = (Vec::new(), Vec::new());
        for (number, sink) in sinks.into_iter().enumerate() {
            let (batches, receiver) = mpsc::channel(1);
            lanes.push(batches);
            let writer = Writer {
                number,
                dead_letters: DeadLetters::of(&self.config),
                setting: setting.clone(),
                source: Arc::clone(&source),
                sink,
                state: Arc::clone(&self.state),
                skipped: Arc::clone(&self.skipped),
                settlement: Settlement::default(),
            };
            let (stop_reading, token) = (reading.clone(), writing.clone());
            writers.push(tokio::spawn(async move {
                let end = writer.run(receiver, &token).await;
                stop_reading.cancel();
                if matches!(end, WriteEnd::Stopped(_)) {
                    // The others write what they have, and try nothing again.
                    token.cancel();
                }
                end
            }));
        }
        let reader = Reader {
            config: Arc::clone(&self.config),
            source,
            steps: Arc::clone(&self.steps),
            state: Arc::clone(&self.state),
            skipped: Arc::clone(&self.skipped),
            lanes,
        };
        let token = reading.clone();
        let read = tokio::spawn(async move { reader.run(&token).await });
        let aborts: Vec<_> = writers.iter().map(tokio::task::JoinHandle::abort_handle).collect();
        let overdue = async {
            session.cancelled().await;
            tokio::time::sleep(DRAIN).await;
            tracing::warn!("the target did not take the last batch in time; it comes again after the next start");
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        };
        let all = async { tokio::join!(read, futures::future::join_all(writers)) };
        tokio::pin!(all);
        let (read, written) = tokio::select! {
            ended = &mut all => ended,
            () = overdue => all.await,
        };
        let mut is_drained = true;
        for end in written {
            match end {
                Ok(WriteEnd::Stopped(why)) => return Ended::Stopped(why),
                Ok(WriteEnd::Drained) => {}
                Ok(WriteEnd::GivenUp) | Err(_) => is_drained = false,
            }
        }
        match read {
            Ok(ReadEnd::Stopped(why)) => Ended::Stopped(why),
            Ok(ReadEnd::Finished) if is_drained => Ended::Finished,
            _ => Ended::Cancelled,
        }
    }

    /// Copies how the source stands into the state, for ever.
    async fn watch(&self, source: &AnySource) {
        loop {
            self.state.observe(source.status());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Tries to open a side until it succeeds; none when the session ends before.
    async fn open<Side, Opening>(
        &self,
        part: Part,
        session: &CancellationToken,
        open: impl Fn() -> Opening,
    ) -> Option<Side>
    where
        Opening: Future<Output = std::result::Result<Side, ReportedError>>,
    {
        let mut wait = OPEN.0;
        loop {
            match session.run_until_cancelled(open()).await? {
                Ok(side) => {
                    self.state.clear(part);
                    return Some(side);
                }
                Err(why) => {
                    tracing::warn!(
                        reason = why.reason,
                        error = why.message,
                        remedy = why.remedy,
                        "waiting for a side of the sync"
                    );
                    self.state.set(part, Some(why));
                }
            }
            session.run_until_cancelled(tokio::time::sleep(wait)).await?;
            wait = (wait * 2).min(OPEN.1);
        }
    }

    /// Keeps report and readiness up to date until `token` is cancelled.
    async fn observe(&self, token: &CancellationToken) {
        let reporter = &self.context.reporter;
        loop {
            self.publish();
            match self.state.trouble() {
                Some(trouble) => {
                    // The first reading of the time stays with the trouble, so that a lasting one is one.
                    reporter.set_health(Some(trouble));
                }
                None if self.state.is_open() => reporter.set_health(None),
                None => {}
            }
            if self.state.is_open() {
                self.context.gate.ready();
            }
            if token.run_until_cancelled(tokio::time::sleep(Duration::from_millis(500))).await.is_none() {
                self.context.gate.wait("nothing any more: the worker drains and ends");
                reporter.set_state(WorkerState::Draining, Some("finishing what is in flight".to_owned()));
                return;
            }
        }
    }

    fn publish(&self) {
        self.context.reporter.set_sync(self.state.report());
    }
}
