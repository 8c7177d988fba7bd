//! Checks a RocketMQBinding and gives what building needs; later steps never see the custom resource.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::ResourceExt;
use sha2::{Digest, Sha256};

use crate::api::binding::{
    AccessProto, App, AppProtocol, Backoff, BackoffPolicy, DataEncoding, Delivery, Direction, Payload,
};
use crate::api::condition::reasons;
use crate::api::connection::ConnectionType;
use crate::api::position::{Position, StartFrom};
use crate::api::quantity;
use crate::api::reference::ConnectionRef;
use crate::api::workload::{Autoscaling, DesiredState};
use crate::api::{RocketMQBinding, RocketMQBindingSpec};
use crate::controller::children::Owner;
use crate::controller::error::{Error, Problem};
use crate::controller::settings::Settings;
use crate::controller::workload::cluster::Cluster;
use crate::controller::workload::files::path_of;
use crate::controller::workload::pod::Workload;
use crate::controller::workload::template::Template;
use crate::worker_config::binding as config;

use super::COMPONENT;
use super::dereference::{API_TOKEN, APP_TOKEN, Dereferenced, cluster, own_files};
use super::http;

/// Shortest time that a pod gets to finish what is in flight, in seconds.
const SHORTEST_GRACE_SECONDS: u64 = 30;

/// Seconds that callers of the API get to hear that a pod is leaving.
const LEAVE_SECONDS: u32 = 3;

/// Longest group name that is derived from a binding's name: the broker's retry topic of the group must fit, too.
const DERIVED_GROUP_LIMIT: usize = 96;

/// A binding that can be built.
#[derive(Clone, PartialEq)]
pub struct ValidatedBinding {
    /// What its pods need.
    pub workload: Workload,
    /// The cluster.
    pub cluster: Cluster,
    /// Topics with their expressions.
    pub topics: Vec<config::TopicConfig>,
    /// Consumer and producer group.
    pub group: String,
    /// Attempts to connect before a failure is reported.
    pub retries: u32,
    /// Delivery to the app.
    pub input: Option<config::InputConfig>,
    /// The API.
    pub output: Option<config::OutputConfig>,
    /// Number of pods; none leaves it to others.
    pub replicas: Option<i32>,
    /// Bounds and targets of the autoscaler.
    pub autoscaling: Option<Autoscaling>,
}

/// Checks `binding` against its own rules and against what it names.
///
/// # Errors
/// [`Error::Invalid`] names every field that is wrong; [`Error::Unresolved`] names everything that is missing.
pub fn validate(
    binding: &RocketMQBinding,
    dereferenced: &Dereferenced,
    settings: &Settings,
) -> Result<ValidatedBinding, Error> {
    let (spec, namespace) = (&binding.spec, binding.namespace().unwrap_or_default());
    let cluster = cluster(spec, dereferenced.connection.as_ref());
    let mut problems = http::problems(spec);
    problems.extend(port_conflict(spec, settings));
    problems.extend(lag_of_an_output(spec));
    if spec.connection_ref.is_none() && spec.access_proto != AccessProto::Http {
        problems.extend(cluster.problems());
    }
    let template = collect(&mut problems, Template::check(spec.template.as_ref())).unwrap_or_default();
    let input = collect(&mut problems, input(binding, &namespace)).flatten();
    let output = collect(&mut problems, output(spec)).flatten();
    if !problems.is_empty() {
        return Err(Error::Invalid(problems));
    }
    let files: Vec<_> = cluster.files.iter().cloned().chain(own_files(spec)).collect();
    let mut missing = connection_problems(spec, dereferenced, &cluster, &namespace);
    missing.extend(dereferenced.found.problems(&files, &namespace));
    if !missing.is_empty() {
        return Err(Error::Unresolved(missing));
    }
    let input = input.map(|input| config::InputConfig { api_token_file: path_of(&files, APP_TOKEN), ..input });
    let output = output.map(|output| config::OutputConfig { token_file: path_of(&files, API_TOKEN), ..output });
    let owner = Owner::of(binding, COMPONENT);
    Ok(ValidatedBinding {
        group: group(spec, &owner),
        workload: Workload {
            owner,
            image: settings.worker_image.clone(),
            image_pull_policy: settings.worker_image_pull_policy.clone(),
            admin_port: settings.worker_admin_port,
            files,
            agent: cluster.agent.clone(),
            template,
            grace_seconds: grace_seconds(input.as_ref()),
            leave_seconds: if output.is_some() { LEAVE_SECONDS } else { 0 },
            volume: None,
            has_large_buffers: false,
        },
        cluster,
        topics: spec.topics.iter().map(|topic| topic_config(topic)).collect(),
        retries: u32::try_from(spec.retries).unwrap_or_default(),
        input,
        output,
        replicas: replicas(spec),
        autoscaling: spec.autoscaling.clone(),
    })
}

/// Time for what is in delivery to the app, and some to spare.
fn grace_seconds(input: Option<&config::InputConfig>) -> u32 {
    let timeout = input.map_or(0, |input| input.timeout_millis.div_ceil(1000));
    let needed = timeout.saturating_add(15 + u64::from(LEAVE_SECONDS));
    u32::try_from(SHORTEST_GRACE_SECONDS.max(needed)).unwrap_or(u32::MAX)
}

/// The value, or nothing and one more problem.
fn collect<Value>(problems: &mut Vec<Problem>, result: Result<Value, Problem>) -> Option<Value> {
    result.map_err(|problem| problems.push(problem)).ok()
}

/// Nothing waits for an output.
fn lag_of_an_output(spec: &RocketMQBindingSpec) -> Option<Problem> {
    let asked = spec.autoscaling.as_ref().is_some_and(|autoscaling| autoscaling.target_lag.is_some());
    (asked && spec.direction == Direction::Output).then(|| {
        Problem::invalid_spec(
            "spec.autoscaling.targetLag: no messages wait for a binding of direction Output; use targetCPUUtilizationPercentage",
        )
    })
}

fn port_conflict(spec: &RocketMQBindingSpec, settings: &Settings) -> Option<Problem> {
    let api = spec.api.as_ref().filter(|_| spec.direction != Direction::Input)?;
    let admin = i32::from(settings.worker_admin_port);
    let ports = [("httpPort", api.http_port, 3500), ("grpcPort", api.grpc_port, 50_001)];
    let (field, port, other) = ports.into_iter().find(|(_, port, _)| *port == admin)?;
    let message = format!("spec.api.{field}: {port} is the worker's admin port; choose another, such as {other}");
    Some(Problem::invalid_spec(message))
}

fn connection_problems(
    spec: &RocketMQBindingSpec,
    dereferenced: &Dereferenced,
    cluster: &Cluster,
    namespace: &str,
) -> Vec<Problem> {
    let Some(ConnectionRef { name }) = &spec.connection_ref else { return Vec::new() };
    let Some(connection) = &dereferenced.connection else {
        let message = format!(
            "spec.connectionRef: RocketMQConnection {name:?} does not exist in namespace {namespace:?}; create it, or name another"
        );
        return vec![Problem::new(reasons::CONNECTION_NOT_FOUND, message)];
    };
    let not_accepted = cluster.problems().into_iter().map(|problem| {
        let message = format!("spec.connectionRef: RocketMQConnection {name:?} is not valid: {}", problem.message);
        Problem::new(reasons::CONNECTION_NOT_ACCEPTED, message)
    });
    not_accepted.chain(type_mismatch(spec.direction, name, connection.connection_type)).collect()
}

fn type_mismatch(direction: Direction, name: &str, connection_type: ConnectionType) -> Option<Problem> {
    let needs = match (connection_type, direction) {
        (ConnectionType::Source, Direction::Output | Direction::InputOutput) => "Target or SourceAndTarget",
        (ConnectionType::Target, Direction::Input | Direction::InputOutput) => "Source or SourceAndTarget",
        _ => return None,
    };
    let message = format!(
        "spec.direction: {direction:?} needs a connection of type {needs}, RocketMQConnection {name:?} has type {connection_type:?}; \
         change its spec.type, or the direction"
    );
    Some(Problem::new(reasons::CONNECTION_TYPE_MISMATCH, message))
}

fn input(binding: &RocketMQBinding, namespace: &str) -> Result<Option<config::InputConfig>, Problem> {
    let (spec, delivery) = (&binding.spec, binding.spec.delivery.clone().unwrap_or_default());
    let Some(app) = spec.app.as_ref().filter(|_| spec.direction != Direction::Output) else { return Ok(None) };
    Ok(Some(config::InputConfig {
        app_url: app_url(app, namespace)?,
        protocol: match app.protocol {
            AppProtocol::Http => config::AppProtocol::Http,
            AppProtocol::Grpc => config::AppProtocol::Grpc,
        },
        path: app.path.clone().unwrap_or_else(|| format!("/{}", binding.name_any())),
        routes: routes(spec, app)?,
        max_concurrency: positive(app.max_concurrency.unwrap_or(spec.consumer_thread_nums)),
        timeout_millis: millis(duration("spec.app.timeout", &app.timeout)?),
        api_token_file: None,
        batch_size: http::batch_size(spec),
        batch: app.batch,
        payload: match app.payload {
            Payload::Raw => config::Payload::Raw,
            Payload::CloudEvents => config::Payload::CloudEvents,
        },
        ordered: delivery.ordered,
        start_from: start_from(delivery.start_from.as_ref())?,
        redelivery: config::RedeliveryConfig {
            max_attempts: http::max_attempts(spec, &delivery),
            backoff: backoff(&delivery)?,
        },
        dead_letter_topic: dead_letter_topic(spec, &delivery)?,
    }))
}

fn app_url(app: &App, namespace: &str) -> Result<String, Problem> {
    let (name, plain, encrypted) = match app.protocol {
        AppProtocol::Http => ("HTTP", "http", "https"),
        AppProtocol::Grpc => ("GRPC", "grpc", "grpcs"),
    };
    match (&app.url, &app.service) {
        (Some(url), _) if url.split_once("://").is_some_and(|(scheme, _)| scheme == plain || scheme == encrypted) => {
            Ok(url.trim_end_matches('/').to_owned())
        }
        (Some(url), _) => Err(Problem::invalid_spec(format!(
            "spec.app.url: {url:?} does not fit protocol {name}; start it with {plain}:// or {encrypted}://"
        ))),
        (None, Some(service)) => Ok(format!("{plain}://{}.{namespace}.svc:{}", service.name, service.port)),
        (None, None) => Err(Problem::invalid_spec("spec.app: has neither url nor service; set one of them")),
    }
}

/// Paths by topic. A gRPC app has one method for all, and tells topics apart by the metadata.
fn routes(spec: &RocketMQBindingSpec, app: &App) -> Result<BTreeMap<String, String>, Problem> {
    let problem = |message: String| Err(Problem::invalid_spec(message));
    if app.protocol == AppProtocol::Grpc && (app.path.is_some() || !app.routes.is_empty()) {
        let field = if app.path.is_some() { "path" } else { "routes" };
        return problem(format!(
            "spec.app.{field}: is for protocol HTTP; remove it, a GRPC app finds the topic in the metadata rocketmq-topic"
        ));
    }
    let topics: BTreeSet<String> = spec.topics.iter().map(|topic| topic_config(topic).topic).collect();
    if let Some(route) = app.routes.iter().find(|route| !topics.contains(&route.topic)) {
        return problem(format!(
            "spec.app.routes: topic {:?} is not one of spec.topics; add it there, or remove the route",
            route.topic
        ));
    }
    Ok(app.routes.iter().map(|route| (route.topic.clone(), route.path.clone())).collect())
}

/// The dead-letter topic of the spec, which the input must not read itself: a message would go round for ever.
fn dead_letter_topic(spec: &RocketMQBindingSpec, delivery: &Delivery) -> Result<Option<String>, Problem> {
    let Some(topic) = delivery.dead_letter.as_ref().map(|dead_letter| &dead_letter.topic) else { return Ok(None) };
    if spec.topics.iter().any(|own| topic_config(own).topic == *topic) {
        return Err(Problem::invalid_spec(format!(
            "spec.delivery.deadLetter.topic: {topic:?} is one of spec.topics, so that the message would come again for ever; \
             name another topic"
        )));
    }
    Ok(Some(topic.clone()))
}

fn start_from(start_from: Option<&StartFrom>) -> Result<config::StartFrom, Problem> {
    let Some(start_from) = start_from else { return Ok(config::StartFrom::Last) };
    match (start_from.position, &start_from.timestamp) {
        (Position::First, _) => Ok(config::StartFrom::First),
        (Position::Last, _) => Ok(config::StartFrom::Last),
        (Position::Timestamp, Some(time)) => Ok(config::StartFrom::Timestamp(time.0.as_millisecond())),
        (Position::Timestamp, None) => {
            Err(Problem::invalid_spec("spec.delivery.startFrom.timestamp: is missing; position: Timestamp needs it"))
        }
        (Position::Offsets, _) => Err(Problem::invalid_spec(
            "spec.delivery.startFrom.position: Offsets is for RocketMQSync; use First, Last or Timestamp",
        )),
    }
}

fn backoff(delivery: &Delivery) -> Result<config::Backoff, Problem> {
    let Backoff { policy, interval, initial_interval, max_interval } = &delivery.backoff;
    let wait = |name: &str, given: &Option<quantity::Duration>| {
        let field = format!("spec.delivery.backoff.{name}");
        let given = given
            .as_ref()
            .ok_or_else(|| Problem::invalid_spec(format!("{field}: is missing; policy: {policy:?} needs it")))?;
        duration(&field, given).map(millis)
    };
    match policy {
        BackoffPolicy::BrokerLevels => Ok(config::Backoff::BrokerLevels),
        BackoffPolicy::Constant => Ok(config::Backoff::Constant { millis: wait("interval", interval)? }),
        BackoffPolicy::Exponential => Ok(config::Backoff::Exponential {
            initial_millis: wait("initialInterval", initial_interval)?,
            max_millis: wait("maxInterval", max_interval)?,
        }),
    }
}

fn output(spec: &RocketMQBindingSpec) -> Result<Option<config::OutputConfig>, Problem> {
    if spec.direction == Direction::Input {
        return Ok(None);
    }
    let api = spec.api.clone().unwrap_or_default();
    let size = &api.max_body_size.0;
    let port = |field: &str, port: i32| {
        let message = || format!("spec.api.{field}: {port} is no port; use one from 1024 to 65535");
        u16::try_from(port).map_err(|_| Problem::invalid_spec(message()))
    };
    let no_size =
        || Problem::invalid_spec(format!("spec.api.maxBodySize: {size:?} is no size; write for instance 4Mi"));
    Ok(Some(config::OutputConfig {
        host: "0.0.0.0".to_owned(),
        http_port: port("httpPort", api.http_port)?,
        grpc_port: port("grpcPort", api.grpc_port)?,
        token_file: None,
        max_body_bytes: api.max_body_size.bytes().ok_or_else(no_size)?,
        data_encoding: match api.data_encoding {
            DataEncoding::Json => config::DataEncoding::Json,
            DataEncoding::Text => config::DataEncoding::Text,
            DataEncoding::Base64 => config::DataEncoding::Base64,
        },
    }))
}

fn duration(field: &str, text: &quantity::Duration) -> Result<Duration, Problem> {
    let message = || format!("{field}: {:?} is no duration; write for instance 500ms, 10s or 5m", text.0);
    text.to_std().ok_or_else(|| Problem::invalid_spec(message()))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn positive(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(1).max(1)
}

pub(super) fn topic_config(topic: &str) -> config::TopicConfig {
    match topic.split_once("||") {
        Some((topic, expression)) => {
            config::TopicConfig { topic: topic.to_owned(), expression: Some(expression.trim().to_owned()) }
        }
        None => config::TopicConfig { topic: topic.to_owned(), expression: None },
    }
}

/// The group of the spec, or one derived from namespace and name: letters, digits, `-` and `_`, unique in the cluster.
fn group(spec: &RocketMQBindingSpec, owner: &Owner) -> String {
    if let Some(group) = &spec.consumer_group {
        return group.clone();
    }
    let full = format!("{}_{}", owner.namespace, owner.name);
    if full.len() <= DERIVED_GROUP_LIMIT && !full.contains('.') {
        return full;
    }
    let hash: String = Sha256::digest(full.as_bytes()).iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    let mut stem = full.replace('.', "-");
    stem.truncate(DERIVED_GROUP_LIMIT - hash.len() - 1);
    format!("{stem}-{hash}")
}

/// `state` wins over `replicas`; an autoscaler's number is its own.
fn replicas(spec: &RocketMQBindingSpec) -> Option<i32> {
    match spec.state {
        DesiredState::Running if spec.autoscaling.is_some() => None,
        DesiredState::Running => spec.replicas,
        DesiredState::Paused | DesiredState::Stopped => Some(0),
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
