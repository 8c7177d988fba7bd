//! Messages to send and messages received.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use super::error::{Error, ErrorKind, Result};
use super::message_id::{now_millis, unique_message_id};
use super::properties::Properties;
use super::property;
use super::wire::stored::{self, NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR, StoredMessage};

/// Longest encoded properties, in bytes: the stored form has a signed 16-bit length.
const MAX_PROPERTIES_BYTES: usize = 32_767;
/// Longest topic name, with namespace.
const MAX_TOPIC_BYTES: usize = 127;

/// When a message is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// A delay level of the broker, 1 to 18 (1 s, 5 s, 10 s, 30 s, 1 m, … 2 h by default).
    Level(u8),
    /// At this time, milliseconds since the Unix epoch; RocketMQ 5.x only: a 4.9 broker delivers at once.
    At(i64),
    /// After this time; RocketMQ 5.x only: a 4.9 broker delivers at once.
    After(Duration),
}

/// A message to send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Topic without the namespace.
    pub topic: ByteString,
    /// Body.
    pub body: Bytes,
    /// Tag, by which consumers filter.
    pub tag: Option<ByteString>,
    /// Keys, by which operators look messages up.
    pub keys: Vec<ByteString>,
    /// User properties.
    pub properties: Properties,
    /// Messages with the same sharding key go to the same queue and keep their order.
    pub sharding_key: Option<ByteString>,
    /// When it is delivered; none means at once.
    pub delay: Option<Delay>,
    /// Unique id that consumers see; none makes a new one. A copy may keep that of its original.
    pub id: Option<ByteString>,
    /// Broker name and queue id that it goes to; none leaves the choice to the producer. A queue that is gone is replaced.
    pub queue: Option<(ByteString, i32)>,
}

impl Message {
    /// A message with a body and nothing else.
    #[must_use]
    pub fn new(topic: impl AsRef<str>, body: impl Into<Bytes>) -> Self {
        Self { topic: topic.as_ref().into(), body: body.into(), ..Self::default() }
    }

    /// Sets the tag.
    #[must_use]
    pub fn with_tag(mut self, tag: impl Into<ByteString>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Adds a key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<ByteString>) -> Self {
        self.keys.push(key.into());
        self
    }

    /// Sets a user property.
    #[must_use]
    pub fn with_property(mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) -> Self {
        self.properties.insert(name, value);
        self
    }

    /// Sets the sharding key.
    #[must_use]
    pub fn with_sharding_key(mut self, key: impl Into<ByteString>) -> Self {
        self.sharding_key = Some(key.into());
        self
    }

    /// Sets when it is delivered.
    #[must_use]
    pub fn with_delay(mut self, delay: Delay) -> Self {
        self.delay = Some(delay);
        self
    }
}

/// A checked message with its properties encoded, ready for a request.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    /// Topic with the namespace.
    pub topic: ByteString,
    pub body: Bytes,
    pub message_id: ByteString,
    pub properties: String,
    pub sharding_key: Option<ByteString>,
    /// Broker name and queue id that the caller has chosen.
    pub queue: Option<(ByteString, i32)>,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    /// Whether the message may share a batch: brokers refuse batches of delayed and transactional messages, and a batch has
    /// one compression flag for all.
    pub batchable: bool,
}

impl Outgoing {
    /// Checks a message and encodes its properties; `extra` adds properties of RocketMQ's own.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidMessage`] or [`ErrorKind::MessageTooLarge`] that names the field.
    pub fn prepare(
        message: Message,
        namespace: Option<&str>,
        max_bytes: usize,
        extra: &[(&str, &str)],
    ) -> Result<Self> {
        let topic = scoped(namespace, &message.topic);
        check_topic(&topic)?;
        if message.body.is_empty() {
            return Err(Error::with_remedy(
                ErrorKind::InvalidMessage,
                "body: is empty, but RocketMQ stores no message without one",
                Some("give it a body of at least one byte, for instance {}".to_owned()),
            ));
        }
        if message.body.len() > max_bytes {
            let length = message.body.len();
            return Err(Error::new(
                ErrorKind::MessageTooLarge,
                format!("body: {length} bytes are more than the limit of {max_bytes}"),
            ));
        }
        let message_id = message.id.clone().unwrap_or_else(|| unique_message_id().into());
        let properties = encode_properties(&message, &message_id, extra)?;
        Ok(Self {
            topic,
            body: message.body,
            message_id,
            properties,
            sharding_key: message.sharding_key,
            queue: message.queue,
            sys_flag: 0,
            born_timestamp: now_millis(),
            batchable: message.delay.is_none() && extra.is_empty(),
        })
    }

    /// Whether its order among others matters, so that it must not move to another queue.
    pub fn is_bound(&self) -> bool {
        self.sharding_key.is_some() || self.queue.is_some()
    }

    /// Size in a batch body, in bytes.
    pub fn batch_bytes(&self) -> usize {
        4 + 4 + 4 + 4 + 4 + self.body.len() + 2 + self.properties.len()
    }

    /// Appends the message in the form of a batch (`MessageDecoder.encodeMessage` of Apache RocketMQ).
    pub fn encode_in_batch(&self, out: &mut BytesMut) {
        out.put_i32(self.batch_bytes() as i32);
        out.put_i32(0);
        out.put_i32(0);
        out.put_i32(0);
        out.put_i32(self.body.len() as i32);
        out.put_slice(&self.body);
        out.put_i16(self.properties.len() as i16);
        out.put_slice(self.properties.as_bytes());
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidMessage, message)
}

/// Checks a topic name as brokers do (`TopicValidator` of Apache RocketMQ), so that the answer names the field.
fn check_topic(topic: &str) -> Result<()> {
    if topic.trim().is_empty() {
        return Err(invalid("topic: is empty; name a topic"));
    }
    if topic.len() > MAX_TOPIC_BYTES {
        return Err(invalid(format!("topic: {topic:?} is longer than {MAX_TOPIC_BYTES} characters")));
    }
    if !topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"%|-_".contains(&byte)) {
        return Err(invalid(format!("topic: {topic:?} contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")));
    }
    Ok(())
}

fn encode_properties(message: &Message, message_id: &str, extra: &[(&str, &str)]) -> Result<String> {
    let mut out = String::with_capacity(96);
    push_property(&mut out, property::UNIQUE_KEY, message_id)?;
    push_property(&mut out, property::WAIT, "true")?;
    if let Some(tag) = message.tag.as_deref().filter(|tag| !tag.is_empty()) {
        push_property(&mut out, property::TAGS, tag)?;
    }
    if !message.keys.is_empty() {
        if let Some(key) = message.keys.iter().find(|key| key.is_empty() || key.contains(char::is_whitespace)) {
            return Err(invalid(format!(
                "keys: {key:?} is empty or contains a blank, which separates keys; replace it"
            )));
        }
        push_property(&mut out, property::KEYS, &message.keys.join(" "))?;
    }
    if let Some(key) = &message.sharding_key {
        push_property(&mut out, property::SHARDING_KEY, key)?;
    }
    match message.delay {
        Some(Delay::Level(level @ 1..=18)) => push_property(&mut out, property::DELAY, &level.to_string())?,
        Some(Delay::Level(level)) => return Err(invalid(format!("delay: level {level} is not between 1 and 18"))),
        Some(Delay::At(millis)) => push_property(&mut out, property::TIMER_DELIVER_MILLIS, &millis.to_string())?,
        Some(Delay::After(wait)) => {
            push_property(&mut out, property::TIMER_DELAY_MILLIS, &wait.as_millis().to_string())?
        }
        None => {}
    }
    for (name, value) in message.properties.iter() {
        if property::is_reserved(name) {
            return Err(invalid(format!("properties: {name:?} is reserved by RocketMQ; choose another name")));
        }
        push_property(&mut out, name, value)?;
    }
    for (name, value) in extra {
        push_property(&mut out, name, value)?;
    }
    if out.len() > MAX_PROPERTIES_BYTES {
        let length = out.len();
        return Err(invalid(format!(
            "properties: {length} bytes with keys and tag are more than the limit of {MAX_PROPERTIES_BYTES}"
        )));
    }
    Ok(out)
}

fn push_property(out: &mut String, name: &str, value: &str) -> Result<()> {
    let has_separator =
        |text: &str| memchr::memchr2(NAME_VALUE_SEPARATOR as u8, PROPERTY_SEPARATOR as u8, text.as_bytes()).is_some();
    if name.is_empty() || has_separator(name) || has_separator(value) {
        return Err(invalid(format!(
            "properties: {name:?} is empty, or it or its value contains U+0001 or U+0002, which separate properties"
        )));
    }
    out.push_str(name);
    out.push(NAME_VALUE_SEPARATOR);
    out.push_str(value);
    out.push(PROPERTY_SEPARATOR);
    Ok(())
}

/// A received message. Texts and body share the memory of the answer that they came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// Topic that the sender named: without the namespace, and the original one for a redelivery.
    pub topic: ByteString,
    /// Unique id that the sender gave; the broker's id when it gave none.
    pub message_id: ByteString,
    /// Name of the broker.
    pub broker_name: ByteString,
    /// Queue in the topic.
    pub queue_id: i32,
    /// Position in the queue.
    pub queue_offset: i64,
    /// Position in the broker's commit log.
    pub commit_log_offset: i64,
    /// Body, decompressed.
    pub body: Bytes,
    /// Tag.
    pub tag: Option<ByteString>,
    /// Keys.
    pub keys: Vec<ByteString>,
    /// Sharding key.
    pub sharding_key: Option<ByteString>,
    /// User properties.
    pub properties: Properties,
    /// RocketMQ's own properties.
    pub system_properties: Properties,
    /// Sender's clock, milliseconds since the Unix epoch.
    pub born_timestamp: i64,
    /// Address of the sender; none where that is not told.
    pub born_host: Option<SocketAddr>,
    /// Address of the broker that stored it; none where that is not told.
    pub store_host: Option<SocketAddr>,
    /// Broker's clock, milliseconds since the Unix epoch.
    pub store_timestamp: i64,
    /// Deliveries before this one.
    pub reconsume_times: i32,
    /// RocketMQ's flags.
    pub sys_flag: i32,
    /// The sender's own flag.
    pub flag: i32,
}

impl ReceivedMessage {
    /// From the stored form; `broker_name` is the broker it was read from.
    pub(crate) fn from_stored(stored: StoredMessage, broker_name: &ByteString, namespace: Option<&str>) -> Self {
        let topic = stored.property(property::RETRY_TOPIC).unwrap_or(&stored.topic);
        let topic = topic.slice_ref(without_namespace(namespace, topic));
        let made = || stored::offset_message_id(stored.store_host, stored.commit_log_offset).into();
        let message_id = stored.property(property::UNIQUE_KEY).cloned().unwrap_or_else(made);
        let keys = stored.property(property::KEYS);
        let keys = keys.iter().flat_map(|keys| keys.split_whitespace().map(|key| keys.slice_ref(key))).collect();
        let (tag, sharding_key) = (stored.property(property::TAGS), stored.property(property::SHARDING_KEY));
        let (tag, sharding_key) = (tag.cloned(), sharding_key.cloned());
        let (system_properties, properties): (Vec<_>, Vec<_>) =
            stored.properties.into_iter().partition(|(name, _)| property::is_reserved(name));
        Self {
            topic,
            message_id,
            broker_name: broker_name.clone(),
            queue_id: stored.queue_id,
            queue_offset: stored.queue_offset,
            commit_log_offset: stored.commit_log_offset,
            tag,
            keys,
            sharding_key,
            properties: properties.into(),
            system_properties: system_properties.into(),
            born_timestamp: stored.born_timestamp,
            born_host: Some(stored.born_host),
            store_timestamp: stored.store_timestamp,
            store_host: Some(stored.store_host),
            reconsume_times: stored.reconsume_times,
            sys_flag: stored.sys_flag,
            flag: stored.flag,
            body: stored.body,
        }
    }

    /// The broker's id of the stored copy; empty where that is not told.
    #[must_use]
    pub fn offset_message_id(&self) -> String {
        self.store_host.map(|host| stored::offset_message_id(host, self.commit_log_offset)).unwrap_or_default()
    }
}

/// `namespace%name`, unless there is no namespace or the name is RocketMQ's own.
pub(crate) fn with_namespace(namespace: Option<&str>, name: &str) -> String {
    match namespace.filter(|namespace| !namespace.is_empty()) {
        Some(namespace) if name != "TBW102" && !name.starts_with(&format!("{namespace}%")) => {
            format!("{namespace}%{name}")
        }
        _ => name.to_owned(),
    }
}

/// [`with_namespace`] of a shared text, which is copied only when something is added.
pub(crate) fn scoped(namespace: Option<&str>, name: &ByteString) -> ByteString {
    match namespace.filter(|namespace| !namespace.is_empty()) {
        Some(namespace) => with_namespace(Some(namespace), name).into(),
        None => name.clone(),
    }
}

/// The name without its namespace.
pub(crate) fn without_namespace<'a>(namespace: Option<&str>, name: &'a str) -> &'a str {
    let Some(namespace) = namespace.filter(|namespace| !namespace.is_empty()) else { return name };
    name.strip_prefix(namespace).and_then(|rest| rest.strip_prefix('%')).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use bytes::Buf as _;
    use proptest::prelude::*;

    use super::*;

    fn prepare(message: Message) -> Result<Outgoing> {
        Outgoing::prepare(message, None, 100, &[])
    }

    /// `MessageDecoder.decodeMessages` of Apache RocketMQ: flag, body and properties of each message of a batch.
    fn decode_batch(mut bytes: Bytes) -> Vec<(Bytes, String)> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let mut message = bytes.split_to(bytes.clone().get_i32() as usize);
            message.advance(16);
            let length = message.get_i32() as usize;
            let body = message.split_to(length);
            let length = message.get_i16() as usize;
            messages.push((body, String::from_utf8(message.split_to(length).to_vec()).unwrap()));
            assert!(message.is_empty());
        }
        messages
    }

    proptest! {
        #[test]
        fn batches_survive_a_round_trip(messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..100),
            prop::collection::btree_map("[a-z]{1,8}", "[^\u{1}\u{2}]{0,12}", 0..4)), 0..6)) {
            let messages: Vec<Outgoing> = messages.into_iter()
                .map(|(body, properties)| prepare(Message { properties: properties.into_iter().collect(), ..Message::new("t", body) }).unwrap()).collect();
            let mut bytes = BytesMut::new();
            messages.iter().for_each(|message| message.encode_in_batch(&mut bytes));
            prop_assert_eq!(bytes.len(), messages.iter().map(Outgoing::batch_bytes).sum::<usize>());
            let expected: Vec<_> = messages.into_iter().map(|message| (message.body, message.properties)).collect();
            prop_assert_eq!(decode_batch(bytes.freeze()), expected);
        }
    }

    #[test]
    fn bad_messages_are_refused_with_the_field() {
        let check = |message: Message, field: &str| {
            let error = prepare(message).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        };
        check(Message::new("", "x"), "topic:");
        check(Message::new("bad topic!", "x"), "topic:");
        check(Message::new("t".repeat(128), "x"), "topic:");
        check(Message::new("t", ""), "body:");
        check(Message::new("t", vec![0; 101]), "body:");
        check(Message::new("t", "x").with_key("a b"), "keys:");
        check(Message::new("t", "x").with_property("TAGS", "x"), "properties:");
        check(Message::new("t", "x").with_property("a", "\u{1}"), "properties:");
        check(Message::new("t", "x").with_property("a", "v".repeat(40_000)), "properties:");
        check(Message::new("t", "x").with_delay(Delay::Level(19)), "delay:");
    }

    #[test]
    fn namespaces_are_added_once_and_taken_off() {
        assert_eq!(with_namespace(Some("ns"), "t"), "ns%t");
        assert_eq!(with_namespace(Some("ns"), "ns%t"), "ns%t");
        assert_eq!(with_namespace(None, "t"), "t");
        assert_eq!(without_namespace(Some("ns"), "ns%t"), "t");
        assert_eq!(without_namespace(None, "ns%t"), "ns%t");
    }

    #[test]
    fn a_delayed_message_is_not_batchable() {
        assert!(prepare(Message::new("t", "x")).unwrap().batchable);
        assert!(!prepare(Message::new("t", "x").with_delay(Delay::Level(1))).unwrap().batchable);
    }
}
