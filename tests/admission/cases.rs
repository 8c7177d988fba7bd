//! The tables of manifests.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

/// A manifest and what the API server says to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What the case shows.
    pub case: String,
    /// Parts of the message with which the manifest is refused; none when it is accepted.
    #[serde(default)]
    pub refused: Vec<String>,
    /// Name of the resource.
    #[serde(default = "usual_name")]
    pub name: String,
    /// Its spec.
    pub spec: Value,
}

fn usual_name() -> String {
    "case".to_owned()
}

/// The cases of a file.
pub fn cases(file: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admission").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An object of a kind in the namespace `default`.
pub fn manifest(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "connector.rocketmq.dev/v1alpha1", "kind": kind,
        "metadata": { "name": name, "namespace": "default" }, "spec": spec,
    })
}
