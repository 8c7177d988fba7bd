//! What is printed: manifests with the fields that a component sets, in the order in which people read them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::api::{GROUP, VERSION};
use crate::dev::error::{Error, Result};
use crate::dev::manifest::Document;

/// Name and namespace.
#[derive(Debug, Clone, Serialize)]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// Namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Value>,
    /// Annotations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Value>,
}

/// A RocketMQBinding.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    api_version: String,
    kind: &'static str,
    metadata: Metadata,
    spec: Spec,
}

impl Binding {
    /// A binding.
    #[must_use]
    pub fn new(metadata: Metadata, spec: Spec) -> Self {
        Self { api_version: format!("{GROUP}/{VERSION}"), kind: "RocketMQBinding", metadata, spec }
    }
}

/// What a component can say of a binding.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Input, Output or InputOutput.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<&'static str>,
    /// Protocol, when it is not tcp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_proto: Option<String>,
    /// Name servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_server: Option<String>,
    /// URL of the list of name servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_server_domain: Option<String>,
    /// Endpoint of the HTTP protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Namespace of RocketMQ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Access key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key: Option<Credential>,
    /// Secret key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<Credential>,
    /// Topics.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// Consumer group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer_group: Option<String>,
    /// Messages pulled at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer_batch_size: Option<i64>,
    /// Messages handled at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer_thread_nums: Option<i64>,
    /// Attempts to connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<i64>,
    /// The app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<App>,
    /// Redelivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// The API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<Api>,
}

/// A key of a Secret.
#[derive(Debug, Clone, Serialize)]
pub struct Reference {
    /// Name of the Secret.
    pub name: String,
    /// Key within it.
    pub key: String,
}

/// A credential.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Credential {
    /// Where it is.
    pub secret_key_ref: Reference,
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: u16,
}

/// The app.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct App {
    /// Its Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Its URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// GRPC, when it is not HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<&'static str>,
    /// Path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_token: Option<Credential>,
    /// Messages at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
}

/// Redelivery.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Deliveries in all.
    pub max_attempts: i64,
    /// Waits.
    pub backoff: Backoff,
}

/// Waits between deliveries.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    policy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initial_interval: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_interval: Option<String>,
}

impl Backoff {
    /// The same wait each time.
    #[must_use]
    pub fn constant(interval: String) -> Self {
        Self { policy: "Constant", interval: Some(interval), ..Self::default() }
    }

    /// A wait that doubles.
    #[must_use]
    pub fn exponential(initial: String, max: String) -> Self {
        Self { policy: "Exponential", initial_interval: Some(initial), max_interval: Some(max), ..Self::default() }
    }
}

/// The API of an output.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Api {
    /// Token of callers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Credential>,
    /// Largest body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body_size: Option<String>,
}

impl Api {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.token.is_none() && self.max_body_size.is_none()
    }
}

/// A Secret with plain values of a component.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    string_data: BTreeMap<String, String>,
}

impl Secret {
    /// A Secret.
    #[must_use]
    pub fn new(name: String, namespace: Option<String>, string_data: BTreeMap<String, String>) -> Self {
        let metadata = Metadata { name, namespace, labels: None, annotations: None };
        Self { api_version: "v1", kind: "Secret", metadata, string_data }
    }
}

/// Order in which fields are printed; others follow by name.
const ORDER: &[&str] =
    &["apiVersion", "kind", "metadata", "type", "spec", "name", "namespace", "direction", "accessProto"];

/// The documents as YAML.
///
/// # Errors
/// A value cannot be written as YAML.
pub fn render(documents: &[Document]) -> Result<String> {
    let write = |document: &Document| {
        let failed =
            |error: serde_saphyr::ser::Error| Error::Render { subject: document.subject(), why: error.to_string() };
        serde_saphyr::to_string(&Ordered(&document.value)).map_err(failed)
    };
    let documents: Result<Vec<_>> = documents.iter().map(write).collect();
    Ok(documents?.join("---\n"))
}

/// A value whose objects are written in [`ORDER`].
struct Ordered<'a>(&'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let rank = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
        match self.0 {
            Value::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_by_key(|(name, _)| rank(name));
                serializer.collect_map(fields.into_iter().map(|(name, value)| (name, Ordered(value))))
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Ordered)),
            other => other.serialize(serializer),
        }
    }
}
