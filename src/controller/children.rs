//! The objects that a custom resource owns, before and after they were applied, and the metadata they all carry.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;

use super::names;

/// Value of `app.kubernetes.io/managed-by`, and the field manager of every server-side apply.
pub const MANAGER: &str = "rocketmq-connector-operator";

/// Label whose value is [`MANAGER`] on everything that the operator owns.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";

/// Label that tells the kind that owns a child: `connection`, `binding` or `sync`.
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";

/// Annotation of a worker pod with the full name of its custom resource, which a label cannot hold.
pub const OWNER_ANNOTATION: &str = "connector.rocketmq.dev/owner";

/// Annotation of a pod template with what its pods must be restarted for.
pub const CONFIG_DIGEST_ANNOTATION: &str = "connector.rocketmq.dev/config-digest";

const NAME_LABEL: &str = "app.kubernetes.io/name";
const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";
const VERSION_LABEL: &str = "app.kubernetes.io/version";
const PART_OF_LABEL: &str = "app.kubernetes.io/part-of";
const NAME: &str = "rocketmq-connector";

/// Children as built, not yet known to the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepared {}

/// Children as the API server returned them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {}

/// The children of one custom resource; a kind that is absent must not exist.
#[derive(Debug, Clone, PartialEq)]
pub struct Children<State> {
    /// The worker's configuration.
    pub config_map: Option<ConfigMap>,
    /// Credentials that the manifest gives as plain values.
    pub secret: Option<Secret>,
    /// Identity of the pods; without permissions and without a token.
    pub service_account: Option<ServiceAccount>,
    /// The API of an output binding.
    pub service: Option<Service>,
    /// Keeps one worker during voluntary disruptions.
    pub pod_disruption_budget: Option<PodDisruptionBudget>,
    /// Changes the number of workers.
    pub autoscaler: Option<HorizontalPodAutoscaler>,
    /// The workers.
    pub deployment: Option<Deployment>,
    state: PhantomData<State>,
}

impl<State> Default for Children<State> {
    fn default() -> Self {
        Self {
            config_map: None,
            secret: None,
            service_account: None,
            service: None,
            pod_disruption_budget: None,
            autoscaler: None,
            deployment: None,
            state: PhantomData,
        }
    }
}

/// The custom resource that owns children: all that building them needs to know of it besides its spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// API version and kind, for the owner reference.
    pub api_version: String,
    /// Kind, for instance `RocketMQBinding`.
    pub kind: String,
    /// Namespace of the resource and of all children.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
    /// Its unique id.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// `connection`, `binding` or `sync`.
    pub component: &'static str,
}

impl Owner {
    /// The owner that `object` is.
    pub fn of<K: kube::Resource<DynamicType = ()>>(object: &K, component: &'static str) -> Self {
        let meta = object.meta();
        Self {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            component,
        }
    }

    /// Name of every child.
    #[must_use]
    pub fn child_name(&self) -> String {
        names::child(&self.name, self.component)
    }

    /// Metadata of every child: name, namespace, labels and the owner reference.
    #[must_use]
    pub fn child_meta(&self) -> ObjectMeta {
        ObjectMeta {
            name: Some(self.child_name()),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels()),
            owner_references: Some(vec![self.owner_reference()]),
            ..ObjectMeta::default()
        }
    }

    /// Labels of every child.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        labels.insert(VERSION_LABEL.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        labels.insert(PART_OF_LABEL.to_owned(), NAME.to_owned());
        labels
    }

    /// Labels that select the children and pods of this resource; they never change.
    #[must_use]
    pub fn selector(&self) -> BTreeMap<String, String> {
        let pairs = [
            (NAME_LABEL, NAME.to_owned()),
            (INSTANCE_LABEL, names::label_value(&self.name)),
            (COMPONENT_LABEL, self.component.to_owned()),
            (MANAGED_BY_LABEL, MANAGER.to_owned()),
        ];
        pairs.into_iter().map(|(label, value)| (label.to_owned(), value)).collect()
    }

    fn owner_reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }
}
