//! Builds the children of a RocketMQConnection: synchronous, infallible, without a client.

mod worker_config;

use crate::controller::children::{Children, Prepared};
use crate::controller::workload::{objects, pod};

use super::validate::ValidatedConnection;

pub use worker_config::build_worker_config;

/// All children of a connection whose state is Running or Paused.
#[must_use]
pub fn build(connection: &ValidatedConnection) -> Children<Prepared> {
    let config = build_worker_config(connection);
    let workload = &connection.workload;
    let mut children = Children::default();
    children.config_map = Some(objects::config_map(workload, &config));
    children.secret = objects::secret(workload);
    children.service_account = objects::service_account(workload);
    children.deployment = Some(pod::deployment(workload, &config.digest(), Some(connection.replicas), Vec::new()));
    children
}
