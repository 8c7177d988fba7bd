//! One load: all topics, a bounded sample of each, at a bounded rate and in a bounded time.
//!
//! First the ends of all queues, then the samples, beginning with the topics that were written last. When the time is over, the
//! topics that are left have a model without a sample, and the next load begins at once with them.

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
use crate::rocketmq::{Admin, Client, Error as RocketMqError, ErrorKind, Result};
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
/// Time after which a load begins no further sample: with what is under way it takes five minutes.
const TIME: Duration = Duration::from_secs(290);
/// Time for samples in any case, so that loads of any number of topics come to an end.
const SAMPLE_TIME: Duration = Duration::from_secs(60);
/// Requests to brokers for which there is time in one load.
const REQUESTS: usize = 14_500;
/// Messages that a pull may bring.
const PULL_MESSAGES: i64 = 32;
/// Sampled bytes of one topic after which no further pull is made.
const TOPIC_BYTES: usize = 1024 * 1024;

/// What a load brought.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// Models by topic.
    pub models: Vec<Entry>,
    /// Topics for whose sample there was no time.
    pub left: usize,
}

/// A model, and where its topic ended when it was looked at: a topic without news is not sampled again.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The model.
    pub model: Model,
    /// Sum of the ends of its queues; [`UNKNOWN`] when it must be looked at again.
    pub end: i64,
}

/// The end of a topic that failed or was not sampled.
const UNKNOWN: i64 = -1;

/// Loads all models once, however long that takes.
///
/// # Errors
/// The cluster cannot be asked for its topics.
pub async fn load_once(
    connection: &ConnectionConfig,
    identity: &Identity,
    sample: u32,
    progress: &watch::Sender<(u32, u32)>,
) -> std::result::Result<Loaded, ReportedError> {
    let mut loaded = load(connection, identity, sample, &Loaded::default(), progress).await?;
    while loaded.left > 0 {
        loaded = load(connection, identity, sample, &loaded, progress).await?;
    }
    Ok(loaded)
}

/// Loads all models; those of `before` are taken over where nothing was stored meanwhile, or without a question if `before` had
/// no time for all and this load goes on with the others.
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
    sample_size: u32,
    before: &Loaded,
    progress: &watch::Sender<(u32, u32)>,
) -> Result<Loaded> {
    let topics = topics(admin, connection).await?;
    let known: HashMap<&str, &Entry> = before.models.iter().map(|entry| (entry.model.topic.as_str(), entry)).collect();
    let total = u32::try_from(topics.len()).unwrap_or(u32::MAX);
    let load = Load {
        admin,
        brokers: Pace::new(BROKER_GAP),
        name_servers: Pace::new(NAME_SERVER_GAP),
        usage: connection.usage,
        sample: sample_size,
        pulls: pulls(topics.len()),
        goes_on: before.left > 0,
    };
    let started = Instant::now();
    // a topic is half done when its queues' ends are known
    let halves = AtomicU32::new(0);
    let tell = |more: u32| progress.send_replace(((halves.fetch_add(more, Ordering::Relaxed) + more) / 2, total));
    let look_at = async |topic: String| {
        let looked_at = load.topic(&topic, known.get(topic.as_str()).copied()).await;
        tell(if looked_at.unsampled.is_empty() { 2 } else { 1 });
        looked_at
    };
    let looked_at = stream::iter(topics).map(|topic| look_at(topic).boxed());
    let mut topics: Vec<LookedAt> = looked_at.buffered(PARALLEL).collect().await;
    topics.sort_by_key(|topic| std::cmp::Reverse(topic.written_at()));
    let until = (started + TIME).max(Instant::now() + SAMPLE_TIME);
    let sample = async |mut topic: LookedAt| {
        if !topic.unsampled.is_empty() && Instant::now() < until {
            load.sample(&mut topic).await;
            tell(1);
        }
        topic
    };
    let sampled = stream::iter(topics).map(|topic| sample(topic).boxed());
    let topics: Vec<LookedAt> = sampled.buffered(PARALLEL).collect().await;
    let left = topics.iter().filter(|topic| !topic.unsampled.is_empty()).count();
    let mut models: Vec<Entry> = topics.into_iter().map(|topic| topic.entry).collect();
    models.sort_by(|a, b| a.model.topic.cmp(&b.model.topic));
    Ok(Loaded { models, left })
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
    /// Only what the load before had no time for is looked at.
    goes_on: bool,
}

/// A topic between the two parts of a load.
struct LookedAt {
    entry: Entry,
    /// The queues from which its sample is to be taken; empty when it needs none.
    unsampled: Vec<QueueStats>,
    /// The end that the sample is up to.
    end: i64,
}

impl LookedAt {
    /// When the topic was written last, in milliseconds since the Unix epoch, as far as that matters.
    fn written_at(&self) -> i64 {
        self.unsampled.iter().map(|queue| queue.last_update_millis).max().unwrap_or_default()
    }

    fn fail(&mut self, error: &RocketMqError) {
        self.entry.model.error = Some(format!("{error}; {}", error.remedy()));
        self.entry.end = UNKNOWN;
        self.unsampled.clear();
    }
}

impl Load<'_> {
    async fn topic(&self, topic: &str, known: Option<&Entry>) -> LookedAt {
        if let Some(known) = known.filter(|known| self.goes_on && known.end != UNKNOWN) {
            return LookedAt { entry: known.clone(), unsampled: Vec::new(), end: UNKNOWN };
        }
        let model = Model {
            topic: topic.to_owned(),
            queues: 0,
            messages: 0,
            sampled: 0,
            format: Format::NotSampled,
            mixed: Vec::new(),
            fields: Vec::new(),
            error: None,
        };
        let mut looked_at = LookedAt { entry: Entry { model, end: UNKNOWN }, unsampled: Vec::new(), end: UNKNOWN };
        if let Err(error) = self.look_at(&mut looked_at, known).await {
            looked_at.fail(&error);
        }
        looked_at
    }

    async fn look_at(&self, looked_at: &mut LookedAt, known: Option<&Entry>) -> Result<()> {
        let entry = &mut looked_at.entry;
        self.name_servers.turn().await;
        let queues = self.admin.queues(&entry.model.topic).await?.0;
        entry.model.queues = u32::try_from(queues.len()).unwrap_or(u32::MAX);
        if self.usage == Usage::Target {
            return Ok(());
        }
        let mut stats = self.stats(&entry.model.topic, &queues).await?;
        let end = stats.iter().map(|queue| queue.max_offset).sum();
        let stored = stats.iter().map(|queue| (queue.max_offset - queue.min_offset).max(0)).sum::<i64>();
        let messages = u64::try_from(stored).unwrap_or_default();
        if let Some(known) = known {
            // what was known of its messages is still the best guess until they are sampled again
            entry.model = Model { queues: entry.model.queues, error: None, ..known.model.clone() };
        }
        entry.model.messages = messages;
        if known.is_some_and(|known| known.end == end) {
            entry.end = end;
            return Ok(());
        }
        stats.retain(|queue| queue.max_offset > queue.min_offset);
        stats.sort_by_key(|queue| std::cmp::Reverse(queue.last_update_millis));
        stats.truncate(self.pulls);
        if stats.is_empty() {
            entry.end = end;
            describe(&mut entry.model, &Sample::default());
        }
        (looked_at.unsampled, looked_at.end) = (stats, end);
        Ok(())
    }

    /// Where the queues begin and end: one question for all queues of a broker, or, where that takes more rights, one each.
    async fn stats(&self, topic: &str, queues: &[crate::rocketmq::Queue]) -> Result<Vec<QueueStats>> {
        let brokers: BTreeSet<&str> = queues.iter().map(|queue| &*queue.broker_name).collect();
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

    /// Takes a topic's sample.
    async fn sample(&self, topic: &mut LookedAt) {
        match self.read(&topic.unsampled).await {
            Ok(sample) => {
                describe(&mut topic.entry.model, &sample);
                topic.entry.end = topic.end;
                topic.unsampled.clear();
            }
            Err(error) => topic.fail(&error),
        }
    }

    /// Reads the newest messages, spread over these queues.
    async fn read(&self, queues: &[QueueStats]) -> Result<Sample> {
        let mut sample = Sample::default();
        let (mut wanted, mut bytes) = (i64::from(self.sample), 0);
        for (at, queue) in queues.iter().enumerate() {
            let left = i64::try_from(queues.len() - at).unwrap_or(1);
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
        Ok(sample)
    }
}

fn describe(model: &mut Model, sample: &Sample) {
    model.sampled = sample.count();
    model.format = sample.format();
    model.mixed = sample.mixed();
    model.fields = sample.fields();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_topics_get_fewer_pulls_each() {
        let table = [(0, 8), (10, 8), (1_000, 8), (1_600, 8), (1_700, 7), (3_000, 3), (10_000, 1), (1_000_000, 1)];
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
