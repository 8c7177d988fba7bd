//! What the HTTP and the gRPC routes share: the token, the memory of request bodies, the metadata, and calls of the binding.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::binding::output::Output;
use super::super::binding::reader::Reader;
use super::super::config::TokenFile;
use crate::worker_config::binding::{BindingConfig, OutputConfig};

/// Bytes of request bodies held at one time; a request waits for its share. One body of the largest size always fits.
pub const BODY_BUDGET: usize = 64 * 1024 * 1024;
/// Longest time to send a body once it was asked for.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// The budget is counted in units of this many bytes.
const BUDGET_UNIT: usize = 1024;
/// Entries that callers may add to the metadata.
const MAX_EXTENDED: usize = 100;

/// What the routes share.
pub struct Api {
    pub(super) output: Arc<Output>,
    pub(super) reader: Arc<Reader>,
    pub(super) settings: OutputConfig,
    token: Option<TokenFile>,
    max_body_bytes: usize,
    budget: Arc<Semaphore>,
    extended: Mutex<BTreeMap<String, String>>,
}

/// The metadata of the worker, as Dapr's API describes a sidecar.
pub struct Metadata {
    /// Name of the binding.
    pub name: String,
    /// Version of the worker.
    pub version: &'static str,
    /// What the binding can do.
    pub capabilities: Vec<&'static str>,
    /// Entries that callers have added, and the version.
    pub extended: BTreeMap<String, String>,
}

impl Api {
    /// An API that publishes through `output` and reads through `reader`; callers must send `token` if there is one.
    #[must_use]
    pub fn new(output: Arc<Output>, reader: Arc<Reader>, settings: OutputConfig, token: Option<TokenFile>) -> Self {
        let limit = usize::try_from(settings.max_body_bytes).unwrap_or(usize::MAX);
        let max_body_bytes = limit.min(Semaphore::MAX_PERMITS);
        let budget = Arc::new(Semaphore::new(BODY_BUDGET.max(max_body_bytes).div_ceil(BUDGET_UNIT)));
        Self { output, reader, settings, token, max_body_bytes, budget, extended: Mutex::default() }
    }

    /// The binding.
    #[must_use]
    pub fn binding(&self) -> &BindingConfig {
        self.output.binding()
    }

    /// Largest request body in bytes.
    #[must_use]
    pub fn max_body_bytes(&self) -> usize {
        self.max_body_bytes
    }

    /// Whether a caller who sends `token` may call.
    #[must_use]
    pub fn admits(&self, token: Option<&[u8]>) -> bool {
        let Some(expected) = &self.token else { return true };
        // Digests are compared, so that the time it takes tells nothing about the token.
        token.map(Sha256::digest) == Some(Sha256::digest(expected.get().expose_secret()))
    }

    /// Waits for `size` bytes of the budget, which are held until the permit is dropped.
    pub async fn share(&self, size: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(size.div_ceil(BUDGET_UNIT)).unwrap_or(u32::MAX);
        // The semaphore is never closed, so there is always a share in the end.
        Arc::clone(&self.budget).acquire_many_owned(units).await.ok()
    }

    /// The metadata.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        let version = env!("CARGO_PKG_VERSION");
        let mut extended = self.extended.lock().unwrap_or_else(PoisonError::into_inner).clone();
        extended.insert("daprRuntimeVersion".to_owned(), version.to_owned());
        let input = self.binding().input.is_some().then_some("INPUT_BINDING");
        let capabilities = input.into_iter().chain(["OUTPUT_BINDING"]).collect();
        Metadata { name: self.binding().name.clone(), version, capabilities, extended }
    }

    /// Adds an entry to the metadata.
    ///
    /// # Errors
    /// There are too many; the message says what to do.
    pub fn set_metadata(&self, key: String, value: String) -> Result<(), String> {
        let mut extended = self.extended.lock().unwrap_or_else(PoisonError::into_inner);
        if extended.len() >= MAX_EXTENDED && !extended.contains_key(&key) {
            return Err(format!("metadata has {MAX_EXTENDED} entries already; reuse a key"));
        }
        extended.insert(key, value);
        Ok(())
    }
}
