//! What the operator has seen of a sync.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::{LastError, WorkerStatus};
use super::sync_verify::VerifyStatus;

/// What the operator has seen of a RocketMQSync.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RocketMQSyncStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Accepted, ResolvedRefs, Paused, Verified with spec.verify and, while they apply, Reconciling, Stalled,
    /// PlainTextCredential, TopicConflict.
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
    /// Records read, since the start of the workers that run now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_read: Option<i64>,
    /// Records that the target has durably, since the start of the workers that run now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_written: Option<i64>,
    /// Records that the target had already, so that they were not written again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeated: Option<i64>,
    /// Records that may be at the target twice, because their first write ended without an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resent: Option<i64>,
    /// Records left out by a filter, by the loop guard or by the write policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<i64>,
    /// Records that were skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<i64>,
    /// Records that were moved to the dead-letter topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_lettered: Option<i64>,
    /// Records that wait at the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<i64>,
    /// Milliseconds from the source's time of a record until it was acknowledged, for the newest one; the longest of all workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_millis: Option<i64>,
    /// The newest heartbeat of the source's connection that came through the sync, or one that is still on its way and has been for
    /// longer; the slowest of all workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<SyncHeartbeat>,
    /// Records read a second, over the last ten seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_rate: Option<i64>,
    /// Records written a second, over the last ten seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_rate: Option<i64>,
    /// When records were acknowledged to the source last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_checkpoint: Option<Time>,
    /// What comparing source and target came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifyStatus>,
    /// The newest failure, kept after it has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// Worker pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["pod".to_owned()]))]
    pub workers: Vec<WorkerStatus>,
}

/// A heartbeat that goes through a sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncHeartbeat {
    /// When it was written.
    pub written: Time,
    /// Milliseconds from then until all records read before it were at the target, or until now while they are not.
    pub delay_millis: i64,
}
