//! Keeps workers running while nodes are drained.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::validate::ValidatedBinding;

/// A budget of one pod at a time; none for a single worker, whose node could then never be drained.
pub fn build_pod_disruption_budget(binding: &ValidatedBinding) -> Option<PodDisruptionBudget> {
    let fewest = match &binding.autoscaling {
        Some(autoscaling) => autoscaling.min_replicas,
        None => binding.replicas.unwrap_or(1),
    };
    (fewest > 1).then(|| PodDisruptionBudget {
        metadata: binding.workload.owner.child_meta(),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(binding.workload.owner.selector()),
                ..LabelSelector::default()
            }),
            // A worker that is not ready anyway does not hold up a drain.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
