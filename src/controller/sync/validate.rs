//! Checks a RocketMQSync and gives what building needs; later steps never see the custom resource.

use kube::ResourceExt;

use crate::api::condition::reasons;
use crate::api::connection::{Agent, ConnectionType};
use crate::api::reference::ConnectionRef;
use crate::api::sync::InvalidPolicy;
use crate::api::workload::Autoscaling;
use crate::api::{RocketMQConnectionSpec, RocketMQSync, RocketMQSyncSpec};
use crate::controller::children::Owner;
use crate::controller::error::{Error, Problem};
use crate::controller::settings::Settings;
use crate::controller::workload::agent;
use crate::controller::workload::cluster::Cluster;
use crate::controller::workload::pod::Workload;
use crate::controller::workload::scaling;
use crate::controller::workload::template::Template;
use crate::worker_config::SyncConfig;

use super::COMPONENT;
use super::dereference::Dereferenced;
use super::objects;
use super::sides::{files, source_cluster, target_cluster};
use super::source::source_config;
use super::steps;
use super::target::target_config;
use super::topics;
use super::verify;

/// Time that a pod gets to write its last batch, in seconds.
const GRACE_SECONDS: u32 = 45;

/// A sync that can be built.
#[derive(Clone, PartialEq)]
pub struct ValidatedSync {
    /// What its pods need.
    pub workload: Workload,
    /// What its workers do.
    pub config: SyncConfig,
    /// Number of pods; none leaves it to others.
    pub replicas: Option<i32>,
    /// Bounds and targets of the autoscaler.
    pub autoscaling: Option<Autoscaling>,
}

/// Checks `sync` against its own rules and against what it names.
///
/// # Errors
/// [`Error::Invalid`] names every field that is wrong; [`Error::Unresolved`] names everything that is missing.
pub fn validate(sync: &RocketMQSync, dereferenced: &Dereferenced, settings: &Settings) -> Result<ValidatedSync, Error> {
    let (spec, namespace) = (&sync.spec, sync.namespace().unwrap_or_default());
    let owner = Owner::of(sync, COMPONENT);
    let (source, target) = (dereferenced.source.as_ref(), dereferenced.target.as_ref());
    let (source_cluster, target_cluster) = (source_cluster(spec, source), target_cluster(spec, target));
    let files = files(spec, source, target);
    let mut problems = not_implemented(spec);
    problems.extend(contradictions(spec));
    let heartbeat = source.and_then(|connection| connection.heartbeat.as_ref());
    problems.extend(topics::problems(spec, heartbeat));
    problems.extend(verify::problems(spec));
    let (transforms, wrong) = steps::transforms(spec);
    problems.extend(wrong);
    let template = collect(&mut problems, Template::check(spec.template.as_ref())).unwrap_or_default();
    let source_side = collect(&mut problems, source_config(spec, &owner, source_cluster.as_ref(), heartbeat, &files));
    let target_side = collect(&mut problems, target_config(spec, &owner, target_cluster.as_ref(), &files));
    let batch = collect(&mut problems, steps::batch(&spec.batch));
    let errors = collect(&mut problems, steps::errors(&spec.errors));
    let verify = collect(&mut problems, verify::verify_config(spec));
    let (Some(source_side), Some(target_side), Some(batch), Some(errors), Some(verify), true) =
        (source_side, target_side, batch, errors, verify, problems.is_empty())
    else {
        return Err(Error::Invalid(problems));
    };
    let mut missing =
        side_problems("source", spec.source.connection_ref.as_ref(), source, source_cluster.as_ref(), &namespace);
    missing.extend(side_problems(
        "target",
        spec.target.connection_ref.as_ref(),
        target,
        target_cluster.as_ref(),
        &namespace,
    ));
    missing.extend(dereferenced.found.problems(&files, &namespace));
    if !missing.is_empty() {
        return Err(Error::Unresolved(missing));
    }
    let agent = placement(spec, source_cluster.as_ref(), target_cluster.as_ref())
        .map_err(|problem| Error::Invalid(vec![problem]))?;
    Ok(ValidatedSync {
        config: SyncConfig {
            name: format!("{namespace}/{}", owner.name),
            source: source_side,
            target: target_side,
            mode: steps::mode(spec.mode),
            format: steps::format(spec.format),
            transforms,
            batch,
            writers: steps::writers(spec),
            write: steps::write(spec.write.as_ref()),
            errors,
            verify,
        },
        workload: Workload {
            owner,
            image: settings.worker_image.clone(),
            image_pull_policy: settings.worker_image_pull_policy.clone(),
            admin_port: settings.worker_admin_port,
            files,
            agent,
            template,
            grace_seconds: GRACE_SECONDS,
            leave_seconds: 0,
            volume: objects::volume(spec.target.object_storage.as_ref()),
            has_large_buffers: spec.target.object_storage.is_some(),
        },
        replicas: scaling::replicas(spec.state, spec.replicas, spec.autoscaling.as_ref()),
        autoscaling: spec.autoscaling.clone(),
    })
}

/// The value, or nothing and one more problem.
fn collect<Value>(problems: &mut Vec<Problem>, result: Result<Value, Problem>) -> Option<Value> {
    result.map_err(|problem| problems.push(problem)).ok()
}

/// Where the workers run, as the agents of both connections have it.
fn placement(
    spec: &RocketMQSyncSpec,
    source: Option<&Cluster>,
    target: Option<&Cluster>,
) -> Result<Option<Agent>, Problem> {
    let references = [(spec.source.connection_ref.as_ref(), source), (spec.target.connection_ref.as_ref(), target)];
    let agents: Vec<_> = references
        .into_iter()
        .filter_map(|(reference, cluster)| Some((reference?.name.as_str(), cluster?.agent.as_ref())))
        .collect();
    agent::agree(&agents).map(Option::<&Agent>::cloned)
}

/// Fields that the schema has and this version does not act on: better refused than ignored.
fn not_implemented(spec: &RocketMQSyncSpec) -> Vec<Problem> {
    let checks =
        [(spec.source.use_log_cache == Some(true), "spec.source.useLogCache: is not available yet; remove it")];
    let asked = checks.into_iter().filter(|(asked, _)| *asked);
    asked.map(|(_, message)| Problem::new(reasons::NOT_IMPLEMENTED, message)).collect()
}

/// Fields that exclude each other, beyond what admission checks.
fn contradictions(spec: &RocketMQSyncSpec) -> Vec<Problem> {
    let has_route = spec.transforms.iter().any(|transform| transform.route.is_some());
    let same = spec.source.connection_ref.is_some() && spec.source.connection_ref == spec.target.connection_ref;
    let one_stream = spec.source.postgres.is_some() || spec.source.mysql.is_some();
    let has_no_cluster = spec.source.connection_ref.is_none() && spec.target.connection_ref.is_none();
    let most = spec.autoscaling.as_ref().map(|autoscaling| autoscaling.max_replicas).max(spec.replicas);
    let checks = [
        (
            spec.target.topic.is_some() && has_route,
            "spec.target.topic: a route gives the topic of each record; remove target.topic, or the route",
        ),
        (
            spec.target.topic_mapping.is_some() && has_route,
            "spec.target.topicMapping: a route gives the topic of each record; remove target.topicMapping, or the route",
        ),
        (
            same && spec.target.topic.is_none() && spec.target.topic_mapping.is_none() && !has_route,
            "spec.target.topic: is missing, and both sides are one connection, so that each message would come back to its own \
             topic; name another topic, or another connection",
        ),
        (
            has_no_cluster && spec.errors.on_invalid == InvalidPolicy::DeadLetter,
            "spec.errors.onInvalid: DeadLetter needs a RocketMQ cluster on one side; use Stop or Skip",
        ),
        (
            one_stream && most > Some(1),
            "spec.replicas: a database has one replication stream, which one worker reads; set it to 1",
        ),
        (
            one_stream && spec.batch.writers > Some(1),
            "spec.batch.writers: the changes of a database are one sequence, which one writer keeps in order; set it to 1",
        ),
        (
            spec.target.object_storage.is_some() && spec.batch.writers > Some(1),
            "spec.batch.writers: one writer gathers the objects of all queues, within target.objectStorage.bufferSize; set it to 1, \
             or raise replicas",
        ),
    ];
    let wrong = checks.into_iter().filter(|(wrong, _)| *wrong);
    wrong.map(|(_, message)| Problem::invalid_spec(message)).collect()
}

fn side_problems(
    side: &str,
    reference: Option<&ConnectionRef>,
    connection: Option<&RocketMQConnectionSpec>,
    cluster: Option<&Cluster>,
    namespace: &str,
) -> Vec<Problem> {
    let Some(ConnectionRef { name }) = reference else { return Vec::new() };
    let (Some(connection), Some(cluster)) = (connection, cluster) else {
        let message = format!(
            "spec.{side}.connectionRef: RocketMQConnection {name:?} does not exist in namespace {namespace:?}; create it, or name another"
        );
        return vec![Problem::new(reasons::CONNECTION_NOT_FOUND, message)];
    };
    let not_accepted = cluster.problems().into_iter().map(|problem| {
        let message =
            format!("spec.{side}.connectionRef: RocketMQConnection {name:?} is not valid: {}", problem.message);
        Problem::new(reasons::CONNECTION_NOT_ACCEPTED, message)
    });
    not_accepted.chain(type_mismatch(side, name, connection.connection_type)).collect()
}

fn type_mismatch(side: &str, name: &str, connection_type: ConnectionType) -> Option<Problem> {
    let needs = match (connection_type, side) {
        (ConnectionType::Source, "target") => "Target or SourceAndTarget",
        (ConnectionType::Target, "source") => "Source or SourceAndTarget",
        _ => return None,
    };
    let message = format!(
        "spec.{side}.connectionRef: a {side} needs a connection of type {needs}, RocketMQConnection {name:?} has type \
         {connection_type:?}; change its spec.type, or name another"
    );
    Some(Problem::new(reasons::CONNECTION_TYPE_MISMATCH, message))
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
