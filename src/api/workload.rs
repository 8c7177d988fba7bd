//! Whether and in how many copies workers run.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether the resource works; wins over replicas and every autoscaler.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DesiredState {
    /// Workers run and messages flow.
    #[default]
    Running,
    /// No messages flow; offsets and everything that can be resumed are kept. The workers are scaled to zero.
    Paused,
    /// As Paused, and nothing is kept warm: the next start begins like a first one, from the committed offsets.
    Stopped,
}

/// Scales workers between two bounds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.minReplicas <= self.maxReplicas")
    .message("autoscaling.minReplicas must not be greater than autoscaling.maxReplicas")
    .field_path(".minReplicas"),
    validation = Rule::new("!(has(self.targetLag) && has(self.targetCPUUtilizationPercentage))")
    .message("autoscaling takes one of targetCPUUtilizationPercentage and targetLag; remove the other"))]
pub struct Autoscaling {
    /// Fewest workers.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: i32,
    /// Most workers. A consumer group shares queues: workers beyond the number of queues stay idle.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,
    /// Average CPU use to aim at, in percent of the worker container's request; 80 when no target is given.
    #[serde(default, rename = "targetCPUUtilizationPercentage", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub target_cpu_utilization_percentage: Option<i32>,
    /// Waiting messages for each worker to aim at, instead of CPU use. The operator itself scales by what the workers report:
    /// no metrics-server and no adapter is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub target_lag: Option<i64>,
}

const fn one() -> i32 {
    1
}
