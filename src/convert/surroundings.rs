//! What stands beside the components in the files and helps to convert them: Secrets, pods with Dapr's annotations, Services.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::manifest::Service;
use crate::dev::manifest::Document;

/// A workload whose pods get a sidecar of Dapr's.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Kind and name.
    pub subject: String,
    /// Its namespace.
    pub namespace: Option<String>,
    /// Dapr's id of the app.
    pub app_id: String,
    annotations: Map<String, Value>,
    labels: Map<String, Value>,
    ports: Vec<(String, u64)>,
}

impl Workload {
    /// The value of the annotation `dapr.io/NAME`.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(&format!("dapr.io/{name}"))?.as_str().filter(|value| !value.is_empty())
    }
}

/// Everything of interest in the files.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    secrets: Vec<Document>,
    services: Vec<Document>,
    workloads: Vec<Workload>,
}

impl Surroundings {
    /// Looks through the documents.
    #[must_use]
    pub fn of(documents: &[Document]) -> Self {
        let of_kind = |kind: &str| {
            documents.iter().filter(|document| document.text(&["kind"]) == Some(kind)).cloned().collect::<Vec<_>>()
        };
        Self {
            secrets: of_kind("Secret"),
            services: of_kind("Service"),
            workloads: documents.iter().filter_map(workload).collect(),
        }
    }

    /// The value of a Secret's key.
    #[must_use]
    pub fn secret_value(&self, namespace: Option<&str>, name: &str, key: &str) -> Option<String> {
        let secret = self.secrets.iter().find(|secret| {
            secret.text(&["metadata", "name"]) == Some(name) && namespace_of(secret) == namespace.map(ToOwned::to_owned)
        })?;
        if let Some(text) = secret.text(&["stringData", key]) {
            return Some(text.to_owned());
        }
        let bytes = STANDARD.decode(secret.text(&["data", key])?).ok()?;
        String::from_utf8(bytes).ok()
    }

    /// The workloads of a namespace that load a component with these scopes.
    #[must_use]
    pub fn workloads(&self, namespace: Option<&str>, scopes: &[String]) -> Vec<&Workload> {
        let is_scoped = |workload: &&Workload| scopes.is_empty() || scopes.contains(&workload.app_id);
        self.workloads.iter().filter(|of| of.namespace.as_deref() == namespace).filter(is_scoped).collect()
    }

    /// The Service in front of a workload's port.
    #[must_use]
    pub fn service_of(&self, workload: &Workload, port: u64) -> Option<Service> {
        let of_namespace = |service: &&Document| namespace_of(service) == workload.namespace;
        self.services.iter().filter(of_namespace).find_map(|service| {
            let selector = service.value.pointer("/spec/selector")?.as_object()?;
            let is_selected =
                !selector.is_empty() && selector.iter().all(|(name, value)| workload.labels.get(name) == Some(value));
            let ports = service.value.pointer("/spec/ports")?.as_array()?;
            let served = ports.iter().find(|entry| target_of(entry, workload) == Some(port))?;
            let served = served.get("port")?.as_u64()?;
            let name = service.text(&["metadata", "name"])?.to_owned();
            is_selected.then_some(Service { name, port: u16::try_from(served).ok()? })
        })
    }
}

/// The container port that an entry of a Service leads to.
fn target_of(entry: &Value, workload: &Workload) -> Option<u64> {
    match entry.get("targetPort") {
        Some(Value::String(name)) => workload.ports.iter().find(|(known, _)| known == name).map(|(_, port)| *port),
        Some(Value::Number(number)) => number.as_u64(),
        _ => entry.get("port")?.as_u64(),
    }
}

fn namespace_of(document: &Document) -> Option<String> {
    document.text(&["metadata", "namespace"]).map(ToOwned::to_owned)
}

fn workload(document: &Document) -> Option<Workload> {
    let pod = match document.text(&["kind"])? {
        "Pod" => &document.value,
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => document.value.pointer("/spec/template")?,
        _ => return None,
    };
    let map = |path: &str| pod.pointer(path).and_then(Value::as_object).cloned().unwrap_or_default();
    let annotations = map("/metadata/annotations");
    let is_enabled = annotations.get("dapr.io/enabled").and_then(Value::as_str) == Some("true");
    let name = document.text(&["metadata", "name"])?;
    let app_id = annotations.get("dapr.io/app-id").and_then(Value::as_str).unwrap_or(name).to_owned();
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let ports = containers.filter_map(|container| container.get("ports")?.as_array()).flatten();
    let named = |port: &Value| Some((port.get("name")?.as_str()?.to_owned(), port.get("containerPort")?.as_u64()?));
    is_enabled.then(|| Workload {
        subject: document.subject(),
        namespace: namespace_of(document),
        app_id,
        labels: map("/metadata/labels"),
        ports: ports.filter_map(named).collect(),
        annotations,
    })
}
