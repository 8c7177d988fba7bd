//! What a Deployment and the workers' reports come to.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::api::condition::reasons;
use crate::api::status::{LastError, WorkerStatus};
use crate::controller::worker_status::PodReport;
use crate::worker_config::WorkerReport;
use crate::worker_config::report::WorkerState;

/// How far a Deployment has got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Workers that should run.
    pub desired: i32,
    /// Workers that exist.
    pub replicas: i32,
    /// Workers that are ready.
    pub ready: i32,
    /// Workers that were ready for long enough.
    pub available: i32,
    /// All workers are of the newest template and there are as many as there should be.
    pub complete: bool,
    /// Why it will not get further by itself.
    pub stuck: Option<String>,
}

impl Rollout {
    /// Reads a Deployment's status.
    #[must_use]
    pub fn of(deployment: &Deployment) -> Self {
        let desired = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let status = deployment.status.clone().unwrap_or_default();
        let (replicas, ready) = (status.replicas.unwrap_or(0), status.ready_replicas.unwrap_or(0));
        let (available, updated) = (status.available_replicas.unwrap_or(0), status.updated_replicas.unwrap_or(0));
        let observed = status.observed_generation >= deployment.metadata.generation;
        let conditions = status.conditions.unwrap_or_default();
        let stuck = conditions.iter().find(|condition| match condition.type_.as_str() {
            "ReplicaFailure" => condition.status == "True",
            "Progressing" => condition.status == "False",
            _ => false,
        });
        let complete = observed && updated == desired && replicas == desired && available == desired;
        let stuck =
            stuck.filter(|_| !complete && observed).map(|condition| condition.message.clone().unwrap_or_default());
        Self { desired, replicas, ready, available, complete, stuck }
    }

    /// One sentence about the number of workers.
    #[must_use]
    pub fn sentence(&self) -> String {
        match (self.desired, self.replicas) {
            (0, 0) => "no workers are asked for".to_owned(),
            (0, left) => format!("{left} workers are finishing"),
            (desired, _) => format!("{} of {desired} workers are ready", self.ready),
        }
    }
}

/// What is wrong with the workers, by their own reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// CamelCase reason.
    pub reason: &'static str,
    /// What is wrong and what to do about it.
    pub message: String,
}

/// The first worker that is failing; those whose report cannot be read come after.
#[must_use]
pub fn complaint(reports: &BTreeMap<String, PodReport>) -> Option<Complaint> {
    let failing = readable(reports).find(|(_, report)| report.state == WorkerState::Failing);
    if let Some((pod, report)) = failing {
        return Some(Complaint { reason: reasons::WORKER_FAILING, message: format!("{pod}: {}", explanation(report)) });
    }
    reports.iter().find_map(|(pod, report)| match report {
        PodReport::Unreadable(message) => {
            Some(Complaint { reason: reasons::REPORT_UNAVAILABLE, message: format!("{pod}: {message}") })
        }
        PodReport::Read(_) => None,
    })
}

/// Reports that could be read, by pod.
pub fn readable(reports: &BTreeMap<String, PodReport>) -> impl Iterator<Item = (&str, &WorkerReport)> {
    reports.iter().filter_map(|(pod, report)| match report {
        PodReport::Read(report) => Some((pod.as_str(), &**report)),
        PodReport::Unreadable(_) => None,
    })
}

/// The first worker's warning of a reason, with the name of its pod.
#[must_use]
pub fn warning(reports: &BTreeMap<String, PodReport>, reason: &str) -> Option<String> {
    readable(reports).find_map(|(pod, report)| {
        let warning = report.warnings.iter().find(|warning| warning.reason == reason)?;
        Some(format!("{pod}: {}; {}", warning.message, warning.remedy))
    })
}

fn explanation(report: &WorkerReport) -> String {
    let error = report.last_error.as_ref();
    let message = report.message.clone().or_else(|| error.map(|error| error.message.clone()));
    let message = message.unwrap_or_else(|| "the worker is failing".to_owned());
    match error.map(|error| error.remedy.as_str()).filter(|remedy| !remedy.is_empty() && !message.contains(*remedy)) {
        Some(remedy) => format!("{message}; {remedy}"),
        None => message,
    }
}

/// The workers for a status, by name of the pod.
#[must_use]
pub fn workers(reports: &BTreeMap<String, PodReport>) -> Vec<WorkerStatus> {
    let worker = |(pod, report): (&String, &PodReport)| match report {
        PodReport::Read(report) => {
            WorkerStatus { pod: pod.clone(), state: format!("{:?}", report.state), message: report.message.clone() }
        }
        PodReport::Unreadable(message) => {
            WorkerStatus { pod: pod.clone(), state: "Unknown".to_owned(), message: Some(message.clone()) }
        }
    };
    reports.iter().map(worker).collect()
}

/// The newest failure that a worker reports, or `previous` when that is newer.
#[must_use]
pub fn newest_error(previous: Option<&LastError>, reports: &BTreeMap<String, PodReport>) -> Option<LastError> {
    let reported = readable(reports).filter_map(|(_, report)| report.last_error.as_ref());
    let newest = reported.max_by_key(|error| error.at_millis).map(|error| LastError {
        time: Time(Timestamp::from_millisecond(error.at_millis).unwrap_or_default()),
        reason: error.reason.clone(),
        message: error.message.clone(),
        remedy: error.remedy.clone(),
    });
    match (newest, previous) {
        (Some(newest), Some(previous)) if previous.time.0 > newest.time.0 => Some(previous.clone()),
        (Some(newest), _) => Some(newest),
        (None, previous) => previous.cloned(),
    }
}
