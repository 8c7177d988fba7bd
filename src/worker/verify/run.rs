//! One run: reads the windows of the source, makes of each message what should be at the target with the pipeline's own code, and
//! looks for that there.
//!
//! Only digests are held, of a bounded number of messages; of more, source and target are read several times, for a part of the
//! keys each time.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use super::super::error::{reported, rocketmq_report};
use super::super::sink::rocketmq::{BORN_PROPERTY, Composer, ORIGIN_PROPERTY};
use super::super::transform::Steps;
use super::ledger::{Hash, Known, Ledger, Place, Print};
use super::passed;
use super::window::{Window, cut, read_all};
use crate::rocketmq::admin::TOOLS_GROUP;
use crate::rocketmq::{Client, ErrorKind, Message, ReceivedMessage};
use crate::worker_config::SyncConfig;
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::{FilterConfig, RocketMqSourceConfig, SourceConfig, TargetConfig};
use crate::worker_config::verify::{Difference, Finding, VerifyCounts};

/// Messages whose digests are held at the same time: about 25 MiB.
const PART: u64 = 200_000;
/// Most parts, and so most messages, of one run.
const MOST_PARTS: u64 = 64;
/// How far the clocks of the brokers of both clusters may be apart, in milliseconds.
pub const CLOCKS_APART: i64 = 300_000;
/// Most messages of the target that are looked for beyond the windows, and most that are read for that.
const MOST_STRANGERS: usize = 10_000;
const MOST_AROUND: u64 = 200_000;

/// What is compared, and with what.
pub struct Subject<'a> {
    config: &'a SyncConfig,
    source: &'a RocketMqSourceConfig,
    steps: &'a Steps,
    composer: Composer,
    from: Client,
    to: Client,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Figures.
    pub counts: VerifyCounts,
    /// Differences, as many as were asked for.
    pub findings: Vec<Finding>,
    /// The broker's times of the oldest and newest message of the windows.
    pub span: Option<(i64, i64)>,
    /// Where each window ended: earlier than asked for when there were too many messages.
    pub ends: Vec<i64>,
    /// Whether one ended earlier.
    pub is_cut: bool,
}

/// A message of the target that none of the windows explains.
#[derive(Debug, Clone)]
struct Stranger {
    content: Hash,
    finding: Finding,
}

/// What is gathered while the source is read.
struct Reading {
    ledger: Ledger,
    topics: BTreeSet<String>,
    span: Option<(i64, i64)>,
    counts: VerifyCounts,
}

impl<'a> Subject<'a> {
    /// What a pipeline reads and writes.
    ///
    /// # Errors
    /// Its source or target cannot be compared, which the operator tells as well.
    pub fn new(config: &'a SyncConfig, steps: &'a Steps, from: &Client, to: &Client) -> Result<Self, ReportedError> {
        let (SourceConfig::RocketMq(source), TargetConfig::RocketMq(target)) = (&config.source, &config.target) else {
            let message = "only a sync from RocketMQ to RocketMQ can be verified";
            return Err(reported("NotImplemented", message, "remove spec.verify, or compare by other means"));
        };
        if matches!(source.filter, FilterConfig::Sql(_)) || target.delay.is_some() {
            let message = "a sync with source.filter.sql or target.delay cannot be verified";
            return Err(reported("NotImplemented", message, "use filter.tags or a transform, and no delay"));
        }
        let composer = Composer::new(config, target)
            .map_err(|error| reported("InvalidWorkerConfig", error.to_string(), "correct target.topicMapping"))?;
        Ok(Self { config, source, steps, composer, from: from.clone(), to: to.clone() })
    }

    /// Compares. Everything before the windows was stored before `begun_millis`, milliseconds since the Unix epoch; everything in
    /// them was acknowledged to the source.
    ///
    /// # Errors
    /// A cluster cannot be read.
    pub async fn run(
        &self,
        mut windows: Vec<Window>,
        begun_millis: i64,
        most: usize,
    ) -> Result<Outcome, ReportedError> {
        let is_cut = cut(&mut windows, PART * MOST_PARTS);
        let total: u64 = windows.iter().map(Window::len).sum();
        let ends = windows.iter().map(|window| window.to).collect();
        let mut outcome = Outcome { ends, is_cut, ..Outcome::default() };
        if total == 0 {
            return Ok(outcome);
        }
        let whole = self.whole_topics(&windows).await?;
        let parts = total.div_ceil(PART).max(1);
        let (mut strangers, mut by_content) = (HashMap::<Hash, Stranger>::new(), HashSet::new());
        let (mut there, mut differences) = (Vec::new(), Vec::new());
        for part in 0..parts {
            let Reading { ledger, topics, span, counts } = self.read_source(&windows, part, parts).await?;
            if part == 0 {
                (outcome.counts, outcome.span) = (counts, span);
                let Some((oldest, _)) = span else { return Ok(outcome) };
                there = self.target_windows(&topics, oldest.saturating_sub(CLOCKS_APART)).await?;
            }
            let (mut ledger, found) = self.read_target(ledger, &there, &whole, begun_millis).await?;
            strangers.extend(found);
            by_content.extend(ledger.take_found_by_content());
            let (counts, more) = ledger.close();
            outcome.counts.add(&counts);
            differences.extend(more);
            differences.truncate(most);
        }
        strangers.retain(|_, stranger| !by_content.contains(&stranger.content));
        self.leave_out_others(&windows, begun_millis, &mut strangers).await?;
        outcome.counts.extra = strangers.len() as u64;
        outcome.findings = self.findings(&windows, &differences).await?;
        let mut extra: Vec<Finding> = strangers.into_values().map(|stranger| stranger.finding).collect();
        extra.sort_unstable();
        outcome.findings.extend(extra);
        outcome.findings.truncate(most);
        Ok(outcome)
    }

    /// Topics all of whose queues are among the windows: only of those can it be told that the source does not have a message.
    async fn whole_topics(&self, windows: &[Window]) -> Result<BTreeSet<String>, ReportedError> {
        let mut here: BTreeMap<&str, usize> = BTreeMap::new();
        windows.iter().for_each(|window| *here.entry(&*window.queue.topic).or_default() += 1);
        let mut whole = BTreeSet::new();
        for (topic, count) in here {
            let queues = self.from.admin().queues(topic).await;
            let (queues, _) =
                queues.map_err(|error| rocketmq_report("the source: failed to look for queues", &error))?;
            if queues.len() == count {
                whole.insert(self.from.admin().bare_name(topic).to_owned());
            }
        }
        Ok(whole)
    }

    async fn read_source(&self, windows: &[Window], part: u64, parts: u64) -> Result<Reading, ReportedError> {
        let ledger = Ledger::new(part, parts);
        let (topics, counts) = (BTreeSet::new(), VerifyCounts::default());
        let reading = Mutex::new(Reading { ledger, topics, span: None, counts });
        read_all(&self.from, windows, "the source", &|window, message| {
            let expected = self.expected(&message);
            let mut reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
            let at = message.store_timestamp;
            let (oldest, newest) = reading.span.unwrap_or((at, at));
            reading.span = Some((oldest.min(at), newest.max(at)));
            reading.counts.source += 1;
            match expected {
                Some(expected) => {
                    let place = Place { window, offset: message.queue_offset };
                    reading.ledger.expect(Print::of_expected(&expected), place);
                    if !reading.topics.contains(&*expected.topic) {
                        reading.topics.insert(expected.topic.to_string());
                    }
                }
                None => reading.counts.left_out += 1,
            }
        })
        .await?;
        Ok(reading.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the pipeline writes for a message; none when it is left out.
    fn expected(&self, message: &ReceivedMessage) -> Option<Message> {
        let record = passed::through(self.config, self.source, self.steps, message)?;
        self.composer.compose(&record).ok().flatten()
    }

    async fn target_windows(&self, topics: &BTreeSet<String>, since: i64) -> Result<Vec<Window>, ReportedError> {
        let (admin, mut windows) = (self.to.admin(), Vec::new());
        for topic in topics {
            let failed = |error| rocketmq_report(&format!("the target: failed to look into topic {topic}"), &error);
            let starts = match admin.search_offsets(topic, since).await {
                Ok(starts) => starts,
                Err(error) if error.kind() == ErrorKind::TopicNotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            for (queue, from) in starts {
                let to = admin.max_offset(&queue).await.map_err(failed)?;
                windows.push(Window { queue, from, to });
            }
        }
        Ok(windows)
    }

    async fn read_target(
        &self,
        ledger: Ledger,
        windows: &[Window],
        whole: &BTreeSet<String>,
        begun_millis: i64,
    ) -> Result<(Ledger, HashMap<Hash, Stranger>), ReportedError> {
        let found = Mutex::new((ledger, HashMap::<Hash, Stranger>::new()));
        read_all(&self.to, windows, "the target", &|_, message| {
            let print = Print::of_found(&message.topic, &message);
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            let (ledger, strangers) = &mut *found;
            if ledger.find(print) == Known::No
                && strangers.len() < MOST_STRANGERS
                && self.is_copy(&message, whole, begun_millis)
            {
                let finding = finding(Difference::Extra, &message, &message.topic);
                strangers.insert(print.key(), Stranger { content: print.content(), finding });
            }
        })
        .await?;
        Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a message of the target says that this pipeline has made it, of an original within the time of the windows.
    fn is_copy(&self, message: &ReceivedMessage, whole: &BTreeSet<String>, begun_millis: i64) -> bool {
        let last = message.properties.get(ORIGIN_PROPERTY).and_then(|places| places.rsplit(',').next());
        let topic = last.and_then(|place| place.strip_prefix(&self.source.cluster_id)?.strip_prefix('/'));
        let born = message.properties.get(BORN_PROPERTY).and_then(|born| born.parse::<i64>().ok());
        topic.is_some_and(|topic| whole.contains(topic)) && born.is_some_and(|born| born >= begun_millis)
    }

    /// Takes those out whose originals stand around the windows: they were written after the windows were closed, or belong to an
    /// earlier one although a sender's clock says otherwise.
    async fn leave_out_others(
        &self,
        windows: &[Window],
        begun_millis: i64,
        strangers: &mut HashMap<Hash, Stranger>,
    ) -> Result<(), ReportedError> {
        if strangers.is_empty() {
            return Ok(());
        }
        let (admin, mut around) = (self.from.admin(), Vec::new());
        let failed = |error| rocketmq_report("the source: failed to look around the window", &error);
        for Window { queue, from, to } in windows {
            let end = admin.max_offset(queue).await.map_err(failed)?;
            let begin = admin.search_offset(queue, begun_millis.saturating_sub(CLOCKS_APART)).await.map_err(failed)?;
            around.push(Window { queue: queue.clone(), from: *to, to: end });
            around.push(Window { queue: queue.clone(), from: begin.min(*from), to: *from });
        }
        if around.iter().map(Window::len).sum::<u64>() > MOST_AROUND {
            tracing::info!("too many messages stand around the window to tell which of the target are extra");
            strangers.clear();
            return Ok(());
        }
        let left = Mutex::new(std::mem::take(strangers));
        read_all(&self.from, &around, "the source", &|_, message| {
            let Some(expected) = self.expected(&message) else { return };
            let print = Print::of_expected(&expected);
            let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
            left.remove(&print.key());
            if print.has_no_id() {
                left.retain(|_, stranger| stranger.content != print.content());
            }
        })
        .await?;
        *strangers = left.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(())
    }

    /// The differences in words: each message is read once more.
    async fn findings(
        &self,
        windows: &[Window],
        differences: &[(Place, Difference)],
    ) -> Result<Vec<Finding>, ReportedError> {
        let (admin, mut findings) = (self.from.admin(), Vec::new());
        for (Place { window, offset }, difference) in differences {
            let peek = admin.peek(&windows[*window].queue, TOOLS_GROUP, *offset, 1).await;
            let peek = peek.map_err(|error| rocketmq_report("the source: failed to read a message again", &error))?;
            let message = peek.messages.into_iter().find(|message| message.queue_offset == *offset);
            findings.extend(message.map(|message| {
                let topic = self.expected(&message).map_or_else(String::new, |expected| expected.topic.to_string());
                finding(*difference, &message, &topic)
            }));
        }
        Ok(findings)
    }
}

fn finding(kind: Difference, message: &ReceivedMessage, topic: &str) -> Finding {
    let ReceivedMessage { topic: at, broker_name, queue_id, queue_offset, .. } = message;
    let id = message.message_id.to_string();
    Finding {
        kind,
        key: if message.keys.is_empty() { id.clone() } else { message.keys.join(" ") },
        id,
        place: format!("topic {at}, broker {broker_name}, queue {queue_id}, offset {queue_offset}"),
        topic: topic.to_owned(),
        columns: Vec::new(),
    }
}
