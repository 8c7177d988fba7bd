//! Topics of a RocketMQ cluster as source: a member of a consumer group whose deliveries stay open until the target has them.
//!
//! A queue is a partition. Its pull hands messages over in order, and its committed offset is the first one that is not
//! acknowledged, so a crash at any moment repeats messages and loses none.

mod discovery;
mod heartbeat;
mod open;
#[cfg(test)]
mod owners_tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::rocketmq::property;
use crate::rocketmq::{
    Client, Consumer, ConsumerConfig, Delivery, Filter, Queue, ReceivedMessage, StartFrom, Subscription,
};
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::{FilterConfig, RocketMqSourceConfig, StartOffset, SyncStart};

use super::super::error::rocketmq_report;
use super::super::record::{MessageParts, Operation, Payload, Position, QueueOf, Record};
use super::super::sync::Setting;
use super::super::sync::cluster::{self, Followed};
use super::{ReadError, Source, SourceStatus};
use discovery::Discovery;
use heartbeat::Beats;
use open::Open;

/// How long acknowledgements may take when the source is closed.
const DRAIN: Duration = Duration::from_secs(5);
/// Batches of one writer that may be open: one gathers, one waits, and one is being written. One more is being pulled for all of them.
const OPEN_BATCHES: usize = 3;
/// Fewest messages and bytes that may be open.
const OPEN_MESSAGES: usize = 2048;
const OPEN_BYTES: usize = 8 * 1024 * 1024;

/// Messages do not tell which of their fields identify them.
static NO_KEYS: LazyLock<Arc<[String]>> = LazyLock::new(|| Arc::from([]));

/// A consumer whose messages are records.
pub struct RocketMqSource {
    cluster: Followed,
    consumer: Arc<Consumer>,
    group: String,
    beats: Option<Beats>,
    open: Mutex<Open>,
    /// Ends what looks for topics and heartbeats.
    stop: CancellationToken,
}

impl RocketMqSource {
    /// Joins the consumer group.
    ///
    /// # Errors
    /// A file or the cluster cannot be read, there is no topic yet, or the configuration was refused.
    pub async fn open(setting: &Setting, config: &RocketMqSourceConfig) -> Result<Self, ReportedError> {
        let cluster = cluster::connect(setting, &config.cluster, "the source").await?;
        let begun = async {
            let (subscriptions, discovery) = subscriptions(setting, config, cluster.client()).await?;
            let started = Consumer::start(cluster.client(), consumer_config(setting, config, subscriptions));
            let consumer = started.map_err(|error| rocketmq_report("failed to start the consumer", &error))?;
            Ok((Arc::new(consumer), discovery))
        };
        let (consumer, discovery) = match begun.await {
            Ok(begun) => begun,
            Err(error) => {
                cluster.close().await;
                return Err(error);
            }
        };
        let stop = setting.session.child_token();
        if let Some(discovery) = discovery {
            let (client, consumer) = (cluster.client().clone(), Arc::clone(&consumer));
            tokio::spawn(discovery.follow(client, consumer, setting.clone(), stop.clone()));
        }
        let beats = config.heartbeat.as_ref().map(|config| Beats::follow(cluster.client(), config, &stop));
        Ok(Self { cluster, consumer, group: config.group.clone(), beats, open: Mutex::default(), stop })
    }

    /// The client of the cluster.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.cluster.client()
    }

    /// The queues that are read here, their topics with the namespace, and the offset up to which each is acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> Vec<(Queue, i64)> {
        let queues = self.consumer.status().queues.into_iter();
        let known = queues.filter(|queue| queue.acknowledged >= 0 && !queue.topic.starts_with("%RETRY%"));
        known
            .map(|status| {
                let (topic, broker_name, queue_id) = (status.topic, status.broker_name, status.queue_id);
                (Queue { topic: topic.into(), broker_name: broker_name.into(), queue_id }, status.acknowledged)
            })
            .collect()
    }

    fn keep(&self, deliveries: Vec<Delivery>) -> Vec<Record> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut numbers: HashMap<Arc<str>, Option<QueueOf>> = HashMap::new();
        let mut records = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let message = delivery.message();
            let partition = open.partition(message, &self.group);
            let queue = *numbers.entry(Arc::clone(&partition)).or_insert_with(|| self.number(message));
            let offset = u64::try_from(message.queue_offset).unwrap_or_default();
            let position = Position { partition: Arc::clone(&partition), offset, index: 0, epoch: delivery.epoch() };
            records.push(record(message, position, queue));
            open.push(partition, offset, delivery);
        }
        records
    }

    fn number(&self, message: &ReceivedMessage) -> Option<QueueOf> {
        let queues = self.cluster.client().known_queues(&message.topic)?;
        let at = queues
            .iter()
            .position(|queue| queue.broker_name == message.broker_name && queue.queue_id == message.queue_id)?;
        Some(QueueOf { number: u32::try_from(at).ok()?, count: u32::try_from(queues.len()).ok()? })
    }
}

impl Source for RocketMqSource {
    async fn read(&self, max: usize) -> Result<Vec<Record>, ReadError> {
        let deliveries = self.consumer.recv_batch(max.max(1)).await;
        Ok(self.keep(deliveries))
    }

    fn acknowledge(&self, positions: &[Position]) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        positions.iter().for_each(|position| open.acknowledge(position));
    }

    fn set_aside(&self, positions: &[Position]) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        positions.iter().for_each(|position| open.set_aside(position));
    }

    fn is_held(&self, position: &Position) -> bool {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).is_held(position)
    }

    fn read_again(&self, position: &Position) -> bool {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).read_again(position);
        true
    }

    fn status(&self) -> SourceStatus {
        let status = self.consumer.status();
        // The group's retry topic is the consumer's own affair.
        let queues = status.queues.iter().filter(|queue| !queue.topic.starts_with("%RETRY%")).count();
        // What the target gathers does not wait at the source.
        let aside = self.open.lock().unwrap_or_else(PoisonError::into_inner).aside_count();
        SourceStatus {
            partitions: u32::try_from(queues).unwrap_or(u32::MAX),
            lag: status.lag.map(|lag| lag.saturating_sub(aside)),
            trouble: status.last_error.map(|error| rocketmq_report("failed to read from RocketMQ", &error)),
            tables: Vec::new(),
            waiting_beat_millis: self.beats.as_ref().and_then(Beats::waiting),
        }
    }

    async fn beat(&self) -> i64 {
        match &self.beats {
            Some(beats) => beats.next().await,
            None => std::future::pending().await,
        }
    }

    async fn close(&self) {
        self.stop.cancel();
        // Before the open deliveries are dropped the consumer must know that it leaves, or they would be repeated here.
        let leaving = self.consumer.shutdown(DRAIN);
        let let_go = async {
            tokio::task::yield_now().await;
            self.open.lock().unwrap_or_else(PoisonError::into_inner).let_go();
        };
        tokio::join!(leaving, let_go);
        self.cluster.close().await;
    }
}

/// What is read at first, and what goes on looking for more.
async fn subscriptions(
    setting: &Setting,
    config: &RocketMqSourceConfig,
    client: &Client,
) -> Result<(Vec<Subscription>, Option<Discovery>), ReportedError> {
    let filter = match &config.filter {
        FilterConfig::All => Filter::All,
        FilterConfig::Tags(tags) => Filter::Tags(tags.clone()),
        FilterConfig::Sql(expression) => Filter::Sql(expression.clone()),
    };
    let Some(mut discovery) = Discovery::of(setting, config, &filter)? else {
        // A topic that is named twice would be refused.
        let topics: BTreeSet<&String> = config.topics.iter().collect();
        let one = |topic: &String| Subscription { topic: topic.clone(), filter: filter.clone(), start_from: None };
        return Ok((topics.into_iter().map(one).collect(), None));
    };
    let failed = |error| rocketmq_report("failed to look for topics", &error);
    discovery.take_up(&client.admin().user_topics().await.map_err(failed)?);
    // A group that has been here before has committed what it read: a topic without an offset came while it was away.
    let is_known = setting.has_waited.load(Ordering::Relaxed)
        || client.admin().has_had_members(&config.group).await.map_err(failed)?;
    let subscriptions = discovery.subscriptions(is_known.then_some(&StartFrom::First));
    if subscriptions.is_empty() {
        setting.has_waited.store(true, Ordering::Relaxed);
        return Err(discovery.nothing());
    }
    Ok((subscriptions, Some(discovery)))
}

fn consumer_config(
    setting: &Setting,
    config: &RocketMqSourceConfig,
    subscriptions: Vec<Subscription>,
) -> ConsumerConfig {
    let batch = &setting.config.batch;
    let batches = OPEN_BATCHES * setting.config.writers.max(1) + 1;
    let in_batches = |bound: u64| usize::try_from(bound).unwrap_or(usize::MAX).saturating_mul(batches);
    let mut consumer = ConsumerConfig::new(&config.group, subscriptions);
    consumer.max_in_flight_messages = in_batches(batch.max_records.into()).max(OPEN_MESSAGES);
    consumer.max_in_flight_bytes = in_batches(batch.max_bytes).max(OPEN_BYTES);
    consumer.pull_batch_size = 128;
    consumer.start_from = match &config.start_from {
        SyncStart::First => StartFrom::First,
        SyncStart::Last => StartFrom::Last,
        SyncStart::Timestamp(millis) => StartFrom::Timestamp(*millis),
        SyncStart::Offsets(given) => StartFrom::Offsets(offsets(given)),
    };
    consumer
}

/// Given offsets by queue.
fn offsets(offsets: &[StartOffset]) -> Arc<BTreeMap<Queue, i64>> {
    let entry = |start: &StartOffset| {
        let StartOffset { topic, broker, queue, offset } = start.clone();
        (Queue { topic: topic.into(), broker_name: broker.into(), queue_id: queue }, offset)
    };
    Arc::new(offsets.iter().map(entry).collect())
}

/// The record of a message that stands at `position`.
#[must_use]
pub fn record(message: &ReceivedMessage, position: Position, queue: Option<QueueOf>) -> Record {
    Record {
        position,
        entity: message.topic.clone(),
        operation: Operation::Insert,
        payload: Payload::Raw(message.body.clone()),
        before: None,
        key_fields: Arc::clone(&NO_KEYS),
        message: MessageParts {
            id: message.message_id.clone(),
            has_own_id: message.system_properties.contains_key(property::UNIQUE_KEY),
            tag: message.tag.clone(),
            keys: message.keys.clone(),
            properties: message.properties.clone(),
            sharding_key: message.sharding_key.clone(),
            queue,
            born_millis: message.born_timestamp,
            stored_millis: message.store_timestamp,
        },
        at_millis: message.store_timestamp,
        original: Some(message.body.clone()),
        is_changed: false,
    }
}
