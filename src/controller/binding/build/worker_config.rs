//! What the binding's workers read.

use crate::controller::children::Owner;
use crate::worker_config::{AdminConfig, BindingConfig, Identity, Role, VERSION, WorkerConfig};

use super::super::validate::ValidatedBinding;

/// The worker's configuration.
pub fn build_worker_config(binding: &ValidatedBinding) -> WorkerConfig {
    let Owner { kind, namespace, name, generation, .. } = binding.workload.owner.clone();
    WorkerConfig {
        version: VERSION,
        identity: Identity { kind, namespace, name: name.clone(), generation },
        admin: AdminConfig { host: "0.0.0.0".to_owned(), port: binding.workload.admin_port },
        role: Role::Binding(BindingConfig {
            name,
            cluster: binding.cluster.config(),
            http_endpoint: binding.cluster.http_endpoint.clone(),
            topics: binding.topics.clone(),
            group: binding.group.clone(),
            retries: binding.retries,
            input: binding.input.clone(),
            output: binding.output.clone(),
        }),
    }
}
