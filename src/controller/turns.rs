//! Which object is reconciled next, when more are due than may be reconciled at once: those that somebody has changed have the
//! right of way over those that are only looked at again.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::context::Key;
use super::pace::Pace;

/// Changed objects that get a turn before one of the others gets one, if any waits.
const CHANGED_IN_A_ROW: u32 = 4;

/// The turns of one controller. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Reconciliations that may run at the same time.
    slots: Arc<Semaphore>,
    /// Of all controllers.
    pace: Arc<Pace>,
    queues: Mutex<Queues>,
}

#[derive(Debug, Default)]
struct Queues {
    changed: VecDeque<Waiting>,
    others: VecDeque<Waiting>,
    /// Changed since they were waited for last, or not waited for yet.
    hurried: HashSet<Key>,
    /// Turns of changed objects since one of the others had one.
    in_a_row: u32,
    /// Whether turns are being given.
    is_served: bool,
}

#[derive(Debug)]
struct Waiting {
    key: Key,
    turn: oneshot::Sender<Turn>,
}

/// The right to reconcile an object, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    _slot: OwnedSemaphorePermit,
}

impl Turns {
    /// Turns of which `slots` may be taken at the same time, and that begin at `pace`.
    pub fn new(slots: u16, pace: Arc<Pace>) -> Self {
        let slots = Arc::new(Semaphore::new(slots.max(1).into()));
        Self(Arc::new(Inner { slots, pace, queues: Mutex::default() }))
    }

    /// Waits for the turn of an object; `is_changed` says whether its spec has changed since it was reconciled. None when there are
    /// no turns any more.
    pub async fn turn(&self, key: Key, is_changed: bool) -> Option<Turn> {
        let (turn, given) = oneshot::channel();
        let begins = {
            let mut queues = self.0.lock();
            let is_hurried = queues.hurried.remove(&key);
            let queue = if is_changed || is_hurried { &mut queues.changed } else { &mut queues.others };
            queue.push_back(Waiting { key, turn });
            !std::mem::replace(&mut queues.is_served, true)
        };
        if begins {
            tokio::spawn(serve(Arc::clone(&self.0)));
        }
        given.await.ok()
    }

    /// An object was changed: where it waits already it goes on to those that were, else it goes there when it comes.
    pub fn hurry(&self, key: &Key) {
        let mut queues = self.0.lock();
        let Some(at) = queues.others.iter().position(|waiting| waiting.key == *key) else {
            if !queues.changed.iter().any(|waiting| waiting.key == *key) {
                queues.hurried.insert(key.clone());
            }
            return;
        };
        let waiting = queues.others.remove(at);
        queues.changed.extend(waiting);
    }

    /// An object is gone.
    pub fn forget(&self, key: &Key) {
        self.0.lock().hurried.remove(key);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    /// Whether somebody waits; if not, nobody serves any more.
    fn is_waited_for(&mut self) -> bool {
        for queue in [&mut self.changed, &mut self.others] {
            queue.retain(|waiting| !waiting.turn.is_closed());
        }
        self.is_served = !self.changed.is_empty() || !self.others.is_empty();
        self.is_served
    }

    /// Who is next.
    fn next(&mut self) -> Option<Waiting> {
        let is_others = self.changed.is_empty() || (self.in_a_row >= CHANGED_IN_A_ROW && !self.others.is_empty());
        self.in_a_row = if is_others { 0 } else { self.in_a_row + 1 };
        if is_others { self.others.pop_front() } else { self.changed.pop_front() }
    }
}

/// Gives turns until nobody waits. Who gets one is decided when it can begin, so that whoever comes late may still be first.
async fn serve(inner: Arc<Inner>) {
    while inner.lock().is_waited_for() {
        // Never closed.
        let Ok(slot) = Arc::clone(&inner.slots).acquire_owned().await else { return };
        inner.pace.turn().await;
        let mut queues = inner.lock();
        let mut turn = Turn { _slot: slot };
        // Those that have gone away meanwhile are passed over.
        while let Some(next) = queues.next() {
            match next.turn.send(turn) {
                Ok(()) => break,
                Err(back) => turn = back,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    fn key(name: String) -> Key {
        Key { kind: "RocketMQSync".to_owned(), namespace: "n".to_owned(), name }
    }

    /// Objects that wait for a turn each, and say when they had it.
    fn wait(
        turns: &Turns,
        names: impl Iterator<Item = String>,
        is_changed: bool,
    ) -> Vec<tokio::task::JoinHandle<Instant>> {
        let wait = |name| {
            let turns = turns.clone();
            tokio::spawn(async move {
                let turn = turns.turn(key(name), is_changed).await;
                assert!(turn.is_some());
                Instant::now()
            })
        };
        names.map(wait).collect()
    }

    async fn all(waiting: Vec<tokio::task::JoinHandle<Instant>>) -> Vec<Instant> {
        let mut moments = Vec::new();
        for one in waiting {
            moments.push(one.await.unwrap());
        }
        moments
    }

    async fn begun() -> (Turns, Instant) {
        let turns = Turns::new(8, Arc::new(Pace::default()));
        tokio::time::advance(Duration::from_secs(60)).await;
        (turns, Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_object_does_not_wait_behind_a_thousand_others() {
        let (turns, began) = begun().await;
        let others = wait(&turns, (0..1_000).map(|number| format!("other-{number}")), false);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let came = Instant::now();
        let changed = all(wait(&turns, std::iter::once("changed".to_owned()), true)).await[0];
        assert!(changed - came <= Duration::from_millis(100), "{:?}", changed - came);
        let last = all(others).await.into_iter().max().unwrap();
        assert!(last - began >= Duration::from_secs(38), "{:?}: the others are paced as before", last - began);
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_is_changed_while_it_waits_goes_on_to_those_that_were() {
        let (turns, _) = begun().await;
        let names = |numbers: std::ops::Range<i32>| numbers.map(|number| format!("other-{number}"));
        let first = wait(&turns, names(0..1_000), false);
        let late = wait(&turns, std::iter::once("late".to_owned()), false);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let changed = Instant::now();
        turns.hurry(&key("late".to_owned()));
        turns.hurry(&key("not-here-yet".to_owned()));
        let moved = all(late).await[0];
        let came = all(wait(&turns, std::iter::once("not-here-yet".to_owned()), false)).await[0];
        assert!(came - changed <= Duration::from_millis(200) && moved <= came, "{:?}", came - changed);
        first.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test(start_paused = true)]
    async fn many_changed_objects_leave_every_fifth_turn_to_the_others() {
        let (turns, _) = begun().await;
        let other = wait(&turns, (0..100).map(|number| format!("other-{number}")), false);
        let changed = wait(&turns, (0..1_000).map(|number| format!("changed-{number}")), true);
        let (last_other, last_changed) = (all(other).await.into_iter().max(), all(changed).await.into_iter().max());
        assert!(last_other.unwrap() < last_changed.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reconciliation_keeps_its_slot_and_who_gave_up_waiting_gets_none() {
        let (turns, _) = begun().await;
        let mut running = Vec::new();
        for number in 0..8 {
            running.extend(turns.turn(key(format!("slow-{number}")), false).await);
        }
        let gone = wait(&turns, std::iter::once("gone".to_owned()), true);
        let next = wait(&turns, std::iter::once("next".to_owned()), false);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!next[0].is_finished(), "all slots are taken");
        gone[0].abort();
        tokio::task::yield_now().await;
        running.pop();
        all(next).await;
    }
}
