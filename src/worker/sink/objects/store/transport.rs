//! The worker's HTTP client as OpenDAL's transport: one TLS stack, and certificates that are followed.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport};
use tokio::sync::Mutex;

use super::super::super::super::endpoint::{Endpoint, with_sources};
use super::super::super::super::report::Reporter;

/// Longest time of a request: a part of 5 MiB at 700 kbit/s.
const LIMIT: Duration = Duration::from_secs(60);
/// Most bytes of an answer; parts of objects that are read are smaller.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// What kept a request from being answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TroubleKind {
    /// No connection came about.
    Unreachable,
    /// The connection ended before the answer had come.
    Broken,
    /// The answer took too long.
    Timeout,
}

/// Why a request was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Trouble {
    /// What kept it from being answered.
    pub kind: TroubleKind,
    /// In words.
    pub message: String,
}

/// Sends OpenDAL's requests.
pub struct Transport {
    endpoint: Mutex<Endpoint>,
    reporter: Reporter,
}

impl Transport {
    /// A transport to an endpoint.
    #[must_use]
    pub fn new(endpoint: Endpoint, reporter: Reporter) -> Self {
        Self { endpoint: Mutex::new(endpoint), reporter }
    }

    async fn exchange(&self, request: Request<Buffer>) -> Result<Response<Bytes>, Trouble> {
        let client = {
            let mut endpoint = self.endpoint.lock().await;
            if let Err(error) = endpoint.renew() {
                tracing::warn!(%error, "keeping the certificates read before");
                self.reporter.record_error(error.report());
            }
            endpoint.client().clone()
        };
        let answer = client.request(request.map(|body| Full::new(body.to_bytes()))).await.map_err(|error| {
            let kind = if error.is_connect() { TroubleKind::Unreachable } else { TroubleKind::Broken };
            Trouble { kind, message: with_sources(&error) }
        })?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_LIMIT).collect().await;
        let body = body.map_err(|error| Trouble { kind: TroubleKind::Broken, message: error.to_string() })?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

impl HttpTransport for Transport {
    /// Redirects are not followed: S3 sends them for a wrong region, which is to be corrected.
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let outcome = match tokio::time::timeout(LIMIT, self.exchange(request)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let message = format!("the store did not answer within {} s", LIMIT.as_secs());
                Err(Trouble { kind: TroubleKind::Timeout, message })
            }
        };
        let answer = outcome.map_err(|trouble| {
            Error::new(ErrorKind::Unexpected, "the request was not answered").set_temporary().set_source(trouble)
        })?;
        let (parts, body) = answer.into_parts();
        // Without a size: that of an answer to HEAD is not that of its body.
        let stream = futures::stream::iter([Ok(Buffer::from(body))]);
        Ok(Response::from_parts(parts, HttpBody::new(stream, None)))
    }
}
