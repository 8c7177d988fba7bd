//! What users may change in the pods that run their resources.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, LocalObjectReference, ResourceRequirements, Toleration, TopologySpreadConstraint,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Changes to the worker pods. The named fields are merged over the operator's own; `podOverrides` is merged last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels added to the pods. Labels of the operator's own cannot be changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
    /// Annotations added to the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
    /// Environment variables added to the worker container, for instance RUST_LOG. No credential belongs here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), schema_with = "plain::<Vec<EnvVar>>", extend("maxItems" = 64))]
    pub env: Vec<EnvVar>,
    /// Requests and limits of the worker container; replaces the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "plain::<ResourceRequirements>")]
    pub resources: Option<ResourceRequirements>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "plain::<Vec<Toleration>>", extend("maxItems" = 64))]
    pub tolerations: Vec<Toleration>,
    /// Node and pod affinity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "plain::<Affinity>")]
    pub affinity: Option<Affinity>,
    /// How the pods spread over nodes and zones; replaces the operator's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "plain::<Vec<TopologySpreadConstraint>>", extend("maxItems" = 16))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Secrets with which the worker image is pulled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "plain::<Vec<LocalObjectReference>>", extend("maxItems" = 16))]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// ServiceAccount of the pods; without it the operator makes one. No token is mounted either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: Option<String>,
    /// PriorityClass of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// A pod template ({metadata, spec}) merged over the result as Kubernetes merges objects: maps by key, containers,
    /// volumes and env by name, other lists replaced. The worker's container is called `worker`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub pod_overrides: Option<serde_json::Value>,
}

/// Schema of a Kubernetes type without its descriptions, which would make a definition too large to apply.
pub(super) fn plain<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut value = generator.subschema_for::<T>().to_value();
    strip_descriptions(&mut value);
    value.try_into().unwrap_or_else(|_| any_object(generator))
}

fn strip_descriptions(schema: &mut serde_json::Value) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("description");
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(keyword) {
            strip_descriptions(inner);
        }
    }
    if let Some(properties) = object.get_mut("properties").and_then(|properties| properties.as_object_mut()) {
        properties.values_mut().for_each(strip_descriptions);
    }
}

fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}
