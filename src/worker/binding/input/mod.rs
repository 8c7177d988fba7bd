//! The input binding: one consumer, and up to `max_concurrency` deliveries to the app at the same time.
//!
//! ```text
//! Consumer::recv ─▸ slot (semaphore) ─▸ App::deliver ─┬▸ 2xx                ack
//!                                                     ├▸ no connection      keep it, probe the app, deliver again
//!                                                     ├▸ anything else      nack with the configured wait (ordered: retry in place)
//!                                                     └▸ the last attempt   dead-letter topic
//! ```
//! A slow app fills the slots, full slots stop `recv`, and the consumer's own bounds stop the pull: memory stays bounded.
//! A message is retried in this process only while it holds its queue (ordered) or while the app cannot be reached.

mod settle;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::error::{Error, Result};
use super::super::metrics::BindingMetrics;
use super::super::report::Reporter;
use super::app::{App, Failure};
use super::backoff;
use super::health::{Health, Part};
use super::output::Output;
use crate::rocketmq::{self, Client, Consumer, ConsumerConfig, Delivery, ReceivedMessage, Subscription};
use crate::worker_config::binding::{BindingConfig, InputConfig, StartFrom, TopicConfig};

/// Failed deliveries in a row after which the worker counts as failing.
const FAILING_AFTER: u32 = 10;
/// Bytes of messages that may wait for a slot.
const BUFFERED_BYTES: usize = 16 * 1024 * 1024;
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
fn groups(received: Vec<Delivery>) -> Vec<Vec<Delivery>> {
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
    pub async fn run(self: Arc<Self>, client: &Client, token: &CancellationToken) -> Result<()> {
        if self.binding.output.is_some() && !self.wait_until_wanted(token).await {
            return Ok(());
        }
        let started = Consumer::start(client, self.consumer_config());
        let consumer = started.map_err(|source| Error::RocketMq { what: "failed to start the consumer", source })?;
        tracing::info!(group = self.binding.group, "delivering messages");
        let deliveries = TaskTracker::new();
        tokio::join!(self.receive(&consumer, &deliveries, token), self.observe(&consumer, token));
        deliveries.close();
        consumer.shutdown(self.drain_limit()).await;
        deliveries.wait().await;
        self.record_status(&consumer);
        Ok(())
    }

    fn consumer_config(&self) -> ConsumerConfig {
        let mut config = ConsumerConfig::new(&self.binding.group, subscriptions(&self.binding));
        let (batch, slots) = (self.config.batch_size.max(1), usize::try_from(self.config.max_concurrency).unwrap_or(1));
        config.start_from = match self.config.start_from {
            StartFrom::First => rocketmq::StartFrom::First,
            StartFrom::Last => rocketmq::StartFrom::Last,
            StartFrom::Timestamp(millis) => rocketmq::StartFrom::Timestamp(millis),
        };
        config.ordered = self.config.ordered;
        config.pull_batch_size = i32::try_from(batch).unwrap_or(i32::MAX);
        // Enough to keep the slots busy while the next pull is under way.
        config.max_in_flight_messages = (2 * slots).max(2 * usize::try_from(batch).unwrap_or(1)).max(64);
        config.max_in_flight_bytes = BUFFERED_BYTES;
        config.max_reconsume_times = i32::try_from(self.config.redelivery.max_attempts).unwrap_or(i32::MAX);
        config
    }

    async fn receive(self: &Arc<Self>, consumer: &Consumer, deliveries: &TaskTracker, token: &CancellationToken) {
        let slots = Arc::new(Semaphore::new(usize::try_from(self.config.max_concurrency).unwrap_or(1).max(1)));
        let size = if self.config.batch { usize::try_from(self.config.batch_size).unwrap_or(1).max(1) } else { 1 };
        let slot = async || token.run_until_cancelled(Arc::clone(&slots).acquire_owned()).await?.ok();
        while let Some(mut slot_now) = slot().await {
            let received = consumer.recv_batch(size);
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
    async fn handle(self: Arc<Self>, group: Vec<Delivery>, _slot: OwnedSemaphorePermit, token: CancellationToken) {
        let Some(first) = group.first() else { return };
        let _in_flight: Vec<_> = group.iter().map(|_| self.metrics.input.start()).collect();
        let mut attempt = u32::try_from(first.message().reconsume_times).unwrap_or(0).saturating_add(1);
        loop {
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
    async fn deliver(&self, group: &[Delivery], redeliveries: u32) -> std::result::Result<(), Failure> {
        let reply = match group {
            [one] if !self.config.batch => self.app.deliver(one.message(), redeliveries).await?,
            batch => self.app.deliver_batch(batch.iter().map(Delivery::message)).await?,
        };
        match (reply, group) {
            (Some(reply), [one]) => self.carry_out(reply, one.message()).await,
            _ => Ok(()),
        }
    }

    fn note(&self, failure: &Failure, message: &ReceivedMessage) {
        let report = self.app.report(failure, &self.app.target(&message.topic));
        let (topic, message_id) = (message.topic.as_str(), message.message_id.as_str());
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
