//! Parts of status that several kinds share.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The newest failure, kept after it has passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// When it happened.
    pub time: Time,
    /// CamelCase reason.
    pub reason: String,
    /// What happened.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// A worker pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerStatus {
    /// Name of the pod.
    pub pod: String,
    /// What the worker is doing: Starting, Running, Failing, Draining, or Unknown when its report cannot be read.
    pub state: String,
    /// One sentence that explains a state other than Running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
