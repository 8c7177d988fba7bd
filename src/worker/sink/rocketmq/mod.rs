//! Topics of a RocketMQ cluster as target.
//!
//! The messages of a batch leave together, one request at a time in each queue, so the order of a source queue is kept: its
//! messages share a queue of the target. Tag, keys, user properties, sharding key, message id and time of birth are kept;
//! what the protocol cannot carry is in properties of ours.

mod message;

use bytestring::ByteString;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::error::{reported, rocketmq_report};
use super::super::record::{Position, Record};
use super::super::sync::Setting;
use super::super::sync::cluster::{self, Followed};
use super::{Sink, WriteError, Written};
use crate::rocketmq::route::Queue;
use crate::rocketmq::{Error, ErrorKind, Message, Producer, ProducerConfig, SendReceipt};
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::RocketMqTargetConfig;
pub use message::{BORN_PROPERTY, Composer, ORIGIN_PROPERTY};

/// How long a lane tries again in its place, which keeps its order, before the pipeline tells that the target fails.
const SEND_TIMEOUT: Duration = Duration::from_secs(20);
/// Queues of a topic that is created for records whose source has no queues.
const DEFAULT_QUEUES: u32 = 8;
/// Read and write.
const PERMISSION: i32 = 6;

/// A producer for records.
pub struct RocketMqSink {
    cluster: Followed,
    producer: Producer,
    config: RocketMqTargetConfig,
    composer: Composer,
    /// Newest position of each partition that the target has of the batch that is being tried.
    done: HashMap<Arc<str>, Position>,
    /// Records of that batch whose earlier write ended without an answer.
    resent: u64,
    /// Topics that are known to exist, where missing ones are created.
    existing: HashSet<String>,
}

impl RocketMqSink {
    /// Connects to the cluster.
    ///
    /// # Errors
    /// A file or the cluster cannot be read, or the configuration was refused.
    pub async fn open(setting: &Setting, config: &RocketMqTargetConfig) -> Result<Self, ReportedError> {
        let cluster = cluster::connect(setting, &config.cluster, "the target").await?;
        let mut settings = ProducerConfig::new(&config.group);
        (settings.send_timeout, settings.retries) = (SEND_TIMEOUT, u32::MAX);
        let producer = Producer::new(cluster.client(), settings)
            .map_err(|error| rocketmq_report("the target: failed to build the producer", &error))?;
        let composer = Composer::new(&setting.config, config)
            .map_err(|error| reported("InvalidWorkerConfig", error.to_string(), "correct target.topicMapping"))?;
        let (done, existing) = (HashMap::new(), HashSet::new());
        Ok(Self { cluster, producer, config: config.clone(), composer, done, resent: 0, existing })
    }

    /// Queues of every topic of the batch; missing topics are created when that is asked for.
    async fn queues(
        &mut self,
        topics: BTreeMap<ByteString, u32>,
    ) -> Result<HashMap<ByteString, Arc<[Queue]>>, WriteError> {
        let mut queues = HashMap::new();
        for (topic, count) in topics {
            let ready = self.ensure(&topic, count).await;
            let found = match ready {
                Ok(()) => self.producer.queues(&topic).await,
                Err(error) => Err(error),
            };
            let found = found.map_err(|error| unavailable(&topic, &error))?;
            queues.insert(topic, found);
        }
        Ok(queues)
    }

    /// Creates a topic that is missing. Looked at before the first message, which brokers may take as a request to create the
    /// topic with a number of queues of their own.
    async fn ensure(&mut self, topic: &str, queues: u32) -> crate::rocketmq::Result<()> {
        if !self.config.create_topics || self.existing.contains(topic) {
            return Ok(());
        }
        let admin = self.cluster.client().admin();
        match admin.topic_route(topic).await {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::TopicNotFound => {
                let queues = i32::try_from(queues).unwrap_or(i32::MAX);
                admin.create_topic(topic, queues, PERMISSION).await?;
                admin.topic_route(topic).await?;
                tracing::info!(topic, queues, "the missing target topic was created");
            }
            Err(error) => return Err(error),
        }
        self.existing.insert(topic.to_owned());
        Ok(())
    }

    /// Notes what the target has, and gives the first failure with its place in the batch.
    fn settle(
        &mut self,
        batch: &[Record],
        sent: &[usize],
        results: Vec<crate::rocketmq::Result<SendReceipt>>,
    ) -> Option<(usize, Error)> {
        let mut failures: HashSet<Arc<str>> = HashSet::new();
        let mut first = None;
        for (index, result) in sent.iter().zip(results) {
            let position = &batch[*index].position;
            let has_failed = failures.contains(&position.partition);
            match result {
                Ok(_) if !has_failed => {
                    self.done.insert(Arc::clone(&position.partition), position.clone());
                }
                // Behind one that failed: it goes again after it, so that the last word is the last one.
                Ok(_) => self.resent += 1,
                Err(error) => {
                    let unknown = matches!(error.kind(), ErrorKind::Timeout | ErrorKind::ConnectionLost);
                    self.resent += u64::from(unknown);
                    failures.insert(Arc::clone(&position.partition));
                    first.get_or_insert((*index, error));
                }
            }
        }
        first
    }
}

impl Sink for RocketMqSink {
    async fn write(&mut self, batch: &[Record]) -> Result<Written, WriteError> {
        let mut written = Written::default();
        let (mut composed, mut topics) = (Vec::with_capacity(batch.len()), BTreeMap::<ByteString, u32>::new());
        for (index, record) in batch.iter().enumerate() {
            if self.done.get(&record.position.partition).is_some_and(|done| record.position <= *done) {
                written.written += 1;
                continue;
            }
            let message = self.composer.compose(record).map_err(|invalid| WriteError::Invalid {
                index,
                reason: invalid.reason,
                message: invalid.message,
                remedy: invalid.remedy,
            })?;
            let Some(message) = message else {
                written.left_out += 1;
                continue;
            };
            let count = record.message.queue.map_or(DEFAULT_QUEUES, |queue| queue.count);
            topics.entry(message.topic.clone()).and_modify(|most| *most = (*most).max(count)).or_insert(count);
            composed.push((index, message));
        }
        let queues = self.queues(topics).await?;
        let (mut sent, mut messages) =
            (Vec::with_capacity(composed.len()), Vec::<Message>::with_capacity(composed.len()));
        for (index, mut message) in composed {
            if let Some(queues) = queues.get(&message.topic) {
                self.composer.choose_queue(&batch[index], &mut message, queues);
            }
            sent.push(index);
            messages.push(message);
        }
        let results = self.producer.send_batch(messages).await;
        if let Some((index, error)) = self.settle(batch, &sent, results) {
            return Err(failure(index, &batch[index], &error));
        }
        written.written += u64::try_from(sent.len()).unwrap_or(u64::MAX);
        written.resent = std::mem::take(&mut self.resent);
        self.done.clear();
        Ok(written)
    }

    async fn close(self) -> Result<(), WriteError> {
        self.producer.shutdown().await;
        self.cluster.close().await;
        Ok(())
    }
}

fn failure(index: usize, record: &Record, error: &Error) -> WriteError {
    match error.kind() {
        ErrorKind::InvalidMessage | ErrorKind::MessageTooLarge => {
            WriteError::Invalid { index, reason: error.reason(), message: error.to_string(), remedy: error.remedy() }
        }
        _ => unavailable(&record.entity, error),
    }
}

fn unavailable(topic: &str, error: &Error) -> WriteError {
    WriteError::Unavailable {
        reason: error.reason(),
        message: format!("failed to write to topic {topic}: {error}"),
        remedy: error.remedy(),
    }
}
