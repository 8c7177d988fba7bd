//! Brings a RocketMQBinding's children to what its spec asks for.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use crate::api::RocketMQBinding;
use crate::api::workload::DesiredState;
use crate::controller::apply::apply;
use crate::controller::children::Owner;
use crate::controller::context::{Context, Key};
use crate::controller::error::Error;
use crate::controller::feed::{Reference, ReferenceKind};
use crate::controller::lag_scaling::follow;
use crate::controller::memory::Settled;
use crate::controller::reconciler::Kind;
use crate::controller::settle::{applying, settle};
use crate::controller::status::{announce, announce_first_sight, write};
use crate::controller::workload::{files, lookup};

use super::build::build;
use super::dereference::{cluster, dereference, own_files};
use super::subscriptions::Subscription;
use super::validate::validate;
use super::{COMPONENT, status, strategy};

impl Kind for RocketMQBinding {
    const KIND: &'static str = "RocketMQBinding";

    fn observed_generation(&self) -> Option<i64> {
        self.status.as_ref()?.observed_generation
    }

    fn names(&self, reference: &Reference) -> bool {
        let connection = self.spec.connection_ref.as_ref().map(|connection| connection.name.as_str());
        match reference.kind {
            ReferenceKind::Connection => connection == Some(&reference.name),
            // Which objects a connection names is not known here; connections are few and Secrets seldom change.
            _ if connection.is_some() => true,
            kind => {
                let mut files = cluster(&self.spec, None).files;
                files.extend(own_files(&self.spec));
                lookup::names(&files, kind, &reference.name)
            }
        }
    }

    fn uses(&self) -> Vec<String> {
        let runs = self.spec.state == DesiredState::Running && self.spec.replicas != Some(0);
        self.spec.connection_ref.iter().filter(|_| runs).map(|connection| connection.name.clone()).collect()
    }

    async fn reconcile(binding: Arc<Self>, context: Arc<Context>) -> Result<(), Error> {
        announce_first_sight(&context, &*binding).await?;
        let owner = Owner::of(&*binding, COMPONENT);
        let outcome = settle(&context, &owner, binding.spec.state, settle_anew(&binding, &context, &owner)).await;
        // scale (client required, only if the number changes)
        let key = Key::of(&*binding);
        let reports = context.reports.of(&key);
        let goal = (binding.spec.state, binding.spec.autoscaling.as_ref());
        let scaled = follow(&context, &owner, &key, goal, &reports, outcome.deployment.as_ref()).await;
        announce(&context, &*binding, scaled).await;
        // status (no client required)
        if binding.spec.state != DesiredState::Running {
            context.subscriptions.remove(&key);
        }
        let conflicts = context.subscriptions.conflicts(&key);
        let homeless = context.reports.homeless(&key);
        let status = status::compute(&binding, &outcome, &reports, &conflicts, homeless, Timestamp::now());
        // write (client required, only if changed)
        write(&context, &*binding, &status).await?;
        outcome.failure.map_or(Ok(()), Err)
    }
}

async fn settle_anew(binding: &RocketMQBinding, context: &Context, owner: &Owner) -> Result<Settled, Error> {
    // dereference (client required)
    let dereferenced = dereference(&context.client, binding, owner).await?;
    // validate (no client required)
    let validated = validate(binding, &dereferenced, &context.settings)?;
    let plain_credentials = files::plain_fields(&validated.workload.files);
    let subscription = Subscription::of(&validated).filter(|_| binding.spec.state == DesiredState::Running);
    context.subscriptions.set(&Key::of(binding), subscription);
    // build (no client required, infallible)
    let mut prepared = build(&validated);
    if let Some(deployment) = &mut prepared.deployment {
        strategy::choose(deployment, dereferenced.deployed.as_ref(), &validated);
    }
    // apply (client required)
    let applied = apply(&context.client, owner, prepared).await.map_err(applying)?;
    Ok(Settled { applied, plain_credentials })
}
