//! The input side of a binding: the app, and how messages are delivered to it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::position::StartFrom;
use super::quantity::Duration;
use super::reference::Credential;

/// The app that receives messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.url) != has(self.service)")
        .message("set exactly one of app.url and app.service: {name, port}"),
    validation = Rule::new("!has(self.url) || self.url.matches('^(https?|grpc|grpcs)://[^ /]+(/[^ ]*)?$')")
        .message("app.url must be a URL such as http://orders.shop.svc:8080").field_path(".url"),
    validation = Rule::new("!has(self.path) || self.path.matches('^/[^ ]*$')")
        .message("app.path must start with / and hold no blanks").field_path(".path"),
    validation = Rule::new("duration(self.timeout) >= duration('1ms') && duration(self.timeout) <= duration('15m')")
        .message("app.timeout must be between 1ms and 15m").field_path(".timeout"),
    validation = Rule::new("!self.batch || (self.protocol == 'HTTP' && !has(self.routes))")
        .message("app.batch goes with protocol: HTTP and without app.routes").field_path(".batch"),
    validation = Rule::new("self.payload == 'Raw' || self.protocol == 'HTTP'")
        .message("app.payload: CloudEvents goes with protocol: HTTP; a gRPC app gets the body and the metadata")
        .field_path(".payload")
)]
pub struct App {
    /// Base URL of the app, for instance `http://orders.shop.svc:8080`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub url: Option<String>,
    /// Service of the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<AppService>,
    /// Protocol that the app speaks.
    #[serde(default)]
    pub protocol: AppProtocol,
    /// Path that receives messages; without it, / and the name of the binding, as with Dapr.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: Option<String>,
    /// Other paths for the messages of some topics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["topic".to_owned()]))]
    pub routes: Vec<AppRoute>,
    /// What the app gets: Raw is the body of the message as it is, CloudEvents a CloudEvent 1.0 in JSON with the body as its
    /// data.
    #[serde(default)]
    pub payload: Payload,
    /// Deliver up to consumerBatchSize messages in one request, as a JSON list. A 2xx answer takes all of them; after any
    /// other each one comes again by itself.
    #[serde(default)]
    pub batch: bool,
    /// Token sent to the app in the header `dapr-api-token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_token: Option<Credential>,
    /// Messages in delivery to the app at the same time, per worker; without it, consumerThreadNums.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_concurrency: Option<i32>,
    /// Time that the app may take to answer, 1ms to 15m.
    #[serde(default = "default_app_timeout")]
    pub timeout: Duration,
}

/// A Service of the app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppService {
    /// Name of the Service, in the binding's namespace.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Port of the Service.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i32,
}

/// Protocol that an app speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AppProtocol {
    /// HTTP/1.1: a POST for each message.
    #[default]
    #[serde(rename = "HTTP")]
    Http,
    /// gRPC: Dapr's `AppCallback.OnBindingEvent`.
    #[serde(rename = "GRPC")]
    Grpc,
}

/// What an app gets of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Payload {
    /// The body as it is.
    #[default]
    Raw,
    /// A CloudEvent 1.0 in JSON with the body as its data.
    CloudEvents,
}

/// Path for the messages of a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppRoute {
    /// Topic without its expression.
    #[schemars(length(min = 1, max = 127))]
    pub topic: String,
    /// Path that receives its messages, starting with /.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new("self.startsWith('/')").message("app.routes.path must start with /"))]
    pub path: String,
}

/// What happens when the app does not take a message, and where reading starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.startFrom) || self.startFrom.position != 'Offsets'")
    .message("delivery.startFrom.position: Offsets is for RocketMQSync; use First, Last or Timestamp")
    .field_path(".startFrom"))]
pub struct Delivery {
    /// Deliveries of one message before it goes to the dead-letter topic.
    #[serde(default = "default_max_attempts")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_attempts: i32,
    /// How long a message waits for its next delivery.
    #[serde(default)]
    pub backoff: Backoff,
    /// Where a message goes after the last delivery; without it, to the group's own topic %DLQ%group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetter>,
    /// Keep the order of each queue: the next message waits until the app has taken the one before.
    #[serde(default)]
    pub ordered: bool,
    /// Where a consumer group that has no committed offsets starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_from: Option<StartFrom>,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            max_attempts: default_max_attempts(),
            backoff: Backoff::default(),
            dead_letter: None,
            ordered: false,
            start_from: None,
        }
    }
}

const fn default_max_attempts() -> i32 {
    16
}

/// How long a message waits for its next delivery. The broker knows 18 waits, from 1s to 2h: the nearest one is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.policy == 'Constant') == has(self.interval)")
        .message("delivery.backoff.interval goes with policy: Constant, and only with it"),
    validation = Rule::new("(self.policy == 'Exponential') == (has(self.initialInterval) && has(self.maxInterval)) && \
        has(self.initialInterval) == has(self.maxInterval)")
        .message("delivery.backoff.initialInterval and maxInterval go with policy: Exponential, and only with it"),
    validation = Rule::new("!has(self.initialInterval) || !has(self.maxInterval) || \
        duration(self.initialInterval) <= duration(self.maxInterval)")
        .message("delivery.backoff.initialInterval must not be longer than maxInterval")
)]
pub struct Backoff {
    /// BrokerLevels, Constant or Exponential.
    #[serde(default)]
    pub policy: BackoffPolicy,
    /// Wait before each further delivery, for policy Constant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Wait before the second delivery, for policy Exponential; it doubles from delivery to delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_interval: Option<Duration>,
    /// Longest wait, for policy Exponential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_interval: Option<Duration>,
}

/// How waits grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum BackoffPolicy {
    /// The broker's own levels, rising with each attempt: 10s, 30s, 1m and on to 2h.
    #[default]
    BrokerLevels,
    /// The same wait each time.
    Constant,
    /// A wait that doubles up to a bound.
    Exponential,
}

/// Where undeliverable messages go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// Topic of the binding's own choice.
    #[schemars(length(min = 1, max = 127))]
    #[x_kube(validation = Rule::new("self.matches('^[%a-zA-Z0-9_-]+$')")
        .message("delivery.deadLetter.topic may hold letters, digits, -, _ and % only"))]
    pub topic: String,
}

fn default_app_timeout() -> Duration {
    "30s".into()
}
