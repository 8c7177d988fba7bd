//! What is known of a pipeline besides its counters: what keeps it from working, and when it last got on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::error::reported;
use super::super::source::SourceStatus;
use super::metrics::SyncMetrics;
use crate::worker_config::report::{BeatReport, ReportedError, SyncReport};

/// Span over which rates are taken.
const RATE_SPAN: Duration = Duration::from_secs(10);
/// Time without an acknowledgement, while records wait and nothing else is wrong, after which the pipeline counts as stalled.
const STALLED_AFTER: Duration = Duration::from_secs(180);

/// What may keep a pipeline from working, in the order in which they explain each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A record or a decision that stops it for good.
    Stopped,
    /// Opening or reading the source.
    Source,
    /// Opening or writing the target: the writer of this number.
    Target(usize),
    /// Nothing gets on, and nobody says why.
    Progress,
}

/// State of a pipeline, shared by its parts.
pub struct State {
    /// Counters.
    pub metrics: SyncMetrics,
    inner: Mutex<Inner>,
}

struct Inner {
    troubles: BTreeMap<Part, ReportedError>,
    is_open: bool,
    checkpoint_at_millis: Option<i64>,
    progress_at: Instant,
    source: SourceStatus,
    /// The heartbeat that came through last.
    beat: Option<BeatReport>,
    /// When the heartbeats were written that are on their way through the pipeline, oldest first.
    beats_under_way: VecDeque<i64>,
    /// When the newest heartbeat was written that has passed each writer.
    beats_passed: Vec<i64>,
    /// Counts of read and written records at moments within [`RATE_SPAN`].
    samples: VecDeque<(Instant, u64, u64)>,
}

impl State {
    /// The state of a pipeline that has not begun.
    #[must_use]
    pub fn new(metrics: SyncMetrics) -> Self {
        let inner = Inner {
            troubles: BTreeMap::new(),
            is_open: false,
            checkpoint_at_millis: None,
            progress_at: Instant::now(),
            source: SourceStatus::default(),
            beat: None,
            beats_under_way: VecDeque::new(),
            beats_passed: vec![i64::MIN],
            samples: VecDeque::new(),
        };
        Self { metrics, inner: Mutex::new(inner) }
    }

    /// Notes that a part is wrong, or well again (`None`).
    pub fn set(&self, part: Part, trouble: Option<ReportedError>) {
        if let Some(trouble) = &trouble {
            self.metrics.fail(&trouble.reason);
        }
        self.lock().put(part, trouble);
    }

    /// Notes that a part works; cheap when it did so before.
    pub fn clear(&self, part: Part) {
        self.lock().troubles.remove(&part);
    }

    /// What explains the state, if anything is wrong.
    #[must_use]
    pub fn trouble(&self) -> Option<ReportedError> {
        self.lock().troubles.values().next().cloned()
    }

    /// Notes that a heartbeat, written at this time, goes into the pipeline.
    pub fn beat_taken(&self, at_millis: i64) {
        self.lock().beats_under_way.push_back(at_millis);
    }

    /// Notes that everything which was read before this heartbeat and went to this writer is at the target. The heartbeat is
    /// through when that is so for every writer.
    pub fn beat_passed(&self, writer: usize, at_millis: i64) {
        let mut inner = self.lock();
        let before = inner.beats_passed.iter().min().copied();
        if let Some(passed) = inner.beats_passed.get_mut(writer) {
            *passed = at_millis.max(*passed);
        }
        let Some(at_millis) = inner.beats_passed.iter().min().copied().filter(|now| Some(*now) > before) else {
            return;
        };
        let delay_millis = elapsed_since(at_millis);
        self.metrics.beat_delay_millis.set(i64::try_from(delay_millis).unwrap_or(i64::MAX));
        inner.beats_under_way.retain(|under_way| *under_way > at_millis);
        inner.beat = Some(BeatReport { written_at_millis: at_millis, delay_millis });
    }

    /// Notes that both sides were opened, with so many writers; what was under way before comes again.
    pub fn opened(&self, writers: usize) {
        let mut inner = self.lock();
        inner.beats_under_way.clear();
        inner.beats_passed = vec![i64::MIN; writers];
        (inner.is_open, inner.progress_at) = (true, Instant::now());
    }

    /// Whether both sides were opened once.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.lock().is_open
    }

    /// Notes an acknowledgement; `at_millis` is the source's time of the newest record.
    pub fn acknowledged(&self, at_millis: Option<i64>) {
        let now = jiff::Timestamp::now().as_millisecond();
        if let Some(at) = at_millis {
            self.metrics.delay_millis.set((now - at).max(0));
        }
        let mut inner = self.lock();
        (inner.checkpoint_at_millis, inner.progress_at) = (Some(now), Instant::now());
    }

    /// Notes that the target takes records, although they may be acknowledged later.
    pub fn progressed(&self) {
        self.lock().progress_at = Instant::now();
    }

    /// Takes up how the source stands, and looks whether anything gets on.
    pub fn observe(&self, source: SourceStatus) {
        self.metrics.lag.set(source.lag.map_or(-1, |lag| i64::try_from(lag).unwrap_or(i64::MAX)));
        let mut inner = self.lock();
        let trouble = source.trouble.clone().filter(|_| source.partitions == 0);
        inner.put(Part::Source, trouble);
        let waits = source.lag.is_some_and(|lag| lag > 0) && source.partitions > 0;
        if !waits {
            inner.progress_at = Instant::now();
        }
        let quiet = inner.progress_at.elapsed();
        let trouble = (quiet >= STALLED_AFTER).then(|| {
            reported(
                "NoProgress",
                format!(
                    "{} records wait and none was acknowledged for {} s",
                    source.lag.unwrap_or_default(),
                    quiet.as_secs()
                ),
                "look at the worker's log, and at the load of source and target",
            )
        });
        inner.put(Part::Progress, trouble);
        inner.source = source;
    }

    /// The figures for the report.
    #[must_use]
    pub fn report(&self) -> SyncReport {
        let metrics = &self.metrics;
        let (read, written) = (metrics.read.get(), metrics.written.get());
        let mut inner = self.lock();
        let (read_rate, write_rate) = inner.rates(read, written);
        SyncReport {
            read,
            written,
            repeated: metrics.repeated.get(),
            resent: metrics.resent.get(),
            left_out: metrics.left_out.get(),
            skipped: metrics.skipped.get(),
            dead_lettered: metrics.dead_lettered.get(),
            failed_writes: metrics.failed_writes.get(),
            in_flight: u64::try_from(metrics.in_flight.get()).unwrap_or(0),
            lag: inner.source.lag,
            delay_millis: u64::try_from(metrics.delay_millis.get()).ok(),
            heartbeat: inner.beat(),
            read_rate,
            write_rate,
            partitions: inner.source.partitions,
            checkpoint_at_millis: inner.checkpoint_at_millis,
            tables: inner.source.tables.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn elapsed_since(at_millis: i64) -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond() - at_millis).unwrap_or(0)
}

impl Inner {
    fn put(&mut self, part: Part, trouble: Option<ReportedError>) {
        match trouble {
            Some(trouble) => _ = self.troubles.insert(part, trouble),
            None => _ = self.troubles.remove(&part),
        }
    }

    /// The newest heartbeat that came through, or one that is still on its way and has been for longer.
    fn beat(&self) -> Option<BeatReport> {
        let waiting = self.beats_under_way.front().copied().or(self.source.waiting_beat_millis);
        let waiting = waiting.map(|at| BeatReport { written_at_millis: at, delay_millis: elapsed_since(at) });
        self.beat.into_iter().chain(waiting).max_by_key(|beat| beat.delay_millis)
    }

    /// Records a second since the oldest sample.
    fn rates(&mut self, read: u64, written: u64) -> (f64, f64) {
        let now = Instant::now();
        while self.samples.front().is_some_and(|(at, ..)| now.duration_since(*at) > RATE_SPAN) {
            self.samples.pop_front();
        }
        self.samples.push_back((now, read, written));
        let Some((at, first_read, first_written)) = self.samples.front() else { return (0.0, 0.0) };
        let seconds = now.duration_since(*at).as_secs_f64();
        if seconds < 0.5 {
            return (0.0, 0.0);
        }
        let rate = |now: u64, then: u64| ((now.saturating_sub(then)) as f64 / seconds * 10.0).round() / 10.0;
        (rate(read, *first_read), rate(written, *first_written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::worker_config::Identity;

    fn state() -> State {
        let identity = Identity { kind: "RocketMQSync".into(), namespace: "n".into(), name: "s".into(), generation: 1 };
        State::new(SyncMetrics::register(&Metrics::new("worker"), &identity))
    }

    #[test]
    fn a_stop_explains_before_the_source() {
        let state = state();
        state.set(Part::Source, Some(reported("Connect", "", "")));
        state.set(Part::Stopped, Some(reported("InvalidBody", "", "")));
        assert_eq!(state.trouble().unwrap().reason, "InvalidBody");
        state.clear(Part::Stopped);
        assert_eq!(state.trouble().unwrap().reason, "Connect");
    }

    #[test]
    fn a_heartbeat_that_is_stuck_shows_how_long() {
        let (state, now) = (state(), jiff::Timestamp::now().as_millisecond());
        assert_eq!(state.report().heartbeat, None);
        state.beat_taken(now - 40);
        state.beat_passed(0, now - 40);
        let beat = state.report().heartbeat.unwrap();
        assert!(beat.written_at_millis == now - 40 && (40..5_000).contains(&beat.delay_millis), "{beat:?}");
        state.beat_taken(now - 60_000);
        assert!(state.report().heartbeat.unwrap().delay_millis >= 60_000);
        state.opened(1);
        state.beat_taken(now);
        state.beat_passed(0, now);
        assert!(state.report().heartbeat.unwrap().delay_millis < 5_000);
        state.observe(SourceStatus { waiting_beat_millis: Some(now - 90_000), ..SourceStatus::default() });
        assert!(state.report().heartbeat.unwrap().delay_millis >= 90_000);
    }

    #[test]
    fn a_heartbeat_is_through_when_every_writer_has_it() {
        let (state, now) = (state(), jiff::Timestamp::now().as_millisecond());
        state.opened(2);
        state.beat_taken(now - 5_000);
        state.beat_passed(0, now - 5_000);
        state.beat_passed(0, now);
        assert!(state.report().heartbeat.unwrap().delay_millis >= 5_000);
        state.beat_passed(1, now - 5_000);
        let beat = state.report().heartbeat.unwrap();
        assert_eq!(beat.written_at_millis, now - 5_000);
        state.beat_passed(1, now);
        assert_eq!(state.report().heartbeat.unwrap().written_at_millis, now);
    }

    #[test]
    fn a_writer_that_works_does_not_hide_one_that_does_not() {
        let state = state();
        state.set(Part::Target(1), Some(reported("Timeout", "", "")));
        state.clear(Part::Target(0));
        assert_eq!(state.trouble().unwrap().reason, "Timeout");
        state.clear(Part::Target(1));
        assert_eq!(state.trouble(), None);
    }

    #[test]
    fn some_unreadable_queues_do_not_make_the_whole_fail() {
        let state = state();
        let trouble = Some(reported("BrokerUnreachable", "", ""));
        state.observe(SourceStatus { partitions: 2, trouble: trouble.clone(), ..SourceStatus::default() });
        assert_eq!(state.trouble(), None);
        state.observe(SourceStatus { partitions: 0, trouble, ..SourceStatus::default() });
        assert_eq!(state.trouble().unwrap().reason, "BrokerUnreachable");
    }
}
