//! What flows through a pipeline: one message, or one change of one row.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use serde_json::{Map, Value};

use crate::rocketmq::Properties;

/// Fields of a row or of a JSON body.
pub type Fields = Map<String, Value>;

/// One message, or one change of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Where it stands in its source.
    pub position: Position,
    /// Topic or table (`schema.table`) that it comes from; a route changes it into the one that it goes to.
    pub entity: ByteString,
    /// What happened to the row; a plain message is an insert.
    pub operation: Operation,
    /// The content.
    pub payload: Payload,
    /// The row before an update or a deletion, as far as the source tells.
    pub before: Option<Fields>,
    /// Names of the fields that identify the row, when the source knows them.
    pub key_fields: Arc<[String]>,
    /// What RocketMQ knows about the message besides its body.
    pub message: MessageParts,
    /// When it happened at the source, milliseconds since the Unix epoch.
    pub at_millis: i64,
    /// The body as it was read, where the source has bodies: for dead letters, and for targets that take it as it is while
    /// [`is_changed`](Self::is_changed) is false.
    pub original: Option<Bytes>,
    /// Whether a transform has changed the content, so that [`original`](Self::original) is no longer it.
    pub is_changed: bool,
}

impl Record {
    /// Approximate number of bytes that it takes, by which batches and buffers are bounded.
    #[must_use]
    pub fn bytes(&self) -> usize {
        const OVERHEAD: usize = 256;
        let payload = match &self.payload {
            Payload::Raw(body) => body.len(),
            Payload::Fields { size, .. } => *size * 2,
        };
        payload + OVERHEAD
    }

    /// The fields; none of a raw body.
    #[must_use]
    pub fn fields(&self) -> Option<&Fields> {
        match &self.payload {
            Payload::Raw(_) => None,
            Payload::Fields { fields, .. } => Some(fields),
        }
    }

    /// The record as users find it again, for instance `topic orders, broker broker-a, queue 3, offset 17`.
    #[must_use]
    pub fn place(&self) -> String {
        let Position { partition, offset, index, .. } = &self.position;
        let mut parts = partition.split('@');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(topic), Some(broker), Some(queue)) => {
                format!("topic {topic}, broker {broker}, queue {queue}, offset {offset}")
            }
            _ => format!("{} at {partition} {offset}/{index}", self.entity),
        }
    }
}

/// Where a record stands in its source: totally ordered within a partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// What is read in order and acknowledged on its own: `topic@broker@queue`, or the name of a replication slot.
    pub partition: Arc<str>,
    /// Rises from record to record: a queue offset, or a log position.
    pub offset: u64,
    /// Rises among records of one offset, where a log position holds several.
    pub index: u32,
    /// Higher when the source has begun to read the partition anew in this session, so that what comes now may have come before and what
    /// came before is acknowledged no more: a queue has been with another member of the group, or was set to another offset. 0 where
    /// sources do that in a new session only.
    pub epoch: u64,
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It is new.
    Insert,
    /// It has changed.
    Update,
    /// It is gone.
    Delete,
    /// All rows of its table are gone; the record has the table's name as its only field.
    Truncate,
    /// The definition of its table has changed; the fields tell how.
    Definition,
}

impl Operation {
    /// Whether it is about one row, which has fields.
    #[must_use]
    pub fn is_row(self) -> bool {
        matches!(self, Self::Insert | Self::Update | Self::Delete)
    }
}

/// The content of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// Bytes that are not looked into.
    Raw(Bytes),
    /// Fields of a row or of a JSON body.
    Fields {
        /// The fields.
        fields: Fields,
        /// Bytes that they took where they were read.
        size: usize,
    },
}

/// What RocketMQ knows about a message besides its body; empty for rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageParts {
    /// Id by which users find the message.
    pub id: ByteString,
    /// Whether the sender gave the id, so that a copy may keep it.
    pub has_own_id: bool,
    /// Tag.
    pub tag: Option<ByteString>,
    /// Keys.
    pub keys: Vec<ByteString>,
    /// User properties.
    pub properties: Properties,
    /// Sharding key.
    pub sharding_key: Option<ByteString>,
    /// Its queue among those of its topic; none when that is not known.
    pub queue: Option<QueueOf>,
    /// When the sender made it, milliseconds since the Unix epoch.
    pub born_millis: i64,
    /// When the broker stored it, milliseconds since the Unix epoch; the same however often it comes.
    pub stored_millis: i64,
}

/// A queue by its number among all readable queues of a topic, in the order topic, broker, queue id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueOf {
    /// Number from 0.
    pub number: u32,
    /// How many there are.
    pub count: u32,
}

/// Why a record can never be processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// CamelCase reason.
    pub reason: &'static str,
    /// What is wrong, with field and value.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Invalid {
    /// An invalid record.
    pub fn new(reason: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { reason, message: message.into(), remedy: remedy.into() }
    }
}
