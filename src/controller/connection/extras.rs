//! Status of what a connection's worker does besides testing: models and heartbeat.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::api::RocketMQConnection;
use crate::api::condition::{reasons, types};
use crate::api::connection_status::{HeartbeatStatus, ModelsStatus};
use crate::api::workload::DesiredState;
use crate::controller::conditions::Draft;
use crate::controller::worker_status::PodReport;
use crate::controller::workload::state::readable;
use crate::worker_config::WorkerReport;
use crate::worker_config::report::{HeartbeatReport, HeartbeatState, ModelsReport, ReportedError};

use super::status::count;

/// The worker that started last: there are two for a moment during a rollout.
fn newest(reports: &BTreeMap<String, PodReport>) -> Option<&WorkerReport> {
    readable(reports).map(|(_, report)| report).max_by_key(|report| report.started_at_millis)
}

/// `ModelsLoaded` and `Heartbeating`, each while the spec asks for it.
pub fn conditions(connection: &RocketMQConnection, reports: &BTreeMap<String, PodReport>) -> Vec<Draft> {
    let report = newest(reports);
    let state = connection.spec.state;
    let models = has_models(connection).then(|| models_loaded(state, report.and_then(|report| report.models.as_ref())));
    let heartbeat = has_heartbeat(connection);
    let heartbeat = heartbeat.then(|| heartbeating(state, report.and_then(|report| report.heartbeat.as_ref())));
    models.into_iter().chain(heartbeat).collect()
}

fn has_models(connection: &RocketMQConnection) -> bool {
    connection.spec.model_load.clone().unwrap_or_default().enabled
}

/// Whether the spec asks for a heartbeat.
pub fn has_heartbeat(connection: &RocketMQConnection) -> bool {
    connection.spec.heartbeat.as_ref().is_some_and(|heartbeat| heartbeat.enabled)
}

fn models_loaded(state: DesiredState, models: Option<&ModelsReport>) -> Draft {
    let type_ = types::MODELS_LOADED;
    let Some(models) = models.filter(|models| models.error.is_some() || models.loaded_at_millis.is_some()) else {
        return Draft::unknown(type_, reasons::MODELS_LOADING, waiting(state, "the first load is under way"));
    };
    if let Some(error) = &models.error {
        return Draft::new(type_, false, reasons::MODELS_FAILED, words(error));
    }
    match models.failed {
        0 => Draft::new(type_, true, reasons::MODELS_LOADED, format!("{} models are loaded", models.count)),
        failed => {
            let message = format!(
                "{failed} of {} topics could not be looked at; each model says why, see the worker's /models",
                models.count
            );
            Draft::new(type_, true, reasons::MODELS_INCOMPLETE, message)
        }
    }
}

fn heartbeating(state: DesiredState, heartbeat: Option<&HeartbeatReport>) -> Draft {
    let type_ = types::HEARTBEATING;
    let Some(heartbeat) = heartbeat else {
        return Draft::unknown(type_, reasons::HEARTBEAT_STARTING, waiting(state, "the worker has not reported yet"));
    };
    match heartbeat.state {
        HeartbeatState::Stopped => Draft::new(
            type_,
            false,
            reasons::NO_USERS,
            "no RocketMQBinding or RocketMQSync that runs uses the connection",
        ),
        HeartbeatState::Starting => {
            let message = heartbeat.error.as_ref().map_or("the first heartbeat is on its way".to_owned(), words);
            Draft::unknown(type_, reasons::HEARTBEAT_STARTING, message)
        }
        HeartbeatState::Beating => Draft::new(type_, true, reasons::BEATING, "heartbeats are written and come back"),
        HeartbeatState::Missing => {
            let why = heartbeat.error.as_ref().map(|error| format!(": {}", words(error))).unwrap_or_default();
            let message = format!("no heartbeat has come back for six intervals{why}");
            Draft::new(type_, false, reasons::HEARTBEAT_MISSING, message)
        }
    }
}

fn waiting(state: DesiredState, running: &str) -> String {
    match state {
        DesiredState::Running => running.to_owned(),
        held => format!("spec.state is {held:?}"),
    }
}

fn words(error: &ReportedError) -> String {
    format!("{}; {}", error.message, error.remedy)
}

/// The models for the status; none before the worker has reported.
pub fn models(reports: &BTreeMap<String, PodReport>) -> Option<ModelsStatus> {
    let models = newest(reports)?.models.as_ref()?;
    // A worker that has just started keeps what the one before had found.
    if models.loaded_at_millis.is_none() && models.progress.is_none_or(|(_, total)| total == 0) {
        return None;
    }
    Some(ModelsStatus {
        count: count(models.count),
        failed: count(models.failed),
        added: count(models.added),
        removed: count(models.removed),
        changed: count(models.changed),
        last_load: models.loaded_at_millis.and_then(time),
        next_load: models.next_at_millis.and_then(time),
        duration_millis: signed(models.duration_millis),
        progress: models.progress.map(|(done, total)| format!("{done} of {total}")),
    })
}

/// The pod that has loaded models last, and their revision.
pub fn loaded(reports: &BTreeMap<String, PodReport>) -> Option<(&str, &str)> {
    let loads = readable(reports).filter_map(|(pod, report)| Some((pod, report.models.as_ref()?)));
    let newest = loads.filter(|(_, models)| models.loaded_at_millis.is_some() && models.progress.is_none());
    let (pod, models) = newest.max_by_key(|(_, models)| models.loaded_at_millis)?;
    Some((pod, models.revision.as_str()))
}

/// The heartbeat for the status; none before the worker has reported.
pub fn heartbeat(reports: &BTreeMap<String, PodReport>, users: Option<u32>) -> Option<HeartbeatStatus> {
    let heartbeat = newest(reports)?.heartbeat.as_ref()?;
    Some(HeartbeatStatus {
        state: format!("{:?}", heartbeat.state),
        since: time(heartbeat.since_millis)?,
        users: users.map(count),
        last_beat: heartbeat.last_beat_millis.and_then(time),
        round_trip_millis: heartbeat.round_trip_millis.map(signed),
    })
}

fn time(millis: i64) -> Option<Time> {
    Timestamp::from_millisecond(millis).ok().map(Time)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
