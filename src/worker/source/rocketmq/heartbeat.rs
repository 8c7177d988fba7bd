//! The cluster's heartbeats, read beside the messages: they tell how long a record takes to the target.
//!
//! They are read by their offsets and outside of the consumer group, as the connection's worker does: no right is needed that it
//! does not need, and a topic of heartbeats that is missing keeps nothing from being read. A heartbeat is no record.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::super::super::connection::heartbeat::Beat;
use crate::rocketmq::admin::TOOLS_GROUP;
use crate::rocketmq::{Admin, Client, Queue, Result};
use crate::worker_config::sync::HeartbeatSource;

/// How long the broker may wait for the next heartbeat before it answers that there is none.
const PATIENCE: Duration = Duration::from_secs(10);
/// Messages asked for at once.
const MOST: u32 = 32;
/// Pause after a failure, such as a topic that is missing.
const PAUSE: Duration = Duration::from_secs(5);

/// Heartbeats on their way to the pipeline.
pub struct Beats {
    next: Mutex<mpsc::Receiver<i64>>,
    /// When the heartbeat was written that waits for the pipeline; 0 while none waits.
    waiting: Arc<AtomicI64>,
}

impl Beats {
    /// Reads heartbeats from now on until `stop` is cancelled.
    #[must_use]
    pub fn follow(client: &Client, config: &HeartbeatSource, stop: &CancellationToken) -> Self {
        let ((sender, next), waiting) = (mpsc::channel(1), Arc::<AtomicI64>::default());
        let reading = Reading { client: client.clone(), topic: config.topic.clone(), sender, waiting: waiting.clone() };
        let stop = stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(reading.run()).await });
        Self { next: Mutex::new(next), waiting }
    }

    /// When the next heartbeat was written, milliseconds since the Unix epoch. Nothing is lost when the future is dropped.
    pub async fn next(&self) -> i64 {
        match self.next.lock().await.recv().await {
            Some(at) => at,
            // The source is being closed.
            None => std::future::pending().await,
        }
    }

    /// When the heartbeat was written that waits for the pipeline to take it.
    #[must_use]
    pub fn waiting(&self) -> Option<i64> {
        Some(self.waiting.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }
}

struct Reading {
    client: Client,
    topic: String,
    sender: mpsc::Sender<i64>,
    waiting: Arc<AtomicI64>,
}

impl Reading {
    async fn run(self) {
        let admin = self.client.admin();
        let mut known = String::new();
        loop {
            let failed = match self.read(&admin).await {
                Ok(()) => return,
                Err(error) => error,
            };
            let words = failed.to_string();
            if words != known {
                tracing::info!(
                    topic = self.topic,
                    error = words,
                    "no heartbeats can be read now; the delay is not measured"
                );
                known = words;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Reads until nobody takes heartbeats any more.
    async fn read(&self, admin: &Admin) -> Result<()> {
        let (queues, _) = admin.queues(&self.topic).await?;
        // The topic has one queue; where somebody gave it more, each is read.
        let mut readings: Vec<(Queue, i64)> = Vec::new();
        for queue in queues {
            let end = admin.max_offset(&queue).await?;
            readings.push((queue, end));
        }
        let patience = if readings.len() == 1 { PATIENCE } else { Duration::from_secs(1) };
        loop {
            for (queue, next) in &mut readings {
                let peek = admin.peek_waiting(queue, TOOLS_GROUP, *next, MOST, patience).await?;
                if peek.messages.is_empty() {
                    // Old heartbeats may be gone, and all of them when the topic was made anew.
                    *next = (*next).clamp(peek.min_offset.min(peek.max_offset), peek.max_offset.max(0));
                    continue;
                }
                *next = peek.messages.last().map_or(*next, |message| message.queue_offset + 1);
                let beats =
                    peek.messages.iter().filter_map(|message| serde_json::from_slice::<Beat>(&message.body).ok());
                let Some(newest) = beats.map(|beat| beat.ts.as_millisecond()).max() else { continue };
                self.waiting.store(newest, Ordering::Relaxed);
                if self.sender.send(newest).await.is_err() {
                    return Ok(());
                }
                self.waiting.store(0, Ordering::Relaxed);
            }
        }
    }
}
