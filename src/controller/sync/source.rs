//! The source of a sync as the worker sees it.

use crate::api::RocketMQSyncSpec;
use crate::api::connection::Heartbeat;
use crate::api::position::{Position, StartFrom};
use crate::api::sync::MessageFilter;
use crate::api::sync_database::DdlPolicy;
use crate::controller::children::Owner;
use crate::controller::error::Problem;
use crate::controller::names;
use crate::controller::workload::cluster::Cluster;
use crate::controller::workload::files::MountedFile;
use crate::worker_config::sync as config;

use super::sides::{SOURCE_DATABASE, database_config};
use super::target::cluster_id;
use super::topics;

const POSTGRES_PORT: u16 = 5432;
const MYSQL_PORT: u16 = 3306;

/// The source; `cluster` is that of its connection, and `heartbeat` what that connection writes.
///
/// # Errors
/// A field that holds no usable value.
pub fn source_config(
    spec: &RocketMQSyncSpec,
    owner: &Owner,
    cluster: Option<&Cluster>,
    heartbeat: Option<&Heartbeat>,
    files: &[MountedFile],
) -> Result<config::SourceConfig, Problem> {
    let source = &spec.source;
    if let Some(postgres) = &source.postgres {
        let derived = || names::database_object(&owner.namespace, &owner.name);
        return Ok(config::SourceConfig::Postgres(config::PostgresSourceConfig {
            server: database_config(&postgres.server, POSTGRES_PORT, files, &SOURCE_DATABASE),
            tables: postgres.tables.clone(),
            slot: postgres.slot_name.clone().unwrap_or_else(derived),
            publication: postgres.publication.clone().unwrap_or_else(derived),
            ddl: ddl(postgres.ddl),
        }));
    }
    if let Some(mysql) = &source.mysql {
        let derived = || names::server_id(&owner.namespace, &owner.name);
        let given = mysql.server_id.and_then(|id| u32::try_from(id).ok());
        return Ok(config::SourceConfig::MySql(config::MySqlSourceConfig {
            server: database_config(&mysql.server, MYSQL_PORT, files, &SOURCE_DATABASE),
            tables: mysql.tables.clone(),
            slot: names::database_object(&owner.namespace, &owner.name),
            server_id: given.unwrap_or_else(derived),
            ddl: ddl(mysql.ddl),
        }));
    }
    let cluster = cluster.cloned().unwrap_or_default();
    Ok(config::SourceConfig::RocketMq(config::RocketMqSourceConfig {
        cluster_id: cluster_id(&cluster, source.cluster_id.as_deref()),
        cluster: cluster.config(),
        topics: source.topics.clone(),
        discovery: topics::discovery(spec, heartbeat)?,
        heartbeat: heartbeat.filter(|heartbeat| heartbeat.enabled).and_then(heartbeat_source),
        filter: filter(source.filter.as_ref()),
        group: source.consumer_group.clone().unwrap_or_else(|| group(owner)),
        start_from: start_from(source.start_from.as_ref())?,
    }))
}

/// None where the interval is none: the connection tells that itself.
fn heartbeat_source(heartbeat: &Heartbeat) -> Option<config::HeartbeatSource> {
    let interval = heartbeat.interval.to_std()?;
    let interval_millis = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    Some(config::HeartbeatSource { topic: heartbeat.topic.clone(), interval_millis })
}

/// The group of a sync that names none.
pub fn group(owner: &Owner) -> String {
    names::group(&owner.namespace, &format!("{}_sync", owner.name))
}

fn ddl(policy: DdlPolicy) -> config::Ddl {
    match policy {
        DdlPolicy::Stop => config::Ddl::Stop,
        DdlPolicy::Ignore => config::Ddl::Ignore,
        DdlPolicy::Forward => config::Ddl::Forward,
    }
}

fn filter(filter: Option<&MessageFilter>) -> config::FilterConfig {
    let filter = filter.cloned().unwrap_or_default();
    match (filter.tags, filter.sql) {
        (Some(tags), _) => config::FilterConfig::Tags(tags),
        (None, Some(sql)) => config::FilterConfig::Sql(sql),
        (None, None) => config::FilterConfig::All,
    }
}

fn start_from(start_from: Option<&StartFrom>) -> Result<config::SyncStart, Problem> {
    let Some(start_from) = start_from else { return Ok(config::SyncStart::Last) };
    let missing = |field: &str, position: &str| {
        let message = format!("spec.source.startFrom.{field}: is missing; position: {position} needs it");
        Problem::invalid_spec(message)
    };
    Ok(match start_from.position {
        Position::First => config::SyncStart::First,
        Position::Last => config::SyncStart::Last,
        Position::Timestamp => {
            let time = start_from.timestamp.as_ref().ok_or_else(|| missing("timestamp", "Timestamp"))?;
            config::SyncStart::Timestamp(time.0.as_millisecond())
        }
        Position::Offsets => {
            let offsets = start_from.offsets.as_ref().ok_or_else(|| missing("offsets", "Offsets"))?;
            let start = |offset: &crate::api::position::QueueOffset| config::StartOffset {
                topic: offset.topic.clone(),
                broker: offset.broker.clone(),
                queue: offset.queue,
                offset: offset.offset,
            };
            config::SyncStart::Offsets(offsets.iter().map(start).collect())
        }
    })
}
