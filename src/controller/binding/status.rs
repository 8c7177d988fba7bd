//! Computes the status of a RocketMQBinding.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use crate::api::binding::Direction;
use crate::api::condition::{reasons, types};
use crate::api::workload::DesiredState;
use crate::api::{RocketMQBinding, RocketMQBindingStatus};
use crate::controller::children::Owner;
use crate::controller::conditions::{Draft, merge};
use crate::controller::settle::Outcome;
use crate::controller::status::{Situation, conditions_of};
use crate::controller::worker_status::{PodReport, total};
use crate::controller::workload::state::{Complaint, Rollout, complaint, newest_error, readable, warning, workers};
use crate::worker_config::report::{WorkerState, warnings};

use super::COMPONENT;

/// The status that says what `outcome` and `reports` come to.
#[must_use]
pub fn compute(
    binding: &RocketMQBinding,
    outcome: &Outcome,
    reports: &BTreeMap<String, PodReport>,
    conflicts: &[String],
    homeless: Option<(String, String)>,
    now: Timestamp,
) -> RocketMQBindingStatus {
    let previous = conditions_of(binding);
    let rollout = outcome.deployment.as_ref().map(Rollout::of).unwrap_or_default();
    let complaint = complaint(reports);
    let delivering = delivering(binding.spec.state, complaint.as_ref(), reports);
    let situation =
        Situation { state: binding.spec.state, outcome, rollout: rollout.clone(), complaint, homeless, previous };
    let mut drafts = vec![situation.ready(), delivering];
    drafts.extend(consistent(binding, conflicts, reports));
    drafts.extend(situation.shared());
    drafts.extend(refused_credentials(reports));
    let generation = binding.metadata.generation.unwrap_or_default();
    let total = total(reports).unwrap_or_default();
    RocketMQBindingStatus {
        observed_generation: Some(generation),
        conditions: merge(previous, drafts, generation, now),
        replicas: Some(rollout.replicas),
        ready_replicas: Some(rollout.ready),
        selector: Some(selector(binding)),
        messages_in: Some(signed(total.messages_in)),
        messages_out: Some(signed(total.messages_out)),
        failed: Some(signed(total.failed)),
        redelivered: Some(signed(total.redelivered)),
        dead_lettered: Some(signed(total.dead_lettered)),
        lag: total.lag.map(signed),
        last_error: newest_error(binding.status.as_ref().and_then(|status| status.last_error.as_ref()), reports),
        workers: workers(reports),
    }
}

fn delivering(state: DesiredState, complaint: Option<&Complaint>, reports: &BTreeMap<String, PodReport>) -> Draft {
    if state != DesiredState::Running {
        let (reason, message) = (format!("{state:?}"), format!("spec.state is {state:?}"));
        return Draft::new(types::DELIVERING, false, reason, message);
    }
    let running = readable(reports).filter(|(_, report)| report.state == WorkerState::Running).count();
    match (complaint, running) {
        (Some(complaint), _) if complaint.reason == reasons::WORKER_FAILING => {
            Draft::new(types::DELIVERING, false, complaint.reason, complaint.message.clone())
        }
        (_, running) if running > 0 => {
            Draft::new(types::DELIVERING, true, reasons::RUNNING, format!("{running} workers are connected"))
        }
        (Some(complaint), _) => Draft::unknown(types::DELIVERING, complaint.reason, complaint.message.clone()),
        (None, _) => Draft::unknown(types::DELIVERING, reasons::PROGRESSING, "no worker has reported yet"),
    }
}

/// `SubscriptionConsistent` of an input that runs.
fn consistent(binding: &RocketMQBinding, conflicts: &[String], reports: &BTreeMap<String, PodReport>) -> Option<Draft> {
    let type_ = types::SUBSCRIPTION_CONSISTENT;
    if binding.spec.direction == Direction::Output || binding.spec.state != DesiredState::Running {
        return None;
    }
    if !conflicts.is_empty() {
        let message = format!(
            "{}. RocketMQ loses messages of such a group: give one of them another spec.consumerGroup, or both the same topics \
             and expressions",
            conflicts.join("; ")
        );
        return Some(Draft::new(type_, false, reasons::SUBSCRIPTION_CONFLICT, message));
    }
    match warning(reports, warnings::FOREIGN_SUBSCRIPTION) {
        Some(message) => Some(Draft::new(type_, false, reasons::FOREIGN_SUBSCRIPTION, message)),
        None => {
            let message = "all known members of the consumer group have the same topics and expressions";
            Some(Draft::new(type_, true, reasons::CONSISTENT, message))
        }
    }
}

/// `CredentialsRefused`, while it applies.
fn refused_credentials(reports: &BTreeMap<String, PodReport>) -> Option<Draft> {
    let message = warning(reports, warnings::CREDENTIALS_REFUSED)?;
    Some(Draft::new(types::CREDENTIALS_REFUSED, true, reasons::CREDENTIALS_REFUSED, message))
}

fn selector(binding: &RocketMQBinding) -> String {
    let labels = Owner::of(binding, COMPONENT).selector();
    labels.iter().map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>().join(",")
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
