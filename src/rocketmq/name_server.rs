//! The name server list: one server is used until it fails, then the next; a list served over HTTP is asked anew then.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;

use super::config::ClientConfig;
use super::error::{Error, ErrorKind, Result};
use super::pool::Pool;
use super::wire::Command;

/// Longest list that an HTTP server may send, in bytes.
const MAX_LIST_BYTES: usize = 64 * 1024;

/// The name servers of one client.
pub(crate) struct NameServers {
    state: Mutex<State>,
    domain: Option<String>,
    timeout: Duration,
}

struct State {
    addresses: Vec<String>,
    current: usize,
}

impl NameServers {
    pub fn new(config: &ClientConfig) -> Self {
        Self {
            state: Mutex::new(State { addresses: config.name_servers.clone(), current: 0 }),
            domain: config.name_server_domain.clone(),
            timeout: config.request_timeout,
        }
    }

    /// The addresses, the one in use first.
    pub fn addresses(&self) -> Vec<String> {
        let state = self.lock();
        let (used, first) = (state.addresses.len(), state.current);
        (0..used).map(|step| state.addresses[(first + step) % used].clone()).collect()
    }

    /// Sends a request to the first name server that answers; `build` makes it anew for each try.
    ///
    /// # Errors
    /// [`ErrorKind::NameServerUnreachable`] with each server's failure when none answers; a TLS or configuration failure of
    /// the last one as it is.
    pub async fn invoke(&self, pool: &Pool, build: impl Fn() -> Command) -> Result<Command> {
        let mut failures = Vec::new();
        for round in 0..2 {
            if round == 1 || self.addresses().is_empty() {
                let Some(url) = &self.domain else { break };
                match fetch_list(url, self.timeout).await {
                    Ok(list) => self.replace(list),
                    Err(error) => failures.push(error),
                }
            }
            for address in self.addresses() {
                let outcome = match pool.get(&address).await {
                    Ok(connection) => connection.invoke(build(), self.timeout).await,
                    Err(error) => Err(error),
                };
                match outcome {
                    Ok(response) => {
                        self.prefer(&address);
                        return Ok(response);
                    }
                    Err(error)
                        if matches!(error.kind(), ErrorKind::Tls | ErrorKind::InvalidConfig | ErrorKind::Closed) =>
                    {
                        return Err(error);
                    }
                    Err(error) => failures.push(error),
                }
            }
        }
        let words: Vec<String> = failures.iter().map(ToString::to_string).collect();
        Err(Error::new(ErrorKind::NameServerUnreachable, format!("no name server answers: {}", words.join("; "))))
    }

    fn prefer(&self, address: &str) {
        let mut state = self.lock();
        if let Some(at) = state.addresses.iter().position(|known| known == address) {
            state.current = at;
        }
    }

    fn replace(&self, addresses: Vec<String>) {
        let mut state = self.lock();
        if state.addresses != addresses {
            *state = State { addresses, current: 0 };
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a name server list (`host:port;host:port`) from a URL.
async fn fetch_list(url: &str, limit: Duration) -> Result<Vec<String>> {
    let failed = |what: String| Error::new(ErrorKind::NameServerUnreachable, format!("name server list {url}: {what}"));
    let fetch = async {
        let client = HttpClient::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
        let uri = url.parse().map_err(|error: http::uri::InvalidUri| failed(error.to_string()))?;
        let response = client.get(uri).await.map_err(|error| failed(error.to_string()))?;
        if !response.status().is_success() {
            return Err(failed(format!("HTTP status {}", response.status())));
        }
        let body = Limited::new(response.into_body(), MAX_LIST_BYTES)
            .collect()
            .await
            .map_err(|error| failed(error.to_string()))?;
        Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
    };
    let text = tokio::time::timeout(limit, fetch)
        .await
        .unwrap_or_else(|_| Err(failed(format!("no answer within {} ms", limit.as_millis()))))?;
    let addresses: Vec<String> =
        text.trim().split([';', ',']).map(str::trim).filter(|address| !address.is_empty()).map(str::to_owned).collect();
    if addresses.is_empty() {
        return Err(failed("it is empty; serve host:port;host:port".into()));
    }
    Ok(addresses)
}
