//! A RocketMQ cluster as a data source or target.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::connection_status::{ConnectionTest, HeartbeatStatus, ModelsStatus};
use super::quantity::{Duration, TimeOfDay};
use super::reference::{Credential, Tls};
use super::status::{LastError, WorkerStatus};
use super::template::{PodTemplate, plain};
use super::workload::DesiredState;

/// Annotation that asks for a test of the connection when it is set to another value.
pub const TEST_ANNOTATION: &str = "connector.rocketmq.dev/test";

/// Annotation that asks for a load of the models when it is set to another value.
pub const LOAD_MODELS_ANNOTATION: &str = "connector.rocketmq.dev/load-models";

/// A RocketMQ cluster as a data source or target: address, topics, credentials, TLS and where its workers run.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "connector.rocketmq.dev",
    version = "v1alpha1",
    kind = "RocketMQConnection",
    plural = "rocketmqconnections",
    shortname = "rmqconn",
    category = "rocketmq",
    namespaced,
    status = "RocketMQConnectionStatus",
    derive = "PartialEq",
    doc = "A RocketMQ cluster as a data source or target: address, topics, credentials, TLS and where its workers run.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Topics", type_ = "integer", json_path = ".status.topics"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type", priority = 1),
    printcolumn(name = "Server", type_ = "string", json_path = ".status.serverVersion", priority = 1),
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
    validation = Rule::new("has(self.nameServers) != has(self.nameServerDomain)")
        .message("set exactly one of nameServers (a list of host:port) and nameServerDomain (a URL that serves the list)"),
    validation = Rule::new("!has(self.nameServerDomain) || self.nameServerDomain.matches('^https?://[^ ]+$')")
        .message("nameServerDomain must be a URL such as http://names.example.com:8080/rocketmq/nsaddr")
        .field_path(".nameServerDomain"),
    validation = Rule::new("!has(self.instanceId) || self.instanceId.matches('^[a-zA-Z0-9_-]+$')")
        .message("instanceId may hold letters, digits, - and _ only").field_path(".instanceId"),
    validation = Rule::new(
        "!has(self.topics) || self.topics.all(topic, topic.matches('^[%|a-zA-Z0-9_-]+$'))",
    )
    .message("each of topics must be one topic name of letters, digits, -, _, % and |; write one list entry for each topic")
    .field_path(".topics"),
    validation = Rule::new(
        "!has(self.brokerAddresses) || self.brokerAddresses.all(from, \
         from.matches('^[^ ,;/]+:[0-9]{1,5}$') && self.brokerAddresses[from].matches('^[^ ,;/]+:[0-9]{1,5}$'))",
    )
    .message("brokerAddresses maps an advertised host:port to a reachable host:port, for instance \"10.0.0.5:10911\": \"broker.example.com:10911\"")
    .field_path(".brokerAddresses")
)]
pub struct RocketMQConnectionSpec {
    /// What the connection is used for: Source (messages are read), Target (messages are written) or SourceAndTarget.
    #[serde(default, rename = "type")]
    pub connection_type: ConnectionType,
    /// Name servers as host or host:port; the port is 9876 when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 260)))]
    #[x_kube(validation = Rule::new(
        "self.all(server, server.matches('^([A-Za-z0-9_.-]+|\\\\[[0-9A-Fa-f:.]+\\\\])(:[0-9]{1,5})?$'))")
        .message("each of nameServers must be host or host:port, such as rocketmq-namesrv:9876, without http:// and one list entry for each"))]
    pub name_servers: Vec<String>,
    /// URL that serves the list of name servers as host:port;host:port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub name_server_domain: Option<String>,
    /// RocketMQ namespace; topics and groups are called instanceId%name on the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub instance_id: Option<String>,
    /// Topics that must exist; empty means all that are not system topics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5000), inner(length(min = 1, max = 127)), extend("x-kubernetes-list-type" = "set"))]
    pub topics: Vec<String>,
    /// Creates those of topics that are missing; without it a missing topic fails the test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_topics: Option<CreateTopics>,
    /// Consumer group that the test looks at: whether it exists or may be created, and what its members subscribe to.
    /// Bindings and syncs bring groups of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub consumer_group: Option<String>,
    /// Credentials for a cluster with access control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// TLS settings; plain TCP without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Broker address as the name server advertises it (host:port), to the address that is reachable from the workers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "broker_addresses")]
    pub broker_addresses: BTreeMap<String, String>,
    /// On which nodes everything that uses this connection runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
    /// How topics are loaded as models with their schemas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_load: Option<ModelLoad>,
    /// A message written at an interval, by which the delay from end to end is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Heartbeat>,
    /// Reads the topics once and keeps the messages for many readers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_cache: Option<LogCache>,
    /// Time between two tests of the connection, 10s to 24h.
    #[serde(default = "default_test_interval")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10s') && duration(self) <= duration('24h')")
        .message("testInterval must be between 10s and 24h"))]
    pub test_interval: Duration,
    /// Running, Paused or Stopped.
    #[serde(default)]
    pub state: DesiredState,
    /// Changes to the connection's worker pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<PodTemplate>,
}

/// Direction in which a connection may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConnectionType {
    /// Messages are read from the cluster.
    Source,
    /// Messages are written to the cluster.
    Target,
    /// Both.
    #[default]
    SourceAndTarget,
}

/// How missing topics are created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateTopics {
    /// Queues of a new topic on each broker.
    #[schemars(range(min = 1, max = 1024))]
    pub queues: i32,
}

impl Default for CreateTopics {
    fn default() -> Self {
        Self { queues: 8 }
    }
}

/// Credentials for a cluster with access control.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Access key (ACL 1.0) or user name (ACL 2.0).
    pub access_key: Credential,
    /// Secret key (ACL 1.0) or password (ACL 2.0).
    pub secret_key: Credential,
    /// Security token of a temporary credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_token: Option<Credential>,
}

/// On which nodes workers run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "self.mode == 'Manual' || !(has(self.nodeName) || has(self.nodeSelector) || has(self.affinity) || has(self.tolerations))",
    )
    .message("agent.nodeName, nodeSelector, affinity and tolerations need agent.mode: Manual"),
    validation = Rule::new(
        "self.mode != 'Manual' || has(self.nodeName) || has(self.nodeSelector) || has(self.affinity)",
    )
    .message("agent.mode: Manual needs one of agent.nodeName, nodeSelector and affinity")
)]
pub struct Agent {
    /// Automatic leaves the choice to the scheduler, Manual pins the workers.
    #[serde(default)]
    pub mode: AgentMode,
    /// Name of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub node_name: Option<String>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// Node affinity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "plain::<Affinity>")]
    pub affinity: Option<Affinity>,
    /// Taints of nodes that the workers tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "plain::<Vec<Toleration>>", extend("maxItems" = 64))]
    pub tolerations: Vec<Toleration>,
}

/// Who chooses the nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AgentMode {
    /// The scheduler.
    #[default]
    Automatic,
    /// The user.
    Manual,
}

/// How topics are loaded as models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ModelLoad {
    /// Whether models are loaded.
    pub enabled: bool,
    /// Time between two loads while there are fewer models than the threshold.
    pub interval: Duration,
    /// Number of models from which loading happens once a day instead.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub threshold: i32,
    /// Time of day of the daily load, HH:MM.
    pub daily_at: TimeOfDay,
    /// Time zone of dailyAt, an IANA name such as Asia/Shanghai.
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// Newest messages of each topic from which its schema is inferred.
    #[schemars(range(min = 1, max = 10_000))]
    pub sample_size: i32,
}

impl Default for ModelLoad {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: "1h".into(),
            threshold: 10_000,
            daily_at: "02:00".into(),
            time_zone: "UTC".to_owned(),
            sample_size: 100,
        }
    }
}

/// A message written at an interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Heartbeat {
    /// Whether heartbeats are written while something uses the connection.
    pub enabled: bool,
    /// Time between two heartbeats.
    pub interval: Duration,
    /// Topic of the heartbeats.
    #[schemars(length(min = 1, max = 127))]
    pub topic: String,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { enabled: true, interval: "10s".into(), topic: "_tapdata_heartbeat_table".to_owned() }
    }
}

/// Reads the topics once and keeps the messages for many readers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LogCache {
    /// Whether the cache is kept.
    pub enabled: bool,
    /// How long messages are kept.
    pub retention: Duration,
    /// Volume that holds them.
    pub storage: LogCacheStorage,
}

impl Default for LogCache {
    fn default() -> Self {
        Self { enabled: true, retention: "24h".into(), storage: LogCacheStorage::default() }
    }
}

/// Volume of a log cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LogCacheStorage {
    /// Size of the volume, for instance 10Gi.
    #[schemars(length(min = 1, max = 32))]
    pub size: String,
    /// StorageClass of the volume; without it, the cluster's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

impl Default for LogCacheStorage {
    fn default() -> Self {
        Self { size: "10Gi".to_owned(), storage_class_name: None }
    }
}

/// What the operator has seen of a RocketMQConnection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RocketMQConnectionStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Accepted, ResolvedRefs, Tested and, while they apply, ModelsLoaded, Heartbeating, Reconciling, Stalled,
    /// PlainTextCredential.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
    /// Result of the newest test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<ConnectionTest>,
    /// Version that the brokers report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// Number of brokers that the name servers list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brokers: Option<i32>,
    /// Number of topics that are not system topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<i32>,
    /// Number of RocketMQBindings and RocketMQSyncs that use the connection and run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<i32>,
    /// How far the topics are loaded as models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<ModelsStatus>,
    /// The heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<HeartbeatStatus>,
    /// The newest failure, kept after it has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// Worker pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["pod".to_owned()]))]
    pub workers: Vec<WorkerStatus>,
}

fn default_test_interval() -> Duration {
    "5m".into()
}

fn broker_addresses(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 256,
        "additionalProperties": { "type": "string", "maxLength": 260 },
    })
}
