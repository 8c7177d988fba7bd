//! A member of a consumer group: its queues, limits and what brokers are told about it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::client::{Client, Inner, lock};
use super::super::error::Error;
use super::super::message_id::now_millis;
use super::super::producer::java_hash;
use super::super::route::Queue;
use super::assigned::{Assigned, GoOn};
use super::{ConsumerConfig, ConsumerStatus, Delivery, Filter, StartFrom, Subscription};

/// Whether a commit has been answered; locked while the first one is under way.
type FirstCommit = Arc<tokio::sync::Mutex<bool>>;

/// Prefix of the topic that holds a group's redeliveries.
const RETRY_PREFIX: &str = "%RETRY%";

/// Shared state of a consumer.
pub(crate) struct Member {
    pub config: ConsumerConfig,
    pub queues: Mutex<BTreeMap<Queue, Arc<Assigned>>>,
    pub rebalance_wanted: Notify,
    /// Permits for open deliveries.
    pub messages: Arc<Semaphore>,
    /// Permits for bytes of open deliveries.
    pub bytes: Arc<Semaphore>,
    pub deliveries: mpsc::Sender<Delivery>,
    /// Topics with the namespace; the group's retry topic is the last one in clustering mode.
    topics: Mutex<Vec<SubscribedTopic>>,
    /// By broker and topic.
    pub first_commits: Mutex<BTreeMap<(String, String), FirstCommit>>,
    client: Client,
    group: String,
    leaving: CancellationToken,
    stopped: CancellationToken,
    tasks: TaskTracker,
    /// The runtime that it was made in: deliveries may be dropped elsewhere.
    runtime: Handle,
    epochs: AtomicU64,
    open: AtomicUsize,
    settled: Notify,
    unregistered: AtomicBool,
    rebalanced: Notify,
    errors: Mutex<BTreeMap<String, Error>>,
}

/// A subscription as brokers see it.
#[derive(Debug, Clone)]
pub(crate) struct SubscribedTopic {
    /// Topic with the namespace.
    pub topic: String,
    pub filter: Filter,
    pub version: i64,
    pub is_retry: bool,
    /// Where its queues start without a committed offset; none is as the consumer's settings have it.
    start_from: Option<StartFrom>,
}

impl Member {
    pub fn new(client: &Client, config: ConsumerConfig, deliveries: mpsc::Sender<Delivery>) -> Arc<Self> {
        let group = client.0.scoped(&config.group);
        let mut topics: Vec<SubscribedTopic> =
            config.subscriptions.iter().map(|subscription| SubscribedTopic::of(client, subscription)).collect();
        if !config.broadcasting {
            topics.push(SubscribedTopic {
                topic: format!("{RETRY_PREFIX}{group}"),
                filter: Filter::All,
                version: now_millis(),
                is_retry: true,
                start_from: Some(StartFrom::First),
            });
        }
        Arc::new(Self {
            queues: Mutex::default(),
            rebalance_wanted: Notify::new(),
            messages: Arc::new(Semaphore::new(config.max_in_flight_messages)),
            bytes: Arc::new(Semaphore::new(config.max_in_flight_bytes.min(u32::MAX as usize))),
            deliveries,
            client: client.clone(),
            group,
            leaving: client.0.token.child_token(),
            stopped: client.0.token.child_token(),
            topics: Mutex::new(topics),
            first_commits: Mutex::default(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            epochs: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            settled: Notify::new(),
            unregistered: AtomicBool::new(false),
            rebalanced: Notify::new(),
            errors: Mutex::default(),
            config,
        })
    }

    /// Group with the namespace.
    pub fn group(&self) -> &str {
        &self.group
    }

    pub fn client(&self) -> &Arc<Inner> {
        &self.client.0
    }

    pub fn is_ordered(&self) -> bool {
        self.config.ordered
    }

    /// Cancelled when the member begins to leave: nothing is pulled or handed out any more.
    pub fn leaving(&self) -> &CancellationToken {
        &self.leaving
    }

    pub fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Runs a task until the member has stopped.
    pub fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let stopped = self.stopped.clone();
        let work = async move {
            stopped.run_until_cancelled(task).await;
        };
        self.tasks.spawn_on(work, &self.runtime);
    }

    /// Tells the brokers, once, that this member has left.
    pub async fn unregister(&self) {
        if !self.unregistered.swap(true, Ordering::AcqRel) {
            self.client.0.unregister("consumerGroup", &self.group).await;
        }
    }

    /// Ends all tasks and waits for them.
    pub async fn stop(&self) {
        self.abandon();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends all tasks without waiting: brokers repeat what is open.
    pub fn abandon(&self) {
        self.leaving.cancel();
        self.stopped.cancel();
        lock(&self.queues).values().for_each(|assigned| assigned.revoked.cancel());
    }

    pub fn wake_rebalance(&self) {
        self.rebalance_wanted.notify_one();
    }

    /// Makes a queue go on at another offset, as an operator asked.
    pub fn reset_offset(&self, queue: &Queue, offset: i64) {
        if let Some(assigned) = lock(&self.queues).get(queue) {
            assigned.request_reset(GoOn::At(offset));
        }
    }

    /// A number for a queue that is begun to be read, higher than those before.
    pub fn next_epoch(&self) -> u64 {
        self.epochs.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn count_handed_out(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
    }

    pub fn count_settled(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.settled.notify_waiters();
        }
    }

    /// Deliveries with the caller.
    pub fn handed_out(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Completes when no delivery is with the caller.
    pub async fn all_settled(&self) {
        loop {
            let settled = self.settled.notified();
            if self.handed_out() == 0 {
                return;
            }
            settled.await;
        }
    }

    /// Wakes what waits for newly assigned queues.
    pub fn signal_rebalance_done(&self) {
        self.rebalanced.notify_waiters();
    }

    /// Completes after the next rebalance.
    pub async fn rebalance_done(&self) {
        self.rebalanced.notified().await;
    }

    /// What it subscribes to now.
    pub fn topics(&self) -> Vec<SubscribedTopic> {
        lock(&self.topics).clone()
    }

    /// Subscribes to other topics. What stays the same keeps its version, which brokers compare.
    pub fn resubscribe(&self, subscriptions: &[Subscription]) {
        let mut topics = lock(&self.topics);
        let wanted = subscriptions.iter().map(|subscription| SubscribedTopic::of(&self.client, subscription));
        let mut next: Vec<SubscribedTopic> = wanted
            .map(|wanted| {
                let same = topics.iter().find(|known| known.topic == wanted.topic && known.filter == wanted.filter);
                same.cloned().unwrap_or(wanted)
            })
            .collect();
        next.extend(topics.iter().filter(|topic| topic.is_retry).cloned());
        let gone = topics.iter().filter(|topic| !next.iter().any(|kept| kept.topic == topic.topic));
        let gone: Vec<String> = gone.map(|topic| topic.topic.clone()).collect();
        *topics = next;
        drop(topics);
        gone.iter().for_each(|topic| self.note(topic, None));
    }

    /// Where a topic's queues start when nothing was committed.
    pub fn start_from(&self, topic: &str) -> StartFrom {
        let own =
            lock(&self.topics).iter().find(|known| known.topic == topic).and_then(|known| known.start_from.clone());
        own.unwrap_or_else(|| self.config.start_from.clone())
    }

    /// Remembers or clears what keeps a part of the consumer from working.
    pub fn note(&self, part: &str, outcome: Option<Error>) {
        let mut errors = lock(&self.errors);
        match outcome {
            Some(error) => {
                if errors.insert(part.to_owned(), error.clone()).is_none_or(|old| old.to_string() != error.to_string())
                {
                    tracing::warn!(group = self.group, part, %error, remedy = error.remedy(), "the consumer waits");
                }
            }
            None => {
                errors.remove(part);
            }
        }
    }

    pub fn status(&self) -> ConsumerStatus {
        let queues = lock(&self.queues);
        let statuses: Vec<_> = queues.values().map(|assigned| assigned.status()).collect();
        let known = statuses.iter().filter(|status| status.acknowledged >= 0 && status.max_offset >= 0);
        let lag = known.clone().map(|status| (status.max_offset - status.acknowledged).max(0) as u64).sum();
        let last_error = lock(&self.errors)
            .values()
            .next()
            .cloned()
            .or_else(|| queues.values().find_map(|assigned| assigned.error()));
        ConsumerStatus {
            lag: (known.count() > 0).then_some(lag),
            in_flight: self.handed_out(),
            last_error,
            queues: statuses,
        }
    }

    /// `SubscriptionData` of each topic.
    pub fn subscription_data(&self) -> Vec<Value> {
        lock(&self.topics).iter().map(SubscribedTopic::data).collect()
    }

    /// `ConsumerData` for a heartbeat.
    pub fn heartbeat_data(&self) -> Value {
        let from = match self.config.start_from {
            StartFrom::First => "CONSUME_FROM_FIRST_OFFSET",
            StartFrom::Last | StartFrom::Offsets(_) => "CONSUME_FROM_LAST_OFFSET",
            StartFrom::Timestamp(_) => "CONSUME_FROM_TIMESTAMP",
        };
        json!({
            "groupName": self.group,
            "consumeType": "CONSUME_PASSIVELY",
            "messageModel": if self.config.broadcasting { "BROADCASTING" } else { "CLUSTERING" },
            "consumeFromWhere": from,
            "subscriptionDataSet": self.subscription_data(),
            "unitMode": false,
        })
    }
}

impl SubscribedTopic {
    fn of(client: &Client, subscription: &Subscription) -> Self {
        Self {
            topic: client.0.scoped(&subscription.topic),
            filter: subscription.filter.clone(),
            version: now_millis(),
            is_retry: false,
            start_from: subscription.start_from.clone(),
        }
    }

    /// Type and text of the filter expression.
    pub fn expression(&self) -> (&'static str, String) {
        match &self.filter {
            Filter::All => ("TAG", "*".into()),
            Filter::Tags(tags) => ("TAG", tags.join("||")),
            Filter::Sql(expression) => ("SQL92", expression.clone()),
        }
    }

    /// Whether a message's tag passes; brokers compare hashes only.
    pub fn accepts(&self, tag: Option<&str>) -> bool {
        match &self.filter {
            Filter::Tags(tags) => tag.is_some_and(|tag| tags.iter().any(|wanted| wanted == tag)),
            Filter::All | Filter::Sql(_) => true,
        }
    }

    fn data(&self) -> Value {
        let (kind, text) = self.expression();
        let tags: &[String] = if let Filter::Tags(tags) = &self.filter { tags } else { &[] };
        let codes: Vec<i32> = tags.iter().map(|tag| java_hash(tag)).collect();
        json!({ "classFilterMode": false, "topic": self.topic, "subString": text, "tagsSet": tags, "codeSet": codes,
            "subVersion": self.version, "expressionType": kind })
    }
}
