//! The Service in front of an output binding's API.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::validate::ValidatedBinding;

/// Name of the HTTP port in pods and Service.
pub const HTTP_PORT_NAME: &str = "http";

/// The Service; none for a binding that only receives.
pub fn build_service(binding: &ValidatedBinding) -> Option<Service> {
    let output = binding.output.as_ref()?;
    let http = ServicePort {
        name: Some(HTTP_PORT_NAME.to_owned()),
        port: i32::from(output.http_port),
        target_port: Some(IntOrString::String(HTTP_PORT_NAME.to_owned())),
        protocol: Some("TCP".to_owned()),
        app_protocol: Some("http".to_owned()),
        ..ServicePort::default()
    };
    let spec = ServiceSpec {
        type_: Some("ClusterIP".to_owned()),
        selector: Some(binding.workload.owner.selector()),
        ports: Some(vec![http]),
        ..ServiceSpec::default()
    };
    Some(Service { metadata: binding.workload.owner.child_meta(), spec: Some(spec), status: None })
}
