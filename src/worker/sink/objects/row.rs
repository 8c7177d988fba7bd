//! A record as objects hold it: the same fields in each format.

use crate::rocketmq::Properties;
use bytestring::ByteString;

use bytes::Bytes;

use super::super::super::format::{self, operation_name};
use super::super::super::record::{Invalid, Record};
use crate::worker_config::sync::Format;

/// A record as objects hold it.
pub struct Row<'a> {
    /// Topic, or what a route made of it.
    pub topic: &'a str,
    /// Broker and queue that it was read from.
    pub broker: &'a str,
    /// See `broker`.
    pub queue: i32,
    /// Offset in the queue.
    pub offset: i64,
    /// Id by which users find the message.
    pub message_id: &'a str,
    /// What happened to the row; `insert` for a plain message.
    pub operation: &'static str,
    /// Tag.
    pub tag: Option<&'a str>,
    /// Keys.
    pub keys: &'a [ByteString],
    /// Sharding key.
    pub sharding_key: Option<&'a str>,
    /// User properties.
    pub properties: &'a Properties,
    /// When the sender made it, milliseconds since the Unix epoch.
    pub born_millis: i64,
    /// When the broker stored it, milliseconds since the Unix epoch.
    pub stored_millis: i64,
    /// The body: JSON unless the format is `Raw`.
    pub body: Bytes,
}

impl<'a> Row<'a> {
    /// The row of a record.
    ///
    /// # Errors
    /// The body cannot be written in the format.
    pub fn of(record: &'a Record, format: Format) -> Result<Self, Invalid> {
        let body = format::encode(format, record)?;
        let (broker, queue) = queue_of(&record.position.partition);
        let parts = &record.message;
        Ok(Self {
            topic: &record.entity,
            broker,
            queue,
            offset: i64::try_from(record.position.offset).unwrap_or(i64::MAX),
            message_id: &parts.id,
            operation: operation_name(record.operation),
            tag: parts.tag.as_deref(),
            keys: &parts.keys,
            sharding_key: parts.sharding_key.as_deref(),
            properties: &parts.properties,
            born_millis: parts.born_millis,
            stored_millis: parts.stored_millis,
            body,
        })
    }
}

/// Broker and queue of a partition `topic@broker@queue`.
#[must_use]
pub fn queue_of(partition: &str) -> (&str, i32) {
    let mut parts = partition.rsplit('@');
    let queue = parts.next().and_then(|queue| queue.parse().ok()).unwrap_or_default();
    (parts.next().unwrap_or_default(), queue)
}
