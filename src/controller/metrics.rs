//! Metrics of the control plane.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::metrics::Metrics as Registry;

/// Upper bounds of the duration histogram in seconds.
const BUCKETS: [f64; 8] = [0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0];

/// Handles to the control plane's metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    reconciliations: Family<Outcome, Counter>,
    durations: Family<Kind, Histogram>,
    reports: Family<Poll, Counter>,
    leading: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    kind: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Poll {
    result: &'static str,
}

impl Metrics {
    /// Adds the control plane's metrics to the process's; call it once.
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        let metrics = Self {
            reconciliations: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            reports: Family::default(),
            leading: Gauge::default(),
        };
        registry.register(|registry| {
            let help = "Finished reconciliations by kind and result: ok, or the reason of the failure";
            registry.register("reconciliations", help, metrics.reconciliations.clone());
            let help = "Duration of reconciliations by kind";
            registry.register("reconciliation_duration_seconds", help, metrics.durations.clone());
            let help = "Answers of workers to long polls of their report by result: changed, unchanged or failed";
            registry.register("worker_report_polls", help, metrics.reports.clone());
            registry.register(
                "leading",
                "Whether this process reconciles: 1 while it leads, else 0",
                metrics.leading.clone(),
            );
        });
        metrics
    }

    /// Counts a reconciliation.
    pub fn reconciled(&self, kind: &'static str, result: &'static str, took: Duration) {
        self.reconciliations.get_or_create(&Outcome { kind, result }).inc();
        self.durations.get_or_create(&Kind { kind }).observe(took.as_secs_f64());
    }

    /// Counts an answer to a long poll.
    pub fn polled(&self, result: &'static str) {
        self.reports.get_or_create(&Poll { result }).inc();
    }

    /// Tells whether this process reconciles.
    pub fn lead(&self, leading: bool) {
        self.leading.set(i64::from(leading));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconciliations_are_counted_by_kind_and_result() {
        let registry = Registry::new("operator");
        let metrics = Metrics::register(&registry);
        metrics.reconciled("RocketMQBinding", "ok", Duration::from_millis(3));
        metrics.lead(true);
        let text = registry.encode().unwrap();
        let expected = r#"rocketmq_connector_reconciliations_total{kind="RocketMQBinding",result="ok"} 1"#;
        assert!(text.contains(expected), "{text}");
        assert!(text.lines().any(|line| line == "rocketmq_connector_leading 1"), "{text}");
        assert!(text.contains("rocketmq_connector_reconciliation_duration_seconds_count"), "{text}");
    }
}
