//! Topics of a sync by pattern, what they are called at the target, and what must not be read or written so.

use std::collections::BTreeMap;

use crate::api::RocketMQSyncSpec;
use crate::api::connection::Heartbeat;
use crate::api::sync::TopicMapping;
use crate::controller::error::Problem;
use crate::worker_config::connection::HEARTBEAT_TOPIC;
use crate::worker_config::sync as config;
use crate::worker_config::sync_topics::whole_name;

use super::steps::millis;

/// Milliseconds between two looks for topics when the spec says nothing.
const REFRESH_MILLIS: u64 = 30_000;
/// What a topic's name may hold, and how long it may be.
const LONGEST_NAME: usize = 127;

/// Topics that are found while the sync runs; `heartbeat` is that of the source's connection.
///
/// # Errors
/// A pattern is no regular expression, or the refresh no duration.
pub fn discovery(
    spec: &RocketMQSyncSpec,
    heartbeat: Option<&Heartbeat>,
) -> Result<Option<config::DiscoveryConfig>, Problem> {
    let source = &spec.source;
    if source.topic_patterns.is_empty() {
        return Ok(None);
    }
    for (number, pattern) in source.topic_patterns.iter().enumerate() {
        whole_name(pattern).map_err(|error| wrong(&format!("spec.source.topicPatterns[{number}]"), &error))?;
    }
    let refresh =
        source.topic_refresh.as_ref().map(|refresh| millis("spec.source.topicRefresh", refresh)).transpose()?;
    let mut excluded = heartbeat_topics(heartbeat);
    // Dead letters are written to the source's cluster.
    excluded.extend(spec.errors.dead_letter_topic.clone());
    Ok(Some(config::DiscoveryConfig {
        patterns: source.topic_patterns.clone(),
        excluded,
        interval_millis: refresh.unwrap_or(REFRESH_MILLIS),
    }))
}

/// How names of target topics are made.
///
/// # Errors
/// What the mapping makes can never be a topic, or its pattern cannot be used.
pub fn topic_map(spec: &RocketMQSyncSpec) -> Result<Option<config::TopicMapConfig>, Problem> {
    let Some(mapping) = &spec.target.topic_mapping else { return Ok(None) };
    let TopicMapping { names, pattern, replacement, prefix } = mapping.clone();
    let made = names.iter().map(|(topic, name)| (format!("names.{topic}"), name));
    for (field, name) in made.chain(prefix.iter().map(|prefix| ("prefix".to_owned(), prefix))) {
        if !is_topic_name(name) {
            return Err(Problem::invalid_spec(format!(
                "spec.target.topicMapping.{field}: {name:?} is no topic name; use 1 to {LONGEST_NAME} letters, digits, -, _, % and |"
            )));
        }
    }
    let config = config::TopicMapConfig { names, pattern: pattern.zip(replacement), prefix };
    config::TopicMap::compile(&config).map_err(|error| wrong(field_of(&error), &error))?;
    Ok(Some(config))
}

fn field_of(error: &config::PatternError) -> &'static str {
    match error {
        config::PatternError::Syntax { .. } => "spec.target.topicMapping.pattern",
        config::PatternError::UnknownGroup { .. } => "spec.target.topicMapping.replacement",
    }
}

fn wrong(field: &str, error: &config::PatternError) -> Problem {
    let remedy = match error {
        config::PatternError::Syntax { .. } => "write for instance orders_(.*), which must match the whole name",
        config::PatternError::UnknownGroup { .. } => {
            "write $1 or ${name} for a group in parentheses, with braces where a letter, a digit or _ follows: ${1}_copy"
        }
    };
    Problem::invalid_spec(format!("{field}: {error}; {remedy}"))
}

fn is_topic_name(name: &str) -> bool {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '%' | '|' | '-' | '_');
    !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(is_legal)
}

/// Topics that hold heartbeats of a cluster. The default name counts always, since other connections may use it.
fn heartbeat_topics(heartbeat: Option<&Heartbeat>) -> Vec<String> {
    let named = heartbeat.map(|heartbeat| heartbeat.topic.clone()).filter(|topic| topic != HEARTBEAT_TOPIC);
    std::iter::once(HEARTBEAT_TOPIC.to_owned()).chain(named).collect()
}

/// Topics that are named and must not be read or written so.
pub fn problems(spec: &RocketMQSyncSpec, heartbeat: Option<&Heartbeat>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let heartbeats = heartbeat_topics(heartbeat);
    problems.extend(spec.source.topics.iter().filter(|topic| heartbeats.contains(topic)).map(|topic| {
        Problem::invalid_spec(format!(
            "spec.source.topics: {topic:?} holds the heartbeats of connections, which are no data; remove it"
        ))
    }));
    let most = spec.autoscaling.as_ref().map(|autoscaling| autoscaling.max_replicas).max(spec.replicas);
    if !spec.source.topic_patterns.is_empty() && most > Some(1) {
        problems.push(Problem::invalid_spec(
            "spec.replicas: topics that are found by pattern are read by one worker, since all members of a consumer group must \
             subscribe to the same topics; set it to 1, or name the topics in spec.source.topics",
        ));
    }
    if let Ok(Some(map)) = topic_map(spec)
        && let Ok(map) = config::TopicMap::compile(&map)
    {
        problems.extend(collisions(spec, &map));
    }
    problems
}

/// Two topics that would become one, and topics that would come back to a topic that is read.
fn collisions(spec: &RocketMQSyncSpec, map: &config::TopicMap) -> Vec<Problem> {
    let (mut problems, mut made) = (Vec::new(), BTreeMap::<String, &str>::new());
    let is_same = spec.source.connection_ref == spec.target.connection_ref;
    for topic in &spec.source.topics {
        let name = map.target_of(topic);
        if is_same && spec.source.topics.contains(&name) {
            problems.push(Problem::invalid_spec(format!(
                "spec.target.topicMapping: {topic:?} becomes {name:?}, which is one of source.topics on the same connection and \
                 would be an endless loop; choose another name, or another connection"
            )));
        }
        if let Some(other) = made.insert(name.clone(), topic) {
            problems.push(Problem::invalid_spec(format!(
                "spec.target.topicMapping: {other:?} and {topic:?} both become {name:?}; give each a name of its own, or set \
                 spec.target.topic instead, which is for several topics in one"
            )));
        }
    }
    problems
}
