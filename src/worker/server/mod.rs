//! The Dapr-compatible API of a worker.
//!
//! Statuses, error codes and headers are daprd's, as recorded from daprd 1.18; `docs/dapr-compatibility.md` lists each with
//! the deliberate differences. Memory is bounded: request bodies together hold at most [`http::BODY_BUDGET`] bytes, and a
//! client that sends too slowly is cut off.

pub mod create;
pub mod error;
pub mod http;
pub mod listener;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::error::{Error, Result};
use http::Api;
use listener::{BoundedListener, IDLE, MAX_CONNECTIONS};

/// Serves the API until `token` is cancelled, then answers what is in progress for at most `drain`.
///
/// # Errors
/// The listener failed.
pub async fn serve(listener: TcpListener, api: Arc<Api>, token: CancellationToken, drain: Duration) -> Result<()> {
    let listener = BoundedListener::new(listener, MAX_CONNECTIONS, IDLE);
    let served = axum::serve(listener, http::router(api)).with_graceful_shutdown(token.clone().cancelled_owned());
    let expired = async {
        token.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        served = served.into_future() => served.map_err(|source| Error::Serve { what: "API", source }),
        () = expired => {
            tracing::warn!(seconds = drain.as_secs(), "closing connections of clients that have not finished");
            Ok(())
        }
    }
}
