//! Records: published without end, and counted at both sides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rocketmq_connector::rocketmq::{
    Client, Consumer, ConsumerConfig, Message, Producer, ProducerConfig, Queue, StartFrom, Subscription,
};
use serde_json::Value;

use super::database::{DatabaseServer, Session};
use super::server::Server;
use super::worker_support::{Broker, LIMIT, unique};
use super::world::World;

/// Records that are published at once, and the pause behind them.
const AT_ONCE: usize = 50;
const PAUSE: Duration = Duration::from_millis(40);
/// Rows of the transaction before that each transaction changes.
const UPDATED: usize = 10;
/// Silence of the target behind which everything has come, and behind which nothing more will come.
const CALM: Duration = Duration::from_secs(6);
const DEAD: Duration = Duration::from_secs(150);

/// How often each record is there.
pub type Counts = BTreeMap<String, usize>;

/// Publishes until it is told to stop. What fails is repeated under another name, so that what the publisher repeats is not
/// taken for a repetition of the sync's.
pub async fn publish(world: Arc<World>, stop: Arc<AtomicBool>, pause: Duration) {
    match &*world.source {
        Server::Broker(broker) => send(&broker.broker(), &world, &stop, pause).await,
        Server::Database(database) => change(database, &world, &stop, pause).await,
        Server::Receiver(_) => {}
    }
}

/// Between two publications where nothing else is asked for.
pub fn usual_pause() -> Duration {
    PAUSE
}

async fn send(broker: &Broker, world: &World, stop: &AtomicBool, pause: Duration) {
    let (client, topic) = (broker.client(), &world.origin);
    let producer = Producer::new(&client, ProducerConfig::new(unique("publisher"))).unwrap();
    let (mut number, mut attempt) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(pause).await;
        if world.is_held() {
            continue;
        }
        let message = |at: usize| {
            let body = format!(r#"{{"n":"{}-{attempt}"}}"#, number + at);
            Message::new(topic, body).with_sharding_key((at % 7).to_string())
        };
        let results = producer.send_batch((0..AT_ONCE).map(message).collect()).await;
        if results.iter().all(Result::is_ok) {
            (number, attempt) = (number + AT_ONCE, 0);
        } else {
            attempt += 1;
        }
    }
    producer.shutdown().await;
    client.shutdown().await;
}

/// Adds rows and changes some of those that were added before, in one transaction each time.
async fn change(database: &DatabaseServer, world: &World, stop: &AtomicBool, pause: Duration) {
    let table = &world.origin;
    let (mut session, mut number, mut attempt) = (None, 0, 0);
    let mut before = String::new();
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(pause).await;
        if world.is_held() {
            continue;
        }
        let ids: Vec<String> = (0..AT_ONCE).map(|at| format!("'{}-{attempt}'", number + at)).collect();
        let rows = ids.iter().map(|id| format!("({id}, 0)")).collect::<Vec<_>>().join(", ");
        let mut statements = vec![format!("INSERT INTO {table} (id, v) VALUES {rows}")];
        if !before.is_empty() {
            statements.push(format!("UPDATE {table} SET v = v + 1 WHERE id IN ({before})"));
        }
        if session.is_none() {
            session = database.session().await.ok();
        }
        let outcome = match &mut session {
            Some(session) => session.transaction(statements).await,
            None => Err("no session".to_owned()),
        };
        if outcome.is_ok() {
            (number, attempt) = (number + AT_ONCE, 0);
            before = ids[..UPDATED].join(", ");
        } else {
            (session, attempt) = (None, attempt + 1);
        }
    }
}

/// What the source has: each message, or each state that a row has had.
pub async fn originals(world: &World) -> Counts {
    match &*world.source {
        Server::Broker(broker) => read(&broker.broker(), &world.origin).await,
        Server::Database(database) => {
            let mut session = database.session().await.unwrap();
            let rows = session.rows(&format!("SELECT id, v FROM {}", world.origin)).await.unwrap();
            let states = |row: Vec<String>| {
                let newest: usize = row[1].parse().unwrap();
                (0..=newest).map(move |v| (format!("{}:{v}", row[0]), 1))
            };
            rows.into_iter().flat_map(states).collect()
        }
        Server::Receiver(_) => Counts::new(),
    }
}

/// What the target has.
pub async fn copies(world: &World) -> Counts {
    match &*world.target {
        Server::Broker(broker) => read(&broker.broker(), &world.destination).await,
        Server::Database(database) => {
            let mut session = database.session().await.unwrap();
            let query = format!("SELECT n, count(*) FROM {} GROUP BY n", world.destination);
            let rows = session.rows(&query).await.unwrap_or_default();
            rows.into_iter().map(|row| (row[0].clone(), row[1].parse().unwrap())).collect()
        }
        Server::Receiver(receiver) => receiver.taken(),
    }
}

/// How often each record is in a topic.
async fn read(broker: &Broker, topic: &str) -> Counts {
    let client = broker.client();
    let total = stored(&client, topic).await.unwrap_or_default();
    let mut config = ConsumerConfig::new(unique("reader"), vec![Subscription::all(topic)]);
    config.start_from = StartFrom::First;
    let consumer = Consumer::start(&client, config).unwrap();
    let (mut counts, mut read) = (Counts::new(), 0);
    while read < total {
        let next = tokio::time::timeout(LIMIT, consumer.recv()).await.unwrap().unwrap();
        let body: Value = serde_json::from_slice(&next.message().body).unwrap();
        let name = match body["n"].as_str() {
            Some(number) => number.to_owned(),
            None => format!("{}:{}", body["id"].as_str().unwrap(), body["v"]),
        };
        *counts.entry(name).or_default() += 1;
        next.ack();
        read += 1;
    }
    consumer.shutdown(Duration::from_secs(2)).await;
    client.shutdown().await;
    counts
}

async fn stored(client: &Client, topic: &str) -> Option<usize> {
    let stats = client.admin().topic_stats(topic).await.ok()?;
    Some(stats.iter().map(|queue| queue.max_offset - queue.min_offset).sum::<i64>() as usize)
}

/// Counts what is at the target, again and again.
pub struct Counter<'a> {
    world: &'a World,
    client: Option<Client>,
    /// Those of the target's topic: name servers may be gone when they are counted.
    queues: Vec<Queue>,
    session: Option<Session>,
}

impl<'a> Counter<'a> {
    pub fn new(world: &'a World) -> Self {
        let client = match &*world.target {
            Server::Broker(broker) => Some(broker.broker().client()),
            _ => None,
        };
        Self { world, client, queues: Vec::new(), session: None }
    }

    /// Records at the target; none while it does not answer.
    pub async fn count(&mut self) -> Option<usize> {
        match (&*self.world.target, &self.client) {
            (Server::Broker(_), Some(client)) => {
                let admin = client.admin();
                if self.queues.is_empty() {
                    self.queues = admin.queues(&self.world.destination).await.ok()?.0;
                }
                let mut total = 0;
                for queue in &self.queues {
                    total += admin.max_offset(queue).await.ok()?;
                }
                Some(total as usize)
            }
            (Server::Database(database), _) => {
                if self.session.is_none() {
                    self.session = database.session().await.ok();
                }
                let query = format!("SELECT count(*) FROM {}", self.world.destination);
                match self.session.as_mut()?.number(&query).await {
                    Ok(count) => Some(count),
                    Err(_) => {
                        self.session = None;
                        None
                    }
                }
            }
            (Server::Receiver(receiver), _) => Some(receiver.taken().values().sum()),
            _ => None,
        }
    }

    pub async fn close(self) {
        if let Some(client) = self.client {
            client.shutdown().await;
        }
    }
}

/// The longest time in which nothing came to the target, from the first record on as long as records are published.
pub async fn longest_pause(world: Arc<World>, stop: Arc<AtomicBool>) -> Duration {
    let mut counter = Counter::new(&world);
    let (mut newest, mut since, mut longest) = (0, Instant::now(), Duration::ZERO);
    while !stop.load(Ordering::Relaxed) && !world.is_held() {
        let count = counter.count().await.unwrap_or(newest);
        if count > newest {
            if newest > 0 {
                longest = longest.max(since.elapsed());
            }
            (newest, since) = (count, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    if newest > 0 {
        longest = longest.max(since.elapsed());
    }
    counter.close().await;
    longest
}

/// What was lost and what came more than once.
pub struct Compared {
    pub records: usize,
    pub lost: usize,
    pub repeated: usize,
}

/// Waits until the target has everything, or gets nothing any more, and compares.
pub async fn compare(world: &World) -> Compared {
    let originals = originals(world).await;
    let records: usize = originals.values().sum();
    let mut counter = Counter::new(world);
    let (mut newest, mut since) = (0, Instant::now());
    loop {
        let count = counter.count().await.unwrap_or(newest);
        if count > newest {
            (newest, since) = (count, Instant::now());
        }
        if since.elapsed() >= CALM && (newest >= records || since.elapsed() >= DEAD) {
            let copies = copies(world).await;
            let lost = originals.keys().filter(|name| !copies.contains_key(*name)).count();
            if lost == 0 || since.elapsed() >= DEAD {
                counter.close().await;
                let original = |name: &String| originals.get(name).copied().unwrap_or(0);
                let repeated = copies.iter().map(|(name, times)| times.saturating_sub(original(name))).sum();
                return Compared { records, lost, repeated };
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
