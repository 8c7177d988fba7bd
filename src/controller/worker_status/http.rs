//! Plain HTTP to a worker's admin port, within the cluster.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;

use crate::worker_config::WorkerReport;
use crate::worker_config::models::ModelPage;
use crate::worker_config::report::Instructions;

/// Seconds that a worker may hold a poll open.
const WAIT_SECONDS: u64 = 30;

/// Longest time for a poll.
const TIMEOUT: Duration = Duration::from_secs(WAIT_SECONDS + 10);

/// Largest report that is read, in bytes.
const BODY_LIMIT: usize = 256 * 1024;

/// Largest part of the models that is read, in bytes.
const MODELS_LIMIT: usize = 4 * 1024 * 1024;

/// Admin port of a worker pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Address of the pod.
    pub address: IpAddr,
    /// Admin port.
    pub port: u16,
}

/// Why a report could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The worker's address does not make a URL.
    #[error("failed to build the request: {0}")]
    BuildRequest(#[source] http::Error),
    /// The worker cannot be reached.
    #[error("failed to reach {endpoint}: {source}; does a NetworkPolicy forbid the operator to reach worker pods?")]
    Connect {
        /// Address and port.
        endpoint: SocketAddr,
        /// What the connection said.
        source: hyper_util::client::legacy::Error,
    },
    /// The worker did not answer in time.
    #[error("{0} did not answer in {TIMEOUT:?}")]
    TimeOut(SocketAddr),
    /// The worker answered with an error.
    #[error("{endpoint} answered {status}")]
    Status {
        /// Address and port.
        endpoint: SocketAddr,
        /// Status code.
        status: u16,
    },
    /// The answer broke off or is too large.
    #[error("failed to read the report: {0}")]
    ReadBody(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is not a report.
    #[error("failed to parse the report: {0}; run operator and worker from one image")]
    ParseReport(#[source] serde_json::Error),
}

/// Client for worker reports; clones share its connections.
#[derive(Debug, Clone)]
pub struct ReportClient {
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl ReportClient {
    /// A client that keeps one idle connection a worker.
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector);
        Self { client }
    }

    /// The worker's report, as soon as its revision is greater than `after`, else after the wait. Tells it `instructions`.
    pub async fn poll(
        &self,
        endpoint: Endpoint,
        after: u64,
        instructions: &Instructions,
    ) -> Result<WorkerReport, Error> {
        let socket = SocketAddr::new(endpoint.address, endpoint.port);
        let path = format!("/status?after={after}&waitSeconds={WAIT_SECONDS}{}", instructions.to_query());
        self.fetch(socket, &path, BODY_LIMIT).await
    }

    /// The models of a connection's worker whose topics come after `after`, as many as fit into `max_bytes`.
    pub async fn models(&self, endpoint: Endpoint, after: &str, max_bytes: usize) -> Result<ModelPage, Error> {
        let socket = SocketAddr::new(endpoint.address, endpoint.port);
        // Topics have letters, digits, -, _, % and | only.
        let after = after.replace('%', "%25").replace('|', "%7C");
        self.fetch(socket, &format!("/models?after={after}&maxBytes={max_bytes}"), MODELS_LIMIT).await
    }

    async fn fetch<T: DeserializeOwned>(&self, endpoint: SocketAddr, path: &str, limit: usize) -> Result<T, Error> {
        match tokio::time::timeout(TIMEOUT, self.get(endpoint, path, limit)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::TimeOut(endpoint)),
        }
    }

    async fn get<T: DeserializeOwned>(&self, endpoint: SocketAddr, path: &str, limit: usize) -> Result<T, Error> {
        let uri = Uri::builder()
            .scheme("http")
            .authority(endpoint.to_string())
            .path_and_query(path)
            .build()
            .map_err(Error::BuildRequest)?;
        let answer = self.client.get(uri).await.map_err(|source| Error::Connect { endpoint, source })?;
        if !answer.status().is_success() {
            return Err(Error::Status { endpoint, status: answer.status().as_u16() });
        }
        let body = Limited::new(answer.into_body(), limit).collect().await.map_err(Error::ReadBody)?;
        serde_json::from_slice(&body.to_bytes()).map_err(Error::ParseReport)
    }
}
