//! A delivery: one message with the duty to settle it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::super::error::Result;
use super::super::message::ReceivedMessage;
use super::super::wire::Command;
use super::super::wire::codes::request;
use super::assigned::Assigned;
use super::member::Member;

/// Delays of the broker's levels 1 to 18, in seconds, as brokers have them by default.
const LEVEL_SECONDS: [u64; 18] =
    [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
/// Pause before a delivery is repeated here, because it was dropped or could not be handed back.
const LOCAL_PAUSE: Duration = Duration::from_secs(1);
/// Level that means the dead-letter topic.
const DEAD_LETTER: i32 = -1;

/// When a negatively acknowledged message is delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redelivery {
    /// As the broker does: 10 s, 30 s, 1 m … rising with each redelivery.
    BrokerDefault,
    /// After a delay level of the broker, 1 to 18.
    Level(u8),
    /// After the broker's level nearest to this wait; in ordered and broadcasting mode after exactly this wait.
    After(Duration),
}

impl Redelivery {
    fn level(self) -> i32 {
        match self {
            Redelivery::BrokerDefault => 0,
            Redelivery::Level(level) => i32::from(level.clamp(1, 18)),
            Redelivery::After(wait) => {
                let distance = |(_, seconds): &(usize, &u64)| Duration::from_secs(**seconds).abs_diff(wait);
                LEVEL_SECONDS.iter().enumerate().min_by_key(distance).map_or(1, |(at, _)| at as i32 + 1)
            }
        }
    }

    /// The wait when the message is kept here, after `attempts` deliveries.
    fn wait(self, attempts: i32) -> Duration {
        let seconds = |level: i32| Duration::from_secs(LEVEL_SECONDS[(level.clamp(1, 18) - 1) as usize]);
        match self {
            Redelivery::BrokerDefault => seconds(3 + attempts),
            Redelivery::Level(level) => seconds(i32::from(level)),
            Redelivery::After(wait) => wait,
        }
    }
}

/// How an ordered delivery ended.
pub(super) enum Outcome {
    Done,
    Again(Duration),
}

/// A message with the duty to settle it: acknowledge it, hand it back, or move it to the dead-letter topic. A delivery that is
/// dropped is delivered again after a pause.
pub struct Delivery {
    /// Boxed: a delivery passes through several hands.
    content: Option<Box<Content>>,
    handed_out: bool,
}

struct Content {
    message: ReceivedMessage,
    member: Arc<Member>,
    assigned: Arc<Assigned>,
    epoch: u64,
    /// Present in ordered mode, where the pull task waits for the outcome.
    outcome: Option<oneshot::Sender<Outcome>>,
    _limits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Delivery {
    pub(super) fn new(
        message: ReceivedMessage,
        member: Arc<Member>,
        assigned: Arc<Assigned>,
        outcome: Option<oneshot::Sender<Outcome>>,
        limits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    ) -> Self {
        let epoch = assigned.epoch();
        Self {
            content: Some(Box::new(Content { message, member, assigned, epoch, outcome, _limits: limits })),
            handed_out: false,
        }
    }

    /// Gives the delivery to the caller, unless its queue has gone to another member meanwhile.
    pub(super) fn hand_out(mut self) -> Option<Self> {
        let content = self.content.as_ref()?;
        if !content.assigned.hand_out() {
            self.content = None;
            return None;
        }
        content.member.count_handed_out();
        self.handed_out = true;
        Some(self)
    }

    /// The message.
    ///
    /// # Panics
    /// Never: the content is taken only by the methods that consume the delivery.
    #[must_use]
    pub fn message(&self) -> &ReceivedMessage {
        &self.content.as_ref().expect("a delivery should hold its message until it is settled").message
    }

    /// Number of the reading of its queue that it belongs to. It is higher each time that the consumer begins to read a queue, from what
    /// is committed or from where an operator has set it: because the queue has come to this member, also when it was here before.
    /// Offsets rise within one. Nothing comes of settling deliveries of an earlier one.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.content.as_ref().map_or(0, |content| content.epoch)
    }

    /// Whether its queue has gone to another member of the group, to which everything comes that is not acknowledged.
    #[must_use]
    pub fn has_moved(&self) -> bool {
        self.content.as_ref().is_some_and(|content| content.assigned.moved.load(Ordering::Relaxed))
    }

    /// Has its queue read again from what is committed, as another [`epoch`](Self::epoch): another member has gone on with it while this
    /// one did not know. Nothing, when that has been asked for since it was delivered.
    pub fn read_again(&self) {
        if let Some(content) = &self.content {
            content.assigned.request_another_reading(content.epoch);
        }
    }

    /// Neither acknowledges the message nor repeats it: for what is left of an earlier [`epoch`](Self::epoch).
    pub fn forget(mut self) {
        drop(self.take());
    }

    /// The message is done: it will not be delivered to this group again.
    pub fn ack(mut self) {
        if let Some(content) = self.take() {
            content.done();
        }
    }

    /// Keeps the duty to acknowledge and lets go of the message and its room among the open deliveries: for callers that gather many
    /// messages and acknowledge them, in order, when all are durable. Not in ordered mode, where the message is repeated.
    #[must_use]
    pub fn set_aside(mut self) -> Option<Aside> {
        let Content { message, assigned, epoch, outcome, .. } = *self.take()?;
        if outcome.is_some() {
            return None;
        }
        assigned.set_aside(epoch, message.queue_offset);
        Some(Aside { assigned, epoch })
    }

    /// The message is to be delivered again. In clustering mode the broker stores it in the group's retry topic, or in its
    /// dead-letter topic after the last redelivery; in ordered and broadcasting mode it waits here.
    ///
    /// # Errors
    /// The broker did not take it back; it is delivered again from here.
    pub async fn nack(mut self, redelivery: Redelivery) -> Result<()> {
        let Some(content) = &mut self.content else { return Ok(()) };
        let attempts = content.message.reconsume_times;
        if content.assigned.revoked.is_cancelled() {
            self.take();
            return Ok(()); // another member has the queue and gets the message
        }
        let last = attempts >= content.member.config.max_reconsume_times;
        if content.outcome.is_some() && !last {
            if let Some(outcome) = content.outcome.take() {
                // without a pull task the queue is revoked, and the broker repeats the message
                let _ = outcome.send(Outcome::Again(redelivery.wait(attempts)));
            }
            self.take();
            return Ok(());
        }
        if content.member.config.broadcasting {
            content.message.reconsume_times += 1;
            self.redeliver(redelivery.wait(attempts));
            return Ok(());
        }
        let level = if content.outcome.is_some() { DEAD_LETTER } else { redelivery.level() };
        self.send_back(level).await
    }

    /// Moves the message to the group's dead-letter topic (`%DLQ%group`). In broadcasting mode, which has none, it is done.
    ///
    /// # Errors
    /// The broker did not take it; it is delivered again from here.
    pub async fn dead_letter(mut self) -> Result<()> {
        if self.content.as_ref().is_none_or(|content| content.assigned.revoked.is_cancelled()) {
            self.take();
            return Ok(());
        }
        if self.message_member_is_broadcasting() {
            self.ack();
            return Ok(());
        }
        self.send_back(DEAD_LETTER).await
    }

    fn message_member_is_broadcasting(&self) -> bool {
        self.content.as_ref().is_some_and(|content| content.member.config.broadcasting)
    }

    /// `CONSUMER_SEND_MSG_BACK`; on failure the delivery is dropped, which repeats it.
    async fn send_back(mut self, level: i32) -> Result<()> {
        let Some(content) = &self.content else { return Ok(()) };
        let (message, client) = (&content.message, content.member.client());
        let request = Command::request(request::CONSUMER_SEND_MSG_BACK)
            .with("offset", message.commit_log_offset)
            .with("group", content.member.group())
            .with("delayLevel", level)
            .with("originMsgId", message.offset_message_id())
            .with("originTopic", &content.assigned.queue.topic)
            .with("unitMode", false)
            .with("maxReconsumeTimes", content.member.config.max_reconsume_times)
            .with("bname", &message.broker_name);
        let address = client.master_address(&message.broker_name)?;
        client.call(&address, request, &format!("handing back message {}", message.message_id)).await?;
        if let Some(content) = self.take() {
            content.done();
        }
        Ok(())
    }

    fn take(&mut self) -> Option<Box<Content>> {
        let content = self.content.take()?;
        if std::mem::take(&mut self.handed_out) {
            content.assigned.take_back();
            content.member.count_settled();
        }
        Some(content)
    }

    /// Puts the message into the channel again after a pause.
    fn redeliver(&mut self, pause: Duration) {
        let Some(content) = self.take() else { return };
        if content.assigned.revoked.is_cancelled() || content.member.is_leaving() || content.outcome.is_some() {
            return; // an ordered delivery's pull task sees that the sender is gone; else the broker repeats the message
        }
        let (member, revoked) = (content.member.clone(), content.assigned.revoked.clone());
        let deliveries = member.deliveries.clone();
        // No delivery before it is sent: where the runtime ends, a task is dropped before it has begun, and a delivery in it would
        // ask for the next one, without end.
        member.spawn(async move {
            let wait = async {
                tokio::time::sleep(pause).await;
                deliveries.reserve().await
            };
            if let Some(Ok(permit)) = revoked.run_until_cancelled(wait).await {
                permit.send(Delivery { content: Some(content), handed_out: false });
            }
        });
    }
}

/// The duty to acknowledge what was set aside of a queue. When it is dropped, nothing more of it is acknowledged, and the broker
/// repeats it to the next member.
pub struct Aside {
    assigned: Arc<Assigned>,
    epoch: u64,
}

impl Aside {
    /// See [`Delivery::has_moved`].
    #[must_use]
    pub fn has_moved(&self) -> bool {
        self.assigned.moved.load(Ordering::Relaxed)
    }

    /// See [`Delivery::read_again`].
    pub fn read_again(&self) {
        self.assigned.request_another_reading(self.epoch);
    }

    /// Everything of the queue up to this offset, and with it, is done.
    pub fn ack_until(&self, offset: i64) {
        self.assigned.settle_until(self.epoch, offset);
    }
}

impl Content {
    fn done(self) {
        self.assigned.settle(self.epoch, self.message.queue_offset);
        if let Some(outcome) = self.outcome {
            // without a pull task the queue is revoked
            let _ = outcome.send(Outcome::Done);
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.redeliver(LOCAL_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Runtime;
    use tokio_util::sync::CancellationToken;

    use super::super::super::client::Client;
    use super::super::super::config::ClientConfig;
    use super::super::super::route::Queue;
    use super::super::{ConsumerConfig, Subscription};
    use super::*;

    #[test]
    fn waits_become_the_nearest_level() {
        let level = |seconds: u64| Redelivery::After(Duration::from_secs(seconds)).level();
        assert_eq!([level(0), level(1), level(4), level(20), level(90), level(100_000)], [1, 1, 2, 3, 5, 18]);
        assert_eq!(Redelivery::BrokerDefault.level(), 0);
        assert_eq!(Redelivery::Level(99).level(), 18);
    }

    #[test]
    fn local_waits_follow_the_brokers_levels() {
        assert_eq!(Redelivery::BrokerDefault.wait(0), Duration::from_secs(10));
        assert_eq!(Redelivery::BrokerDefault.wait(100), Duration::from_secs(7200));
    }

    /// A delivery of a queue that stays assigned, and the channel in which it comes again.
    async fn delivery() -> (Delivery, tokio::sync::mpsc::Receiver<Delivery>) {
        let client = Client::new(ClientConfig::new(vec!["127.0.0.1:1".to_owned()])).unwrap();
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let member = Member::new(&client, ConsumerConfig::new("group", vec![Subscription::all("orders")]), sender);
        let queue = Queue { topic: "orders".into(), broker_name: "broker-a".into(), queue_id: 0 };
        let assigned = Arc::new(Assigned::new(queue, CancellationToken::new()));
        assigned.start_at(0, Some(0), 1);
        assigned.open(0);
        let permit = |limit: &Arc<tokio::sync::Semaphore>| limit.clone().try_acquire_owned().unwrap();
        let limits = (permit(&member.messages), permit(&member.bytes));
        (Delivery::new(message(), member, assigned, None, limits).hand_out().unwrap(), receiver)
    }

    fn message() -> ReceivedMessage {
        ReceivedMessage {
            topic: Default::default(),
            message_id: Default::default(),
            store_host: Default::default(),
            broker_name: Default::default(),
            queue_id: 0,
            queue_offset: 0,
            commit_log_offset: 0,
            body: Default::default(),
            tag: None,
            keys: Default::default(),
            sharding_key: None,
            properties: Default::default(),
            system_properties: Default::default(),
            born_timestamp: 0,
            born_host: Default::default(),
            store_timestamp: 0,
            reconsume_times: 0,
            sys_flag: 0,
            flag: 0,
        }
    }

    /// The offsets of what was delivered before are delivered again after a step back.
    #[tokio::test]
    async fn what_was_delivered_before_a_queue_was_begun_anew_settles_nothing_of_it() {
        let settlements: [fn(Delivery); 2] = [Delivery::ack, |delivery| delivery.set_aside().unwrap().ack_until(0)];
        for settle in settlements {
            let (delivery, _receiver) = delivery().await;
            let assigned = delivery.content.as_ref().unwrap().assigned.clone();
            assigned.start_at(0, None, 2);
            assigned.open(0);
            assigned.open(1);
            settle(delivery);
            assert_eq!((assigned.committable(), assigned.status().in_flight), (Some(0), 2));
        }
    }

    fn runtime() -> Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_delivery_that_is_dropped_with_its_runtime_does_not_ask_for_itself_without_end() {
        let runtime = runtime();
        let receiver = runtime.block_on(async {
            let (delivery, receiver) = delivery().await;
            tokio::spawn(async move {
                std::future::pending::<()>().await;
                delivery.ack();
            });
            tokio::task::yield_now().await;
            receiver
        });
        drop(runtime);
        drop(receiver);
    }

    #[test]
    fn a_delivery_that_is_dropped_outside_of_the_runtime_comes_again() {
        let runtime = runtime();
        let (delivery, mut receiver) = runtime.block_on(delivery());
        drop(delivery);
        let again = runtime.block_on(async { tokio::time::timeout(LOCAL_PAUSE * 5, receiver.recv()).await });
        again.unwrap().unwrap().forget();
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use tokio_util::sync::CancellationToken;

    use super::super::super::client::Client;
    use super::super::super::route::Queue;
    use super::super::{ConsumerConfig, Subscription};
    use super::*;

    /// A queue that is assigned without a broker, and read from where it is begun on.
    pub(crate) struct AssignedQueue {
        member: Arc<Member>,
        assigned: Arc<Assigned>,
        /// Everything below was pulled.
        pulled: i64,
    }

    impl AssignedQueue {
        /// The queue, begun as `epoch` at what is committed.
        pub(crate) fn begin(client: &Client, queue: Queue, committed: i64, epoch: u64) -> Self {
            let config = ConsumerConfig::new("group", vec![Subscription::all(&*queue.topic)]);
            let member = Member::new(client, config, tokio::sync::mpsc::channel(1).0);
            let assigned = Arc::new(Assigned::new(queue, CancellationToken::new()));
            assigned.start_at(committed, Some(committed), epoch);
            Self { member, assigned, pulled: committed }
        }

        /// Whether it was asked to begin anew since it has; asked once.
        pub(crate) fn is_to_begin_anew(&self) -> bool {
            self.assigned.take_reset().is_some()
        }

        /// Begins the queue anew, as `epoch` at what is committed.
        pub(crate) fn begin_anew(&mut self, committed: i64, epoch: u64) {
            self.assigned.start_at(committed, Some(committed), epoch);
            self.pulled = committed;
        }

        /// Pulls messages up to an offset.
        pub(crate) fn pull(&mut self, next: i64) {
            (self.pulled..next).for_each(|offset| self.assigned.open(offset));
            self.assigned.advance(next);
            self.pulled = self.pulled.max(next);
        }

        /// Everything below was pulled.
        pub(crate) fn pulled(&self) -> i64 {
            self.pulled
        }

        /// Hands out a message that was pulled; none when the queue has gone to another member.
        pub(crate) fn hand_out(&self, message: ReceivedMessage) -> Option<Delivery> {
            let permit = |limit: &Arc<tokio::sync::Semaphore>| limit.clone().try_acquire_owned().unwrap();
            let limits = (permit(&self.member.messages), permit(&self.member.bytes));
            Delivery::new(message, self.member.clone(), self.assigned.clone(), None, limits).hand_out()
        }

        /// The queue goes to another member.
        pub(crate) fn revoke(&self) {
            self.assigned.revoked.cancel();
            self.assigned.moved.store(true, Ordering::Relaxed);
        }

        /// The offset that is committed when it is committed now.
        pub(crate) fn committable(&self) -> i64 {
            self.assigned.committable().unwrap()
        }
    }

    impl Drop for AssignedQueue {
        fn drop(&mut self) {
            self.assigned.revoked.cancel();
        }
    }
}
