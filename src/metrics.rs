//! The process's Prometheus registry, shared by both planes.
//!
//! Each part of the program registers its own metrics once, at its start, through [`Metrics::register`]; the admin server
//! renders them. Names follow the Prometheus conventions: base units, `_total` for counters (added by the encoder).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Prefix of every metric of this program.
pub const PREFIX: &str = "rocketmq_connector";

/// Handle to the registry; clones share it.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// An empty registry, apart from `rocketmq_connector_build_info{version, role}`.
    ///
    /// `role` is what the process runs, for instance `operator` or `worker`.
    #[must_use]
    pub fn new(role: &str) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let labels =
            vec![("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()), ("role".to_owned(), role.to_owned())];
        registry.register("build", "Version and role of the process", Info::new(labels));
        Self { registry: Arc::new(Mutex::new(registry)) }
    }

    /// Runs `register` on the registry: the place to add metrics and keep their handles.
    ///
    /// Registering one name twice renders it twice, so call this once for each metric.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All metrics in the OpenMetrics text format, see [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// A metric failed to render itself.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(4096);
        text::encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn renders_registered_metrics_with_the_prefix() {
        let metrics = Metrics::new("worker");
        let counter: Counter = metrics.register(|registry| {
            let counter = Counter::default();
            registry.register("things", "Things seen", counter.clone());
            counter
        });
        counter.inc_by(3);
        let text = metrics.encode().unwrap();
        assert!(text.contains("rocketmq_connector_things_total 3"), "{text}");
        assert!(text.contains("rocketmq_connector_build_info{version="), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
