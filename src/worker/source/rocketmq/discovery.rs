//! Topics that are found by pattern: looked for at the start and while the pipeline runs.
//!
//! A topic that comes later is read from its first message. The list of a name server that has just started lacks topics, so
//! one counts as gone only when it is missing several times.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use tokio_util::sync::CancellationToken;

use super::super::super::error::reported;
use super::super::super::sync::Setting;
use crate::rocketmq::{Client, Consumer, Filter, StartFrom, Subscription};
use crate::worker_config::report::{ReportedError, warnings};
use crate::worker_config::sync::{PatternError, RocketMqSourceConfig, TargetConfig, TopicMap};
use crate::worker_config::sync_topics::whole_name;

/// Most topics that one pipeline reads.
const MOST_TOPICS: usize = 2000;
/// Looks in a row without a topic until it counts as gone.
const MISSES: u32 = 3;
/// Names that a message lists at most.
const LISTED: usize = 5;

/// The topics that a pipeline reads, named and found.
pub struct Discovery {
    patterns: Vec<Regex>,
    excluded: Vec<String>,
    interval: Duration,
    named: Vec<String>,
    filter: Filter,
    target: Target,
    /// Topics that were found, with how often in a row they were missing since.
    found: BTreeMap<String, u32>,
    /// Matching topics beyond [`MOST_TOPICS`].
    left_out: usize,
}

/// What is known of the target's topics.
#[derive(Default)]
struct Target {
    /// Whether it is the cluster of the source.
    is_source: bool,
    topic: Option<String>,
    map: Option<TopicMap>,
}

impl Discovery {
    /// What a pipeline looks for; none when its topics are all named.
    ///
    /// # Errors
    /// A pattern cannot be used; the operator refuses such a spec.
    pub fn of(
        setting: &Setting,
        source: &RocketMqSourceConfig,
        filter: &Filter,
    ) -> Result<Option<Self>, ReportedError> {
        let Some(config) = &source.discovery else { return Ok(None) };
        let refused = |error: PatternError| reported("InvalidWorkerConfig", error.to_string(), "correct the pattern");
        let target = match &setting.config.target {
            TargetConfig::RocketMq(target) => Target {
                is_source: target.cluster_id == source.cluster_id,
                topic: target.topic.clone(),
                map: target.topic_map.as_deref().map(TopicMap::compile).transpose().map_err(refused)?,
            },
            _ => Target::default(),
        };
        Ok(Some(Self {
            patterns: config.patterns.iter().map(|text| whole_name(text)).collect::<Result<_, _>>().map_err(refused)?,
            excluded: config.excluded.clone(),
            interval: Duration::from_millis(config.interval_millis.max(100)),
            named: source.topics.clone(),
            filter: filter.clone(),
            target,
            found: BTreeMap::new(),
            left_out: 0,
        }))
    }

    /// Takes up the list of all user topics; whether there are others to read than before.
    pub fn take_up(&mut self, all: &[String]) -> bool {
        let mut matching: Vec<&String> = all.iter().filter(|topic| self.matches(topic)).collect();
        if self.target.is_source && (self.target.topic.is_some() || self.target.map.is_some()) {
            // What this very pipeline writes is not to be read again. Where a route decides, the loop guard does.
            let made: BTreeSet<String> = matching.iter().map(|topic| self.target_of(topic)).collect();
            matching.retain(|topic| !made.contains(*topic));
        }
        self.left_out = matching.len().saturating_sub(MOST_TOPICS);
        matching.truncate(MOST_TOPICS);
        let before: Vec<String> = self.found.keys().cloned().collect();
        self.found.iter_mut().for_each(|(_, misses)| *misses += 1);
        for topic in matching {
            self.found.insert(topic.clone(), 0);
        }
        self.found.retain(|_, misses| *misses < MISSES);
        !self.found.keys().eq(&before)
    }

    fn matches(&self, topic: &str) -> bool {
        let is_copy = self.target.is_source && self.target.map.as_ref().is_some_and(|map| map.is_prefixed(topic));
        !is_copy
            && !self.excluded.iter().any(|excluded| excluded == topic)
            && !self.named.iter().any(|named| named == topic)
            && self.patterns.iter().any(|pattern| pattern.is_match(topic))
    }

    fn target_of(&self, topic: &str) -> String {
        match (&self.target.topic, &self.target.map) {
            (Some(topic), _) => topic.clone(),
            (None, Some(map)) => map.target_of(topic),
            (None, None) => topic.to_owned(),
        }
    }

    /// All topics; `start_from` is where those found begin without a committed offset.
    #[must_use]
    pub fn subscriptions(&self, start_from: Option<&StartFrom>) -> Vec<Subscription> {
        let one = |topic: &String, start_from: Option<&StartFrom>| Subscription {
            topic: topic.clone(),
            filter: self.filter.clone(),
            start_from: start_from.cloned(),
        };
        let named = self.named.iter().map(|topic| one(topic, None));
        named.chain(self.found.keys().map(|topic| one(topic, start_from))).collect()
    }

    /// What should be looked at: topics that become one at the target, or more than can be read.
    #[must_use]
    pub fn warning(&self) -> Option<ReportedError> {
        let reason = warnings::TOPIC_CONFLICT;
        if self.left_out > 0 {
            let message = format!("{} topics match beyond the {MOST_TOPICS} that are read", self.left_out);
            return Some(reported(reason, message, "share them among several syncs by narrower patterns"));
        }
        let mut made: BTreeMap<String, Vec<&String>> = BTreeMap::new();
        for topic in self.named.iter().chain(self.found.keys()).filter(|_| self.target.map.is_some()) {
            made.entry(self.target_of(topic)).or_default().push(topic);
        }
        let together = made.iter().filter(|(_, topics)| topics.len() > 1);
        let words: Vec<String> =
            together.take(LISTED).map(|(name, topics)| format!("{} become {name:?}", list(topics))).collect();
        (!words.is_empty()).then(|| {
            let remedy = "give each a name of its own in target.topicMapping, or narrow source.topicPatterns";
            reported(reason, format!("several topics are written to one: {}", words.join("; ")), remedy)
        })
    }

    /// What the error says while there is nothing to read.
    #[must_use]
    pub fn nothing(&self) -> ReportedError {
        let patterns: Vec<&str> = self.patterns.iter().map(Regex::as_str).collect();
        let message = format!("the source: no topic matches {}", patterns.join(" or "));
        reported(
            "TopicNotFound",
            message,
            "create one, or correct source.topicPatterns; it is looked for again and again",
        )
    }

    /// Looks for topics until `stop` is cancelled.
    pub async fn follow(mut self, client: Client, consumer: Arc<Consumer>, setting: Setting, stop: CancellationToken) {
        loop {
            setting.reporter.set_warning(warnings::TOPIC_CONFLICT, self.warning());
            if stop.run_until_cancelled(tokio::time::sleep(self.interval)).await.is_none() {
                return;
            }
            let all = match stop.run_until_cancelled(client.admin().user_topics()).await {
                None => return,
                Some(Ok(all)) => all,
                Some(Err(error)) => {
                    tracing::warn!(%error, "topics cannot be looked for now; those that are known go on");
                    continue;
                }
            };
            if !self.take_up(&all) {
                continue;
            }
            let subscriptions = self.subscriptions(Some(&StartFrom::First));
            tracing::info!(topics = subscriptions.len(), "the topics that match are others than before");
            // Without any topic there is nothing to subscribe to: the last ones stay until others come.
            if !subscriptions.is_empty()
                && let Some(Err(error)) = stop.run_until_cancelled(consumer.resubscribe(&subscriptions)).await
            {
                tracing::warn!(%error, "the topics that match cannot be subscribed to");
            }
        }
    }
}

fn list(topics: &[&String]) -> String {
    let shown: Vec<String> = topics.iter().take(LISTED).map(|topic| format!("{topic:?}")).collect();
    match topics.len().saturating_sub(LISTED) {
        0 => shown.join(" and "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker_config::sync::TopicMapConfig;

    fn discovery(patterns: &[&str], target: Target) -> Discovery {
        Discovery {
            patterns: patterns.iter().map(|text| whole_name(text).unwrap()).collect(),
            excluded: vec!["_tapdata_heartbeat_table".to_owned()],
            interval: Duration::from_secs(1),
            named: vec!["paid".to_owned()],
            filter: Filter::All,
            target,
            found: BTreeMap::new(),
            left_out: 0,
        }
    }

    fn mapped(map: &TopicMapConfig, is_source: bool) -> Target {
        Target { is_source, topic: None, map: Some(TopicMap::compile(map).unwrap()) }
    }

    fn topics(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn read(discovery: &Discovery) -> Vec<String> {
        discovery.subscriptions(None).into_iter().map(|subscription| subscription.topic).collect()
    }

    #[test]
    fn what_matches_is_read_and_what_is_named_is_read_once() {
        let mut discovery = discovery(&[".*"], Target::default());
        assert!(discovery.take_up(&topics(&["_tapdata_heartbeat_table", "orders", "paid"])));
        assert_eq!(read(&discovery), ["paid", "orders"]);
        assert!(!discovery.take_up(&topics(&["orders", "paid"])));
        assert!(discovery.take_up(&topics(&["orders", "orders_eu", "paid"])));
        assert_eq!(read(&discovery), ["paid", "orders", "orders_eu"]);
    }

    #[test]
    fn a_topic_is_gone_when_it_is_missing_three_times() {
        let mut discovery = discovery(&["orders.*"], Target::default());
        discovery.take_up(&topics(&["orders"]));
        assert!(!discovery.take_up(&[]) && !discovery.take_up(&[]));
        assert!(!discovery.take_up(&topics(&["orders"])), "it has come back in time");
        assert!(!discovery.take_up(&[]) && !discovery.take_up(&[]) && discovery.take_up(&[]));
        assert_eq!(read(&discovery), ["paid"]);
    }

    #[test]
    fn copies_on_the_same_cluster_are_not_copied() {
        let prefix = TopicMapConfig { prefix: Some("dr_".to_owned()), ..TopicMapConfig::default() };
        let all = topics(&["dr_gone", "dr_orders", "orders"]);
        let mut same = discovery(&[".*"], mapped(&prefix, true));
        same.take_up(&all);
        assert_eq!(read(&same), ["paid", "orders"]);
        let mut other = discovery(&[".*"], mapped(&prefix, false));
        other.take_up(&all);
        assert_eq!(read(&other), ["paid", "dr_gone", "dr_orders", "orders"]);
        let pattern = Some(("(.*)".to_owned(), "${1}_copy".to_owned()));
        let mut suffix = discovery(&[".*"], mapped(&TopicMapConfig { pattern, ..TopicMapConfig::default() }, true));
        suffix.take_up(&topics(&["orders", "orders_copy"]));
        assert_eq!(read(&suffix), ["paid", "orders"]);
        let one = Target { is_source: true, topic: Some("all".to_owned()), map: None };
        let mut one = discovery(&[".*"], one);
        one.take_up(&topics(&["all", "orders"]));
        assert_eq!(read(&one), ["paid", "orders"]);
    }

    #[test]
    fn topics_that_become_one_are_told() {
        let pattern = Some(("orders_.*".to_owned(), "orders".to_owned()));
        let mut discovery =
            discovery(&["orders_.*"], mapped(&TopicMapConfig { pattern, ..TopicMapConfig::default() }, false));
        discovery.take_up(&topics(&["orders_eu"]));
        assert_eq!(discovery.warning(), None);
        discovery.take_up(&topics(&["orders_eu", "orders_us"]));
        let warning = discovery.warning().unwrap();
        assert_eq!(
            warning.message,
            "several topics are written to one: \"orders_eu\" and \"orders_us\" become \"orders\""
        );
    }
}
