//! The state behind `GET /status`: what the worker does, its counters and its newest error, with a revision to wait for.
//!
//! The revision rises at once when something an operator should act on changes (state, message, reason of the last error,
//! result of a connection test), and at most every [`COUNTER_INTERVAL`] when only counters or repeated errors changed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use tokio::sync::watch;

use crate::worker_config::Identity;
use crate::worker_config::report::{
    BindingReport, ConnectionReport, ReportedError, SyncReport, WorkerReport, WorkerState,
};

/// Shortest time between two revisions that differ only in counters.
pub const COUNTER_INTERVAL: Duration = Duration::from_secs(10);

/// Longest wait of one poll.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// Handle to the worker's report; clones share it.
#[derive(Clone)]
pub struct Reporter {
    shared: Arc<Shared>,
}

struct Shared {
    report: Mutex<Tracked>,
    revision: watch::Sender<u64>,
}

struct Tracked {
    report: WorkerReport,
    /// Counters have changed since the newest revision.
    is_stale: bool,
    revised_at: Instant,
}

impl Reporter {
    /// A report in state `Starting` at revision 1.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        let report = WorkerReport {
            revision: 1,
            identity,
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at_millis: jiff::Timestamp::now().as_millisecond(),
            state: WorkerState::Starting,
            message: None,
            binding: None,
            sync: None,
            connection: None,
            last_error: None,
            warnings: Vec::new(),
        };
        let report = Mutex::new(Tracked { report, is_stale: false, revised_at: Instant::now() });
        Self { shared: Arc::new(Shared { report, revision: watch::Sender::new(1) }) }
    }

    /// The report as it is now.
    #[must_use]
    pub fn current(&self) -> WorkerReport {
        self.lock().report.clone()
    }

    /// Sets the state; `message` explains it when it is not `Running`. A worker that drains stays so.
    pub fn set_state(&self, state: WorkerState, message: Option<String>) {
        let mut tracked = self.lock();
        let report = &mut tracked.report;
        if report.state == WorkerState::Draining || (report.state == state && report.message == message) {
            return;
        }
        tracing::info!(state = ?state, why = message.as_deref().unwrap_or_default(), "worker state changed");
        (report.state, report.message) = (state, message);
        self.revise(&mut tracked);
    }

    /// Takes `Failing` or `Running` from whether there is an error, and remembers the error.
    pub fn set_health(&self, error: Option<ReportedError>) {
        match error {
            Some(error) => {
                let message = format!("{} — {}", error.message, error.remedy);
                self.record_error(error);
                self.set_state(WorkerState::Failing, Some(message));
            }
            None => self.set_state(WorkerState::Running, None),
        }
    }

    /// Remembers the newest failure. A repetition of the same reason does not raise the revision at once.
    pub fn record_error(&self, error: ReportedError) {
        let mut tracked = self.lock();
        let is_news = tracked.report.last_error.as_ref().is_none_or(|last| last.reason != error.reason);
        tracked.report.last_error = Some(error);
        tracked.is_stale = true;
        if is_news {
            self.revise(&mut tracked);
        }
    }

    /// Sets, or takes back, the warning of a reason. The same words again are no news.
    pub fn set_warning(&self, reason: &str, warning: Option<ReportedError>) {
        let mut tracked = self.lock();
        let warnings = &mut tracked.report.warnings;
        let before = warnings.iter().position(|known| known.reason == reason);
        let is_same = match (before, &warning) {
            (None, None) => true,
            (Some(index), Some(warning)) => warnings[index].message == warning.message,
            _ => false,
        };
        if is_same {
            return;
        }
        warnings.retain(|known| known.reason != reason);
        warnings.extend(warning);
        self.revise(&mut tracked);
    }

    /// Replaces the counters of a binding; the revision follows in [`COUNTER_INTERVAL`].
    pub fn set_binding(&self, binding: BindingReport) {
        let mut tracked = self.lock();
        if tracked.report.binding.as_ref() != Some(&binding) {
            tracked.report.binding = Some(binding);
            tracked.is_stale = true;
        }
        if tracked.is_stale && tracked.revised_at.elapsed() >= COUNTER_INTERVAL {
            self.revise(&mut tracked);
        }
    }

    /// Replaces the counters of a sync; the revision follows in [`COUNTER_INTERVAL`].
    pub fn set_sync(&self, sync: SyncReport) {
        let mut tracked = self.lock();
        if tracked.report.sync.as_ref() != Some(&sync) {
            tracked.report.sync = Some(sync);
            tracked.is_stale = true;
        }
        if tracked.is_stale && tracked.revised_at.elapsed() >= COUNTER_INTERVAL {
            self.revise(&mut tracked);
        }
    }

    /// Replaces the result of a connection test.
    pub fn set_connection(&self, connection: ConnectionReport) {
        let mut tracked = self.lock();
        tracked.report.connection = Some(connection);
        self.revise(&mut tracked);
    }

    /// Waits until the revision differs from `after` (a restarted worker starts again at 1), at most `wait`.
    pub async fn wait_for_news(&self, after: u64, wait: Duration) -> WorkerReport {
        let mut revision = self.shared.revision.subscribe();
        // Either outcome, news or the end of the wait, is answered with the present report.
        let _ = tokio::time::timeout(wait.min(MAX_WAIT), revision.wait_for(|revision| *revision != after)).await;
        self.current()
    }

    /// The route `/status`.
    pub fn routes(&self) -> Router {
        Router::new().route("/status", get(status)).with_state(self.clone())
    }

    fn revise(&self, tracked: &mut Tracked) {
        tracked.report.revision += 1;
        (tracked.is_stale, tracked.revised_at) = (false, Instant::now());
        self.shared.revision.send_replace(tracked.report.revision);
    }

    fn lock(&self) -> MutexGuard<'_, Tracked> {
        self.shared.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StatusQuery {
    #[serde(default)]
    after: Option<u64>,
    #[serde(default)]
    wait_seconds: u64,
}

async fn status(State(reporter): State<Reporter>, Query(query): Query<StatusQuery>) -> Json<WorkerReport> {
    let Some(after) = query.after else { return Json(reporter.current()) };
    Json(reporter.wait_for_news(after, Duration::from_secs(query.wait_seconds)).await)
}

#[cfg(test)]
mod tests {
    use super::super::error::reported;
    use super::*;

    fn reporter() -> Reporter {
        let identity =
            Identity { kind: "RocketMQBinding".into(), namespace: "shop".into(), name: "orders".into(), generation: 3 };
        Reporter::new(identity)
    }

    #[tokio::test]
    async fn state_is_news_at_once_and_draining_stays() {
        let reporter = reporter();
        let waiting = tokio::spawn({
            let reporter = reporter.clone();
            async move { reporter.wait_for_news(1, Duration::from_secs(30)).await }
        });
        tokio::task::yield_now().await;
        reporter.set_state(WorkerState::Running, None);
        let report = waiting.await.unwrap();
        assert_eq!((report.revision, report.state), (2, WorkerState::Running));
        reporter.set_state(WorkerState::Draining, None);
        reporter.set_state(WorkerState::Running, None);
        assert_eq!(reporter.current().state, WorkerState::Draining);
    }

    #[tokio::test]
    async fn repeated_errors_and_counters_do_not_raise_the_revision_at_once() {
        let reporter = reporter();
        reporter.record_error(reported("Timeout", "first", "wait"));
        reporter.record_error(reported("Timeout", "second", "wait"));
        reporter.set_binding(BindingReport { messages_in: 5, ..BindingReport::default() });
        let report = reporter.wait_for_news(2, Duration::from_millis(50)).await;
        assert_eq!((report.revision, report.last_error.unwrap().message), (2, "second".to_owned()));
        assert_eq!(report.binding.unwrap().messages_in, 5);
    }

    #[tokio::test]
    async fn a_warning_is_news_once_and_goes_again() {
        let reporter = reporter();
        reporter.set_warning("A", None);
        reporter.set_warning("A", Some(reported("A", "first", "do")));
        reporter.set_warning("B", Some(reported("B", "other", "do")));
        reporter.set_warning("A", Some(reported("A", "first", "do")));
        let report = reporter.current();
        assert_eq!((report.revision, report.warnings.len(), report.state), (3, 2, WorkerState::Starting));
        reporter.set_warning("A", None);
        let reasons: Vec<_> = reporter.current().warnings.into_iter().map(|warning| warning.reason).collect();
        assert_eq!(reasons, ["B"]);
    }

    #[tokio::test]
    async fn a_poll_from_before_a_restart_is_answered_at_once() {
        let started = Instant::now();
        assert_eq!(reporter().wait_for_news(57, Duration::from_secs(30)).await.revision, 1);
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
