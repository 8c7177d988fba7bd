//! What faults cost a sync, with counts: `make faults-sync` runs this against a source (4.9.7) and a target (5.4.0) of its own
//! and writes the table into `docs/syncs.md`. It takes some ten minutes, so it is no part of `make test`.
//!
//! `cargo test --test sync_faults … -- TEXT` runs the faults whose name holds TEXT. `SYNC_KILLS` sets the number of kills (50).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing run panics")]

mod worker_support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rocketmq_connector::rocketmq::{Client, Consumer, ConsumerConfig, Message, Producer, ProducerConfig};
use rocketmq_connector::rocketmq::{StartFrom, Subscription};
use rocketmq_connector::worker_config::sync::{
    BatchConfig, ErrorConfig, OnInvalid, RocketMqSourceConfig, RocketMqTargetConfig, SourceConfig, TargetConfig,
};
use rocketmq_connector::worker_config::{Role, SyncConfig};
use worker_support::sync::{from_topic, pipeline, to_topic};
use worker_support::{Broker, LIMIT, unique, worker_config};

const SOURCE: Own = Own { version: "4.9.7", instance: "sync-faults-source", port: 19_300 };
const TARGET: Own = Own { version: "5.4.0", instance: "sync-faults-target", port: 29_300 };
const BEGIN: &str = "<!-- sync-faults begins -->";
const END: &str = "<!-- sync-faults ends -->";

type Fault = fn(&World) -> std::pin::Pin<Box<dyn Future<Output = ()> + '_>>;

const FAULTS: &[(&str, Fault)] = &[
    ("no other fault than the kill at the end", |world| Box::pin(nothing(world))),
    ("worker: kill -9", |world| Box::pin(kill_worker(world))),
    ("target broker: kill -9 and restart, 3 times", |world| Box::pin(kill_broker(world, &TARGET))),
    ("source broker: kill -9 and restart, 3 times", |world| Box::pin(kill_broker(world, &SOURCE))),
    ("both name servers gone for a minute", |world| Box::pin(name_servers_gone(world))),
    ("three workers more and three less, twice", |world| Box::pin(more_and_less(world))),
];

/// A name server and broker of this run only.
struct Own {
    version: &'static str,
    instance: &'static str,
    port: u16,
}

impl Own {
    fn script(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/rocketmq").join(name)
    }

    fn up(&self, what: &str) {
        let mut command = Command::new(Self::script("up.sh"));
        command.args([self.version, "plain", &self.port.to_string()]);
        command.envs([("INSTANCE", self.instance), ("PROXY", "none"), ("WHAT", what)]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "up.sh: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn down(&self) {
        let _ = Command::new(Self::script("down.sh")).arg(self.instance).status();
    }

    /// SIGKILL to its `name-server` or `broker-a-0`.
    fn kill(&self, part: &str) {
        let folder = PathBuf::from(std::env::var("ROCKETMQ_TEST_RUN").unwrap()).join(self.instance).join(part);
        let pid = std::fs::read_to_string(folder.join("pid")).unwrap();
        assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
    }

    fn broker(&self) -> Broker {
        Broker::named(self.instance)
    }
}

/// What a fault happens to.
struct World {
    config: SyncConfig,
    folder: tempfile::TempDir,
}

impl World {
    fn start(&self) -> Process {
        Process::start(self.folder.path(), &self.config)
    }
}

struct Process(Child);

impl Process {
    fn start(folder: &Path, config: &SyncConfig) -> Self {
        let path = folder.join(format!("{}.json", unique("worker")));
        std::fs::write(&path, worker_config(Role::Sync(Box::new(config.clone()))).to_json().unwrap()).unwrap();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rocketmq-connector"));
        command.args(["worker", "--config"]).arg(&path).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().unwrap())
    }

    /// SIGTERM, and waits for the end.
    fn drain(mut self) {
        assert!(Command::new("kill").arg(self.0.id().to_string()).status().unwrap().success());
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

async fn nothing(world: &World) {
    let _worker = world.start();
    pause(15_000).await;
}

async fn kill_worker(world: &World) {
    for _ in 0..kills() {
        let worker = world.start();
        // Moments that differ from run to run, from before the first message to far into the flow.
        pause(600 + (jiff::Timestamp::now().as_nanosecond().unsigned_abs() % 1_900) as u64).await;
        drop(worker);
    }
}

fn kills() -> usize {
    std::env::var("SYNC_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(50)
}

async fn kill_broker(world: &World, own: &'static Own) {
    let _worker = world.start();
    for _ in 0..3 {
        pause(5_000).await;
        own.kill("broker-a-0");
        pause(2_000).await;
        tokio::task::spawn_blocking(|| own.up("broker")).await.unwrap();
    }
    pause(5_000).await;
}

async fn name_servers_gone(world: &World) {
    let _worker = world.start();
    pause(5_000).await;
    SOURCE.kill("name-server");
    TARGET.kill("name-server");
    pause(60_000).await;
    tokio::task::spawn_blocking(|| [&SOURCE, &TARGET].map(|own| own.up("ns"))).await.unwrap();
    pause(10_000).await;
}

async fn more_and_less(world: &World) {
    let _first = world.start();
    for _ in 0..2 {
        let more: Vec<Process> = (0..3).map(|_| world.start()).collect();
        pause(25_000).await;
        for worker in more {
            tokio::task::spawn_blocking(|| worker.drain()).await.unwrap();
        }
        pause(5_000).await;
    }
}

fn sync(source: &str, target: &str) -> SyncConfig {
    let name = unique("faults");
    let from = RocketMqSourceConfig { cluster_id: "source".to_owned(), ..from_topic(&SOURCE.broker(), source, &name) };
    let to = RocketMqTargetConfig { cluster_id: "target".to_owned(), ..to_topic(&TARGET.broker(), target, &name) };
    SyncConfig {
        batch: BatchConfig { max_records: 500, max_bytes: 1 << 20, max_wait_millis: 100 },
        errors: ErrorConfig { retry_interval_millis: 5_000, retry_for_millis: None, on_invalid: OnInvalid::Stop },
        ..pipeline(&name, SourceConfig::RocketMq(from), TargetConfig::RocketMq(to))
    }
}

/// Publishes until it is told to stop. A send that fails is repeated under another name, so that what the publisher
/// repeats is not taken for a repetition of the sync's.
async fn publish(topic: String, stop: Arc<AtomicBool>) {
    let client = SOURCE.broker().client();
    let producer = Producer::new(&client, ProducerConfig::new(unique("publisher"))).unwrap();
    let (mut number, mut attempt) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let message = |at: usize| {
            Message::new(&topic, format!("{}-{attempt}", number + at)).with_sharding_key((at % 7).to_string())
        };
        let results = producer.send_batch((0..50).map(message).collect()).await;
        if results.iter().all(Result::is_ok) {
            (number, attempt) = (number + 50, 0);
        } else {
            attempt += 1;
        }
        pause(40).await;
    }
    producer.shutdown().await;
    client.shutdown().await;
}

/// How often each body is in a topic.
async fn count(broker: &Broker, topic: &str) -> BTreeMap<String, usize> {
    let client = broker.client();
    let total = stored(&client, topic).await;
    let mut config = ConsumerConfig::new(unique("reader"), vec![Subscription::all(topic)]);
    config.start_from = StartFrom::First;
    let consumer = Consumer::start(&client, config).unwrap();
    let (mut counts, mut read) = (BTreeMap::new(), 0);
    while read < total {
        let next = tokio::time::timeout(LIMIT, consumer.recv()).await.unwrap().unwrap();
        *counts.entry(String::from_utf8_lossy(&next.message().body).into_owned()).or_default() += 1;
        next.ack();
        read += 1;
    }
    consumer.shutdown(Duration::from_secs(2)).await;
    client.shutdown().await;
    counts
}

async fn stored(client: &Client, topic: &str) -> usize {
    let stats = client.admin().topic_stats(topic).await.unwrap_or_default();
    stats.iter().map(|queue| queue.max_offset - queue.min_offset).sum::<i64>() as usize
}

/// Waits until nothing has come for six seconds.
async fn at_rest(broker: &Broker, topic: &str) {
    let client = broker.client();
    let (mut before, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_secs(6) {
        pause(300).await;
        let now = stored(&client, topic).await;
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    client.shutdown().await;
}

struct Outcome {
    name: &'static str,
    messages: usize,
    lost: usize,
    repeated: usize,
    seconds: u64,
}

async fn run(name: &'static str, fault: Fault) -> Outcome {
    let began = Instant::now();
    let (source, target) = (SOURCE.broker().topic("fault", 4).await, TARGET.broker().topic("fault", 4).await);
    let world = World { config: sync(&source, &target), folder: tempfile::tempdir().unwrap() };
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn(publish(source.clone(), Arc::clone(&stop)));
    fault(&world).await;
    stop.store(true, Ordering::Relaxed);
    publishing.await.unwrap();
    let last = world.start();
    // A new member waits for its queues, so that rest is not taken for the end.
    pause(5_000).await;
    at_rest(&TARGET.broker(), &target).await;
    drop(last);
    let (originals, copies) = (count(&SOURCE.broker(), &source).await, count(&TARGET.broker(), &target).await);
    let lost = originals.keys().filter(|body| !copies.contains_key(*body)).count();
    if lost > 0 {
        eprintln!("{}", std::fs::read_to_string(world.folder.path().join("log")).unwrap());
    }
    let repeated = copies.iter().map(|(body, times)| times.saturating_sub(originals.get(body).copied().unwrap_or(0)));
    let outcome = Outcome {
        name,
        messages: originals.values().sum(),
        lost,
        repeated: repeated.sum(),
        seconds: began.elapsed().as_secs(),
    };
    println!(
        "{name}: {} messages, {lost} lost, {} repeated, {} s",
        outcome.messages, outcome.repeated, outcome.seconds
    );
    outcome
}

fn table(outcomes: &[Outcome]) -> String {
    let rows: String = outcomes
        .iter()
        .map(|Outcome { name, messages, lost, repeated, .. }| {
            format!("| {name} | {messages} | {lost} | {repeated} |\n")
        })
        .collect();
    format!(
        "{BEGIN}\nFrom RocketMQ 4.9.7 to 5.4.0, 4 queues, some 1,000 messages a second meanwhile; `kill -9` of the worker {} times at random \
         moments. Written by `make faults-sync`.\n\n| fault | messages | lost | repeated |\n|---|---|---|---|\n{rows}{END}",
        kills()
    )
}

/// Replaces the table in the document.
fn write(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/syncs.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (_, tail) = rest.split_once(END).unwrap();
    std::fs::write(path, format!("{head}{table}{tail}")).unwrap();
}

fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    [&SOURCE, &TARGET].iter().for_each(|own| own.up("all"));
    let mut outcomes = Vec::new();
    for (name, fault) in FAULTS.iter().filter(|(name, _)| wanted(name)) {
        outcomes.push(runtime.block_on(run(name, *fault)));
    }
    [&SOURCE, &TARGET].iter().for_each(|own| own.down());
    let table = table(&outcomes);
    println!("{table}");
    if filters.is_empty() {
        write(&table);
    }
    if outcomes.iter().all(|outcome| outcome.lost == 0) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
