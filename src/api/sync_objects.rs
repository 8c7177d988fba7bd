//! Objects of an object store, or files on a volume, as the target of a sync.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{ByteSize, Duration};
use super::reference::{Credential, Tls};

/// Objects of an object store, or files on a volume: each record once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "self.url.startsWith('s3://') || !(has(self.endpoint) || has(self.region) || has(self.addressingStyle) || \
         has(self.accessKey) || has(self.secretKey) || has(self.tls))",
    )
    .message("target.objectStorage.endpoint, region, addressingStyle, accessKey, secretKey and tls go with an s3 URL; remove them"),
    validation = Rule::new("self.url.startsWith('file://') || !has(self.persistentVolumeClaim)")
        .message("target.objectStorage.persistentVolumeClaim goes with a file URL").field_path(".persistentVolumeClaim"),
    validation = Rule::new("has(self.accessKey) == has(self.secretKey)")
        .message("set target.objectStorage.accessKey and secretKey together, or neither").field_path(".accessKey"),
    validation = Rule::new("!has(self.tls) || !has(self.endpoint) || self.endpoint.startsWith('https://')")
        .message("target.objectStorage.tls goes with an https endpoint").field_path(".tls"),
    validation = Rule::new("!has(self.compression) || self.compression != (self.fileFormat == 'Parquet' ? 'Gzip' : 'Snappy')")
        .message("target.objectStorage.compression is None, Gzip or Zstd with JsonLines, and None, Snappy or Zstd with Parquet")
        .field_path(".compression"),
    validation = Rule::new(
        "!has(self.rollInterval) || (duration(self.rollInterval) >= duration('1s') && duration(self.rollInterval) <= duration('24h'))",
    )
    .message("target.objectStorage.rollInterval must be between 1s and 24h").field_path(".rollInterval")
)]
pub struct ObjectStorageTarget {
    /// Where objects go: s3://bucket/prefix, or file:///folder.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^(s3://[a-zA-Z0-9._-]+(/[^ ]*)?|file:///[^ ]+)$')")
        .message("target.objectStorage.url must be s3://bucket/prefix or file:///folder"))]
    pub url: String,
    /// URL of a store that speaks the protocol of S3; without it, that of AWS in the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^ ]+$')")
        .message("target.objectStorage.endpoint must be a URL such as https://minio.example.com:9000"))]
    pub endpoint: Option<String>,
    /// Region of the bucket; us-east-1 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub region: Option<String>,
    /// Where requests name the bucket; in the path without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addressing_style: Option<AddressingStyle>,
    /// Id of the access key. Without keys, the identity is used that the cloud gives to the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<Credential>,
    /// Secret of the access key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<Credential>,
    /// TLS settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Name of the PersistentVolumeClaim that is mounted at the folder of a file URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub persistent_volume_claim: Option<String>,
    /// Format of objects.
    #[serde(default)]
    pub file_format: FileFormat,
    /// How their content is compressed; Gzip for JsonLines and Snappy for Parquet without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Folders that objects are laid in, below that of their topic.
    #[serde(default)]
    pub partition_by: PartitionBy,
    /// Size at which an object is closed; 128Mi without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll_size: Option<ByteSize>,
    /// Number of records at which the objects of a queue are closed; any number without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub roll_records: Option<i64>,
    /// Age at which an object is closed, and so the longest time until a record is in the store; 5m without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll_interval: Option<Duration>,
    /// Memory that all open objects of a worker may take, at least 8Mi; 24Mi without it. When it is full, the largest are closed
    /// before they have their size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer_size: Option<ByteSize>,
}

/// Where requests name the bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AddressingStyle {
    /// In the path: https://endpoint/bucket.
    #[default]
    Path,
    /// In the host name: https://bucket.endpoint.
    Virtual,
}

/// Format of objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FileFormat {
    /// One JSON object a line.
    #[default]
    JsonLines,
    /// Parquet.
    Parquet,
}

/// How the content of objects is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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

/// Folders that objects are laid in, by the time (UTC) at which the broker stored their records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PartitionBy {
    /// dt=2026-11-27/hh=04.
    #[default]
    Hour,
    /// dt=2026-11-27.
    Day,
    /// None.
    None,
}
