//! Keeps workers running while nodes are drained.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::controller::workload::scaling;

use super::super::validate::ValidatedBinding;

/// A budget of one pod at a time; none for a single worker.
pub fn build_pod_disruption_budget(binding: &ValidatedBinding) -> Option<PodDisruptionBudget> {
    scaling::pod_disruption_budget(&binding.workload.owner, binding.replicas, binding.autoscaling.as_ref())
}
