//! Messages on their way through a pipeline, up to its target, with the pipeline's own code.

use super::super::format;
use super::super::record::{Position, Record};
use super::super::source::rocketmq::record;
use super::super::transform::Steps;
use crate::rocketmq::ReceivedMessage;
use crate::worker_config::SyncConfig;
use crate::worker_config::sync::{FilterConfig, RocketMqSourceConfig};

/// The record that a message comes to the target as; none when it is filtered or invalid.
#[must_use]
pub fn through(
    config: &SyncConfig,
    source: &RocketMqSourceConfig,
    steps: &Steps,
    message: &ReceivedMessage,
) -> Option<Record> {
    if let FilterConfig::Tags(tags) = &source.filter
        && !message.tag.as_ref().is_some_and(|tag| tags.iter().any(|wanted| tag == wanted))
    {
        return None;
    }
    let offset = u64::try_from(message.queue_offset).unwrap_or_default();
    let partition = partition(&message.topic, &message.broker_name, message.queue_id).into();
    let mut record = record(message, Position { partition, offset, index: 0, epoch: 0 }, None);
    let kept = format::decode(config.format, &mut record)
        .and_then(|kept| Ok(kept && (!record.operation.is_row() || steps.apply(&mut record)?)));
    // What is invalid is left out or in the dead-letter topic, or has stopped the pipeline before it was acknowledged.
    kept.ok().filter(|kept| *kept).map(|_| record)
}

/// The partition of a queue, as the source names it; its topic without the namespace.
#[must_use]
pub fn partition(topic: &str, broker: &str, queue: i32) -> String {
    format!("{topic}@{broker}@{queue}")
}
