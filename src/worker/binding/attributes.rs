//! What is known about a message beside its body, under the names that apps and callers see.

use std::collections::BTreeMap;

use super::trace::TraceContext;
use crate::rocketmq::ReceivedMessage;

/// The attributes of a message; `redeliveries` is how often it has been delivered before.
#[must_use]
pub fn attributes(message: &ReceivedMessage, redeliveries: u32, trace: &TraceContext) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::new();
    let mut insert = |name: &str, value: String| attributes.insert(name.to_owned(), value);
    insert("rocketmq-topic", message.topic.to_string());
    insert("rocketmq-message-id", message.message_id.to_string());
    insert("rocketmq-born-time", message.born_timestamp.to_string());
    insert("rocketmq-store-time", message.store_timestamp.to_string());
    insert("rocketmq-redelivery-count", redeliveries.to_string());
    // A message that came over HTTP has no place that is known.
    if message.queue_id >= 0 {
        insert("rocketmq-broker-name", message.broker_name.to_string());
        insert("rocketmq-queue-id", message.queue_id.to_string());
        insert("rocketmq-queue-offset", message.queue_offset.to_string());
    }
    if let Some(tag) = &message.tag {
        insert("rocketmq-tag", tag.to_string());
    }
    if !message.keys.is_empty() {
        insert("rocketmq-keys", message.keys.join(" "));
    }
    trace.store(&mut attributes);
    attributes
}
