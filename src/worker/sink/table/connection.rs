//! What a table sink asks of a database, and the connection that it keeps.

use std::future::Future;
use std::time::{Duration, Instant};

use super::super::super::config::POLL;
use super::super::super::database::{Access, Failure, FailureKind};
use super::super::super::error::reported;
use super::super::super::sync::Setting;
use super::change::Action;
use super::positions::{Move, Positions};
use super::rounds::Rounds;
use super::schema::{Dialect, Keyed, NewColumn, Table};
use crate::worker_config::report::warnings;
use crate::worker_config::sync::DatabaseConfig;

/// The table in which positions are kept.
pub const POSITIONS: &str = "rocketmq_connector_positions";
/// Time until credentials that were refused are tried again: the server may hear of them later than the worker.
const RETRY: Duration = Duration::from_secs(15);

/// What the policies left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Records.
    pub left_out: u64,
    /// Rows that were missing: what was to be done, and the number of the record in the batch. Some databases tell only
    /// when they are asked for it.
    pub missing: Vec<(Action, usize)>,
}

/// A session with a database.
pub trait Connection: Sized + Send {
    /// Its dialect.
    const DIALECT: Dialect;

    /// Connects, and makes the table of positions where it is missing.
    fn open(config: &DatabaseConfig, access: &Access, sync: &str)
    -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Whether it has ended.
    fn is_closed(&self) -> bool;

    /// How far the partitions of `sync` are.
    fn positions(&mut self, sync: &str) -> impl Future<Output = Result<Positions, Failure>> + Send;

    /// A table; none when it does not exist.
    fn describe(&mut self, name: &str) -> impl Future<Output = Result<Option<Table>, Failure>> + Send;

    /// Makes a table with the primary key `key`, unless it exists.
    fn create_table(
        &mut self,
        name: &str,
        columns: &[NewColumn],
        key: &[String],
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Adds columns.
    fn add_columns(&mut self, table: &Table, columns: &[NewColumn])
    -> impl Future<Output = Result<(), Failure>> + Send;

    /// Begins a transaction. One in which constraints are `strict` checks each with its statement, not with the commit.
    fn begin(&mut self, strict: bool) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Writes rows. `names_missing` asks for the rows that were missing.
    fn apply(
        &mut self,
        keyed: &Keyed,
        rounds: &Rounds<'_>,
        names_missing: bool,
    ) -> impl Future<Output = Result<Applied, Failure>> + Send;

    /// Moves positions; false when one is not where it should be, because another writer has moved it.
    fn move_positions(&mut self, sync: &str, moves: &[Move]) -> impl Future<Output = Result<bool, Failure>> + Send;

    /// Marks the place to which [`back_to_mark`](Self::back_to_mark) goes.
    fn mark(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Undoes what was done behind the mark.
    fn back_to_mark(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Commits.
    fn commit(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Undoes the transaction.
    fn roll_back(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A connection that follows the mounted files: changed credentials are tried by a connection of their own, which takes the
/// place of the one before when the server lets it in.
pub struct Kept<C> {
    connection: Option<C>,
    /// With what the present connection was let in.
    access: Option<Access>,
    looked: Instant,
    refused: Option<([u8; 32], Instant)>,
}

impl<C: Connection> Kept<C> {
    /// No connection yet.
    #[must_use]
    pub fn unconnected() -> Self {
        Self { connection: None, access: None, looked: Instant::now(), refused: None }
    }

    /// The connection, and whether it is another one than before.
    ///
    /// # Errors
    /// There is none.
    pub async fn get(&mut self, setting: &Setting, config: &DatabaseConfig) -> Result<(&mut C, bool), Failure> {
        let mut is_new = false;
        if self.connection.as_ref().is_none_or(C::is_closed) {
            self.connection = Some(self.connect(setting, config).await?);
            is_new = true;
        } else if self.looked.elapsed() >= POLL {
            self.looked = Instant::now();
            is_new = self.follow(setting, config).await;
        }
        match &mut self.connection {
            Some(connection) => Ok((connection, is_new)),
            None => {
                Err(Failure::unavailable("DatabaseUnreachable", "there is no connection", "nothing: it is tried again"))
            }
        }
    }

    /// Ends the connection.
    pub fn drop_connection(&mut self) {
        self.connection = None;
    }

    async fn connect(&mut self, setting: &Setting, config: &DatabaseConfig) -> Result<C, Failure> {
        let read = Access::read(config)
            .map_err(|error| Failure::unavailable(error.reason(), error.to_string(), error.remedy()));
        let access = match (read, &self.access) {
            (Ok(access), _) => access,
            (Err(_), Some(access)) => access.clone(),
            (Err(failure), None) => return Err(failure),
        };
        let opened = match C::open(config, &access, &setting.config.name).await {
            // The server may still know what it knew before.
            Err(failure) if failure.kind == FailureKind::Unavailable => match self.access.clone() {
                Some(before) if before.digest() != access.digest() => {
                    let opened = C::open(config, &before, &setting.config.name).await.map_err(|_| failure)?;
                    return Ok(opened);
                }
                _ => Err(failure),
            },
            opened => opened,
        }?;
        self.access = Some(access);
        self.refused = None;
        setting.reporter.set_warning(warnings::CREDENTIALS_REFUSED, None);
        Ok(opened)
    }

    /// Takes up changed files; whether there is another connection then.
    async fn follow(&mut self, setting: &Setting, config: &DatabaseConfig) -> bool {
        let access = match Access::read(config) {
            Ok(access) => access,
            Err(error) => {
                tracing::warn!(%error, "keeping the credentials and certificates read before");
                return false;
            }
        };
        let digest = access.digest();
        let is_same = self.access.as_ref().is_some_and(|known| known.digest() == digest);
        let is_waiting = self.refused.is_some_and(|(refused, at)| refused == digest && at.elapsed() < RETRY);
        if is_same || is_waiting {
            return false;
        }
        match C::open(config, &access, &setting.config.name).await {
            Ok(connection) => {
                tracing::info!("the database takes the changed credentials");
                (self.connection, self.access, self.refused) = (Some(connection), Some(access), None);
                setting.reporter.set_warning(warnings::CREDENTIALS_REFUSED, None);
                true
            }
            Err(failure) => {
                self.refused = Some((digest, Instant::now()));
                let message = format!("the changed credentials do not work, the earlier ones stay in use: {failure}");
                tracing::warn!("{message}");
                let remedy = format!("correct the Secret; {}", failure.remedy);
                let warning = reported(warnings::CREDENTIALS_REFUSED, message, remedy);
                setting.reporter.set_warning(warnings::CREDENTIALS_REFUSED, Some(warning));
                false
            }
        }
    }
}
