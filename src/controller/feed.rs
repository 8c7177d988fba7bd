//! Watches what belongs to custom resources or is named by them, by metadata only, and tells the controllers concerned.
//!
//! One watch a kind of object serves all controllers. A Secret's content is never part of a watch.

use std::collections::HashMap;
use std::fmt::Debug;

use futures::channel::mpsc;
use futures::stream::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{Expression, PartialObjectMeta, Selector};
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{PredicateConfig, WatchStreamExt, predicates};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::children::{MANAGED_BY_LABEL, MANAGER};
use super::context::Key;
use super::crds::scoped;
use super::settings::Settings;

/// Kind whose users are counted.
pub const CONNECTION_KIND: &str = "RocketMQConnection";

/// Kinds that a spec can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReferenceKind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
    /// A RocketMQConnection.
    Connection,
}

/// An object that a spec can name, always in the namespace of the resource that names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Its kind.
    pub kind: ReferenceKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Why an object may need a reconciliation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// A child of this object changed.
    Child(Key),
    /// An object that specs may name changed.
    Reference(Reference),
    /// A worker of this object has a new report.
    Report(Key),
    /// Other objects use this connection than before; without a key, it is now known for all connections.
    Users(Option<Key>),
}

/// Hands triggers to the controllers; clones share it.
#[derive(Debug, Clone)]
pub struct Switchboard {
    controllers: HashMap<&'static str, mpsc::UnboundedSender<Trigger>>,
}

impl Switchboard {
    /// A switchboard for the controllers of `kinds`, and the receiver of each in the same order.
    #[must_use]
    pub fn new<const COUNT: usize>(kinds: [&'static str; COUNT]) -> (Self, [mpsc::UnboundedReceiver<Trigger>; COUNT]) {
        let mut controllers = HashMap::new();
        let receivers = kinds.map(|kind| {
            let (sender, receiver) = mpsc::unbounded();
            controllers.insert(kind, sender);
            receiver
        });
        (Self { controllers }, receivers)
    }

    /// An object that specs may name changed.
    pub fn changed(&self, reference: Reference) {
        for kind in self.controllers.keys() {
            self.send(kind, Trigger::Reference(reference.clone()));
        }
    }

    /// A worker of `key` has a new report.
    pub fn reported(&self, key: Key) {
        self.send(&key.kind.clone(), Trigger::Report(key));
    }

    /// Other objects use a connection than before; without a key, it is now known for all connections.
    pub fn users_changed(&self, connection: Option<Key>) {
        self.send(CONNECTION_KIND, Trigger::Users(connection));
    }

    fn child_changed(&self, child: &impl Resource) {
        let namespace = child.namespace().unwrap_or_default();
        for owner in child.owner_references().iter().filter(|owner| owner.controller == Some(true)) {
            let key = Key { kind: owner.kind.clone(), namespace: namespace.clone(), name: owner.name.clone() };
            self.send(&owner.kind, Trigger::Child(key));
        }
    }

    fn send(&self, kind: &str, trigger: Trigger) {
        if let Some(controller) = self.controllers.get(kind) {
            // A controller that has ended needs no triggers.
            controller.unbounded_send(trigger).unwrap_or_default();
        }
    }
}

/// Watches everything until `token` is cancelled.
pub async fn run(client: &Client, settings: &Settings, switchboard: &Switchboard, token: &CancellationToken) {
    tokio::join!(
        watch_children::<ConfigMap>(client, settings, switchboard, token),
        watch_children::<Secret>(client, settings, switchboard, token),
        watch_children::<ServiceAccount>(client, settings, switchboard, token),
        watch_children::<Service>(client, settings, switchboard, token),
        watch_children::<PodDisruptionBudget>(client, settings, switchboard, token),
        watch_children::<HorizontalPodAutoscaler>(client, settings, switchboard, token),
        watch_children::<Deployment>(client, settings, switchboard, token),
        watch_references::<Secret>(ReferenceKind::Secret, client, settings, switchboard, token),
        watch_references::<ConfigMap>(ReferenceKind::ConfigMap, client, settings, switchboard, token),
    );
}

async fn watch_children<K: Watched>(
    client: &Client,
    settings: &Settings,
    switchboard: &Switchboard,
    token: &CancellationToken,
) {
    let ours: Selector = Expression::Equal(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned()).into();
    watch::<K>(client, settings, &ours, token, |child| switchboard.child_changed(&child)).await;
}

async fn watch_references<K: Watched>(
    kind: ReferenceKind,
    client: &Client,
    settings: &Settings,
    switchboard: &Switchboard,
    token: &CancellationToken,
) {
    let others: Selector = Expression::NotEqual(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned()).into();
    let changed = |object: PartialObjectMeta<K>| {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        switchboard.changed(Reference { kind, namespace, name });
    };
    watch::<K>(client, settings, &others, token, changed).await;
}

trait Watched:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static
{
}

/// Calls `changed` for every object that is added, changed or deleted. Deletions carry a new resource version, too.
async fn watch<K: Watched>(
    client: &Client,
    settings: &Settings,
    selector: &Selector,
    token: &CancellationToken,
    changed: impl Fn(PartialObjectMeta<K>),
) {
    let api = scoped::<PartialObjectMeta<K>>(client, settings);
    let config = watcher::Config::default().labels_from(selector);
    watcher(api, config)
        .default_backoff()
        .touched_objects()
        .predicate_filter(predicates::resource_version, PredicateConfig::default())
        .take_until(token.cancelled())
        .for_each(|event| async {
            match event {
                Ok(object) => changed(object),
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), %error, "the watch is interrupted and will be resumed")
                }
            }
        })
        .await;
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    #[test]
    fn a_child_triggers_its_controlling_owner_only() {
        let (switchboard, [mut bindings, mut connections]) =
            Switchboard::new(["RocketMQBinding", "RocketMQConnection"]);
        let mut child = ConfigMap::default();
        child.metadata.namespace = Some("shop".to_owned());
        let owner = |kind: &str, controller| OwnerReference {
            kind: kind.to_owned(),
            name: "orders".to_owned(),
            controller: Some(controller),
            ..OwnerReference::default()
        };
        child.metadata.owner_references =
            Some(vec![owner("RocketMQBinding", true), owner("RocketMQConnection", false)]);
        switchboard.child_changed(&child);
        let key = Key { kind: "RocketMQBinding".to_owned(), namespace: "shop".to_owned(), name: "orders".to_owned() };
        assert_eq!(bindings.try_recv().unwrap(), Trigger::Child(key));
        assert!(connections.try_recv().is_err());
    }

    #[test]
    fn a_reference_is_told_to_every_controller() {
        let (switchboard, [mut bindings, mut connections]) =
            Switchboard::new(["RocketMQBinding", "RocketMQConnection"]);
        let reference = Reference { kind: ReferenceKind::Secret, namespace: "a".to_owned(), name: "b".to_owned() };
        switchboard.changed(reference.clone());
        assert_eq!(bindings.try_recv().unwrap(), Trigger::Reference(reference.clone()));
        assert_eq!(connections.try_recv().unwrap(), Trigger::Reference(reference));
    }
}
