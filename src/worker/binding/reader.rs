//! Reading on request: the operations `read` and `ack` of an output binding.
//!
//! ```text
//! read ─▸ Session (a consumer of the binding's group) ─▸ deliveries ─▸ leases, each with a receipt ─▸ ack
//!                                                                        └▸ lease over: back to the broker
//! ```
//! The first `read` joins the group, and the worker leaves it when nothing was read for a while, so that other workers get its
//! queues. A lease keeps a delivery open: the group's committed offset never passes it, as with every other consumer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::super::error::rocketmq_report;
use super::super::metrics::BindingMetrics;
use super::super::report::Reporter;
use super::input::subscriptions;
use crate::rocketmq::{self, Client, Consumer, ConsumerConfig, Delivery, ReceivedMessage, Redelivery, StartFrom};
use crate::worker_config::binding::BindingConfig;

/// Messages that may be read and not acknowledged.
const MAX_OPEN: usize = 2_048;
/// Their bytes.
const MAX_OPEN_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of answers that may be under way to callers, in units of [`ANSWER_UNIT`].
const ANSWER_UNITS: u32 = 32 * 1024;
const ANSWER_UNIT: usize = 1024;
/// Time without a read after which the worker leaves the group.
const IDLE: Duration = Duration::from_secs(60);
/// Time between two looks at the leases.
const TICK: Duration = Duration::from_millis(500);
/// When a message whose lease is over comes again.
const AGAIN: Redelivery = Redelivery::Level(1);

/// Reads messages of one binding.
pub struct Reader {
    binding: Arc<BindingConfig>,
    metrics: BindingMetrics,
    reporter: Reporter,
    state: Mutex<State>,
    /// Memory of the answers that are under way.
    answers: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    client: Option<Client>,
    session: Option<Arc<Session>>,
}

/// A stay in the group.
struct Session {
    /// What receipts of this stay begin with.
    name: String,
    consumer: Consumer,
    leases: StdMutex<Leases>,
}

struct Leases {
    next: u64,
    open: HashMap<u64, Lease>,
    reads: usize,
    used_at: Instant,
}

struct Lease {
    delivery: Delivery,
    begun: Instant,
    ends: Instant,
}

/// What a read asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRequest {
    /// Messages at most.
    pub max_messages: usize,
    /// Longest wait for the first message.
    pub timeout: Duration,
    /// Time until a message that is not acknowledged comes again; none acknowledges it now.
    pub lease: Option<Duration>,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The messages go to an app.
    #[error(
        "the binding delivers its messages to its app, so none are left to read; read from another RocketMQBinding with \
         direction: Output and a consumerGroup of its own"
    )]
    Delivers,
    /// The binding speaks HTTP, whose leases are the service's.
    #[error(
        "reading on request is not offered with accessProto: http; let the binding deliver to an app (direction: Input), or read \
         from a binding with accessProto: tcp"
    )]
    Http,
    /// The binding has no topics.
    #[error("the binding has no topics to read from; set spec.topics")]
    NoTopics,
    /// The files of credentials or certificates have not been readable yet.
    #[error("not connected yet; GET /status on the admin port says what is missing")]
    NotConnected,
    /// Too much is read and not acknowledged.
    #[error(
        "{open} messages are read and not acknowledged, so no more are handed out; acknowledge them with operation ack, or wait \
         until their leases end"
    )]
    TooManyOpen {
        /// How many.
        open: usize,
    },
    /// The broker, or the configuration, keeps the consumer from reading.
    #[error("read failed err:{0}; {remedy}", remedy = .0.remedy())]
    Broker(rocketmq::Error),
    /// No receipt of an acknowledgement is known.
    #[error(
        "none of the {0} receipts is known: each lease has ended, so that the message comes again, or another worker gave it; \
         acknowledge within the lease, at the worker that answered the read"
    )]
    UnknownReceipts(usize),
}

impl Reader {
    /// A reader of `binding` that is not connected yet.
    #[must_use]
    pub fn new(binding: Arc<BindingConfig>, metrics: BindingMetrics, reporter: Reporter) -> Self {
        let answers = Arc::new(Semaphore::new(ANSWER_UNITS as usize));
        Self { binding, metrics, reporter, state: Mutex::default(), answers }
    }

    /// Reads with `client` from now on, and leaves the group at the one before.
    pub async fn set_client(&self, client: Option<Client>) {
        let mut state = self.state.lock().await;
        let before = std::mem::replace(&mut *state, State { client, session: None });
        if let Some(session) = before.session {
            session.end().await;
        }
    }

    /// Ends leases and an unused stay in the group, until `token` is cancelled.
    pub async fn tend(&self, token: &CancellationToken) {
        while token.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some() {
            let mut state = self.state.lock().await;
            let Some(session) = state.session.clone() else { continue };
            if session.is_unused() {
                state.session = None;
                drop(state);
                session.end().await;
                continue;
            }
            drop(state);
            self.hand_back(session.expired()).await;
        }
    }

    /// Takes messages; `render` makes of them and their receipts what the caller gets, which comes with its share of memory.
    ///
    /// # Errors
    /// Nothing can be read, or the broker has a reason why nothing came.
    pub async fn read(
        &self,
        request: ReadRequest,
        render: impl Fn(&[(&ReceivedMessage, Option<String>)]) -> Bytes,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), ReadError> {
        let session = self.session().await?;
        let _reading = session.reading()?;
        let receive = session.consumer.recv_batch(request.max_messages);
        let deliveries = tokio::time::timeout(request.timeout, receive).await.unwrap_or_default();
        if deliveries.is_empty()
            && let Some(error) = session.consumer.status().last_error
        {
            self.reporter.record_error(rocketmq_report("failed to read from RocketMQ", &error));
            return Err(ReadError::Broker(error));
        }
        let receipts: Vec<_> = deliveries.iter().map(|_| request.lease.map(|_| session.next_receipt())).collect();
        let told = deliveries.iter().zip(&receipts).map(|(delivery, receipt)| {
            (delivery.message(), receipt.map(|number| format!("{}-{number:x}", session.name)))
        });
        let answer = render(&told.collect::<Vec<_>>());
        let units = u32::try_from(answer.len().div_ceil(ANSWER_UNIT)).unwrap_or(u32::MAX).min(ANSWER_UNITS);
        // The semaphore is never closed. Until there is room the messages are neither leased nor acknowledged.
        let share = Arc::clone(&self.answers).acquire_many_owned(units).await.ok();
        // Nothing is awaited from here on: what was received is leased, or acknowledged, and told.
        for (delivery, receipt) in deliveries.into_iter().zip(receipts) {
            self.metrics.input.received.inc();
            match (request.lease, receipt) {
                (Some(lease), Some(number)) => session.lease(number, delivery, lease),
                _ => {
                    delivery.ack();
                    self.metrics.input.succeed(Duration::ZERO);
                }
            }
        }
        Ok((answer, share))
    }

    /// Acknowledges what `receipts` stand for; gives back those that are not known.
    ///
    /// # Errors
    /// None is known.
    pub async fn acknowledge(&self, receipts: Vec<String>) -> Result<Vec<String>, ReadError> {
        if self.binding.http_endpoint.is_some() {
            return Err(ReadError::Http);
        }
        let session = self.state.lock().await.session.clone();
        let (total, mut unknown) = (receipts.len(), Vec::new());
        for receipt in receipts {
            match session.as_ref().and_then(|session| session.take(&receipt)) {
                Some(lease) => {
                    lease.delivery.ack();
                    self.metrics.input.succeed(lease.begun.elapsed());
                }
                None => unknown.push(receipt),
            }
        }
        if unknown.len() == total { Err(ReadError::UnknownReceipts(total)) } else { Ok(unknown) }
    }

    async fn hand_back(&self, deliveries: Vec<Delivery>) {
        let handed_back = deliveries.into_iter().map(async |delivery| match delivery.nack(AGAIN).await {
            Ok(()) => _ = self.metrics.redelivered.inc(),
            Err(error) => {
                let report = rocketmq_report("failed to hand a message back whose lease has ended", &error);
                self.reporter.record_error(report);
            }
        });
        join_all(handed_back).await;
    }

    /// The present stay in the group, or a new one.
    async fn session(&self) -> Result<Arc<Session>, ReadError> {
        if self.binding.http_endpoint.is_some() {
            return Err(ReadError::Http);
        }
        if self.binding.input.is_some() {
            return Err(ReadError::Delivers);
        }
        if self.binding.topics.is_empty() {
            return Err(ReadError::NoTopics);
        }
        let mut state = self.state.lock().await;
        if let Some(session) = &state.session {
            return Ok(Arc::clone(session));
        }
        let client = state.client.as_ref().ok_or(ReadError::NotConnected)?;
        let mut config = ConsumerConfig::new(&self.binding.group, subscriptions(&self.binding));
        config.start_from = StartFrom::First;
        config.max_in_flight_messages = MAX_OPEN;
        config.max_in_flight_bytes = MAX_OPEN_BYTES;
        let session = Arc::new(Session::new(Consumer::start(client, config).map_err(ReadError::Broker)?));
        tracing::info!(group = self.binding.group, "reading on request");
        state.session = Some(Arc::clone(&session));
        Ok(session)
    }
}

impl Session {
    fn new(consumer: Consumer) -> Self {
        let leases = Leases { next: 0, open: HashMap::new(), reads: 0, used_at: Instant::now() };
        // Different from the one before, also when the process is a new one.
        let name = format!("{:x}", jiff::Timestamp::now().as_nanosecond());
        Self { name, consumer, leases: StdMutex::new(leases) }
    }

    /// Counts a read while it goes on.
    fn reading(&self) -> Result<Reading<'_>, ReadError> {
        let mut leases = self.lock();
        if leases.open.len() >= MAX_OPEN {
            return Err(ReadError::TooManyOpen { open: leases.open.len() });
        }
        leases.reads += 1;
        Ok(Reading(self))
    }

    fn next_receipt(&self) -> u64 {
        let mut leases = self.lock();
        leases.next += 1;
        leases.next
    }

    fn lease(&self, number: u64, delivery: Delivery, lease: Duration) {
        let begun = Instant::now();
        self.lock().open.insert(number, Lease { delivery, begun, ends: begun + lease });
    }

    fn take(&self, receipt: &str) -> Option<Lease> {
        let number = receipt.strip_prefix(&self.name)?.strip_prefix('-')?;
        self.lock().open.remove(&u64::from_str_radix(number, 16).ok()?)
    }

    fn expired(&self) -> Vec<Delivery> {
        let now = Instant::now();
        self.lock().open.extract_if(|_, lease| lease.ends <= now).map(|(_, lease)| lease.delivery).collect()
    }

    fn is_unused(&self) -> bool {
        let leases = self.lock();
        leases.reads == 0 && leases.open.is_empty() && leases.used_at.elapsed() >= IDLE
    }

    /// Leaves the group; what is leased comes again, here or elsewhere.
    async fn end(&self) {
        self.lock().open.clear();
        self.consumer.shutdown(Duration::ZERO).await;
    }

    fn lock(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A read that goes on.
struct Reading<'a>(&'a Session);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut leases = self.0.lock();
        leases.reads -= 1;
        leases.used_at = Instant::now();
    }
}
