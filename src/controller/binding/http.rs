//! What `accessProto: http` changes about a binding: fields that the Aliyun MQ HTTP protocol has no request for are refused, so
//! that nothing is ignored in silence.

use crate::api::RocketMQBindingSpec;
use crate::api::binding::{AccessProto, BackoffPolicy, Delivery};
use crate::controller::error::Problem;

use super::validate::{positive, topic_config};

/// Most messages of one request.
const MAX_BATCH: i32 = 16;
/// Defaults of the schema, which stand for "not given".
const DEFAULT_BATCH: i32 = 32;
const DEFAULT_ATTEMPTS: i32 = 16;
/// Longest tag expression as it is sent, so that the request line stays within the 1024 characters that the service takes.
const MAX_EXPRESSION: usize = 560;

fn is_http(spec: &RocketMQBindingSpec) -> bool {
    spec.access_proto == AccessProto::Http
}

/// Messages asked for at once: the default becomes the most that the protocol gives.
pub fn batch_size(spec: &RocketMQBindingSpec) -> u32 {
    let size = if is_http(spec) { spec.consumer_batch_size.min(MAX_BATCH) } else { spec.consumer_batch_size };
    positive(size)
}

/// Deliveries before the worker moves a message to the topic for dead letters. Without a topic the service does that alone,
/// after its own number of deliveries.
pub fn max_attempts(spec: &RocketMQBindingSpec, delivery: &Delivery) -> u32 {
    if is_http(spec) && delivery.dead_letter.is_none() { u32::MAX } else { positive(delivery.max_attempts) }
}

/// What is wrong with a binding because of `accessProto: http`.
pub fn problems(spec: &RocketMQBindingSpec) -> Vec<Problem> {
    if !is_http(spec) {
        return Vec::new();
    }
    let delivery = spec.delivery.clone().unwrap_or_default();
    let found = [endpoint(spec), addresses(spec), batch(spec), topics(spec), lag(spec)];
    let found = found.into_iter().chain([backoff(&delivery), attempts(&delivery), start(&delivery)]);
    found.flatten().map(Problem::invalid_spec).collect()
}

fn endpoint(spec: &RocketMQBindingSpec) -> Option<String> {
    let url = spec.endpoint.as_deref().unwrap_or_default().trim_end_matches('/');
    let Some((scheme, host)) = url.split_once("://") else {
        return Some(format!(
            "spec.endpoint: {url:?} is no URL; write the HTTP endpoint of the instance, such as \
             http://1234567.mqrest.cn-hangzhou.aliyuncs.com"
        ));
    };
    if host.contains(['/', '?', '#', '@']) || host.is_empty() {
        return Some(format!(
            "spec.endpoint: {url:?} has more than scheme, host and port; write {scheme}://HOST[:PORT] only"
        ));
    }
    let has_tls = spec.tls.as_ref().is_some_and(|tls| tls.enabled);
    (has_tls && scheme != "https")
        .then(|| format!("spec.tls: spec.endpoint {url:?} is not encrypted; write https://{host} there, or remove tls"))
}

fn addresses(spec: &RocketMQBindingSpec) -> Option<String> {
    let fields = [("nameServer", &spec.name_server), ("nameServerDomain", &spec.name_server_domain)];
    let (field, value) = fields.into_iter().find_map(|(field, value)| Some((field, value.as_deref()?)))?;
    Some(format!("spec.{field}: {value:?} is not used with accessProto: http; remove it, or set accessProto: tcp"))
}

fn batch(spec: &RocketMQBindingSpec) -> Option<String> {
    let size = spec.consumer_batch_size;
    (size > MAX_BATCH && size != DEFAULT_BATCH).then(|| {
        format!("spec.consumerBatchSize: {size} is more than accessProto: http gives at once; use 1 to {MAX_BATCH}, or remove it")
    })
}

fn topics(spec: &RocketMQBindingSpec) -> Option<String> {
    let expressions = spec.topics.iter().filter_map(|topic| topic_config(topic).expression);
    let as_sent =
        |text: &String| text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { 1 } else { 3 }).sum::<usize>();
    let long = expressions.into_iter().find(|expression| as_sent(expression) > MAX_EXPRESSION)?;
    Some(format!(
        "spec.topics: the expression {long:?} makes a request line that is too long for accessProto: http; name fewer or shorter \
         tags"
    ))
}

fn lag(spec: &RocketMQBindingSpec) -> Option<String> {
    let lag = spec.autoscaling.as_ref()?.target_lag?;
    Some(format!(
        "spec.autoscaling.targetLag: {lag}: with accessProto: http nobody tells how many messages wait; use \
         targetCPUUtilizationPercentage, or replicas"
    ))
}

fn backoff(delivery: &Delivery) -> Option<String> {
    let policy = delivery.backoff.policy;
    (policy != BackoffPolicy::BrokerLevels && !delivery.ordered).then(|| {
        format!(
            "spec.delivery.backoff.policy: {policy:?}: with accessProto: http the service alone decides when a message comes \
             again; remove backoff, or set delivery.ordered: true, which retries in place"
        )
    })
}

fn attempts(delivery: &Delivery) -> Option<String> {
    let attempts = delivery.max_attempts;
    (attempts != DEFAULT_ATTEMPTS && delivery.dead_letter.is_none()).then(|| {
        format!(
            "spec.delivery.maxAttempts: {attempts}: with accessProto: http a worker cannot move a message to the group's \
             dead-letter topic, which the service does after its own number of deliveries; set delivery.deadLetter.topic, or \
             remove maxAttempts"
        )
    })
}

fn start(delivery: &Delivery) -> Option<String> {
    let position = delivery.start_from.as_ref()?.position;
    Some(format!(
        "spec.delivery.startFrom.position: {position:?}: with accessProto: http the service alone knows where a group starts; set \
         it in the console of the instance, and remove startFrom"
    ))
}
