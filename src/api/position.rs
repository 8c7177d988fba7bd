//! Where reading starts.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a consumer group that has no committed offsets starts. A group that has offsets goes on from them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.position == 'Timestamp') == has(self.timestamp)")
        .message("startFrom.timestamp goes with position: Timestamp, and only with it"),
    validation = Rule::new("(self.position == 'Offsets') == has(self.offsets)")
        .message("startFrom.offsets goes with position: Offsets, and only with it")
)]
pub struct StartFrom {
    /// First, Last, Timestamp or Offsets.
    #[serde(default)]
    pub position: Position,
    /// Moment (RFC 3339) of the first message to read, by the time at which the broker stored it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Time>,
    /// Offset of the first message to read, for each queue; queues that are not listed start at their last message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub offsets: Option<Vec<QueueOffset>>,
}

/// Where reading starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Position {
    /// The oldest message that the broker still has.
    First,
    /// The first message stored after the group was created.
    #[default]
    Last,
    /// The first message stored at or after a moment.
    Timestamp,
    /// Given offsets.
    Offsets,
}

/// Offset of one queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueOffset {
    /// Topic of the queue.
    #[schemars(length(min = 1, max = 127))]
    pub topic: String,
    /// Broker name of the queue.
    #[schemars(length(min = 1, max = 255))]
    pub broker: String,
    /// Number of the queue on that broker.
    #[schemars(range(min = 0))]
    pub queue: i32,
    /// Offset of the first message to read.
    #[schemars(range(min = 0))]
    pub offset: i64,
}
