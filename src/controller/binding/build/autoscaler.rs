//! Changes the number of workers.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;

use crate::controller::workload::scaling;

use super::super::validate::ValidatedBinding;

/// The autoscaler; none unless the spec asks for one by CPU use.
pub fn build_autoscaler(binding: &ValidatedBinding) -> Option<HorizontalPodAutoscaler> {
    let autoscaling = binding.autoscaling.as_ref()?;
    scaling::autoscaler(&binding.workload.owner, autoscaling)
}
