//! The output binding: publishes the body of a `create` to the binding's topics, or to those that the request names.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use bytes::Bytes;
use futures::future::join_all;

use super::super::error::rocketmq_report;
use super::super::metrics::DirectionMetrics;
use super::super::report::Reporter;
use super::health::{Health, Part};
use super::request::{Invalid, Publication, Target};
use crate::rocketmq::{self, ErrorKind, Message, Producer, SendReceipt};
use crate::worker_config::binding::BindingConfig;

/// Publishes messages of one binding.
pub struct Output {
    binding: Arc<BindingConfig>,
    /// Replaced when the client is built anew; none until the first one is.
    producer: RwLock<Option<Producer>>,
    metrics: DirectionMetrics,
    reporter: Reporter,
    health: Arc<Health>,
}

/// Why a publication failed, wholly or for some topics.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The request asks for something that cannot be done.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// The files of credentials or certificates have not been readable yet.
    #[error("not connected yet; GET /status on the admin port says what is missing")]
    NotConnected,
    /// The broker did not store the message for some topics.
    #[error("send failed err:{}", .0.join("; "))]
    Send(Vec<String>),
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
        Self { binding, producer: RwLock::new(None), metrics, reporter, health }
    }

    /// The binding's configuration.
    #[must_use]
    pub fn binding(&self) -> &BindingConfig {
        &self.binding
    }

    /// Publishes with `producer` from now on; gives the one before back.
    pub fn set_producer(&self, producer: Option<Producer>) -> Option<Producer> {
        std::mem::replace(&mut *self.producer.write().unwrap_or_else(PoisonError::into_inner), producer)
    }

    /// Publishes `body` to each topic of `publication`, all at the same time. The receipts are in the order of the topics.
    ///
    /// # Errors
    /// The request is invalid: then nothing was sent. Or a topic's broker did not store it: the message then says which
    /// topics failed, with the remedy, and which have it.
    pub async fn publish(&self, publication: &Publication, body: Bytes) -> Result<Vec<SendReceipt>, PublishError> {
        let targets = publication.targets(&self.binding)?;
        let producer = self.producer.read().unwrap_or_else(PoisonError::into_inner).clone();
        let producer = producer.ok_or(PublishError::NotConnected)?;
        let sends = targets.iter().map(|target| self.send(&producer, publication.message(target, body.clone())));
        summarize(&targets, join_all(sends).await)
    }

    async fn send(&self, producer: &Producer, message: Message) -> rocketmq::Result<SendReceipt> {
        let _in_flight = self.metrics.start();
        let started = Instant::now();
        let outcome = producer.send(message).await;
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

fn summarize(
    targets: &[Target],
    outcomes: Vec<rocketmq::Result<SendReceipt>>,
) -> Result<Vec<SendReceipt>, PublishError> {
    if outcomes.iter().all(Result::is_ok) {
        return Ok(outcomes.into_iter().flatten().collect());
    }
    let is_single = targets.len() == 1;
    let lines = targets.iter().zip(outcomes).map(|(target, outcome)| match outcome {
        Err(error) if is_single => format!("{error}; {}", error.remedy()),
        Err(error) => format!("topic {}: {error}; {}", target.topic, error.remedy()),
        Ok(receipt) => format!("topic {}: stored as {}", target.topic, receipt.message_id),
    });
    Err(PublishError::Send(lines.collect()))
}
