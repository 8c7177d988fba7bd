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

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::error::{Error, Result, reported, rocketmq_report};
use super::super::metrics::BindingMetrics;
use super::super::report::Reporter;
use super::app::{App, Failure};
use super::backoff;
use super::health::{Health, Part};
use crate::rocketmq::{self, Client, Consumer, ConsumerConfig, Delivery, Subscription};
use crate::worker_config::binding::{BindingConfig, InputConfig, StartFrom};
use crate::worker_config::report::ReportedError;

/// Failed deliveries in a row after which the worker counts as failing.
const FAILING_AFTER: u32 = 10;
/// First and longest wait between two looks for an app that does not answer.
const PROBE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// First and longest wait between two OPTIONS questions.
const ASK: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// Bytes of messages that may wait for a slot.
const BUFFERED_BYTES: usize = 16 * 1024 * 1024;
/// What a drain takes beyond the app's own time limit: acknowledgements and the commit of offsets.
const DRAIN_MARGIN: Duration = Duration::from_secs(5);

/// Delivers a binding's messages to its app.
pub struct Input {
    binding: Arc<BindingConfig>,
    config: InputConfig,
    app: App,
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

impl Input {
    /// An input for `config`, which is the input of `binding`.
    ///
    /// # Errors
    /// See [`App::new`].
    pub fn new(
        binding: Arc<BindingConfig>,
        config: InputConfig,
        metrics: BindingMetrics,
        reporter: Reporter,
        health: Arc<Health>,
    ) -> Result<Self> {
        let app = App::new(&binding, &config)?;
        let (failures_in_a_row, probe) = (AtomicU32::new(0), Mutex::new(()));
        Ok(Self { binding, config, app, metrics, reporter, health, failures_in_a_row, probe })
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
        tracing::info!(group = self.binding.group, app = %self.app.uri(), "delivering messages");
        let deliveries = TaskTracker::new();
        tokio::join!(self.receive(&consumer, &deliveries, token), self.observe(&consumer, token));
        deliveries.close();
        consumer.shutdown(self.drain_limit()).await;
        deliveries.wait().await;
        self.record_status(&consumer);
        Ok(())
    }

    fn consumer_config(&self) -> ConsumerConfig {
        let subscriptions = self.binding.topics.iter().map(|topic| match topic.expression.as_deref() {
            None | Some("*" | "") => Subscription::all(&topic.topic),
            Some(expression) => Subscription::tags(&topic.topic, expression),
        });
        let mut config = ConsumerConfig::new(&self.binding.group, subscriptions.collect());
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
        let next = async || {
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((consumer.recv().await?, slot))
        };
        while let Some(Some((delivery, slot))) = token.run_until_cancelled(next()).await {
            deliveries.spawn(Arc::clone(self).handle(delivery, slot, token.clone()));
        }
    }

    async fn handle(self: Arc<Self>, delivery: Delivery, _slot: OwnedSemaphorePermit, token: CancellationToken) {
        let _in_flight = self.metrics.input.start();
        let mut attempt = u32::try_from(delivery.message().reconsume_times).unwrap_or(0).saturating_add(1);
        loop {
            let started = Instant::now();
            let Err(failure) = self.app.deliver(delivery.message(), attempt - 1).await else {
                delivery.ack();
                self.metrics.input.succeed(started.elapsed());
                self.failures_in_a_row.store(0, Ordering::Relaxed);
                self.health.clear(Part::App);
                return;
            };
            self.note(&failure, delivery.message());
            let next = match failure {
                Failure::Unreachable(_) => self.wait_for_app(&token).await,
                _ if attempt >= self.config.redelivery.max_attempts => {
                    return self.dead_letter(delivery, attempt).await;
                }
                _ if self.config.ordered => self.pause(attempt, &token).await,
                _ => return self.hand_back(delivery, attempt).await,
            };
            match (next, failure) {
                // Dropped without an answer: its offset is not committed, so another delivery follows.
                (Next::Done, _) => return,
                (Next::Again, Failure::Unreachable(_)) => {}
                (Next::Again, _) => attempt += 1,
            }
        }
    }

    fn note(&self, failure: &Failure, message: &rocketmq::ReceivedMessage) {
        let report = failure.report(self.app.uri(), Duration::from_millis(self.config.timeout_millis));
        let (topic, message_id) = (message.topic.as_str(), message.message_id.as_str());
        tracing::debug!(topic, message_id, reason = report.reason, error = report.message, "delivery failed");
        self.metrics.input.fail(&report.reason);
        let failures = self.failures_in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= FAILING_AFTER || matches!(failure, Failure::Unreachable(_)) {
            self.health.set(Part::App, Some(report.clone()));
        }
        self.reporter.record_error(report);
    }

    async fn hand_back(&self, delivery: Delivery, attempt: u32) {
        match delivery.nack(backoff::redelivery(&self.config.redelivery.backoff, attempt)).await {
            Ok(()) => _ = self.metrics.redelivered.inc(),
            Err(error) => self.broker_failed("failed to hand a message back for redelivery", &error),
        }
    }

    async fn dead_letter(&self, delivery: Delivery, attempt: u32) {
        let (topic, message_id) = (delivery.message().topic.clone(), delivery.message().message_id.clone());
        match delivery.dead_letter().await {
            Ok(()) => {
                tracing::warn!(
                    topic,
                    message_id,
                    attempt,
                    group = self.binding.group,
                    "message moved to the dead-letter topic"
                );
                self.metrics.dead_lettered.inc();
            }
            Err(error) => self.broker_failed("failed to move a message to the dead-letter topic", &error),
        }
    }

    fn broker_failed(&self, what: &str, error: &rocketmq::Error) {
        tracing::warn!(%error, "{what}; it will be delivered again");
        self.metrics.input.fail(error.reason());
        self.reporter.record_error(rocketmq_report(what, error));
    }

    async fn pause(&self, attempt: u32, token: &CancellationToken) -> Next {
        let pause = backoff::pause(&self.config.redelivery.backoff, attempt);
        match token.run_until_cancelled(tokio::time::sleep(pause)).await {
            Some(()) => Next::Again,
            None => Next::Done,
        }
    }

    /// Waits until the app accepts a connection. One delivery probes; the others wait for it and find the app there.
    async fn wait_for_app(&self, token: &CancellationToken) -> Next {
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
    async fn wait_until_wanted(&self, token: &CancellationToken) -> bool {
        let mut wait = ASK.0;
        let ask = async {
            loop {
                let trouble = match self.app.wants_messages().await {
                    Ok(status) if status.is_success() || status == 405 => break,
                    Ok(status) => reported(
                        "AppNotSubscribed",
                        format!("the app answered {status} to OPTIONS {}, so no messages are read", self.app.uri()),
                        "answer 2xx or 405 there, or set spec.direction to Input, which asks nothing",
                    ),
                    Err(failure) => failure.report(self.app.uri(), Duration::from_millis(self.config.timeout_millis)),
                };
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

    /// Copies the consumer's state into report and metrics every second.
    async fn observe(&self, consumer: &Consumer, token: &CancellationToken) {
        while token.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await.is_some() {
            self.record_status(consumer);
        }
    }

    fn record_status(&self, consumer: &Consumer) {
        let status = consumer.status();
        // The group's retry topic is the consumer's own affair.
        let queues = status.queues.iter().filter(|queue| !queue.topic.starts_with("%RETRY%")).count();
        self.metrics.queues.set(i64::try_from(queues).unwrap_or(i64::MAX));
        self.metrics.lag.set(status.lag.map_or(-1, |lag| i64::try_from(lag).unwrap_or(i64::MAX)));
        let trouble = status.last_error.map(|error| rocketmq_report("failed to read from RocketMQ", &error));
        // With some queues the binding works, and with none it may be that others of its group have them all.
        match trouble {
            Some(trouble) if !status.queues.is_empty() => {
                self.health.clear(Part::Consumer);
                self.note_queue_trouble(trouble);
            }
            trouble => self.health.set(Part::Consumer, trouble),
        }
    }

    /// Reports a failure of some queues once, not every second that it lasts.
    fn note_queue_trouble(&self, trouble: ReportedError) {
        let known = self.reporter.current().last_error;
        if known.is_none_or(|known| known.message != trouble.message) {
            self.reporter.record_error(trouble);
        }
    }
}
