//! Builds the children of a RocketMQSync: synchronous, infallible, without a client.

mod worker_config;

use k8s_openapi::api::apps::v1::DeploymentStrategy;

use crate::controller::children::{Children, Prepared};
use crate::controller::workload::{objects, pod, scaling};

use super::validate::ValidatedSync;

pub use worker_config::build_worker_config;

/// All children of a sync whose state is Running or Paused.
#[must_use]
pub fn build(sync: &ValidatedSync) -> Children<Prepared> {
    let (config, workload) = (build_worker_config(sync), &sync.workload);
    let mut children = Children::default();
    children.config_map = Some(objects::config_map(workload, &config));
    children.secret = objects::secret(workload);
    children.service_account = objects::service_account(workload);
    children.pod_disruption_budget =
        scaling::pod_disruption_budget(&workload.owner, sync.replicas, sync.autoscaling.as_ref());
    children.autoscaler =
        sync.autoscaling.as_ref().and_then(|autoscaling| scaling::autoscaler(&workload.owner, autoscaling));
    let mut deployment = pod::deployment(workload, &config.digest(), sync.replicas, Vec::new());
    if let Some(spec) = &mut deployment.spec {
        spec.strategy = Some(stop_before_start());
    }
    children.deployment = Some(deployment);
    children
}

/// Workers of one sync that differ must not work side by side: a consumer group whose members subscribe differently loses
/// messages, and a replication stream has one reader.
fn stop_before_start() -> DeploymentStrategy {
    DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None }
}
