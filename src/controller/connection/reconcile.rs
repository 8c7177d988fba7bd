//! Brings a RocketMQConnection's children to what its spec asks for.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use crate::api::RocketMQConnection;
use crate::controller::apply::apply;
use crate::controller::children::Owner;
use crate::controller::context::{Context, Key};
use crate::controller::error::Error;
use crate::controller::feed::{Reference, ReferenceKind};
use crate::controller::memory::Settled;
use crate::controller::reconciler::Kind;
use crate::controller::settle::{applying, settle};
use crate::controller::status::{announce_first_sight, write};
use crate::controller::workload::{files, lookup};

use super::build::build;
use super::dereference::{cluster, dereference};
use super::validate::validate;
use super::{COMPONENT, status};

impl Kind for RocketMQConnection {
    const KIND: &'static str = "RocketMQConnection";

    fn names(&self, reference: &Reference) -> bool {
        lookup::names(&cluster(&self.spec).files, reference.kind, &reference.name)
    }

    fn announcement(key: &Key) -> Option<Reference> {
        let (namespace, name) = (key.namespace.clone(), key.name.clone());
        Some(Reference { kind: ReferenceKind::Connection, namespace, name })
    }

    async fn reconcile(connection: Arc<Self>, context: Arc<Context>) -> Result<(), Error> {
        announce_first_sight(&context, &*connection).await?;
        let owner = Owner::of(&*connection, COMPONENT);
        let outcome = settle(&context, &owner, connection.spec.state, settle_anew(&connection, &context, &owner)).await;
        // status (no client required)
        let reports = context.reports.of(&Key::of(&*connection));
        let status = status::compute(&connection, &outcome, &reports, Timestamp::now());
        // write (client required, only if changed)
        write(&context, &*connection, &status).await?;
        outcome.failure.map_or(Ok(()), Err)
    }
}

async fn settle_anew(connection: &RocketMQConnection, context: &Context, owner: &Owner) -> Result<Settled, Error> {
    // dereference (client required)
    let found = dereference(&context.client, connection).await?;
    // validate (no client required)
    let validated = validate(connection, &found, &context.settings)?;
    let plain_credentials = files::plain_fields(&validated.workload.files);
    // build (no client required, infallible)
    let prepared = build(&validated);
    // apply (client required)
    let applied = apply(&context.client, owner, prepared).await.map_err(applying)?;
    Ok(Settled { applied, plain_credentials })
}
