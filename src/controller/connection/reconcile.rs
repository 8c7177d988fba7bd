//! Brings a RocketMQConnection's children to what its spec asks for.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use crate::api::RocketMQConnection;
use crate::api::connection::{LOAD_MODELS_ANNOTATION, TEST_ANNOTATION};
use crate::controller::apply::apply;
use crate::controller::children::Owner;
use crate::controller::context::{Context, Key};
use crate::controller::error::Error;
use crate::controller::feed::{Reference, ReferenceKind};
use crate::controller::memory::Settled;
use crate::controller::reconciler::Kind;
use crate::controller::settle::{applying, settle};
use crate::controller::status::{announce_first_sight, write};
use crate::controller::worker_status::word;
use crate::controller::workload::{files, lookup};
use crate::worker_config::report::Instructions;

use super::build::build;
use super::dereference::{cluster, dereference};
use super::validate::validate;
use super::{COMPONENT, extras, status};

/// How long a first reconciliation waits until all bindings and syncs have been seen.
const USERS_PATIENCE: Duration = Duration::from_secs(5);

impl Kind for RocketMQConnection {
    const KIND: &'static str = "RocketMQConnection";

    fn observed_generation(&self) -> Option<i64> {
        self.status.as_ref()?.observed_generation
    }

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
        let users = context.users.count(&Key::of(&*connection));
        context.instructions.set(&Key::of(&*connection), instructions(&connection, users));
        // status (no client required)
        let reports = context.reports.of(&Key::of(&*connection));
        let homeless = context.reports.homeless(&Key::of(&*connection));
        let status = status::compute(&connection, &outcome, &reports, homeless, users, Timestamp::now());
        // write (client required, only if changed)
        write(&context, &*connection, &status).await?;
        if let Some((pod, revision)) = extras::loaded(&reports)
            && let Some(endpoint) = context.reports.endpoint(&Key::of(&*connection), pod)
        {
            context.model_maps.keep(&context.client, &owner, revision, endpoint);
        }
        outcome.failure.map_or(Ok(()), Err)
    }
}

async fn settle_anew(connection: &RocketMQConnection, context: &Context, owner: &Owner) -> Result<Settled, Error> {
    // dereference (client required)
    let found = dereference(&context.client, connection).await?;
    // validate (no client required)
    let validated = validate(connection, &found, in_use(connection, context).await, &context.settings)?;
    let plain_credentials = files::plain_fields(&validated.workload.files);
    // build (no client required, infallible)
    let prepared = build(&validated);
    // apply (client required)
    let applied = apply(&context.client, owner, prepared).await.map_err(applying)?;
    Ok(Settled { applied, plain_credentials })
}

/// Whether something uses the connection. While that is not known, a heartbeat too many does less harm than one too few.
async fn in_use(connection: &RocketMQConnection, context: &Context) -> bool {
    let _ = tokio::time::timeout(USERS_PATIENCE, context.users.complete()).await;
    context.users.count(&Key::of(connection)).is_none_or(|users| users > 0)
}

/// What its worker is told without a restart: an annotation with another value is an order.
fn instructions(connection: &RocketMQConnection, users: Option<u32>) -> Instructions {
    let word = |annotation: &str| word(connection.annotations(), annotation);
    let (test, load_models) = (word(TEST_ANNOTATION), word(LOAD_MODELS_ANNOTATION));
    Instructions { test, load_models, users, ..Instructions::default() }
}
