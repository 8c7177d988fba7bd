//! Models: which topics there are and what their messages look like, from a bounded sample of the newest messages.
//!
//! ```text
//! schedule ─▸ load: topics ─▸ offsets ─▸ a few pulls a topic, at most 50 requests a second ─▸ infer ─▸ Store ─▸ /models
//! ```
//! Messages are read by offset with the group that every broker has for tools: nothing is committed, no group appears.

mod classify;
mod infer;
mod load;
mod schedule;
mod schema;
mod serve;

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::super::{Context, config};
use crate::worker_config::ConnectionConfig;
use crate::worker_config::connection::ModelsConfig;
use crate::worker_config::report::{ModelsReport, ReportedError};

pub use infer::Sample;
pub use load::{Loaded, load_once};
pub use schedule::next_load;
pub use schema::json_schema;
pub use serve::Store;

/// Wait until a load that failed is tried again.
const RETRY: Duration = Duration::from_secs(60);
/// Time between two words about the progress of a load.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Loads models by schedule, and when the operator says so, until `token` is cancelled.
pub async fn run(
    context: Context,
    connection: ConnectionConfig,
    models: ModelsConfig,
    store: Store,
    token: CancellationToken,
) {
    let mut instructions = context.reporter.instructions();
    let mut keeper = Keeper { context, connection, models, store, report: ModelsReport::default() };
    loop {
        let asked = instructions.borrow_and_update().load_models.clone();
        let files = config::fingerprint(&keeper.connection.cluster);
        let Some(pause) = token.run_until_cancelled(keeper.load()).await else { return };
        let started = Instant::now();
        let asked_again = instructions.wait_for(|told| told.load_models != asked);
        let due = async {
            // Other credentials may see other topics, but only after a failure is it worth a load of its own.
            while started.elapsed() < pause {
                tokio::time::sleep(config::POLL.min(pause.saturating_sub(started.elapsed()))).await;
                if keeper.report.error.is_some() && files != config::fingerprint(&keeper.connection.cluster) {
                    break;
                }
            }
        };
        tokio::select! {
            () = token.cancelled() => return,
            _ = asked_again => {}
            () = due => {}
        }
    }
}

struct Keeper {
    context: Context,
    connection: ConnectionConfig,
    models: ModelsConfig,
    store: Store,
    report: ModelsReport,
}

impl Keeper {
    /// Loads once; returns the time until the next load.
    async fn load(&mut self) -> Duration {
        let started = Instant::now();
        self.report.progress = Some((0, 0));
        self.tell();
        let (sender, mut progress) = tokio::sync::watch::channel((0, 0));
        let before = self.store.current();
        let (connection, identity, sample) =
            (self.connection.clone(), self.context.identity.clone(), self.models.sample_size);
        let loading = load::load(&connection, &identity, sample, &before, &sender);
        let mut loading = std::pin::pin!(loading);
        let loaded = loop {
            tokio::select! {
                loaded = &mut loading => break loaded,
                () = tokio::time::sleep(PROGRESS_INTERVAL) => {
                    self.report.progress = Some(*progress.borrow_and_update());
                    self.tell();
                }
            }
        };
        self.report.progress = None;
        self.report.duration_millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        match loaded {
            Ok(loaded) => self.keep(loaded),
            Err(error) => self.fail(error),
        }
    }

    fn keep(&mut self, loaded: Loaded) -> Duration {
        let now = jiff::Timestamp::now();
        let next = match loaded.left {
            0 => next_load(now, loaded.models.len(), &self.models),
            left => {
                tracing::info!(left, "topics are left without a sample; the next load goes on with them");
                now
            }
        };
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let difference = self.store.replace(loaded);
        self.report = ModelsReport {
            revision: self.store.revision(),
            count: count(self.store.current().models.len()),
            failed: count(self.store.current().models.iter().filter(|entry| entry.model.error.is_some()).count()),
            added: count(difference.added),
            removed: count(difference.removed),
            changed: count(difference.changed),
            loaded_at_millis: Some(now.as_millisecond()),
            next_at_millis: Some(next.as_millisecond()),
            error: None,
            ..self.report.clone()
        };
        tracing::info!(count = self.report.count, millis = self.report.duration_millis, "models loaded");
        self.tell();
        Duration::from_millis(u64::try_from(next.as_millisecond() - now.as_millisecond()).unwrap_or_default())
    }

    fn fail(&mut self, error: ReportedError) -> Duration {
        tracing::warn!(
            reason = error.reason,
            message = error.message,
            remedy = error.remedy,
            "models could not be loaded"
        );
        let next = jiff::Timestamp::now().as_millisecond() + i64::try_from(RETRY.as_millis()).unwrap_or_default();
        self.report.error = Some(error);
        self.report.next_at_millis = Some(next);
        self.tell();
        RETRY
    }

    fn tell(&self) {
        self.context.reporter.set_models(self.report.clone());
    }
}
