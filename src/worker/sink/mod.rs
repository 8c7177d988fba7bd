//! Where records are written. A sink is asked for one batch after the other and answers when the target has it durably.

pub mod http;
pub mod mysql;
pub mod objects;
pub mod postgres;
pub mod rocketmq;
pub mod table;

use std::future::Future;
use std::time::Instant;

use self::http::HttpSink;
use super::error::reported;
use super::record::{Position, Record};
use super::sync::Setting;
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::TargetConfig;
use mysql::MySqlConnection;
use objects::ObjectSink;
use postgres::PostgresConnection;
use rocketmq::RocketMqSink;
use table::TableSink;

/// A target of records.
///
/// The batches of one sink come one after the other, and the records of a partition in the order of their positions, also
/// across batches. After a crash or a failed write records come again from the last acknowledged position of each
/// partition: a sink that keeps positions in its target leaves those out that it has.
pub trait Sink: Send {
    /// Writes a batch. When this returns `Ok`, the target has every record durably (or has left it out by policy), apart from what
    /// the sink [gathers](Self::gathered).
    ///
    /// # Errors
    /// See [`WriteError`]: nothing is assumed about which records of the batch were written, unless it is transactional.
    fn write(&mut self, batch: &[Record]) -> impl Future<Output = Result<Written, WriteError>> + Send;

    /// What was taken by [`write`](Self::write) and is not durable yet; nothing, unless the sink gathers records over many batches.
    fn gathered(&self) -> Gathered {
        Gathered::default()
    }

    /// The first record of a partition that was taken and is not durable yet.
    fn first_gathered(&self, _partition: &str) -> Option<&Position> {
        None
    }

    /// Gives up what is gathered of the partitions whose first gathered record is not held any more: another worker has them and gathers
    /// the same. Of these, nothing counts as durable until they are begun anew.
    fn let_go(&mut self, _is_held: impl Fn(&Position) -> bool + Send) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// The first records of what was given up since it was asked last, because another worker has made a part of it durable: how far
    /// it got tells only what is read again. Of these, nothing counts as durable until they are begun anew.
    fn overtaken(&mut self) -> Vec<Position> {
        Vec::new()
    }

    /// Makes durable what is due, or everything that is gathered.
    ///
    /// # Errors
    /// See [`WriteError`]; what is gathered stays so, and this is tried again.
    fn finish(&mut self, _everything: bool) -> impl Future<Output = Result<Written, WriteError>> + Send {
        async { Ok(Written::default()) }
    }

    /// Ends the sink: connections are closed, and what is still gathered is given up.
    ///
    /// # Errors
    /// It could not be ended; the records since the last `Ok` come again.
    fn close(self) -> impl Future<Output = Result<(), WriteError>> + Send;
}

/// What a sink has taken and the target does not have durably yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gathered {
    /// Number of records.
    pub records: u64,
    /// When the first of them was taken.
    pub oldest: Option<Instant>,
    /// When [`Sink::finish`] is to be called although no more records come.
    pub due: Option<Instant>,
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
    /// The source's time of the newest record that became durable, where that is not the newest of the batch.
    pub newest_millis: Option<i64>,
}

impl Written {
    /// Adds what became of others.
    pub fn add(&mut self, other: &Self) {
        self.written += other.written;
        self.repeated += other.repeated;
        self.left_out += other.left_out;
        self.resent += other.resent;
        self.newest_millis = self.newest_millis.max(other.newest_millis);
    }
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
    /// Objects of an object store, or files.
    Objects(Box<ObjectSink>),
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
            TargetConfig::ObjectStorage(config) => {
                ObjectSink::open(setting, config).await.map(|sink| Self::Objects(Box::new(sink)))
            }
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
            Self::Objects(sink) => sink.write(batch).await,
        }
    }

    fn gathered(&self) -> Gathered {
        match self {
            Self::Objects(sink) => sink.gathered(),
            _ => Gathered::default(),
        }
    }

    fn first_gathered(&self, partition: &str) -> Option<&Position> {
        match self {
            Self::Objects(sink) => sink.first_gathered(partition),
            _ => None,
        }
    }

    async fn let_go(&mut self, is_held: impl Fn(&Position) -> bool + Send) {
        if let Self::Objects(sink) = self {
            sink.let_go(is_held).await;
        }
    }

    fn overtaken(&mut self) -> Vec<Position> {
        match self {
            Self::Objects(sink) => sink.overtaken(),
            _ => Vec::new(),
        }
    }

    async fn finish(&mut self, everything: bool) -> Result<Written, WriteError> {
        match self {
            Self::Objects(sink) => sink.finish(everything).await,
            _ => Ok(Written::default()),
        }
    }

    async fn close(self) -> Result<(), WriteError> {
        match self {
            Self::RocketMq(sink) => sink.close().await,
            Self::Postgres(sink) => sink.close().await,
            Self::MySql(sink) => sink.close().await,
            Self::Http(sink) => sink.close().await,
            Self::Objects(sink) => sink.close().await,
        }
    }
}
