//! Reads the reports of worker pods: one long poll a pod, none while nothing changes at the pod's side.
//!
//! ```text
//! watch pods ─▸ one task a running pod ── GET /status?after=<revision>&waitSeconds=30 ──▸ Reports ─▸ Trigger::Report
//! ```

mod http;
mod instructions;
mod poll;
mod reports;

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::core::{Expression, Selector};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::children::{COMPONENT_LABEL, MANAGED_BY_LABEL, MANAGER, OWNER_ANNOTATION};
use super::context::Key;
use super::crds::scoped;
use super::feed::Switchboard;
use super::metrics::Metrics;
use super::settings::Settings;

pub use http::{Endpoint, Error as PollError, ReportClient};
pub use instructions::{Book, word};
pub use reports::{PodReport, Reports, sync_total, total};

use poll::Poller;

/// Watches worker pods and polls each of them until `token` is cancelled.
pub async fn run(
    client: &Client,
    settings: &Settings,
    (reports, book): (Arc<Reports>, Arc<Book>),
    switchboard: Switchboard,
    metrics: Metrics,
    token: &CancellationToken,
) {
    let poller = Poller::new(reports, book, switchboard, metrics);
    let mut pods =
        Pods { poller, admin_port: settings.worker_admin_port, polled: HashMap::new(), seen: Vec::new(), token };
    let ours: Selector = Expression::Equal(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned()).into();
    let config = watcher::Config::default().labels_from(&ours);
    let events = watcher(scoped::<Pod>(client, settings), config).default_backoff().take_until(token.cancelled());
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => pods.handle(event),
            Err(error) => tracing::warn!(kind = "Pod", %error, "the watch is interrupted and will be resumed"),
        }
    }
}

/// A pod that is polled.
struct Polled {
    owner: Key,
    endpoint: Endpoint,
    token: CancellationToken,
}

/// The worker pods and their tasks.
struct Pods<'a> {
    poller: Poller,
    admin_port: u16,
    polled: HashMap<String, Polled>,
    seen: Vec<String>,
    token: &'a CancellationToken,
}

impl Pods<'_> {
    fn handle(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => self.seen.clear(),
            Event::InitApply(pod) => {
                self.seen.push(identity(&pod));
                self.update(&pod);
            }
            Event::InitDone => {
                let seen = std::mem::take(&mut self.seen);
                let gone: Vec<_> = self.polled.keys().filter(|pod| !seen.contains(pod)).cloned().collect();
                gone.iter().for_each(|pod| self.stop(pod));
            }
            Event::Apply(pod) => self.update(&pod),
            Event::Delete(pod) => {
                if let Some(owner) = owner(&pod) {
                    self.poller.note_scheduling(&owner, &pod.name_any(), None);
                }
                self.stop(&identity(&pod));
            }
        }
    }

    fn update(&mut self, pod: &Pod) {
        let name = identity(pod);
        if let Some(owner) = owner(pod) {
            self.poller.note_scheduling(&owner, &pod.name_any(), unschedulable(pod));
        }
        let Some((owner, endpoint)) = self.target(pod) else { return self.stop(&name) };
        if self.polled.get(&name).is_some_and(|polled| polled.endpoint == endpoint && polled.owner == owner) {
            return;
        }
        self.stop(&name);
        let token = self.token.child_token();
        self.poller.start(owner.clone(), pod.name_any(), endpoint, token.clone());
        self.polled.insert(name, Polled { owner, endpoint, token });
    }

    fn stop(&mut self, name: &str) {
        if let Some(polled) = self.polled.remove(name) {
            polled.token.cancel();
            let pod = name.rsplit('/').next().unwrap_or(name);
            self.poller.forget(&polled.owner, pod);
        }
    }

    /// Where to poll, and for whom: a running pod of ours that is not being deleted.
    fn target(&self, pod: &Pod) -> Option<(Key, Endpoint)> {
        let status = pod.status.as_ref()?;
        let running = status.phase.as_deref() == Some("Running") && pod.metadata.deletion_timestamp.is_none();
        let address = status.pod_ip.as_deref()?.parse().ok()?;
        let owner = owner(pod)?;
        running.then_some((owner, Endpoint { address, port: self.admin_port }))
    }
}

/// The custom resource that a pod works for.
fn owner(pod: &Pod) -> Option<Key> {
    let kind = match pod.labels().get(COMPONENT_LABEL)?.as_str() {
        "binding" => "RocketMQBinding",
        "connection" => "RocketMQConnection",
        "sync" => "RocketMQSync",
        _ => return None,
    };
    let name = pod.annotations().get(OWNER_ANNOTATION)?.clone();
    Some(Key { kind: kind.to_owned(), namespace: pod.namespace()?, name })
}

/// Why the scheduler finds no node for a pod, in its own words.
fn unschedulable(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions.iter().find(|condition| condition.type_ == "PodScheduled")?;
    let is_stuck = scheduled.status == "False" && scheduled.reason.as_deref() == Some("Unschedulable");
    let is_wanted = is_stuck && pod.metadata.deletion_timestamp.is_none();
    is_wanted.then(|| scheduled.message.clone().unwrap_or_else(|| "no node fits".to_owned()))
}

fn identity(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}
