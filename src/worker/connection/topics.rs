//! The item of the connection test about topics: each exists, has queues, and this user may do with it what `type` demands.

use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};

use super::cluster::list;
use super::test::Outcome;
use crate::rocketmq::admin::{ClusterInfo, TOOLS_GROUP};
use crate::rocketmq::{Admin, ErrorKind, Queue, TopicRoute};
use crate::worker_config::ConnectionConfig;
use crate::worker_config::connection::Usage;

/// Topics looked at at the same time.
const PARALLEL: usize = 8;
/// Producer group of the question whether this user may write.
const PRODUCER_GROUP: &str = "rocketmq-connector-test";
/// How long a new topic may take until its route is known.
const ROUTE_PATIENCE: Duration = Duration::from_secs(10);

/// Checks every topic of `config`; gives the number of topics of the cluster, too.
pub async fn check(admin: &Admin, config: &ConnectionConfig, info: &ClusterInfo) -> (Outcome, u32) {
    let checks = stream::iter(config.topics.clone()).map(|topic| Topic { admin, config, info, topic }.check().boxed());
    let (mut good, mut notes, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    for outcome in checks.buffered(PARALLEL).collect::<Vec<_>>().await {
        match outcome {
            Ok(Good { words, doubt }) => {
                notes.extend(doubt);
                good.push(words);
            }
            Err(outcome) => bad.push(outcome),
        }
    }
    let users = |topics: &[String]| topics.iter().filter(|topic| !config.is_heartbeat_topic(topic)).count();
    let total = admin.user_topics().await.map_or(0, |topics| u32::try_from(users(&topics)).unwrap_or(u32::MAX));
    if config.topics.is_empty() {
        return (Outcome::passed(format!("{total} topics, all are used")), total);
    }
    if let Some(remedy) = bad.first().map(|outcome| outcome.remedy.clone()) {
        return (Outcome::failed(list(bad.into_iter().map(|outcome| outcome.message)), remedy), total);
    }
    match notes.into_iter().next() {
        Some((words, remedy)) => (Outcome::warning(format!("{}; but {words}", list(good)), remedy), total),
        None => (Outcome::passed(list(good)), total),
    }
}

/// A topic that can be used, and what could not be found out, with its remedy.
struct Good {
    words: String,
    doubt: Option<(String, String)>,
}

struct Topic<'a> {
    admin: &'a Admin,
    config: &'a ConnectionConfig,
    info: &'a ClusterInfo,
    topic: String,
}

impl Topic<'_> {
    async fn check(self) -> Result<Good, Outcome> {
        let (route, is_new) = self.route().await?;
        self.check_permission(&route)?;
        let (readable, writable) = self.admin.queues(&self.topic).await.map_err(|error| Outcome::of_error(&error))?;
        let mut doubt = None;
        if let Some(queue) = readable.first().filter(|_| self.config.usage != Usage::Target) {
            doubt = self.check_reading(queue).await?;
        }
        if let Some(queue) = writable.first().filter(|_| self.config.usage != Usage::Source) {
            self.check_writing(queue).await?;
        }
        let brokers = route.queues.len();
        let created = if is_new { "was created with " } else { "" };
        let words =
            format!("{} {created}{} queues on {brokers} brokers", self.topic, readable.len().max(writable.len()));
        Ok(Good { words, doubt })
    }

    async fn route(&self) -> Result<(TopicRoute, bool), Outcome> {
        match (self.admin.topic_route(&self.topic).await, self.config.create_topics) {
            (Ok(route), _) => Ok((route, false)),
            (Err(error), Some(queues)) if error.kind() == ErrorKind::TopicNotFound => {
                Ok((self.create(queues).await?, true))
            }
            (Err(error), None) if error.kind() == ErrorKind::TopicNotFound => {
                let remedy = format!("create it: {}; or set spec.createTopics", self.command(8));
                Err(Outcome::failed(format!("topic {} does not exist", self.topic), remedy))
            }
            (Err(error), _) => Err(Outcome::of_error(&error)),
        }
    }

    async fn create(&self, queues: u32) -> Result<TopicRoute, Outcome> {
        let count = i32::try_from(queues).unwrap_or(i32::MAX);
        self.admin.create_topic(&self.topic, count, 6).await.map_err(|error| {
            let remedy = format!("let an administrator create it: {}", self.command(queues));
            Outcome::failed(format!("topic {} does not exist and cannot be created: {error}", self.topic), remedy)
        })?;
        let started = tokio::time::Instant::now();
        loop {
            match self.admin.topic_route(&self.topic).await {
                Ok(route) => return Ok(route),
                Err(error) if started.elapsed() > ROUTE_PATIENCE => return Err(Outcome::of_error(&error)),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    fn command(&self, queues: u32) -> String {
        let server = self.config.cluster.name_servers.first().map_or("NAME_SERVER", String::as_str);
        let cluster = self.info.brokers.first().map_or("CLUSTER", |broker| broker.cluster.as_str());
        format!("mqadmin updateTopic -n {server} -c {cluster} -t {} -r {queues} -w {queues}", self.topic)
    }

    /// What the topic itself permits, to anybody.
    fn check_permission(&self, route: &TopicRoute) -> Result<(), Outcome> {
        let topic = &self.topic;
        let can_read = route.queues.iter().any(|queue| queue.readable && queue.read_queues > 0);
        let can_write = route.queues.iter().any(|queue| queue.writable && queue.write_queues > 0);
        let remedy = format!("give it, for instance with: mqadmin updateTopicPerm -t {topic} -p 6");
        match self.config.usage {
            Usage::Source | Usage::SourceAndTarget if !can_read => {
                Err(Outcome::failed(format!("topic {topic} may not be read from"), remedy))
            }
            Usage::Target | Usage::SourceAndTarget if !can_write => {
                Err(Outcome::failed(format!("topic {topic} may not be written to"), remedy))
            }
            _ => Ok(()),
        }
    }

    /// Whether this user may read: asks for what comes after the newest message, so that nothing is transferred. The group
    /// for tools comes first: to read with another one may create it.
    async fn check_reading(&self, queue: &Queue) -> Result<Option<(String, String)>, Outcome> {
        let own = self.config.consumer_group.as_deref().filter(|group| !group.trim().is_empty());
        let end = self.admin.max_offset(queue).await.unwrap_or_default();
        let mut refused = None;
        for group in [Some(TOOLS_GROUP), own].into_iter().flatten() {
            match self.admin.peek(queue, group, end, 1).await {
                Ok(_) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::AccessDenied && names(error.remark(), group) => {
                    refused = Some(group);
                }
                Err(error) if error.kind() == ErrorKind::AccessDenied => {
                    return Err(Outcome::failed(
                        format!("topic {} may not be read by this user: {error}", self.topic),
                        grant(&format!("Topic:{}", self.topic), &self.topic, "SUB", "Sub"),
                    ));
                }
                Err(error) => return Err(Outcome::of_error(&error)),
            }
        }
        Ok(refused.map(|group| {
            let words =
                format!("whether {} may be read is not known: group {group} is denied to this user", self.topic);
            (words, grant(&format!("Group:{group}"), group, "SUB", "Sub"))
        }))
    }

    async fn check_writing(&self, queue: &Queue) -> Result<(), Outcome> {
        match self.admin.may_write(queue, PRODUCER_GROUP).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AccessDenied => Err(Outcome::failed(
                format!("topic {} may not be written by this user: {error}", self.topic),
                grant(&format!("Topic:{}", self.topic), &self.topic, "PUB", "Pub"),
            )),
            Err(error) => Err(Outcome::of_error(&error)),
        }
    }
}

/// Whether a refusal is about the consumer group and not about the topic.
fn names(remark: Option<&str>, group: &str) -> bool {
    remark.is_some_and(|remark| remark.contains(group))
}

/// How a right is given, in both kinds of access control.
pub fn grant(resource: &str, name: &str, right: &str, action: &str) -> String {
    let section = if resource.starts_with("Group:") { "groupPerms" } else { "topicPerms" };
    format!(
        "give the right: {section} \"{name}={right}\" in plain_acl.yml (ACL 1.0), or \
         mqadmin createAcl -s User:NAME -r {resource} -a {action} -d Allow (ACL 2.0); or set type to what this user may do"
    )
}
