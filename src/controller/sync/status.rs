//! Computes the status of a RocketMQSync.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use crate::api::condition::{reasons, types};
use crate::api::sync::SyncHeartbeat;
use crate::api::{RocketMQSync, RocketMQSyncStatus};
use crate::controller::children::Owner;
use crate::controller::conditions::{Draft, merge};
use crate::controller::settle::Outcome;
use crate::controller::status::{Situation, conditions_of};
use crate::controller::worker_status::{PodReport, sync_total};
use crate::controller::workload::state::{Rollout, complaint, newest_error, warning, workers};
use crate::worker_config::report::{BeatReport, warnings};

use super::COMPONENT;
use super::verify::{self, signed, time};

/// The status that says what `outcome` and `reports` come to.
#[must_use]
pub fn compute(
    sync: &RocketMQSync,
    outcome: &Outcome,
    reports: &BTreeMap<String, PodReport>,
    homeless: Option<(String, String)>,
    now: Timestamp,
) -> RocketMQSyncStatus {
    let previous = conditions_of(sync);
    let rollout = outcome.deployment.as_ref().map(Rollout::of).unwrap_or_default();
    let complaint = complaint(reports);
    let situation =
        Situation { state: sync.spec.state, outcome, rollout: rollout.clone(), complaint, homeless, previous };
    let mut drafts = vec![situation.ready()];
    drafts.extend(situation.shared());
    drafts.extend(
        warning(reports, warnings::CREDENTIALS_REFUSED)
            .map(|message| Draft::new(types::CREDENTIALS_REFUSED, true, reasons::CREDENTIALS_REFUSED, message)),
    );
    drafts.extend(
        warning(reports, warnings::TOPIC_CONFLICT)
            .map(|message| Draft::new(types::TOPIC_CONFLICT, true, reasons::TOPIC_CONFLICT, message)),
    );
    let verified = verify::total(reports);
    drafts.extend(verify::condition(&sync.spec, verified.as_ref()));
    let generation = sync.metadata.generation.unwrap_or_default();
    let total = sync_total(reports).unwrap_or_default();
    let checkpoint = total.checkpoint_at_millis.and_then(time);
    let before = sync.status.as_ref();
    RocketMQSyncStatus {
        observed_generation: Some(generation),
        conditions: merge(previous, drafts, generation, now),
        replicas: Some(rollout.replicas),
        ready_replicas: Some(rollout.ready),
        selector: Some(selector(sync)),
        records_read: Some(signed(total.read)),
        records_written: Some(signed(total.written)),
        repeated: Some(signed(total.repeated)),
        resent: Some(signed(total.resent)),
        left_out: Some(signed(total.left_out)),
        skipped: Some(signed(total.skipped)),
        dead_lettered: Some(signed(total.dead_lettered)),
        lag: total.lag.map(signed),
        delay_millis: total.delay_millis.map(signed),
        heartbeat: total.heartbeat.and_then(heartbeat),
        read_rate: Some(whole(total.read_rate)),
        write_rate: Some(whole(total.write_rate)),
        last_checkpoint: checkpoint.or_else(|| before.and_then(|status| status.last_checkpoint.clone())),
        verify: sync.spec.verify.as_ref().and_then(|spec| {
            let newest = verified.map(|report| verify::status(&report, spec.max_reported));
            newest.or_else(|| before.and_then(|status| status.verify.clone()))
        }),
        last_error: newest_error(before.and_then(|status| status.last_error.as_ref()), reports),
        workers: workers(reports),
    }
}

fn heartbeat(beat: BeatReport) -> Option<SyncHeartbeat> {
    Some(SyncHeartbeat { written: time(beat.written_at_millis)?, delay_millis: signed(beat.delay_millis) })
}

fn selector(sync: &RocketMQSync) -> String {
    let labels = Owner::of(sync, COMPONENT).selector();
    labels.iter().map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>().join(",")
}

fn whole(rate: f64) -> i64 {
    rate.round() as i64
}
