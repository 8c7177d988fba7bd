//! Parts of a RocketMQConnection's status: the test, models and the heartbeat.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Result of a connection test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionTest {
    /// When the test ended.
    pub tested_at: Time,
    /// Items in the order in which they were tried.
    #[serde(default)]
    pub items: Vec<ConnectionTestItem>,
}

/// One item of a connection test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionTestItem {
    /// What was tested.
    pub name: String,
    /// Passed, Warning, Failed or Skipped.
    pub result: TestResult,
    /// What was tried and what came back.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// Milliseconds that it took.
    pub duration_millis: i64,
}

/// How a test item went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TestResult {
    /// As it should be.
    Passed,
    /// Usable, but something should be looked at.
    Warning,
    /// Not usable.
    Failed,
    /// Not tried: an earlier item failed, or there is nothing to try. The message says which.
    Skipped,
}

/// How far topics are loaded as models. The models themselves are in ConfigMaps and on the worker's `/models`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelsStatus {
    /// Models of the newest load.
    pub count: i32,
    /// Models of which the topic could not be looked at.
    #[serde(default)]
    pub failed: i32,
    /// Models that the load before did not have.
    #[serde(default)]
    pub added: i32,
    /// Models that are gone since the load before.
    #[serde(default)]
    pub removed: i32,
    /// Models with other fields or another format than in the load before.
    #[serde(default)]
    pub changed: i32,
    /// When the newest load ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_load: Option<Time>,
    /// When the next load begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_load: Option<Time>,
    /// Milliseconds that the newest load took.
    #[serde(default)]
    pub duration_millis: i64,
    /// Topics looked at so far, while a load is under way, for instance 1200 of 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
}

/// The heartbeat of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatStatus {
    /// Stopped (nothing uses the connection), Starting, Beating or Missing.
    pub state: String,
    /// When it came into this state.
    pub since: Time,
    /// RocketMQBindings and RocketMQSyncs that keep it going.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<i32>,
    /// When the newest heartbeat came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_beat: Option<Time>,
    /// Milliseconds from writing the newest heartbeat to reading it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_millis: Option<i64>,
}
