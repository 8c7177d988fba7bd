//! Consumer groups: list, create, lag, connections, offsets.

use std::collections::BTreeSet;

use super::super::consumer::offsets as offset_queries;
use super::super::error::{ErrorKind, Result};
use super::super::route::Queue;
use super::super::wire::Command;
use super::super::wire::codes::request;
use super::super::wire::loose_json::Loose;
use super::topics::queue_of_key;
use super::{Admin, parse};

/// How far a group is in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueLag {
    /// The queue.
    pub queue: Queue,
    /// Offset that the group has committed.
    pub consumer_offset: i64,
    /// Offset of the next message that the broker will store.
    pub broker_offset: i64,
}

/// A member of a group that is connected to a broker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConsumerConnection {
    /// Client id.
    pub client_id: String,
    /// `host:port` as the broker sees it.
    pub address: String,
    /// Programming language that the client reports.
    pub language: String,
}

impl Admin {
    /// Names of the groups that brokers have a configuration for.
    ///
    /// # Errors
    /// A broker cannot be reached or refuses.
    pub async fn groups(&self) -> Result<Vec<String>> {
        let mut groups = BTreeSet::new();
        for address in self.masters().await? {
            let answer = self
                .client
                .0
                .call(&address, Command::request(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG), "the group list")
                .await?;
            let body = parse(&answer, "the group list")?;
            let table = body.get("subscriptionGroupTable").map(Loose::entries).unwrap_or_default();
            groups
                .extend(table.iter().filter_map(|(name, _)| name.as_str()).map(|name| self.unscoped(name).to_owned()));
        }
        Ok(groups.into_iter().collect())
    }

    /// Creates a group on every master; `retries` is the number of redeliveries before the dead-letter topic.
    ///
    /// # Errors
    /// A broker cannot be reached or refuses.
    pub async fn create_group(&self, group: &str, retries: i32) -> Result<()> {
        let scoped = self.scoped_group(group)?;
        let body = serde_json::json!({
            "groupName": scoped, "consumeEnable": true, "consumeFromMinEnable": true, "consumeBroadcastEnable": true,
            "retryQueueNums": 1, "retryMaxTimes": retries, "brokerId": 0, "whichBrokerWhenConsumeSlowly": 1,
            "notifyConsumerIdsChangedEnable": true,
        });
        for address in self.masters().await? {
            let request = Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(body.to_string());
            self.client.0.call(&address, request, &format!("group {scoped}")).await?;
        }
        Ok(())
    }

    /// Whether a group has ever had a member: brokers make its retry topic then. Takes no right.
    ///
    /// # Errors
    /// No name server answers.
    pub async fn has_had_members(&self, group: &str) -> Result<bool> {
        let retry = format!("%RETRY%{}", self.scoped_group(group)?);
        match self.client.0.refresh_route(&retry).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::TopicNotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How far a group is in each queue of a topic. A group that has committed nothing yet has offset 0.
    ///
    /// # Errors
    /// The topic or its brokers cannot be reached.
    pub async fn consumer_lag(&self, group: &str, topic: &str) -> Result<Vec<QueueLag>> {
        let (group, topic) = (self.scoped_group(group)?, self.client.0.scoped(topic));
        let route = self.client.0.refresh_route(&topic).await?;
        let mut lags = Vec::new();
        for broker in &route.brokers {
            let address = self.client.0.master_address(&broker.name)?;
            let request =
                Command::request(request::GET_CONSUME_STATS).with("consumerGroup", &group).with("topic", &topic);
            let answer = self.client.0.call(&address, request, &format!("group {group}")).await?;
            let body = parse(&answer, &format!("group {group}"))?;
            for (key, value) in body.get("offsetTable").map(Loose::entries).unwrap_or_default() {
                let number = |name: &str| value.get(name).and_then(Loose::as_i64).unwrap_or_default();
                if let Some(queue) = queue_of_key(key) {
                    lags.push(QueueLag {
                        queue,
                        consumer_offset: number("consumerOffset"),
                        broker_offset: number("brokerOffset"),
                    });
                }
            }
        }
        lags.sort_by(|a, b| a.queue.cmp(&b.queue));
        Ok(lags)
    }

    /// The members of a group that are connected now; empty when there are none.
    ///
    /// # Errors
    /// A broker cannot be reached or refuses.
    pub async fn consumer_connections(&self, group: &str) -> Result<Vec<ConsumerConnection>> {
        let group = self.scoped_group(group)?;
        let mut connections = BTreeSet::new();
        for address in self.masters().await? {
            let request = Command::request(request::GET_CONSUMER_CONNECTION_LIST).with("consumerGroup", &group);
            let answer = match self.client.0.call(&address, request, &format!("group {group}")).await {
                Ok(answer) => answer,
                Err(error) if error.broker_code() == Some(super::super::wire::codes::response::CONSUMER_NOT_ONLINE) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let body = parse(&answer, &format!("group {group}"))?;
            for connection in body.get("connectionSet").map(Loose::items).unwrap_or_default() {
                let text = |name: &str| connection.get(name).and_then(Loose::as_str).unwrap_or_default().to_owned();
                connections.insert(ConsumerConnection {
                    client_id: text("clientId"),
                    address: text("clientAddr"),
                    language: text("language"),
                });
            }
        }
        Ok(connections.into_iter().collect())
    }

    /// The topics, without the namespace, and expressions that a connected member of a group subscribes to by its own words; its
    /// retry topic is left out.
    ///
    /// # Errors
    /// No broker reaches the member, or brokers refuse.
    pub async fn member_subscriptions(&self, group: &str, client_id: &str) -> Result<Vec<(String, String)>> {
        let (group, subject) = (self.scoped_group(group)?, format!("client {client_id}"));
        let mut failure = None;
        for address in self.masters().await? {
            let request = Command::request(request::GET_CONSUMER_RUNNING_INFO)
                .with("consumerGroup", &group)
                .with("clientId", client_id)
                .with("jstackEnable", false);
            let answer = match self.client.0.call(&address, request, &subject).await {
                Ok(answer) => answer,
                Err(error) => {
                    failure = Some(error);
                    continue;
                }
            };
            let body = parse(&answer, &subject)?;
            let subscriptions = body.get("subscriptionSet").map(Loose::items).unwrap_or_default();
            let pair = |subscription: &Loose| {
                let topic = subscription.get("topic")?.as_str().filter(|topic| !topic.starts_with("%RETRY%"))?;
                let expression = subscription.get("subString").and_then(Loose::as_str).unwrap_or_default();
                Some((self.unscoped(topic).to_owned(), expression.to_owned()))
            };
            return Ok(subscriptions.iter().filter_map(pair).collect());
        }
        failure.map_or(Ok(Vec::new()), Err)
    }

    /// Moves a group to the messages stored at or after a time, in every queue of a topic, whether or not it is connected.
    /// Returns the new offsets.
    ///
    /// # Errors
    /// The topic or its brokers cannot be reached or refuse.
    pub async fn reset_offsets(&self, group: &str, topic: &str, millis: i64) -> Result<Vec<(Queue, i64)>> {
        let scoped_group = self.scoped_group(group)?;
        let offsets = self.search_offsets(topic, millis).await?;
        let connected = !self.consumer_connections(group).await?.is_empty();
        if connected {
            // brokers tell connected members, who would else commit their old offsets again
            for broker in self.topic_route(topic).await?.brokers {
                let request = Command::request(request::INVOKE_BROKER_TO_RESET_OFFSET)
                    .with("topic", self.client.0.scoped(topic))
                    .with("group", &scoped_group)
                    .with("timestamp", millis)
                    .with("isForce", true);
                let address = self.client.0.master_address(&broker.name)?;
                self.client.0.call(&address, request, &format!("group {scoped_group}")).await?;
            }
        }
        for (queue, offset) in &offsets {
            offset_queries::store(&self.client.0, &scoped_group, queue, *offset).await?;
        }
        Ok(offsets)
    }
}
