//! Makes a message of a record.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use bytestring::ByteString;
use serde_json::Value;

use super::super::super::format::{self, OPERATION_PROPERTY};
use super::super::super::record::{Fields, Invalid, Record};
use crate::rocketmq::route::Queue;
use crate::rocketmq::{Delay, Message};
use crate::worker_config::SyncConfig;
use crate::worker_config::sync::{DelayConfig, Format, PatternError, RocketMqTargetConfig, SourceConfig, TopicMap};

/// Property with the places that a message has been at, oldest first: `cluster/topic,cluster/topic`.
pub const ORIGIN_PROPERTY: &str = "connector-origin";
/// Property with the time at which the original was made, milliseconds since the Unix epoch.
pub const BORN_PROPERTY: &str = "connector-born-time";
const INVALID_FIELD: &str = "InvalidField";

/// Makes messages of records.
pub struct Composer {
    target: RocketMqTargetConfig,
    topics: Option<TopicMap>,
    format: Format,
    /// Name of the source's cluster, when the source is RocketMQ.
    source_cluster: Option<String>,
    /// Names for the records of each partition, as its last record had them.
    names: Mutex<HashMap<Arc<str>, Names>>,
}

/// What the messages of a topic or table have in common.
#[derive(Clone)]
struct Names {
    /// The topic or table.
    entity: ByteString,
    /// Topic that it goes to.
    topic: ByteString,
    /// The target, as the loop guard names it.
    here: Arc<str>,
    /// The source, as the loop guard names it; none of a database.
    origin: Option<ByteString>,
    /// Whether a topic would be copied to itself.
    is_its_own: bool,
}

impl Composer {
    /// A composer for a pipeline.
    ///
    /// # Errors
    /// The mapping of topics cannot be used; the operator refuses such a spec.
    pub fn new(config: &SyncConfig, target: &RocketMqTargetConfig) -> Result<Self, PatternError> {
        let source_cluster = match &config.source {
            SourceConfig::RocketMq(source) => Some(source.cluster_id.clone()),
            SourceConfig::Postgres(_) | SourceConfig::MySql(_) => None,
        };
        let topics = target.topic_map.as_deref().map(TopicMap::compile).transpose()?;
        let names = Mutex::default();
        Ok(Self { target: target.clone(), topics, format: config.format, source_cluster, names })
    }

    /// The message of a record; none when it has been at the target before, in two-way replication.
    ///
    /// # Errors
    /// The body or a field cannot be used.
    pub fn compose(&self, record: &Record) -> Result<Option<Message>, Invalid> {
        let names = self.names(record);
        let before = record.message.properties.get(ORIGIN_PROPERTY);
        if names.is_its_own || before.is_some_and(|places| places.split(',').any(|place| *place == *names.here)) {
            return Ok(None);
        }
        let body = format::encode(self.format, record)?;
        let mut message = Message { topic: names.topic, body, ..Message::default() };
        if record.operation.is_row() {
            self.describe(record, &mut message)?;
        }
        message.properties.clone_from(&record.message.properties);
        if let Some(origin) = names.origin {
            let origin = before.map_or(origin.clone(), |places| format!("{places},{origin}").into());
            message.properties.insert(ByteString::from_static(ORIGIN_PROPERTY), origin);
            let born = || record.message.born_millis.to_string().into();
            message.properties.insert_missing(ByteString::from_static(BORN_PROPERTY), born);
        }
        if self.format == Format::Tapdata || self.source_cluster.is_none() {
            let operation = ByteString::from_static(format::operation_name(record.operation));
            message.properties.insert(ByteString::from_static(OPERATION_PROPERTY), operation);
        }
        Ok(Some(message))
    }

    /// The names for a record, which is mostly of the same topic as the one before it.
    fn names(&self, record: &Record) -> Names {
        let mut known = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let partition = &record.position.partition;
        if let Some(names) = known.get(partition).filter(|names| names.entity == record.entity) {
            return names.clone();
        }
        let topic = self.topic_of(record);
        let from = partition.split('@').next().unwrap_or_default();
        let names = Names {
            entity: record.entity.clone(),
            here: format!("{}/{topic}", self.target.cluster_id).into(),
            origin: self.source_cluster.as_ref().map(|cluster| format!("{cluster}/{from}").into()),
            is_its_own: topic == from && self.source_cluster.as_ref() == Some(&self.target.cluster_id),
            topic: topic.into(),
        };
        known.insert(Arc::clone(partition), names.clone());
        names
    }

    /// The topic that a record goes to. A table's name has a dot, which topics cannot have.
    fn topic_of(&self, record: &Record) -> String {
        if let Some(topic) = &self.target.topic {
            return topic.clone();
        }
        let name = record.entity.replace('.', "_");
        self.topics.as_ref().map_or_else(|| name.clone(), |topics| topics.target_of(&name))
    }

    /// Tag, keys, sharding key, id and delay.
    fn describe(&self, record: &Record, message: &mut Message) -> Result<(), Invalid> {
        let parts = &record.message;
        // The broker's own id, by which a message without an id is known, holds an address of the source.
        message.id = (!parts.id.is_empty() && parts.has_own_id).then(|| parts.id.clone());
        message.tag = match &self.target.tag_field {
            Some(field) => Some(text_of(record, "target.tags", field)?.into()),
            None => parts.tag.clone(),
        };
        message.keys = match &self.target.key_fields {
            Some(fields) => fields
                .iter()
                .map(|field| Ok(text_of(record, "target.keys", field)?.into()))
                .collect::<Result<_, Invalid>>()?,
            None if parts.keys.is_empty() => row_key(record).map(ByteString::from).into_iter().collect(),
            None => parts.keys.clone(),
        };
        message.sharding_key = match &self.target.sharding_key_field {
            Some(field) => Some(text_of(record, "target.shardingKey", field)?.into()),
            None => parts.sharding_key.clone().or_else(|| row_key(record).map(ByteString::from)),
        };
        message.delay = match &self.target.delay {
            None => None,
            Some(DelayConfig::Level(level)) => Some(Delay::Level(*level)),
            Some(DelayConfig::Field(field)) => Some(Delay::At(moment_of(record, field)?)),
        };
        Ok(())
    }

    /// Gives a message the queue that keeps its order: by the sharding field that the sync names, else the queue of the same
    /// number where counts agree, else one for all messages of a source queue.
    pub fn choose_queue(&self, record: &Record, message: &mut Message, queues: &[Queue]) {
        if self.target.sharding_key_field.is_some() || queues.is_empty() {
            return;
        }
        let number = match record.message.queue {
            Some(queue) if queue.count as usize == queues.len() => queue.number as usize,
            // With another number of queues a sharding key says better what belongs together.
            _ if message.sharding_key.is_some() => return,
            Some(queue) => queue.number as usize,
            None => {
                let mut hasher = DefaultHasher::new();
                record.position.partition.hash(&mut hasher);
                (hasher.finish() % queues.len() as u64) as usize
            }
        };
        let queue = &queues[number % queues.len()];
        message.queue = Some((queue.broker_name.clone(), queue.queue_id));
    }
}

/// The values of the key fields of a row, which tell its changes from those of others.
fn row_key(record: &Record) -> Option<String> {
    let fields = record.fields().filter(|_| !record.key_fields.is_empty())?;
    let values: Option<Vec<String>> =
        record.key_fields.iter().map(|field| fields.get(field).and_then(plain_text)).collect();
    Some(values?.join("_").replace(char::is_whitespace, "_"))
}

fn text_of(record: &Record, setting: &str, field: &str) -> Result<String, Invalid> {
    let fields = record.fields();
    let value = fields.and_then(|fields| lookup(fields, field));
    value.and_then(plain_text).filter(|text| !text.is_empty()).ok_or_else(|| {
        Invalid::new(
            INVALID_FIELD,
            format!("{setting}: the record has no text or number in its field {field:?}"),
            "name a field that every record has, or let a transform add it",
        )
    })
}

fn moment_of(record: &Record, field: &str) -> Result<i64, Invalid> {
    let value = record.fields().and_then(|fields| lookup(fields, field));
    let moment = match value {
        Some(Value::Number(millis)) => millis.as_i64(),
        Some(Value::String(text)) => {
            text.parse::<i64>().ok().or_else(|| text.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond()))
        }
        _ => None,
    };
    moment.ok_or_else(|| {
        Invalid::new(
            INVALID_FIELD,
            format!("target.delay.field: the record has no RFC 3339 time or milliseconds in its field {field:?}"),
            "name a field with the time of delivery, such as 2026-12-01T08:00:00Z or 1796112000000",
        )
    })
}

/// A field by name, or by a path with dots.
fn lookup<'a>(fields: &'a Fields, path: &str) -> Option<&'a Value> {
    if let Some(value) = fields.get(path) {
        return Some(value);
    }
    let mut parts = path.split('.');
    let first = fields.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

fn plain_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
