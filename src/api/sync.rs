//! A data pipeline between a RocketMQ cluster and another one, a database, an HTTP endpoint or an object store.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::position::StartFrom;
use super::quantity::{ByteSize, Duration};
use super::reference::ConnectionRef;
use super::sync_database::{MySqlSource, PostgresSource};
use super::template::PodTemplate;
use super::workload::{Autoscaling, DesiredState};

pub use super::sync_status::{RocketMQSyncStatus, SyncHeartbeat};
pub use super::sync_target::{Delay, HttpTarget, SyncTarget};
pub use super::sync_topics::TopicMapping;
pub use super::sync_transform::{CastType, Transform};
pub use super::sync_verify::{VERIFY_ANNOTATION, VerifyMode, VerifySpec};

/// A data pipeline: messages or rows are read from the source, transformed and written to the target.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "connector.rocketmq.dev",
    version = "v1alpha1",
    kind = "RocketMQSync",
    plural = "rocketmqsyncs",
    shortname = "rmqsync",
    category = "rocketmq",
    namespaced,
    status = "RocketMQSyncStatus",
    derive = "PartialEq",
    doc = "A data pipeline: messages or rows are read from the source, transformed and written to the target.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Written", type_ = "integer", json_path = ".status.recordsWritten"),
    printcolumn(name = "Lag", type_ = "integer", json_path = ".status.lag"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.source.connectionRef) || has(self.target.connectionRef)")
        .message("one side must be a RocketMQConnection: set source.connectionRef or target.connectionRef"),
    validation = Rule::new("self.mode == 'Incremental' || !has(self.source.connectionRef)")
        .message("mode: Full and FullAndIncremental are for databases; a RocketMQ source is read with mode: Incremental and startFrom.position: First")
        .field_path(".mode"),
    validation = Rule::new("!has(self.source.connectionRef) || !has(self.target.connectionRef) || \
        self.source.connectionRef.name != self.target.connectionRef.name || !has(self.target.topic) || \
        !has(self.source.topics) || !(self.target.topic in self.source.topics)")
        .message("target.topic is one of source.topics on the same connection, which would be an endless loop; choose another topic or connection")
)]
pub struct RocketMQSyncSpec {
    /// Where records come from: connectionRef (RocketMQ), postgres or mysql.
    pub source: SyncSource,
    /// Where records go: connectionRef (RocketMQ), postgres, mysql, http or objectStorage.
    pub target: SyncTarget,
    /// Full reads what is there, Incremental reads changes as they come, FullAndIncremental does both without a gap.
    #[serde(default)]
    pub mode: SyncMode,
    /// How bodies are read, and written where the target is RocketMQ.
    #[serde(default)]
    pub format: RecordFormat,
    /// Steps that each record goes through, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub transforms: Vec<Transform>,
    /// How many records are written at once.
    #[serde(default)]
    pub batch: Batch,
    /// What is done where the target already has a row, or lacks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<WritePolicy>,
    /// What is done when a record cannot be processed or the target cannot be written.
    #[serde(default)]
    pub errors: ErrorPolicy,
    /// Compares source and target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifySpec>,
    /// Number of worker pods. Leave it out where an autoscaler decides; 1 then unless one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,
    /// Scales the workers between two bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// Running, Paused or Stopped; wins over replicas and autoscaling.
    #[serde(default)]
    pub state: DesiredState,
    /// Changes to the worker pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<PodTemplate>,
}

/// Where records come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.connectionRef), has(self.postgres), has(self.mysql)].filter(set, set).size() == 1")
        .message("set exactly one of source.connectionRef, source.postgres and source.mysql"),
    validation = Rule::new("!has(self.connectionRef) || (has(self.topics) && self.topics.size() > 0) || \
        (has(self.topicPatterns) && self.topicPatterns.size() > 0)")
        .message("source.topics needs at least one topic, or source.topicPatterns one pattern"),
    validation = Rule::new(
        "has(self.connectionRef) || !(has(self.topics) || has(self.topicPatterns) || has(self.topicRefresh) || has(self.filter) || \
         has(self.startFrom) || has(self.consumerGroup) || has(self.useLogCache) || has(self.clusterId))",
    )
    .message("source.topics, topicPatterns, topicRefresh, filter, startFrom, consumerGroup, clusterId and useLogCache belong to source.connectionRef; remove them"),
    validation = Rule::new("!has(self.topicRefresh) || has(self.topicPatterns)")
        .message("source.topicRefresh goes with source.topicPatterns").field_path(".topicRefresh"),
    validation = Rule::new("!has(self.topicRefresh) || duration(self.topicRefresh) >= duration('1s')")
        .message("source.topicRefresh must be at least 1s").field_path(".topicRefresh"),
    validation = Rule::new("!has(self.topics) || self.topics.all(topic, topic.matches('^[%|a-zA-Z0-9_-]+$'))")
        .message("each of source.topics must be one topic name of letters, digits, -, _, % and |; write one list entry for each topic")
        .field_path(".topics"),
    validation = Rule::new("!has(self.consumerGroup) || self.consumerGroup.matches('^[%|a-zA-Z0-9_-]+$')")
        .message("source.consumerGroup may hold letters, digits, -, _, % and | only").field_path(".consumerGroup")
)]
pub struct SyncSource {
    /// The RocketMQConnection to read from, in the sync's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_ref: Option<ConnectionRef>,
    /// Topics to read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 127)), extend("x-kubernetes-list-type" = "set"))]
    pub topics: Vec<String>,
    /// Regular expressions; topics whose whole name matches one are read, also those that come later. Never system, retry,
    /// dead-letter or heartbeat topics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 512)), extend("x-kubernetes-list-type" = "set"))]
    pub topic_patterns: Vec<String>,
    /// Time between two looks for topics that match; 30s without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_refresh: Option<Duration>,
    /// Which messages are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<MessageFilter>,
    /// Where a consumer group that has no committed offsets starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_from: Option<StartFrom>,
    /// Consumer group; without it the operator derives one from the namespace and the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub consumer_group: Option<String>,
    /// Name of this cluster in the property by which two-way replication avoids loops; without it, one is derived from the
    /// addresses of the name servers. Set it where one cluster is reached under several addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub cluster_id: Option<String>,
    /// Read from the connection's log cache instead of the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_log_cache: Option<bool>,
    /// A PostgreSQL database, by logical replication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresSource>,
    /// A MySQL or MariaDB database, by its binary log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mysql: Option<MySqlSource>,
}

/// Which messages are read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.tags) != has(self.sql)")
    .message("set exactly one of filter.tags and filter.sql"))]
pub struct MessageFilter {
    /// Tags of which a message must have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 255)))]
    pub tags: Option<Vec<String>>,
    /// SQL92 expression over message properties, such as "region = 'eu' AND amount > 100"; the broker must allow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub sql: Option<String>,
}

/// What is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SyncMode {
    /// What is there, once.
    Full,
    /// Changes as they come.
    #[default]
    Incremental,
    /// What is there, then changes, without a gap or overlap.
    FullAndIncremental,
}

/// How bodies are read and written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RecordFormat {
    /// A JSON object: the row, or the message.
    #[default]
    Json,
    /// `TapData`'s: a JSON object with the operation in the property mqOp.
    Tapdata,
    /// Debezium's change event.
    Debezium,
    /// Bytes that are passed on unchanged.
    Raw,
}

/// How many records are written at once: whichever bound is reached first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("duration(self.maxWait) <= duration('1m')")
    .message("batch.maxWait must be at most 1m").field_path(".maxWait"))]
pub struct Batch {
    /// Most records.
    #[serde(default = "default_max_records")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_records: i32,
    /// Most bytes.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: ByteSize,
    /// Longest time that a record waits for others.
    #[serde(default = "default_max_wait")]
    pub max_wait: Duration,
    /// Writers in each worker, which write at the same time. They share the queues that the worker reads between them: all
    /// records of a queue go through one writer, in their order, so that a key keeps its order as well. A bound above is
    /// one for each writer. Without it 4 from topics to topics, and 1 elsewhere. A source that is a database is one sequence, and has
    /// one writer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub writers: Option<i32>,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            max_records: default_max_records(),
            max_bytes: default_max_bytes(),
            max_wait: default_max_wait(),
            writers: None,
        }
    }
}

const fn default_max_records() -> i32 {
    500
}

fn default_max_bytes() -> ByteSize {
    "1Mi".into()
}

fn default_max_wait() -> Duration {
    "100ms".into()
}

/// What is done where the target already has a row, or lacks it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WritePolicy {
    /// An insert of a row that exists.
    pub insert: InsertPolicy,
    /// An update of a row that is missing.
    pub update: UpdatePolicy,
    /// A deletion of a row that is missing.
    pub delete: DeletePolicy,
}

/// An insert of a row that exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum InsertPolicy {
    /// Becomes an update.
    #[default]
    UpdateOnExists,
    /// Is left out.
    IgnoreOnExists,
    /// Is an error.
    JustInsert,
}

/// An update of a row that is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum UpdatePolicy {
    /// Becomes an insert.
    #[default]
    InsertOnMissing,
    /// Is left out.
    IgnoreOnMissing,
    /// Is left out and logged.
    LogOnMissing,
}

/// A deletion of a row that is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DeletePolicy {
    /// Is left out.
    #[default]
    IgnoreOnMissing,
    /// Is left out and logged.
    LogOnMissing,
}

/// What is done when a record cannot be processed or the target cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("duration(self.retryInterval) >= duration('100ms')")
        .message("errors.retryInterval must be at least 100ms").field_path(".retryInterval"),
    validation = Rule::new("self.onInvalid == 'Skip' || !has(self.skipLimit)")
        .message("errors.skipLimit goes with onInvalid: Skip").field_path(".skipLimit"),
    validation = Rule::new("self.onInvalid == 'DeadLetter' || !has(self.deadLetterTopic)")
        .message("errors.deadLetterTopic goes with onInvalid: DeadLetter").field_path(".deadLetterTopic")
)]
pub struct ErrorPolicy {
    /// Time between two tries to write.
    #[serde(default = "default_retry_interval")]
    pub retry_interval: Duration,
    /// Time after which the sync stops trying and fails; without it, it never stops trying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_for: Option<Duration>,
    /// What is done with a record that can never be processed.
    #[serde(default)]
    pub on_invalid: InvalidPolicy,
    /// Number of records that may be skipped before the sync stops; without it, any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub skip_limit: Option<i64>,
    /// Topic for such records; without it, the group's own topic %DLQ%group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127))]
    pub dead_letter_topic: Option<String>,
}

impl Default for ErrorPolicy {
    fn default() -> Self {
        Self {
            retry_interval: default_retry_interval(),
            retry_for: None,
            on_invalid: InvalidPolicy::default(),
            skip_limit: None,
            dead_letter_topic: None,
        }
    }
}

fn default_retry_interval() -> Duration {
    "60s".into()
}

/// What is done with a record that can never be processed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum InvalidPolicy {
    /// The sync stops and names the record.
    #[default]
    Stop,
    /// It is counted and left out.
    Skip,
    /// It goes to the dead-letter topic with the reason in its properties.
    DeadLetter,
}
