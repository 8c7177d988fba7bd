//! Where a sync's records go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::connection::{ClusterConfig, TlsFiles};
use super::sync_objects::ObjectStorageTargetConfig;
use super::sync_source::DatabaseConfig;
use super::sync_topics::TopicMapConfig;

/// Where records go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum TargetConfig {
    /// A topic of a RocketMQ cluster.
    RocketMq(RocketMqTargetConfig),
    /// A table of a PostgreSQL database.
    Postgres(TableTargetConfig),
    /// A table of a MySQL or MariaDB database.
    MySql(TableTargetConfig),
    /// An HTTP endpoint.
    Http(HttpTargetConfig),
    /// Files in an object store.
    ObjectStorage(ObjectStorageTargetConfig),
}

/// A topic of a RocketMQ cluster as target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RocketMqTargetConfig {
    /// The cluster.
    pub cluster: ClusterConfig,
    /// Topic; none means the topic or table that the record comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// How the topic's name is made of that of the source; none keeps it. Goes with no `topic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_map: Option<Box<TopicMapConfig>>,
    /// Producer group.
    pub group: String,
    /// Field that becomes the tag; none keeps the source's tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_field: Option<String>,
    /// Fields that become the keys; none keeps the source's keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_fields: Option<Vec<String>>,
    /// Field by which messages share a queue; none keeps the source's sharding key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharding_key_field: Option<String>,
    /// When consumers see the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<DelayConfig>,
    /// Create a missing topic, with as many queues as the source's.
    #[serde(default)]
    pub create_topics: bool,
    /// Name of this cluster for the loop guard.
    pub cluster_id: String,
}

/// When consumers see a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum DelayConfig {
    /// Delay level of the broker, 1 to 18.
    Level(u8),
    /// Field with the delivery time, RFC 3339 or milliseconds since the Unix epoch.
    Field(String),
}

/// A table as target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TableTargetConfig {
    /// The server.
    pub server: DatabaseConfig,
    /// Table, with its schema where there are schemas; none means the record's topic or table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Fields that identify a row; empty means the table's primary key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_fields: Vec<String>,
    /// Create a missing table, and add missing columns.
    pub create_table: bool,
}

/// An HTTP endpoint as target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpTargetConfig {
    /// URL that receives the records.
    pub url: String,
    /// Milliseconds until the answer must be there.
    pub timeout_millis: u64,
    /// Headers sent with each request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// File of the token sent as `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
    /// File of the key with which the body is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_key_file: Option<String>,
    /// TLS settings for https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
}
