//! Computes the status of a RocketMQConnection.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::api::condition::{reasons, types};
use crate::api::connection_status::{ConnectionTest, ConnectionTestItem, TestResult};
use crate::api::workload::DesiredState;
use crate::api::{RocketMQConnection, RocketMQConnectionStatus};
use crate::controller::conditions::{Draft, merge};
use crate::controller::settle::Outcome;
use crate::controller::status::{Situation, conditions_of};
use crate::controller::worker_status::PodReport;
use crate::controller::workload::state::{Rollout, complaint, newest_error, readable, workers};
use crate::worker_config::report::{self, ConnectionReport};

use super::extras;

/// The status that says what `outcome` and `reports` come to.
#[must_use]
pub fn compute(
    connection: &RocketMQConnection,
    outcome: &Outcome,
    reports: &BTreeMap<String, PodReport>,
    homeless: Option<(String, String)>,
    users: Option<u32>,
    now: Timestamp,
) -> RocketMQConnectionStatus {
    let previous = connection.status.clone().unwrap_or_default();
    let rollout = outcome.deployment.as_ref().map(Rollout::of).unwrap_or_default();
    let situation = Situation {
        state: connection.spec.state,
        outcome,
        rollout,
        complaint: complaint(reports),
        homeless,
        previous: conditions_of(connection),
    };
    let newest = newest(reports);
    let tested = tested(connection.spec.state, newest);
    let mut drafts = vec![ready(&situation, &tested), tested];
    drafts.extend(extras::conditions(connection, reports));
    drafts.extend(situation.shared());
    let generation = connection.metadata.generation.unwrap_or_default();
    RocketMQConnectionStatus {
        observed_generation: Some(generation),
        conditions: merge(&previous.conditions, drafts, generation, now),
        test: newest.and_then(test).or(previous.test),
        server_version: newest.and_then(|report| report.server_version.clone()).or(previous.server_version),
        brokers: newest.map(|report| count(report.brokers)).or(previous.brokers),
        topics: newest.map(|report| count(report.topics)).or(previous.topics),
        users: users.map(count).or(previous.users),
        models: extras::models(reports).or(previous.models),
        heartbeat: extras::heartbeat(reports, users)
            .or(previous.heartbeat)
            .filter(|_| extras::has_heartbeat(connection)),
        last_error: newest_error(previous.last_error.as_ref(), reports),
        workers: workers(reports),
    }
}

/// The newest finished test of all workers: there are two for a moment during a rollout.
fn newest(reports: &BTreeMap<String, PodReport>) -> Option<&ConnectionReport> {
    let tests = readable(reports).filter_map(|(_, report)| report.connection.as_ref());
    tests.filter(|report| report.tested_at_millis.is_some()).max_by_key(|report| report.tested_at_millis)
}

/// `Ready` asks for a worker and for a test that passed.
fn ready(situation: &Situation<'_>, tested: &Draft) -> Draft {
    let ready = situation.ready();
    let running = situation.state == DesiredState::Running && situation.outcome.failure.is_none();
    if running && tested.is_false() {
        return tested.renamed(types::READY);
    }
    if running && ready.is_true() && !tested.is_true() {
        return Draft::new(
            types::READY,
            false,
            reasons::TEST_PENDING,
            "the worker is ready, the first test has not finished yet",
        );
    }
    ready
}

fn tested(state: DesiredState, report: Option<&ConnectionReport>) -> Draft {
    let Some(report) = report else {
        let message = match state {
            DesiredState::Running => "no test has finished yet".to_owned(),
            held => format!("spec.state is {held:?}, nothing is tested"),
        };
        return Draft::unknown(types::TESTED, reasons::TEST_PENDING, message);
    };
    let first = |result| report.items.iter().find(|item| item.result == result);
    if let Some(item) = first(report::TestResult::Failed) {
        return Draft::new(types::TESTED, false, reasons::TEST_FAILED, explain(item));
    }
    match first(report::TestResult::Warning) {
        Some(item) => Draft::new(types::TESTED, true, reasons::TEST_WARNING, explain(item)),
        None => Draft::new(types::TESTED, true, reasons::TEST_PASSED, format!("{} tests passed", report.items.len())),
    }
}

fn explain(item: &report::TestItem) -> String {
    match item.remedy.as_str() {
        "" => format!("{}: {}", item.name, item.message),
        remedy => format!("{}: {}; {remedy}", item.name, item.message),
    }
}

fn test(report: &ConnectionReport) -> Option<ConnectionTest> {
    let tested_at = Timestamp::from_millisecond(report.tested_at_millis?).ok()?;
    let items = report.items.iter().map(|item| ConnectionTestItem {
        name: item.name.clone(),
        result: match item.result {
            report::TestResult::Passed => TestResult::Passed,
            report::TestResult::Warning => TestResult::Warning,
            report::TestResult::Failed => TestResult::Failed,
            report::TestResult::Skipped => TestResult::Skipped,
        },
        message: item.message.clone(),
        remedy: item.remedy.clone(),
        duration_millis: i64::try_from(item.duration_millis).unwrap_or(i64::MAX),
    });
    Some(ConnectionTest { tested_at: Time(tested_at), items: items.collect() })
}

/// A number as the API has it.
pub fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
