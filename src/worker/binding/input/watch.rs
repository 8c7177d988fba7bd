//! Waiting for an app that is not there, and telling how the receiver is.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::super::error::rocketmq_report;
use super::super::health::Part;
use super::receiver::Receiver;
use super::{Input, Next};
use crate::worker_config::report::ReportedError;

/// First and longest wait between two looks for an app that does not answer.
const PROBE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// First and longest wait between two OPTIONS questions.
const ASK: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
impl Input {
    /// Waits until the app accepts a connection. One delivery probes; the others wait for it and find the app there.
    pub(super) async fn wait_for_app(&self, token: &CancellationToken) -> Next {
        let search = async {
            let _probe = self.probe.lock().await;
            let mut wait = PROBE.0;
            while !self.app.is_reachable().await {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(PROBE.1);
            }
        };
        match token.run_until_cancelled(search).await {
            Some(()) => Next::Again,
            None => Next::Done,
        }
    }

    /// Asks the app whether it wants messages until it does; false when `token` is cancelled before.
    pub(super) async fn wait_until_wanted(&self, token: &CancellationToken) -> bool {
        let mut wait = ASK.0;
        let ask = async {
            loop {
                let Err(failure) = self.app.wants_messages().await else { break };
                let trouble = self.app.report(&failure, "the question whether it wants messages");
                tracing::warn!(error = trouble.message, remedy = trouble.remedy, "waiting for the app");
                self.health.set(Part::App, Some(trouble));
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(ASK.1);
            }
        };
        let is_wanted = token.run_until_cancelled(ask).await.is_some();
        self.health.clear(Part::App);
        is_wanted
    }

    /// Copies the receiver's state into report and metrics every second.
    pub(super) async fn observe(&self, receiver: &Receiver, token: &CancellationToken) {
        while token.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await.is_some() {
            self.record_status(receiver);
        }
    }

    pub(super) fn record_status(&self, receiver: &Receiver) {
        let status = receiver.status();
        self.metrics.queues.set(i64::try_from(status.sources).unwrap_or(i64::MAX));
        self.metrics.lag.set(status.lag.map_or(-1, |lag| i64::try_from(lag).unwrap_or(i64::MAX)));
        let trouble = status.last_error.map(|error| rocketmq_report("failed to read from RocketMQ", &error));
        if let Some(refusal) = &status.last_refusal {
            self.note_trouble(rocketmq_report("failed to acknowledge", refusal));
        }
        // With some queues the binding works, and with none it may be that others of its group have them all.
        match trouble {
            Some(trouble) if status.is_reading => {
                self.health.clear(Part::Consumer);
                self.note_trouble(trouble);
            }
            trouble => self.health.set(Part::Consumer, trouble),
        }
    }

    /// Reports a failure once, not every second that it lasts.
    fn note_trouble(&self, trouble: ReportedError) {
        let known = self.reporter.current().last_error;
        if known.is_none_or(|known| known.message != trouble.message) {
            self.reporter.record_error(trouble);
        }
    }
}
