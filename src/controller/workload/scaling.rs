//! How many workers there are: the autoscaler, and the budget that keeps some while nodes are drained.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget,
    ResourceMetricSource,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::workload::{Autoscaling, DesiredState};
use crate::controller::children::Owner;

/// CPU use to aim at when the spec gives none, in percent of the request.
const DEFAULT_CPU_PERCENTAGE: i32 = 80;

/// Number of workers to ask for: `state` wins over `replicas`, and an autoscaler's number is its own.
#[must_use]
pub fn replicas(state: DesiredState, replicas: Option<i32>, autoscaling: Option<&Autoscaling>) -> Option<i32> {
    match state {
        DesiredState::Running if autoscaling.is_some() => None,
        DesiredState::Running => replicas,
        DesiredState::Paused | DesiredState::Stopped => Some(0),
    }
}

/// The autoscaler of a Deployment with the owner's child name; none when the operator itself scales by lag. While the
/// resource is paused it finds no pods and rests.
#[must_use]
pub fn autoscaler(owner: &Owner, autoscaling: &Autoscaling) -> Option<HorizontalPodAutoscaler> {
    if autoscaling.target_lag.is_some() {
        return None;
    }
    let target = MetricTarget {
        type_: "Utilization".to_owned(),
        average_utilization: Some(autoscaling.target_cpu_utilization_percentage.unwrap_or(DEFAULT_CPU_PERCENTAGE)),
        ..MetricTarget::default()
    };
    let cpu = MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource { name: "cpu".to_owned(), target }),
        ..MetricSpec::default()
    };
    let scaled = CrossVersionObjectReference {
        api_version: Some("apps/v1".to_owned()),
        kind: "Deployment".to_owned(),
        name: owner.child_name(),
    };
    Some(HorizontalPodAutoscaler {
        metadata: owner.child_meta(),
        spec: Some(HorizontalPodAutoscalerSpec {
            min_replicas: Some(autoscaling.min_replicas),
            max_replicas: autoscaling.max_replicas,
            metrics: Some(vec![cpu]),
            scale_target_ref: scaled,
            ..HorizontalPodAutoscalerSpec::default()
        }),
        status: None,
    })
}

/// A budget of one pod at a time; none for a single worker, whose node could then never be drained.
#[must_use]
pub fn pod_disruption_budget(
    owner: &Owner,
    replicas: Option<i32>,
    autoscaling: Option<&Autoscaling>,
) -> Option<PodDisruptionBudget> {
    let fewest = autoscaling.map_or(replicas.unwrap_or(1), |autoscaling| autoscaling.min_replicas);
    (fewest > 1).then(|| PodDisruptionBudget {
        metadata: owner.child_meta(),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector { match_labels: Some(owner.selector()), ..LabelSelector::default() }),
            // A worker that is not ready anyway does not hold up a drain.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
