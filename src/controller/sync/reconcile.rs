//! Brings a RocketMQSync's children to what its spec asks for.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use crate::api::RocketMQSync;
use crate::api::sync::VERIFY_ANNOTATION;
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
use crate::controller::worker_status::word;
use crate::controller::workload::{files, lookup};
use crate::worker_config::report::Instructions;

use super::build::build;
use super::dereference::dereference;
use super::sides::own_files;
use super::validate::validate;
use super::{COMPONENT, status};

impl Kind for RocketMQSync {
    const KIND: &'static str = "RocketMQSync";

    fn observed_generation(&self) -> Option<i64> {
        self.status.as_ref()?.observed_generation
    }

    fn names(&self, reference: &Reference) -> bool {
        let (source, target) = (&self.spec.source.connection_ref, &self.spec.target.connection_ref);
        let mut connections = source.iter().chain(target);
        match reference.kind {
            ReferenceKind::Connection => connections.any(|connection| connection.name == reference.name),
            // Which objects a connection names is not known here; connections are few and Secrets seldom change.
            _ if connections.next().is_some() => true,
            kind => lookup::names(&own_files(&self.spec), kind, &reference.name),
        }
    }

    fn uses(&self) -> Vec<String> {
        let both = [&self.spec.source.connection_ref, &self.spec.target.connection_ref];
        let names = both.into_iter().flatten().map(|connection| connection.name.clone());
        let names: BTreeSet<_> = names.filter(|_| self.spec.state == DesiredState::Running).collect();
        names.into_iter().collect()
    }

    async fn reconcile(sync: Arc<Self>, context: Arc<Context>) -> Result<(), Error> {
        announce_first_sight(&context, &*sync).await?;
        let owner = Owner::of(&*sync, COMPONENT);
        let outcome = settle(&context, &owner, sync.spec.state, settle_anew(&sync, &context, &owner)).await;
        // scale (client required, only if the number changes)
        let key = Key::of(&*sync);
        let reports = context.reports.of(&key);
        let goal = (sync.spec.state, sync.spec.autoscaling.as_ref());
        let scaled = follow(&context, &owner, &key, goal, &reports, outcome.deployment.as_ref()).await;
        announce(&context, &*sync, scaled).await;
        let verify = word(sync.annotations(), VERIFY_ANNOTATION);
        context.instructions.set(&key, Instructions { verify, ..Instructions::default() });
        // status (no client required)
        let status = status::compute(&sync, &outcome, &reports, context.reports.homeless(&key), Timestamp::now());
        // write (client required, only if changed)
        write(&context, &*sync, &status).await?;
        outcome.failure.map_or(Ok(()), Err)
    }
}

async fn settle_anew(sync: &RocketMQSync, context: &Context, owner: &Owner) -> Result<Settled, Error> {
    // dereference (client required)
    let dereferenced = dereference(&context.client, sync).await?;
    // validate (no client required)
    let validated = validate(sync, &dereferenced, &context.settings)?;
    let plain_credentials = files::plain_fields(&validated.workload.files);
    // build (no client required, infallible)
    let prepared = build(&validated);
    // apply (client required)
    let applied = apply(&context.client, owner, prepared).await.map_err(applying)?;
    Ok(Settled { applied, plain_credentials })
}
