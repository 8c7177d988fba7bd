//! The Dapr-compatible API of a worker, over HTTP and gRPC.
//!
//! Statuses, error codes and headers are daprd's, as recorded from daprd 1.18; `docs/dapr-compatibility.md` lists each with
//! the deliberate differences. Memory is bounded: request bodies together hold at most [`api::BODY_BUDGET`] bytes, and a
//! client that sends too slowly is cut off.

pub mod api;
pub mod create;
pub mod error;
pub mod grpc;
pub mod http;
pub mod invoke;
pub mod listener;
pub mod read;

use std::future::IntoFuture;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::ApiAddresses;
use super::error::{Error, Result};
use crate::worker_config::binding::OutputConfig;
pub use api::Api;
use listener::{BoundedListener, GRPC_IDLE, IDLE, MAX_CONNECTIONS};

/// The ports of an API.
pub struct Listeners {
    http: TcpListener,
    grpc: TcpListener,
}

impl Listeners {
    /// Listens on both ports of `output`.
    ///
    /// # Errors
    /// A port is taken.
    pub async fn bind(output: &OutputConfig) -> Result<Self> {
        let (http, grpc) = (output.http_port, output.grpc_port);
        Ok(Self {
            http: listen("the API over HTTP", &output.host, http).await?,
            grpc: listen("the API over gRPC", &output.host, grpc).await?,
        })
    }

    /// Their addresses.
    ///
    /// # Errors
    /// The operating system does not tell.
    pub fn addresses(&self) -> io::Result<ApiAddresses> {
        Ok(ApiAddresses { http: self.http.local_addr()?, grpc: self.grpc.local_addr()? })
    }
}

async fn listen(what: &'static str, host: &str, port: u16) -> Result<TcpListener> {
    let failed = |source| Error::Listen { what, address: format!("{host}:{port}"), source };
    TcpListener::bind((host, port)).await.map_err(failed)
}

/// Serves the API until `token` is cancelled, then answers what is in progress for at most `drain`.
///
/// # Errors
/// A listener failed.
pub async fn serve(listeners: Listeners, api: Arc<Api>, token: CancellationToken, drain: Duration) -> Result<()> {
    let http = BoundedListener::new(listeners.http, MAX_CONNECTIONS, IDLE);
    let grpc = BoundedListener::new(listeners.grpc, MAX_CONNECTIONS, GRPC_IDLE);
    let grpc_router = grpc::router(Arc::clone(&api)).await;
    let served = async {
        // When one fails the other is of no use either.
        tokio::try_join!(run(http, http::router(api), &token), run(grpc, grpc_router, &token))
    };
    let expired = async {
        token.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        served = served => served.map(|_| ()).map_err(|source| Error::Serve { what: "API", source }),
        () = expired => {
            tracing::warn!(seconds = drain.as_secs(), "closing connections of clients that have not finished");
            Ok(())
        }
    }
}

async fn run(listener: BoundedListener, router: Router, token: &CancellationToken) -> io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(token.clone().cancelled_owned()).into_future().await
}
