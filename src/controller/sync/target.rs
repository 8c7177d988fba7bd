//! The target of a sync as the worker sees it.

use http::uri::Uri;
use http::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use crate::api::RocketMQSyncSpec;
use crate::api::sync::{Delay, HttpTarget};
use crate::api::sync_database::{MySqlTarget, PostgresTarget};
use crate::controller::children::Owner;
use crate::controller::error::Problem;
use crate::controller::workload::cluster::{Cluster, tls_config};
use crate::controller::workload::files::{MountedFile, path_of};
use crate::worker_config::sync as config;

use super::objects;
use super::sides::{HTTP_SIGNING_KEY, HTTP_TOKEN, TARGET_DATABASE, database_config, enabled};
use super::source::group;
use super::steps::millis;
use super::topics;

const POSTGRES_PORT: u16 = 5432;
const MYSQL_PORT: u16 = 3306;

/// The target; `cluster` is that of its connection.
///
/// # Errors
/// A field that holds no usable value.
pub fn target_config(
    spec: &RocketMQSyncSpec,
    owner: &Owner,
    cluster: Option<&Cluster>,
    files: &[MountedFile],
) -> Result<config::TargetConfig, Problem> {
    let target = &spec.target;
    if let Some(PostgresTarget { server, table, key_fields, create_table }) = &target.postgres {
        return Ok(config::TargetConfig::Postgres(config::TableTargetConfig {
            server: database_config(server, POSTGRES_PORT, files, &TARGET_DATABASE),
            table: table.clone(),
            key_fields: key_fields.clone(),
            create_table: *create_table,
        }));
    }
    if let Some(MySqlTarget { server, table, key_fields, create_table }) = &target.mysql {
        return Ok(config::TargetConfig::MySql(config::TableTargetConfig {
            server: database_config(server, MYSQL_PORT, files, &TARGET_DATABASE),
            table: table.clone(),
            key_fields: key_fields.clone(),
            create_table: *create_table,
        }));
    }
    if let Some(http) = &target.http {
        return http_config(http, files).map(config::TargetConfig::Http);
    }
    if let Some(store) = &target.object_storage {
        return objects::object_storage_config(store, files).map(config::TargetConfig::ObjectStorage);
    }
    let cluster = cluster.cloned().unwrap_or_default();
    Ok(config::TargetConfig::RocketMq(config::RocketMqTargetConfig {
        cluster_id: cluster_id(&cluster, target.cluster_id.as_deref()),
        cluster: cluster.config(),
        topic: target.topic.clone(),
        topic_map: topics::topic_map(spec)?.map(Box::new),
        group: target.producer_group.clone().unwrap_or_else(|| group(owner)),
        tag_field: target.tags.clone(),
        key_fields: target.keys.clone(),
        sharding_key_field: target.sharding_key.clone(),
        delay: target.delay.as_ref().and_then(delay),
        create_topics: target.create_topics,
    }))
}

fn http_config(http: &HttpTarget, files: &[MountedFile]) -> Result<config::HttpTargetConfig, Problem> {
    check_url(&http.url)?;
    http.headers.iter().try_for_each(|(name, value)| check_header(name, value))?;
    Ok(config::HttpTargetConfig {
        url: http.url.clone(),
        timeout_millis: millis("spec.target.http.timeout", &http.timeout)?,
        headers: http.headers.clone(),
        token_file: path_of(files, HTTP_TOKEN),
        signing_key_file: path_of(files, HTTP_SIGNING_KEY),
        tls: enabled(http.tls.as_ref()).map(|tls| tls_config(tls, files, &TARGET_DATABASE.tls)),
    })
}

/// A URL that can be posted to, and that holds no credential: it stands in a ConfigMap and in messages.
fn check_url(url: &str) -> Result<(), Problem> {
    let no_url = |why: &str| {
        let example = "write for instance https://hooks.example.com/orders";
        Problem::invalid_spec(format!("spec.target.http.url: {url:?} is no URL: {why}; {example}"))
    };
    let uri = url.parse::<Uri>().map_err(|error| no_url(&error.to_string()))?;
    let authority = uri.authority().ok_or_else(|| no_url("it has no host"))?;
    let behind = authority.as_str().rsplit('@').next().and_then(|text| text.strip_prefix(authority.host()));
    if authority.host().is_empty() || (behind != Some("") && authority.port_u16().is_none()) {
        return Err(no_url("its host or port cannot be used"));
    }
    if authority.as_str().contains('@') {
        return Err(Problem::invalid_spec(
            "spec.target.http.url: has a user name before the host; remove it, and put a token into spec.target.http.token",
        ));
    }
    Ok(())
}

/// A header that can be sent and that is not made by the worker.
fn check_header(name: &str, value: &str) -> Result<(), Problem> {
    let field = format!("spec.target.http.headers.{name}");
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| Problem::invalid_spec(format!("{field}: is no header name; use letters, digits and -")))?;
    if HeaderValue::from_str(value).is_err() {
        return Err(Problem::invalid_spec(format!(
            "{field}: holds what a header cannot; use printable ASCII characters"
        )));
    }
    let remedy = match parsed.as_str() {
        "authorization" => "put the token into spec.target.http.token",
        "x-signature" | "idempotency-key" | "content-length" | "transfer-encoding" | "connection" | "host" => {
            "remove it"
        }
        _ => return Ok(()),
    };
    Err(Problem::invalid_spec(format!("{field}: is set by the worker; {remedy}")))
}

fn delay(delay: &Delay) -> Option<config::DelayConfig> {
    match (delay.level.and_then(|level| u8::try_from(level).ok()), &delay.field) {
        (Some(level), _) => Some(config::DelayConfig::Level(level)),
        (None, Some(field)) => Some(config::DelayConfig::Field(field.clone())),
        (None, None) => None,
    }
}

/// Name of a cluster for the loop guard: the one that the sync gives, else one that is the same for the same addresses.
pub fn cluster_id(cluster: &Cluster, given: Option<&str>) -> String {
    if let Some(given) = given {
        return given.to_owned();
    }
    let config = cluster.config();
    let mut parts = config.name_servers;
    parts.sort();
    parts.extend(config.name_server_domain);
    parts.push(config.instance_id.unwrap_or_default());
    Sha256::digest(parts.join(";").as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
