//! The Service in front of an output binding's API.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::validate::ValidatedBinding;

/// Name of the HTTP port in pods and Service.
pub const HTTP_PORT_NAME: &str = "http";
/// Name of the gRPC port in pods and Service.
pub const GRPC_PORT_NAME: &str = "grpc";

/// The Service; none for a binding that only receives.
pub fn build_service(binding: &ValidatedBinding) -> Option<Service> {
    let output = binding.output.as_ref()?;
    let spec = ServiceSpec {
        type_: Some("ClusterIP".to_owned()),
        selector: Some(binding.workload.owner.selector()),
        ports: Some(vec![
            port(HTTP_PORT_NAME, output.http_port, "http"),
            port(GRPC_PORT_NAME, output.grpc_port, "kubernetes.io/h2c"),
        ]),
        ..ServiceSpec::default()
    };
    Some(Service { metadata: binding.workload.owner.child_meta(), spec: Some(spec), status: None })
}

fn port(name: &str, port: u16, app_protocol: &str) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(port),
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        app_protocol: Some(app_protocol.to_owned()),
        ..ServicePort::default()
    }
}
