//! Topics: list, create, delete, statistics, offsets by time.

use super::super::broker_requests::queue_of;
use super::super::consumer::offsets as offset_queries;
use super::super::error::{Error, ErrorKind, Result};
use super::super::route::Queue;
use super::super::wire::Command;
use super::super::wire::codes::request;
use super::super::wire::loose_json::Loose;
use super::{Admin, parse};

/// Topics that RocketMQ makes for itself (`TopicValidator` of Apache RocketMQ 4.9 to 5.4).
const SYSTEM_TOPICS: [&str; 9] = [
    "TBW102",
    "SCHEDULE_TOPIC_XXXX",
    "BenchmarkTest",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRACE_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
];

/// Offsets of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueStats {
    /// The queue.
    pub queue: Queue,
    /// Offset of the oldest message.
    pub min_offset: i64,
    /// Offset of the next message that will be stored.
    pub max_offset: i64,
    /// When the newest message was stored, milliseconds since the Unix epoch; 0 when there is none.
    pub last_update_millis: i64,
}

/// Whether a topic is RocketMQ's own: a system topic, or a group's retry or dead-letter topic. Cluster and broker names, which
/// are topics as well, cannot be told by name.
#[must_use]
pub fn is_system_topic(topic: &str) -> bool {
    let bare = topic.rsplit('%').next().unwrap_or(topic);
    topic.starts_with("%RETRY%")
        || topic.starts_with("%DLQ%")
        || bare.starts_with("rmq_sys_")
        || bare.starts_with("RMQ_SYS_")
        || topic.ends_with("_REPLY_TOPIC")
        || SYSTEM_TOPICS.contains(&bare)
}

impl Admin {
    /// All topics that the name servers know, with system topics and without regard to the namespace.
    ///
    /// # Errors
    /// No name server answers.
    pub async fn topics(&self) -> Result<Vec<String>> {
        let request = Command::request(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER);
        let answer = self.client.0.ask_name_server(request, "the topic list").await?;
        let body = parse(&answer, "the topic list")?;
        let mut topics: Vec<String> = body
            .get("topicList")
            .map(Loose::items)
            .unwrap_or_default()
            .iter()
            .filter_map(Loose::as_str)
            .map(str::to_owned)
            .collect();
        topics.sort();
        Ok(topics)
    }

    /// The user's topics in this client's namespace, without its prefix: no system, retry, dead-letter, cluster or broker
    /// topics.
    ///
    /// # Errors
    /// No name server answers.
    pub async fn user_topics(&self) -> Result<Vec<String>> {
        let cluster = self.cluster().await?;
        let is_broker =
            |topic: &str| cluster.brokers.iter().any(|broker| broker.name == topic || broker.cluster == topic);
        let namespace = self.client.0.config.namespace.as_deref().filter(|namespace| !namespace.is_empty());
        let prefix = namespace.map(|namespace| format!("{namespace}%"));
        let topics = self.topics().await?;
        let mine = topics.iter().filter(|topic| prefix.as_ref().is_none_or(|prefix| topic.starts_with(prefix)));
        Ok(mine
            .filter(|topic| !is_system_topic(topic) && !is_broker(topic))
            .map(|topic| self.unscoped(topic).to_owned())
            .collect())
    }

    /// Creates a topic, or changes its queue counts, on every master. `permission` is 2 write, 4 read, 6 both.
    ///
    /// # Errors
    /// A broker cannot be reached or refuses.
    pub async fn create_topic(&self, topic: &str, queues: i32, permission: i32) -> Result<()> {
        if !(1..=65_536).contains(&queues) {
            return Err(Error::new(ErrorKind::InvalidConfig, format!("queues: {queues} is not between 1 and 65536")));
        }
        let scoped = self.client.0.scoped(topic);
        for address in self.masters().await? {
            let request = creation(&scoped, queues, permission);
            self.client.0.call(&address, request, &format!("topic {scoped}")).await?;
        }
        self.client.0.forget_route(&scoped);
        Ok(())
    }

    /// Deletes a topic from every master and from the name servers.
    ///
    /// # Errors
    /// A broker or name server cannot be reached or refuses.
    pub async fn delete_topic(&self, topic: &str) -> Result<()> {
        let scoped = self.client.0.scoped(topic);
        let subject = format!("topic {scoped}");
        for address in self.masters().await? {
            self.client
                .0
                .call(&address, Command::request(request::DELETE_TOPIC_IN_BROKER).with("topic", &scoped), &subject)
                .await?;
        }
        for address in self.client.0.name_servers.addresses() {
            self.client
                .0
                .call(&address, Command::request(request::DELETE_TOPIC_IN_NAMESRV).with("topic", &scoped), &subject)
                .await?;
        }
        self.client.0.forget_route(&scoped);
        Ok(())
    }

    /// Offsets of a topic's queues.
    ///
    /// # Errors
    /// The topic or its brokers cannot be reached.
    pub async fn topic_stats(&self, topic: &str) -> Result<Vec<QueueStats>> {
        let scoped = self.client.0.scoped(topic);
        let route = self.client.0.refresh_route(&scoped).await?;
        let mut stats = Vec::new();
        for broker in &route.brokers {
            let address = self.client.0.master_address(&broker.name)?;
            let request = Command::request(request::GET_TOPIC_STATS_INFO).with("topic", &scoped);
            let answer = self.client.0.call(&address, request, &format!("topic {scoped}")).await?;
            let body = parse(&answer, &format!("topic {scoped}"))?;
            for (key, value) in body.get("offsetTable").map(Loose::entries).unwrap_or_default() {
                let number = |name: &str| value.get(name).and_then(Loose::as_i64).unwrap_or_default();
                if let Some(queue) = queue_of_key(key) {
                    stats.push(QueueStats {
                        queue,
                        min_offset: number("minOffset"),
                        max_offset: number("maxOffset"),
                        last_update_millis: number("lastUpdateTimestamp"),
                    });
                }
            }
        }
        stats.sort_by(|a, b| a.queue.cmp(&b.queue));
        Ok(stats)
    }

    /// The offset of the first message of a queue that was stored at or after a time in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// The broker cannot be reached or refuses.
    pub async fn search_offset(&self, queue: &Queue, millis: i64) -> Result<i64> {
        offset_queries::search(&self.client.0, queue, millis).await
    }

    /// For each queue, the offset of the first message stored at or after a time in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// The topic or its brokers cannot be reached.
    pub async fn search_offsets(&self, topic: &str, millis: i64) -> Result<Vec<(Queue, i64)>> {
        let mut found = Vec::new();
        for queue in self.queues_of(topic).await? {
            let offset = offset_queries::search(&self.client.0, &queue, millis).await?;
            found.push((queue, offset));
        }
        Ok(found)
    }
}

/// The request that creates a topic, or changes its queue counts. `permission` is 2 write, 4 read, 6 both.
pub(super) fn creation(scoped: &str, queues: i32, permission: i32) -> Command {
    Command::request(request::UPDATE_AND_CREATE_TOPIC)
        .with("topic", scoped)
        .with("defaultTopic", "TBW102")
        .with("readQueueNums", queues)
        .with("writeQueueNums", queues)
        .with("perm", permission)
        .with("topicFilterType", "SINGLE_TAG")
        .with("topicSysFlag", 0)
        .with("order", false)
}

/// A queue that is a key: an object with fastjson, its text with other encoders.
pub(super) fn queue_of_key(key: &Loose) -> Option<Queue> {
    match key.as_str() {
        Some(text) => queue_of(&super::loose_json::parse(text.as_bytes()).ok()?),
        None => queue_of(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_topics_are_told_from_the_users() {
        for topic in [
            "%RETRY%g",
            "%DLQ%g",
            "TBW102",
            "rmq_sys_wheel_timer",
            "RMQ_SYS_TRANS_HALF_TOPIC",
            "SCHEDULE_TOPIC_XXXX",
            "DefaultCluster_REPLY_TOPIC",
        ] {
            assert!(is_system_topic(topic), "{topic}");
        }
        for topic in ["orders", "ns%orders", "RETRY", "_tapdata_heartbeat_table"] {
            assert!(!is_system_topic(topic), "{topic}");
        }
    }
}
