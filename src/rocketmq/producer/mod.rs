//! Sending messages.
//!
//! ```text
//! send ──▶ queue by sharding key or turn ──▶ lane of that queue ──▶ one request in flight a lane ──▶ receipt to each caller
//! ```
//! A *lane* serves one queue. What gathers while its request is in flight leaves as one broker batch (group commit): a lone
//! message waits for nothing, many concurrent ones share a request, and the order of calls is kept in each queue, which
//! brokers do not promise for several requests in flight. Each caller gets the result of its own message.

mod lane;
mod queues;
mod transaction;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytestring::ByteString;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client::{Client, lock};
use super::compression;
use super::error::{Error, ErrorKind, Result};
use super::message::{Message, Outgoing};
use super::receipt::SendReceipt;
use super::route::Queue;
use super::wire::stored::FLAG_COMPRESSED;

use queues::PublishQueues;

pub(crate) use queues::java_hash;
pub(crate) use transaction::check_transaction;
pub use transaction::{TransactionChecker, TransactionState};

/// Memory that messages in flight may take, in units of [`MEMORY_UNIT`].
const MEMORY_UNITS: usize = 32 * 256;
/// A message counts as at least this many bytes.
const MEMORY_UNIT: usize = 4 * 1024;
/// Bodies larger than this are compressed on a thread of their own, so that they don't hold up the runtime.
const INLINE_COMPRESSION_BYTES: usize = 128 * 1024;

/// Settings of a producer.
#[derive(Clone)]
pub struct ProducerConfig {
    /// Producer group; brokers ask any member of it about an unsettled transaction.
    pub group: String,
    /// Limit for one message with all its retries.
    pub send_timeout: Duration,
    /// Further tries after a failure that may pass.
    pub retries: u32,
    /// Bodies longer than this many bytes are compressed.
    pub compress_over: usize,
    /// Largest body in bytes; brokers take 4 MiB by default.
    pub max_message_size: usize,
    /// Settles transactions that the broker asks about; needed to send transactional messages.
    pub transaction_checker: Option<TransactionChecker>,
}

impl ProducerConfig {
    /// The defaults: 10 s for a message, 2 retries, compression above 4 KiB, bodies up to 4 MiB.
    #[must_use]
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            send_timeout: Duration::from_secs(10),
            retries: 2,
            compress_over: 4096,
            max_message_size: 4 * 1024 * 1024,
            transaction_checker: None,
        }
    }
}

/// Sends messages. Cheap to clone; all clones share the lanes.
#[derive(Clone)]
pub struct Producer(Arc<Core>);

pub(crate) struct Core {
    client: Client,
    config: ProducerConfig,
    /// Group with the namespace.
    group: String,
    lanes: Mutex<HashMap<Queue, mpsc::UnboundedSender<Vec<Pending>>>>,
    queues: Mutex<HashMap<String, PublishQueues>>,
    /// Callers that wait for a route or for memory.
    waiting: AtomicUsize,
    /// First come, first served: the mutex is fair.
    turns: tokio::sync::Mutex<()>,
    turn: AtomicUsize,
    memory: Arc<Semaphore>,
    tasks: TaskTracker,
    token: CancellationToken,
}

/// What a caller waits for, or why its message was not accepted.
type Answer = Result<oneshot::Receiver<Result<SendReceipt>>>;

/// A message on its way, with the caller that waits for it.
pub(crate) struct Pending {
    message: Outgoing,
    respond: oneshot::Sender<Result<SendReceipt>>,
    tries_left: u32,
    deadline: Instant,
    _memory: OwnedSemaphorePermit,
}

impl Producer {
    /// A producer on a client; nothing is dialled yet.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when the group is blank or has illegal characters.
    pub fn new(client: &Client, config: ProducerConfig) -> Result<Self> {
        super::consumer::check_group("producerGroup", &config.group)?;
        let group = client.0.scoped(&config.group);
        client.0.join_producers(&group, config.transaction_checker.clone());
        Ok(Self(Arc::new(Core {
            client: client.clone(),
            group,
            config,
            lanes: Mutex::default(),
            queues: Mutex::default(),
            waiting: AtomicUsize::new(0),
            turns: tokio::sync::Mutex::default(),
            turn: AtomicUsize::new(0),
            memory: Arc::new(Semaphore::new(MEMORY_UNITS)),
            tasks: TaskTracker::new(),
            token: client.0.token.child_token(),
        })))
    }

    /// Sends a message and waits until the broker has stored it. Dropping the future gives the message up if it has not left.
    ///
    /// # Errors
    /// The broker's code and words, or what kept the message from it. After [`ErrorKind::Timeout`] and
    /// [`ErrorKind::ConnectionLost`] the message may have been stored all the same.
    pub async fn send(&self, message: Message) -> Result<SendReceipt> {
        let outgoing = self.0.prepare(message, &[]).await?;
        self.0.submit(vec![outgoing]).await.pop().unwrap_or_else(|| Err(closed()))
    }

    /// Sends messages in their order; those of one topic go to one queue, unless they have sharding keys. Batches are split
    /// at the size limit. The results are in the order of the messages.
    pub async fn send_batch(&self, messages: Vec<Message>) -> Vec<Result<SendReceipt>> {
        let mut results: Vec<Option<Result<SendReceipt>>> = Vec::with_capacity(messages.len());
        let mut prepared = Vec::with_capacity(messages.len());
        for message in messages {
            match self.0.prepare(message, &[]).await {
                Ok(outgoing) => {
                    prepared.push(outgoing);
                    results.push(None);
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }
        let mut sent = self.0.submit(prepared).await.into_iter();
        results.into_iter().map(|result| result.or_else(|| sent.next()).unwrap_or_else(|| Err(closed()))).collect()
    }

    /// Sends a message without waiting for the broker; nothing tells whether it was stored.
    ///
    /// # Errors
    /// The message is malformed, or no connection to a broker can be had.
    pub async fn send_oneway(&self, message: Message) -> Result<()> {
        let outgoing = self.0.prepare(message, &[]).await?;
        let queue = self.0.select_queue(&outgoing, None).await?;
        let address = self.0.client.0.master_address(&queue.broker_name)?;
        let request = lane::send_request(&self.0.group, &queue, std::slice::from_ref(&outgoing)).one_way();
        let connection = self.0.client.0.connection(&address).await?;
        connection.send(self.0.client.0.sign(request)).await
    }

    /// The queues to which messages of a topic may go, in the order broker, queue id; never empty.
    ///
    /// # Errors
    /// The topic does not exist, or no name server answers.
    pub async fn queues(&self, topic: &str) -> Result<Arc<[Queue]>> {
        self.0.publish_queues(&self.0.client.0.scoped(topic)).await
    }

    /// Sends what is on its way, then ends. Messages given to [`send`](Self::send) later fail with [`ErrorKind::Closed`].
    pub async fn shutdown(&self) {
        lock(&self.0.lanes).clear();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.token.cancel();
    }
}

/// Units of memory that a message takes.
fn memory_units(message: &Outgoing) -> usize {
    (message.body.len() / MEMORY_UNIT + 1).min(MEMORY_UNITS)
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the producer has been shut down")
}

impl Core {
    async fn prepare(&self, message: Message, extra: &[(&str, &str)]) -> Result<Outgoing> {
        let namespace = self.client.0.config.namespace.as_deref();
        let mut outgoing = Outgoing::prepare(message, namespace, self.config.max_message_size, extra)?;
        if outgoing.body.len() > self.config.compress_over {
            let body = outgoing.body.clone();
            let compressed = if body.len() > INLINE_COMPRESSION_BYTES {
                tokio::task::spawn_blocking(move || compression::compress_zlib(&body))
                    .await
                    .map_err(std::io::Error::other)
            } else {
                Ok(compression::compress_zlib(&body))
            };
            // a body that does not compress is sent as it is
            if let Ok(Ok(compressed)) = compressed
                && compressed.len() < outgoing.body.len()
            {
                outgoing.body = compressed.into();
                outgoing.sys_flag |= FLAG_COMPRESSED;
                outgoing.batchable = false;
            }
        }
        Ok(outgoing)
    }

    /// Hands messages to lanes and waits for their results, in order.
    async fn submit(self: &Arc<Self>, messages: Vec<Outgoing>) -> Vec<Result<SendReceipt>> {
        let deadline = Instant::now() + self.config.send_timeout;
        let answers = self.enqueue(messages, deadline).await;
        let mut results = Vec::with_capacity(answers.len());
        for answer in answers {
            results.push(match answer {
                Ok(answer) => self.wait(answer, deadline).await,
                Err(error) => Err(error),
            });
        }
        results
    }

    /// Puts messages into their lanes. Without a need to wait this happens at once, so that callers keep the order in which
    /// their futures are first polled; those that must wait, for a route or for memory, do so in that order and none overtakes.
    async fn enqueue(self: &Arc<Self>, messages: Vec<Outgoing>, deadline: Instant) -> Vec<Answer> {
        let ready = self.waiting.load(Ordering::Acquire) == 0
            && messages.iter().all(|message| self.cached_queues(&message.topic).is_some())
            && self.memory.available_permits() >= messages.iter().map(memory_units).sum::<usize>();
        let _turn = if ready {
            None
        } else {
            let counted = Counted::new(&self.waiting);
            Some((self.turns.lock().await, counted))
        };
        let mut chosen: BTreeMap<ByteString, Queue> = BTreeMap::new();
        let mut lanes: BTreeMap<Queue, Vec<Pending>> = BTreeMap::new();
        let mut answers = Vec::with_capacity(messages.len());
        for message in messages {
            let queue = match chosen.get(&message.topic).filter(|_| !message.is_bound()) {
                Some(queue) => Ok(queue.clone()),
                None => self.select_queue(&message, None).await,
            };
            let queue = match queue {
                Ok(queue) => queue,
                Err(error) => {
                    answers.push(Err(error));
                    continue;
                }
            };
            if !message.is_bound() {
                chosen.insert(message.topic.clone(), queue.clone());
            }
            let Some(memory) = self.reserve(&message, &mut lanes).await else {
                answers.push(Err(closed()));
                continue;
            };
            let (respond, answer) = oneshot::channel();
            let pending = Pending { message, respond, tries_left: self.config.retries, deadline, _memory: memory };
            lanes.entry(queue).or_default().push(pending);
            answers.push(Ok(answer));
        }
        lanes.into_iter().for_each(|(queue, batch)| self.push(&queue, batch));
        answers
    }

    /// Memory for a message. What has been gathered may be all that holds the memory, so it goes before waiting.
    async fn reserve(
        self: &Arc<Self>,
        message: &Outgoing,
        gathered: &mut BTreeMap<Queue, Vec<Pending>>,
    ) -> Option<OwnedSemaphorePermit> {
        let units = memory_units(message) as u32;
        if let Ok(memory) = self.memory.clone().try_acquire_many_owned(units) {
            return Some(memory);
        }
        std::mem::take(gathered).into_iter().for_each(|(queue, batch)| self.push(&queue, batch));
        self.memory.clone().acquire_many_owned(units).await.ok()
    }

    async fn wait(&self, answer: oneshot::Receiver<Result<SendReceipt>>, deadline: Instant) -> Result<SendReceipt> {
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!("the message was not confirmed within {} ms", self.config.send_timeout.as_millis()),
            )),
        }
    }

    /// Gives messages to the lane of a queue, which is started when there is none.
    fn push(self: &Arc<Self>, queue: &Queue, batch: Vec<Pending>) {
        if self.tasks.is_closed() {
            return; // dropping the messages tells their callers
        }
        let mut lanes = lock(&self.lanes);
        let batch = match lanes.get(queue) {
            Some(lane) => match lane.send(batch) {
                Ok(()) => return,
                Err(refused) => refused.0,
            },
            None => batch,
        };
        let (sender, receiver) = mpsc::unbounded_channel();
        // the receiver is still here, so this cannot fail
        let _ = sender.send(batch);
        lanes.insert(queue.clone(), sender);
        self.tasks.spawn(lane::run(self.clone(), queue.clone(), receiver));
    }
}

/// Counts a caller for as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
