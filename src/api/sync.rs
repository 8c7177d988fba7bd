//! A data pipeline between a RocketMQ cluster and another one, a database or an HTTP endpoint.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::position::StartFrom;
use super::quantity::{ByteSize, Duration};
use super::reference::{ConnectionRef, Credential, Tls};
use super::status::{LastError, WorkerStatus};
use super::sync_database::{MySqlSource, MySqlTarget, PostgresSource, PostgresTarget};
use super::template::PodTemplate;
use super::workload::{Autoscaling, DesiredState};

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
    validation = Rule::new("!has(self.connectionRef) || (has(self.topics) && self.topics.size() > 0)")
        .message("source.topics needs at least one topic"),
    validation = Rule::new(
        "has(self.connectionRef) || !(has(self.topics) || has(self.filter) || has(self.startFrom) || \
         has(self.consumerGroup) || has(self.useLogCache))",
    )
    .message("source.topics, filter, startFrom, consumerGroup and useLogCache belong to source.connectionRef; remove them"),
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

/// Where records go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "[has(self.connectionRef), has(self.postgres), has(self.mysql), has(self.http), has(self.objectStorage)]\
         .filter(set, set).size() == 1",
    )
    .message("set exactly one of target.connectionRef, postgres, mysql, http and objectStorage"),
    validation = Rule::new(
        "has(self.connectionRef) || !(has(self.topic) || has(self.producerGroup) || has(self.tags) || has(self.keys) || \
         has(self.shardingKey) || has(self.delay))",
    )
    .message("target.topic, producerGroup, tags, keys, shardingKey and delay belong to target.connectionRef; remove them"),
    validation = Rule::new("!has(self.topic) || self.topic.matches('^[%|a-zA-Z0-9_-]+$')")
        .message("target.topic must be one topic name of letters, digits, -, _, % and |").field_path(".topic")
)]
pub struct SyncTarget {
    /// The RocketMQConnection to write to, in the sync's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_ref: Option<ConnectionRef>,
    /// Topic to write to; without it, the topic or table that the record comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127))]
    pub topic: Option<String>,
    /// Producer group; without it the operator derives one from the namespace and the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub producer_group: Option<String>,
    /// Field of the record that becomes the message's tag; without it, the source's tag is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub tags: Option<String>,
    /// Fields of the record that become the message's keys; without it, the source's keys are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 255)))]
    pub keys: Option<Vec<String>>,
    /// Field of the record by which messages that must stay in order share a queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub sharding_key: Option<String>,
    /// When consumers see the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// A PostgreSQL database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresTarget>,
    /// A MySQL or MariaDB database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mysql: Option<MySqlTarget>,
    /// An HTTP endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpTarget>,
    /// Files in an object store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_storage: Option<ObjectStorageTarget>,
}

/// When consumers see a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.level) != has(self.field)")
    .message("set exactly one of delay.level (1 to 18) and delay.field"))]
pub struct Delay {
    /// Delay level of the broker, 1 (1s) to 18 (2h).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 18))]
    pub level: Option<i32>,
    /// Field of the record with the delivery time, RFC 3339 or milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub field: Option<String>,
}

/// An HTTP endpoint that receives batches of records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpTarget {
    /// URL that receives the records.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^ ]+$')")
        .message("target.http.url must be a URL such as https://hooks.example.com/orders"))]
    pub url: String,
    /// Headers sent with each request. No credential belongs here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub headers: BTreeMap<String, String>,
    /// Token sent as `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Credential>,
    /// Key with which the body is signed (HMAC-SHA256, header `X-Signature`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_key: Option<Credential>,
    /// TLS settings for https URLs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// Files in an object store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStorageTarget {
    /// Where files go: s3://bucket/prefix or file:///folder.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^(s3|file)://[^ ]+$')")
        .message("target.objectStorage.url must be s3://bucket/prefix or file:///folder"))]
    pub url: String,
    /// Endpoint of an S3-compatible store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub endpoint: Option<String>,
    /// Region of the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub region: Option<String>,
    /// Access key of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<Credential>,
    /// Secret key of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<Credential>,
    /// Format of the files.
    #[serde(default)]
    pub file_format: FileFormat,
    /// Size at which a file is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll_size: Option<ByteSize>,
    /// Age at which a file is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll_interval: Option<Duration>,
}

/// Format of files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FileFormat {
    /// One JSON object a line.
    #[default]
    JsonLines,
    /// Parquet.
    Parquet,
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

/// A step that each record goes through; exactly one field is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "[has(self.filter), has(self.map), has(self.rename), has(self.add), has(self.drop), has(self.cast), has(self.mask), \
      has(self.route)].filter(set, set).size() == 1")
    .message("each of transforms must have exactly one of filter, map, rename, add, drop, cast, mask and route; write one list entry for each step"))]
pub struct Transform {
    /// CEL expression over `record`; a record for which it is false is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub filter: Option<String>,
    /// Field to CEL expression over `record` that gives its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 256))]
    pub map: Option<BTreeMap<String, String>>,
    /// Old field name to new field name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 256))]
    pub rename: Option<BTreeMap<String, String>>,
    /// Field to constant text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 256))]
    pub add: Option<BTreeMap<String, String>>,
    /// Fields to remove.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 255)))]
    pub drop: Option<Vec<String>>,
    /// Field to type: string, integer, number, boolean or timestamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 256))]
    pub cast: Option<BTreeMap<String, CastType>>,
    /// Fields whose values are replaced by a digest that is the same for the same value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 255)))]
    pub mask: Option<Vec<String>>,
    /// CEL expression over `record` that gives the target topic or table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub route: Option<String>,
}

/// Type that a field is converted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CastType {
    /// Text.
    String,
    /// A whole number of 64 bits.
    Integer,
    /// A floating-point number of 64 bits.
    Number,
    /// True or false.
    Boolean,
    /// A moment, RFC 3339.
    Timestamp,
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
}

impl Default for Batch {
    fn default() -> Self {
        Self { max_records: default_max_records(), max_bytes: default_max_bytes(), max_wait: default_max_wait() }
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

/// What the operator has seen of a RocketMQSync.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RocketMQSyncStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Accepted, ResolvedRefs, Paused and, while they apply, Reconciling, Stalled, PlainTextCredential.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
    /// Number of worker pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Number of worker pods that are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Label selector of the worker pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Records read, since the start of the workers that run now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_read: Option<i64>,
    /// Records that the target has durably, since the start of the workers that run now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_written: Option<i64>,
    /// Records that were skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<i64>,
    /// Records that were moved to the dead-letter topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_lettered: Option<i64>,
    /// Records that wait at the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<i64>,
    /// The newest failure, kept after it has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// Worker pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["pod".to_owned()]))]
    pub workers: Vec<WorkerStatus>,
}
