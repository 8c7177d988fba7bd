//! The binding's workers.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ContainerPort;

use crate::controller::workload::pod;

use super::super::validate::ValidatedBinding;
use super::service::{GRPC_PORT_NAME, HTTP_PORT_NAME};

/// The Deployment; `digest` is the configuration's, so that pods roll when it changes.
pub fn build_deployment(binding: &ValidatedBinding, digest: &str) -> Deployment {
    let ports = binding
        .output
        .as_ref()
        .map(|output| vec![port(HTTP_PORT_NAME, output.http_port), port(GRPC_PORT_NAME, output.grpc_port)]);
    pod::deployment(&binding.workload, digest, binding.replicas, ports.unwrap_or_default())
}

fn port(name: &str, port: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}
