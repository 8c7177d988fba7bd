//! The target of a sync.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::quantity::Duration;
use super::reference::{ConnectionRef, Credential, Tls};
use super::sync_database::{MySqlTarget, PostgresTarget};
use super::sync_objects::ObjectStorageTarget;
use super::sync_topics::TopicMapping;

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
        "has(self.connectionRef) || !(has(self.topic) || has(self.topicMapping) || has(self.producerGroup) || has(self.tags) || \
         has(self.keys) || has(self.shardingKey) || has(self.delay) || has(self.clusterId))",
    )
    .message("target.topic, topicMapping, producerGroup, tags, keys, shardingKey, delay and clusterId belong to target.connectionRef; remove them"),
    validation = Rule::new("!has(self.topic) || !has(self.topicMapping)")
        .message("set target.topic, which takes all records, or target.topicMapping, not both").field_path(".topicMapping"),
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
    /// How the names of target topics are made of those of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_mapping: Option<TopicMapping>,
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
    /// Create a missing topic, with as many queues as the source's has in all.
    #[serde(default, skip_serializing_if = "is_false")]
    pub create_topics: bool,
    /// Name of this cluster in the property by which two-way replication avoids loops; see source.clusterId.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub cluster_id: Option<String>,
    /// A PostgreSQL database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresTarget>,
    /// A MySQL or MariaDB database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mysql: Option<MySqlTarget>,
    /// An HTTP endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpTarget>,
    /// Objects of an object store, or files on a volume.
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("duration(self.timeout) >= duration('100ms') && duration(self.timeout) <= duration('5m')")
        .message("target.http.timeout must be between 100ms and 5m").field_path(".timeout"),
    validation = Rule::new("!has(self.tls) || self.url.startsWith('https://')")
        .message("target.http.tls goes with an https URL").field_path(".tls")
)]
pub struct HttpTarget {
    /// URL that receives the records by POST, as a JSON list.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^ ]+$')")
        .message("target.http.url must be a URL such as https://hooks.example.com/orders"))]
    pub url: String,
    /// Time until the answer must be there.
    #[serde(default = "default_http_timeout")]
    pub timeout: Duration,
    /// Headers sent with each request. No credential belongs here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub headers: BTreeMap<String, String>,
    /// Token sent as `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Credential>,
    /// Key with which time and body are signed (HMAC-SHA256, header `X-Signature: t=<seconds>,v1=<hex>`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_key: Option<Credential>,
    /// TLS settings for https URLs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

fn default_http_timeout() -> Duration {
    "30s".into()
}

// Serde asks for a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}
