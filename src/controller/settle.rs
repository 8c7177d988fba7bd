//! The part of a reconciliation that all kinds with workers share: what is applied, what failed, and what still runs.

use std::future::Future;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;

use crate::api::workload::DesiredState;

use super::apply::{self, apply, scale_to_zero};
use super::children::{Children, Owner};
use super::context::{Context, Key};
use super::error::Error;
use super::memory::Settled;

/// What a reconciliation came to; the status is computed from it.
#[derive(Debug)]
pub struct Outcome {
    /// Why the spec is not applied.
    pub failure: Option<Error>,
    /// The workers that run: of this spec, or of the last good one when there is a failure.
    pub deployment: Option<Deployment>,
    /// Fields that hold a credential as a plain value; none when that was not looked at.
    pub plain_credentials: Option<Vec<String>>,
}

impl Outcome {
    /// The outcome of applying nothing.
    #[must_use]
    pub fn failed(failure: Error, deployment: Option<Deployment>) -> Self {
        Self { failure: Some(failure), deployment, plain_credentials: None }
    }

    fn settled(settled: &Settled) -> Self {
        let plain_credentials = Some(settled.plain_credentials.clone());
        Self { failure: None, deployment: settled.applied.deployment.clone(), plain_credentials }
    }
}

/// Settles the object `owner`: runs `anew`, unless it is known that nothing but a worker's report has changed.
///
/// A failure leaves the last good workload as it is, apart from a pause, which must not wait for a repair.
pub async fn settle(
    context: &Context,
    owner: &Owner,
    state: DesiredState,
    anew: impl Future<Output = Result<Settled, Error>>,
) -> Outcome {
    let key = Key { kind: owner.kind.clone(), namespace: owner.namespace.clone(), name: owner.name.clone() };
    if let Some(settled) = context.memory.recall(&key, owner.generation) {
        return Outcome::settled(&settled);
    }
    let epoch = context.memory.epoch(&key);
    let settled = match state {
        // Nothing shall run, so nothing has to be found or valid.
        DesiredState::Stopped => stop(context, owner).await,
        DesiredState::Running | DesiredState::Paused => anew.await,
    };
    match settled {
        Ok(settled) => {
            let settled = Arc::new(settled);
            context.memory.remember(&key, owner.generation, epoch, Arc::clone(&settled));
            Outcome::settled(&settled)
        }
        Err(failure) => keep_last_good(context, owner, state, failure).await,
    }
}

async fn stop(context: &Context, owner: &Owner) -> Result<Settled, Error> {
    let applied = apply(&context.client, owner, Children::default()).await.map_err(applying)?;
    Ok(Settled { applied, plain_credentials: Vec::new() })
}

async fn keep_last_good(context: &Context, owner: &Owner, state: DesiredState, failure: Error) -> Outcome {
    if state == DesiredState::Paused
        && let Err(error) = scale_to_zero(&context.client, owner).await
    {
        return Outcome::failed(applying(error), None);
    }
    let api = Api::<Deployment>::namespaced(context.client.clone(), &owner.namespace);
    match api.get_opt(&owner.child_name()).await {
        Ok(found) => Outcome::failed(failure, found.filter(|found| apply::is_owned(&found.metadata, owner))),
        Err(error) => {
            tracing::warn!(%error, "failed to look at the workers that still run");
            Outcome::failed(failure, None)
        }
    }
}

/// An error of applying children as one of reconciling.
pub fn applying(error: apply::Error) -> Error {
    Error::Apply(Box::new(error))
}
