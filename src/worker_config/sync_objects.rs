//! Objects of an object store, or files of a folder, as the target of a sync.

use serde::{Deserialize, Serialize};

use super::connection::TlsFiles;

/// Objects of an object store, or files of a folder, as target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectStorageTargetConfig {
    /// Where objects are kept.
    pub store: StoreConfig,
    /// Format of the objects.
    pub file_format: FileFormat,
    /// How their content is compressed.
    pub compression: Compression,
    /// Folders that objects are laid in, by the time at which their records were stored.
    pub partition_by: PartitionBy,
    /// Bytes at which an object is closed.
    pub roll_bytes: u64,
    /// Records at which an object is closed; none means any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll_records: Option<u64>,
    /// Age in milliseconds at which an object is closed.
    pub roll_millis: u64,
    /// Bytes that all open objects may take in memory.
    pub buffer_bytes: u64,
}

/// Where objects are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum StoreConfig {
    /// A bucket of S3, or of what speaks its protocol.
    S3(Box<S3Config>),
    /// A folder of a mounted volume.
    Folder {
        /// Its absolute path.
        path: String,
    },
}

/// A bucket of S3, or of what speaks its protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct S3Config {
    /// Name of the bucket.
    pub bucket: String,
    /// What keys begin with, without slashes at its ends; may be empty.
    pub prefix: String,
    /// URL of the service; none means that of AWS in the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Region that requests are signed for.
    pub region: String,
    /// Whether the bucket is part of the host name, and not of the path.
    pub is_virtual_hosted: bool,
    /// Files of the access key; none means what the pod's identity gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeyFiles>,
    /// TLS settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
}

/// Files of an access key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyFiles {
    /// File of its id.
    pub access_key: String,
    /// File of its secret.
    pub secret_key: String,
}

/// Format of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileFormat {
    /// One JSON object a line.
    JsonLines,
    /// Parquet.
    Parquet,
}

/// How the content of objects is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    /// Not at all.
    None,
    /// Gzip; not in Parquet.
    Gzip,
    /// Snappy; only in Parquet.
    Snappy,
    /// Zstandard.
    Zstd,
}

/// Folders that objects are laid in, by the time (UTC) at which their records were stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartitionBy {
    /// `dt=2026-11-27/hh=04`.
    Hour,
    /// `dt=2026-11-27`.
    Day,
    /// None.
    None,
}
