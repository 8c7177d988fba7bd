//! Where a sync's records come from.

use serde::{Deserialize, Serialize};

use super::connection::{ClusterConfig, TlsFiles};
use super::sync_topics::DiscoveryConfig;

/// Where records come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum SourceConfig {
    /// Topics of a RocketMQ cluster.
    RocketMq(RocketMqSourceConfig),
    /// Tables of a PostgreSQL database, by logical replication.
    Postgres(PostgresSourceConfig),
    /// Tables of a MySQL or MariaDB database, by the binary log.
    MySql(MySqlSourceConfig),
}

/// Topics of a RocketMQ cluster as source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RocketMqSourceConfig {
    /// The cluster.
    pub cluster: ClusterConfig,
    /// Topics; at least one, unless more are found by pattern.
    pub topics: Vec<String>,
    /// Topics that are found by pattern; none finds none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<DiscoveryConfig>,
    /// The cluster's heartbeats, by which the delay is measured; none measures none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<HeartbeatSource>,
    /// Which messages are read.
    pub filter: FilterConfig,
    /// Consumer group.
    pub group: String,
    /// Where a group without committed offsets starts.
    pub start_from: SyncStart,
    /// Name of this cluster for the loop guard of two-way replication.
    pub cluster_id: String,
}

/// Where the source's connection writes its heartbeats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeartbeatSource {
    /// Their topic.
    pub topic: String,
    /// Milliseconds between two.
    pub interval_millis: u64,
}

/// Which messages are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum FilterConfig {
    /// All.
    All,
    /// Those with one of these tags.
    Tags(Vec<String>),
    /// Those whose properties satisfy an SQL92 expression.
    Sql(String),
}

/// Where a consumer group without committed offsets starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum SyncStart {
    /// The oldest message that the broker still has.
    First,
    /// The first message stored after the group was created.
    Last,
    /// The first message stored at or after this time, milliseconds since the Unix epoch.
    Timestamp(i64),
    /// Given offsets; queues that are not listed start at their last message.
    Offsets(Vec<StartOffset>),
}

/// Offset of the first message to read of one queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartOffset {
    /// Topic without the namespace.
    pub topic: String,
    /// Broker name.
    pub broker: String,
    /// Queue id.
    pub queue: i32,
    /// Offset.
    pub offset: i64,
}

/// Address and credentials of a database server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatabaseConfig {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Name of the database.
    pub database: String,
    /// File of the user name.
    pub username_file: String,
    /// File of the password.
    pub password_file: String,
    /// TLS settings; none means plain TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
}

/// Tables of a PostgreSQL database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgresSourceConfig {
    /// The server.
    pub server: DatabaseConfig,
    /// Tables as `schema.table`.
    pub tables: Vec<String>,
    /// Replication slot.
    pub slot: String,
    /// Publication; created when it is missing.
    pub publication: String,
    /// What is done when a table's definition changes.
    pub ddl: Ddl,
}

/// Tables of a MySQL or MariaDB database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MySqlSourceConfig {
    /// The server.
    pub server: DatabaseConfig,
    /// Tables of the database.
    pub tables: Vec<String>,
    /// Name of the worker's lock and progress.
    pub slot: String,
    /// Server id under which the worker reads the binary log.
    pub server_id: u32,
    /// What is done when a table's definition changes.
    pub ddl: Ddl,
}

/// What is done when a table's definition changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ddl {
    /// The sync stops and says so.
    Stop,
    /// Changes of definitions are left out.
    Ignore,
    /// They are passed on as records.
    Forward,
}
