//! Computes the status of a RocketMQBinding.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use crate::api::condition::{reasons, types};
use crate::api::workload::DesiredState;
use crate::api::{RocketMQBinding, RocketMQBindingStatus};
use crate::controller::children::Owner;
use crate::controller::conditions::{Draft, merge};
use crate::controller::settle::Outcome;
use crate::controller::status::{Situation, conditions_of};
use crate::controller::worker_status::{PodReport, total};
use crate::controller::workload::state::{Complaint, Rollout, complaint, newest_error, readable, workers};
use crate::worker_config::report::WorkerState;

use super::COMPONENT;

/// The status that says what `outcome` and `reports` come to.
#[must_use]
pub fn compute(
    binding: &RocketMQBinding,
    outcome: &Outcome,
    reports: &BTreeMap<String, PodReport>,
    now: Timestamp,
) -> RocketMQBindingStatus {
    let previous = conditions_of(binding);
    let rollout = outcome.deployment.as_ref().map(Rollout::of).unwrap_or_default();
    let complaint = complaint(reports);
    let delivering = delivering(binding.spec.state, complaint.as_ref(), reports);
    let situation = Situation { state: binding.spec.state, outcome, rollout: rollout.clone(), complaint, previous };
    let mut drafts = vec![situation.ready(), delivering];
    drafts.extend(situation.shared());
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

fn selector(binding: &RocketMQBinding) -> String {
    let labels = Owner::of(binding, COMPONENT).selector();
    labels.iter().map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>().join(",")
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
