//! Renders the custom resource definitions.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::{RocketMQBinding, RocketMQConnection, RocketMQSync};

/// Why no YAML could be rendered.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// The name is none of the kinds.
    #[error("kind: {kind:?} is unknown, use one of {known}")]
    UnknownKind {
        /// What was asked for.
        kind: String,
        /// The kinds there are.
        known: String,
    },
    /// A definition cannot be written as YAML.
    #[error("render {name} as yaml")]
    Render {
        /// Name of the definition.
        name: String,
        /// What the serialiser said.
        #[source]
        source: serde_saphyr::ser::Error,
    },
}

/// The definitions of all kinds: connection, binding, sync.
#[must_use]
pub fn all_crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![RocketMQConnection::crd(), RocketMQBinding::crd(), RocketMQSync::crd()];
    let versions = crds.iter_mut().flat_map(|crd| &mut crd.spec.versions);
    let schemas = versions.filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
    schemas.for_each(forbid_null);
    crds
}

/// Makes the API server drop a null (`topics:` with nothing behind it) as if the field were left out, so that defaults
/// apply and rules see no value; kube's generator allows null wherever Rust has an `Option`.
fn forbid_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(forbid_null);
    match schema.items.as_mut() {
        Some(JSONSchemaPropsOrArray::Schema(items)) => forbid_null(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(forbid_null),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties.as_mut() {
        forbid_null(values);
    }
}

/// Renders the definition of one kind, or of all kinds as a stream of YAML documents.
///
/// `kind` may be a kind, a plural, a singular or a short name, in any case of letters.
///
/// # Errors
/// The kind is unknown, or a definition cannot be written as YAML.
pub fn crd_yaml(kind: Option<&str>) -> Result<String, CrdError> {
    let selected: Vec<_> = all_crds().into_iter().filter(|crd| kind.is_none_or(|kind| answers_to(crd, kind))).collect();
    if selected.is_empty() {
        return Err(unknown_kind(kind.unwrap_or_default()));
    }
    let documents: Result<Vec<_>, _> = selected.iter().map(render).collect();
    Ok(documents?.join("---\n"))
}

fn answers_to(crd: &CustomResourceDefinition, wanted: &str) -> bool {
    let names = &crd.spec.names;
    let given = [Some(&names.kind), Some(&names.plural), names.singular.as_ref()];
    given.into_iter().flatten().chain(names.short_names.iter().flatten()).any(|name| name.eq_ignore_ascii_case(wanted))
}

fn unknown_kind(kind: &str) -> CrdError {
    let known: Vec<_> = all_crds().into_iter().map(|crd| crd.spec.names.kind).collect();
    CrdError::UnknownKind { kind: kind.to_owned(), known: known.join(", ") }
}

fn render(crd: &CustomResourceDefinition) -> Result<String, CrdError> {
    let name = || crd.metadata.name.clone().unwrap_or_default();
    serde_saphyr::to_string(crd).map_err(|source| CrdError::Render { name: name(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_by_each_of_its_names() {
        for name in ["RocketMQBinding", "rocketmqbindings", "rocketmqbinding", "rmqbind"] {
            let yaml = crd_yaml(Some(name)).unwrap();
            assert!(yaml.contains("name: rocketmqbindings.connector.rocketmq.dev"), "{name}");
            assert!(!yaml.contains("rocketmqsyncs"), "{name}");
        }
    }

    #[test]
    fn an_unknown_kind_is_told_which_there_are() {
        let message = crd_yaml(Some("Pod")).unwrap_err().to_string();
        assert!(message.contains("\"Pod\"") && message.contains("RocketMQSync"), "{message}");
    }
}
