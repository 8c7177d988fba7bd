//! Receiving messages as a member of a consumer group.
//!
//! ```text
//! rebalance ──▶ assigned queues ──▶ a pull task each ──▶ bounded channel ──▶ recv ──▶ Delivery ──▶ ack │ nack │ dead_letter
//!                                        ▲                                                          │
//!                                        └── committed offset = first one not acknowledged ◀────────┘
//! ```
//! Nothing is acknowledged to the broker before the caller has acknowledged it: a queue's committed offset never passes a
//! delivery that is still open, so a crash repeats messages and loses none.

mod assigned;
mod delivery;
mod lock;
mod member;
pub(crate) mod offsets;
mod pull;
mod rebalance;
mod tracker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::client::Client;
use super::error::{Error, ErrorKind, Result};
use super::heartbeat;
use super::route::Queue;

#[cfg(test)]
pub(crate) use delivery::testing::AssignedQueue;
pub use delivery::{Aside, Delivery, Redelivery};
pub(crate) use member::Member;

/// Longest consumer or producer group name (`Validators` of Apache RocketMQ).
const MAX_GROUP_CHARS: usize = 255;
/// Most messages in one pull; brokers cap it at 32 by default when they lie on disk.
const MAX_PULL_BATCH: i32 = 1024;

/// Settings of a consumer.
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// Consumer group without the namespace.
    pub group: String,
    /// Topics with their filters; all members of a group must have the same.
    pub subscriptions: Vec<Subscription>,
    /// Where a queue without a committed offset starts.
    pub start_from: StartFrom,
    /// Every member gets every message; offsets are not kept: each start begins at `start_from`.
    pub broadcasting: bool,
    /// One delivery at a time in each queue, with the queue locked on the broker, so that its order is kept.
    pub ordered: bool,
    /// Deliveries that may be open at the same time.
    pub max_in_flight_messages: usize,
    /// Bytes of bodies that may be open at the same time; a pulled batch may wait beyond it.
    pub max_in_flight_bytes: usize,
    /// Messages asked for in one pull, 1 to 1024.
    pub pull_batch_size: i32,
    /// Deliveries of a message before the broker moves it to the dead-letter topic.
    pub max_reconsume_times: i32,
    /// Time between two commits of offsets: a crash repeats what was acknowledged since the last one.
    pub commit_interval: Duration,
}

impl ConsumerConfig {
    /// The defaults: from the last offset, clustering, concurrent, 1024 deliveries and 16 MiB open, pulls of 64, 16
    /// redeliveries, offsets committed each second.
    #[must_use]
    pub fn new(group: impl Into<String>, subscriptions: Vec<Subscription>) -> Self {
        Self {
            group: group.into(),
            subscriptions,
            start_from: StartFrom::Last,
            broadcasting: false,
            ordered: false,
            max_in_flight_messages: 1024,
            max_in_flight_bytes: 16 * 1024 * 1024,
            pull_batch_size: 64,
            max_reconsume_times: 16,
            commit_interval: Duration::from_secs(1),
        }
    }

    fn validate(&self) -> Result<()> {
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidConfig, message));
        check_group("consumerGroup", &self.group)?;
        check_subscriptions(&self.subscriptions)?;
        if self.max_in_flight_messages == 0 || self.max_in_flight_bytes == 0 {
            return invalid(
                "max_in_flight_messages, max_in_flight_bytes: 0 would deliver nothing; use at least 1".into(),
            );
        }
        if !(1..=MAX_PULL_BATCH).contains(&self.pull_batch_size) {
            return invalid(format!("pull_batch_size: {} is not between 1 and {MAX_PULL_BATCH}", self.pull_batch_size));
        }
        Ok(())
    }
}

/// Looks whether there is at least one subscription, and none of a topic twice.
fn check_subscriptions(subscriptions: &[Subscription]) -> Result<()> {
    let invalid = |message: String| Err(Error::new(ErrorKind::InvalidConfig, message));
    if subscriptions.is_empty() {
        return invalid("topics: is empty; subscribe to at least one topic".into());
    }
    let mut topics: Vec<&str> = subscriptions.iter().map(|subscription| subscription.topic.as_str()).collect();
    topics.sort_unstable();
    match topics.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => invalid(format!("topics: {:?} is subscribed twice; join its expressions with ||", pair[0])),
        None => Ok(()),
    }
}

/// Checks a group name as clients and brokers do; `field` is named in the error.
///
/// # Errors
/// [`ErrorKind::InvalidConfig`].
pub(crate) fn check_group(field: &str, group: &str) -> Result<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '%' | '|' | '-' | '_');
    let why = if group.trim().is_empty() {
        "is blank (the specified group is blank); name a group"
    } else if group.len() > MAX_GROUP_CHARS {
        "is longer than 255 characters"
    } else if !group.chars().all(legal) {
        "contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
    } else if group == "DEFAULT_CONSUMER" || group == "DEFAULT_PRODUCER" {
        "is RocketMQ's own; choose another name"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::InvalidConfig, format!("{field}: {group:?} {why}")))
}

/// A topic with its filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Topic without the namespace.
    pub topic: String,
    /// Which of its messages are wanted.
    pub filter: Filter,
    /// Where its queues start without a committed offset; none is as the consumer's `start_from` has it.
    pub start_from: Option<StartFrom>,
}

/// Which messages of a topic are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// All of them.
    All,
    /// Those with one of these tags.
    Tags(Vec<String>),
    /// Those whose properties satisfy an SQL92 expression; the broker needs `enablePropertyFilter=true`.
    Sql(String),
}

impl Subscription {
    /// All messages of a topic.
    #[must_use]
    pub fn all(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), filter: Filter::All, start_from: None }
    }

    /// Messages whose tag is in an expression such as `tagA || tagB`; `*` and the empty expression mean all.
    #[must_use]
    pub fn tags(topic: impl Into<String>, expression: &str) -> Self {
        let tags: Vec<String> =
            expression.split("||").map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
        let all = tags.is_empty() || tags.iter().any(|tag| tag == "*");
        Self { topic: topic.into(), filter: if all { Filter::All } else { Filter::Tags(tags) }, start_from: None }
    }

    /// Messages whose properties satisfy an SQL92 expression.
    #[must_use]
    pub fn sql(topic: impl Into<String>, expression: impl Into<String>) -> Self {
        Self { topic: topic.into(), filter: Filter::Sql(expression.into()), start_from: None }
    }
}

/// Where a queue without a committed offset starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartFrom {
    /// The oldest message that the broker still has.
    First,
    /// The next message that is stored.
    Last,
    /// The first message stored at or after this time, milliseconds since the Unix epoch.
    Timestamp(i64),
    /// These offsets, by queue with its topic without the namespace; a queue that is not named starts as with
    /// [`Last`](Self::Last), and an offset that the broker does not have becomes the nearest one that it has.
    Offsets(Arc<BTreeMap<Queue, i64>>),
}

/// What a consumer is doing now.
#[derive(Debug, Clone, Default)]
pub struct ConsumerStatus {
    /// The queues that this member reads.
    pub queues: Vec<QueueStatus>,
    /// Deliveries handed out and not settled.
    pub in_flight: usize,
    /// Messages stored in these queues and not acknowledged; none before the first answer of a broker.
    pub lag: Option<u64>,
    /// The failure that keeps the consumer, or one of its queues, from working now.
    pub last_error: Option<Error>,
}

/// A queue that a member reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueStatus {
    /// Topic with the namespace.
    pub topic: String,
    /// Name of the broker.
    pub broker_name: String,
    /// Queue id.
    pub queue_id: i32,
    /// Offset up to which everything is acknowledged.
    pub acknowledged: i64,
    /// Offset of the next message that the broker will store, as last seen.
    pub max_offset: i64,
    /// Deliveries open.
    pub in_flight: usize,
}

/// A member of a consumer group.
pub struct Consumer {
    member: Arc<Member>,
    deliveries: tokio::sync::Mutex<mpsc::Receiver<Delivery>>,
}

impl Consumer {
    /// Joins the group and starts to pull. Topics and brokers that are not there yet are waited for; what is missing is in
    /// [`status`](Self::status).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] that names the field.
    pub fn start(client: &Client, config: ConsumerConfig) -> Result<Self> {
        config.validate()?;
        let (sender, deliveries) = mpsc::channel(config.max_in_flight_messages.min(65_536));
        let member = Member::new(client, config, sender);
        client.0.join_consumers(&member);
        member.spawn(rebalance::run(member.clone()));
        member.spawn(offsets::run(member.clone()));
        if member.is_ordered() {
            member.spawn(lock::run(member.clone()));
        }
        Ok(Self { member, deliveries: tokio::sync::Mutex::new(deliveries) })
    }

    /// The next delivery; `None` after [`shutdown`](Self::shutdown) has begun. Several tasks may wait.
    pub async fn recv(&self) -> Option<Delivery> {
        self.recv_batch(1).await.pop()
    }

    /// Waits for a delivery and returns it with those that are there already, `max` at most; empty after
    /// [`shutdown`](Self::shutdown) has begun.
    pub async fn recv_batch(&self, max: usize) -> Vec<Delivery> {
        let gather = async {
            let mut deliveries = self.deliveries.lock().await;
            let mut batch = Vec::new();
            while batch.is_empty() {
                let Some(first) = deliveries.recv().await else { break };
                let mut next = Some(first);
                while let Some(delivery) = next.take() {
                    batch.extend(delivery.hand_out());
                    if batch.len() < max {
                        next = deliveries.try_recv().ok();
                    }
                }
            }
            batch
        };
        self.member.leaving().run_until_cancelled(gather).await.unwrap_or_default()
    }

    /// Subscribes to other topics. Topics with the same filter as before go on undisturbed; queues of those that are left out are
    /// committed and let go. All members of a group must subscribe to the same topics.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] that names the field; nothing has changed then.
    pub async fn resubscribe(&self, subscriptions: &[Subscription]) -> Result<()> {
        check_subscriptions(subscriptions)?;
        self.member.resubscribe(subscriptions);
        // Brokers refuse pulls of topics that they have not heard of.
        heartbeat::beat(self.member.client()).await;
        self.member.wake_rebalance();
        Ok(())
    }

    /// What the consumer is doing now.
    #[must_use]
    pub fn status(&self) -> ConsumerStatus {
        self.member.status()
    }

    /// Leaves the group: stops pulling, waits up to `drain` for open deliveries, commits, unlocks and unregisters.
    pub async fn shutdown(&self, drain: Duration) {
        self.member.leaving().cancel();
        if tokio::time::timeout(drain, self.member.all_settled()).await.is_err() {
            tracing::warn!(
                group = self.member.group(),
                open = self.member.handed_out(),
                "deliveries are still open; the broker will repeat them"
            );
        }
        offsets::commit_all(&self.member).await;
        lock::release_all(&self.member).await;
        self.member.unregister().await;
        self.member.stop().await;
    }
}

impl Drop for Consumer {
    /// Leaves without commit: what is open is repeated, here or elsewhere. The broker is told, so that it does not keep queues
    /// for a member that is gone.
    fn drop(&mut self) {
        self.member.abandon();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let member = self.member.clone();
            runtime.spawn(async move { member.unregister().await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_expressions_are_split() {
        assert_eq!(Subscription::tags("t", " a || b ").filter, Filter::Tags(vec!["a".into(), "b".into()]));
        assert_eq!(Subscription::tags("t", "*").filter, Filter::All);
        assert_eq!(Subscription::tags("t", "").filter, Filter::All);
    }

    #[test]
    fn a_blank_group_is_refused_with_the_words_users_look_for() {
        let error = check_group("consumerGroup", " ").unwrap_err().to_string();
        assert!(error.contains("the specified group is blank"), "{error}");
        assert!(check_group("consumerGroup", "a b").is_err());
        assert!(check_group("consumerGroup", "orders-1_x").is_ok());
    }
}
