//! A delivery: one message that is acknowledged, or left to come again.

use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::message::Received;
use crate::rocketmq::ReceivedMessage;

/// A message with what acknowledges it. One that is dropped comes again when the service's time for it is over: the protocol
/// has no request that hands it back sooner.
pub struct HttpDelivery {
    pub(super) message: ReceivedMessage,
    pub(super) receipt: String,
    /// When the service delivers it again.
    pub(super) ends: Instant,
    pub(super) acknowledgements: mpsc::UnboundedSender<Acknowledgement>,
    /// Present in ordered mode, where the next message waits for the outcome.
    pub(super) outcome: Option<oneshot::Sender<bool>>,
    pub(super) open: TaskTrackerToken,
}

/// A receipt on its way to the service. There are never more of them than open deliveries, which are bounded.
pub struct Acknowledgement {
    pub(super) receipt: String,
    /// Told whether the service took it.
    pub(super) outcome: Option<oneshot::Sender<bool>>,
    /// The delivery stays open until the service has answered.
    pub(super) _open: TaskTrackerToken,
}

impl HttpDelivery {
    /// The message.
    #[must_use]
    pub fn message(&self) -> &ReceivedMessage {
        &self.message
    }

    /// Whether the service delivers the message again, so that this delivery is not worth the work any more.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.ends <= Instant::now()
    }

    /// The message is done: it will not be delivered to this group again, unless the acknowledgement comes too late.
    pub fn ack(self) {
        let Self { receipt, acknowledgements, outcome, open, .. } = self;
        // Without a receiver the process ends, and the message comes again.
        let _ = acknowledgements.send(Acknowledgement { receipt, outcome, _open: open });
    }
}

impl std::fmt::Debug for HttpDelivery {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("HttpDelivery").field("message_id", &self.message.message_id).finish_non_exhaustive()
    }
}

/// How far away `received` is from its next delivery, by this process's clock.
pub(super) fn ends(received: &Received, skew_seconds: i64) -> Instant {
    let now = jiff::Timestamp::now().as_millisecond();
    let theirs = now.saturating_sub(skew_seconds.saturating_mul(1_000));
    let left = received.next_consume_millis.saturating_sub(theirs).clamp(0, 24 * 60 * 60 * 1_000);
    Instant::now() + std::time::Duration::from_millis(u64::try_from(left).unwrap_or(0))
}
