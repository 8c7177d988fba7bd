//! Runs of a worker: each compares everything, and its figures take the place of those before.

use std::time::Instant;

use super::super::super::source::database::inspect::NOT_LOADED;
use super::super::super::sync::Setting;
use super::super::super::transform::Steps;
use super::super::schedule::{Cause, LOOK, Schedule};
use super::compare;
use crate::worker_config::verify::{VerifyConfig, VerifyReport};

/// Verifies as the configuration has it, for ever.
pub async fn watch(setting: &Setting, steps: &Steps, config: &VerifyConfig) {
    let mut instructions = setting.reporter.instructions();
    let (mut schedule, mut report) = (Schedule::new(config), VerifyReport::default());
    setting.reporter.set_verify(report.clone());
    loop {
        let told = instructions.borrow_and_update().verify.clone();
        if let Some(cause) = schedule.due(told.as_ref()) {
            schedule.begin(told);
            report = verify(setting, steps, config, cause, report).await;
            schedule.end();
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// One run; what is known after it.
async fn verify(
    setting: &Setting,
    steps: &Steps,
    config: &VerifyConfig,
    cause: Cause,
    before: VerifyReport,
) -> VerifyReport {
    let began = Instant::now();
    setting.reporter.set_verify(VerifyReport { is_running: true, ..before.clone() });
    let most = usize::try_from(config.max_reported).unwrap_or(usize::MAX);
    let mut report = match compare(setting, steps, most).await {
        Ok(outcome) => {
            let counts = outcome.counts;
            if counts.has_differences() {
                let (missing, extra, different) = (counts.missing, counts.extra, counts.different);
                tracing::warn!(missing, extra, different, "source and target differ");
            }
            VerifyReport {
                runs: before.runs + 1,
                from_millis: outcome.span.map(|(first, _)| first),
                to_millis: outcome.span.map(|(_, last)| last),
                counts,
                findings: outcome.findings,
                ..VerifyReport::default()
            }
        }
        // Nobody has asked, and there is nothing to compare yet.
        Err(error) if error.reason == NOT_LOADED && cause == Cause::Interval => {
            setting.reporter.set_verify(before.clone());
            return before;
        }
        Err(error) => {
            tracing::warn!(reason = error.reason, error = error.message, "source and target could not be compared");
            VerifyReport { error: Some(error), ..before }
        }
    };
    report.finished_at_millis = Some(jiff::Timestamp::now().as_millisecond());
    report.duration_millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    setting.reporter.set_verify(report.clone());
    report
}
