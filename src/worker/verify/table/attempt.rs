//! One reading of the source and one look at the database, for a part of the rows.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::super::database::{Access, Failure, FailureKind};
use super::super::super::error::{reported, rocketmq_report};
use super::super::super::sink::table::change::{Change, UNKNOWN_FIELD, changes};
use super::super::super::sink::table::compare::{Compare, Wanted};
use super::super::super::sink::table::positions::Positions;
use super::super::super::sink::table::schema::Keyed;
use super::super::super::sink::table::tables::name_of;
use super::super::ledger::Place;
use super::super::passed;
use super::super::rows::{Expected, Part, RowKey, Rows};
use super::super::verdict::{Judged, Verdict, judge};
use super::super::window::{Window, read_all};
use super::{MOST_BYTES, Run, TableSubject, Trouble};
use crate::rocketmq::{Queue, ReceivedMessage};
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::OnInvalid;

/// Rows, and bytes of their values, that are compared by one statement.
const CHUNK: usize = 500;
const CHUNK_BYTES: usize = 4 * 1024 * 1024;
/// Longest time of one answer of the database.
const LIMIT: Duration = Duration::from_secs(120);

/// A row that is looked for, and what it should be.
type Looked<'a> = (&'a RowKey, &'a Expected);

/// What is gathered while the source is read.
struct Reading<'a> {
    rows: Rows<'a>,
    judged: Judged,
    /// Tables that are not known yet.
    unknown: Vec<String>,
    /// Whether a message asks for a column that the table did not have when it was looked at.
    is_outdated: bool,
}

impl Run<'_> {
    /// Compares the rows of a part; gives the parts that were too much to be compared with it.
    pub(super) async fn attempt<C: Compare>(
        &mut self,
        kept: &mut Option<C>,
        part: Part<'_>,
        is_last: bool,
    ) -> Result<(Judged, Vec<(u64, u64)>), Trouble> {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => self.open::<C>().await?,
        };
        self.describe(&mut connection).await?;
        let refusals_are_known = !matches!(self.subject.config.errors.on_invalid, OnInvalid::Skip { .. });
        let rows = Rows::new(self.hashes.clone(), part, MOST_BYTES, refusals_are_known);
        let (judged, unknown) = (Judged::default(), Vec::new());
        let reading = Mutex::new(Reading { rows, judged, unknown, is_outdated: false });
        read_all(&self.subject.from, &self.windows, "the source", &|number, message| {
            self.take_up(&reading, &message, number, false);
        })
        .await?;
        let mut ends: Vec<i64> =
            self.windows.iter().map(|window| window.to).chain(self.others.iter().copied()).collect();
        // Most of what comes behind the windows is read before the snapshot, which is not to stand for long.
        let sync = &self.subject.config.name;
        let positions = connection.positions(sync).await?;
        self.read_later(&reading, &mut ends, &positions).await?;
        let tables: Vec<Arc<Keyed>> = self.tables.iter().map(|(_, keyed)| Arc::clone(keyed)).collect();
        let positions = limited(connection.look(sync, &tables)).await?;
        self.read_later(&reading, &mut ends, &positions).await?;
        let Reading { rows, mut judged, unknown, is_outdated } =
            reading.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = unknown.first() {
            for name in &unknown {
                let keyed = self.describe_one(&mut connection, name).await?;
                self.tables.push((name.clone(), keyed));
            }
            return Err(Trouble::Outdated(format!("table {name}: was not known yet")));
        }
        if is_outdated && !is_last {
            return Err(Trouble::Outdated("messages have fields for which columns were added meanwhile".to_owned()));
        }
        self.judge(&mut connection, &rows, &mut judged).await?;
        limited(connection.leave()).await?;
        *kept = Some(connection);
        Ok((judged, rows.later().to_vec()))
    }

    async fn open<C: Compare>(&self) -> Result<C, Trouble> {
        let server = &self.subject.target.server;
        let access = Access::read(server).map_err(|error| error.report())?;
        Ok(C::open(server, &access, &self.subject.config.name).await?)
    }

    /// Looks at the tables: always the one that the target names, and those that messages have asked for.
    async fn describe<C: Compare>(&mut self, connection: &mut C) -> Result<(), Trouble> {
        let mut names: Vec<String> = self.tables.drain(..).map(|(name, _)| name).collect();
        if let Some(name) = self.subject.target.table.as_ref().filter(|name| !names.contains(name)) {
            names.push(name.clone());
        }
        for name in names {
            let keyed = self.describe_one(connection, &name).await?;
            self.tables.push((name, keyed));
        }
        Ok(())
    }

    async fn describe_one<C: Compare>(&self, connection: &mut C, name: &str) -> Result<Arc<Keyed>, Trouble> {
        let Some(table) = limited(connection.describe(name)).await? else {
            let message = format!("table {name}: does not exist, and messages of the window were written to it");
            return Err(Trouble::Failed(reported("TableNotFound", message, "find out who has removed it")));
        };
        let keyed = Keyed::new(table, &self.subject.target.key_fields)
            .map_err(|(message, remedy)| reported("InvalidKeyFields", message, remedy))?;
        if keyed.key.is_empty() {
            let message = format!("table {name}: has no key, so its rows cannot be told apart");
            let remedy =
                "give it a primary key, or name fields with a unique index in target.keyFields, or remove spec.verify";
            return Err(Trouble::Failed(reported("NotComparable", message, remedy)));
        }
        Ok(Arc::new(keyed))
    }

    /// Reads what the target has behind the windows, and moves `ends` behind it.
    async fn read_later(
        &self,
        reading: &Mutex<Reading<'_>>,
        ends: &mut [i64],
        positions: &Positions,
    ) -> Result<(), ReportedError> {
        let (admin, mut windows, mut numbers) = (self.subject.from.admin(), Vec::new(), Vec::new());
        for (number, (queue, end)) in self.queues.iter().zip(ends).enumerate() {
            let Queue { topic, broker_name, queue_id } = queue;
            let name = passed::partition(admin.bare_name(topic), broker_name, *queue_id);
            let Some(stored) = positions.of(&name) else { continue };
            let to = i64::try_from(stored.offset).unwrap_or(i64::MAX).saturating_add(1);
            if to <= *end {
                continue;
            }
            // The position of a queue that was deleted and made again may be beyond what it has.
            let there = admin.max_offset(queue).await;
            let there =
                there.map_err(|error| rocketmq_report("the source: failed to look for the end of a queue", &error))?;
            windows.push(Window { queue: queue.clone(), from: *end, to: to.min(there) });
            numbers.push(number);
            *end = to;
        }
        read_all(&self.subject.from, &windows, "the source", &|number, message| {
            self.take_up(reading, &message, numbers[number], true);
        })
        .await
    }

    /// Takes up a message of the queue of this number; `is_later` of one behind the windows.
    fn take_up(&self, reading: &Mutex<Reading<'_>>, message: &ReceivedMessage, queue: usize, is_later: bool) {
        let TableSubject { config, source, target, steps, .. } = self.subject;
        let record = passed::through(config, source, steps, message)
            .filter(|record| self.refused.is_empty() || !self.refused.contains(&record.place()));
        let place = Place { window: queue, offset: message.queue_offset };
        let mut into: Vec<Change<'_>> = Vec::with_capacity(2);
        let mut reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_later {
            let at = message.store_timestamp;
            let (oldest, newest) = reading.judged.span.unwrap_or((at, at));
            reading.judged.span = Some((oldest.min(at), newest.max(at)));
            reading.judged.counts.source += 1;
        }
        let is_taken = match &record {
            None => false,
            Some(record) => {
                let name = name_of(target, record);
                match self.tables.iter().position(|(known, _)| known == name) {
                    None => {
                        if !is_later && !reading.unknown.iter().any(|known| known == name) {
                            reading.unknown.push(name.to_owned());
                        }
                        true
                    }
                    Some(number) => {
                        let keyed = &self.tables[number].1;
                        match changes(record, 0, keyed, &self.rules, &mut into) {
                            Ok(()) => {
                                into.drain(..).for_each(|change| {
                                    reading.rows.apply(number, keyed, change, place, is_later);
                                });
                                true
                            }
                            Err(why) => {
                                reading.is_outdated |= is_later && why.reason == UNKNOWN_FIELD;
                                false
                            }
                        }
                    }
                }
            }
        };
        reading.judged.counts.left_out += u64::from(!is_taken && !is_later);
    }

    /// Lets the database compare.
    async fn judge<C: Compare>(&self, connection: &mut C, rows: &Rows<'_>, judged: &mut Judged) -> Result<(), Trouble> {
        let mut groups: BTreeMap<(usize, Vec<u16>), Vec<Looked<'_>>> = BTreeMap::new();
        for (key, expected) in rows.iter() {
            if expected.is_unordered {
                judged.note(rows.hash(key), key, expected, Verdict::Undecided);
                continue;
            }
            let shape = expected.values.iter().map(|(number, _)| *number).collect();
            groups.entry((key.table, shape)).or_default().push((key, expected));
        }
        for ((table, _), group) in groups {
            let mut todo: Vec<&[Looked<'_>]> = chunks(&group);
            while let Some(chunk) = todo.pop() {
                let wanted: Vec<_> =
                    chunk.iter().map(|(key, expected)| Wanted { key: &key.key, values: &expected.values }).collect();
                match limited(connection.compare(&self.tables[table].1, table, &wanted)).await {
                    Ok(seen) => {
                        for ((key, expected), seen) in chunk.iter().zip(seen) {
                            judged.note(rows.hash(key), key, expected, judge(expected.presence, seen));
                        }
                    }
                    Err(failure) if failure.kind != FailureKind::Data => return Err(failure.into()),
                    // Values that the table cannot hold: it has refused a message that was skipped.
                    Err(_) => match chunk {
                        [(key, expected)] => judged.note(rows.hash(key), key, expected, Verdict::Undecided),
                        more => {
                            let (one, other) = more.split_at(more.len() / 2);
                            todo.extend([one, other]);
                        }
                    },
                }
            }
        }
        Ok(())
    }
}

/// Rows that are compared by one statement each.
fn chunks<'b, 'c>(rows: &'b [Looked<'c>]) -> Vec<&'b [Looked<'c>]> {
    let (mut chunks, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (number, (key, expected)) in rows.iter().enumerate() {
        let cells = key.key.iter().chain(expected.values.iter().map(|(_, cell)| cell));
        bytes += cells.map(|cell| cell.size()).sum::<usize>();
        if number + 1 - begin >= CHUNK || bytes >= CHUNK_BYTES {
            chunks.push(&rows[begin..=number]);
            (begin, bytes) = (number + 1, 0);
        }
    }
    if begin < rows.len() {
        chunks.push(&rows[begin..]);
    }
    chunks
}

/// The answer of the database, within the time that it may take.
async fn limited<T>(answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let late = || {
        let message = format!("the database did not answer within {} s", LIMIT.as_secs());
        Failure::unavailable("Timeout", message, "look for load at the server, and for an index on the key")
    };
    tokio::time::timeout(LIMIT, answer).await.unwrap_or_else(|_| Err(late()))
}
