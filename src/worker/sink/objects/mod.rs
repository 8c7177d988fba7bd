//! Objects of an object store, or files of a folder, as target: records are gathered by queue into objects that are created whole,
//! each record in one of them.
//!
//! Where an object begins follows from what is acknowledged, and its name from where it begins (`name.rs`). A record that comes again
//! after a crash therefore comes first where an object begins, and finds that one: it is left out up to where that object ends. Two
//! writers of one queue make the same name, of which the store lets one be created. Nothing but the objects is kept in the store.
//!
//! All of it rests on one rule: nothing is acknowledged but at the end of an object that is in the store. Therefore a queue that is begun
//! to be read anew (`Position::epoch`) is begun anew here as well, as by a worker that knows nothing of it.

mod encode;
mod existing;
mod name;
mod open;
mod row;
mod store;

use bytestring::ByteString;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;

use super::super::error::reported;
use super::super::record::{Invalid, Position, Record};
use super::super::sync::Setting;
use super::{Gathered, Sink, WriteError, Written};
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::ObjectStorageTargetConfig;
use existing::last_offset;
use name::Naming;
use open::{End, Group, OpenObject};
use row::Row;
use store::{Failure, Store};

pub use encode::is_possible;

/// Queues whose objects are created at the same time.
const AT_ONCE: usize = 8;
/// How much older than an object can get a file is that nobody writes to any more.
const STALE: Duration = Duration::from_secs(3_600);

/// Writes objects.
pub struct ObjectSink {
    setting: Setting,
    config: ObjectStorageTargetConfig,
    store: Store,
    naming: Naming,
    /// By partition.
    groups: HashMap<Arc<str>, Group>,
    /// The epoch in which each partition is read now.
    epochs: HashMap<Arc<str>, u64>,
    /// How far objects go that were there before, by partition and topic.
    passed: HashMap<(Arc<str>, ByteString), Passed>,
    /// The first records of objects that were there before, and have not been passed to their ends: what is acknowledged must not stand
    /// in the middle of one. By partition and topic.
    passing: HashMap<Arc<str>, BTreeMap<ByteString, Position>>,
    /// The first records of what was given up of partitions that other workers have, or had: what still comes of them is left out
    /// until they are begun anew.
    given_up: HashMap<Arc<str>, Position>,
    /// Those of them of which another worker has made an object, and nobody was told yet.
    overtaken: Vec<Position>,
    /// Records at the front of the batch that were taken before it failed, and are not taken again when it is tried again.
    taken: usize,
    /// What became of records and was not told yet.
    tally: Written,
}

/// What is known of the objects of a topic and a partition that an earlier worker has made.
#[derive(Debug, Clone, Copy, Default)]
struct Passed {
    until: Option<u64>,
    /// Whether there are no further ones.
    is_all: bool,
}

impl ObjectSink {
    /// Opens the store.
    ///
    /// # Errors
    /// It cannot be used.
    pub async fn open(setting: &Setting, config: &ObjectStorageTargetConfig) -> Result<Self, ReportedError> {
        let stale_after = Duration::from_millis(config.roll_millis) + STALE;
        let store = Store::open(&config.store, &setting.reporter, stale_after).await;
        let at_target =
            |failure: Failure| reported(failure.reason, format!("the target: {}", failure.message), failure.remedy);
        Ok(Self {
            setting: setting.clone(),
            config: config.clone(),
            store: store.map_err(at_target)?,
            naming: Naming::of(config),
            groups: HashMap::new(),
            epochs: HashMap::new(),
            passed: HashMap::new(),
            passing: HashMap::new(),
            given_up: HashMap::new(),
            overtaken: Vec::new(),
            taken: 0,
            tally: Written::default(),
        })
    }

    /// Takes a record into its object, unless the target has it.
    async fn take(&mut self, index: usize, record: &Record) -> Result<(), WriteError> {
        let partition = &record.position.partition;
        let slot = self.naming.slot(record.message.stored_millis);
        if self.epochs.get(partition) != Some(&record.position.epoch) {
            self.begin(&record.position).await;
        }
        if self.groups.get(partition).is_some_and(|group| group.slot != slot || group.is_closing) {
            self.create(vec![Arc::clone(partition)]).await?;
        }
        if self.given_up.contains_key(partition) {
            self.taken = index + 1;
            return Ok(());
        }
        let invalid = |Invalid { reason, message, remedy }| WriteError::Invalid { index, reason, message, remedy };
        let row = Row::of(record, self.setting.config.format).map_err(invalid)?;
        if self.is_passed(record).await.map_err(unavailable)? {
            self.tally.repeated += 1;
        } else {
            self.add(record, slot, &row).map_err(invalid)?;
        }
        self.taken = index + 1;
        let Some(group) = self.groups.get_mut(partition) else { return Ok(()) };
        if group.is_full(&self.config) {
            self.create(vec![Arc::clone(partition)]).await?;
        } else if let Some(object) = group.objects.get_mut(&record.entity) {
            object.send(self.store.least_part()).await.map_err(|failure| self.failed(failure))?;
        }
        Ok(())
    }

    /// Begins a partition whose records come from what is acknowledged on. What was gathered of it is given up: it comes again, unless
    /// another worker has made it durable; and what was known of its objects says nothing of those that others have made meanwhile.
    async fn begin(&mut self, Position { partition, epoch, .. }: &Position) {
        if let Some(mut group) = self.groups.remove(partition) {
            tracing::info!(%partition, records = group.records, "the queue was away, and is gathered anew");
            group.abort().await;
        }
        self.passed.retain(|(known, _), _| known != partition);
        self.passing.remove(partition);
        self.given_up.remove(partition);
        self.epochs.insert(Arc::clone(partition), *epoch);
    }

    /// Whether an object that was there before has the record. The store is asked at the first record of a topic and a partition, and
    /// again behind each object that it has, until it has no more.
    async fn is_passed(&mut self, record: &Record) -> Result<bool, Failure> {
        let Position { partition, offset, .. } = &record.position;
        if self.groups.get(partition).is_some_and(|group| group.objects.contains_key(&record.entity)) {
            return Ok(false);
        }
        let passed = self.passed.entry((Arc::clone(partition), record.entity.clone())).or_default();
        if let Some(until) = passed.until.filter(|until| *offset <= *until) {
            if *offset == until {
                self.leave(record);
            }
            return Ok(true);
        }
        if passed.is_all {
            return Ok(false);
        }
        // Its last record may be left out now by other transforms than then.
        self.leave(record);
        let passed = self.passed.entry((Arc::clone(partition), record.entity.clone())).or_default();
        let key = self.naming.key(&record.entity, partition, *offset, record.message.stored_millis);
        let Some(size) = self.store.size(&key).await? else {
            passed.is_all = true;
            return Ok(false);
        };
        let last = last_offset(&self.store, &key, size, self.config.file_format, self.config.compression).await?;
        tracing::info!(key, last, "the target has these records already");
        passed.until = Some(last);
        if *offset < last {
            self.passing
                .entry(Arc::clone(partition))
                .or_default()
                .insert(record.entity.clone(), record.position.clone());
        }
        Ok(*offset <= last)
    }

    /// Notes that an object which was there before was passed to its end.
    fn leave(&mut self, record: &Record) {
        let partition = &record.position.partition;
        if let Some(passing) = self.passing.get_mut(partition) {
            passing.remove(&record.entity);
            if passing.is_empty() {
                self.passing.remove(partition);
            }
        }
    }

    fn add(&mut self, record: &Record, slot: i64, row: &Row<'_>) -> Result<(), Invalid> {
        let Position { partition, offset, .. } = &record.position;
        let is_new = !self.groups.contains_key(partition);
        let group = self.groups.entry(Arc::clone(partition)).or_insert_with(|| Group {
            first: record.position.clone(),
            began: Instant::now(),
            slot,
            newest_millis: record.at_millis,
            records: 0,
            is_closing: false,
            objects: BTreeMap::new(),
        });
        let added = match group.objects.get_mut(&record.entity) {
            Some(object) => object.add(*offset, row),
            None => {
                let key = self.naming.key(&record.entity, partition, *offset, record.message.stored_millis);
                let object = OpenObject::new(&self.store, key, self.setting.config.format, &self.config);
                let object = object.map_err(|why| Invalid::new("InvalidWorkerConfig", why, "tell it to the project"));
                object.and_then(|mut object| {
                    object.add(*offset, row)?;
                    group.objects.insert(record.entity.clone(), object);
                    Ok(())
                })
            }
        };
        match added {
            Ok(()) => {
                group.records += 1;
                group.newest_millis = group.newest_millis.max(record.at_millis);
            }
            // An object without records must not hold anything up.
            Err(_) if is_new => _ = self.groups.remove(partition),
            Err(_) => {}
        }
        added
    }

    /// Creates the objects of partitions; what fails stays, and is tried again. Where another worker was first, and has made an object
    /// that ends elsewhere, the partition alone is given up.
    async fn create(&mut self, partitions: Vec<Arc<str>>) -> Result<(), WriteError> {
        let groups = partitions.into_iter().filter_map(|partition| self.groups.remove_entry(&partition));
        let (store, config, sync) = (&self.store, &self.config, &self.setting.config.name);
        let closing = groups.map(|(partition, mut group)| async move {
            group.is_closing = true;
            let (mut done, mut outcome) = (Written::default(), Ok(true));
            while let Some(mut entry) = group.objects.first_entry() {
                match entry.get_mut().finish(store, config, (sync, &partition)).await {
                    Ok(End::Created) => done.written += entry.remove().records(),
                    Ok(End::Existed) => done.repeated += entry.remove().records(),
                    Ok(End::Differs) => {
                        let key = entry.get().key();
                        tracing::warn!(%partition, key, reason = "ObjectExists", "another worker has created an object that ends elsewhere; the queue is read again");
                        outcome = Ok(false);
                        break;
                    }
                    Err(failure) => {
                        outcome = Err(failure);
                        break;
                    }
                }
            }
            (partition, group, done, outcome)
        });
        let closed: Vec<_> = futures::stream::iter(closing).buffer_unordered(AT_ONCE).collect().await;
        let mut first_failure = None;
        for (partition, mut group, mut done, outcome) in closed {
            if done.repeated > 0 {
                // Another worker has the queue as well, and may have made the next object, too.
                self.passed
                    .iter_mut()
                    .filter(|((known, _), _)| *known == partition)
                    .for_each(|(_, it)| it.is_all = false);
            }
            match outcome {
                Ok(true) => done.newest_millis = Some(group.newest_millis),
                Ok(false) => {
                    group.abort().await;
                    self.overtaken.push(group.first.clone());
                    self.given_up.insert(partition, group.first);
                }
                Err(failure) => {
                    first_failure.get_or_insert(failure);
                    self.groups.insert(partition, group);
                }
            }
            self.tally.add(&done);
        }
        first_failure.map_or(Ok(()), |failure| Err(self.failed(failure)))
    }

    /// A failure, after which everything is read again if an upload is lost.
    fn failed(&self, failure: Failure) -> WriteError {
        if failure.is_lost {
            tracing::warn!(error = failure.message, "what was not acknowledged is read again");
            self.setting.session.cancel();
        }
        unavailable(failure)
    }

    /// Keeps the memory of open objects within its bound: the largest ones are uploaded in part, or end earlier than they were to.
    async fn bound_memory(&mut self) -> Result<(), WriteError> {
        let bound = usize::try_from(self.config.buffer_bytes).unwrap_or(usize::MAX);
        loop {
            let sizes = self.groups.iter().map(|(partition, group)| (group.memory(), Arc::clone(partition)));
            let (mut total, mut largest) = (0, None);
            for (size, partition) in sizes {
                total += size;
                largest = largest.max(Some((size, partition)));
            }
            let Some((before, partition)) = largest.filter(|_| total > bound) else { return Ok(()) };
            let Some(group) = self.groups.get_mut(&partition) else { return Ok(()) };
            for object in group.objects.values_mut() {
                if let Err(failure) = object.shed(self.store.least_part()).await {
                    return Err(self.failed(failure));
                }
            }
            if self.groups.get(&partition).is_some_and(|group| group.memory() > before / 2) {
                self.create(vec![partition]).await?;
            }
        }
    }

    /// Partitions whose objects are to be created now.
    fn due_now(&self, everything: bool) -> Vec<Arc<str>> {
        let age = Duration::from_millis(self.config.roll_millis);
        let due = |group: &Group| everything || group.is_closing || group.began.elapsed() >= age;
        self.groups.iter().filter(|(_, group)| due(group)).map(|(partition, _)| Arc::clone(partition)).collect()
    }
}

impl Sink for ObjectSink {
    async fn write(&mut self, batch: &[Record]) -> Result<Written, WriteError> {
        self.create(self.due_now(false)).await?;
        for (index, record) in batch.iter().enumerate().skip(self.taken) {
            self.take(index, record).await?;
        }
        self.bound_memory().await?;
        self.taken = 0;
        Ok(std::mem::take(&mut self.tally))
    }

    fn gathered(&self) -> Gathered {
        let oldest = self.groups.values().map(|group| group.began).min();
        Gathered {
            records: self
                .groups
                .values()
                .map(|group| group.objects.values().map(OpenObject::records).sum::<u64>())
                .sum(),
            oldest,
            due: oldest.map(|oldest| oldest + Duration::from_millis(self.config.roll_millis)),
        }
    }

    fn first_gathered(&self, partition: &str) -> Option<&Position> {
        let passing = self.passing.get(partition).into_iter().flat_map(BTreeMap::values);
        let gathered = self.groups.get(partition).map(|group| &group.first);
        gathered.into_iter().chain(passing).chain(self.given_up.get(partition)).min()
    }

    async fn let_go(&mut self, is_held: impl Fn(&Position) -> bool + Send) {
        let lost: Vec<_> = self.groups.extract_if(|_, group| !is_held(&group.first)).collect();
        for (partition, mut group) in lost {
            tracing::info!(%partition, records = group.records, "the queue has gone to another worker, which gathers this anew");
            group.abort().await;
            self.given_up.insert(partition, group.first);
        }
    }

    fn overtaken(&mut self) -> Vec<Position> {
        std::mem::take(&mut self.overtaken)
    }

    async fn finish(&mut self, everything: bool) -> Result<Written, WriteError> {
        self.create(self.due_now(everything)).await?;
        Ok(std::mem::take(&mut self.tally))
    }

    async fn close(mut self) -> Result<(), WriteError> {
        for group in self.groups.values_mut() {
            group.abort().await;
        }
        Ok(())
    }
}

fn unavailable(Failure { reason, message, remedy, .. }: Failure) -> WriteError {
    WriteError::Unavailable { reason, message, remedy }
}
