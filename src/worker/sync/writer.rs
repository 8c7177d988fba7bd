//! Writes batches, one after the other, and acknowledges what the target has durably. Several writers share the partitions of a
//! source between them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::record::Invalid;
use super::super::sink::{AnySink, Sink, WriteError, Written};
use super::super::source::{AnySource, Source};
use super::Setting;
use super::batch::Batch;
use super::dead_letter::DeadLetters;
use super::reader::{Skipped, Verdict};
use super::settlement::Settlement;
use super::state::{Part, State};
use crate::worker_config::report::ReportedError;

/// First pause after a failed write; it doubles up to `errors.retryInterval`.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Writes to a target.
pub struct Writer {
    /// Its number among the writers of the pipeline, from 0.
    pub number: usize,
    pub setting: Setting,
    pub source: Arc<AnySource>,
    pub sink: AnySink,
    pub dead_letters: Option<DeadLetters>,
    pub state: Arc<State>,
    pub skipped: Arc<Skipped>,
    pub settlement: Settlement,
}

/// Why nothing more is written.
#[derive(Debug)]
pub enum WriteEnd {
    /// There are no more batches.
    Drained,
    /// It was told to end while the target did not take a batch.
    GivenUp,
    /// A record or the target needs a decision.
    Stopped(ReportedError),
}

impl Writer {
    /// Writes all batches. After `token` is cancelled a batch is not tried again: it comes again after the next start.
    pub async fn run(mut self, mut batches: mpsc::Receiver<Batch>, token: &CancellationToken) -> WriteEnd {
        let mut end = WriteEnd::Drained;
        loop {
            let due = self.sink.gathered().due;
            let outcome = tokio::select! {
                batch = batches.recv() => match batch {
                    Some(batch) => self.write(batch, token).await,
                    None => break,
                },
                () = until(due) => self.finish(token).await,
            };
            if let Err(stop) = outcome {
                end = stop;
                break;
            }
        }
        drop(batches);
        if !matches!(end, WriteEnd::GivenUp) {
            self.finish_everything().await;
        }
        if let Err(error) = self.sink.close().await {
            tracing::warn!(%error, "the target could not be closed; what was open comes again");
        }
        if let Some(dead_letters) = self.dead_letters {
            dead_letters.close().await;
        }
        end
    }

    async fn write(&mut self, mut batch: Batch, token: &CancellationToken) -> Result<(), WriteEnd> {
        let (began, gathered) = (Instant::now(), self.sink.gathered().records);
        self.let_go_of_lost().await;
        let (stop, mut written) = self.write_records(&mut batch, token).await?;
        self.write_dead_letters(&batch, token).await?;
        let metrics = &self.state.metrics;
        if batch.count() > 0 {
            metrics.observe_write(began.elapsed());
        }
        let done = batch.count() as u64 + gathered;
        metrics.in_flight.dec_by(i64::try_from(done.saturating_sub(self.sink.gathered().records)).unwrap_or(0));
        if self.sink.gathered().oldest.is_none() {
            written.newest_millis = batch.newest_millis();
        }
        self.settlement.note(&batch);
        self.settle(&written);
        match stop {
            Some(stop) => Err(WriteEnd::Stopped(stop)),
            None => Ok(()),
        }
    }

    /// Acknowledges what is durable, and passes on that it is.
    fn settle(&mut self, written: &Written) {
        let settled = self.settlement.settle(&self.sink);
        self.source.set_aside(&settled.aside);
        if let Some(at_millis) = settled.beat {
            self.state.beat_passed(self.number, at_millis);
        }
        if !settled.durable.is_empty() {
            self.source.acknowledge(&settled.durable);
            self.state.acknowledged(written.newest_millis);
        }
        for first in self.sink.overtaken() {
            if !self.source.read_again(&first) {
                self.setting.session.cancel();
            }
        }
        self.state.progressed();
    }

    /// Gives up what was gathered of partitions that others have now: of two objects that hold the same, one would be made in vain.
    async fn let_go_of_lost(&mut self) {
        let source = Arc::clone(&self.source);
        self.sink.let_go(move |first| source.is_held(first)).await;
    }

    /// Makes durable what is due, and tries that until it is done.
    async fn finish(&mut self, token: &CancellationToken) -> Result<(), WriteEnd> {
        let (mut retry, gathered) = (Retry::new(&self.setting), self.sink.gathered().records);
        self.let_go_of_lost().await;
        let written = loop {
            match self.sink.finish(false).await {
                Ok(written) => break written,
                Err(error) => self.wait(&mut retry, error.report(), token).await?,
            }
        };
        self.finished(&written, gathered);
        Ok(())
    }

    /// Makes everything durable before the end; what is not comes again.
    async fn finish_everything(&mut self) {
        let gathered = self.sink.gathered().records;
        self.let_go_of_lost().await;
        match self.sink.finish(true).await {
            Ok(written) => self.finished(&written, gathered),
            Err(error) => {
                tracing::warn!(%error, "what was gathered for the target could not be finished; it comes again");
                self.settle(&Written::default());
            }
        }
    }

    fn finished(&mut self, written: &Written, gathered: u64) {
        let durable = gathered.saturating_sub(self.sink.gathered().records);
        self.state.metrics.in_flight.dec_by(i64::try_from(durable).unwrap_or(0));
        self.count(written);
        self.state.clear(Part::Target(self.number));
        self.settle(written);
    }

    /// Writes until the target has all records, apart from those that are invalid. Gives why the pipeline is to stop behind
    /// what is left of the batch, and what became of it.
    async fn write_records(
        &mut self,
        batch: &mut Batch,
        token: &CancellationToken,
    ) -> Result<(Option<ReportedError>, Written), WriteEnd> {
        let (mut retry, mut stop, mut all) = (Retry::new(&self.setting), None, Written::default());
        while !batch.records.is_empty() {
            match self.sink.write(&batch.records).await {
                Ok(written) => {
                    self.count(&written);
                    all.add(&written);
                    self.state.clear(Part::Target(self.number));
                    break;
                }
                Err(WriteError::Invalid { index, reason, message, remedy }) if index < batch.records.len() => {
                    let why = Invalid { reason, message, remedy };
                    stop = self.set_aside(batch, index, why).or(stop);
                }
                Err(error) => self.wait(&mut retry, error.report(), token).await?,
            }
        }
        Ok((stop, all))
    }

    /// Takes an invalid record out of the batch by the policy; on a stop, all that come after it as well.
    fn set_aside(&self, batch: &mut Batch, index: usize, why: Invalid) -> Option<ReportedError> {
        self.state.metrics.fail(why.reason);
        match self.skipped.judge(&self.setting.config, &batch.records[index], &why) {
            Verdict::Stop(stop) => {
                batch.cut(index);
                return Some(stop);
            }
            Verdict::Skip => {
                batch.records.remove(index);
                self.state.metrics.skipped.inc();
            }
            Verdict::Bury => {
                let record = batch.records.remove(index);
                batch.bury(record, why);
            }
        }
        None
    }

    async fn write_dead_letters(&mut self, batch: &Batch, token: &CancellationToken) -> Result<(), WriteEnd> {
        let mut retry = Retry::new(&self.setting);
        while let Some(letters) = self.dead_letters.as_mut().filter(|_| !batch.dead.is_empty()) {
            match letters.send(&self.setting, &batch.dead).await {
                Ok(()) => {
                    self.state.metrics.dead_lettered.inc_by(batch.dead.len() as u64);
                    self.state.clear(Part::Target(self.number));
                    break;
                }
                Err(error) => self.wait(&mut retry, error, token).await?,
            }
        }
        Ok(())
    }

    fn count(&self, Written { written, repeated, left_out, resent, .. }: &Written) {
        let metrics = &self.state.metrics;
        metrics.written.inc_by(*written);
        metrics.repeated.inc_by(*repeated);
        metrics.left_out.inc_by(*left_out);
        metrics.resent.inc_by(*resent);
    }

    /// Tells that the target fails, and waits for the next try.
    async fn wait(&self, retry: &mut Retry, error: ReportedError, token: &CancellationToken) -> Result<(), WriteEnd> {
        self.state.metrics.failed_writes.inc();
        if let Some(limit) = retry.limit.filter(|limit| retry.began.elapsed() >= *limit) {
            let message = format!("{} (tried for {} s, errors.retryFor)", error.message, limit.as_secs());
            return Err(WriteEnd::Stopped(ReportedError { message, ..error }));
        }
        tracing::warn!(
            reason = error.reason,
            error = error.message,
            remedy = error.remedy,
            "the target does not take a batch; it is tried again"
        );
        self.state.set(Part::Target(self.number), Some(error));
        match token.run_until_cancelled(tokio::time::sleep(retry.next_pause())).await {
            Some(()) => Ok(()),
            None => Err(WriteEnd::GivenUp),
        }
    }
}

/// Waits until a moment; for ever when there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// When a write is tried again.
struct Retry {
    began: Instant,
    pause: Duration,
    longest: Duration,
    limit: Option<Duration>,
}

impl Retry {
    fn new(setting: &Setting) -> Self {
        let errors = &setting.config.errors;
        let longest = Duration::from_millis(errors.retry_interval_millis);
        let limit = errors.retry_for_millis.map(Duration::from_millis);
        Self { began: Instant::now(), pause: FIRST_PAUSE.min(longest), longest, limit }
    }

    /// The pause before the next try: short at first, so that a moment's trouble costs a moment.
    fn next_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(self.longest);
        pause
    }
}
