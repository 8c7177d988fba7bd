//! The binding's workers.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ContainerPort;

use crate::controller::workload::pod;

use super::super::validate::ValidatedBinding;
use super::service::HTTP_PORT_NAME;

/// The Deployment; `digest` is the configuration's, so that pods roll when it changes.
pub fn build_deployment(binding: &ValidatedBinding, digest: &str) -> Deployment {
    let http = binding.output.as_ref().map(|output| ContainerPort {
        name: Some(HTTP_PORT_NAME.to_owned()),
        container_port: i32::from(output.http_port),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    });
    pod::deployment(&binding.workload, digest, binding.replicas, http.into_iter().collect())
}
