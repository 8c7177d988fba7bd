//! Scales workers by the messages that wait for them, as their reports tell: what a HorizontalPodAutoscaler does with a
//! metrics adapter, without one.
//!
//! The rules are those of a HorizontalPodAutoscaler: the number follows the ratio of what waits to what is aimed at, a
//! deviation of a tenth changes nothing, growth is at once and bounded, and shrinking waits until no look of five minutes
//! has asked for more (`kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale`).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;

use crate::api::workload::{Autoscaling, DesiredState};

use super::apply::scale;
use super::children::Owner;
use super::context::{Context, Key};
use super::events::Notice;
use super::worker_status::PodReport;

/// Time between two looks while nothing else leads to one.
const LOOK: Duration = Duration::from_secs(15);
/// Workers are taken away when no look of this time has asked for them.
const STABILIZATION: Duration = Duration::from_mins(5);
/// Workers that one look may add when that is more than it would take to double them.
const STEP: i32 = 4;

/// What waits for the workers of a resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Messages that are not acknowledged.
    pub lag: u64,
    /// Queues that the workers share: more workers than queues are idle.
    pub queues: u32,
    /// Workers that have told their lag.
    pub workers: usize,
}

impl Load {
    /// The sum over all workers; a worker that has not told its lag counts for nothing.
    #[must_use]
    pub fn of(reports: &BTreeMap<String, PodReport>) -> Self {
        reports.values().fold(Self::default(), |sum, report| {
            let PodReport::Read(report) = report else { return sum };
            let binding = report.binding.as_ref().map(|binding| (binding.lag, binding.queues));
            let (lag, queues) =
                binding.or_else(|| report.sync.as_ref().map(|sync| (sync.lag, sync.partitions))).unwrap_or_default();
            let Some(lag) = lag else { return sum };
            Self {
                lag: sum.lag.saturating_add(lag),
                queues: sum.queues.saturating_add(queues),
                workers: sum.workers + 1,
            }
        })
    }
}

/// The number of workers for `load` when there are `current`, within the bounds; the past is not looked at.
fn recommend(autoscaling: &Autoscaling, target: i64, current: i32, load: Load) -> i32 {
    let bounded = |replicas: i32| replicas.clamp(autoscaling.min_replicas, autoscaling.max_replicas);
    let target = u64::try_from(target).unwrap_or(1).max(1);
    let aimed_at = target.saturating_mul(u64::try_from(current).unwrap_or(0));
    let is_near = load.lag.abs_diff(aimed_at) <= aimed_at / 10;
    let wanted = i32::try_from(load.lag.div_ceil(target)).unwrap_or(i32::MAX);
    let all_told = i32::try_from(load.workers).is_ok_and(|told| told >= current);
    let useful = match i32::try_from(load.queues) {
        Ok(queues) if queues > 0 && all_told => wanted.min(queues),
        _ => wanted,
    };
    let most = current.saturating_mul(2).max(current.saturating_add(STEP));
    bounded(match useful {
        _ if is_near && all_told => current,
        // What the others have waiting is not known.
        _ if !all_told => useful.max(current).min(most),
        _ => useful.min(most),
    })
}

/// The newest recommendations for each resource that is scaled by lag.
#[derive(Debug, Default)]
pub struct LagScaling {
    histories: Mutex<HashMap<Key, Vec<(Instant, i32)>>>,
}

impl LagScaling {
    /// The number of workers that there should be: the greatest recommendation of the last five minutes. What was before
    /// the first look is taken as a recommendation of `current`.
    fn decide(&self, key: &Key, recommended: i32, current: i32, now: Instant) -> i32 {
        let mut histories = self.histories();
        let history = histories.entry(key.clone()).or_insert_with(|| vec![(now, current)]);
        history.retain(|(at, _)| now.saturating_duration_since(*at) < STABILIZATION);
        // One that is older and no greater will never decide.
        history.retain(|(_, earlier)| *earlier > recommended);
        history.push((now, recommended));
        let greatest = history.iter().map(|(_, replicas)| *replicas).max().unwrap_or(recommended);
        if recommended >= current { recommended } else { greatest.min(current) }
    }

    /// When to look again although nothing has changed; none for what is not scaled by lag.
    #[must_use]
    pub fn next_look(&self, key: &Key) -> Option<Duration> {
        self.histories().contains_key(key).then_some(LOOK)
    }

    /// The resource is gone, or is not scaled by lag now.
    pub fn forget(&self, key: &Key) {
        self.histories().remove(key);
    }

    fn histories(&self) -> MutexGuard<'_, HashMap<Key, Vec<(Instant, i32)>>> {
        self.histories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Scales the workers of `owner` when its spec asks for that and the messages that wait call for another number. Gives what
/// is worth telling. A failure is logged: the next look tries again.
pub async fn follow(
    context: &Context,
    owner: &Owner,
    key: &Key,
    (state, autoscaling): (DesiredState, Option<&Autoscaling>),
    reports: &BTreeMap<String, PodReport>,
    deployment: Option<&Deployment>,
) -> Option<Notice> {
    let target = autoscaling.and_then(|autoscaling| Some((autoscaling, autoscaling.target_lag?)));
    let current = deployment.and_then(|deployment| deployment.spec.as_ref()?.replicas);
    let (Some((autoscaling, target)), Some(current), DesiredState::Running) = (target, current, state) else {
        context.lag_scaling.forget(key);
        return None;
    };
    let load = Load::of(reports);
    let recommended = recommend(autoscaling, target, current, load);
    let wanted = context.lag_scaling.decide(key, recommended, current, Instant::now());
    if wanted == current {
        return None;
    }
    if let Err(error) = scale(&context.client, owner, wanted).await {
        tracing::warn!(%key, current, wanted, %error, "the workers were not scaled");
        return None;
    }
    tracing::info!(%key, current, wanted, lag = load.lag, target, "workers scaled");
    let message =
        format!("{current} workers become {wanted}: {} messages wait, the aim is {target} a worker", load.lag);
    Some(Notice { warning: false, reason: "Scaled".to_owned(), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(min: i32, max: i32) -> Autoscaling {
        Autoscaling { min_replicas: min, max_replicas: max, ..Autoscaling::default() }
    }

    fn load(lag: u64, queues: u32, workers: usize) -> Load {
        Load { lag, queues, workers }
    }

    #[test]
    fn the_number_follows_what_waits() {
        let table = [
            (2, load(0, 8, 2), 1, "nothing waits"),
            (2, load(200, 8, 2), 2, "as aimed at"),
            (2, load(219, 8, 2), 2, "a tenth more changes nothing"),
            (2, load(230, 8, 2), 3, "more than a tenth"),
            (2, load(700, 8, 2), 6, "at most four more at once"),
            (5, load(5_000, 16, 5), 10, "at most twice as many at once"),
            (5, load(5_000, 7, 5), 7, "more workers than queues are idle"),
            (5, load(u64::MAX, 1_000, 5), 10, "bounded"),
            (3, load(0, 8, 2), 3, "one worker has not told its lag"),
            (3, load(500, 4, 2), 5, "what is known asks for more"),
            (0, load(0, 0, 0), 1, "the least"),
            (30, load(100_000, 64, 30), 12, "the most"),
        ];
        for (current, load, expected, why) in table {
            assert_eq!(recommend(&bounds(1, 12), 100, current, load), expected, "{why}");
        }
    }

    #[test]
    fn workers_go_only_when_nothing_has_asked_for_them_for_five_minutes() {
        let scaling = LagScaling::default();
        let key = Key { kind: "K".to_owned(), namespace: "a".to_owned(), name: "b".to_owned() };
        let start = Instant::now();
        let decide = |seconds: u64, recommended, current| {
            scaling.decide(&key, recommended, current, start + Duration::from_secs(seconds))
        };
        assert_eq!(decide(0, 1, 4), 4, "what was before the first look counts");
        assert_eq!(decide(15, 6, 4), 6, "growth is at once");
        assert_eq!(decide(30, 2, 6), 6);
        assert_eq!(decide(200, 3, 6), 6);
        assert_eq!(decide(316, 1, 6), 3, "the look at 15 s is over, that at 200 s is not");
        assert_eq!(decide(501, 1, 3), 1);
        assert_eq!(scaling.next_look(&key), Some(LOOK));
        scaling.forget(&key);
        assert_eq!(scaling.next_look(&key), None);
    }
}
