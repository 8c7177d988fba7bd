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
    BindingReport, ConnectionReport, HeartbeatReport, Instructions, ModelsReport, ReportedError, SyncReport,
    WorkerReport, WorkerState,
};
use crate::worker_config::verify::VerifyReport;

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
    instructions: watch::Sender<Instructions>,
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
            verify: None,
            connection: None,
            models: None,
            heartbeat: None,
            last_error: None,
            warnings: Vec::new(),
        };
        let report = Mutex::new(Tracked { report, is_stale: false, revised_at: Instant::now() });
        let (revision, instructions) = (watch::Sender::new(1), watch::Sender::new(Instructions::default()));
        Self { shared: Arc::new(Shared { report, revision, instructions }) }
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

    /// Replaces what comparing source and target came to.
    pub fn set_verify(&self, verify: VerifyReport) {
        let mut tracked = self.lock();
        if tracked.report.verify.as_ref() != Some(&verify) {
            tracked.report.verify = Some(verify);
            self.revise(&mut tracked);
        }
    }

    /// Replaces the result of a connection test.
    pub fn set_connection(&self, connection: ConnectionReport) {
        let mut tracked = self.lock();
        tracked.report.connection = Some(connection);
        self.revise(&mut tracked);
    }

    /// Replaces the state of the models; progress alone is counted like counters.
    pub fn set_models(&self, models: ModelsReport) {
        let mut tracked = self.lock();
        let without_progress =
            |models: &ModelsReport| ModelsReport { progress: models.progress.map(|_| (0, 0)), ..models.clone() };
        let before = tracked.report.models.as_ref();
        let is_news = before.is_none_or(|before| without_progress(before) != without_progress(&models));
        let is_due = before != Some(&models) && tracked.revised_at.elapsed() >= COUNTER_INTERVAL;
        tracked.report.models = Some(models);
        if is_news || is_due {
            self.revise(&mut tracked);
        }
    }

    /// Replaces the state of the heartbeat; another beat alone is counted like counters.
    pub fn set_heartbeat(&self, heartbeat: HeartbeatReport) {
        let mut tracked = self.lock();
        let before = tracked.report.heartbeat.as_ref();
        let is_news = before.is_none_or(|before| before.state != heartbeat.state);
        let is_due = before != Some(&heartbeat) && tracked.revised_at.elapsed() >= COUNTER_INTERVAL;
        tracked.report.heartbeat = Some(heartbeat);
        if is_news || is_due {
            self.revise(&mut tracked);
        }
    }

    /// Waits until the revision differs from `after` (a restarted worker starts again at 1), at most `wait`.
    pub async fn wait_for_news(&self, after: u64, wait: Duration) -> WorkerReport {
        let mut revision = self.shared.revision.subscribe();
        // Either outcome, news or the end of the wait, is answered with the present report.
        let _ = tokio::time::timeout(wait.min(MAX_WAIT), revision.wait_for(|revision| *revision != after)).await;
        self.current()
    }

    /// What the operator told with its newest poll.
    #[must_use]
    pub fn instructions(&self) -> watch::Receiver<Instructions> {
        self.shared.instructions.subscribe()
    }

    /// Takes what a poll tells. What it leaves out stays as it is.
    pub fn instruct(&self, told: Instructions) {
        self.shared.instructions.send_if_modified(|known| {
            let Instructions { test, load_models, verify, users } = told;
            let next = Instructions {
                test: test.or_else(|| known.test.clone()),
                load_models: load_models.or_else(|| known.load_models.clone()),
                verify: verify.or_else(|| known.verify.clone()),
                users: users.or(known.users),
            };
            let is_news = *known != next;
            *known = next;
            is_news
        });
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
    #[serde(default)]
    test: Option<String>,
    #[serde(default)]
    load_models: Option<String>,
    #[serde(default)]
    verify: Option<String>,
    #[serde(default)]
    users: Option<u32>,
}

async fn status(State(reporter): State<Reporter>, Query(query): Query<StatusQuery>) -> Json<WorkerReport> {
    let StatusQuery { after, wait_seconds, test, load_models, verify, users } = query;
    reporter.instruct(Instructions { test, load_models, verify, users });
    let Some(after) = after else { return Json(reporter.current()) };
    Json(reporter.wait_for_news(after, Duration::from_secs(wait_seconds)).await)
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
    async fn instructions_stay_until_others_come_and_are_news_once() {
        let reporter = reporter();
        let mut told = reporter.instructions();
        reporter.instruct(Instructions { test: Some("a".to_owned()), users: Some(2), ..Instructions::default() });
        assert!(told.has_changed().unwrap());
        assert_eq!(told.borrow_and_update().users, Some(2));
        reporter.instruct(Instructions { test: Some("a".to_owned()), ..Instructions::default() });
        assert!(!told.has_changed().unwrap());
        assert_eq!(told.borrow().users, Some(2));
    }

    #[tokio::test]
    async fn a_poll_from_before_a_restart_is_answered_at_once() {
        let started = Instant::now();
        assert_eq!(reporter().wait_for_news(57, Duration::from_secs(30)).await.revision, 1);
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
