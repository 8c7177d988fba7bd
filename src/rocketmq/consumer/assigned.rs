//! A queue that is assigned to this member.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::super::client::lock;
use super::super::error::Error;
use super::super::route::Queue;
use super::QueueStatus;
use super::tracker::Tracker;

/// Where a queue is to go on that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GoOn {
    /// At an offset, as an operator asked.
    At(i64),
    /// At what is committed.
    AtCommitted,
}

/// State of an assigned queue, shared by its pull task, its deliveries and the committer.
pub(crate) struct Assigned {
    pub queue: Queue,
    /// Cancelled when this member ends to read the queue.
    pub revoked: CancellationToken,
    /// Set when another member reads it from now on, and not when nobody does.
    pub moved: AtomicBool,
    /// Offset of the next message that the broker will store; -1 before its first answer.
    pub max_offset: AtomicI64,
    /// Whether a pull is waiting at the broker, so that `max_offset` is fresh.
    pub pulling: AtomicBool,
    tracker: Mutex<Tracker>,
    committed: AtomicI64,
    started: AtomicBool,
    epoch: AtomicU64,
    reset_to: Mutex<Option<GoOn>>,
    /// Ends a pull that waits at the broker, because the queue is to go on elsewhere.
    pub reset_wanted: Notify,
    /// Held while an offset is being committed.
    pub commit_turn: tokio::sync::Mutex<()>,
    locked_at: Mutex<Option<Instant>>,
    handed_out: AtomicUsize,
    error: Mutex<Option<Error>>,
}

impl Assigned {
    pub fn new(queue: Queue, revoked: CancellationToken) -> Self {
        Self {
            queue,
            revoked,
            moved: AtomicBool::new(false),
            max_offset: AtomicI64::new(-1),
            pulling: AtomicBool::new(false),
            tracker: Mutex::default(),
            committed: AtomicI64::new(-1),
            started: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            reset_to: Mutex::default(),
            reset_wanted: Notify::new(),
            commit_turn: tokio::sync::Mutex::default(),
            locked_at: Mutex::default(),
            handed_out: AtomicUsize::new(0),
            error: Mutex::default(),
        }
    }

    /// Begins at an offset, as `epoch`; `committed` is what the broker has already.
    pub fn start_at(&self, offset: i64, committed: Option<i64>, epoch: u64) {
        let mut tracker = lock(&self.tracker);
        tracker.reset(offset);
        // With the tracker locked, see `of_epoch`.
        self.epoch.store(epoch, Ordering::Relaxed);
        drop(tracker);
        self.committed.store(committed.unwrap_or(-1), Ordering::Relaxed);
        self.started.store(true, Ordering::Release);
    }

    /// See [`Delivery::epoch`](super::Delivery::epoch).
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    pub fn open(&self, offset: i64) {
        lock(&self.tracker).open(offset);
    }

    pub fn advance(&self, next: i64) {
        lock(&self.tracker).advance(next);
    }

    /// Settles an offset that was opened in `epoch`; like the next ones nothing if that is over, since the same offset may be open
    /// again by now.
    pub fn settle(&self, epoch: u64, offset: i64) {
        self.of_epoch(epoch, |tracker| tracker.settle(offset));
    }

    /// What is open up to an offset will be settled in order, see [`Tracker::set_aside`].
    pub fn set_aside(&self, epoch: u64, offset: i64) {
        self.of_epoch(epoch, |tracker| tracker.set_aside(offset));
    }

    pub fn settle_until(&self, epoch: u64, offset: i64) {
        self.of_epoch(epoch, |tracker| tracker.settle_until(offset));
    }

    fn of_epoch(&self, epoch: u64, change: impl FnOnce(&mut Tracker)) {
        let mut tracker = lock(&self.tracker);
        if self.epoch() == epoch {
            change(&mut tracker);
        }
    }

    /// The offset to commit; none before the start position is known.
    pub fn committable(&self) -> Option<i64> {
        self.started.load(Ordering::Acquire).then(|| lock(&self.tracker).committable())
    }

    /// The offset to commit when the broker does not have it yet.
    pub fn uncommitted(&self) -> Option<i64> {
        self.committable().filter(|offset| *offset != self.committed.load(Ordering::Relaxed))
    }

    pub fn set_committed(&self, offset: i64) {
        self.committed.store(offset, Ordering::Relaxed);
    }

    /// Asks the pull task to go on elsewhere.
    pub fn request_reset(&self, place: GoOn) {
        *lock(&self.reset_to) = Some(place);
        self.reset_wanted.notify_one();
    }

    /// Asks the pull task to begin anew at what is committed, unless that has happened since `epoch`, or an operator has asked for an
    /// offset.
    pub fn request_another_reading(&self, epoch: u64) {
        if self.epoch() == epoch {
            lock(&self.reset_to).get_or_insert(GoOn::AtCommitted);
            self.reset_wanted.notify_one();
        }
    }

    pub fn take_reset(&self) -> Option<GoOn> {
        lock(&self.reset_to).take()
    }

    pub fn set_locked(&self, locked: bool) {
        *lock(&self.locked_at) = locked.then(Instant::now);
    }

    /// Whether the broker's lock is certainly held.
    pub fn is_locked(&self) -> bool {
        lock(&self.locked_at).is_some_and(|at| at.elapsed() < super::lock::LOCK_VALID)
    }

    /// Counts a delivery as given to the caller; false when the queue has gone to another member, and nothing may be given.
    pub fn hand_out(&self) -> bool {
        // counted first: who revokes and then finds no delivery with the caller can be sure that none follows
        self.handed_out.fetch_add(1, Ordering::SeqCst);
        let allowed = !self.revoked.is_cancelled();
        if !allowed {
            self.take_back();
        }
        allowed
    }

    /// The opposite of a successful [`hand_out`](Self::hand_out): the delivery is settled or dropped.
    pub fn take_back(&self) {
        self.handed_out.fetch_sub(1, Ordering::SeqCst);
    }

    /// Deliveries of this queue that the caller has.
    pub fn handed_out(&self) -> usize {
        self.handed_out.load(Ordering::SeqCst)
    }

    pub fn set_error(&self, error: Option<Error>) {
        *lock(&self.error) = error;
    }

    pub fn error(&self) -> Option<Error> {
        lock(&self.error).clone()
    }

    pub fn status(&self) -> QueueStatus {
        let tracker = lock(&self.tracker);
        QueueStatus {
            topic: self.queue.topic.to_string(),
            broker_name: self.queue.broker_name.to_string(),
            queue_id: self.queue.queue_id,
            acknowledged: if self.started.load(Ordering::Acquire) { tracker.committable() } else { -1 },
            max_offset: self.max_offset.load(Ordering::Relaxed),
            in_flight: tracker.open_count(),
        }
    }
}
