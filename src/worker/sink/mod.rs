//! Where records are written. A sink is asked for one batch after the other and answers when the target has it durably.

pub mod http;
pub mod mysql;
pub mod postgres;
pub mod rocketmq;
pub mod table;

use std::future::Future;

use self::http::HttpSink;
use super::error::reported;
use super::record::Record;
use super::sync::Setting;
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::TargetConfig;
use mysql::MySqlConnection;
use postgres::PostgresConnection;
use rocketmq::RocketMqSink;
use table::TableSink;

/// A target of records.
///
/// The batches of one sink come one after the other, and the records of a partition in the order of their positions, also
/// across batches. After a crash or a failed write records come again from the last acknowledged position of each
/// partition: a sink that keeps positions in its target leaves those out that it has.
pub trait Sink: Send {
    /// Writes a batch. When this returns `Ok`, the target has every record durably (or has left it out by policy).
    ///
    /// # Errors
    /// See [`WriteError`]: nothing is assumed about which records of the batch were written, unless it is transactional.
    fn write(&mut self, batch: &[Record]) -> impl Future<Output = Result<Written, WriteError>> + Send;

    /// Ends the sink: open files are finished and connections closed.
    ///
    /// # Errors
    /// What was open could not be finished; the records since the last `Ok` come again.
    fn close(self) -> impl Future<Output = Result<(), WriteError>> + Send;
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Records that the target has because of this write.
    pub written: u64,
    /// Records that the target had already, so that they were not written again.
    pub repeated: u64,
    /// Records that were left out by the write policy or the loop guard.
    pub left_out: u64,
    /// Records that may be at the target twice, because an earlier write of them ended without an answer.
    pub resent: u64,
}

/// Why a batch was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The target cannot be reached or is busy, or a credential was refused: the same batch is tried again later.
    #[error("{message}")]
    Unavailable {
        /// CamelCase reason, usable as a condition's reason.
        reason: &'static str,
        /// What happened, with the target's own words.
        message: String,
        /// What to do about it.
        remedy: String,
    },
    /// One record can never be written: the pipeline decides by `errors.onInvalid` and writes the others again.
    #[error("{message}")]
    Invalid {
        /// Index in the batch.
        index: usize,
        /// CamelCase reason.
        reason: &'static str,
        /// What is wrong with the record, with field and value.
        message: String,
        /// What to do about it.
        remedy: String,
    },
}

impl WriteError {
    /// The error as it appears in a worker's report.
    #[must_use]
    pub fn report(&self) -> ReportedError {
        let (Self::Unavailable { reason, message, remedy } | Self::Invalid { reason, message, remedy, .. }) = self;
        reported(reason, message.clone(), remedy.clone())
    }
}

/// The sink that a configuration asks for.
pub enum AnySink {
    /// A topic of a RocketMQ cluster.
    RocketMq(Box<RocketMqSink>),
    /// Tables of a PostgreSQL database.
    Postgres(Box<TableSink<PostgresConnection>>),
    /// Tables of a MySQL or MariaDB database.
    MySql(Box<TableSink<MySqlConnection>>),
    /// An HTTP endpoint.
    Http(Box<HttpSink>),
}

impl AnySink {
    /// Opens the target of a pipeline.
    ///
    /// # Errors
    /// What is missing; opening is tried again later.
    pub async fn open(setting: &Setting) -> Result<Self, ReportedError> {
        match &setting.config.target {
            TargetConfig::RocketMq(config) => {
                RocketMqSink::open(setting, config).await.map(|sink| Self::RocketMq(Box::new(sink)))
            }
            TargetConfig::Postgres(config) => {
                TableSink::open(setting, config).await.map(|sink| Self::Postgres(Box::new(sink)))
            }
            TargetConfig::MySql(config) => {
                TableSink::open(setting, config).await.map(|sink| Self::MySql(Box::new(sink)))
            }
            TargetConfig::Http(config) => HttpSink::open(setting, config).map(|sink| Self::Http(Box::new(sink))),
            TargetConfig::ObjectStorage(_) => Err(reported(
                "NotImplemented",
                "target: this version does not write to object storage",
                "use target.connectionRef, postgres, mysql or http, or a later version",
            )),
        }
    }
}

impl Sink for AnySink {
    async fn write(&mut self, batch: &[Record]) -> Result<Written, WriteError> {
        match self {
            Self::RocketMq(sink) => sink.write(batch).await,
            Self::Postgres(sink) => sink.write(batch).await,
            Self::MySql(sink) => sink.write(batch).await,
            Self::Http(sink) => sink.write(batch).await,
        }
    }

    async fn close(self) -> Result<(), WriteError> {
        match self {
            Self::RocketMq(sink) => sink.close().await,
            Self::Postgres(sink) => sink.close().await,
            Self::MySql(sink) => sink.close().await,
            Self::Http(sink) => sink.close().await,
        }
    }
}
