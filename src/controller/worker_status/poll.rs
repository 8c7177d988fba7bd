//! One task a worker pod: polls, stores what is new, tells the controller.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::controller::backoff::jittered;
use crate::controller::context::Key;
use crate::controller::feed::Switchboard;
use crate::controller::metrics::Metrics;

use super::http::{Endpoint, ReportClient};
use super::instructions::{Book, Told};
use super::reports::{Change, Reports};

/// Shortest time between two polls of a pod, whatever it answers.
const PACE: Duration = Duration::from_millis(500);

/// Longest wait after failures.
const FAILURE_CAP: Duration = Duration::from_mins(1);

/// Failures in a row after which a worker's report counts as unreadable: a pod that starts needs a moment.
const TOLERATED_FAILURES: u32 = 5;

/// Shortest time between two writes of a status that differs in counters only.
const COUNTER_INTERVAL: Duration = Duration::from_secs(30);

/// Starts a task for each pod.
#[derive(Debug, Clone)]
pub struct Poller {
    client: ReportClient,
    reports: Arc<Reports>,
    book: Arc<Book>,
    switchboard: Switchboard,
    metrics: Metrics,
}

impl Poller {
    pub fn new(reports: Arc<Reports>, book: Arc<Book>, switchboard: Switchboard, metrics: Metrics) -> Self {
        Self { client: ReportClient::new(), reports, book, switchboard, metrics }
    }

    /// Polls `endpoint` until `token` is cancelled.
    pub fn start(&self, owner: Key, pod: String, endpoint: Endpoint, token: CancellationToken) {
        let poller = self.clone();
        let told = self.book.told(&owner);
        self.reports.note_endpoint(&owner, &pod, endpoint);
        tokio::spawn(async move {
            let polling = Polling {
                poller,
                owner,
                pod,
                endpoint,
                told,
                revision: 0,
                failures: 0,
                told_at: None,
                owes_counters: false,
            };
            token.run_until_cancelled_owned(polling.run()).await;
        });
    }

    /// Notes why the scheduler finds no node for a pod, or that there is no such trouble.
    pub fn note_scheduling(&self, owner: &Key, pod: &str, why: Option<String>) {
        if self.reports.note_scheduling(owner, pod, why) {
            self.switchboard.reported(owner.clone());
        }
    }

    /// The pod is gone: its part of the sums goes with it.
    pub fn forget(&self, owner: &Key, pod: &str) {
        if self.reports.remove(owner, pod) {
            self.switchboard.reported(owner.clone());
        }
    }
}

struct Polling {
    poller: Poller,
    owner: Key,
    pod: String,
    endpoint: Endpoint,
    told: Told,
    revision: u64,
    failures: u32,
    told_at: Option<Instant>,
    owes_counters: bool,
}

impl Polling {
    async fn run(mut self) {
        // Pods found at the operator's start are not polled in one burst.
        sleep(Duration::from_secs(1) - jittered(Duration::from_secs(1))).await;
        loop {
            let started = Instant::now();
            let wait = self.poll().await;
            sleep(wait.max(PACE.saturating_sub(started.elapsed()))).await;
        }
    }

    /// Polls once and tells how long to wait.
    async fn poll(&mut self) -> Duration {
        let instructions = self.told.newest();
        let polled = tokio::select! {
            polled = self.poller.client.poll(self.endpoint, self.revision, &instructions) => polled,
            // The worker hears of it with the next poll, at once.
            () = self.told.changed() => return Duration::ZERO,
        };
        let report = match polled {
            Ok(report) => report,
            Err(error) => return self.failed(&error.to_string()),
        };
        self.failures = 0;
        let before = self.revision;
        self.revision = report.revision;
        let change = self.poller.reports.store(&self.owner, &self.pod, report);
        self.poller.metrics.polled(if change == Change::None { "unchanged" } else { "changed" });
        self.owes_counters |= change == Change::Counters;
        if change == Change::State || (self.owes_counters && self.counters_are_due()) {
            self.tell();
        }
        // A worker that does not hold a poll open, or that has restarted, must not be asked in a tight loop.
        if self.revision <= before { PACE } else { Duration::ZERO }
    }

    fn counters_are_due(&self) -> bool {
        self.told_at.is_none_or(|told_at| told_at.elapsed() >= COUNTER_INTERVAL)
    }

    fn tell(&mut self) {
        self.told_at = Some(Instant::now());
        self.owes_counters = false;
        self.poller.switchboard.reported(self.owner.clone());
    }

    fn failed(&mut self, message: &str) -> Duration {
        self.poller.metrics.polled("failed");
        self.failures = self.failures.saturating_add(1);
        self.revision = 0;
        if self.failures == TOLERATED_FAILURES && self.poller.reports.lose(&self.owner, &self.pod, message) {
            tracing::warn!(owner = %self.owner, pod = self.pod, message, "a worker's report cannot be read");
            self.tell();
        }
        jittered(Duration::from_secs(1).saturating_mul(2_u32.saturating_pow(self.failures - 1)).min(FAILURE_CAP))
    }
}
