//! Where records come from. A source is asked for records again and again, and told how far they are durably at the target.

pub(super) mod database;
pub mod mysql;
pub mod postgres;
pub mod rocketmq;

use std::future::Future;

use super::record::{Position, Record};
use super::sync::Setting;
use crate::worker_config::report::{ReportedError, TableProgress};
use crate::worker_config::sync::SourceConfig;
use mysql::MySqlSource;
use postgres::PostgresSource;
use rocketmq::RocketMqSource;

/// A source of records.
///
/// Records of a partition come in the order of their positions. What was read and not acknowledged comes again after a
/// restart, so a source keeps nothing but what it was told through [`acknowledge`](Self::acknowledge). Reading and
/// acknowledging happen at the same time: the next records are read while those before are still being written.
pub trait Source: Send + Sync {
    /// Waits for records: at least one and about `max` at most; none when the source has come to its end.
    ///
    /// Nothing is lost when the future is dropped before it is ready.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn read(&self, max: usize) -> impl Future<Output = Result<Vec<Record>, ReadError>> + Send;

    /// The target has everything of these partitions up to and including these positions, one for each partition.
    fn acknowledge(&self, positions: &[Position]);

    /// The target has taken everything of these partitions up to and including these positions, but not durably: nothing of it has to be
    /// held any longer but the duty to acknowledge, which comes later and in order.
    fn set_aside(&self, _positions: &[Position]) {}

    /// Whether a partition is still this worker's, as far as it was read since the record at this position: not when it has gone to another
    /// worker, to which everything comes that is not acknowledged.
    fn is_held(&self, _position: &Position) -> bool {
        true
    }

    /// Has a partition read again from what is acknowledged, as another [epoch](Position::epoch), unless that has happened since the record
    /// at this position was read. False where the source cannot do that for one partition.
    fn read_again(&self, _position: &Position) -> bool {
        false
    }

    /// Waits for a heartbeat of the source's connection, and gives when it was written, milliseconds since the Unix epoch; for ever
    /// where there is none. Nothing is lost when the future is dropped before it is ready.
    fn beat(&self) -> impl Future<Output = i64> + Send {
        std::future::pending()
    }

    /// How it stands.
    fn status(&self) -> SourceStatus;

    /// Makes what was acknowledged durable and ends the source.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// Why there are no records.
#[derive(Debug, Clone, PartialEq)]
pub enum ReadError {
    /// The source cannot be reached now: it is asked again later.
    Unavailable(ReportedError),
    /// The source cannot go on before somebody has decided something, for instance after a change of a table's definition.
    Stopped(ReportedError),
}

/// How a source stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SourceStatus {
    /// Queues or replication streams that are read here.
    pub partitions: u32,
    /// Records that wait at the source; none until known.
    pub lag: Option<u64>,
    /// What keeps it, or a part of it, from being read.
    pub trouble: Option<ReportedError>,
    /// Progress of tables that are read in full.
    pub tables: Vec<TableProgress>,
    /// When the heartbeat was written that waits to be taken by the pipeline, milliseconds since the Unix epoch.
    pub waiting_beat_millis: Option<i64>,
}

/// The source that a configuration asks for.
pub enum AnySource {
    /// Topics of a RocketMQ cluster.
    RocketMq(Box<RocketMqSource>),
    /// Tables of a PostgreSQL database.
    Postgres(Box<PostgresSource>),
    /// Tables of a MySQL or MariaDB database.
    MySql(Box<MySqlSource>),
}

impl AnySource {
    /// Opens the source of a pipeline.
    ///
    /// # Errors
    /// What is missing; opening is tried again later.
    pub async fn open(setting: &Setting) -> Result<Self, ReportedError> {
        match &setting.config.source {
            SourceConfig::RocketMq(config) => {
                RocketMqSource::open(setting, config).await.map(|source| Self::RocketMq(Box::new(source)))
            }
            SourceConfig::Postgres(config) => {
                postgres::open(setting, config).await.map(|source| Self::Postgres(Box::new(source)))
            }
            SourceConfig::MySql(config) => {
                mysql::open(setting, config).await.map(|source| Self::MySql(Box::new(source)))
            }
        }
    }
}

impl Source for AnySource {
    async fn read(&self, max: usize) -> Result<Vec<Record>, ReadError> {
        match self {
            Self::RocketMq(source) => source.read(max).await,
            Self::Postgres(source) => source.read(max).await,
            Self::MySql(source) => source.read(max).await,
        }
    }

    fn acknowledge(&self, positions: &[Position]) {
        match self {
            Self::RocketMq(source) => source.acknowledge(positions),
            Self::Postgres(source) => source.acknowledge(positions),
            Self::MySql(source) => source.acknowledge(positions),
        }
    }

    fn set_aside(&self, positions: &[Position]) {
        match self {
            Self::RocketMq(source) => source.set_aside(positions),
            Self::Postgres(source) => source.set_aside(positions),
            Self::MySql(source) => source.set_aside(positions),
        }
    }

    fn is_held(&self, position: &Position) -> bool {
        match self {
            Self::RocketMq(source) => source.is_held(position),
            Self::Postgres(source) => source.is_held(position),
            Self::MySql(source) => source.is_held(position),
        }
    }

    fn read_again(&self, position: &Position) -> bool {
        match self {
            Self::RocketMq(source) => source.read_again(position),
            Self::Postgres(source) => source.read_again(position),
            Self::MySql(source) => source.read_again(position),
        }
    }

    async fn beat(&self) -> i64 {
        match self {
            Self::RocketMq(source) => source.beat().await,
            Self::Postgres(source) => source.beat().await,
            Self::MySql(source) => source.beat().await,
        }
    }

    fn status(&self) -> SourceStatus {
        match self {
            Self::RocketMq(source) => source.status(),
            Self::Postgres(source) => source.status(),
            Self::MySql(source) => source.status(),
        }
    }

    async fn close(&self) {
        match self {
            Self::RocketMq(source) => source.close().await,
            Self::Postgres(source) => source.close().await,
            Self::MySql(source) => source.close().await,
        }
    }
}
