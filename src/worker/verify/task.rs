//! Runs of a worker: at an interval, and when the operator orders one.

use std::collections::BTreeMap;
use std::time::Instant;

use super::super::error::rocketmq_report;
use super::super::source::AnySource;
use super::super::source::rocketmq::RocketMqSource;
use super::super::sync::Setting;
use super::super::sync::cluster;
use super::super::transform::Steps;
use super::capture;
use super::run::{Outcome, Subject};
use super::schedule::{Cause, LOOK, Schedule};
use super::table::TableSubject;
use super::window::Window;
use crate::rocketmq::{Client, Queue};
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::TargetConfig;
use crate::worker_config::verify::{VerifyConfig, VerifyReport};

/// Verifies as the configuration has it, for ever.
pub async fn watch(setting: &Setting, steps: &Steps, source: &AnySource) {
    match (&setting.config.verify, source) {
        (Some(config), AnySource::RocketMq(source)) => {
            let task = Task { setting, steps, source, config, begun: BTreeMap::new(), report: VerifyReport::default() };
            task.run().await;
        }
        (Some(config), AnySource::Postgres(_) | AnySource::MySql(_)) => capture::watch(setting, steps, config).await,
        (None, _) => {}
    }
    std::future::pending().await
}

struct Task<'a> {
    setting: &'a Setting,
    steps: &'a Steps,
    source: &'a RocketMqSource,
    config: &'a VerifyConfig,
    /// Where each queue's reading began, and where the newest run ended.
    begun: BTreeMap<Queue, Begun>,
    report: VerifyReport,
}

#[derive(Debug, Clone, Copy)]
struct Begun {
    /// Offset of the first message that was read here.
    first: i64,
    /// When that was known, milliseconds since the Unix epoch.
    at_millis: i64,
    /// Offset behind the last message that was compared.
    compared: i64,
    /// When that was acknowledged, milliseconds since the Unix epoch.
    compared_at_millis: i64,
}

impl Task<'_> {
    async fn run(mut self) {
        let mut instructions = self.setting.reporter.instructions();
        let mut schedule = Schedule::new(self.config);
        self.tell();
        loop {
            self.look();
            let told = instructions.borrow_and_update().verify.clone();
            if let Some(cause) = schedule.due(told.as_ref()).filter(|_| !self.begun.is_empty()) {
                schedule.begin(told);
                self.verify(cause).await;
                schedule.end();
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Takes up queues that are new here, and forgets those that have gone to another worker.
    fn look(&mut self) -> BTreeMap<Queue, i64> {
        let acknowledged: BTreeMap<Queue, i64> = self.source.acknowledged().into_iter().collect();
        self.begun.retain(|queue, _| acknowledged.contains_key(queue));
        let at_millis = jiff::Timestamp::now().as_millisecond();
        for (queue, first) in &acknowledged {
            let begun = Begun { first: *first, at_millis, compared: *first, compared_at_millis: at_millis };
            self.begun.entry(queue.clone()).or_insert(begun);
        }
        acknowledged
    }

    async fn verify(&mut self, cause: Cause) {
        let (began, acknowledged) = (Instant::now(), self.look());
        if cause == Cause::Order {
            // An order is about all that this worker knows of, or about the given time.
            self.report = VerifyReport::default();
            for begun in self.begun.values_mut() {
                (begun.compared, begun.compared_at_millis) = (begun.first, begun.at_millis);
            }
        }
        let now = jiff::Timestamp::now().as_millisecond();
        self.report.is_running = true;
        self.tell();
        match self.compare(cause, acknowledged).await {
            Ok((windows, outcome)) => {
                for (window, end) in windows.iter().zip(&outcome.ends) {
                    if let Some(begun) = self.begun.get_mut(&window.queue) {
                        (begun.compared, begun.compared_at_millis) = (*end, now);
                    }
                }
                self.take_up(outcome);
            }
            Err(error) => {
                tracing::warn!(reason = error.reason, error = error.message, "source and target could not be compared");
                self.report.error = Some(error);
            }
        }
        self.report.is_running = false;
        self.report.finished_at_millis = Some(jiff::Timestamp::now().as_millisecond());
        self.report.duration_millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.tell();
    }

    async fn compare(
        &self,
        cause: Cause,
        acknowledged: BTreeMap<Queue, i64>,
    ) -> Result<(Vec<Window>, Outcome), ReportedError> {
        let (windows, begun_millis) = self.windows(cause, acknowledged).await?;
        let most = usize::try_from(self.config.max_reported).unwrap_or(usize::MAX);
        let outcome =
            compare(self.setting, self.steps, self.source.client(), windows.clone(), begun_millis, most).await?;
        Ok((windows, outcome))
    }

    /// The windows, and the time before which everything that stands before them was stored.
    async fn windows(
        &self,
        cause: Cause,
        acknowledged: BTreeMap<Queue, i64>,
    ) -> Result<(Vec<Window>, i64), ReportedError> {
        if let Some(window) = self.config.window_millis.filter(|_| cause == Cause::Order) {
            let since = jiff::Timestamp::now().as_millisecond() - i64::try_from(window).unwrap_or(i64::MAX);
            return Ok((since_windows(self.source.client(), acknowledged, since).await?, since));
        }
        let begun_millis = self.begun.values().map(|begun| begun.compared_at_millis).max().unwrap_or_default();
        let windows = acknowledged.into_iter().map(|(queue, to)| {
            let from = self.begun.get(&queue).map_or(to, |begun| begun.compared.min(to));
            Window { queue, from, to }
        });
        Ok((windows.collect(), begun_millis))
    }

    fn take_up(&mut self, outcome: Outcome) {
        let (report, counts) = (&mut self.report, outcome.counts);
        if counts.has_differences() {
            let (missing, extra, different) = (counts.missing, counts.extra, counts.different);
            tracing::warn!(missing, extra, different, "source and target differ");
        }
        report.runs += 1;
        report.counts.add(&counts);
        if let Some((oldest, newest)) = outcome.span {
            report.from_millis = Some(report.from_millis.map_or(oldest, |known| known.min(oldest)));
            report.to_millis = Some(report.to_millis.map_or(newest, |known| known.max(newest)));
        }
        report.findings.extend(outcome.findings);
        report.findings.truncate(usize::try_from(self.config.max_reported).unwrap_or(usize::MAX));
        (report.is_cut, report.error) = (outcome.is_cut, None);
    }

    fn tell(&self) {
        self.setting.reporter.set_verify(self.report.clone());
    }
}

/// Compares windows of the source with the target, as [`Subject::run`] and [`TableSubject::run`] do.
///
/// # Errors
/// A side cannot be read, or the sync cannot be verified.
pub async fn compare(
    setting: &Setting,
    steps: &Steps,
    from: &Client,
    windows: Vec<Window>,
    begun_millis: i64,
    most: usize,
) -> Result<Outcome, ReportedError> {
    let TargetConfig::RocketMq(target) = &setting.config.target else {
        // It tells in words what cannot be compared.
        return TableSubject::new(&setting.config, steps, from)?.run(windows, most).await;
    };
    let there = cluster::connect(setting, &target.cluster, "the target").await?;
    let compared =
        async { Subject::new(&setting.config, steps, from, there.client())?.run(windows, begun_millis, most).await };
    let compared = compared.await;
    there.close().await;
    compared
}

/// Windows from a time, milliseconds since the Unix epoch, up to what is acknowledged of each queue.
///
/// # Errors
/// A broker cannot be asked.
pub async fn since_windows(
    client: &Client,
    acknowledged: impl IntoIterator<Item = (Queue, i64)>,
    since: i64,
) -> Result<Vec<Window>, ReportedError> {
    let (admin, mut windows) = (client.admin(), Vec::new());
    for (queue, to) in acknowledged {
        let from = admin.search_offset(&queue, since).await;
        let from = from.map_err(|error| rocketmq_report("the source: failed to look for where to begin", &error))?;
        windows.push(Window { queue, from: from.min(to), to });
    }
    Ok(windows)
}
