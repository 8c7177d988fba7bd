//! Our side of the client benchmark: one run, one JSON line, with the fields of `tests/java/Bench.java`.
//!
//! `bench-client MODE namesrv=HOST:PORT topic=T [messages=50000] [inflight=64] [size=1024] [batch=32] [timeout=120]`
//!
//! Modes: `async` (at most `inflight` sends unanswered; each message is one call), `batch` (`inflight` callers, `batch` messages
//! a call), `push` (a fresh group reads `messages` from the first offset; each is acknowledged).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use rocketmq_layer::rocketmq::{
    Client, ClientConfig, Consumer, ConsumerConfig, Error, Message, Producer, ProducerConfig, StartFrom, Subscription,
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const WARM_UP_SENDS: usize = 20;
/// Messages that the consumer takes from its queue at a time.
const TAKE: usize = 128;

struct Options {
    name_server: String,
    topic: String,
    messages: usize,
    in_flight: usize,
    batch: usize,
    body: Bytes,
    timeout: Duration,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Self, Failure> {
        let given: BTreeMap<&str, &str> = arguments.iter().filter_map(|argument| argument.split_once('=')).collect();
        let required = |name: &str| given.get(name).ok_or(format!("option \"{name}\" is missing: add {name}=…"));
        let number = |name: &str, otherwise: usize| given.get(name).map_or(Ok(otherwise), |value| value.parse());
        Ok(Self {
            name_server: required("namesrv")?.to_string(),
            topic: required("topic")?.to_string(),
            messages: number("messages", 50_000)?,
            in_flight: number("inflight", 64)?,
            batch: number("batch", 32)?,
            body: random_bytes(number("size", 1024)?).into(),
            timeout: Duration::from_secs(number("timeout", 120)? as u64),
        })
    }

    fn message(&self) -> Message {
        Message::new(&self.topic, self.body.clone()).with_tag("A")
    }
}

/// Bytes that do not compress, from a fixed linear congruential generator.
fn random_bytes(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// What a run found out.
#[derive(Default)]
struct Outcome {
    succeeded: usize,
    failed: usize,
    first_error: Option<String>,
    elapsed: Duration,
    latencies: Vec<Duration>,
}

impl Outcome {
    fn count<T>(&mut self, results: impl IntoIterator<Item = Result<T, Error>>) {
        for result in results {
            match result {
                Ok(_) => self.succeeded += 1,
                Err(error) => {
                    self.failed += 1;
                    self.first_error.get_or_insert_with(|| error.to_string());
                }
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mode = arguments.first().cloned().ok_or("mode is missing: async, batch or push")?;
    let options = Arc::new(Options::read(&arguments[1..])?);
    let client = Client::new(ClientConfig::new(vec![options.name_server.clone()]))?;
    let (outcome, before) = match mode.as_str() {
        "push" => {
            let before = cpu_seconds();
            (consume(&client, &options).await?, before)
        }
        "async" | "batch" => {
            let mut config = ProducerConfig::new("bench-client");
            config.retries = 0;
            let producer = Producer::new(&client, config)?;
            for _ in 0..WARM_UP_SENDS {
                producer.send(options.message()).await?;
            }
            let before = cpu_seconds();
            let outcome = match mode.as_str() {
                "async" => send(&producer, &options).await,
                _ => send_batches(&producer, &options).await?,
            };
            producer.shutdown().await;
            (outcome, before)
        }
        other => return Err(format!("mode {other:?}: use async, batch or push").into()),
    };
    report(&mode, &options, outcome, before);
    client.shutdown().await;
    Ok(())
}

/// One caller that keeps `in_flight` sends unanswered.
async fn send(producer: &Producer, options: &Options) -> Outcome {
    let mut outcome = Outcome { latencies: Vec::with_capacity(options.messages), ..Outcome::default() };
    let started = Instant::now();
    let mut sends = futures::stream::iter(0..options.messages)
        .map(|_| async {
            let began = Instant::now();
            (producer.send(options.message()).await, began.elapsed())
        })
        .buffer_unordered(options.in_flight);
    while let Some((result, latency)) = sends.next().await {
        outcome.latencies.push(latency);
        outcome.count([result]);
    }
    outcome.elapsed = started.elapsed();
    outcome
}

/// `in_flight` callers with one batch unanswered each.
async fn send_batches(producer: &Producer, options: &Arc<Options>) -> Result<Outcome, Failure> {
    let (next, started) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let callers: Vec<_> = (0..options.in_flight)
        .map(|_| {
            let (producer, options, next) = (producer.clone(), options.clone(), next.clone());
            tokio::spawn(async move {
                let mut outcome = Outcome::default();
                loop {
                    let from = next.fetch_add(options.batch, Ordering::Relaxed);
                    let count = options.batch.min(options.messages.saturating_sub(from));
                    if count == 0 {
                        return outcome;
                    }
                    let began = Instant::now();
                    let results = producer.send_batch((0..count).map(|_| options.message()).collect()).await;
                    outcome.latencies.push(began.elapsed());
                    outcome.count(results);
                }
            })
        })
        .collect();
    let mut whole = Outcome::default();
    for caller in callers {
        let part = caller.await?;
        whole.succeeded += part.succeeded;
        whole.failed += part.failed;
        whole.latencies.extend(part.latencies);
        whole.first_error = whole.first_error.or(part.first_error);
    }
    whole.elapsed = started.elapsed();
    Ok(whole)
}

/// A new group that reads from the first offset; measured from the first message to the last.
async fn consume(client: &Client, options: &Options) -> Result<Outcome, Failure> {
    let group = format!("bench-ours-{}", std::process::id());
    let mut config = ConsumerConfig::new(group, vec![Subscription::all(&options.topic)]);
    config.start_from = StartFrom::First;
    let consumer = Consumer::start(client, config)?;
    let mut outcome = Outcome::default();
    let mut first = None;
    let read = async {
        while outcome.succeeded < options.messages {
            let deliveries = consumer.recv_batch(TAKE).await;
            first.get_or_insert_with(Instant::now);
            outcome.succeeded += deliveries.len();
            for delivery in deliveries {
                delivery.ack();
            }
        }
    };
    // what is missing then is told as failed
    let _ = tokio::time::timeout(options.timeout, read).await;
    outcome.elapsed = first.map_or(options.timeout, |first| first.elapsed());
    outcome.failed = options.messages.saturating_sub(outcome.succeeded);
    consumer.shutdown(Duration::from_secs(5)).await;
    Ok(outcome)
}

fn report(mode: &str, options: &Options, mut outcome: Outcome, cpu_before: f64) {
    if let Some(error) = &outcome.first_error {
        eprintln!("first error: {error}");
    }
    outcome.latencies.sort_unstable();
    let micros = |share: f64| {
        let at = (outcome.latencies.len().saturating_sub(1) as f64 * share) as usize;
        outcome.latencies.get(at).map_or(0, Duration::as_micros)
    };
    let (seconds, cpu) = (outcome.elapsed.as_secs_f64(), cpu_seconds());
    let line = serde_json::json!({
        "client": "ours", "mode": mode, "inflight": if mode == "push" { 0 } else { options.in_flight },
        "messages": outcome.succeeded, "seconds": seconds, "msgs_per_s": outcome.succeeded as f64 / seconds,
        "p50_us": micros(0.5) as u64, "p99_us": micros(0.99) as u64,
        "cpu_seconds": cpu, "run_cpu_seconds": cpu - cpu_before,
        "run_cpu_s_per_100k": (cpu - cpu_before) * 1e5 / outcome.succeeded.max(1) as f64,
        "rss_mib": peak_mib(), "errors": outcome.failed,
    });
    println!("{line}");
}

/// User and system time of this process, as `Bench.java` reads it.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // the 14th and 15th field of the file, in ticks of 10 ms
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Highest resident memory so far.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    peak.split_whitespace().next().and_then(|text| text.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}
