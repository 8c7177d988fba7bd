//! Which queue a message goes to.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::client::lock;
use super::super::error::{Error, ErrorKind, Result};
use super::super::message::Outgoing;
use super::super::route::{Queue, TopicRoute};
use super::Core;

/// Topic whose route brokers offer for topics that they create on first use (`autoCreateTopicEnable`).
pub(super) const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Queues of a topic that is created on first use.
pub(super) const AUTO_CREATE_QUEUES: usize = 4;
/// How long the queues of a topic that is about to be created are kept before the route is asked for again.
const AUTO_CREATE_RETRY: Duration = Duration::from_secs(1);

/// The queues of a topic to which messages may go, as far as they are known.
#[derive(Clone)]
pub(super) struct PublishQueues {
    route: Option<Arc<TopicRoute>>,
    queues: Arc<[Queue]>,
    until: Option<Instant>,
}

impl Core {
    /// The queue for a message: the one it names, or by its sharding key, else by turn, avoiding a broker that has just failed.
    pub(super) async fn select_queue(&self, message: &Outgoing, avoid: Option<&str>) -> Result<Queue> {
        let queues = self.publish_queues(&message.topic).await?;
        if let Some((broker, id)) = &message.queue {
            let wanted = |queue: &&Queue| queue.queue_id == *id && queue.broker_name == *broker;
            let replacement = || &queues[id.unsigned_abs() as usize % queues.len()];
            return Ok(queues.iter().find(wanted).unwrap_or_else(replacement).clone());
        }
        if let Some(key) = &message.sharding_key {
            return Ok(queues[shard(key, queues.len())].clone());
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let preferred = (0..queues.len())
            .map(|step| &queues[(turn + step) % queues.len()])
            .find(|queue| Some(&*queue.broker_name) != avoid);
        Ok(preferred.unwrap_or(&queues[turn % queues.len()]).clone())
    }

    /// The queues to which a topic's messages may go; never empty.
    pub(super) async fn publish_queues(&self, topic: &str) -> Result<Arc<[Queue]>> {
        match self.cached_queues(topic) {
            Some(queues) => Ok(queues),
            None => self.resolve_queues(topic).await,
        }
    }

    /// Queues of a known route, or of a topic that is about to be created.
    pub(super) fn cached_queues(&self, topic: &str) -> Option<Arc<[Queue]>> {
        let route = self.client.0.cached_route(topic);
        let mut queues = lock(&self.queues);
        let known = queues.get(topic);
        let Some(route) = route else {
            return known
                .filter(|known| known.until.is_some_and(|until| Instant::now() < until))
                .map(|known| known.queues.clone());
        };
        if let Some(known) = known.filter(|known| known.route.as_ref().is_some_and(|of| Arc::ptr_eq(of, &route))) {
            return Some(known.queues.clone());
        }
        let writable: Arc<[Queue]> = route.writable_queues(topic).into();
        if writable.is_empty() {
            return None;
        }
        let known = PublishQueues { route: Some(route), queues: writable.clone(), until: None };
        queues.insert(topic.to_owned(), known);
        Some(writable)
    }

    /// Asks the name servers for a topic's queues.
    async fn resolve_queues(&self, topic: &str) -> Result<Arc<[Queue]>> {
        match self.client.0.refresh_route(topic).await {
            Ok(_) => self.cached_queues(topic).ok_or_else(|| {
                self.client.0.forget_route(topic);
                Error::new(
                    ErrorKind::Connect,
                    format!("topic {topic} has no queue that may be written: its brokers have no master now, or the topic is read-only"),
                )
            }),
            Err(error) if error.kind() == ErrorKind::TopicNotFound => self.auto_create_queues(topic, error).await,
            Err(error) => Err(error),
        }
    }

    /// The queues of a topic that the broker creates when the first message arrives.
    async fn auto_create_queues(&self, topic: &str, not_found: Error) -> Result<Arc<[Queue]>> {
        let Ok(route) = self.client.0.refresh_route(AUTO_CREATE_TOPIC).await else { return Err(not_found) };
        let mut queues = route.writable_queues(topic);
        queues.retain(|queue| queue.queue_id < AUTO_CREATE_QUEUES as i32);
        if queues.is_empty() {
            return Err(not_found);
        }
        let queues: Arc<[Queue]> = queues.into();
        let known =
            PublishQueues { route: None, queues: queues.clone(), until: Some(Instant::now() + AUTO_CREATE_RETRY) };
        lock(&self.queues).insert(topic.to_owned(), known);
        Ok(queues)
    }
}

/// The queue of a sharding key, as Java's `SelectMessageQueueByHash` chooses it, so that both keep one order.
fn shard(key: &str, queues: usize) -> usize {
    let hash = java_hash(key);
    (i64::from(hash.checked_abs().unwrap_or(0)) % queues as i64) as usize
}

/// `String.hashCode` of Java; also the code by which brokers filter tags.
pub(crate) fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_javas() {
        assert_eq!(java_hash("TagA"), 2_598_919);
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
        assert_eq!(shard("polygenelubricants", 4), 0);
        assert_eq!(shard("TagA", 4), 3);
    }
}
