//! Reads records, decodes and transforms them, and gathers them into batches.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::error::reported;
use super::super::format;
use super::super::record::{Invalid, Record};
use super::super::source::{AnySource, ReadError, Source};
use super::super::transform::Steps;
use super::batch::Batch;
use super::state::{Part, State};
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::{BatchConfig, OnInvalid, SyncConfig};

/// Records asked for at once.
const READ: usize = 512;

/// Reads a source.
pub struct Reader {
    pub config: Arc<SyncConfig>,
    pub source: Arc<AnySource>,
    pub steps: Arc<Steps>,
    pub state: Arc<State>,
    pub skipped: Arc<Skipped>,
    /// Where batches go, one a writer.
    pub lanes: Vec<mpsc::Sender<Batch>>,
}

/// Why nothing more is read.
#[derive(Debug)]
pub enum ReadEnd {
    /// It was told to end.
    Cancelled,
    /// The source has come to its end.
    Finished,
    /// A record or the source needs a decision.
    Stopped(ReportedError),
}

/// What is done with a record that can never be processed.
pub enum Verdict {
    /// The pipeline stops.
    Stop(ReportedError),
    /// It is left out, and counted.
    Skip,
    /// It goes to the dead-letter topic.
    Bury,
}

/// How many invalid records were skipped, by reader and writer.
#[derive(Default)]
pub struct Skipped(AtomicU64);

impl Skipped {
    /// Decides about an invalid record by the policy.
    pub fn judge(&self, config: &SyncConfig, record: &Record, why: &Invalid) -> Verdict {
        let (place, Invalid { reason, message, remedy }) = (record.place(), why);
        let stop = |remedy: String| Verdict::Stop(reported(reason, format!("{place}: {message}"), remedy));
        tracing::warn!(place, reason, message, "a record cannot be processed");
        match &config.errors.on_invalid {
            OnInvalid::Stop => stop(format!(
                "{remedy}; or set errors.onInvalid to Skip or DeadLetter, or move the consumer group past it"
            )),
            OnInvalid::DeadLetter { .. } => Verdict::Bury,
            OnInvalid::Skip { limit } => {
                let before = self.0.fetch_add(1, Ordering::Relaxed);
                match limit {
                    Some(limit) if before >= *limit => {
                        stop(format!("{remedy}; errors.skipLimit of {limit} is used up: raise it, or use DeadLetter"))
                    }
                    _ => Verdict::Skip,
                }
            }
        }
    }
}

/// What gathers for each writer.
struct Gathering {
    batches: Vec<Batch>,
    /// The writer of each partition that has come, given out in turns.
    writers: HashMap<Arc<str>, usize>,
}

impl Gathering {
    fn new(writers: usize) -> Self {
        Self { batches: (0..writers).map(|_| Batch::default()).collect(), writers: HashMap::new() }
    }

    /// The writer of a record's partition.
    fn writer_of(&mut self, record: &Record) -> usize {
        if self.batches.len() == 1 {
            return 0;
        }
        let partition = &record.position.partition;
        if let Some(writer) = self.writers.get(partition) {
            return *writer;
        }
        let writer = self.writers.len() % self.batches.len();
        self.writers.insert(Arc::clone(partition), writer);
        writer
    }

    /// When the first of the batches is due.
    fn deadline(&self, bounds: &BatchConfig) -> Option<Instant> {
        self.batches.iter().filter_map(|batch| batch.deadline(bounds)).min()
    }
}

impl Reader {
    /// Reads until `token` is cancelled, the source ends, or a record stops the pipeline. What was gathered is handed on.
    pub async fn run(self, token: &CancellationToken) -> ReadEnd {
        let mut gathering = Gathering::new(self.lanes.len());
        let end = loop {
            let records = match self.next(&gathering, token).await {
                Next::Records(records) => records,
                Next::Beat(at_millis) => {
                    self.state.beat_taken(at_millis);
                    gathering.batches.iter_mut().for_each(|batch| batch.note_beat(at_millis));
                    continue;
                }
                Next::Due => {
                    let now = Instant::now();
                    let is_due = |batch: &Batch| batch.deadline(&self.config.batch).is_some_and(|due| due <= now);
                    if !self.hand_on_all(&mut gathering, is_due).await {
                        break ReadEnd::Cancelled;
                    }
                    continue;
                }
                Next::Failed => {
                    if !self.hand_on_all(&mut gathering, |_| true).await {
                        break ReadEnd::Cancelled;
                    }
                    continue;
                }
                Next::End(end) => break end,
            };
            match self.gather(&mut gathering, records).await {
                Ok(true) => {}
                Ok(false) => break ReadEnd::Cancelled,
                Err(stop) => break ReadEnd::Stopped(stop),
            }
        };
        self.hand_on_all(&mut gathering, |_| true).await;
        end
    }

    async fn next(&self, gathering: &Gathering, token: &CancellationToken) -> Next {
        let due = gathering.deadline(&self.config.batch);
        let due = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        let read = tokio::select! {
            biased;
            () = token.cancelled() => return Next::End(ReadEnd::Cancelled),
            () = due => return Next::Due,
            at_millis = self.source.beat() => return Next::Beat(at_millis),
            read = self.source.read(READ) => read,
        };
        match read {
            Ok(records) if records.is_empty() && token.is_cancelled() => Next::End(ReadEnd::Cancelled),
            Ok(records) if records.is_empty() => Next::End(ReadEnd::Finished),
            Ok(records) => Next::Records(records),
            Err(ReadError::Stopped(why)) => Next::End(ReadEnd::Stopped(why)),
            Err(ReadError::Unavailable(why)) => {
                self.state.set(Part::Source, Some(why));
                let pause = Duration::from_millis(self.config.errors.retry_interval_millis.clamp(100, 5_000));
                token.run_until_cancelled(tokio::time::sleep(pause)).await;
                Next::Failed
            }
        }
    }

    /// Adds records to the batches and hands on what is full; false when nobody takes batches any more.
    async fn gather(&self, gathering: &mut Gathering, records: Vec<Record>) -> Result<bool, ReportedError> {
        let metrics = &self.state.metrics;
        metrics.read.inc_by(records.len() as u64);
        metrics.in_flight.inc_by(i64::try_from(records.len()).unwrap_or(0));
        for mut record in records {
            let writer = gathering.writer_of(&record);
            let batch = &mut gathering.batches[writer];
            match self.prepare(&mut record) {
                Ok(true) => {
                    batch.note(&record);
                    batch.push(record);
                }
                Ok(false) => {
                    batch.note(&record);
                    metrics.left_out.inc();
                }
                Err(why) => {
                    metrics.fail(why.reason);
                    match self.skipped.judge(&self.config, &record, &why) {
                        Verdict::Stop(stop) => return Err(stop),
                        Verdict::Skip => {
                            batch.note(&record);
                            metrics.skipped.inc();
                        }
                        Verdict::Bury => {
                            batch.note(&record);
                            batch.bury(record, why);
                        }
                    }
                }
            }
            if batch.is_full(&self.config.batch) && !self.hand_on(writer, batch).await {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn prepare(&self, record: &mut Record) -> Result<bool, Invalid> {
        // What is about a whole table has none of the fields that transforms expect.
        Ok(format::decode(self.config.format, record)? && (!record.operation.is_row() || self.steps.apply(record)?))
    }

    /// Hands on the batches for which this is true; false when nobody takes batches any more.
    async fn hand_on_all(&self, gathering: &mut Gathering, is_wanted: impl Fn(&Batch) -> bool) -> bool {
        for (writer, batch) in gathering.batches.iter_mut().enumerate() {
            if is_wanted(batch) && !self.hand_on(writer, batch).await {
                return false;
            }
        }
        true
    }

    /// Gives the batch to its writer, and waits while that is busy.
    async fn hand_on(&self, writer: usize, batch: &mut Batch) -> bool {
        let Some(lane) = self.lanes.get(writer) else { return false };
        batch.is_empty() || lane.send(std::mem::take(batch)).await.is_ok()
    }
}

enum Next {
    Records(Vec<Record>),
    /// A heartbeat, with the time at which it was written.
    Beat(i64),
    /// A batch is to be written now.
    Due,
    /// The source could not be read; what is there is to be written meanwhile.
    Failed,
    End(ReadEnd),
}

#[cfg(test)]
mod tests {
    use super::super::batch::tests::record;
    use super::*;

    #[test]
    fn a_partition_stays_with_its_writer_and_partitions_are_spread() {
        let mut gathering = Gathering::new(3);
        let mut writers =
            |partitions: [&str; 6]| partitions.map(|partition| gathering.writer_of(&record(partition, 0)));
        assert_eq!(writers(["a", "b", "c", "d", "a", "b"]), [0, 1, 2, 0, 0, 1]);
        assert_eq!(writers(["d", "c", "b", "a", "e", "e"]), [0, 2, 1, 0, 1, 1]);
    }
}
