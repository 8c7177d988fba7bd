//! Builds the children of a RocketMQBinding: synchronous, infallible, without a client.

mod autoscaler;
mod deployment;
mod pod_disruption_budget;
mod service;
mod worker_config;

use crate::controller::children::{Children, Prepared};
use crate::controller::workload::objects;

use super::validate::ValidatedBinding;

pub use worker_config::build_worker_config;

/// All children of a binding whose state is Running or Paused.
#[must_use]
pub fn build(binding: &ValidatedBinding) -> Children<Prepared> {
    let config = build_worker_config(binding);
    let mut children = Children::default();
    children.config_map = Some(objects::config_map(&binding.workload, &config));
    children.secret = objects::secret(&binding.workload);
    children.service_account = objects::service_account(&binding.workload);
    children.service = service::build_service(binding);
    children.pod_disruption_budget = pod_disruption_budget::build_pod_disruption_budget(binding);
    children.autoscaler = autoscaler::build_autoscaler(binding);
    children.deployment = Some(deployment::build_deployment(binding, &config.digest()));
    children
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
