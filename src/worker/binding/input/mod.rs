//! The input binding: one receiver, and up to `max_concurrency` deliveries to the app at the same time.
//!
//! ```text
//! Receiver::recv ─▸ slot (semaphore) ─▸ App::deliver ─┬▸ 2xx                ack
//!                                                     ├▸ no connection      keep it, probe the app, deliver again
//!                                                     ├▸ anything else      nack with the configured wait (ordered: retry in place)
//!                                                     └▸ the last attempt   dead-letter topic
//! ```
//! A slow app fills the slots, full slots stop `recv`, and the receiver's own bounds stop the pull: memory stays bounded.
//! A message is retried in this process only while it holds its queue (ordered) or while the app cannot be reached.

pub mod receiver;
mod settle;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::error::Result;
use super::super::metrics::BindingMetrics;
use super::super::report::Reporter;
use super::app::{App, Failure};
use super::backoff;
use super::health::{Health, Part};
use super::link::Link;
use super::output::Output;
use crate::rocketmq::{ReceivedMessage, Subscription};
use crate::worker_config::binding::{BindingConfig, InputConfig, TopicConfig};
use receiver::{Incoming, Receiver};

/// Failed deliveries in a row after which the worker counts as failing.
const FAILING_AFTER: u32 = 10;
/// What a drain takes beyond the app's own time limit: acknowledgements and the commit of offsets.
const DRAIN_MARGIN: Duration = Duration::from_secs(5);

/// Delivers a binding's messages to its app.
pub struct Input {
    binding: Arc<BindingConfig>,
    config: InputConfig,
    app: App,
    /// Publishes what the app asks for in its answers.
    output: Arc<Output>,
    metrics: BindingMetrics,
    reporter: Reporter,
    health: Arc<Health>,
    failures_in_a_row: AtomicU32,
    /// Held by the one delivery that looks for a missing app.
    probe: Mutex<()>,
}

/// How the work on a delivery goes on.
enum Next {
    Again,
    Done,
}

/// One group of those that come for the first time, and one for each that comes again: a message that an app cannot take
/// keeps no others from it but those of its first batch, once.
fn groups(received: Vec<Incoming>) -> Vec<Vec<Incoming>> {
    let (first, again): (Vec<_>, Vec<_>) =
        received.into_iter().partition(|delivery| delivery.message().reconsume_times == 0);
    let first = Some(first).filter(|first| !first.is_empty());
    first.into_iter().chain(again.into_iter().map(|delivery| vec![delivery])).collect()
}

/// What a consumer of the binding's group subscribes to.
pub fn subscriptions(binding: &BindingConfig) -> Vec<Subscription> {
    let subscription = |topic: &TopicConfig| match topic.expression.as_deref() {
        None | Some("*" | "") => Subscription::all(&topic.topic),
        Some(expression) => Subscription::tags(&topic.topic, expression),
    };
    binding.topics.iter().map(subscription).collect()
}

impl Input {
    /// An input for `config`, which is the input of `binding`.
    ///
    /// # Errors
    /// See [`App::new`].
    pub fn new(
        binding: Arc<BindingConfig>,
        config: InputConfig,
        output: Arc<Output>,
        metrics: BindingMetrics,
        reporter: Reporter,
        health: Arc<Health>,
    ) -> Result<Self> {
        let app = App::new(&binding, &config)?;
        let (failures_in_a_row, probe) = (AtomicU32::new(0), Mutex::new(()));
        Ok(Self { binding, config, app, output, metrics, reporter, health, failures_in_a_row, probe })
    }

    /// The longest time that a drain takes.
    #[must_use]
    pub fn drain_limit(&self) -> Duration {
        Duration::from_millis(self.config.timeout_millis) + DRAIN_MARGIN
    }

    /// Delivers messages until `token` is cancelled, then finishes the deliveries in flight and commits.
    ///
    /// # Errors
    /// The consumer's configuration was refused; nothing else ends it.
    pub async fn run(self: Arc<Self>, link: &Link, token: &CancellationToken) -> Result<()> {
        if self.binding.output.is_some() && !self.wait_until_wanted(token).await {
            return Ok(());
        }
        let receiver = Receiver::start(link, &self.binding, &self.config)?;
        tracing::info!(group = self.binding.group, "delivering messages");
        let deliveries = TaskTracker::new();
        tokio::join!(self.receive(&receiver, &deliveries, token), self.observe(&receiver, token));
        deliveries.close();
        receiver.shutdown(self.drain_limit()).await;
        deliveries.wait().await;
        self.record_status(&receiver);
        Ok(())
    }

    async fn receive(self: &Arc<Self>, receiver: &Receiver, deliveries: &TaskTracker, token: &CancellationToken) {
        let slots = Arc::new(Semaphore::new(usize::try_from(self.config.max_concurrency).unwrap_or(1).max(1)));
        let size = if self.config.batch { usize::try_from(self.config.batch_size).unwrap_or(1).max(1) } else { 1 };
        let slot = async || token.run_until_cancelled(Arc::clone(&slots).acquire_owned()).await?.ok();
        while let Some(mut slot_now) = slot().await {
            let received = receiver.recv_batch(size);
            let Some(received) = token.run_until_cancelled(received).await.filter(|received| !received.is_empty())
            else {
                return;
            };
            let mut groups = groups(received).into_iter().peekable();
            while let Some(group) = groups.next() {
                deliveries.spawn(Arc::clone(self).handle(group, slot_now, token.clone()));
                if groups.peek().is_none() {
                    break;
                }
                // Those that are left are dropped when the worker drains: they come again.
                let Some(next) = slot().await else { return };
                slot_now = next;
            }
        }
    }

    /// Delivers a message, or a batch of messages that come for the first time.
    async fn handle(self: Arc<Self>, group: Vec<Incoming>, _slot: OwnedSemaphorePermit, token: CancellationToken) {
        let Some(first) = group.first() else { return };
        let _in_flight: Vec<_> = group.iter().map(|_| self.metrics.input.start()).collect();
        let mut attempt = u32::try_from(first.message().reconsume_times).unwrap_or(0).saturating_add(1);
        loop {
            // What comes again by itself is not delivered here once more.
            if group.iter().any(Incoming::is_overdue) {
                return;
            }
            let started = Instant::now();
            let Err(failure) = self.deliver(&group, attempt - 1).await else {
                return self.acknowledge(group, started.elapsed());
            };
            group.iter().for_each(|delivery| self.note(&failure, delivery.message()));
            let next = match failure {
                Failure::Unreachable(_) => self.wait_for_app(&token).await,
                _ if attempt >= self.config.redelivery.max_attempts => {
                    return self.dead_letter_all(group, attempt).await;
                }
                _ if self.config.ordered => self.pause(attempt, &token).await,
                _ => return self.hand_back_all(group, attempt).await,
            };
            match (next, failure) {
                // Dropped without an answer: its offset is not committed, so another delivery follows.
                (Next::Done, _) => return,
                (Next::Again, Failure::Unreachable(_)) => {}
                (Next::Again, _) => attempt += 1,
            }
        }
    }

    /// Sends messages to the app, and what the app asks for in its answer to RocketMQ.
    async fn deliver(&self, group: &[Incoming], redeliveries: u32) -> std::result::Result<(), Failure> {
        let reply = match group {
            [one] if !self.config.batch => self.app.deliver(one.message(), redeliveries).await?,
            batch => self.app.deliver_batch(batch.iter().map(Incoming::message)).await?,
        };
        match (reply, group) {
            (Some(reply), [one]) => self.carry_out(reply, one.message()).await,
            _ => Ok(()),
        }
    }

    fn note(&self, failure: &Failure, message: &ReceivedMessage) {
        let report = self.app.report(failure, &self.app.target(&message.topic));
        let (topic, message_id) = (&*message.topic, &*message.message_id);
        tracing::debug!(topic, message_id, reason = report.reason, error = report.message, "delivery failed");
        self.metrics.input.fail(&report.reason);
        let failures = self.failures_in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= FAILING_AFTER || matches!(failure, Failure::Unreachable(_)) {
            self.health.set(Part::App, Some(report.clone()));
        }
        self.reporter.record_error(report);
    }

    async fn pause(&self, attempt: u32, token: &CancellationToken) -> Next {
        let pause = backoff::pause(&self.config.redelivery.backoff, attempt);
        match token.run_until_cancelled(tokio::time::sleep(pause)).await {
            Some(()) => Next::Again,
            None => Next::Done,
        }
    }
}
