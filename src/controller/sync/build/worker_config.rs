//! What the sync's workers read.

use crate::controller::children::Owner;
use crate::worker_config::{AdminConfig, Identity, Role, VERSION, WorkerConfig};

use super::super::validate::ValidatedSync;

/// The worker's configuration.
pub fn build_worker_config(sync: &ValidatedSync) -> WorkerConfig {
    let Owner { kind, namespace, name, generation, .. } = sync.workload.owner.clone();
    WorkerConfig {
        version: VERSION,
        identity: Identity { kind, namespace, name, generation },
        admin: AdminConfig { host: "0.0.0.0".to_owned(), port: sync.workload.admin_port },
        role: Role::Sync(Box::new(sync.config.clone())),
    }
}
