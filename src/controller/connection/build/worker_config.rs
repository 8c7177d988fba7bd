//! What the connection's worker reads.

use crate::controller::children::Owner;
use crate::worker_config::{AdminConfig, ConnectionConfig, Identity, Role, VERSION, WorkerConfig};

use super::super::validate::ValidatedConnection;

/// The worker's configuration.
pub fn build_worker_config(connection: &ValidatedConnection) -> WorkerConfig {
    let Owner { kind, namespace, name, generation, .. } = connection.workload.owner.clone();
    WorkerConfig {
        version: VERSION,
        identity: Identity { kind, namespace, name, generation },
        admin: AdminConfig { host: "0.0.0.0".to_owned(), port: connection.workload.admin_port },
        role: Role::Connection(ConnectionConfig {
            cluster: connection.cluster.config(),
            usage: connection.usage,
            topics: connection.topics.clone(),
            create_topics: connection.create_topics,
            consumer_group: connection.consumer_group.clone(),
            test_interval_seconds: connection.test_interval_seconds,
            models: connection.models.clone(),
            heartbeat: connection.heartbeat.clone(),
            in_use: connection.in_use,
        }),
    }
}
