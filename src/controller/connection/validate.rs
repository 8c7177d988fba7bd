//! Checks a RocketMQConnection and gives what building needs; later steps never see the custom resource.

use kube::ResourceExt;

use crate::api::RocketMQConnection;
use crate::api::connection::ConnectionType;
use crate::api::workload::DesiredState;
use crate::controller::children::Owner;
use crate::controller::error::{Error, Problem};
use crate::controller::settings::Settings;
use crate::controller::workload::cluster::Cluster;
use crate::controller::workload::lookup::Found;
use crate::controller::workload::pod::Workload;
use crate::controller::workload::template::Template;
use crate::worker_config::connection::Usage;

use super::COMPONENT;
use super::dereference::cluster;

/// Seconds that the worker may take to end: it has nothing in flight.
const GRACE_SECONDS: u32 = 30;

/// A connection that can be built.
#[derive(Clone, PartialEq)]
pub struct ValidatedConnection {
    /// What its pod needs.
    pub workload: Workload,
    /// The cluster.
    pub cluster: Cluster,
    /// What the connection is used for.
    pub usage: Usage,
    /// Topics that must exist.
    pub topics: Vec<String>,
    /// Seconds between two tests.
    pub test_interval_seconds: u64,
    /// Number of pods: 1, or none while paused.
    pub replicas: i32,
}

/// Checks `connection` against its own rules and against what it names.
///
/// # Errors
/// [`Error::Invalid`] names every field that is wrong; [`Error::Unresolved`] names everything that is missing.
pub fn validate(
    connection: &RocketMQConnection,
    found: &Found,
    settings: &Settings,
) -> Result<ValidatedConnection, Error> {
    let (spec, cluster) = (&connection.spec, cluster(&connection.spec));
    let mut problems = cluster.problems();
    let template = Template::check(spec.template.as_ref()).unwrap_or_else(|problem| {
        problems.push(problem);
        Template::default()
    });
    let Some(test_interval) = spec.test_interval.to_std() else {
        let text = &spec.test_interval.0;
        problems.push(Problem::invalid_spec(format!(
            "spec.testInterval: {text:?} is no duration; write for instance 30s or 5m"
        )));
        return Err(Error::Invalid(problems));
    };
    if !problems.is_empty() {
        return Err(Error::Invalid(problems));
    }
    let missing = found.problems(&cluster.files, &connection.namespace().unwrap_or_default());
    if !missing.is_empty() {
        return Err(Error::Unresolved(missing));
    }
    Ok(ValidatedConnection {
        workload: Workload {
            owner: Owner::of(connection, COMPONENT),
            image: settings.worker_image.clone(),
            image_pull_policy: settings.worker_image_pull_policy.clone(),
            admin_port: settings.worker_admin_port,
            files: cluster.files.clone(),
            agent: cluster.agent.clone(),
            template,
            grace_seconds: GRACE_SECONDS,
            leave_seconds: 0,
        },
        cluster,
        usage: usage(spec.connection_type),
        topics: spec.topics.clone(),
        test_interval_seconds: test_interval.as_secs().max(1),
        replicas: i32::from(spec.state == DesiredState::Running),
    })
}

fn usage(connection_type: ConnectionType) -> Usage {
    match connection_type {
        ConnectionType::Source => Usage::Source,
        ConnectionType::Target => Usage::Target,
        ConnectionType::SourceAndTarget => Usage::SourceAndTarget,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn connection(spec: Value) -> RocketMQConnection {
        let object = json!({
            "apiVersion": "connector.rocketmq.dev/v1alpha1",
            "kind": "RocketMQConnection",
            "metadata": {"name": "main", "namespace": "shop", "uid": "u"},
            "spec": spec,
        });
        serde_json::from_value(object).unwrap()
    }

    fn check(spec: Value) -> Result<ValidatedConnection, Error> {
        validate(&connection(spec), &Found::default(), &Settings::new("operators", "operator-0", "image"))
    }

    #[test]
    fn paused_means_no_pods() {
        let replicas = |state: &str| check(json!({"nameServers": ["a"], "state": state})).unwrap().replicas;
        assert_eq!((replicas("Running"), replicas("Paused")), (1, 0));
    }

    #[test]
    fn tls_that_is_switched_off_needs_no_files() {
        let tls = json!({"enabled": false, "ca": {"configMapKeyRef": {"name": "ca", "key": "ca.crt"}}});
        assert!(check(json!({"nameServers": ["a"], "tls": tls})).unwrap().workload.files.is_empty());
    }

    #[test]
    fn everything_that_is_missing_is_named() {
        let reference = |key: &str| json!({"secretKeyRef": {"name": "acl", "key": key}});
        let error = check(json!({
            "nameServers": ["a"],
            "credentials": {"accessKey": reference("user"), "secretKey": reference("password")},
            "tls": {"ca": {"configMapKeyRef": {"name": "trust", "key": "ca.crt"}}},
        }))
        .err()
        .unwrap();
        assert!(matches!(error, Error::Unresolved(_)));
        for field in ["spec.credentials.accessKey", "spec.credentials.secretKey", "spec.tls.ca: ConfigMap \"trust\""] {
            assert!(error.to_string().contains(field), "{error}");
        }
    }

    #[test]
    fn ports_and_overrides_are_checked_together() {
        let error =
            check(json!({"nameServers": ["a:0"], "template": {"podOverrides": {"spec": {"nope": 1}}}})).err().unwrap();
        assert!(matches!(error, Error::Invalid(_)));
        assert!(error.to_string().contains("spec.nameServers") && error.to_string().contains("spec.nope"), "{error}");
    }
}
