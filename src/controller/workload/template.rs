//! What users may change in worker pods: checks `spec.template` and merges it over the operator's own pod.

use k8s_openapi::DeepMerge;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

use crate::api::template::PodTemplate;
use crate::controller::error::Problem;

use super::pod::CONTAINER;

/// A `spec.template` that can be merged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Template {
    fields: PodTemplate,
    overrides: Option<PodTemplateSpec>,
}

impl Template {
    /// Checks a `spec.template`.
    ///
    /// # Errors
    /// `podOverrides` is not a pod template, or has a field that a pod template does not have.
    pub fn check(template: Option<&PodTemplate>) -> Result<Self, Problem> {
        let fields = template.cloned().unwrap_or_default();
        let overrides = fields.pod_overrides.as_ref().map(pod_overrides).transpose()?;
        Ok(Self { fields, overrides })
    }

    /// Name of the ServiceAccount that the user brings.
    #[must_use]
    pub fn service_account_name(&self) -> Option<&str> {
        self.fields.service_account_name.as_deref()
    }

    /// Merges the template over `pod`: named fields first, `podOverrides` last. What selects and protects the pods stays.
    #[must_use]
    pub fn merge_over(&self, mut pod: PodTemplateSpec) -> PodTemplateSpec {
        let protected = pod.metadata.clone().unwrap_or_default();
        self.merge_fields(&mut pod);
        if let Some(overrides) = self.overrides.clone() {
            pod.merge_from(overrides);
        }
        let meta = pod.metadata.get_or_insert_default();
        meta.labels.get_or_insert_default().extend(protected.labels.unwrap_or_default());
        meta.annotations.get_or_insert_default().extend(protected.annotations.unwrap_or_default());
        if let Some(spec) = &mut pod.spec {
            spec.automount_service_account_token = Some(false);
        }
        pod
    }

    fn merge_fields(&self, pod: &mut PodTemplateSpec) {
        let fields = self.fields.clone();
        let meta = pod.metadata.get_or_insert_default();
        meta.labels.get_or_insert_default().extend(fields.labels);
        meta.annotations.get_or_insert_default().extend(fields.annotations);
        let Some(spec) = &mut pod.spec else { return };
        spec.node_selector.get_or_insert_default().extend(fields.node_selector);
        spec.tolerations.get_or_insert_default().extend(fields.tolerations);
        spec.image_pull_secrets.get_or_insert_default().extend(fields.image_pull_secrets);
        if !fields.topology_spread_constraints.is_empty() {
            spec.topology_spread_constraints = Some(fields.topology_spread_constraints);
        }
        spec.affinity = fields.affinity.or(spec.affinity.take());
        spec.priority_class_name = fields.priority_class_name.or(spec.priority_class_name.take());
        spec.service_account_name = fields.service_account_name.or(spec.service_account_name.take());
        for container in spec.containers.iter_mut().filter(|container| container.name == CONTAINER) {
            let env = container.env.get_or_insert_default();
            // The user's variables win: a name that is there twice would be refused.
            env.retain(|ours| fields.env.iter().all(|own| own.name != ours.name));
            env.extend(fields.env.clone());
            container.resources = fields.resources.clone().or(container.resources.take());
        }
    }
}

fn pod_overrides(value: &Value) -> Result<PodTemplateSpec, Problem> {
    let field = "spec.template.podOverrides";
    let parsed: PodTemplateSpec = serde_json::from_value(value.clone()).map_err(|error| {
        Problem::invalid_spec(format!(
            "{field}: is not a pod template ({error}); write {{metadata, spec}} as in a Deployment's template"
        ))
    })?;
    let known = serde_json::to_value(&parsed).unwrap_or_default();
    match unknown_field(value, &known, field) {
        Some(path) => Err(Problem::invalid_spec(format!(
            "{path}: is not a field of a pod template; correct its name or remove it"
        ))),
        None => Ok(parsed),
    }
}

/// Path of the first field of `given` that got lost on the way to `known`. Nulls and empty values mean nothing anyway.
fn unknown_field(given: &Value, known: &Value, path: &str) -> Option<String> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            given.iter().filter(|(_, value)| !is_nothing(value)).find_map(|(name, value)| {
                let path = format!("{path}.{name}");
                match known.get(name) {
                    Some(known) => unknown_field(value, known, &path),
                    None => Some(path),
                }
            })
        }
        (Value::Array(given), Value::Array(known)) => {
            let mut pairs = given.iter().zip(known).enumerate();
            pairs.find_map(|(index, (given, known))| unknown_field(given, known, &format!("{path}[{index}]")))
        }
        _ => None,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn base() -> PodTemplateSpec {
        serde_json::from_value(json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "rocketmq-connector"}},
            "spec": {
                "automountServiceAccountToken": false,
                "containers": [{"name": "worker", "image": "i", "env": [{"name": "A", "value": "1"}]}],
            },
        }))
        .unwrap()
    }

    fn merged(template: Value) -> Value {
        let template: PodTemplate = serde_json::from_value(template).unwrap();
        serde_json::to_value(Template::check(Some(&template)).unwrap().merge_over(base())).unwrap()
    }

    #[test]
    fn containers_are_merged_by_name() {
        let pod = merged(json!({
            "env": [{"name": "RUST_LOG", "value": "debug"}, {"name": "A", "value": "2"}],
            "podOverrides": {"spec": {
                "containers": [{"name": "worker", "image": "mine"}, {"name": "side", "image": "car"}],
                "hostNetwork": true,
            }},
        }));
        let containers = pod["spec"]["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 2);
        assert_eq!(containers[0]["image"], "mine");
        let env = json!([{"name": "RUST_LOG", "value": "debug"}, {"name": "A", "value": "2"}]);
        assert_eq!(containers[0]["env"], env);
        assert_eq!(pod["spec"]["hostNetwork"], true);
    }

    #[test]
    fn selector_labels_and_the_missing_token_stay() {
        let pod = merged(json!({
            "labels": {"app.kubernetes.io/name": "other", "team": "shop"},
            "podOverrides": {
                "metadata": {"labels": {"app.kubernetes.io/name": "third"}},
                "spec": {"automountServiceAccountToken": true},
            },
        }));
        assert_eq!(pod["metadata"]["labels"], json!({"app.kubernetes.io/name": "rocketmq-connector", "team": "shop"}));
        assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    }

    #[test]
    fn wrong_overrides_are_named() {
        for (overrides, expected) in [
            (json!({"spec": {"hostNetwrk": true}}), "spec.template.podOverrides.spec.hostNetwrk: is not a field"),
            (
                json!({"spec": {"containers": [{"name": "worker", "imagee": "x"}]}}),
                "containers[0].imagee: is not a field",
            ),
            (json!({"spec": {"hostNetwork": "yes"}}), "spec.template.podOverrides: is not a pod template"),
        ] {
            let template: PodTemplate = serde_json::from_value(json!({"podOverrides": overrides})).unwrap();
            let problem = Template::check(Some(&template)).unwrap_err();
            assert!(problem.message.contains(expected), "{}", problem.message);
        }
    }
}
