//! What every reconciliation needs, and the key by which it all is kept.

use std::fmt;
use std::sync::Arc;

use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource};

use super::backoff::Backoff;
use super::binding::Subscriptions;
use super::connection::ModelMaps;
use super::events::Publisher;
use super::lag_scaling::LagScaling;
use super::memory::Memory;
use super::metrics::Metrics;
use super::pace::Pace;
use super::settings::Settings;
use super::users::Users;
use super::worker_status::{Book, Reports};

/// Shared by all reconciliations of one term of leadership.
pub struct Context {
    /// Client of the API server.
    pub client: Client,
    /// The operator's settings.
    pub settings: Settings,
    /// Publishes Events.
    pub publisher: Publisher,
    /// Metrics of the control plane.
    pub metrics: Metrics,
    /// Newest reports of the workers.
    pub reports: Arc<Reports>,
    /// What workers are told with the polls of their reports.
    pub instructions: Arc<Book>,
    /// Who uses which connection.
    pub users: Users,
    /// Writes models into ConfigMaps.
    pub model_maps: Arc<ModelMaps>,
    /// How fast reconciliations begin.
    pub pace: Arc<Pace>,
    /// How often each object has failed.
    pub backoff: Backoff,
    /// What was applied for each object.
    pub memory: Memory,
    /// What the messages that wait have asked for, where workers are scaled by them.
    pub lag_scaling: LagScaling,
    /// What the bindings of each consumer group subscribe to.
    pub subscriptions: Subscriptions,
}

/// Names a custom resource of any kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Kind, for instance `RocketMQBinding`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// The key of `object`.
    pub fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        let meta = object.meta();
        Self {
            kind: K::kind(&()).into_owned(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }

    /// The reference by which kube's runtime knows the object.
    #[must_use]
    pub fn reference<K: Resource<DynamicType = ()>>(&self) -> ObjectRef<K> {
        ObjectRef::new(&self.name).within(&self.namespace)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}
