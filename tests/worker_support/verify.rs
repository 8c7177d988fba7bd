//! Comparisons of source and target that are ordered of a worker, or made by the command.

use std::process::Command;

use rocketmq_connector::worker_config::report::Instructions;
use rocketmq_connector::worker_config::verify::{Difference, VerifyConfig, VerifyReport};
use rocketmq_connector::worker_config::{SyncConfig, WorkerReport};

use super::sync::Running;

/// Lets a sync compare when it is ordered to, and each so many milliseconds.
pub fn verified(mut config: SyncConfig, interval_millis: Option<u64>) -> SyncConfig {
    config.verify = Some(VerifyConfig { interval_millis, window_millis: None, max_reported: 100 });
    config
}

/// Orders a comparison and waits for its end.
pub async fn outcome(running: &Running, order: &str) -> VerifyReport {
    let before = finished(&running.report());
    running.reporter().instruct(Instructions { verify: Some(order.to_owned()), ..Instructions::default() });
    running.until("the comparison", |report, _| finished(report) > before).await;
    running.report().verify.unwrap()
}

/// The same, of one that has come to its end.
pub async fn compared(running: &Running, order: &str) -> VerifyReport {
    let report = outcome(running, order).await;
    assert_eq!(report.error, None);
    report
}

fn finished(report: &WorkerReport) -> Option<i64> {
    report.verify.as_ref().filter(|verify| !verify.is_running)?.finished_at_millis
}

/// Kind, key and columns of what is listed, in the order of the keys.
pub fn listed(report: &VerifyReport) -> Vec<(Difference, &str, String)> {
    let listed = report.findings.iter().map(|finding| (finding.kind, finding.key.as_str(), finding.columns.join(",")));
    let mut listed: Vec<_> = listed.collect();
    listed.sort();
    listed
}

/// Whatever a worker has found in each of its runs, until there were so many.
pub async fn runs(running: &Running, count: u64) -> Vec<VerifyReport> {
    let mut reports: Vec<VerifyReport> = Vec::new();
    while (reports.len() as u64) < count {
        let seen = reports.last().map_or(0, |report| report.runs);
        let has_run = |verify: &VerifyReport| !verify.is_running && verify.runs > seen;
        running.until("the next run", |report, _| report.verify.as_ref().is_some_and(has_run)).await;
        let report = running.report().verify.unwrap();
        assert_eq!(report.error, None);
        reports.push(report);
    }
    reports
}

/// Checks that no run has found anything wrong, or could not judge a row.
pub fn raise_no_alarm(reports: &[VerifyReport]) {
    for report in reports {
        assert!(!report.counts.has_differences() && report.counts.undecided == 0, "{report:#?}");
        assert_eq!(report.counts.target, report.counts.source);
    }
}

/// Rows as they should be; of them: missing, different and extra ones, and those that cannot be judged.
pub fn figures(report: &VerifyReport) -> (u64, u64, u64, u64, u64) {
    let counts = report.counts;
    (counts.target, counts.missing, counts.different, counts.extra, counts.undecided)
}

/// Runs `rocketmq-connector verify` with a manifest; its exit code, and what it prints.
pub fn command(manifest: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sync.yaml");
    std::fs::write(&path, manifest).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rocketmq-connector"));
    let output = command.args(["verify", "-f"]).arg(&path).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr))
}
