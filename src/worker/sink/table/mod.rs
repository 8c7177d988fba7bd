//! Tables of a database as target: what all databases have in common.
//!
//! The rows of a batch and the positions of its records are written in one transaction, so a record that comes again is told
//! by the position of its partition and left out, whatever ended in between: each is written once. A batch goes as a whole;
//! when the database refuses a value, its records go one by one, which finds the record that is refused.

pub mod change;
pub mod compare;
pub mod connection;
pub mod positions;
pub mod rounds;
pub mod schema;
pub mod tables;
pub mod value;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::database::{Failure, FailureKind};
use super::super::record::{Invalid, Position, Record};
use super::super::sync::Setting;
use super::{Sink, WriteError, Written};
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::{OnMissing, TableTargetConfig, WriteConfig};
use change::{Action, Change, Rules, Unknown, changes};
use connection::{Applied, Connection, Kept};
use positions::Positions;
use rounds::Rounds;
use schema::Keyed;
use tables::Tables;

/// Longest time of a batch in the database: a server that is silent for longer is taken for gone.
const LIMIT: Duration = Duration::from_secs(120);
/// How often a batch is tried again at once because another writer was faster or a table was changed meanwhile.
const TRIES: usize = 4;

/// Writes records into tables.
pub struct TableSink<C> {
    setting: Setting,
    config: TableTargetConfig,
    kept: Kept<C>,
    tables: Tables,
    positions: Positions,
    /// Whether `positions` are those of the target.
    is_current: bool,
    /// How far this sink has come in the batch that is being tried, by partition: written, or perhaps written.
    tried: HashMap<Arc<str>, Position>,
    rules: Rules,
}

/// How an attempt to write a batch ended.
enum Attempt {
    Done(Written),
    /// Somebody else has changed what this one relied on.
    Again,
    Failed(WriteError),
}

impl<C: Connection> TableSink<C> {
    /// Connects.
    ///
    /// # Errors
    /// The database cannot be reached, or does not let the worker in.
    pub async fn open(setting: &Setting, config: &TableTargetConfig) -> Result<Self, ReportedError> {
        let unknown = if config.create_table { Unknown::RefuseValues } else { Unknown::Refuse };
        let mut sink = Self {
            setting: setting.clone(),
            config: config.clone(),
            kept: Kept::unconnected(),
            tables: Tables::default(),
            positions: Positions::default(),
            is_current: false,
            tried: HashMap::new(),
            rules: Rules { dialect: C::DIALECT, write: setting.config.write, unknown },
        };
        sink.kept.get(setting, &config.server).await.map_err(|failure| failure.report())?;
        Ok(sink)
    }

    /// One attempt to write the records that the target does not have.
    async fn attempt(&mut self, batch: &[Record]) -> Result<Attempt, Failure> {
        let (connection, is_new) = self.kept.get(&self.setting, &self.config.server).await?;
        let sync = &self.setting.config.name;
        if is_new {
            (self.tables, self.is_current) = (Tables::default(), false);
        }
        if !self.is_current {
            self.positions = connection.positions(sync).await?;
            self.is_current = true;
        }
        let fresh: Vec<usize> = (0..batch.len()).filter(|index| !self.positions.have(&batch[*index])).collect();
        let known = batch.iter().filter(|record| self.positions.have(record));
        let ours = known
            .filter(|record| self.tried.get(&record.position.partition).is_some_and(|tried| record.position <= *tried));
        let ours = ours.count();
        let mut written =
            Written { written: count(ours), repeated: count(batch.len() - fresh.len() - ours), ..Written::default() };
        if fresh.is_empty() {
            return Ok(Attempt::Done(written));
        }
        if let Err(invalid) = self.tables.prepare(connection, &self.config, batch, &fresh).await? {
            return Ok(Attempt::Failed(invalid));
        }
        let plan = match Plan::of(batch, &fresh, &self.tables, &self.config, &self.rules) {
            Ok(plan) => plan,
            Err((index, invalid)) => return Ok(Attempt::Failed(refused(index, invalid))),
        };
        let moves = self.positions.moves(fresh.iter().map(|index| &batch[*index]));
        for index in &fresh {
            let position = &batch[*index].position;
            self.tried.insert(Arc::clone(&position.partition), position.clone());
        }
        let outcome = async {
            connection.begin(false).await?;
            let mut applied = Applied::default();
            for (keyed, changes) in plan.by_table() {
                let more = connection.apply(&keyed, &Rounds::of(changes), logs(&self.rules.write)).await?;
                applied.left_out += more.left_out;
                applied.missing.extend(more.missing);
            }
            if !connection.move_positions(sync, &moves).await? {
                return Ok(None);
            }
            connection.commit().await.map(|()| Some(applied))
        };
        match outcome.await {
            Ok(Some(applied)) => {
                self.positions.advance(moves);
                log_missing(&self.rules.write, batch, &applied);
                written.written += count(fresh.len()).saturating_sub(applied.left_out);
                written.left_out = applied.left_out;
                Ok(Attempt::Done(written))
            }
            Ok(None) => {
                self.overtaken().await?;
                Ok(Attempt::Again)
            }
            Err(failure) if failure.kind == FailureKind::Data => {
                connection.roll_back().await?;
                self.tried.clear();
                // Another writer may have written the very records that now collide.
                let positions = connection.positions(sync).await?;
                let is_overtaken = fresh.iter().any(|index| positions.have(&batch[*index]));
                self.positions = positions;
                if is_overtaken {
                    return Ok(Attempt::Again);
                }
                let attempt = self.one_by_one(batch, plan, written).await;
                if attempt.is_err() {
                    self.kept.drop_connection();
                }
                attempt
            }
            Err(failure) => {
                if failure.kind != FailureKind::Lost {
                    self.tried.clear();
                    connection.roll_back().await?;
                }
                Err(failure)
            }
        }
    }

    async fn overtaken(&mut self) -> Result<(), Failure> {
        tracing::info!("another worker has written records of this batch; the positions are read again");
        let (connection, _) = self.kept.get(&self.setting, &self.config.server).await?;
        self.tried.clear();
        self.is_current = false;
        connection.roll_back().await
    }

    /// Writes the records of a batch one by one up to the first that the database refuses.
    async fn one_by_one(&mut self, batch: &[Record], plan: Plan<'_>, mut written: Written) -> Result<Attempt, Failure> {
        let (connection, is_new) = self.kept.get(&self.setting, &self.config.server).await?;
        if is_new {
            self.is_current = false;
            return Ok(Attempt::Again);
        }
        let (mut done, mut refusal, mut applied) = (Vec::new(), None, Applied::default());
        connection.begin(true).await?;
        for (index, table, changes) in plan.by_record() {
            connection.mark().await?;
            match connection.apply(&table, &Rounds::of(changes), logs(&self.rules.write)).await {
                Ok(more) => {
                    applied.left_out += more.left_out;
                    applied.missing.extend(more.missing);
                    done.push(index);
                }
                Err(failure) if failure.kind == FailureKind::Data => {
                    connection.back_to_mark().await?;
                    refusal = Some((index, failure));
                    break;
                }
                Err(failure) => return Err(failure),
            }
        }
        let moves = self.positions.moves(done.iter().map(|index| &batch[*index]));
        if !connection.move_positions(&self.setting.config.name, &moves).await? {
            self.overtaken().await?;
            return Ok(Attempt::Again);
        }
        for index in &done {
            let position = &batch[*index].position;
            self.tried.insert(Arc::clone(&position.partition), position.clone());
        }
        connection.commit().await?;
        self.positions.advance(moves);
        log_missing(&self.rules.write, batch, &applied);
        Ok(match refusal {
            // They count when the batch is written again without the one that is refused.
            Some((index, Failure { reason, message, remedy, .. })) => {
                Attempt::Failed(refused(index, Invalid { reason, message, remedy }))
            }
            None => {
                written.written += count(done.len()).saturating_sub(applied.left_out);
                written.left_out = applied.left_out;
                Attempt::Done(written)
            }
        })
    }
}

impl<C: Connection> Sink for TableSink<C> {
    async fn write(&mut self, batch: &[Record]) -> Result<Written, WriteError> {
        for _ in 0..TRIES {
            let outcome = match tokio::time::timeout(LIMIT, self.attempt(batch)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Failure {
                    kind: FailureKind::Lost,
                    reason: "Timeout",
                    message: format!("the database did not take a batch within {} s", LIMIT.as_secs()),
                    remedy: "look for locks and load at the server, or make batch.maxRecords smaller".to_owned(),
                }),
            };
            match outcome {
                Ok(Attempt::Done(written)) => {
                    self.tried.clear();
                    return Ok(written);
                }
                Ok(Attempt::Failed(error)) => return Err(error),
                Ok(Attempt::Again) => {}
                Err(failure) if failure.kind == FailureKind::Outdated && !self.tables.is_empty() => {
                    tracing::info!(error = failure.message, "a table was changed meanwhile; it is looked at again");
                    self.tables = Tables::default();
                }
                Err(failure) => {
                    if failure.kind != FailureKind::Unavailable {
                        self.kept.drop_connection();
                    }
                    return Err(unavailable(failure));
                }
            }
        }
        let message = "other writers or changes of the table come in between again and again";
        Err(unavailable(Failure::unavailable("DatabaseBusy", message, "nothing: it is tried again")))
    }

    async fn close(self) -> Result<(), WriteError> {
        Ok(())
    }
}

/// What a batch does, with the tables that it does it to.
struct Plan<'a> {
    changes: Vec<(Arc<Keyed>, Change<'a>)>,
}

impl<'a> Plan<'a> {
    fn of(
        batch: &'a [Record],
        fresh: &[usize],
        tables: &Tables,
        config: &TableTargetConfig,
        rules: &Rules,
    ) -> Result<Self, (usize, Invalid)> {
        let mut plan = Vec::with_capacity(fresh.len());
        let mut into = Vec::with_capacity(2);
        for index in fresh {
            let record = &batch[*index];
            let Some(keyed) = tables.get(tables::name_of(config, record)) else { continue };
            changes(record, *index, keyed, rules, &mut into).map_err(|invalid| (*index, invalid))?;
            plan.extend(into.drain(..).map(|change| (Arc::clone(keyed), change)));
        }
        Ok(Self { changes: plan })
    }

    /// The changes of each table, tables in the order in which they first come.
    fn by_table(&self) -> Vec<(Arc<Keyed>, Vec<Change<'a>>)> {
        let mut tables: Vec<(Arc<Keyed>, Vec<Change<'a>>)> = Vec::new();
        for (keyed, change) in &self.changes {
            match tables.iter_mut().find(|(known, _)| Arc::ptr_eq(known, keyed)) {
                Some((_, changes)) => changes.push(change.clone()),
                None => tables.push((Arc::clone(keyed), vec![change.clone()])),
            }
        }
        tables
    }

    /// The changes of each record, in their order.
    fn by_record(self) -> Vec<(usize, Arc<Keyed>, Vec<Change<'a>>)> {
        let mut records: Vec<(usize, Arc<Keyed>, Vec<Change<'a>>)> = Vec::new();
        for (keyed, change) in self.changes {
            match records.last_mut() {
                Some((index, _, changes)) if *index == change.index => changes.push(change),
                _ => records.push((change.index, keyed, vec![change])),
            }
        }
        records
    }
}

/// Whether a policy asks for rows that are missing.
fn logs(write: &WriteConfig) -> bool {
    write.update == OnMissing::Log || write.delete == OnMissing::Log
}

fn log_missing(write: &WriteConfig, batch: &[Record], applied: &Applied) {
    for (action, index) in &applied.missing {
        let (policy, what) = match action {
            Action::Remove => (write.delete, "delete"),
            _ => (write.update, "update"),
        };
        if policy == OnMissing::Log {
            let place = batch.get(*index).map(Record::place).unwrap_or_default();
            tracing::warn!(place, "the row to {what} is missing, the record is left out");
        }
    }
}

fn count(records: usize) -> u64 {
    u64::try_from(records).unwrap_or(u64::MAX)
}

fn refused(index: usize, Invalid { reason, message, remedy }: Invalid) -> WriteError {
    WriteError::Invalid { index, reason, message, remedy }
}

fn unavailable(Failure { reason, message, remedy, .. }: Failure) -> WriteError {
    WriteError::Unavailable { reason, message, remedy }
}
