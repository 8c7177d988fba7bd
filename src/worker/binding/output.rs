//! The output binding: publishes the body of a `create` to the binding's topics, or to those that the request names.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use bytes::Bytes;
use futures::future::join_all;

use super::super::error::rocketmq_report;
use super::super::metrics::DirectionMetrics;
use super::super::report::Reporter;
use super::health::{Health, Part};
use super::link::{Publisher, Stored};
use super::request::{Invalid, Publication};
use crate::rocketmq::{self, ErrorKind, Message};
use crate::worker_config::binding::BindingConfig;

/// Publishes messages of one binding.
pub struct Output {
    binding: Arc<BindingConfig>,
    /// Replaced when the client is built anew; none until the first one is.
    publisher: RwLock<Option<Publisher>>,
    metrics: DirectionMetrics,
    reporter: Reporter,
    health: Arc<Health>,
}

/// A topic, and what its broker or the endpoint said.
pub type TopicOutcome = (String, rocketmq::Result<Stored>);

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The request asks for something that cannot be done.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// The files of credentials or certificates have not been readable yet.
    #[error("not connected yet; GET /status on the admin port says what is missing")]
    NotConnected,
}

impl Output {
    /// An output that is not connected yet.
    #[must_use]
    pub fn new(
        binding: Arc<BindingConfig>,
        metrics: DirectionMetrics,
        reporter: Reporter,
        health: Arc<Health>,
    ) -> Self {
        Self { binding, publisher: RwLock::new(None), metrics, reporter, health }
    }

    /// The binding's configuration.
    #[must_use]
    pub fn binding(&self) -> &BindingConfig {
        &self.binding
    }

    /// Publishes with `publisher` from now on; gives the one before back.
    pub fn set_publisher(&self, publisher: Option<Publisher>) -> Option<Publisher> {
        std::mem::replace(&mut *self.publisher.write().unwrap_or_else(PoisonError::into_inner), publisher)
    }

    fn publisher(&self) -> Option<Publisher> {
        self.publisher.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Publishes `body` to each topic of `publication`, all at the same time. The outcomes are in the order of the topics.
    ///
    /// # Errors
    /// Nothing was sent: the request is invalid, or there is no connection yet.
    pub async fn publish(&self, publication: &Publication, body: Bytes) -> Result<Vec<TopicOutcome>, PublishError> {
        let targets = publication.targets(&self.binding)?;
        let publisher = self.publisher().ok_or(PublishError::NotConnected)?;
        let sends = targets.into_iter().map(async |target| {
            let message = publication.message(&target, body.clone());
            (target.topic, self.send(&publisher, message).await)
        });
        Ok(join_all(sends).await)
    }

    /// Stores a message that is no publication of a caller, such as a dead letter.
    ///
    /// # Errors
    /// There is no connection, or what the broker says.
    pub async fn forward(&self, message: Message) -> rocketmq::Result<Stored> {
        let not_connected = || rocketmq::Error::new(ErrorKind::Closed, "not connected yet");
        self.publisher().ok_or_else(not_connected)?.send(message).await
    }

    async fn send(&self, publisher: &Publisher, message: Message) -> rocketmq::Result<Stored> {
        let _in_flight = self.metrics.start();
        let started = Instant::now();
        let outcome = publisher.send(message).await;
        match &outcome {
            Ok(_) => {
                self.metrics.succeed(started.elapsed());
                self.health.clear(Part::Producer);
            }
            Err(error) => self.note(error),
        }
        outcome
    }

    fn note(&self, error: &rocketmq::Error) {
        let report = rocketmq_report("failed to publish", error);
        tracing::debug!(%error, reason = report.reason, "publication failed");
        self.metrics.fail(&report.reason);
        // What only this caller can mend says nothing about the binding.
        if !matches!(error.kind(), ErrorKind::InvalidMessage | ErrorKind::MessageTooLarge) {
            self.health.set(Part::Producer, Some(report.clone()));
        }
        self.reporter.record_error(report);
    }
}
