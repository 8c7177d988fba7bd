//! How deliveries end: acknowledged, handed back, or moved to the dead-letter topic; and what the app asks for in its answer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;

use super::super::super::error::rocketmq_report;
use super::super::app::{Failure, Reply};
use super::super::backoff;
use super::super::health::Part;
use super::super::request::Publication;
use super::super::trace::TraceContext;
use super::Input;
use super::receiver::Incoming;
use crate::rocketmq::{self, Message, ReceivedMessage};

/// Properties of a message in a dead-letter topic of the binding's own: where it comes from, and how often it was tried.
const ORIGIN_TOPIC: &str = "dead-letter-origin-topic";
const ORIGIN_MESSAGE_ID: &str = "dead-letter-origin-message-id";
const ORIGIN_ATTEMPTS: &str = "dead-letter-attempts";

impl Input {
    pub(super) fn acknowledge(&self, group: Vec<Incoming>, elapsed: Duration) {
        for delivery in group {
            delivery.ack();
            self.metrics.input.succeed(elapsed);
        }
        self.failures_in_a_row.store(0, Ordering::Relaxed);
        self.health.clear(Part::App);
    }

    pub(super) async fn hand_back_all(&self, group: Vec<Incoming>, attempt: u32) {
        join_all(group.into_iter().map(|delivery| self.hand_back(delivery, attempt))).await;
    }

    pub(super) async fn dead_letter_all(&self, group: Vec<Incoming>, attempt: u32) {
        join_all(group.into_iter().map(|delivery| self.dead_letter(delivery, attempt))).await;
    }

    async fn hand_back(&self, delivery: Incoming, attempt: u32) {
        match delivery.nack(backoff::redelivery(&self.config.redelivery.backoff, attempt)).await {
            Ok(()) => _ = self.metrics.redelivered.inc(),
            Err(error) => self.broker_failed("failed to hand a message back for redelivery", &error),
        }
    }

    async fn dead_letter(&self, delivery: Incoming, attempt: u32) {
        let (topic, message_id) = (delivery.message().topic.clone(), delivery.message().message_id.clone());
        let moved = match &self.config.dead_letter_topic {
            Some(own) => self.move_to(own, delivery, attempt).await,
            None => delivery.dead_letter().await,
        };
        match moved {
            Ok(()) => {
                tracing::warn!(
                    %topic,
                    %message_id,
                    attempt,
                    group = self.binding.group,
                    "message moved to the dead-letter topic"
                );
                self.metrics.dead_lettered.inc();
            }
            Err(error) => self.broker_failed("failed to move a message to the dead-letter topic", &error),
        }
    }

    fn broker_failed(&self, what: &str, error: &rocketmq::Error) {
        tracing::warn!(%error, "{what}; it will be delivered again");
        self.metrics.input.fail(error.reason());
        self.reporter.record_error(rocketmq_report(what, error));
    }

    /// Stores a copy in a topic of the binding's own choice. The message is acknowledged when the broker has the copy.
    async fn move_to(&self, topic: &str, delivery: Incoming, attempt: u32) -> rocketmq::Result<()> {
        let message = delivery.message();
        let mut copy = Message::new(topic, message.body.clone());
        copy.tag.clone_from(&message.tag);
        copy.keys.clone_from(&message.keys);
        copy.properties.clone_from(&message.properties);
        let origin = [
            (ORIGIN_TOPIC, message.topic.clone()),
            (ORIGIN_MESSAGE_ID, message.message_id.clone()),
            (ORIGIN_ATTEMPTS, attempt.to_string().into()),
        ];
        copy.properties.extend(origin);
        self.output.forward(copy).await?;
        delivery.ack();
        Ok(())
    }

    /// Publishes the data of an answer, if it is for this binding: a worker knows no other.
    pub(super) async fn carry_out(&self, reply: Reply, message: &ReceivedMessage) -> std::result::Result<(), Failure> {
        let own = &self.binding.name;
        if let Some(other) = reply.to.iter().find(|name| *name != own || self.binding.output.is_none()) {
            return Err(Failure::Reply(format!("couldn't find output binding {other}")));
        }
        let publication = Publication::traced(TraceContext::from_properties(&message.properties));
        let outcomes = self.output.publish(&publication, reply.data).await;
        let outcomes = outcomes.map_err(|error| Failure::Reply(error.to_string()))?;
        match outcomes.into_iter().find_map(|(topic, outcome)| Some((topic, outcome.err()?))) {
            Some((topic, error)) => Err(Failure::Reply(format!("topic {topic}: {error}; {}", error.remedy()))),
            None => Ok(()),
        }
    }
}
