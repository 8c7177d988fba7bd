//! Transforms, batches and policies of a sync as the worker sees them.

use cel::Program;

use crate::api::RocketMQSyncSpec;
use crate::api::quantity::{ByteSize, Duration};
use crate::api::sync::{
    Batch, CastType, DeletePolicy, ErrorPolicy, InsertPolicy, InvalidPolicy, RecordFormat, SyncMode, Transform,
    UpdatePolicy, WritePolicy,
};
use crate::controller::error::Problem;
use crate::worker_config::sync as config;

/// Writers from topics to topics where the spec names none.
const TOPIC_WRITERS: usize = 4;

/// The steps, and what is wrong with them.
pub fn transforms(spec: &RocketMQSyncSpec) -> (Vec<config::TransformConfig>, Vec<Problem>) {
    let (mut steps, mut problems) = (Vec::new(), Vec::new());
    for (number, transform) in spec.transforms.iter().enumerate() {
        let place = format!("spec.transforms[{number}]");
        problems.extend(expressions(transform, &place));
        problems.extend(raw_problem(spec.format, transform, &place));
        steps.extend(step(transform));
    }
    (steps, problems)
}

fn step(transform: &Transform) -> Option<config::TransformConfig> {
    let Transform { filter, map, rename, add, drop, cast, mask, route } = transform.clone();
    let filter = filter.map(config::TransformConfig::Filter);
    let map = map.map(config::TransformConfig::Map);
    let rename = rename.map(config::TransformConfig::Rename);
    let add = add.map(config::TransformConfig::Add);
    let drop = drop.map(config::TransformConfig::Drop);
    let mask = mask.map(config::TransformConfig::Mask);
    let route = route.map(config::TransformConfig::Route);
    let cast = cast.map(|casts| casts.into_iter().map(|(field, to)| (field, cast_type(to))).collect());
    let cast = cast.map(config::TransformConfig::Cast);
    filter.or(map).or(rename).or(add).or(drop).or(cast).or(mask).or(route)
}

/// Expressions that do not parse.
fn expressions(transform: &Transform, place: &str) -> Vec<Problem> {
    let single = [("filter", &transform.filter), ("route", &transform.route)];
    let single = single.into_iter().filter_map(|(name, text)| Some((format!("{place}.{name}"), text.as_ref()?)));
    let mapped = transform.map.iter().flatten().map(|(field, text)| (format!("{place}.map.{field}"), text));
    let check = |(field, text): (String, &String)| {
        let error = Program::compile(text).err()?;
        let why = error.to_string();
        let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
        Some(Problem::invalid_spec(format!(
            "{field}: {text:?} is no CEL expression: {why}; write for instance record.amount > 0"
        )))
    };
    single.chain(mapped).filter_map(check).collect()
}

/// A raw body has no fields to change.
fn raw_problem(format: RecordFormat, transform: &Transform, place: &str) -> Option<Problem> {
    let changes = [
        ("map", transform.map.is_some()),
        ("rename", transform.rename.is_some()),
        ("add", transform.add.is_some()),
        ("drop", transform.drop.is_some()),
        ("cast", transform.cast.is_some()),
        ("mask", transform.mask.is_some()),
    ];
    let (name, _) = changes.into_iter().find(|(_, set)| *set && format == RecordFormat::Raw)?;
    Some(Problem::invalid_spec(format!(
        "{place}.{name}: spec.format: Raw has no fields; use Json, Tapdata or Debezium, or remove the step"
    )))
}

fn cast_type(to: CastType) -> config::Cast {
    match to {
        CastType::String => config::Cast::String,
        CastType::Integer => config::Cast::Integer,
        CastType::Number => config::Cast::Number,
        CastType::Boolean => config::Cast::Boolean,
        CastType::Timestamp => config::Cast::Timestamp,
    }
}

/// What is read.
pub fn mode(mode: SyncMode) -> config::Mode {
    match mode {
        SyncMode::Full => config::Mode::Full,
        SyncMode::Incremental => config::Mode::Incremental,
        SyncMode::FullAndIncremental => config::Mode::FullAndIncremental,
    }
}

/// How bodies are read and written.
pub fn format(format: RecordFormat) -> config::Format {
    match format {
        RecordFormat::Json => config::Format::Json,
        RecordFormat::Tapdata => config::Format::Tapdata,
        RecordFormat::Debezium => config::Format::Debezium,
        RecordFormat::Raw => config::Format::Raw,
    }
}

/// Writers in a worker. Between topics there are several: while one waits for the broker's answer about the slowest queue of its batch,
/// the others go on.
pub fn writers(spec: &RocketMQSyncSpec) -> usize {
    let is_between_topics = spec.source.connection_ref.is_some() && spec.target.connection_ref.is_some();
    let default = if is_between_topics { TOPIC_WRITERS } else { 1 };
    spec.batch.writers.map_or(default, |writers| usize::try_from(writers).unwrap_or(1).max(1))
}

/// Bounds of a batch.
///
/// # Errors
/// A text that is no size or no duration.
pub fn batch(batch: &Batch) -> Result<config::BatchConfig, Problem> {
    Ok(config::BatchConfig {
        max_records: u32::try_from(batch.max_records).unwrap_or(1).max(1),
        max_bytes: bytes("spec.batch.maxBytes", &batch.max_bytes)?,
        max_wait_millis: millis("spec.batch.maxWait", &batch.max_wait)?,
    })
}

/// Write policies.
pub fn write(policy: Option<&WritePolicy>) -> config::WriteConfig {
    let policy = policy.cloned().unwrap_or_default();
    config::WriteConfig {
        insert: match policy.insert {
            InsertPolicy::UpdateOnExists => config::OnExists::Update,
            InsertPolicy::IgnoreOnExists => config::OnExists::Ignore,
            InsertPolicy::JustInsert => config::OnExists::Fail,
        },
        update: match policy.update {
            UpdatePolicy::InsertOnMissing => config::OnMissing::Insert,
            UpdatePolicy::IgnoreOnMissing => config::OnMissing::Ignore,
            UpdatePolicy::LogOnMissing => config::OnMissing::Log,
        },
        delete: match policy.delete {
            DeletePolicy::IgnoreOnMissing => config::OnMissing::Ignore,
            DeletePolicy::LogOnMissing => config::OnMissing::Log,
        },
    }
}

/// Error policy.
///
/// # Errors
/// A text that is no duration.
pub fn errors(policy: &ErrorPolicy) -> Result<config::ErrorConfig, Problem> {
    let retry_for = policy.retry_for.as_ref().map(|limit| millis("spec.errors.retryFor", limit)).transpose()?;
    Ok(config::ErrorConfig {
        retry_interval_millis: millis("spec.errors.retryInterval", &policy.retry_interval)?,
        retry_for_millis: retry_for,
        on_invalid: match policy.on_invalid {
            InvalidPolicy::Stop => config::OnInvalid::Stop,
            InvalidPolicy::Skip => {
                config::OnInvalid::Skip { limit: policy.skip_limit.and_then(|limit| u64::try_from(limit).ok()) }
            }
            InvalidPolicy::DeadLetter => config::OnInvalid::DeadLetter { topic: policy.dead_letter_topic.clone() },
        },
    })
}

/// Milliseconds of a duration.
///
/// # Errors
/// The text is none.
pub fn millis(field: &str, text: &Duration) -> Result<u64, Problem> {
    let message = || format!("{field}: {:?} is no duration; write for instance 500ms, 10s or 5m", text.0);
    let duration = text.to_std().ok_or_else(|| Problem::invalid_spec(message()))?;
    Ok(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Bytes of a size.
///
/// # Errors
/// The text is none.
pub fn bytes(field: &str, text: &ByteSize) -> Result<u64, Problem> {
    let message = || format!("{field}: {:?} is no size; write for instance 1Mi", text.0);
    text.bytes().ok_or_else(|| Problem::invalid_spec(message()))
}
