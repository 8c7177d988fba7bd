//! The data plane: one worker process serves one custom resource, in the role that its configuration names.
//!
//! A worker never talks to the Kubernetes API and never gives up: whatever is missing (a broker, a topic, a secret file, the
//! user's app) is waited for, reported on `/status` with its remedy, and found when it comes. It ends when its token is
//! cancelled, after it has finished what is in flight.

pub mod binding;
pub mod config;
pub mod connection;
pub mod database;
pub mod endpoint;
pub mod error;
pub mod format;
pub mod grpc;
pub mod metrics;
pub mod record;
pub mod report;
mod rotation;
pub mod server;
pub mod sink;
pub mod source;
pub mod sync;
pub mod tls;
pub mod transform;
pub mod verify;

use std::net::SocketAddr;

use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::admin::{AdminServer, Gate, Readiness};
use crate::metrics::Metrics;
use crate::worker_config::{Identity, Role, WorkerConfig};
use error::{Error, Result};
use report::Reporter;
use server::Listeners;

/// What every role gets.
#[derive(Clone)]
pub struct Context {
    /// The custom resource served.
    pub identity: Identity,
    /// The report behind `/status`.
    pub reporter: Reporter,
    /// The registry behind `/metrics`.
    pub metrics: Metrics,
    /// Open while the worker is connected and not draining.
    pub gate: Gate,
}

/// A running worker.
pub struct Worker {
    admin: SocketAddr,
    api: Option<ApiAddresses>,
    reporter: Reporter,
    task: JoinHandle<Result<()>>,
}

/// Where a worker's Dapr-compatible API listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiAddresses {
    /// HTTP.
    pub http: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
}

/// Runs a worker until `token` is cancelled and everything in flight is finished.
///
/// # Errors
/// The configuration cannot be used, a port is taken, or a server failed. Nothing that may pass by itself is an error.
pub async fn run(config: WorkerConfig, token: CancellationToken) -> Result<()> {
    Worker::start(config, token).await?.wait().await
}

impl Worker {
    /// Starts a worker; its ports are bound when this returns.
    ///
    /// # Errors
    /// The configuration cannot be used or a port is taken.
    pub async fn start(config: WorkerConfig, token: CancellationToken) -> Result<Self> {
        let WorkerConfig { identity, admin, role, .. } = config;
        let (metrics, readiness) = (Metrics::new("worker"), Readiness::default());
        let (reporter, gate) =
            (Reporter::new(identity.clone()), readiness.gate("rocketmq", "a connection to the RocketMQ cluster"));
        let listen_failed = |what, address: String| move |source| Error::Listen { what, address, source };

        let address = format!("{}:{}", admin.host, admin.port);
        let admin =
            AdminServer::bind(&admin.host, admin.port).await.map_err(listen_failed("the admin server", address))?;
        let admin_address = admin.address();
        let context = Context { identity, reporter: reporter.clone(), metrics: metrics.clone(), gate };
        let (role, api) = RunnableRole::prepare(context, role).await?;

        let served = CancellationToken::new();
        let admin = admin.serve(metrics, readiness, reporter.routes().merge(role.routes()), served.clone());
        let task = tokio::spawn(async move {
            let work = async {
                let worked = role.run(token).await;
                served.cancel();
                worked
            };
            let (worked, served) = tokio::join!(work, admin);
            worked.and(served.map_err(|source| Error::Serve { what: "admin", source }))
        });
        Ok(Self { admin: admin_address, api, reporter, task })
    }

    /// Address of the admin server.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Address of the Dapr-compatible API over HTTP, when the role has one.
    #[must_use]
    pub fn api_address(&self) -> Option<SocketAddr> {
        self.api.map(|api| api.http)
    }

    /// Address of the Dapr-compatible API over gRPC, when the role has one.
    #[must_use]
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.api.map(|api| api.grpc)
    }

    /// The worker's report.
    #[must_use]
    pub fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    /// Waits for the end of the worker.
    ///
    /// # Errors
    /// See [`run`].
    pub async fn wait(self) -> Result<()> {
        self.task.await.unwrap_or_else(|error: JoinError| {
            let source = std::io::Error::other(error);
            Err(Error::Serve { what: "worker task", source })
        })
    }
}

enum RunnableRole {
    Connection(Box<connection::Connection>),
    Binding(Box<binding::Binding>),
    Sync(Box<sync::Sync>),
}

impl RunnableRole {
    async fn prepare(context: Context, role: Role) -> Result<(Self, Option<ApiAddresses>)> {
        match role {
            Role::Connection(config) => {
                Ok((Self::Connection(Box::new(connection::Connection::new(context, config))), None))
            }
            Role::Sync(config) => Ok((Self::Sync(Box::new(sync::Sync::new(context, *config)?)), None)),
            Role::Binding(config) => {
                let listeners = match &config.output {
                    Some(output) => Some(Listeners::bind(output).await?),
                    None => None,
                };
                let addresses = listeners.as_ref().and_then(|listeners| listeners.addresses().ok());
                Ok((Self::Binding(Box::new(binding::Binding::new(context, config, listeners)?)), addresses))
            }
        }
    }

    /// Routes of the role on the admin server.
    fn routes(&self) -> axum::Router {
        match self {
            Self::Connection(connection) => connection.routes(),
            Self::Binding(_) | Self::Sync(_) => axum::Router::new(),
        }
    }

    async fn run(self, token: CancellationToken) -> Result<()> {
        match self {
            Self::Connection(connection) => {
                connection.run(token).await;
                Ok(())
            }
            Self::Sync(sync) => {
                sync.run(token).await;
                Ok(())
            }
            Self::Binding(binding) => binding.run(token).await,
        }
    }
}
