//! One load: all topics, a bounded sample of each, at a bounded rate.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep_until};

use super::super::super::config;
use super::super::super::error::{Error, rocketmq_report};
use super::infer::Sample;
use crate::rocketmq::admin::{QueueStats, TOOLS_GROUP, is_system_topic};
use crate::rocketmq::{Admin, Client, ErrorKind, Result};
use crate::worker_config::connection::Usage;
use crate::worker_config::models::{Format, Model};
use crate::worker_config::report::ReportedError;
use crate::worker_config::{ConnectionConfig, Identity};

/// Shortest time between two requests to brokers, whichever they are: 50 a second.
const BROKER_GAP: Duration = Duration::from_millis(20);
/// Shortest time between two questions to the name servers, which have the answer in memory: 200 a second.
const NAME_SERVER_GAP: Duration = Duration::from_millis(5);
/// Topics looked at at the same time.
const PARALLEL: usize = 8;
/// Pulls of one topic, while there is time for all.
const MAX_PULLS: usize = 8;
/// Requests to brokers for which there is time in one load: five minutes of them.
const REQUESTS: usize = 15_000;
/// Messages that a pull may bring.
const PULL_MESSAGES: i64 = 32;
/// Sampled bytes of one topic after which no further pull is made.
const TOPIC_BYTES: usize = 1024 * 1024;

/// What a load brought.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// Models by topic.
    pub models: Vec<Entry>,
}

/// A model, and where its topic ended when it was looked at: a topic without news is not sampled again.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The model.
    pub model: Model,
    /// Sum of the ends of its queues.
    pub end: i64,
}

/// Loads all models once.
///
/// # Errors
/// The cluster cannot be asked for its topics.
pub async fn load_once(
    connection: &ConnectionConfig,
    identity: &Identity,
    sample: u32,
    progress: &watch::Sender<(u32, u32)>,
) -> std::result::Result<Loaded, ReportedError> {
    load(connection, identity, sample, &Loaded::default(), progress).await
}

/// Loads all models; those of `before` are taken over where nothing was stored meanwhile.
///
/// # Errors
/// The cluster cannot be asked for its topics.
pub async fn load(
    connection: &ConnectionConfig,
    identity: &Identity,
    sample: u32,
    before: &Loaded,
    progress: &watch::Sender<(u32, u32)>,
) -> std::result::Result<Loaded, ReportedError> {
    let settings = config::client_config(&connection.cluster, identity).map_err(|error| error.report())?;
    let failed = |source| Error::RocketMq { what: "failed to build the client", source }.report();
    let client = Client::new(settings).map_err(failed)?;
    let loaded = load_with(&client.admin(), connection, sample, before, progress).await;
    client.shutdown().await;
    loaded.map_err(|error| rocketmq_report("failed to list the topics", &error))
}

async fn load_with(
    admin: &Admin,
    connection: &ConnectionConfig,
    sample: u32,
    before: &Loaded,
    progress: &watch::Sender<(u32, u32)>,
) -> Result<Loaded> {
    let topics = topics(admin, connection).await?;
    let known: HashMap<&str, &Entry> = before.models.iter().map(|entry| (entry.model.topic.as_str(), entry)).collect();
    let total = u32::try_from(topics.len()).unwrap_or(u32::MAX);
    let done = AtomicU32::new(0);
    let (brokers, name_servers) = (Pace::new(BROKER_GAP), Pace::new(NAME_SERVER_GAP));
    let load = Load { admin, brokers, name_servers, usage: connection.usage, sample, pulls: pulls(topics.len()) };
    let look_at = async |topic: String| {
        let known = known.get(topic.as_str()).copied();
        let entry = load.topic(topic, known).await;
        progress.send_replace((done.fetch_add(1, Ordering::Relaxed) + 1, total));
        entry
    };
    let entries = stream::iter(topics).map(|topic| look_at(topic).boxed());
    Ok(Loaded { models: entries.buffered(PARALLEL).collect().await })
}

/// The topics that the connection names, or all; never system topics or the heartbeat's.
async fn topics(admin: &Admin, connection: &ConnectionConfig) -> Result<Vec<String>> {
    let mut topics = match connection.topics.as_slice() {
        [] => admin.user_topics().await?,
        named => named.to_vec(),
    };
    topics.retain(|topic| !connection.is_heartbeat_topic(topic) && !is_system_topic(topic));
    topics.sort();
    topics.dedup();
    Ok(topics)
}

/// Pulls of each topic for which there is time besides the question for its offsets.
fn pulls(topics: usize) -> usize {
    (REQUESTS.saturating_sub(topics) / topics.max(1)).clamp(1, MAX_PULLS)
}

/// Keeps requests apart.
struct Pace {
    gap: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    fn new(gap: Duration) -> Self {
        Self { gap, next: Mutex::new(None) }
    }

    async fn turn(&self) {
        let mut next = self.next.lock().await;
        let at = next.unwrap_or_else(Instant::now);
        sleep_until(at).await;
        *next = Some(Instant::now().max(at) + self.gap);
    }
}

struct Load<'a> {
    admin: &'a Admin,
    brokers: Pace,
    name_servers: Pace,
    usage: Usage,
    sample: u32,
    pulls: usize,
}

impl Load<'_> {
    async fn topic(&self, topic: String, known: Option<&Entry>) -> Entry {
        let model = Model {
            topic,
            queues: 0,
            messages: 0,
            sampled: 0,
            format: Format::NotSampled,
            mixed: Vec::new(),
            fields: Vec::new(),
            error: None,
        };
        let mut entry = Entry { model, end: -1 };
        if let Err(error) = self.look_at(&mut entry, known).await {
            entry.model.error = Some(format!("{error}; {}", error.remedy()));
            entry.end = -1;
        }
        entry
    }

    async fn look_at(&self, entry: &mut Entry, known: Option<&Entry>) -> Result<()> {
        self.name_servers.turn().await;
        let queues = self.admin.queues(&entry.model.topic).await?.0;
        entry.model.queues = u32::try_from(queues.len()).unwrap_or(u32::MAX);
        if self.usage == Usage::Target {
            return Ok(());
        }
        let stats = self.stats(&entry.model.topic, &queues).await?;
        entry.end = stats.iter().map(|queue| queue.max_offset).sum();
        let stored = stats.iter().map(|queue| (queue.max_offset - queue.min_offset).max(0)).sum::<i64>();
        entry.model.messages = u64::try_from(stored).unwrap_or_default();
        match known.filter(|known| known.end == entry.end && known.model.error.is_none()) {
            Some(known) => {
                let (queues, messages) = (entry.model.queues, entry.model.messages);
                entry.model = Model { queues, messages, ..known.model.clone() };
            }
            None => self.sample(&mut entry.model, stats).await?,
        }
        Ok(())
    }

    /// Where the queues begin and end: one question for all queues of a broker, or, where that takes more rights, one each.
    async fn stats(&self, topic: &str, queues: &[crate::rocketmq::Queue]) -> Result<Vec<QueueStats>> {
        let brokers: BTreeSet<&str> = queues.iter().map(|queue| queue.broker_name.as_str()).collect();
        for _ in &brokers {
            self.brokers.turn().await;
        }
        match self.admin.topic_stats(topic).await {
            Err(error) if error.kind() == ErrorKind::AccessDenied => {}
            answer => return answer,
        }
        let mut stats = Vec::new();
        for queue in queues.iter().take(MAX_PULLS) {
            self.brokers.turn().await;
            let max_offset = self.admin.max_offset(queue).await?;
            stats.push(QueueStats { queue: queue.clone(), min_offset: 0, max_offset, last_update_millis: 0 });
        }
        Ok(stats)
    }

    /// Reads the newest messages, spread over the queues that were written last.
    async fn sample(&self, model: &mut Model, mut stats: Vec<QueueStats>) -> Result<()> {
        stats.retain(|queue| queue.max_offset > queue.min_offset);
        stats.sort_by_key(|queue| std::cmp::Reverse(queue.last_update_millis));
        stats.truncate(self.pulls);
        let mut sample = Sample::default();
        let (mut wanted, mut bytes) = (i64::from(self.sample), 0);
        for (at, queue) in stats.iter().enumerate() {
            let left = i64::try_from(stats.len() - at).unwrap_or(1);
            let share = (wanted / left + i64::from(wanted % left > 0)).clamp(1, PULL_MESSAGES);
            let from = (queue.max_offset - share).max(queue.min_offset);
            self.brokers.turn().await;
            let count = u32::try_from(share).unwrap_or(1);
            let peek = self.admin.peek(&queue.queue, TOOLS_GROUP, from, count).await?;
            for message in &peek.messages {
                sample.add(&message.body);
                bytes += message.body.len();
            }
            wanted -= i64::try_from(peek.messages.len()).unwrap_or(i64::MAX);
            if wanted <= 0 || bytes > TOPIC_BYTES {
                break;
            }
        }
        model.sampled = sample.count();
        model.format = sample.format();
        model.mixed = sample.mixed();
        model.fields = sample.fields();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_topics_get_fewer_pulls_each() {
        let table = [(0, 8), (10, 8), (1_000, 8), (3_000, 4), (7_500, 1), (10_000, 1), (1_000_000, 1)];
        for (topics, expected) in table {
            assert_eq!(pulls(topics), expected, "{topics}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn brokers_get_no_more_than_fifty_requests_a_second() {
        let (pace, started) = (Pace::new(BROKER_GAP), Instant::now());
        for _ in 0..101 {
            pace.turn().await;
        }
        assert_eq!(started.elapsed(), Duration::from_secs(2));
    }
}
