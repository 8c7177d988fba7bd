//! Applies children by server-side apply: first makes sure that no object of these names belongs to somebody else, then
//! applies in the order in which they need each other, then deletes what is no longer wanted.

use std::fmt::Debug;
use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::core::{ObjectMeta, Selector};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::api::condition::reasons;

use super::children::{Applied, Children, MANAGER, Owner, Prepared};
use super::error::Class;

/// Field manager of a pause while the spec cannot be applied. It has one of its own, so that taking the pause back leaves
/// the number of replicas to whom it belongs.
const PAUSE_MANAGER: &str = "rocketmq-connector-operator-pause";

/// Field manager of a number of replicas that follows the lag, for the same reason.
const LAG_MANAGER: &str = "rocketmq-connector-operator-lag";

/// Why children were not applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An object of a child's name exists and belongs to somebody else.
    #[error("{kind} {name} exists and is not owned by this resource; delete or rename it, or rename this resource")]
    NameConflict {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The child of an earlier resource of the same name is still being deleted.
    #[error("{kind} {name} of a deleted resource of the same name is still being removed")]
    AwaitDeletion {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The API server refused a child as invalid: what the user put into the template is wrong.
    #[error("the API server refused {kind} {name}: {message}; correct spec.template")]
    Refused {
        /// Kind of the child.
        kind: String,
        /// Its name.
        name: String,
        /// What the API server said.
        message: String,
    },
    /// A request failed.
    #[error("failed to {verb} {kind} {name}: {source}")]
    Request {
        /// What was tried: list, get, apply, delete or scale.
        verb: &'static str,
        /// Kind of the child.
        kind: String,
        /// Its name.
        name: String,
        /// What the API server answered.
        source: kube::Error,
    },
}

impl Error {
    /// What the failure asks for.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Refused { .. } => Class::Terminal,
            // Objects of others are not watched.
            Self::NameConflict { .. } => Class::NotReady { requeue_after: Duration::from_mins(1) },
            Self::AwaitDeletion { .. } => Class::NotReady { requeue_after: Duration::from_secs(5) },
            Self::Request { .. } => Class::Transient,
        }
    }

    /// Reason for condition, Event and metric label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NameConflict { .. } => reasons::NAME_CONFLICT,
            Self::AwaitDeletion { .. } => reasons::PROGRESSING,
            Self::Refused { .. } => reasons::APPLY_REFUSED,
            Self::Request { .. } => reasons::APPLY_FAILED,
        }
    }
}

/// What a child must be to be applied.
trait Child:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
}

impl<K> Child for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
}

/// Applies `children` of `owner` and deletes its other children. Nothing is changed when a name is taken by somebody else.
///
/// # Errors
/// A name is taken, the API server refuses a child, or a request failed.
pub async fn apply(client: &Client, owner: &Owner, children: Children<Prepared>) -> Result<Children<Applied>, Error> {
    let (config_maps, secrets, accounts, services, budgets, autoscalers, deployments) = tokio::try_join!(
        Existing::survey(client, owner, children.config_map),
        Existing::survey(client, owner, children.secret),
        Existing::survey(client, owner, children.service_account),
        Existing::survey(client, owner, children.service),
        Existing::survey(client, owner, children.pod_disruption_budget),
        Existing::survey(client, owner, children.autoscaler),
        Existing::survey(client, owner, children.deployment),
    )?;
    let mut applied = Children::<Applied>::default();
    // What pods mount and run as comes before the pods; what is deleted goes in the opposite order.
    (applied.config_map, applied.secret, applied.service_account, applied.service) =
        tokio::try_join!(config_maps.apply(), secrets.apply(), accounts.apply(), services.apply())?;
    applied.deployment = match deployments.apply().await? {
        Some(deployment) => Some(release_pause(client, deployment).await?),
        None => None,
    };
    (applied.pod_disruption_budget, applied.autoscaler) = tokio::try_join!(budgets.apply(), autoscalers.apply())?;
    tokio::try_join!(autoscalers.prune(), budgets.prune())?;
    deployments.prune().await?;
    tokio::try_join!(services.prune(), accounts.prune(), secrets.prune(), config_maps.prune())?;
    Ok(applied)
}

/// Scales the workers of `owner` to none and leaves everything else alone: for a pause while the spec cannot be applied.
///
/// # Errors
/// A request failed, or the Deployment belongs to somebody else.
pub async fn scale_to_zero(client: &Client, owner: &Owner) -> Result<(), Error> {
    set_replicas(client, owner, 0, PAUSE_MANAGER).await
}

/// Sets the number of replicas of the owner's Deployment, if there is one.
///
/// # Errors
/// A request failed.
pub async fn scale(client: &Client, owner: &Owner, replicas: i32) -> Result<(), Error> {
    set_replicas(client, owner, replicas, LAG_MANAGER).await
}

async fn set_replicas(client: &Client, owner: &Owner, replicas: i32, manager: &str) -> Result<(), Error> {
    let api = Api::<Deployment>::namespaced(client.clone(), &owner.namespace);
    let name = owner.child_name();
    let found = api.get_metadata_opt(&name).await.map_err(|source| request::<Deployment>("get", &name, source))?;
    if found.is_none_or(|object| !is_owned(&object.metadata, owner)) {
        return Ok(());
    }
    let spec = json!({"replicas": replicas});
    let patch =
        Patch::Apply(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}));
    let scaled = api.patch_metadata(&name, &PatchParams::apply(manager).force(), &patch).await;
    scaled.map(|_| ()).map_err(|source| request::<Deployment>("scale", &name, source))
}

/// Takes back what [`scale_to_zero`] did, if it did anything: the number of replicas is again whose it was.
async fn release_pause(client: &Client, deployment: Deployment) -> Result<Deployment, Error> {
    let held = deployment.managed_fields().iter().any(|entry| entry.manager.as_deref() == Some(PAUSE_MANAGER));
    if !held {
        return Ok(deployment);
    }
    let (name, namespace) = (deployment.name_any(), deployment.namespace().unwrap_or_default());
    let nothing = Patch::Apply(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}}));
    let api = Api::<Deployment>::namespaced(client.clone(), &namespace);
    let released = api.patch(&name, &PatchParams::apply(PAUSE_MANAGER).force(), &nothing).await;
    released.map_err(|source| request::<Deployment>("scale", &name, source))
}

/// Children of one kind: the wanted one and what there is.
struct Existing<K> {
    api: Api<K>,
    wanted: Option<K>,
    surplus: Vec<ObjectMeta>,
}

impl<K: Child> Existing<K> {
    async fn survey(client: &Client, owner: &Owner, wanted: Option<K>) -> Result<Self, Error> {
        let api = Api::<K>::namespaced(client.clone(), &owner.namespace);
        let selector: Selector = owner.selector().into_iter().collect();
        let listed = api.list_metadata(&ListParams::default().labels_from(&selector)).await;
        let listed = listed.map_err(|source| request::<K>("list", &owner.child_name(), source))?;
        let mut owned: Vec<_> =
            listed.items.into_iter().map(|item| item.metadata).filter(|meta| is_owned(meta, owner)).collect();
        if let Some(child) = &wanted {
            let name = child.name_any();
            match owned.iter().position(|meta| meta.name.as_deref() == Some(&name)) {
                Some(position) => drop(owned.swap_remove(position)),
                None => check_name_is_free(&api, owner, &name).await?,
            }
        }
        Ok(Self { api, wanted, surplus: owned })
    }

    async fn apply(&self) -> Result<Option<K>, Error> {
        let Some(child) = &self.wanted else { return Ok(None) };
        let parameters = PatchParams::apply(MANAGER).force();
        let applied = self.api.patch(&child.name_any(), &parameters, &Patch::Apply(child)).await;
        applied.map(Some).map_err(|source| refused::<K>(&child.name_any(), source))
    }

    async fn prune(&self) -> Result<(), Error> {
        try_join_all(self.surplus.iter().map(|meta| self.delete(meta))).await.map(|_| ())
    }

    async fn delete(&self, meta: &ObjectMeta) -> Result<(), Error> {
        let name = meta.name.clone().unwrap_or_default();
        let preconditions = Preconditions { uid: meta.uid.clone(), resource_version: None };
        let parameters = DeleteParams::background().preconditions(preconditions);
        match self.api.delete(&name, &parameters).await {
            // Gone, or replaced by an object that is not ours.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(source) => Err(request::<K>("delete", &name, source)),
            Ok(_) => {
                tracing::info!(kind = %K::kind(&()), name, "deleted what is no longer wanted");
                Ok(())
            }
        }
    }
}

/// An object that was found by name and not among the owner's children: is it a stranger's?
async fn check_name_is_free<K: Child>(api: &Api<K>, owner: &Owner, name: &str) -> Result<(), Error> {
    let found = api.get_metadata_opt(name).await.map_err(|source| request::<K>("get", name, source))?;
    let Some(meta) = found.map(|object| object.metadata) else { return Ok(()) };
    let (kind, name) = (K::kind(&()).into_owned(), name.to_owned());
    match controller(&meta) {
        // Somebody removed our labels: applying puts them back.
        Some(reference) if reference.uid == owner.uid => Ok(()),
        Some(reference) if reference.kind == owner.kind && reference.name == owner.name => {
            Err(Error::AwaitDeletion { kind, name })
        }
        _ => Err(Error::NameConflict { kind, name }),
    }
}

/// Whether the object with this metadata belongs to `owner`.
pub fn is_owned(meta: &ObjectMeta, owner: &Owner) -> bool {
    controller(meta).is_some_and(|reference| reference.uid == owner.uid)
}

fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|reference| reference.controller == Some(true))
}

fn request<K: Child>(verb: &'static str, name: &str, source: kube::Error) -> Error {
    Error::Request { verb, kind: K::kind(&()).into_owned(), name: name.to_owned(), source }
}

fn refused<K: Child>(name: &str, source: kube::Error) -> Error {
    match &source {
        kube::Error::Api(status) if status.is_invalid() || status.code == 400 => {
            Error::Refused { kind: K::kind(&()).into_owned(), name: name.to_owned(), message: status.message.clone() }
        }
        _ => request::<K>("apply", name, source),
    }
}
