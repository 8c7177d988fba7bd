//! References to Secrets, ConfigMaps and connections, always in the namespace of the resource that holds them.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Key of a Secret in the resource's own namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key within the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Key of a ConfigMap in the resource's own namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyRef {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key within the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A credential: a key of a Secret, or the value itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretKeyRef) != has(self.value)")
    .message("set exactly one of secretKeyRef and value; prefer secretKeyRef: {name, key}"))]
pub struct Credential {
    /// Key of a Secret in the resource's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
    /// The value itself. Everybody who may read the resource can read it: a warning condition and an Event say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub value: Option<String>,
}

/// PEM text from a Secret or a ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretKeyRef) != has(self.configMapKeyRef)")
    .message("set exactly one of secretKeyRef and configMapKeyRef, each with name and key"))]
pub struct PemSource {
    /// Key of a Secret that holds the PEM text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
    /// Key of a ConfigMap that holds the PEM text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKeyRef>,
}

/// A RocketMQConnection in the resource's own namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionRef {
    /// Name of the RocketMQConnection.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// TLS settings of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.clientCertificate) == has(self.clientKey)")
    .message("set clientCertificate and clientKey together, or neither"))]
pub struct Tls {
    /// Whether TLS is used; false switches it off without losing the other fields.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Certificate authorities to trust; without it, those of the worker image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PemSource>,
    /// Client certificate chain; needs clientKey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<PemSource>,
    /// Private key of the client certificate, unencrypted PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<TlsKey>,
    /// Name to verify in the server's certificate instead of the host that is dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
    /// Accept any certificate. Traffic can then be read and changed on the way: for tests only.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            enabled: true,
            ca: None,
            client_certificate: None,
            client_key: None,
            server_name: None,
            insecure_skip_verify: false,
        }
    }
}

/// A private key, which only a Secret may hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsKey {
    /// Key of a Secret that holds the PEM text.
    pub secret_key_ref: SecretKeyRef,
}

/// Default of switches that are on unless switched off.
pub(super) const fn yes() -> bool {
    true
}
