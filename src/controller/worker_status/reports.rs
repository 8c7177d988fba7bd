//! The newest report of every worker pod, and what they come to for one custom resource.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::http::Endpoint;
use crate::controller::context::Key;
use crate::worker_config::WorkerReport;
use crate::worker_config::report::{BindingReport, HeartbeatState, ModelsReport, SyncReport};

/// What is known of one worker pod.
#[derive(Debug, Clone, PartialEq)]
pub enum PodReport {
    /// Its newest report.
    Read(Box<WorkerReport>),
    /// Why its report cannot be read.
    Unreadable(String),
}

/// How a new report differs from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Not at all.
    None,
    /// In counters, for which there is time.
    Counters,
    /// In something that a user should see at once.
    State,
}

/// Newest reports of all worker pods.
#[derive(Debug, Default)]
pub struct Reports {
    pods: Mutex<HashMap<Key, BTreeMap<String, PodReport>>>,
    homeless: Mutex<HashMap<Key, BTreeMap<String, String>>>,
    endpoints: Mutex<HashMap<(Key, String), Endpoint>>,
}

impl Reports {
    /// Reports on `owner` by name of the pod.
    pub fn of(&self, owner: &Key) -> BTreeMap<String, PodReport> {
        self.pods().get(owner).cloned().unwrap_or_default()
    }

    /// Stores the report of a pod. A report on another resource than `owner` is not believed.
    pub fn store(&self, owner: &Key, pod: &str, report: WorkerReport) -> Change {
        if report.identity.name != owner.name || report.identity.namespace != owner.namespace {
            let served = format!("{}/{}", report.identity.namespace, report.identity.name);
            let message = format!("the pod reports on {served}; its configuration is of another resource");
            return if self.lose(owner, pod, &message) { Change::State } else { Change::None };
        }
        let report = PodReport::Read(Box::new(report));
        let before = self.pods().entry(owner.clone()).or_default().insert(pod.to_owned(), report.clone());
        difference(before.as_ref(), &report)
    }

    /// The report of a pod cannot be read; tells whether that is news.
    pub fn lose(&self, owner: &Key, pod: &str, message: &str) -> bool {
        let report = PodReport::Unreadable(message.to_owned());
        let before = self.pods().entry(owner.clone()).or_default().insert(pod.to_owned(), report.clone());
        before != Some(report)
    }

    /// The pod is gone; tells whether anything was known of it.
    pub fn remove(&self, owner: &Key, pod: &str) -> bool {
        self.endpoints().remove(&(owner.clone(), pod.to_owned()));
        let mut pods = self.pods();
        let Some(reports) = pods.get_mut(owner) else { return false };
        let known = reports.remove(pod).is_some();
        if reports.is_empty() {
            pods.remove(owner);
        }
        known
    }

    /// Notes where a pod is polled.
    pub fn note_endpoint(&self, owner: &Key, pod: &str, endpoint: Endpoint) {
        self.endpoints().insert((owner.clone(), pod.to_owned()), endpoint);
    }

    /// Where a pod is polled.
    pub fn endpoint(&self, owner: &Key, pod: &str) -> Option<Endpoint> {
        self.endpoints().get(&(owner.clone(), pod.to_owned())).copied()
    }

    fn endpoints(&self) -> MutexGuard<'_, HashMap<(Key, String), Endpoint>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes why the scheduler finds no node for a pod, or that it has found one; tells whether that is news.
    pub fn note_scheduling(&self, owner: &Key, pod: &str, why: Option<String>) -> bool {
        let mut homeless = self.homeless.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(why) = why else {
            let Some(pods) = homeless.get_mut(owner) else { return false };
            let known = pods.remove(pod).is_some();
            if pods.is_empty() {
                homeless.remove(owner);
            }
            return known;
        };
        homeless.entry(owner.clone()).or_default().insert(pod.to_owned(), why.clone()) != Some(why)
    }

    /// A pod of `owner` for which the scheduler finds no node, and why.
    pub fn homeless(&self, owner: &Key) -> Option<(String, String)> {
        let homeless = self.homeless.lock().unwrap_or_else(PoisonError::into_inner);
        let (pod, why) = homeless.get(owner)?.first_key_value()?;
        Some((pod.clone(), why.clone()))
    }

    fn pods(&self) -> MutexGuard<'_, HashMap<Key, BTreeMap<String, PodReport>>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn difference(before: Option<&PodReport>, after: &PodReport) -> Change {
    let (Some(PodReport::Read(before)), PodReport::Read(after)) = (before, after) else { return Change::State };
    let same_state = (before.state, &before.message, &before.last_error)
        == (after.state, &after.message, &after.last_error)
        && before.warnings == after.warnings;
    let same_parts = before.connection == after.connection
        && before.verify == after.verify
        && before.started_at_millis == after.started_at_millis
        && models_state(before) == models_state(after)
        && heartbeat_state(before) == heartbeat_state(after);
    let same_counters = (&before.binding, &before.sync) == (&after.binding, &after.sync)
        && (&before.models, &before.heartbeat) == (&after.models, &after.heartbeat);
    if !same_state || !same_parts {
        Change::State
    } else if !same_counters {
        Change::Counters
    } else {
        Change::None
    }
}

/// What a user should see at once of a load: that it runs and what it came to, but not each step.
fn models_state(report: &WorkerReport) -> Option<ModelsReport> {
    let models = report.models.as_ref()?;
    Some(ModelsReport { progress: models.progress.map(|_| (0, 0)), ..models.clone() })
}

fn heartbeat_state(report: &WorkerReport) -> Option<HeartbeatState> {
    report.heartbeat.as_ref().map(|heartbeat| heartbeat.state)
}

/// Sums over all workers of a binding; none when no worker has reported.
#[must_use]
pub fn total(reports: &BTreeMap<String, PodReport>) -> Option<BindingReport> {
    let parts = reports.values().filter_map(|report| match report {
        PodReport::Read(report) => report.binding.as_ref(),
        PodReport::Unreadable(_) => None,
    });
    parts.fold(None, |sum, part| Some(sum.map_or_else(|| part.clone(), |sum| add(&sum, part))))
}

/// Sums over all workers of a sync; none when no worker has reported.
#[must_use]
pub fn sync_total(reports: &BTreeMap<String, PodReport>) -> Option<SyncReport> {
    let parts = reports.values().filter_map(|report| match report {
        PodReport::Read(report) => report.sync.as_ref(),
        PodReport::Unreadable(_) => None,
    });
    parts.fold(None, |sum, part| Some(sum.map_or_else(|| part.clone(), |sum| add_sync(&sum, part))))
}

fn add_sync(one: &SyncReport, other: &SyncReport) -> SyncReport {
    let lag = match (one.lag, other.lag) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    };
    SyncReport {
        read: one.read.saturating_add(other.read),
        written: one.written.saturating_add(other.written),
        repeated: one.repeated.saturating_add(other.repeated),
        resent: one.resent.saturating_add(other.resent),
        left_out: one.left_out.saturating_add(other.left_out),
        skipped: one.skipped.saturating_add(other.skipped),
        dead_lettered: one.dead_lettered.saturating_add(other.dead_lettered),
        failed_writes: one.failed_writes.saturating_add(other.failed_writes),
        in_flight: one.in_flight.saturating_add(other.in_flight),
        lag,
        delay_millis: one.delay_millis.max(other.delay_millis),
        heartbeat: [one.heartbeat, other.heartbeat].into_iter().flatten().max_by_key(|beat| beat.delay_millis),
        read_rate: one.read_rate + other.read_rate,
        write_rate: one.write_rate + other.write_rate,
        partitions: one.partitions.saturating_add(other.partitions),
        checkpoint_at_millis: one.checkpoint_at_millis.max(other.checkpoint_at_millis),
        tables: one.tables.iter().chain(&other.tables).cloned().collect(),
    }
}

fn add(one: &BindingReport, other: &BindingReport) -> BindingReport {
    let lag = match (one.lag, other.lag) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    };
    BindingReport {
        messages_in: one.messages_in.saturating_add(other.messages_in),
        messages_out: one.messages_out.saturating_add(other.messages_out),
        failed: one.failed.saturating_add(other.failed),
        redelivered: one.redelivered.saturating_add(other.redelivered),
        dead_lettered: one.dead_lettered.saturating_add(other.dead_lettered),
        in_flight: one.in_flight.saturating_add(other.in_flight),
        lag,
        queues: one.queues.saturating_add(other.queues),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn key() -> Key {
        Key { kind: "RocketMQBinding".to_owned(), namespace: "shop".to_owned(), name: "orders".to_owned() }
    }

    fn report(changes: Value) -> WorkerReport {
        let mut report = json!({
            "revision": 1, "programVersion": "0", "startedAtMillis": 1, "state": "Running",
            "identity": {"kind": "RocketMQBinding", "namespace": "shop", "name": "orders", "generation": 1},
            "binding": {"messagesIn": 1, "messagesOut": 2, "failed": 0, "redelivered": 0, "deadLettered": 0, "inFlight": 0, "queues": 4},
        });
        report.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(report).unwrap()
    }

    fn counters(changes: Value) -> Value {
        let mut counters = serde_json::to_value(report(json!({})).binding).unwrap();
        counters.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        json!({"binding": counters})
    }

    #[test]
    fn states_are_news_at_once_and_counters_have_time() {
        let reports = Reports::default();
        let table = [
            (json!({}), Change::State),
            (json!({"revision": 2}), Change::None),
            (counters(json!({"messagesIn": 5})), Change::Counters),
            (json!({"state": "Failing", "message": "m"}), Change::State),
            (json!({"state": "Failing", "message": "n"}), Change::State),
            (json!({"state": "Running", "startedAtMillis": 9}), Change::State),
        ];
        for (changes, expected) in table {
            assert_eq!(reports.store(&key(), "pod", report(changes.clone())), expected, "{changes}");
        }
    }

    #[test]
    fn a_report_on_another_resource_is_not_believed() {
        let reports = Reports::default();
        let other =
            json!({"identity": {"kind": "RocketMQBinding", "namespace": "else", "name": "orders", "generation": 1}});
        assert_eq!(reports.store(&key(), "pod", report(other)), Change::State);
        assert!(
            matches!(&reports.of(&key())["pod"], PodReport::Unreadable(message) if message.contains("else/orders"))
        );
    }

    #[test]
    fn sums_leave_out_what_cannot_be_read() {
        let reports = Reports::default();
        assert_eq!(total(&reports.of(&key())), None);
        reports.store(&key(), "a", report(counters(json!({"lag": 3}))));
        reports.store(&key(), "b", report(counters(json!({"messagesOut": u64::MAX}))));
        reports.lose(&key(), "c", "gone");
        let sum = total(&reports.of(&key())).unwrap();
        assert_eq!((sum.messages_in, sum.messages_out, sum.lag, sum.queues), (2, u64::MAX, Some(3), 8));
    }

    #[test]
    fn a_pod_that_is_gone_is_forgotten_once() {
        let reports = Reports::default();
        reports.store(&key(), "a", report(json!({})));
        assert!(reports.remove(&key(), "a"));
        assert!(!reports.remove(&key(), "a"));
        assert!(reports.of(&key()).is_empty());
    }
}
