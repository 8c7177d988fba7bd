//! Scales a binding's workers by their use of CPU.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget,
    ResourceMetricSource,
};

use super::super::validate::ValidatedBinding;

/// Average CPU use to aim at when the spec names none, in percent of the request.
const DEFAULT_CPU_PERCENTAGE: i32 = 80;

/// The autoscaler; none unless the spec asks for one. While the binding is paused it finds no pods and rests.
pub fn build_autoscaler(binding: &ValidatedBinding) -> Option<HorizontalPodAutoscaler> {
    let autoscaling = binding.autoscaling.as_ref()?;
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
        name: binding.workload.owner.child_name(),
    };
    Some(HorizontalPodAutoscaler {
        metadata: binding.workload.owner.child_meta(),
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
