//! What messages come from: a consumer of RocketMQ's remoting protocol, or one of the Aliyun MQ HTTP protocol.

use std::time::Duration;

use super::super::super::error::{Error, Result};
use super::super::link::Link;
use super::subscriptions;
use crate::rocketmq::{self, Consumer, ConsumerConfig, Delivery, ReceivedMessage, Redelivery, StartFrom};
use crate::rocketmq_http::{HttpConsumer, HttpConsumerConfig, HttpDelivery};
use crate::worker_config::binding::{self as config, BindingConfig, InputConfig};

/// Bytes of messages that may wait for a slot.
const BUFFERED_BYTES: usize = 16 * 1024 * 1024;
/// Seconds that a poll over HTTP waits for messages: shorter than idle limits of proxies, which begin at 30 s.
const WAIT_SECONDS: u64 = 20;
/// Most messages of one poll over HTTP.
const HTTP_BATCH: u32 = 16;

/// A consumer of a binding's group.
pub enum Receiver {
    /// RocketMQ's remoting protocol.
    Remoting(Consumer),
    /// The Aliyun MQ HTTP protocol.
    Http(HttpConsumer),
}

/// A message with the duty to settle it.
pub enum Incoming {
    /// From RocketMQ's remoting protocol.
    Remoting(Delivery),
    /// From the Aliyun MQ HTTP protocol.
    Http(Box<HttpDelivery>),
}

/// What a receiver is doing now.
#[derive(Debug, Default)]
pub struct ReceiverStatus {
    /// Queues that are read; over HTTP, topics.
    pub sources: usize,
    /// Whether anything is read, the group's own retry topic included.
    pub is_reading: bool,
    /// Messages that wait; none where nobody knows.
    pub lag: Option<u64>,
    /// What keeps some of the sources from being read.
    pub last_error: Option<rocketmq::Error>,
    /// What went wrong beside reading.
    pub last_refusal: Option<rocketmq::Error>,
}

impl Receiver {
    /// Joins the group and begins to read.
    ///
    /// # Errors
    /// The configuration was refused.
    pub fn start(link: &Link, binding: &BindingConfig, input: &InputConfig) -> Result<Self> {
        let started = match link {
            Link::Remoting(client) => Consumer::start(client, remoting(binding, input)).map(Self::Remoting),
            Link::Http(client) => HttpConsumer::start(client, http(binding, input)).map(Self::Http),
        };
        started.map_err(|source| Error::RocketMq { what: "failed to start the consumer", source })
    }

    /// Waits for a message and gives it with those that are there already, `max` at most; empty when it ends.
    pub async fn recv_batch(&self, max: usize) -> Vec<Incoming> {
        match self {
            Self::Remoting(consumer) => consumer.recv_batch(max).await.into_iter().map(Incoming::Remoting).collect(),
            Self::Http(consumer) => {
                let deliveries = consumer.recv_batch(max).await.into_iter();
                deliveries.map(|delivery| Incoming::Http(Box::new(delivery))).collect()
            }
        }
    }

    /// What it is doing now.
    #[must_use]
    pub fn status(&self) -> ReceiverStatus {
        match self {
            Self::Remoting(consumer) => {
                let status = consumer.status();
                // The group's retry topic is the consumer's own affair.
                let sources = status.queues.iter().filter(|queue| !queue.topic.starts_with("%RETRY%")).count();
                ReceiverStatus {
                    sources,
                    is_reading: !status.queues.is_empty(),
                    lag: status.lag,
                    last_error: status.last_error,
                    last_refusal: None,
                }
            }
            Self::Http(consumer) => {
                let status = consumer.status();
                ReceiverStatus {
                    sources: status.topics,
                    is_reading: status.topics > 0,
                    lag: None,
                    last_error: status.last_error,
                    last_refusal: status.last_refusal,
                }
            }
        }
    }

    /// Leaves the group, after up to `drain` for what is open.
    pub async fn shutdown(&self, drain: Duration) {
        match self {
            Self::Remoting(consumer) => consumer.shutdown(drain).await,
            Self::Http(consumer) => consumer.shutdown(drain).await,
        }
    }
}

impl Incoming {
    /// The message.
    #[must_use]
    pub fn message(&self) -> &ReceivedMessage {
        match self {
            Self::Remoting(delivery) => delivery.message(),
            Self::Http(delivery) => delivery.message(),
        }
    }

    /// Whether it is delivered again by now, so that it is to be dropped here.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        match self {
            Self::Remoting(_) => false,
            Self::Http(delivery) => delivery.is_overdue(),
        }
    }

    /// The message is done.
    pub fn ack(self) {
        match self {
            Self::Remoting(delivery) => delivery.ack(),
            Self::Http(delivery) => delivery.ack(),
        }
    }

    /// The message is to be delivered again. Over HTTP the service alone decides when.
    ///
    /// # Errors
    /// The broker did not take it back; it is delivered again all the same.
    pub async fn nack(self, redelivery: Redelivery) -> rocketmq::Result<()> {
        match self {
            Self::Remoting(delivery) => delivery.nack(redelivery).await,
            Self::Http(_) => Ok(()),
        }
    }

    /// Moves the message to the group's dead-letter topic. Over HTTP the service alone does that, after its own number of
    /// deliveries.
    ///
    /// # Errors
    /// The broker did not take it; it is delivered again.
    pub async fn dead_letter(self) -> rocketmq::Result<()> {
        match self {
            Self::Remoting(delivery) => delivery.dead_letter().await,
            Self::Http(_) => Ok(()),
        }
    }
}

fn remoting(binding: &BindingConfig, input: &InputConfig) -> ConsumerConfig {
    let mut config = ConsumerConfig::new(&binding.group, subscriptions(binding));
    let (batch, slots) = (input.batch_size.max(1), usize::try_from(input.max_concurrency).unwrap_or(1));
    config.start_from = match input.start_from {
        config::StartFrom::First => StartFrom::First,
        config::StartFrom::Last => StartFrom::Last,
        config::StartFrom::Timestamp(millis) => StartFrom::Timestamp(millis),
    };
    config.ordered = input.ordered;
    config.pull_batch_size = i32::try_from(batch).unwrap_or(i32::MAX);
    // Enough to keep the slots busy while the next pull is under way.
    config.max_in_flight_messages = (2 * slots).max(2 * usize::try_from(batch).unwrap_or(1)).max(64);
    config.max_in_flight_bytes = BUFFERED_BYTES;
    config.max_reconsume_times = i32::try_from(input.redelivery.max_attempts).unwrap_or(i32::MAX);
    config
}

fn http(binding: &BindingConfig, input: &InputConfig) -> HttpConsumerConfig {
    let topics = binding.topics.iter().map(|topic| {
        let tags = topic.expression.clone().filter(|expression| !matches!(expression.as_str(), "*" | ""));
        (topic.topic.clone(), tags)
    });
    HttpConsumerConfig {
        group: binding.group.clone(),
        topics: topics.collect(),
        batch: input.batch_size.clamp(1, HTTP_BATCH),
        wait_seconds: WAIT_SECONDS,
        ordered: input.ordered,
        // What waits here is on the service's clock: no more than the slots take next.
        buffer: usize::try_from(input.max_concurrency).unwrap_or(1),
    }
}
