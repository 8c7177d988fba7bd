//! Comparing source and target: what the worker is asked for, and what its report comes to.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::api::RocketMQSyncSpec;
use crate::api::condition::{reasons, types};
use crate::api::sync::VerifyMode;
use crate::api::sync_verify::{VerifyDifference, VerifyStatus};
use crate::controller::conditions::Draft;
use crate::controller::error::Problem;
use crate::controller::worker_status::PodReport;
use crate::controller::workload::state::readable;
use crate::worker_config::verify::{Finding, VerifyConfig, VerifyReport};

use super::steps::millis;

/// Milliseconds between two runs when the spec says nothing.
const INTERVAL_MILLIS: u64 = 600_000;
/// Differences that a condition's message names.
const NAMED: usize = 3;

/// What the worker is asked for.
///
/// # Errors
/// A text that is no duration.
pub fn verify_config(spec: &RocketMQSyncSpec) -> Result<Option<VerifyConfig>, Problem> {
    let Some(verify) = &spec.verify else { return Ok(None) };
    let interval = verify.interval.as_ref().map(|interval| millis("spec.verify.interval", interval)).transpose()?;
    let window = verify.window.as_ref().map(|window| millis("spec.verify.window", window)).transpose()?;
    let is_continuous = verify.mode == VerifyMode::Continuous;
    Ok(Some(VerifyConfig {
        interval_millis: is_continuous.then_some(interval.unwrap_or(INTERVAL_MILLIS)),
        window_millis: window,
        max_reported: u32::try_from(verify.max_reported).unwrap_or(1),
    }))
}

/// What cannot be compared.
pub fn problems(spec: &RocketMQSyncSpec) -> Vec<Problem> {
    let Some(verify) = &spec.verify else { return Vec::new() };
    let (source, target) = (&spec.source, &spec.target);
    let has_sql = source.filter.as_ref().is_some_and(|filter| filter.sql.is_some());
    let checks = [
        (
            target.http.is_some(),
            "spec.verify: an HTTP endpoint cannot be asked what it holds; remove spec.verify, and count at the receiver",
        ),
        (
            target.object_storage.is_some(),
            "spec.verify: objects are not read back; remove spec.verify, and count their records by a query",
        ),
        (
            is_database(spec) && verify.window.is_some(),
            "spec.verify.window: the tables of a database are compared as they are, whole; remove it",
        ),
        (
            has_sql,
            "spec.verify: only a broker can evaluate source.filter.sql; use filter.tags or a transform with filter, or remove spec.verify",
        ),
        (
            target.delay.is_some(),
            "spec.verify: messages with target.delay come to their topic later than they are acknowledged; remove one of the two",
        ),
    ];
    let wrong = checks.into_iter().filter(|(wrong, _)| *wrong);
    wrong.map(|(_, message)| Problem::new(reasons::NOT_IMPLEMENTED, message)).collect()
}

/// All workers' reports as one; none before the first.
pub fn total(reports: &BTreeMap<String, PodReport>) -> Option<VerifyReport> {
    let parts = readable(reports).filter_map(|(_, report)| report.verify.as_ref());
    parts.fold(None, |sum: Option<VerifyReport>, part| match sum {
        None => Some(part.clone()),
        Some(mut sum) => {
            sum.add(part);
            Some(sum)
        }
    })
}

/// `Verified`, while the spec asks for it.
pub fn condition(spec: &RocketMQSyncSpec, report: Option<&VerifyReport>) -> Option<Draft> {
    spec.verify.as_ref()?;
    let Some(report) = report.filter(|report| report.finished_at_millis.is_some()) else {
        let message = "source and target were not compared yet";
        return Some(Draft::unknown(types::VERIFIED, reasons::VERIFY_PENDING, message));
    };
    if let Some(error) = &report.error {
        let message = format!("{}; {}", error.message, error.remedy);
        return Some(Draft::new(types::VERIFIED, false, reasons::VERIFY_FAILED, message));
    }
    let counts = &report.counts;
    if !counts.has_differences() {
        let message = match (is_database(spec), is_table(spec)) {
            (true, _) => format!(
                "{} rows were compared: the topics have {} of them as they should be, {} are left out, {} cannot be judged",
                counts.source, counts.target, counts.left_out, counts.undecided
            ),
            (false, true) => format!(
                "the rows of {} messages were compared: {} are as they should be, {} cannot be judged",
                counts.source, counts.target, counts.undecided
            ),
            (false, false) => {
                format!("{} messages were compared, {} of them at the target", counts.source, counts.target)
            }
        };
        return Some(Draft::new(types::VERIFIED, true, reasons::VERIFIED, message));
    }
    let named: Vec<String> = report.findings.iter().take(NAMED).map(words).collect();
    let message = format!(
        "of {} {} are missing, {} different and {} extra at the target: {}; status.verify lists them, and \
         rocketmq-connector verify",
        match (is_database(spec), is_table(spec)) {
            (true, _) => format!("{} rows", counts.source),
            (false, true) => format!("the rows of {} messages", counts.source),
            (false, false) => format!("{} messages", counts.source),
        },
        counts.missing,
        counts.different,
        counts.extra,
        named.join("; ")
    );
    Some(Draft::new(types::VERIFIED, false, reasons::DIFFERENCES_FOUND, message))
}

/// Whether the rows of the source are compared.
fn is_database(spec: &RocketMQSyncSpec) -> bool {
    spec.source.postgres.is_some() || spec.source.mysql.is_some()
}

/// Whether rows of the target are compared.
fn is_table(spec: &RocketMQSyncSpec) -> bool {
    spec.target.postgres.is_some() || spec.target.mysql.is_some()
}

fn words(finding: &Finding) -> String {
    format!("{:?} {} ({})", finding.kind, finding.key, finding.place)
}

/// The report for the status, with `most` differences.
pub fn status(report: &VerifyReport, most: i32) -> VerifyStatus {
    let counts = &report.counts;
    let state = match (report.is_running, &report.error, report.finished_at_millis) {
        (true, ..) => "Running",
        (false, Some(_), _) => "Failed",
        (false, None, Some(_)) => "Finished",
        (false, None, None) => "Waiting",
    };
    let difference = |finding: &Finding| VerifyDifference {
        kind: format!("{:?}", finding.kind),
        key: finding.key.clone(),
        id: finding.id.clone(),
        place: finding.place.clone(),
        topic: finding.topic.clone(),
        columns: finding.columns.clone(),
    };
    let most = usize::try_from(most).unwrap_or(0);
    VerifyStatus {
        state: state.to_owned(),
        last_run: report.finished_at_millis.and_then(time),
        duration_millis: signed(report.duration_millis),
        window_start: report.from_millis.and_then(time),
        window_end: report.to_millis.and_then(time),
        source: signed(counts.source),
        target: signed(counts.target),
        left_out: signed(counts.left_out),
        missing: signed(counts.missing),
        extra: signed(counts.extra),
        different: signed(counts.different),
        duplicates: signed(counts.duplicates),
        undecided: signed(counts.undecided),
        is_cut: report.is_cut,
        differences: report.findings.iter().take(most).map(difference).collect(),
        error: report.error.as_ref().map(|error| format!("{}; {}", error.message, error.remedy)),
    }
}

/// A time for a status.
pub fn time(millis: i64) -> Option<Time> {
    Timestamp::from_millisecond(millis).ok().map(Time)
}

/// A figure for a status.
pub fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::worker_config::verify::{Difference, VerifyCounts};

    fn spec() -> RocketMQSyncSpec {
        let spec = json!({
            "source": {"connectionRef": {"name": "a"}, "topics": ["t"]}, "target": {"connectionRef": {"name": "b"}}, "verify": {},
        });
        serde_json::from_value(spec).unwrap()
    }

    fn report(counts: VerifyCounts) -> VerifyReport {
        VerifyReport { finished_at_millis: Some(1), counts, ..VerifyReport::default() }
    }

    #[test]
    fn repetitions_are_no_difference_and_lost_messages_are_named() {
        let outcome = |report: Option<&VerifyReport>| condition(&spec(), report).unwrap();
        assert!(!outcome(None).is_true() && !outcome(None).is_false());
        let same = report(VerifyCounts { source: 9, target: 9, duplicates: 2, ..VerifyCounts::default() });
        assert!(outcome(Some(&same)).is_true());
        let mut lost = report(VerifyCounts { source: 9, target: 8, missing: 1, ..VerifyCounts::default() });
        lost.findings.push(Finding {
            kind: Difference::Missing,
            key: "k7".to_owned(),
            id: "ID".to_owned(),
            place: "topic t, broker b, queue 0, offset 7".to_owned(),
            topic: "copy".to_owned(),
            columns: Vec::new(),
        });
        assert!(outcome(Some(&lost)).is_false());
        let shown = status(&lost, 20);
        assert_eq!((shown.state.as_str(), shown.missing, shown.differences[0].key.as_str()), ("Finished", 1, "k7"));
        let mut database = spec();
        database.source = serde_json::from_value(json!({"postgres": {
            "server": {"host": "h", "database": "d", "username": {"value": "a"}, "password": {"value": "b"}}, "tables": ["t"]}}))
        .unwrap();
        let rows = report(VerifyCounts { source: 9, target: 7, left_out: 1, undecided: 1, ..VerifyCounts::default() });
        let words = |report| format!("{:?}", condition(&database, Some(report)).unwrap());
        let all =
            "9 rows were compared: the topics have 7 of them as they should be, 1 are left out, 1 cannot be judged";
        assert!(words(&rows).contains(all), "{}", words(&rows));
        assert!(words(&lost).contains("of 9 rows 1 are missing, 0 different and 0 extra at the target: Missing k7 "));
        let mut without = spec();
        without.verify = None;
        assert!(condition(&without, Some(&lost)).is_none());
    }
}
