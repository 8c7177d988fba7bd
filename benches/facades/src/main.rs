//! The side of rocketmq-rust's facades in the client benchmark: one run, one JSON line, with the fields of `tests/java/Bench.java`.
//!
//! `bench-facades MODE namesrv=HOST:PORT topic=T [messages=50000] [inflight=64] [size=1024] [batch=32] [timeout=120]`
//!
//! Modes: `async` (at most `inflight` awaited sends at a time), `batch` (`inflight` callers, `batch` messages a call), `push` (a fresh
//! group reads `messages` from the first offset, default settings), `push-tuned` (32 messages a listener call, 128 a pull).

#![recursion_limit = "512"] // the facades' futures nest deeper than the default allows

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use rocketmq_client_rust::{
    ClientConfig, ClientRuntime, ClientRuntimeConfig, ConsumeConcurrentlyContext, ConsumeConcurrentlyStatus,
    DefaultMQProducer, DefaultMQPushConsumer, MQPushConsumer, TelemetryHandle,
};
use rocketmq_model::common::consumer::consume_from_where::ConsumeFromWhere;
use rocketmq_model::common::message::message_ext::MessageExt;
use rocketmq_model::common::message::message_single::Message;
use rocketmq_runtime::{RuntimeConfig, RuntimeOwner};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const WARM_UP_SENDS: usize = 20;

struct Options {
    given: BTreeMap<String, String>,
    messages: usize,
    in_flight: usize,
    batch: usize,
    body: Vec<u8>,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Self, Failure> {
        let given: BTreeMap<String, String> = arguments
            .iter()
            .filter_map(|argument| argument.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let number = |name: &str, otherwise: usize| given.get(name).map_or(Ok(otherwise), |value| value.parse());
        Ok(Self {
            messages: number("messages", 50_000)?,
            in_flight: number("inflight", 64)?,
            batch: number("batch", 32)?,
            body: random_bytes(number("size", 1024)?),
            given,
        })
    }

    fn required(&self, name: &str) -> Result<&str, Failure> {
        Ok(self.given.get(name).map(String::as_str).ok_or(format!("option \"{name}\" is missing: add {name}=…"))?)
    }

    fn message(&self) -> Result<Message, Failure> {
        Ok(Message::builder().topic(self.required("topic")?).tags("A").body(self.body.clone()).build()?)
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

#[derive(Default)]
struct Outcome {
    succeeded: usize,
    failed: usize,
    elapsed: Duration,
    latencies: Vec<Duration>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mode = arguments.first().cloned().ok_or("mode is missing: async, batch, push or push-tuned")?;
    let options = Arc::new(Options::read(&arguments[1..])?);
    // with the default lane the runtime refuses to run listeners of a backlog
    let mut settings =
        RuntimeConfig { thread_name: "rmq".into(), ..Default::default() }.with_max_blocking_threads(128)?;
    let lane = &mut settings.blocking_lane_policies.metadata_io;
    (lane.max_concurrency, lane.max_queue_depth) = (96, 100_000);
    (lane.queue_timeout, lane.task_timeout) = (Duration::from_secs(86_400), Duration::from_secs(86_400));
    let owner = RuntimeOwner::plan(settings)?.build()?;
    let runtime = ClientRuntime::try_new(
        owner.root_context().component("mq"),
        ClientRuntimeConfig::default(),
        TelemetryHandle::noop(),
    )?;
    let mut config = ClientConfig::default();
    config.set_namesrv_addr(options.required("namesrv")?.to_owned().into());
    let (outcome, before) = match mode.as_str() {
        "push" | "push-tuned" => {
            let before = cpu_seconds();
            (consume(runtime.clone(), config, &options, mode == "push-tuned").await?, before)
        }
        "async" | "batch" => {
            let mut producer = DefaultMQProducer::builder(runtime.clone())
                .client_config(config)
                .producer_group("bench-facades")
                .send_msg_timeout(10_000)
                .build();
            producer.start().await?;
            for _ in 0..WARM_UP_SENDS {
                producer.send(options.message()?).await?;
            }
            let before = cpu_seconds();
            let (outcome, mut producer) = match mode.as_str() {
                "async" => (send(&producer, &options).await?, producer),
                _ => {
                    let shared = Arc::new(producer);
                    let outcome = send_batches(&shared, &options).await?;
                    (outcome, Arc::try_unwrap(shared).map_err(|_| "a caller still holds the producer")?)
                }
            };
            producer.shutdown().await;
            (outcome, before)
        }
        other => return Err(format!("mode {other:?}: use async, batch, push or push-tuned").into()),
    };
    report(&mode, &options, outcome, before);
    runtime.shutdown().await;
    owner.shutdown_tasks().await;
    owner.shutdown_background();
    Ok(())
}

async fn send(producer: &DefaultMQProducer, options: &Options) -> Result<Outcome, Failure> {
    let mut outcome = Outcome { latencies: Vec::with_capacity(options.messages), ..Outcome::default() };
    let started = Instant::now();
    let mut sends = futures::stream::iter(0..options.messages)
        .map(|_| async {
            let message = options.message()?;
            let began = Instant::now();
            Ok::<_, Failure>((producer.send(message).await.is_ok(), began.elapsed()))
        })
        .buffer_unordered(options.in_flight);
    while let Some(result) = sends.next().await {
        let (sent, latency) = result?;
        outcome.latencies.push(latency);
        if sent { outcome.succeeded += 1 } else { outcome.failed += 1 }
    }
    outcome.elapsed = started.elapsed();
    Ok(outcome)
}

async fn send_batches(producer: &Arc<DefaultMQProducer>, options: &Arc<Options>) -> Result<Outcome, Failure> {
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
                        return Ok::<_, Failure>(outcome);
                    }
                    let messages = (0..count).map(|_| options.message()).collect::<Result<Vec<_>, _>>()?;
                    let began = Instant::now();
                    let sent = producer.send_batch(messages).await.is_ok();
                    outcome.latencies.push(began.elapsed());
                    if sent { outcome.succeeded += count } else { outcome.failed += count }
                }
            })
        })
        .collect();
    let mut whole = Outcome::default();
    for caller in callers {
        let part = caller.await??;
        whole.succeeded += part.succeeded;
        whole.failed += part.failed;
        whole.latencies.extend(part.latencies);
    }
    whole.elapsed = started.elapsed();
    Ok(whole)
}

/// A new group that reads from the first offset; measured from the first message to the last.
async fn consume(
    runtime: Arc<ClientRuntime>,
    config: ClientConfig,
    options: &Options,
    tuned: bool,
) -> Result<Outcome, Failure> {
    let mut builder = DefaultMQPushConsumer::builder(runtime)
        .client_config(config)
        .consumer_group(format!("bench-facades-{}", std::process::id()))
        .consume_from_where(ConsumeFromWhere::ConsumeFromFirstOffset);
    if tuned {
        builder = builder.consume_message_batch_max_size(32).pull_batch_size(128);
    }
    let mut consumer = builder.build();
    consumer.subscribe(options.required("topic")?, "*").await?;
    let (count, first, last) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (counted, begun, ended, clock) = (count.clone(), first.clone(), last.clone(), Instant::now());
    consumer.register_message_listener_concurrently(move |messages: &[&MessageExt], _: &ConsumeConcurrentlyContext| {
        let now = clock.elapsed().as_nanos() as u64;
        let _ = begun.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        ended.fetch_max(now, Ordering::Relaxed);
        counted.fetch_add(messages.len(), Ordering::Relaxed);
        Ok(ConsumeConcurrentlyStatus::ConsumeSuccess)
    });
    consumer.start().await?;
    let timeout = options.given.get("timeout").map_or(Ok(120), |value| value.parse())?;
    let end = Instant::now() + Duration::from_secs(timeout);
    while count.load(Ordering::Relaxed) < options.messages && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let succeeded = count.load(Ordering::Relaxed);
    let elapsed = Duration::from_nanos(last.load(Ordering::Relaxed).saturating_sub(first.load(Ordering::Relaxed)));
    consumer.shutdown().await;
    Ok(Outcome { succeeded, failed: options.messages.saturating_sub(succeeded), elapsed, latencies: Vec::new() })
}

fn report(mode: &str, options: &Options, mut outcome: Outcome, cpu_before: f64) {
    outcome.latencies.sort_unstable();
    let micros = |share: f64| {
        let at = (outcome.latencies.len().saturating_sub(1) as f64 * share) as usize;
        outcome.latencies.get(at).map_or(0, Duration::as_micros)
    };
    let (seconds, cpu) = (outcome.elapsed.as_secs_f64(), cpu_seconds());
    let line = serde_json::json!({
        "client": "facades", "mode": mode, "inflight": if mode.starts_with("push") { 0 } else { options.in_flight },
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
