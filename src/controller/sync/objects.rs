//! Object storage as the target of a sync.

use crate::api::quantity::{ByteSize, Duration};
use crate::api::sync_objects::{AddressingStyle, Compression, FileFormat, ObjectStorageTarget, PartitionBy};
use crate::controller::error::Problem;
use crate::controller::workload::cluster::tls_config;
use crate::controller::workload::files::{MountedFile, path_of};
use crate::controller::workload::pod::ClaimedVolume;
use crate::worker_config::sync as config;

use super::sides::{STORE_ACCESS_KEY, STORE_SECRET_KEY, TARGET_DATABASE, enabled};
use super::steps::{bytes, millis};

/// What holds when the spec says nothing.
const ROLL_BYTES: u64 = 128 << 20;
const ROLL_MILLIS: u64 = 300_000;
const BUFFER_BYTES: u64 = 24 << 20;
const REGION: &str = "us-east-1";
/// Least memory for open objects: one part of an upload that waits and one that gathers, of 5 MiB, come close to it.
const LEAST_BUFFER_BYTES: u64 = 8 << 20;
/// Largest object: of parts of 5 MiB, S3 takes 10,000.
const MOST_ROLL_BYTES: u64 = 40 << 30;

/// The target as the worker sees it.
///
/// # Errors
/// A field that holds no usable value.
pub fn object_storage_config(
    store: &ObjectStorageTarget,
    files: &[MountedFile],
) -> Result<config::ObjectStorageTargetConfig, Problem> {
    let size = |name: &str, size: Option<&ByteSize>, default: u64| {
        size.map_or(Ok(default), |size| bytes(&format!("spec.target.objectStorage.{name}"), size))
    };
    let age = |age: &Duration| millis("spec.target.objectStorage.rollInterval", age);
    let (roll_bytes, buffer_bytes) = (
        size("rollSize", store.roll_size.as_ref(), ROLL_BYTES)?,
        size("bufferSize", store.buffer_size.as_ref(), BUFFER_BYTES)?,
    );
    if roll_bytes > MOST_ROLL_BYTES {
        return Err(Problem::invalid_spec(
            "spec.target.objectStorage.rollSize: is more than 40Gi; set it to 40Gi or less",
        ));
    }
    if buffer_bytes < LEAST_BUFFER_BYTES {
        return Err(Problem::invalid_spec(
            "spec.target.objectStorage.bufferSize: is less than 8Mi; set it to 8Mi or more",
        ));
    }
    let file_format = match store.file_format {
        FileFormat::JsonLines => config::FileFormat::JsonLines,
        FileFormat::Parquet => config::FileFormat::Parquet,
    };
    Ok(config::ObjectStorageTargetConfig {
        store: store_config(store, files)?,
        file_format,
        compression: compression(store.compression, file_format),
        partition_by: match store.partition_by {
            PartitionBy::Hour => config::PartitionBy::Hour,
            PartitionBy::Day => config::PartitionBy::Day,
            PartitionBy::None => config::PartitionBy::None,
        },
        roll_bytes,
        roll_records: store.roll_records.and_then(|records| u64::try_from(records).ok()),
        roll_millis: store.roll_interval.as_ref().map_or(Ok(ROLL_MILLIS), age)?,
        buffer_bytes,
    })
}

fn store_config(store: &ObjectStorageTarget, files: &[MountedFile]) -> Result<config::StoreConfig, Problem> {
    if let Some(path) = folder(store) {
        return Ok(config::StoreConfig::Folder { path: path.to_owned() });
    }
    let place = store.url.strip_prefix("s3://").unwrap_or_default();
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let prefix = prefix.trim_matches('/');
    if prefix.split('/').any(|part| matches!(part, "." | "..")) {
        return Err(Problem::invalid_spec(format!(
            "spec.target.objectStorage.url: {:?} has a folder . or .., which stores take for another; name it otherwise",
            store.url
        )));
    }
    let keys = path_of(files, STORE_ACCESS_KEY).zip(path_of(files, STORE_SECRET_KEY));
    Ok(config::StoreConfig::S3(Box::new(config::S3Config {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        endpoint: store.endpoint.clone(),
        region: store.region.clone().unwrap_or_else(|| REGION.to_owned()),
        is_virtual_hosted: store.addressing_style == Some(AddressingStyle::Virtual),
        keys: keys.map(|(access_key, secret_key)| config::KeyFiles { access_key, secret_key }),
        tls: enabled(store.tls.as_ref()).map(|tls| tls_config(tls, files, &TARGET_DATABASE.tls)),
    })))
}

fn compression(given: Option<Compression>, format: config::FileFormat) -> config::Compression {
    match (given, format) {
        (Some(Compression::None), _) => config::Compression::None,
        (Some(Compression::Gzip), _) | (None, config::FileFormat::JsonLines) => config::Compression::Gzip,
        (Some(Compression::Snappy), _) | (None, config::FileFormat::Parquet) => config::Compression::Snappy,
        (Some(Compression::Zstd), _) => config::Compression::Zstd,
    }
}

/// The folder of a file URL.
fn folder(store: &ObjectStorageTarget) -> Option<&str> {
    let path = store.url.strip_prefix("file://")?;
    Some(if path == "/" { path } else { path.trim_end_matches('/') })
}

/// The volume that the workers of a sync need.
pub fn volume(store: Option<&ObjectStorageTarget>) -> Option<ClaimedVolume> {
    let store = store?;
    let (claim, path) = store.persistent_volume_claim.clone().zip(folder(store))?;
    Some(ClaimedVolume { claim, path: path.to_owned() })
}
