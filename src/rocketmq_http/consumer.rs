//! Receiving messages: a long poll a topic, and acknowledgements in batches.
//!
//! ```text
//! poll (one a topic, ≤ 16 messages) ─▸ bounded channel ─▸ recv ─▸ HttpDelivery ─▸ ack ─▸ gathered, one DELETE for up to 16
//! ```
//! A topic is polled again when the channel has taken what came before: callers that are slow stop the polls, and what waits
//! here is bounded by the channel and one poll a topic.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client::HttpClient;
use super::delivery::{Acknowledgement, HttpDelivery, ends};
use super::message::Received;
use super::request::Poll;
use crate::rocketmq::{Error, ErrorKind, Result};

/// Most messages of one poll, and receipts of one acknowledgement.
pub const MAX_BATCH: u32 = 16;
/// Longest wait of a poll that the service takes, in seconds.
const MAX_WAIT_SECONDS: u64 = 30;
/// First and longest pause after a poll that failed.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// An empty answer that comes sooner is no long poll: then this pause keeps the polls apart.
const SHORT_POLL: Duration = Duration::from_millis(500);

/// Settings of a consumer.
#[derive(Debug, Clone)]
pub struct HttpConsumerConfig {
    /// Consumer group without the instance.
    pub group: String,
    /// Topics without the instance, each with the tags that are wanted, separated by `||`; none wants all.
    pub topics: Vec<(String, Option<String>)>,
    /// Messages of one poll, 1 to 16.
    pub batch: u32,
    /// Seconds that a poll waits for messages, 0 to 30.
    pub wait_seconds: u64,
    /// One delivery at a time in each topic, in the order that the service gives.
    pub ordered: bool,
    /// Messages that may wait to be received.
    pub buffer: usize,
}

/// What a consumer is doing now.
#[derive(Debug, Clone, Default)]
pub struct HttpConsumerStatus {
    /// Topics whose last poll was answered.
    pub topics: usize,
    /// The failure that keeps a topic from being read now.
    pub last_error: Option<Error>,
    /// The newest acknowledgement that the service did not take: its message comes again.
    pub last_refusal: Option<Error>,
}

/// A consumer of a group's messages.
pub struct HttpConsumer {
    deliveries: Mutex<mpsc::Receiver<HttpDelivery>>,
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

struct Shared {
    client: HttpClient,
    config: HttpConsumerConfig,
    state: StdMutex<State>,
    /// Cancelled when no more is to be received.
    leaving: CancellationToken,
    /// Holds a token for each delivery that is not settled.
    open: TaskTracker,
}

#[derive(Default)]
struct State {
    /// The newest outcome of each topic's polls.
    polls: BTreeMap<String, Option<Error>>,
    last_refusal: Option<Error>,
}

impl HttpConsumer {
    /// Starts to poll. Topics and groups that are not there yet are waited for; what is missing is in
    /// [`status`](Self::status).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] that names the field.
    pub fn start(client: &HttpClient, config: HttpConsumerConfig) -> Result<Self> {
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidConfig, message));
        if config.topics.is_empty() {
            return invalid("topics: is empty; subscribe to at least one topic".to_owned());
        }
        if !(1..=MAX_BATCH).contains(&config.batch) {
            return invalid(format!("consumerBatchSize: {} is not between 1 and {MAX_BATCH}", config.batch));
        }
        if config.wait_seconds > MAX_WAIT_SECONDS {
            return invalid(format!("wait_seconds: {} is more than {MAX_WAIT_SECONDS}", config.wait_seconds));
        }
        // Each topic holds a place while it polls.
        let (sender, deliveries) = mpsc::channel(config.buffer.max(config.topics.len()));
        let (leaving, open) = (CancellationToken::new(), TaskTracker::new());
        let topics = config.topics.clone();
        let shared = Arc::new(Shared { client: client.clone(), config, state: StdMutex::default(), leaving, open });
        let tasks = TaskTracker::new();
        for (topic, tags) in topics {
            let (acknowledgements, receipts) = mpsc::unbounded_channel();
            tasks.spawn(acknowledge(Arc::clone(&shared), topic.clone(), receipts));
            tasks.spawn(read(Arc::clone(&shared), topic, tags, sender.clone(), acknowledgements));
        }
        tasks.close();
        Ok(Self { deliveries: Mutex::new(deliveries), shared, tasks })
    }

    /// Waits for a delivery and returns it with those that are there already, `max` at most; empty after
    /// [`shutdown`](Self::shutdown) has begun. What has waited so long that it comes again is left out.
    pub async fn recv_batch(&self, max: usize) -> Vec<HttpDelivery> {
        let gather = async {
            let mut deliveries = self.deliveries.lock().await;
            let mut batch = Vec::new();
            while batch.is_empty() {
                let Some(first) = deliveries.recv().await else { break };
                let mut next = Some(first);
                while let Some(delivery) = next.take() {
                    if !delivery.is_overdue() {
                        batch.push(delivery);
                    }
                    if batch.len() < max {
                        next = deliveries.try_recv().ok();
                    }
                }
            }
            batch
        };
        self.shared.leaving.run_until_cancelled(gather).await.unwrap_or_default()
    }

    /// What the consumer is doing now.
    #[must_use]
    pub fn status(&self) -> HttpConsumerStatus {
        let state = self.shared.state();
        HttpConsumerStatus {
            topics: state.polls.values().filter(|outcome| outcome.is_none()).count(),
            last_error: state.polls.values().flatten().next().cloned(),
            last_refusal: state.last_refusal.clone(),
        }
    }

    /// Stops polling, drops what was not received, and waits up to `drain` until all that was received is settled and its
    /// acknowledgements are answered.
    pub async fn shutdown(&self, drain: Duration) {
        self.shared.leaving.cancel();
        let mut deliveries = self.deliveries.lock().await;
        deliveries.close();
        while deliveries.try_recv().is_ok() {}
        self.shared.open.close();
        let settled = async {
            self.shared.open.wait().await;
            self.tasks.wait().await;
        };
        if tokio::time::timeout(drain, settled).await.is_err() {
            let (group, open) = (&self.shared.config.group, self.shared.open.len());
            tracing::warn!(group, open, "deliveries are still open; the service will repeat them");
        }
    }
}

impl Drop for HttpConsumer {
    /// Stops polling; what is open comes again.
    fn drop(&mut self) {
        self.shared.leaving.cancel();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_poll(&self, topic: &str, error: Option<Error>) {
        self.state().polls.insert(topic.to_owned(), error);
    }

    fn note_refusal(&self, error: Error) {
        tracing::warn!(%error, "an acknowledgement was not taken; the message comes again");
        self.state().last_refusal = Some(error);
    }
}

/// Polls a topic until the consumer leaves.
async fn read(
    shared: Arc<Shared>,
    topic: String,
    tags: Option<String>,
    deliveries: mpsc::Sender<HttpDelivery>,
    acknowledgements: mpsc::UnboundedSender<Acknowledgement>,
) {
    let HttpConsumerConfig { group, batch, wait_seconds, ordered, .. } = shared.config.clone();
    let poll = Poll { topic, group, tags, messages: batch, wait_seconds, ordered };
    let hand_out = async |received: Received, skew_seconds: i64| {
        let (outcome, settled) = if ordered {
            let (outcome, settled) = oneshot::channel();
            (Some(outcome), Some(settled))
        } else {
            (None, None)
        };
        let ends = ends(&received, skew_seconds);
        let (acknowledgements, open) = (acknowledgements.clone(), shared.open.token());
        let Received { message, receipt, .. } = received;
        let delivery = HttpDelivery { message, receipt, ends, acknowledgements, outcome, open };
        let is_received = deliveries.send(delivery).await.is_ok();
        match settled {
            // Without an outcome the delivery was dropped: it comes first when the service repeats it.
            Some(settled) if is_received => settled.await.unwrap_or(false),
            _ => is_received,
        }
    };
    let work = async {
        let mut pause = PAUSES.0;
        loop {
            // A slow caller stops the polls here.
            let Ok(place) = deliveries.reserve().await else { return };
            let started = Instant::now();
            let outcome = shared.client.poll(&poll).await;
            drop(place);
            match outcome {
                Ok((messages, _)) if messages.is_empty() => {
                    shared.note_poll(&poll.topic, None);
                    pause = PAUSES.0;
                    tokio::time::sleep(SHORT_POLL.saturating_sub(started.elapsed())).await;
                }
                Ok((messages, skew_seconds)) => {
                    shared.note_poll(&poll.topic, None);
                    pause = PAUSES.0;
                    for received in messages {
                        if !hand_out(received, skew_seconds).await {
                            break;
                        }
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, topic = poll.topic, "a poll failed");
                    shared.note_poll(&poll.topic, Some(error));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    };
    shared.leaving.run_until_cancelled(work).await;
}

/// Acknowledges what is done with a topic, as many receipts at once as there are, until nothing can come any more.
async fn acknowledge(shared: Arc<Shared>, topic: String, mut receipts: mpsc::UnboundedReceiver<Acknowledgement>) {
    let mut batch = Vec::new();
    while receipts.recv_many(&mut batch, MAX_BATCH as usize).await > 0 {
        let names: Vec<String> = batch.iter().map(|one| one.receipt.clone()).collect();
        let answered = shared.client.acknowledge(&topic, &shared.config.group, &names).await;
        for Acknowledgement { receipt, outcome, .. } in batch.drain(..) {
            let error = match &answered {
                Ok(refused) => refused.iter().find(|one| one.receipt == receipt).map(|one| one.error.clone()),
                Err(error) => Some(error.clone()),
            };
            if let Some(outcome) = outcome {
                // Nobody waits for it when the consumer leaves.
                let _ = outcome.send(error.is_none());
            }
            if let Some(error) = error {
                shared.note_refusal(error);
            }
        }
    }
}
