//! The contract between the two planes: what the operator writes and a worker reads, and what a worker reports back.
//!
//! The operator renders a [`WorkerConfig`] into a ConfigMap; the worker reads it from a mounted file. The worker answers
//! `GET /status` on its admin port with a [`WorkerReport`](report::WorkerReport), which the operator copies into the
//! custom resource's status. Secret values never appear here: only the paths of the files they are mounted as.
//!
//! Both sides refuse what they don't know (`deny_unknown_fields`, [`VERSION`]), so that a skew is an error and not a guess.

pub mod binding;
pub mod connection;
pub mod models;
pub mod report;
pub mod sync;
pub mod sync_objects;
pub mod sync_source;
pub mod sync_target;
pub mod sync_topics;
pub mod verify;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use binding::BindingConfig;
pub use connection::{ClusterConfig, ConnectionConfig};
pub use report::WorkerReport;
pub use sync::SyncConfig;

/// Version of this contract; a worker refuses a configuration of another version.
pub const VERSION: u32 = 1;

/// Everything a worker process needs to know, apart from secret values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerConfig {
    /// Must equal [`VERSION`].
    pub version: u32,
    /// The custom resource that this worker serves.
    pub identity: Identity,
    /// Where `/healthz`, `/readyz`, `/metrics` and `/status` are served.
    pub admin: AdminConfig,
    /// What the worker does.
    pub role: Role,
}

/// Names the custom resource that a worker serves; it is part of every log line, metric and report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Identity {
    /// Kind of the custom resource, for instance `RocketMQBinding`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its `metadata.generation` when the configuration was rendered.
    pub generation: i64,
}

/// The admin server of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdminConfig {
    /// Address to listen on; `0.0.0.0` in a pod.
    pub host: String,
    /// Port; 0 takes a free one (tests and `dev`).
    pub port: u16,
}

/// What a worker does, with that role's configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Role {
    /// Tests a RocketMQ cluster and reports on it.
    Connection(ConnectionConfig),
    /// Runs an input and/or output binding.
    Binding(BindingConfig),
    /// Runs a data pipeline.
    Sync(Box<SyncConfig>),
}

impl WorkerConfig {
    /// Renders the configuration as indented JSON with a stable field order.
    ///
    /// # Errors
    /// Only when a value cannot be represented in JSON, which none of these types can hold.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// Reads a configuration and checks its version.
    ///
    /// # Errors
    /// The text is not JSON of this shape, names an unknown field, or has another [`VERSION`].
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let config: Self = serde_json::from_str(text)?;
        if config.version != VERSION {
            return Err(serde::de::Error::custom(format!(
                "version: {} is not supported, this worker reads version {VERSION}; run operator and worker from one image",
                config.version
            )));
        }
        Ok(config)
    }

    /// SHA-256 of the rendered configuration in lower-case hexadecimal: the pod template carries it, so that pods roll
    /// when, and only when, their configuration changes. `identity.generation` is left out, which changes with fields that the
    /// worker never sees, and so is `inUse`, which the worker hears of otherwise.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut subject = self.clone();
        subject.identity.generation = 0;
        if let Role::Connection(connection) = &mut subject.role {
            connection.in_use = false;
        }
        let text = subject.to_json().unwrap_or_default();
        Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
