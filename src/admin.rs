//! The admin server of both planes: `/healthz`, `/readyz`, `/metrics`, and the routes that a role adds (such as `/status`).
//!
//! `/healthz` says that the process serves requests, nothing more: a missing broker must not restart a pod. `/readyz`
//! answers 503 with the names of the gates that are not ready, until all are. No gate at all is ready.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::{CONTENT_TYPE, Metrics};

/// The gates of a process; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    gates: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

impl Readiness {
    /// Adds a gate that is not ready yet; `waiting_for` says what has to happen, for instance `a connection to the broker`.
    ///
    /// A gate of the same name is replaced.
    pub fn gate(&self, name: impl Into<String>, waiting_for: impl Into<String>) -> Gate {
        let gate = Gate { name: name.into(), readiness: self.clone() };
        gate.wait(waiting_for);
        gate
    }

    /// Whether every gate is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.gates().values().all(Option::is_none)
    }

    /// Gates that are not ready: name and what each waits for.
    #[must_use]
    pub fn waiting(&self) -> Vec<Waiting> {
        let gates = self.gates();
        let waiting = gates.iter().filter_map(|(gate, waiting_for)| Some((gate, waiting_for.as_ref()?)));
        waiting.map(|(gate, waiting_for)| Waiting { gate: gate.clone(), waiting_for: waiting_for.clone() }).collect()
    }

    fn gates(&self) -> MutexGuard<'_, BTreeMap<String, Option<String>>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thing that must be so before the process is ready. It may close again.
#[derive(Debug, Clone)]
pub struct Gate {
    name: String,
    readiness: Readiness,
}

impl Gate {
    /// Opens the gate.
    pub fn ready(&self) {
        self.set(None);
    }

    /// Closes the gate; `waiting_for` says what has to happen.
    pub fn wait(&self, waiting_for: impl Into<String>) {
        self.set(Some(waiting_for.into()));
    }

    fn set(&self, waiting_for: Option<String>) {
        self.readiness.gates().insert(self.name.clone(), waiting_for);
    }
}

/// A gate that is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// Name of the gate.
    pub gate: String,
    /// What has to happen.
    pub waiting_for: String,
}

#[derive(Serialize)]
struct ReadyAnswer {
    ready: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waiting: Vec<Waiting>,
}

/// The admin server, listening but not yet serving: its port is known before anything else starts.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl AdminServer {
    /// Listens on `host:port`; port 0 takes a free one.
    ///
    /// # Errors
    /// `host` cannot be resolved, or the port is taken or not allowed.
    pub async fn bind(host: &str, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((host, port)).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `token` is cancelled; `routes` are added to the built-in ones.
    ///
    /// Cancel it last: a process that drains still answers `/healthz`, `/readyz` and `/status`.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn serve(
        self,
        metrics: Metrics,
        readiness: Readiness,
        routes: Router,
        token: CancellationToken,
    ) -> io::Result<()> {
        let router = router(metrics, readiness).merge(routes);
        // A long poll may be open for a minute: stop serving it at once instead of waiting for its end.
        tokio::select! {
            served = axum::serve(self.listener, router).into_future() => served,
            () = token.cancelled() => Ok(()),
        }
    }
}

/// The built-in routes.
pub fn router(metrics: Metrics, readiness: Readiness) -> Router {
    let health = Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(readiness);
    Router::new().route("/metrics", get(render_metrics)).with_state(metrics).merge(health)
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    let waiting = readiness.waiting();
    let status = if waiting.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(ReadyAnswer { ready: waiting.is_empty(), waiting })).into_response()
}

async fn render_metrics(State(metrics): State<Metrics>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to render the metrics: {error}\n")).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn body(response: Response) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn readyz_names_what_is_waited_for_and_closes_again() {
        let readiness = Readiness::default();
        let gate = readiness.gate("broker", "a connection to the name server");
        let answer = readyz(State(readiness.clone())).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let expected =
            r#"{"ready":false,"waiting":[{"gate":"broker","waitingFor":"a connection to the name server"}]}"#;
        assert_eq!(body(answer).await, expected);

        gate.ready();
        let answer = readyz(State(readiness.clone())).await;
        assert_eq!((answer.status(), readiness.is_ready()), (StatusCode::OK, true));
        assert_eq!(body(answer).await, r#"{"ready":true}"#);

        gate.wait("the end of the drain");
        assert_eq!(readyz(State(readiness)).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn serves_added_routes_until_cancelled() {
        let server = AdminServer::bind("127.0.0.1", 0).await.unwrap();
        let (address, token) = (server.address(), CancellationToken::new());
        let routes = Router::new().route("/status", get(|| async { "mine" }));
        let serving = tokio::spawn(server.serve(Metrics::new("test"), Readiness::default(), routes, token.clone()));
        for (path, expected) in [("/healthz", "ok"), ("/status", "mine"), ("/metrics", "# EOF"), ("/readyz", "true")] {
            let answer = get_once(address, path).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(expected), "{path}: {answer}");
        }
        token.cancel();
        serving.await.unwrap().unwrap();
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    }

    async fn get_once(address: SocketAddr, path: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}
