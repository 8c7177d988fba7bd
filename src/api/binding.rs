//! An input and/or output binding.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::ByteSize;
use super::reference::{ConnectionRef, Credential, Tls};
use super::status::{LastError, WorkerStatus};
use super::template::PodTemplate;
use super::workload::{Autoscaling, DesiredState};

pub use super::binding_input::{
    App, AppProtocol, AppRoute, AppService, Backoff, BackoffPolicy, DeadLetter, Delivery, Payload,
};

/// An input and/or output binding with the fields and the API of Dapr's RocketMQ binding.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "connector.rocketmq.dev",
    version = "v1alpha1",
    kind = "RocketMQBinding",
    plural = "rocketmqbindings",
    shortname = "rmqbind",
    category = "rocketmq",
    namespaced,
    status = "RocketMQBindingStatus",
    derive = "PartialEq",
    doc = "An input and/or output binding with the fields and the API of Dapr's RocketMQ binding.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "In", type_ = "integer", json_path = ".status.messagesIn"),
    printcolumn(name = "Out", type_ = "integer", json_path = ".status.messagesOut"),
    printcolumn(name = "Lag", type_ = "integer", json_path = ".status.lag"),
    printcolumn(name = "Direction", type_ = "string", json_path = ".spec.direction", priority = 1),
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
    validation = Rule::new(
        "!has(self.connectionRef) || !(has(self.nameServer) || has(self.nameServerDomain) || has(self.endpoint) || \
         has(self.instanceId) || has(self.accessKey) || has(self.secretKey) || has(self.securityToken) || has(self.tls))",
    )
    .message("connectionRef brings the address and the credentials: remove nameServer, nameServerDomain, endpoint, instanceId, accessKey, secretKey, securityToken and tls, or remove connectionRef"),
    validation = Rule::new(
        "self.accessProto == 'http' || has(self.connectionRef) || has(self.nameServer) || has(self.nameServerDomain)",
    )
    .message("set connectionRef: {name} of a RocketMQConnection, or nameServer (host:port), or nameServerDomain"),
    validation = Rule::new(
        "self.accessProto != 'http' || (has(self.endpoint) && has(self.accessKey) && has(self.secretKey))",
    )
    .message("accessProto: http needs endpoint, accessKey and secretKey"),
    validation = Rule::new("self.accessProto == 'http' || !has(self.endpoint)")
        .message("endpoint is used with accessProto: http only; set nameServer instead, or accessProto: http")
        .field_path(".endpoint"),
    validation = Rule::new("has(self.accessKey) == has(self.secretKey)")
        .message("set accessKey and secretKey together, or neither"),
    validation = Rule::new("!has(self.securityToken) || has(self.accessKey)")
        .message("securityToken belongs to temporary credentials: set accessKey and secretKey too, or remove it"),
    validation = Rule::new("self.accessProto == 'http' || !has(self.tls)")
        .message("tls is used with accessProto: http only; for tcp create a RocketMQConnection with tls and set connectionRef")
        .field_path(".tls"),
    validation = Rule::new(
        "!has(self.nameServer) || \
         self.nameServer.matches('^[A-Za-z0-9_.-]+(:[0-9]{1,5})?([,;][A-Za-z0-9_.-]+(:[0-9]{1,5})?)*$')",
    )
    .message("nameServer must be host:port, several separated by , or ; and without http://, such as namesrv-0:9876;namesrv-1:9876")
    .field_path(".nameServer"),
    validation = Rule::new("!has(self.nameServerDomain) || self.nameServerDomain.matches('^https?://[^ ]+$')")
        .message("nameServerDomain must be a URL such as http://names.example.com:8080/rocketmq/nsaddr")
        .field_path(".nameServerDomain"),
    validation = Rule::new("!has(self.endpoint) || self.endpoint.matches('^https?://[^ ]+$')")
        .message("endpoint must be a URL such as http://1234567.mqrest.cn-hangzhou.aliyuncs.com")
        .field_path(".endpoint"),
    validation = Rule::new("!has(self.instanceId) || self.instanceId.matches('^[a-zA-Z0-9_-]+$')")
        .message("instanceId may hold letters, digits, - and _ only").field_path(".instanceId"),
    validation = Rule::new(
        "!has(self.consumerGroup) || self.consumerGroup.matches('^[%|a-zA-Z0-9_-]+$')",
    )
    .message("consumerGroup may hold letters, digits, -, _, % and | only and must not be blank")
    .field_path(".consumerGroup"),
    validation = Rule::new(
        "self.direction == 'Output' || has(self.app)",
    )
    .message("an input needs app: {service: {name, port}} or app: {url}; set direction: Output for a binding that only publishes"),
    validation = Rule::new("self.direction == 'Output' || (has(self.topics) && self.topics.size() > 0)")
        .message("an input needs at least one of topics").field_path(".topics"),
    validation = Rule::new(
        "self.direction != 'Output' || !(has(self.app) || has(self.delivery))",
    )
    .message("app and delivery belong to an input; remove them, or set direction: Input or InputOutput"),
    validation = Rule::new("!has(self.app) || !self.app.batch || !has(self.delivery) || !self.delivery.ordered")
        .message("app.batch and delivery.ordered exclude each other: remove one"),
    validation = Rule::new("self.direction != 'Input' || !has(self.api)")
        .message("api belongs to an output; remove it, or set direction: Output or InputOutput")
        .field_path(".api")
)]
pub struct RocketMQBindingSpec {
    /// The RocketMQConnection to use, in the binding's namespace; instead of the address and credential fields below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_ref: Option<ConnectionRef>,
    /// Name servers as host:port, several separated by commas or semicolons; the port is 9876 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub name_server: Option<String>,
    /// URL that serves the list of name servers as host:port;host:port; wins over nameServer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub name_server_domain: Option<String>,
    /// URL of the Aliyun MQ HTTP endpoint, for accessProto http.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub endpoint: Option<String>,
    /// Protocol to the cluster: tcp, tcp-cgo (the same as tcp here) or http (Aliyun MQ).
    #[serde(default)]
    pub access_proto: AccessProto,
    /// TLS of an https endpoint; without it, the certificate authorities of the worker image are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// RocketMQ namespace; topics and groups are called instanceId%name on the broker. With accessProto http, the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub instance_id: Option<String>,
    /// Access key (ACL 1.0) or user name (ACL 2.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<Credential>,
    /// Secret key (ACL 1.0) or password (ACL 2.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<Credential>,
    /// Token of temporary credentials (STS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_token: Option<Credential>,
    /// Topics, each as topic or topic||expression. For an input the expression selects tags (tagA||tagB, or * for all); an
    /// output publishes with the expression as the tag when it is a single tag. At most 1,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 512)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new(
        "self.all(topic, topic.matches('^[%a-zA-Z0-9_-]{1,127}([|][|][^ ].*)?$'))")
        .message("each of topics must be topic or topic||expression, the topic of 1 to 127 letters, digits, -, _ and %; write one list entry for each topic instead of a comma-separated string"))]
    pub topics: Vec<String>,
    /// Consumer group of the input and producer group of the output. Without it the operator derives one from the
    /// namespace and the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub consumer_group: Option<String>,
    /// Messages pulled at once; with accessProto http at most 16.
    #[serde(default = "default_consumer_batch_size")]
    #[schemars(range(min = 1, max = 1024))]
    pub consumer_batch_size: i32,
    /// Messages handled at the same time, unless app.maxConcurrency says otherwise.
    #[serde(default = "default_consumer_thread_nums")]
    #[schemars(range(min = 1, max = 10_000))]
    pub consumer_thread_nums: i32,
    /// Attempts to connect before the worker reports a failure; it keeps trying afterwards.
    #[serde(default = "default_retries")]
    #[schemars(range(min = 0, max = 1000))]
    pub retries: i32,
    /// Input delivers messages to the app, Output publishes what callers of the API send, InputOutput does both.
    #[serde(default)]
    pub direction: Direction,
    /// The app that receives messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<App>,
    /// What happens when the app does not take a message, and where reading starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// The Dapr-compatible API of the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<ApiServer>,
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

/// Protocol to the cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AccessProto {
    /// RocketMQ's remoting protocol.
    #[default]
    Tcp,
    /// The same as tcp: Dapr's name for its native client.
    TcpCgo,
    /// The Aliyun MQ HTTP protocol.
    Http,
}

/// Which way messages go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Direction {
    /// From RocketMQ to the app.
    Input,
    /// From callers of the API to RocketMQ.
    Output,
    /// Both.
    #[default]
    InputOutput,
}

/// The Dapr-compatible API of the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.httpPort != self.grpcPort")
    .message("api.httpPort and api.grpcPort must differ").field_path(".grpcPort"))]
pub struct ApiServer {
    /// Port of the HTTP API, in the pods and on the Service.
    #[serde(default = "default_http_port")]
    #[schemars(range(min = 1024, max = 65_535))]
    pub http_port: i32,
    /// Port of the gRPC API, in the pods and on the Service.
    #[serde(default = "default_grpc_port")]
    #[schemars(range(min = 1024, max = 65_535))]
    pub grpc_port: i32,
    /// Token that callers must send in the header `dapr-api-token`; without it, everybody may call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Credential>,
    /// Largest request body, in bytes or with a unit such as 4Mi.
    #[serde(default = "default_max_body_size")]
    pub max_body_size: ByteSize,
    /// How `data` of an HTTP request becomes the body of the message, unless the request's metadata `rocketmq-data-encoding`
    /// says otherwise. Over gRPC data is bytes, and stored as they are.
    #[serde(default)]
    pub data_encoding: DataEncoding,
}

/// How `data` of an HTTP request becomes the body of the message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DataEncoding {
    /// The JSON text exactly as it was sent: a string keeps its quotes.
    #[default]
    Json,
    /// A JSON string without its quotes; other JSON as its text.
    Text,
    /// The bytes that a JSON string holds as base64.
    Base64,
}

impl Default for ApiServer {
    fn default() -> Self {
        Self {
            http_port: default_http_port(),
            grpc_port: default_grpc_port(),
            token: None,
            max_body_size: default_max_body_size(),
            data_encoding: DataEncoding::default(),
        }
    }
}

const fn default_http_port() -> i32 {
    3500
}

const fn default_grpc_port() -> i32 {
    50_001
}

fn default_max_body_size() -> ByteSize {
    "4Mi".into()
}

/// What the operator has seen of a RocketMQBinding.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RocketMQBindingStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Accepted, ResolvedRefs, Delivering, SubscriptionConsistent (inputs), Paused and, while they apply, Reconciling,
    /// Stalled, PlainTextCredential, CredentialsRefused.
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
    /// Messages that the app has taken and that were acknowledged, since the start of the workers that run now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_in: Option<i64>,
    /// Messages that the broker has stored for callers of the API, since the start of the workers that run now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_out: Option<i64>,
    /// Deliveries and publications that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<i64>,
    /// Failed deliveries that were handed back for redelivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redelivered: Option<i64>,
    /// Messages that were moved to the dead-letter topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_lettered: Option<i64>,
    /// Messages that wait in the queues that the workers read.
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

const fn default_consumer_batch_size() -> i32 {
    32
}

const fn default_consumer_thread_nums() -> i32 {
    20
}

const fn default_retries() -> i32 {
    3
}
