//! Checks a RocketMQConnection and gives what building needs; later steps never see the custom resource.

use kube::ResourceExt;

use crate::api::connection::ConnectionType;
use crate::api::workload::DesiredState;
use crate::api::{RocketMQConnection, RocketMQConnectionSpec};
use crate::controller::children::Owner;
use crate::controller::error::{Error, Problem};
use crate::controller::settings::Settings;
use crate::controller::workload::cluster::Cluster;
use crate::controller::workload::lookup::Found;
use crate::controller::workload::pod::Workload;
use crate::controller::workload::template::Template;
use crate::worker_config::connection::{HeartbeatConfig, ModelsConfig, Usage, time_zone};

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
    /// Queues of topics to create.
    pub create_topics: Option<u32>,
    /// Group to test.
    pub consumer_group: Option<String>,
    /// Seconds between two tests.
    pub test_interval_seconds: u64,
    /// How models are loaded.
    pub models: Option<ModelsConfig>,
    /// The heartbeat.
    pub heartbeat: Option<HeartbeatConfig>,
    /// Whether something uses the connection.
    pub in_use: bool,
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
    in_use: bool,
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
    let models = models(spec).unwrap_or_else(|found| {
        problems.extend(found);
        None
    });
    let heartbeat = heartbeat(connection).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
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
            volume: None,
            has_large_buffers: false,
        },
        cluster,
        usage: usage(spec.connection_type),
        topics: spec.topics.clone(),
        create_topics: spec.create_topics.as_ref().map(|create| u32::try_from(create.queues).unwrap_or(1).max(1)),
        consumer_group: spec.consumer_group.clone(),
        test_interval_seconds: test_interval.as_secs().max(1),
        models,
        heartbeat,
        in_use,
        replicas: i32::from(spec.state == DesiredState::Running),
    })
}

/// Models are loaded unless the spec says otherwise.
fn models(spec: &RocketMQConnectionSpec) -> Result<Option<ModelsConfig>, Vec<Problem>> {
    let load = spec.model_load.clone().unwrap_or_default();
    if !load.enabled {
        return Ok(None);
    }
    let mut problems = Vec::new();
    if time_zone(&load.time_zone).is_none() {
        let message = format!(
            "spec.modelLoad.timeZone: {:?} is not known; write an IANA name such as Asia/Shanghai",
            load.time_zone
        );
        problems.push(Problem::invalid_spec(message));
    }
    let interval = load.interval.to_std().filter(|interval| interval.as_secs() >= 10);
    if interval.is_none() {
        let message =
            format!("spec.modelLoad.interval: {:?} is shorter than 10s; write for instance 1h", load.interval.0);
        problems.push(Problem::invalid_spec(message));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let positive = |number: i32| u32::try_from(number).unwrap_or(1).max(1);
    Ok(Some(ModelsConfig {
        interval_seconds: interval.unwrap_or_default().as_secs(),
        threshold: positive(load.threshold),
        daily_at: load.daily_at.0,
        time_zone: load.time_zone,
        sample_size: positive(load.sample_size),
    }))
}

fn heartbeat(connection: &RocketMQConnection) -> Result<Option<HeartbeatConfig>, Problem> {
    let Some(heartbeat) = connection.spec.heartbeat.clone().filter(|heartbeat| heartbeat.enabled) else {
        return Ok(None);
    };
    let interval = heartbeat.interval.to_std().filter(|interval| interval.as_secs() >= 1);
    let interval = interval.ok_or_else(|| {
        let text = &heartbeat.interval.0;
        Problem::invalid_spec(format!("spec.heartbeat.interval: {text:?} is shorter than 1s; write for instance 10s"))
    })?;
    Ok(Some(HeartbeatConfig {
        topic: heartbeat.topic,
        interval_millis: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
        id: connection.uid().unwrap_or_else(|| connection.name_any()),
    }))
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
        validate(&connection(spec), &Found::default(), false, &Settings::new("operators", "operator-0", "image"))
    }

    #[test]
    fn paused_means_no_pods() {
        let replicas = |state: &str| check(json!({"nameServers": ["a"], "state": state})).unwrap().replicas;
        assert_eq!((replicas("Running"), replicas("Paused")), (1, 0));
    }

    #[test]
    fn models_are_loaded_unless_switched_off_and_heartbeats_only_when_asked_for() {
        let plain = check(json!({"nameServers": ["a"]})).unwrap();
        assert_eq!(plain.models.map(|models| (models.interval_seconds, models.threshold)), Some((3600, 10_000)));
        assert_eq!(plain.heartbeat, None);
        let set = check(json!({"nameServers": ["a"], "modelLoad": {"enabled": false}, "heartbeat": {}})).unwrap();
        assert_eq!(set.models, None);
        let heartbeat = set.heartbeat.unwrap();
        assert_eq!(
            (heartbeat.topic.as_str(), heartbeat.interval_millis, heartbeat.id.as_str()),
            ("_tapdata_heartbeat_table", 10_000, "u")
        );
    }

    #[test]
    fn zones_and_intervals_that_cannot_be_used_are_named_together() {
        let spec = json!({"nameServers": ["a"], "modelLoad": {"timeZone": "Mars/Base", "interval": "1s"}, "heartbeat": {"interval": "500ms"}});
        let text = check(spec).err().unwrap().to_string();
        for field in [
            "spec.modelLoad.timeZone: \"Mars/Base\"",
            "spec.modelLoad.interval: \"1s\"",
            "spec.heartbeat.interval: \"500ms\"",
        ] {
            assert!(text.contains(field), "{text}");
        }
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
