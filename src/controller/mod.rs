//! The control plane: reconciles the custom resources.
//!
//! ```text
//! watches ─▸ queue of a kind ─▸ dereference ─▸ validate ─▸ build ─▸ apply ─▸ status
//!              ▲                  client        pure        pure     client   pure, then client if changed
//!              └── worker reports (long poll) ◂── worker pods
//! ```
//!
//! It never opens a connection to a broker, and never touches the data plane's code: what workers are to do is written into
//! their ConfigMap, and what they do is read from their `/status`.

mod apply;
mod backoff;
pub mod binding;
mod children;
mod conditions;
pub mod connection;
mod context;
mod crds;
pub mod error;
mod events;
pub mod feed;
pub mod lag_scaling;
mod leader;
mod malformed;
mod memory;
mod metrics;
mod names;
mod pace;
mod reconciler;
pub mod settings;
mod settle;
mod status;
pub mod sync;
mod turns;
mod users;
mod worker_status;
pub mod workload;

use std::sync::Arc;

use kube::Client;
use kube_lease_manager::LeaseManagerError;
use tokio_util::sync::CancellationToken;

use crate::admin::Readiness;
use crate::api::{RocketMQBinding, RocketMQConnection, RocketMQSync};
use crate::metrics::Metrics as Registry;

use context::Context;
use feed::Switchboard;
use metrics::Metrics;
use reconciler::Kind;

pub use settings::Settings;

/// Why the control plane ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No API server is configured: neither a kubeconfig nor a pod's service account.
    #[error("failed to find the API server: {0}; set KUBECONFIG, or run in a pod with a service account")]
    Connect(#[source] kube::Error),
    /// The lease cannot be used.
    #[error(
        "failed to take part in the leader election: {0}; grant create, get and patch on leases in the operator's namespace"
    )]
    Elect(#[source] LeaseManagerError),
}

/// Runs the control plane until `token` is cancelled: waits for the custom resource definitions, then for leadership, then
/// reconciles. Ready as soon as the definitions are there, leading or not.
///
/// # Errors
/// No API server is configured, or the lease cannot be used.
pub async fn run(
    settings: Settings,
    readiness: Readiness,
    registry: Registry,
    token: CancellationToken,
) -> Result<(), Error> {
    crds::announce(&readiness);
    let client = Client::try_default().await.map_err(Error::Connect)?;
    run_with(client, settings, readiness, registry, token).await
}

/// As [`run`], with a client of the caller's.
///
/// # Errors
/// The lease cannot be used.
pub async fn run_with(
    client: Client,
    settings: Settings,
    readiness: Readiness,
    registry: Registry,
    token: CancellationToken,
) -> Result<(), Error> {
    crds::announce(&readiness);
    let metrics = Metrics::register(&registry);
    if !crds::wait_for_all(&client, &settings, &readiness, &token).await {
        return Ok(());
    }
    let term = |token| run_term(client.clone(), settings.clone(), metrics.clone(), token);
    leader::lead(client.clone(), &settings, &token, term).await.map_err(Error::Elect)
}

/// One term of leadership: everything that it remembers ends with it.
async fn run_term(client: Client, settings: Settings, metrics: Metrics, token: CancellationToken) {
    metrics.lead(true);
    let kinds = [RocketMQConnection::KIND, RocketMQBinding::KIND, RocketMQSync::KIND];
    let (switchboard, [connections, bindings, syncs]) = Switchboard::new(kinds);
    let context = Arc::new(Context {
        publisher: events::Publisher::new(client.clone(), &settings.pod_name),
        reports: Arc::default(),
        instructions: Arc::default(),
        model_maps: Arc::default(),
        users: users::Users::new(&[RocketMQBinding::KIND, RocketMQSync::KIND]),
        pace: Arc::default(),
        backoff: backoff::Backoff::default(),
        memory: memory::Memory::default(),
        lag_scaling: lag_scaling::LagScaling::default(),
        subscriptions: binding::Subscriptions::new(switchboard.clone()),
        metrics: metrics.clone(),
        client,
        settings,
    });
    let Context { client, settings, .. } = &*context;
    tokio::join!(
        reconciler::run::<RocketMQConnection>(Arc::clone(&context), switchboard.clone(), connections, token.clone()),
        reconciler::run::<RocketMQBinding>(Arc::clone(&context), switchboard.clone(), bindings, token.clone()),
        reconciler::run::<RocketMQSync>(Arc::clone(&context), switchboard.clone(), syncs, token.clone()),
        feed::run(client, settings, &switchboard, &token),
        worker_status::run(
            client,
            settings,
            (Arc::clone(&context.reports), Arc::clone(&context.instructions)),
            switchboard.clone(),
            metrics.clone(),
            &token
        ),
    );
    metrics.lead(false);
}
