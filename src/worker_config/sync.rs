//! Role of a sync worker: source → transforms → target.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::connection::{ClusterConfig, TlsFiles};
use super::verify::VerifyConfig;

pub use super::sync_objects::{
    Compression, FileFormat, KeyFiles, ObjectStorageTargetConfig, PartitionBy, S3Config, StoreConfig,
};
pub use super::sync_source::{
    DatabaseConfig, Ddl, FilterConfig, HeartbeatSource, MySqlSourceConfig, PostgresSourceConfig, RocketMqSourceConfig,
    SourceConfig, StartOffset, SyncStart,
};
pub use super::sync_target::{DelayConfig, HttpTargetConfig, RocketMqTargetConfig, TableTargetConfig, TargetConfig};
pub use super::sync_topics::{DiscoveryConfig, PatternError, TopicMap, TopicMapConfig};

/// A data pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SyncConfig {
    /// Stable name of the pipeline, `namespace/name`: the key of its checkpoints in a target database.
    pub name: String,
    /// Where records come from.
    pub source: SourceConfig,
    /// Where records go.
    pub target: TargetConfig,
    /// What is read of a database.
    pub mode: Mode,
    /// How bodies are read, and written where the target is RocketMQ.
    pub format: Format,
    /// Steps that each record goes through, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transforms: Vec<TransformConfig>,
    /// How many records are written at once.
    pub batch: BatchConfig,
    /// Writers that share the partitions of the source between them, 1 to 16.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub writers: usize,
    /// What is done where the target already has a row, or lacks it.
    pub write: WriteConfig,
    /// What is done when something fails.
    pub errors: ErrorConfig,
    /// How source and target are compared; none compares nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifyConfig>,
}

fn one() -> usize {
    1
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_one(writers: &usize) -> bool {
    *writers == 1
}

/// What is read of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// What is there, once.
    Full,
    /// Changes as they come.
    Incremental,
    /// What is there, then changes.
    FullAndIncremental,
}

/// How bodies are read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// A JSON object: the row, or the message.
    Json,
    /// TapData's: a JSON object with the operation in the property `mqOp`.
    Tapdata,
    /// Debezium's change event.
    Debezium,
    /// Bytes that are passed on unchanged.
    Raw,
}

/// A step that each record goes through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum TransformConfig {
    /// CEL expression; a record for which it is false is left out.
    Filter(String),
    /// Field to CEL expression that gives its value.
    Map(BTreeMap<String, String>),
    /// Old field name to new field name.
    Rename(BTreeMap<String, String>),
    /// Field to constant text.
    Add(BTreeMap<String, String>),
    /// Fields to remove.
    Drop(Vec<String>),
    /// Field to type.
    Cast(BTreeMap<String, Cast>),
    /// Fields whose values are replaced by a digest.
    Mask(Vec<String>),
    /// CEL expression that gives the target topic or table.
    Route(String),
}

/// Type that a field is converted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cast {
    /// Text.
    String,
    /// A whole number of 64 bits.
    Integer,
    /// A floating-point number of 64 bits.
    Number,
    /// True or false.
    Boolean,
    /// A moment, RFC 3339.
    Timestamp,
}

/// How many records are written at once: whichever bound is reached first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchConfig {
    /// Most records.
    pub max_records: u32,
    /// Most bytes.
    pub max_bytes: u64,
    /// Longest time in milliseconds that a record waits for others.
    pub max_wait_millis: u64,
}

/// What is done where the target already has a row, or lacks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WriteConfig {
    /// An insert of a row that exists.
    pub insert: OnExists,
    /// An update of a row that is missing.
    pub update: OnMissing,
    /// A deletion of a row that is missing: `Ignore` or `Log`.
    pub delete: OnMissing,
}

/// What becomes of an insert of a row that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnExists {
    /// It becomes an update.
    Update,
    /// It is left out.
    Ignore,
    /// It is an error.
    Fail,
}

/// What becomes of a change of a row that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnMissing {
    /// It becomes an insert.
    Insert,
    /// It is left out.
    Ignore,
    /// It is left out and logged.
    Log,
}

/// What is done when a record cannot be processed or the target cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ErrorConfig {
    /// Milliseconds between two tries to write.
    pub retry_interval_millis: u64,
    /// Milliseconds after which the sync stops trying; none means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_for_millis: Option<u64>,
    /// What is done with a record that can never be processed.
    pub on_invalid: OnInvalid,
}

/// What is done with a record that can never be processed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum OnInvalid {
    /// The sync stops and names the record.
    Stop,
    /// It is counted and left out.
    Skip {
        /// Number after which the sync stops; none means any number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
    },
    /// It goes to a topic with the reason in its properties.
    DeadLetter {
        /// The topic; none means the group's own, `%DLQ%group`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topic: Option<String>,
    },
}

impl SyncConfig {
    /// The RocketMQ clusters of both sides.
    pub fn clusters_mut(&mut self) -> Vec<&mut ClusterConfig> {
        let mut clusters = Vec::new();
        if let SourceConfig::RocketMq(source) = &mut self.source {
            clusters.push(&mut source.cluster);
        }
        if let TargetConfig::RocketMq(target) = &mut self.target {
            clusters.push(&mut target.cluster);
        }
        clusters
    }

    /// Paths of mounted files that are not a RocketMQ cluster's.
    pub fn files_mut(&mut self) -> Vec<&mut String> {
        let mut files: Vec<&mut String> = Vec::new();
        match &mut self.source {
            SourceConfig::RocketMq(_) => {}
            SourceConfig::Postgres(source) => files.extend(source.server.files_mut()),
            SourceConfig::MySql(source) => files.extend(source.server.files_mut()),
        }
        match &mut self.target {
            TargetConfig::RocketMq(_) => {}
            TargetConfig::Postgres(target) | TargetConfig::MySql(target) => files.extend(target.server.files_mut()),
            TargetConfig::Http(target) => {
                files.extend(target.token_file.as_mut());
                files.extend(target.signing_key_file.as_mut());
                files.extend(target.tls.iter_mut().flat_map(tls_files_mut));
            }
            TargetConfig::ObjectStorage(target) => {
                if let StoreConfig::S3(store) = &mut target.store {
                    files.extend(store.keys.iter_mut().flat_map(|keys| [&mut keys.access_key, &mut keys.secret_key]));
                    files.extend(store.tls.iter_mut().flat_map(tls_files_mut));
                }
            }
        }
        files
    }
}

impl DatabaseConfig {
    fn files_mut(&mut self) -> Vec<&mut String> {
        let mut files = vec![&mut self.username_file, &mut self.password_file];
        files.extend(self.tls.iter_mut().flat_map(tls_files_mut));
        files
    }
}

fn tls_files_mut(tls: &mut TlsFiles) -> impl Iterator<Item = &mut String> {
    [&mut tls.ca, &mut tls.client_certificate, &mut tls.client_key].into_iter().flatten()
}
