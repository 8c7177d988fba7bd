//! Heartbeat of a connection: while something uses it, a message with the time is written at each interval and read back by
//! its offset. Syncs that read the topic measure their delay by it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::config;
use super::super::error::{Error, reported, rocketmq_report};
use super::super::{Context, report::Reporter};
use super::cluster::masters;
use crate::rocketmq::admin::TOOLS_GROUP;
use crate::rocketmq::{
    Admin, Client, ErrorKind, Message, Producer, ProducerConfig, Queue, ReceivedMessage, SendReceipt,
};
use crate::worker_config::ConnectionConfig;
use crate::worker_config::connection::HeartbeatConfig;
use crate::worker_config::report::{HeartbeatReport, HeartbeatState, Instructions, ReportedError};

/// Intervals without a heartbeat that came back until it counts as missing.
pub const MISSED_INTERVALS: u32 = 6;
/// Producer group of heartbeats.
const GROUP: &str = "rocketmq-connector-heartbeat";
/// How long a heartbeat may take to be readable after the broker has confirmed it.
const READ_PATIENCE: Duration = Duration::from_secs(5);
/// How long a new topic may take until its route is known.
const ROUTE_PATIENCE: Duration = Duration::from_secs(10);

/// Body of a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The connection.
    pub id: String,
    /// When it was written, in RFC 3339.
    pub ts: jiff::Timestamp,
}

/// Beats while the connection has users, until `token` is cancelled.
pub async fn run(context: Context, connection: ConnectionConfig, heartbeat: HeartbeatConfig, token: CancellationToken) {
    let mut instructions = context.reporter.instructions();
    let mut task = Task { context, connection, heartbeat, report: HeartbeatReport::default(), proven: Instant::now() };
    task.enter(HeartbeatState::Stopped);
    loop {
        let in_use = task.connection.in_use;
        let is_used = instructions.wait_for(|told| has_users(told, in_use));
        if token.run_until_cancelled(is_used).await.is_none_or(|waited| waited.is_err()) {
            return;
        }
        task.enter(HeartbeatState::Starting);
        if token.run_until_cancelled(task.beat_while_used(&mut instructions)).await.is_none() {
            return;
        }
        task.enter(HeartbeatState::Stopped);
    }
}

/// What the operator told counts; before its first poll, what it had written into the configuration.
fn has_users(told: &Instructions, in_use: bool) -> bool {
    told.users.map_or(in_use, |users| users > 0)
}

struct Task {
    context: Context,
    connection: ConnectionConfig,
    heartbeat: HeartbeatConfig,
    report: HeartbeatReport,
    /// When a heartbeat came back last, or when they began.
    proven: Instant,
}

impl Task {
    fn enter(&mut self, state: HeartbeatState) {
        if self.report.state != state || self.report.since_millis == 0 {
            self.report.since_millis = jiff::Timestamp::now().as_millisecond();
            tracing::info!(?state, topic = self.heartbeat.topic, "heartbeat");
        }
        if state == HeartbeatState::Starting {
            self.proven = Instant::now();
        }
        self.report.state = state;
        self.tell();
    }

    fn tell(&self) {
        self.reporter().set_heartbeat(self.report.clone());
    }

    fn reporter(&self) -> &Reporter {
        &self.context.reporter
    }

    async fn beat_while_used(&mut self, instructions: &mut watch::Receiver<Instructions>) {
        let in_use = self.connection.in_use;
        tokio::select! {
            () = self.beat_for_ever() => {}
            // An ended channel means that the worker ends, which the caller notices.
            _ = instructions.wait_for(|told| !has_users(told, in_use)) => {}
        }
    }

    async fn beat_for_ever(&mut self) {
        let interval = Duration::from_millis(self.heartbeat.interval_millis.max(100));
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pulse: Option<Pulse> = None;
        loop {
            ticks.tick().await;
            let files = config::fingerprint(&self.connection.cluster);
            if let Some(old) = pulse.take_if(|pulse| pulse.files != files) {
                old.client.shutdown().await;
            }
            let beaten = match &pulse {
                Some(pulse) => pulse.beat(&self.heartbeat).await,
                None => match Pulse::start(&self.connection, &self.context, &self.heartbeat).await {
                    Ok(started) => pulse.insert(started).beat(&self.heartbeat).await,
                    Err(error) => Err(error),
                },
            };
            match beaten {
                Ok(round_trip) => self.came_back(round_trip),
                Err(error) => self.failed(error, interval * MISSED_INTERVALS),
            }
        }
    }

    fn came_back(&mut self, round_trip: Duration) {
        self.proven = Instant::now();
        self.report.last_beat_millis = Some(jiff::Timestamp::now().as_millisecond());
        self.report.round_trip_millis = Some(u64::try_from(round_trip.as_millis()).unwrap_or(u64::MAX));
        self.report.error = None;
        self.enter(HeartbeatState::Beating);
    }

    fn failed(&mut self, error: ReportedError, limit: Duration) {
        tracing::warn!(reason = error.reason, message = error.message, remedy = error.remedy, "a heartbeat failed");
        self.report.error = Some(error);
        match self.proven.elapsed() > limit {
            true => self.enter(HeartbeatState::Missing),
            false => self.tell(),
        }
    }
}

/// A client that can beat.
struct Pulse {
    client: Client,
    producer: Producer,
    queues: Vec<Queue>,
    files: Option<[u8; 64]>,
}

impl Pulse {
    async fn start(
        connection: &ConnectionConfig,
        context: &Context,
        heartbeat: &HeartbeatConfig,
    ) -> Result<Self, ReportedError> {
        let files = config::fingerprint(&connection.cluster);
        let settings = config::client_config(&connection.cluster, &context.identity).map_err(|error| error.report())?;
        let failed = |source| Error::RocketMq { what: "failed to start the heartbeat", source }.report();
        let client = Client::new(settings).map_err(failed)?;
        let started = async {
            let queues = ensure_topic(&client.admin(), &heartbeat.topic).await?;
            let producer = Producer::new(&client, ProducerConfig::new(GROUP)).map_err(failed)?;
            Ok((queues, producer))
        };
        match started.await {
            Ok((queues, producer)) => Ok(Self { client, producer, queues, files }),
            Err(error) => {
                client.shutdown().await;
                Err(error)
            }
        }
    }

    /// Writes a heartbeat and waits until it can be read; the time that took.
    async fn beat(&self, heartbeat: &HeartbeatConfig) -> Result<Duration, ReportedError> {
        let (started, beat) = (Instant::now(), Beat { id: heartbeat.id.clone(), ts: jiff::Timestamp::now() });
        let body = serde_json::to_vec(&beat)
            .map_err(|error| reported("HeartbeatFailed", error.to_string(), "report this as a fault"))?;
        let message = Message::new(heartbeat.topic.clone(), Bytes::from(body)).with_key(heartbeat.id.clone());
        let receipt = self.producer.send(message).await;
        let receipt = receipt.map_err(|error| rocketmq_report("failed to write a heartbeat", &error))?;
        while started.elapsed() < READ_PATIENCE {
            let found = self.read(&receipt).await;
            let found = found.map_err(|error| rocketmq_report("failed to read a heartbeat back", &error))?;
            if found.is_some_and(|found| serde_json::from_slice::<Beat>(&found.body).is_ok_and(|found| found == beat)) {
                return Ok(started.elapsed());
            }
            // The broker makes a message readable a moment after it has confirmed it.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let message = format!("a heartbeat could not be read within {} s after it was stored", READ_PATIENCE.as_secs());
        Err(reported("HeartbeatNotRead", message, "look at the broker's log and load: stored messages cannot be read"))
    }

    async fn read(&self, receipt: &SendReceipt) -> crate::rocketmq::Result<Option<ReceivedMessage>> {
        let is_its = |queue: &&Queue| queue.broker_name == receipt.broker_name && queue.queue_id == receipt.queue_id;
        let Some(queue) = self.queues.iter().find(is_its) else { return Ok(None) };
        let peek = self.client.admin().peek(queue, TOOLS_GROUP, receipt.queue_offset, 1).await?;
        Ok(peek.messages.into_iter().find(|message| message.queue_offset == receipt.queue_offset))
    }
}

/// Creates the topic, with one queue on one broker, unless it is there.
async fn ensure_topic(admin: &Admin, topic: &str) -> Result<Vec<Queue>, ReportedError> {
    match admin.queues(topic).await {
        Ok((queues, _)) => return Ok(queues),
        Err(error) if error.kind() == ErrorKind::TopicNotFound => {}
        Err(error) => return Err(rocketmq_report("failed to look for the heartbeat topic", &error)),
    }
    let info = admin.cluster().await.map_err(|error| rocketmq_report("failed to ask the name server", &error))?;
    let Some((broker, address)) = masters(&info).min_by_key(|(broker, _)| broker.name.as_str()) else {
        let remedy = "start a broker, and check the name servers that it registers at (namesrvAddr)";
        return Err(reported("NoBroker", "the name server knows no broker", remedy));
    };
    if let Err(error) = admin.create_topic_at(address, topic, 1).await {
        let command = format!("mqadmin updateTopic -b {address} -t {topic} -r 1 -w 1");
        let message = format!("failed to create the heartbeat topic: {error}");
        return Err(reported(error.reason(), message, format!("let an administrator create it: {command}")));
    }
    tracing::info!(
        topic,
        broker = broker.name,
        "created the heartbeat topic; the broker's fileReservedTime bounds its size"
    );
    let started = Instant::now();
    loop {
        match admin.queues(topic).await {
            Ok((queues, _)) => return Ok(queues),
            Err(error) if started.elapsed() > ROUTE_PATIENCE => {
                return Err(rocketmq_report("the new heartbeat topic has no route", &error));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_count_wins_over_the_configuration() {
        let told = |users| Instructions { users, ..Instructions::default() };
        assert!(has_users(&told(None), true) && !has_users(&told(None), false));
        assert!(has_users(&told(Some(1)), false) && !has_users(&told(Some(0)), true));
    }

    #[test]
    fn a_beat_has_its_time_in_rfc_3339() {
        let beat = Beat { id: "u".to_owned(), ts: jiff::Timestamp::from_millisecond(1_700_000_000_123).unwrap() };
        assert_eq!(serde_json::to_string(&beat).unwrap(), r#"{"id":"u","ts":"2023-11-14T22:13:20.123Z"}"#);
    }
}
