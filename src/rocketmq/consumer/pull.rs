//! The pull task of a queue: finds where to start, asks the broker for messages, and turns them into deliveries.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::super::error::{Error, ErrorKind, Result};
use super::super::heartbeat;
use super::super::message::ReceivedMessage;
use super::super::route::MASTER_ID;
use super::super::wire::Command;
use super::super::wire::codes::{request, response};
use super::super::wire::stored::{self, StoredMessage};
use super::assigned::{Assigned, GoOn};
use super::delivery::{Delivery, Outcome};
use super::member::{Member, SubscribedTopic};
use super::offsets;

/// How long a broker may hold a pull without messages.
const SUSPEND: Duration = Duration::from_secs(15);
/// Pause after the first failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause after failures.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Pause before an ordered queue looks for its lock again.
const LOCK_PAUSE: Duration = Duration::from_millis(200);
/// Pause before an ordered delivery that was dropped is repeated.
const DROPPED_PAUSE: Duration = Duration::from_secs(1);
const FLAG_SUSPEND: i32 = 2;

/// Pulls a queue until it is revoked or the member leaves.
pub(super) async fn run(member: Arc<Member>, assigned: Arc<Assigned>, topic: SubscribedTopic) {
    let mut puller = Puller { member, assigned, topic, next: 0, broker_id: MASTER_ID };
    let (revoked, leaving) = (puller.assigned.revoked.clone(), puller.member.leaving().clone());
    let work = async {
        // the member that had the queue commits before it gives the lock back
        puller.await_lock().await;
        puller.find_start().await;
        puller.pull_for_ever().await;
    };
    revoked.run_until_cancelled(leaving.run_until_cancelled(work)).await;
}

struct Puller {
    member: Arc<Member>,
    assigned: Arc<Assigned>,
    topic: SubscribedTopic,
    next: i64,
    /// Replica that the broker suggests to read from.
    broker_id: i64,
}

/// What a pull brought.
enum Pulled {
    Messages(Vec<StoredMessage>),
    Nothing,
    /// The offset asked for is not one that the broker has.
    Moved,
}

impl Puller {
    /// Waits for the lock of an ordered queue.
    async fn await_lock(&self) {
        while self.member.is_ordered() && !self.assigned.is_locked() {
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }

    async fn find_start(&mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match offsets::start_position(&self.member, &self.assigned.queue).await {
                Ok((start, committed)) => {
                    self.next = start;
                    self.assigned.start_at(start, committed, self.member.next_epoch());
                    self.assigned.set_error(None);
                    return;
                }
                Err(error) => self.fail(error, &mut pause).await,
            }
        }
    }

    async fn pull_for_ever(&mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.assigned.take_reset() {
                Some(GoOn::At(offset)) => {
                    tracing::info!(queue = ?self.assigned.queue, offset, "the queue goes on at another offset");
                    self.go_to(offset);
                }
                Some(GoOn::AtCommitted) => {
                    self.find_start().await;
                    tracing::info!(queue = ?self.assigned.queue, offset = self.next, "the queue is begun anew at what is committed");
                }
                None => {}
            }
            if self.member.is_ordered() && !self.assigned.is_locked() {
                self.await_lock().await;
                continue; // another offset may have been asked for meanwhile
            }
            self.assigned.pulling.store(true, Ordering::Relaxed);
            let assigned = self.assigned.clone();
            let pulled = tokio::select! {
                pulled = self.pull() => pulled,
                () = assigned.reset_wanted.notified() => Ok(Pulled::Nothing),
            };
            self.assigned.pulling.store(false, Ordering::Relaxed);
            match pulled {
                Ok(Pulled::Messages(messages)) => {
                    let after = self.next;
                    self.deliver(messages).await;
                    self.assigned.advance(after);
                }
                Ok(Pulled::Nothing) => self.assigned.advance(self.next),
                Ok(Pulled::Moved) => {
                    tracing::warn!(queue = ?self.assigned.queue, offset = self.next, "the broker does not have the offset asked for; going on at the nearest");
                    self.go_to(self.next);
                }
                Err(error) => {
                    self.recover(&error).await;
                    self.fail(error, &mut pause).await;
                    continue;
                }
            }
            pause = FIRST_PAUSE;
            self.assigned.set_error(None);
        }
    }

    fn go_to(&mut self, offset: i64) {
        self.next = offset;
        self.assigned.start_at(offset, None, self.member.next_epoch());
    }

    async fn fail(&self, error: Error, pause: &mut Duration) {
        let before = self.assigned.error();
        // A broker that answers is back, if only without the subscription: it is asked again as soon as it was told of that.
        if error.broker_code().is_some() && before.as_ref().is_some_and(|before| before.broker_code().is_none()) {
            *pause = FIRST_PAUSE;
        }
        if before.is_none_or(|before| before.to_string() != error.to_string()) {
            tracing::warn!(queue = ?self.assigned.queue, %error, remedy = error.remedy(), "a queue cannot be read now");
        }
        self.assigned.set_error(Some(error));
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(MAX_PAUSE);
    }

    /// Makes a repetition promising: the broker may have forgotten the subscription, or may have moved.
    async fn recover(&mut self, error: &Error) {
        let client = self.member.client();
        match error.broker_code() {
            Some(
                response::SUBSCRIPTION_NOT_EXIST
                | response::SUBSCRIPTION_NOT_LATEST
                | response::FILTER_DATA_NOT_EXIST
                | response::FILTER_DATA_NOT_LATEST,
            ) => {
                if let Ok(address) = client.broker_address(&self.assigned.queue.broker_name, self.broker_id, false)
                    && let Err(error) = heartbeat::beat_address(client, &address).await
                {
                    self.assigned.set_error(Some(error));
                }
            }
            _ => {
                self.broker_id = MASTER_ID;
                if let Err(error) = client.refresh_route(&self.assigned.queue.topic).await {
                    tracing::debug!(%error, "the route could not be renewed");
                }
            }
        }
    }

    async fn pull(&mut self) -> Result<Pulled> {
        let client = self.member.client();
        let address = client.broker_address(&self.assigned.queue.broker_name, self.broker_id, false)?;
        let limit = SUSPEND + client.config.request_timeout * 2;
        let answer = client.exchange(&address, self.request(), limit).await?;
        if let Some(max) = answer.number("maxOffset") {
            self.assigned.max_offset.store(max, Ordering::Relaxed);
        }
        self.broker_id = answer.number("suggestWhichBrokerId").unwrap_or(MASTER_ID);
        let next = answer.number("nextBeginOffset");
        match i32::from(answer.code) {
            response::SUCCESS => {
                let messages = stored::decode_all(answer.body).map_err(|error| {
                    Error::new(
                        ErrorKind::Protocol,
                        format!("{address}: messages of {:?}: {error}", self.assigned.queue),
                    )
                })?;
                self.next =
                    next.or_else(|| messages.last().map(|message| message.queue_offset + 1)).unwrap_or(self.next);
                Ok(Pulled::Messages(messages))
            }
            response::PULL_NOT_FOUND | response::PULL_RETRY_IMMEDIATELY => {
                self.next = next.unwrap_or(self.next).max(self.next);
                Ok(Pulled::Nothing)
            }
            response::PULL_OFFSET_MOVED => {
                self.next = next.unwrap_or(self.next).max(0);
                Ok(Pulled::Moved)
            }
            code => Err(Error::from_response(
                code,
                &answer.remark,
                &address,
                &format!("topic {}", self.assigned.queue.topic),
            )),
        }
    }

    /// A pull that commits nothing: brokers handle requests side by side, and could set back what is committed meanwhile.
    fn request(&self) -> Command {
        let (kind, _) = self.topic.expression();
        let queue = &self.assigned.queue;
        Command::request(request::PULL_MESSAGE)
            .with("consumerGroup", self.member.group())
            .with("topic", &queue.topic)
            .with("queueId", queue.queue_id)
            .with("queueOffset", self.next)
            .with("maxMsgNums", self.member.config.pull_batch_size)
            .with("sysFlag", FLAG_SUSPEND)
            .with("commitOffset", 0)
            .with("suspendTimeoutMillis", SUSPEND.as_millis())
            .with("subVersion", self.topic.version)
            .with("expressionType", kind)
            .with("bname", &queue.broker_name)
    }

    async fn deliver(&mut self, messages: Vec<StoredMessage>) {
        // all are registered before the first can be settled, so that the committed offset never jumps over one
        messages.iter().for_each(|message| self.assigned.open(message.queue_offset));
        let namespace = self.member.client().config.namespace.clone();
        for stored in messages {
            let message = ReceivedMessage::from_stored(stored, &self.assigned.queue.broker_name, namespace.as_deref());
            if !self.topic.accepts(message.tag.as_deref()) {
                self.assigned.settle(self.assigned.epoch(), message.queue_offset);
            } else if self.member.is_ordered() {
                self.deliver_in_order(message).await;
            } else {
                self.hand_over(message, None).await;
            }
        }
    }

    /// Repeats a message in its place until it is settled.
    async fn deliver_in_order(&self, mut message: ReceivedMessage) {
        loop {
            self.await_lock().await;
            let (sender, outcome) = oneshot::channel();
            self.hand_over(message.clone(), Some(sender)).await;
            match outcome.await {
                Ok(Outcome::Done) => return,
                Ok(Outcome::Again(pause)) => tokio::time::sleep(pause).await,
                Err(_) => tokio::time::sleep(DROPPED_PAUSE).await,
            }
            message.reconsume_times += 1;
        }
    }

    /// Waits for room and gives the message to the caller's side.
    async fn hand_over(&self, message: ReceivedMessage, outcome: Option<oneshot::Sender<Outcome>>) {
        let bytes = message.body.len().clamp(1, self.member.config.max_in_flight_bytes.min(u32::MAX as usize)) as u32;
        let limits = async {
            let message = self.member.messages.clone().acquire_owned().await.ok()?;
            let bytes = self.member.bytes.clone().acquire_many_owned(bytes).await.ok()?;
            Some((message, bytes))
        };
        let Some(limits) = limits.await else { return };
        let delivery = Delivery::new(message, self.member.clone(), self.assigned.clone(), outcome, limits);
        // a closed channel means that the consumer was dropped: brokers repeat the message
        let _ = self.member.deliveries.send(delivery).await;
    }
}
