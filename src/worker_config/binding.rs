//! Role of a binding worker: an input and/or output binding.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::connection::ClusterConfig;

/// An input and/or output binding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BindingConfig {
    /// Name in `/v1.0/bindings/{name}` and in the path of the app's handler.
    pub name: String,
    /// The RocketMQ cluster.
    pub cluster: ClusterConfig,
    /// URL of an Aliyun MQ HTTP endpoint, which is used instead of the cluster's name servers, with its credentials and TLS;
    /// none means RocketMQ's remoting protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_endpoint: Option<String>,
    /// Topics, each with an optional expression (`tagA||tagB`): subscribed by an input, published to by an output.
    pub topics: Vec<TopicConfig>,
    /// Consumer group of an input, producer group of an output.
    pub group: String,
    /// Attempts to connect before the worker reports a failure; it keeps trying afterwards.
    pub retries: u32,
    /// Present when the binding delivers messages to an app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<InputConfig>,
    /// Present when the binding publishes messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputConfig>,
}

/// A topic with its filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicConfig {
    /// Topic name without the namespace.
    pub topic: String,
    /// Tag expression (`*`, `tagA||tagB`) of a subscription; the tag of a publication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
}

/// Delivery of messages to the user's app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InputConfig {
    /// Base URL of the app, for instance `http://orders.shop.svc:8080`, or `grpc://orders.shop.svc:50051`.
    pub app_url: String,
    /// Protocol that the app speaks.
    #[serde(default)]
    pub protocol: AppProtocol,
    /// Path that receives messages, with its leading slash.
    pub path: String,
    /// Other paths for the messages of some topics, by topic.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: BTreeMap<String, String>,
    /// Messages in delivery at the same time, 1 to 10,000.
    pub max_concurrency: u32,
    /// Milliseconds that the app may take to answer.
    pub timeout_millis: u64,
    /// File of the token sent as `dapr-api-token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_token_file: Option<String>,
    /// Messages pulled at once.
    pub batch_size: u32,
    /// Deliver up to `batch_size` messages in one request, as a JSON list.
    #[serde(default)]
    pub batch: bool,
    /// What the app gets.
    #[serde(default)]
    pub payload: Payload,
    /// Keep the order of each queue: the next message waits until the app has taken the one before.
    pub ordered: bool,
    /// Where a new consumer group starts.
    pub start_from: StartFrom,
    /// What happens after a failed delivery.
    pub redelivery: RedeliveryConfig,
    /// Topic for messages after their last delivery; without it, the group's own dead-letter topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_topic: Option<String>,
}

/// What an app gets of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Payload {
    /// The body as it is.
    #[default]
    Raw,
    /// A CloudEvent in JSON with the body as its data.
    CloudEvents,
}

/// Protocol that an app speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AppProtocol {
    /// HTTP/1.1: a POST for each message.
    #[default]
    Http,
    /// gRPC: Dapr's `AppCallback.OnBindingEvent`.
    Grpc,
}

/// Where a consumer group without committed offsets starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum StartFrom {
    /// The oldest message that the broker still has.
    First,
    /// The first message stored after the group was created.
    Last,
    /// The first message stored at or after this time, milliseconds since the Unix epoch.
    Timestamp(i64),
}

/// What happens after a failed delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedeliveryConfig {
    /// Deliveries of one message before it goes to the group's dead-letter topic.
    pub max_attempts: u32,
    /// How long a message waits for its next delivery.
    pub backoff: Backoff,
}

/// How long a message waits for its next delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Backoff {
    /// The broker's own delay levels, rising with each attempt (10 s, 30 s, 1 m, …).
    BrokerLevels,
    /// The broker's delay level nearest to this many milliseconds, each time the same.
    Constant {
        /// Milliseconds between two deliveries.
        millis: u64,
    },
    /// The broker's delay level nearest to a wait that doubles from `initial_millis` to `max_millis`.
    Exponential {
        /// Milliseconds before the second delivery.
        initial_millis: u64,
        /// Longest wait in milliseconds.
        max_millis: u64,
    },
}

/// The Dapr-compatible API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutputConfig {
    /// Address to listen on; `0.0.0.0` in a pod.
    pub host: String,
    /// HTTP port; 0 takes a free one.
    pub http_port: u16,
    /// gRPC port; 0 takes a free one.
    pub grpc_port: u16,
    /// File of the token that callers must send as `dapr-api-token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
    /// Largest request body in bytes.
    pub max_body_bytes: u64,
    /// How `data` of an HTTP request becomes the body of the message, unless the request says otherwise.
    #[serde(default)]
    pub data_encoding: DataEncoding,
}

/// How `data` of an HTTP request becomes the body of the message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DataEncoding {
    /// The JSON text exactly as it was sent.
    #[default]
    Json,
    /// A JSON string without its quotes; other JSON as its text.
    Text,
    /// The bytes that a JSON string holds as base64.
    Base64,
}
