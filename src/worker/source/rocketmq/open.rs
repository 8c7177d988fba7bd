//! Deliveries that are not acknowledged, and those that the target gathers, of which only the duty to acknowledge is left.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::rocketmq::{Aside, Delivery, ReceivedMessage, property};

use super::super::super::record::Position;

/// What is open of each queue.
#[derive(Default)]
pub struct Open {
    partitions: HashMap<Arc<str>, Partition>,
    /// Names of partitions by topic, broker and queue id.
    names: HashMap<String, HashMap<String, HashMap<i32, Arc<str>>>>,
}

/// What is open of a queue since it was begun to be read the last time, in the order of offsets: first what was set aside.
#[derive(Default)]
struct Partition {
    /// See [`Position::epoch`].
    epoch: u64,
    aside: Option<SetAside>,
    deliveries: VecDeque<(u64, Delivery)>,
}

struct SetAside {
    duty: Aside,
    /// First and last offset.
    first: u64,
    last: u64,
}

impl Open {
    /// Name of a message's partition. Redeliveries, which other members of the group have asked for, are a queue of their own.
    pub fn partition(&mut self, message: &ReceivedMessage, group: &str) -> Arc<str> {
        let is_retry = message.system_properties.contains_key(property::RETRY_TOPIC);
        let topic = if is_retry { Cow::Owned(format!("%RETRY%{group}")) } else { Cow::Borrowed(&*message.topic) };
        let ReceivedMessage { broker_name: broker, queue_id: queue, .. } = message;
        let known = self.names.get(topic.as_ref()).and_then(|brokers| brokers.get(&**broker)?.get(queue));
        if let Some(name) = known {
            return Arc::clone(name);
        }
        let name: Arc<str> = format!("{topic}@{broker}@{queue}").into();
        let queues = self.names.entry(topic.into_owned()).or_default().entry(broker.to_string()).or_default();
        queues.insert(*queue, Arc::clone(&name));
        name
    }

    /// Takes a delivery, which comes after those before.
    pub fn push(&mut self, partition: Arc<str>, offset: u64, delivery: Delivery) {
        let partition = self.partitions.entry(partition).or_default();
        if partition.epoch != delivery.epoch() {
            partition.begin(delivery.epoch());
        }
        partition.deliveries.push_back((offset, delivery));
    }

    /// Acknowledges everything of a queue up to a position.
    ///
    /// Nothing, when the queue has been begun to be read anew after the record at the position: what was delivered since may have the same
    /// offsets and is still on its way to the target. With a part of it acknowledged, the queue would be committed at an offset that no
    /// target has ever been asked to stop at.
    pub fn acknowledge(&mut self, position: &Position) {
        let Some(partition) = self.of(position) else { return };
        if let Some(aside) = &mut partition.aside {
            aside.duty.ack_until(i64::try_from(position.offset).unwrap_or(i64::MAX));
            aside.first = aside.first.max(position.offset.saturating_add(1));
            if aside.first > aside.last {
                partition.aside = None;
            }
        }
        while partition.deliveries.front().is_some_and(|(offset, _)| *offset <= position.offset) {
            if let Some((_, delivery)) = partition.deliveries.pop_front() {
                delivery.ack();
            }
        }
    }

    /// Lets go of everything of a queue up to a position but the duty to acknowledge it.
    pub fn set_aside(&mut self, position: &Position) {
        let Some(partition) = self.of(position) else { return };
        while partition.deliveries.front().is_some_and(|(offset, _)| *offset <= position.offset) {
            let Some((offset, delivery)) = partition.deliveries.pop_front() else { break };
            let Some(duty) = delivery.set_aside() else { continue };
            let first = partition.aside.as_ref().map_or(offset, |aside| aside.first);
            partition.aside = Some(SetAside { duty, first, last: offset });
        }
    }

    /// Has a queue read again from what is acknowledged, and lets go of what is open of it: unless that has happened since the record at
    /// a position was read.
    pub fn read_again(&mut self, position: &Position) {
        let Some(partition) = self.of(position) else { return };
        match (partition.aside.take(), partition.deliveries.front()) {
            (Some(aside), _) => aside.duty.read_again(),
            (None, Some((_, delivery))) => delivery.read_again(),
            (None, None) => {}
        }
        partition.deliveries.drain(..).for_each(|(_, delivery)| delivery.forget());
    }

    /// Whether nobody else reads the queue since the record at a position was read here.
    #[must_use]
    pub fn is_held(&self, position: &Position) -> bool {
        let Some(partition) = self.partitions.get(&position.partition) else { return true };
        let has_moved = partition.aside.as_ref().is_some_and(|aside| aside.duty.has_moved())
            || partition.deliveries.front().is_some_and(|(_, delivery)| delivery.has_moved());
        partition.epoch == position.epoch && !has_moved
    }

    /// About how many messages of this worker's queues were set aside.
    #[must_use]
    pub fn aside_count(&self) -> u64 {
        self.partitions
            .values()
            .filter_map(|partition| partition.aside.as_ref().filter(|aside| !aside.duty.has_moved()))
            .map(|aside| aside.last - aside.first + 1)
            .sum()
    }

    /// Lets go of everything: it comes again.
    pub fn let_go(&mut self) {
        self.partitions.clear();
    }

    /// The queue of a position, unless it was begun to be read anew since.
    fn of(&mut self, position: &Position) -> Option<&mut Partition> {
        self.partitions.get_mut(&position.partition).filter(|partition| partition.epoch == position.epoch)
    }
}

impl Partition {
    /// Forgets what is open: it comes again, here or elsewhere.
    fn begin(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.aside = None;
        self.deliveries.drain(..).for_each(|(_, delivery)| delivery.forget());
    }
}
