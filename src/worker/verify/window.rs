//! Queues between two offsets, read outside of any consumer group.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};

use super::super::error::{reported, rocketmq_report};
use crate::rocketmq::admin::TOOLS_GROUP;
use crate::rocketmq::{Admin, Client, Queue, ReceivedMessage};
use crate::worker_config::report::ReportedError;

/// Messages asked for at once: what brokers give at most.
const PAGE: u32 = 32;
/// Queues that are read at the same time.
const PARALLEL: usize = 8;
/// Tries, and the pause between them, while a broker has messages and gives none.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// A queue from one offset up to, and without, another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The queue, its topic with the namespace.
    pub queue: Queue,
    /// Offset of the first message.
    pub from: i64,
    /// Offset behind the last one.
    pub to: i64,
}

impl Window {
    /// Messages that it holds at most.
    #[must_use]
    pub fn len(&self) -> u64 {
        u64::try_from(self.to - self.from).unwrap_or(0)
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is done with each message: the number of its window, and the message.
pub type Each<'a> = &'a (dyn Fn(usize, ReceivedMessage) + Sync);

/// Gives every message of the windows to `each`; those of a window in their order. Messages that the broker does not hold any more
/// are passed over.
///
/// # Errors
/// A broker cannot be reached, refuses, or holds messages back.
pub async fn read_all(client: &Client, windows: &[Window], side: &str, each: Each<'_>) -> Result<(), ReportedError> {
    let reads: Vec<_> = (0..windows.len())
        .filter(|number| !windows[*number].is_empty())
        .map(|number| read(client.admin(), windows, number, side, each))
        .collect();
    stream::iter(reads).buffer_unordered(PARALLEL).try_collect().await
}

async fn read(
    admin: Admin,
    windows: &[Window],
    number: usize,
    side: &str,
    each: Each<'_>,
) -> Result<(), ReportedError> {
    let window = &windows[number];
    let Queue { topic, broker_name, queue_id } = &window.queue;
    let place = || format!("{side}: topic {topic}, broker {broker_name}, queue {queue_id}");
    let (mut next, mut tries) = (window.from, 0);
    while next < window.to {
        let peek = admin.peek(&window.queue, TOOLS_GROUP, next, PAGE).await;
        let peek = peek.map_err(|error| rocketmq_report(&format!("failed to read {}", place()), &error))?;
        if peek.messages.is_empty() && peek.min_offset > next {
            next = peek.min_offset;
            continue;
        }
        if peek.messages.is_empty() {
            tries += 1;
            if tries > TRIES {
                let message = format!("{}: the broker gives nothing at offset {next} of {}", place(), peek.max_offset);
                return Err(reported("Unreadable", message, "look at the broker's log and load"));
            }
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        tries = 0;
        for message in peek.messages {
            next = message.queue_offset + 1;
            if message.queue_offset < window.to {
                each(number, message);
            }
        }
    }
    Ok(())
}

/// Shortens windows that hold more than `most` messages together; whether it did.
pub fn cut(windows: &mut [Window], most: u64) -> bool {
    let total: u64 = windows.iter().map(Window::len).sum();
    if total <= most {
        return false;
    }
    let share = i64::try_from(most / (windows.len() as u64).max(1)).unwrap_or(i64::MAX);
    windows.iter_mut().for_each(|window| window.to = window.to.min(window.from.saturating_add(share)));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_for_one_run_is_cut_and_goes_on_later() {
        let window = |to: i64| {
            let queue = Queue { topic: "t".into(), broker_name: "b".into(), queue_id: 0 };
            Window { queue, from: 100, to }
        };
        let mut small = [window(100), window(1_000_100)];
        assert!(!cut(&mut small, 12_800_000));
        let mut large = [window(200), window(100_000_000)];
        assert!(cut(&mut large, 12_800_000));
        assert_eq!((large[0].to, large[1].to), (200, 100 + 6_400_000));
    }
}
