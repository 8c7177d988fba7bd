//! Plain HTTP to a worker's admin port, within the cluster.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::worker_config::WorkerReport;

/// Seconds that a worker may hold a poll open.
const WAIT_SECONDS: u64 = 30;

/// Longest time for a poll.
const TIMEOUT: Duration = Duration::from_secs(WAIT_SECONDS + 10);

/// Largest report that is read, in bytes.
const BODY_LIMIT: usize = 256 * 1024;

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

    /// The worker's report, as soon as its revision is greater than `after`, else after the wait.
    pub async fn poll(&self, endpoint: Endpoint, after: u64) -> Result<WorkerReport, Error> {
        let socket = SocketAddr::new(endpoint.address, endpoint.port);
        match tokio::time::timeout(TIMEOUT, self.fetch(socket, after)).await {
            Ok(report) => report,
            Err(_) => Err(Error::TimeOut(socket)),
        }
    }

    async fn fetch(&self, endpoint: SocketAddr, after: u64) -> Result<WorkerReport, Error> {
        let uri = Uri::builder()
            .scheme("http")
            .authority(endpoint.to_string())
            .path_and_query(format!("/status?after={after}&waitSeconds={WAIT_SECONDS}"))
            .build()
            .map_err(Error::BuildRequest)?;
        let answer = self.client.get(uri).await.map_err(|source| Error::Connect { endpoint, source })?;
        if !answer.status().is_success() {
            return Err(Error::Status { endpoint, status: answer.status().as_u16() });
        }
        let body = Limited::new(answer.into_body(), BODY_LIMIT).collect().await.map_err(Error::ReadBody)?;
        serde_json::from_slice(&body.to_bytes()).map_err(Error::ParseReport)
    }
}
