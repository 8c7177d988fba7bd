//! Questions that change nothing and leave no trace: rights, settings, versions, and messages by offset outside of a group.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::consumer::offsets as offset_queries;
use super::super::error::{Error, ErrorKind, Result};
use super::super::message::ReceivedMessage;
use super::super::message_id::now_millis;
use super::super::route::Queue;
use super::super::wire::codes::{request, response};
use super::super::wire::loose_json::Loose;
use super::super::wire::{Command, stored};
use super::{Admin, parse};

/// Group that every broker has for tools (`MixAll.TOOLS_CONSUMER_GROUP`): reading with it creates no group.
pub const TOOLS_GROUP: &str = "TOOLS_CONSUMER";

/// The request brings its subscription along (`PullSysFlag`), so that none has to be registered; nothing is committed.
const FLAG_SUBSCRIPTION: i32 = 4;
/// The broker may hold the request until there is a message (`PullSysFlag`).
const FLAG_SUSPEND: i32 = 2;
/// Ordinal of 4.0.0 in `MQVersion`: two for each version, ten versions for each minor version from then on.
const V4_0_0: i16 = 213;

/// What a broker tells about itself, whether or not it takes the credentials.
#[derive(Debug, Clone)]
pub struct BrokerAnswer {
    /// Ordinal of its version in `MQVersion`; it is part of every answer.
    pub version_ordinal: i16,
    /// Its settings by name, or the refusal.
    pub settings: Result<BTreeMap<String, String>>,
}

/// Messages read by offset.
#[derive(Debug, Clone, Default)]
pub struct Peek {
    /// The messages, oldest first; fewer than asked for when the broker stops earlier.
    pub messages: Vec<ReceivedMessage>,
    /// Offset of the oldest message of the queue.
    pub min_offset: i64,
    /// Offset of the next message of the queue.
    pub max_offset: i64,
}

/// The version with this ordinal in `MQVersion`, for instance `V5_4_0`; none before 4.0.
#[must_use]
pub fn version_name(ordinal: i16) -> Option<String> {
    let step = ordinal.checked_sub(V4_0_0).filter(|step| *step >= 0)? / 2;
    Some(format!("V{}_{}_{}", 4 + step / 100, step / 10 % 10, step % 10))
}

impl Admin {
    /// Asks a broker about itself with a signed request. The question is a cheap one, other than
    /// [`broker_runtime`](Self::broker_runtime).
    ///
    /// # Errors
    /// It cannot be reached; that it refuses is part of the answer.
    pub async fn introduce(&self, address: &str) -> Result<BrokerAnswer> {
        let request = Command::request(request::GET_BROKER_CONFIG);
        let answer = self.client.0.exchange(address, request, self.client.0.config.request_timeout).await?;
        let version_ordinal = answer.version;
        let settings = super::super::client::check(answer, address, "the broker's settings").map(|answer| {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let pairs = text.lines().filter_map(|line| line.split_once('='));
            pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
        });
        Ok(BrokerAnswer { version_ordinal, settings })
    }

    /// A broker's settings by name. With access control, this takes an administrator.
    ///
    /// # Errors
    /// The broker cannot be reached or refuses.
    pub async fn broker_settings(&self, address: &str) -> Result<BTreeMap<String, String>> {
        self.introduce(address).await?.settings
    }

    /// The readable and the writable queues of a topic, with its namespace, asked for now.
    ///
    /// # Errors
    /// The topic has no route, or no name server answers.
    pub async fn queues(&self, topic: &str) -> Result<(Vec<Queue>, Vec<Queue>)> {
        let scoped = self.client.0.scoped(topic);
        let route = self.client.0.refresh_route(&scoped).await?;
        Ok((route.readable_queues(&scoped), route.writable_queues(&scoped)))
    }

    /// Whether this user may write to the topic of `queue`. Nothing is written: the message goes to a queue that does not
    /// exist, which a broker notices after it has checked the rights and before it stores anything.
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`], or the broker cannot be reached.
    pub async fn may_write(&self, queue: &Queue, group: &str) -> Result<()> {
        let address = self.client.0.master_address(&queue.broker_name)?;
        let request = Command::request(request::SEND_MESSAGE_V2)
            .with("a", self.client.0.scoped(group))
            .with("b", &queue.topic)
            .with("c", "TBW102")
            .with("d", 4)
            .with("e", i32::MAX)
            .with("f", 0)
            .with("g", now_millis())
            .with("h", 0)
            .with("i", "")
            .with("j", 0)
            .with("k", false)
            .with("m", false)
            .with_body("{}");
        match self.client.0.call(&address, request, &format!("topic {}", queue.topic)).await {
            Err(error) if error.remark().is_some_and(|words| words.contains("queueId")) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Offset of the next message of a queue.
    ///
    /// # Errors
    /// The broker cannot be reached or refuses.
    pub async fn max_offset(&self, queue: &Queue) -> Result<i64> {
        offset_queries::boundary(&self.client.0, request::GET_MAX_OFFSET, queue).await
    }

    /// Reads up to `count` messages of a queue from `offset` on, at once and without a commit. Bodies are decompressed.
    /// `group` needs the right to read; [`TOOLS_GROUP`] leaves no trace.
    ///
    /// # Errors
    /// The broker cannot be reached or refuses.
    pub async fn peek(&self, queue: &Queue, group: &str, offset: i64, count: u32) -> Result<Peek> {
        self.peek_waiting(queue, group, offset, count, Duration::ZERO).await
    }

    /// As [`peek`](Self::peek), but the broker waits up to `patience` for a message when there is none.
    ///
    /// # Errors
    /// The broker cannot be reached or refuses.
    pub async fn peek_waiting(
        &self,
        queue: &Queue,
        group: &str,
        offset: i64,
        count: u32,
        patience: Duration,
    ) -> Result<Peek> {
        let client = &self.client.0;
        let waits = if patience.is_zero() { 0 } else { FLAG_SUSPEND };
        let group = if group == TOOLS_GROUP { group.to_owned() } else { client.scoped(group) };
        let address = client.master_address(&queue.broker_name)?;
        let request = Command::request(request::PULL_MESSAGE)
            .with("consumerGroup", group)
            .with("topic", &queue.topic)
            .with("queueId", queue.queue_id)
            .with("queueOffset", offset)
            .with("maxMsgNums", count)
            .with("sysFlag", FLAG_SUBSCRIPTION | waits)
            .with("commitOffset", 0)
            .with("suspendTimeoutMillis", patience.as_millis())
            .with("subscription", "*")
            .with("subVersion", now_millis())
            .with("expressionType", "TAG")
            .with("bname", &queue.broker_name);
        let answer = client.exchange(&address, request, client.config.request_timeout + patience).await?;
        let number = |name: &str| answer.number(name).unwrap_or_default();
        let (min_offset, max_offset) = (number("minOffset"), number("maxOffset"));
        match i32::from(answer.code) {
            response::SUCCESS => {
                let found = stored::decode_all(answer.body).map_err(|error| {
                    Error::new(ErrorKind::Protocol, format!("{address}: messages of {queue:?}: {error}"))
                })?;
                let namespace = client.config.namespace.as_deref();
                let messages = found
                    .into_iter()
                    .map(|message| ReceivedMessage::from_stored(message, &queue.broker_name, namespace))
                    .collect();
                Ok(Peek { messages, min_offset, max_offset })
            }
            response::PULL_NOT_FOUND | response::PULL_RETRY_IMMEDIATELY | response::PULL_OFFSET_MOVED => {
                Ok(Peek { messages: Vec::new(), min_offset, max_offset })
            }
            code => {
                let subject = format!("topic {}", queue.topic);
                Err(Error::from_response(code, &answer.remark, &address, &subject))
            }
        }
    }

    /// What the connected members of a group subscribe to: topic without namespace, and expression. Empty without members.
    ///
    /// # Errors
    /// A broker cannot be reached or refuses.
    pub async fn group_subscriptions(&self, group: &str) -> Result<BTreeMap<String, String>> {
        let group = self.scoped_group(group)?;
        let mut found = BTreeMap::new();
        for address in self.masters().await? {
            let request = Command::request(request::GET_CONSUMER_CONNECTION_LIST).with("consumerGroup", &group);
            let answer = match self.client.0.call(&address, request, &format!("group {group}")).await {
                Err(error) if error.broker_code() == Some(response::CONSUMER_NOT_ONLINE) => continue,
                answer => answer?,
            };
            let body = parse(&answer, &format!("group {group}"))?;
            let table = body.get("subscriptionTable").map(Loose::entries).unwrap_or_default();
            let own = table.iter().filter_map(|(topic, data)| {
                let expression = data.get("subString").and_then(Loose::as_str).unwrap_or("*");
                Some((topic.as_str()?, expression))
            });
            let users = own.filter(|(topic, _)| !topic.starts_with("%RETRY%"));
            found.extend(users.map(|(topic, expression)| (self.unscoped(topic).to_owned(), expression.to_owned())));
        }
        Ok(found)
    }

    /// Creates a topic with `queues` queues on one broker only.
    ///
    /// # Errors
    /// The broker cannot be reached or refuses.
    pub async fn create_topic_at(&self, address: &str, topic: &str, queues: i32) -> Result<()> {
        let scoped = self.client.0.scoped(topic);
        let request = super::topics::creation(&scoped, queues, 6);
        self.client.0.call(address, request, &format!("topic {scoped}")).await?;
        self.client.0.forget_route(&scoped);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_by_their_ordinal() {
        let table = [
            (212, None),
            (317, Some("V4_5_2")),
            (373, Some("V4_8_0")),
            (393, Some("V4_9_0")),
            (407, Some("V4_9_7")),
            (413, Some("V5_0_0")),
            (435, Some("V5_1_1")),
            (493, Some("V5_4_0")),
        ];
        for (ordinal, name) in table {
            assert_eq!(version_name(ordinal).as_deref(), name, "{ordinal}");
        }
    }
}
