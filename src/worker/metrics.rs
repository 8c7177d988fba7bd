//! Metrics of a worker, after the names of the component specification that Vector publishes. Their counters are also the
//! figures of the worker's report, so that both always agree.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::metrics::Metrics;
use crate::worker_config::Identity;

/// Upper bounds of the duration histograms in seconds: from a fast local app to its longest timeouts.
const BUCKETS: [f64; 12] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0];

/// Direction of a binding's messages.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    component_type: &'static str,
}

/// Labels of an error counter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    component_type: &'static str,
    /// CamelCase reason, the same as in reports and conditions.
    reason: String,
}

/// The metrics that both directions have, registered once.
struct Families {
    received: Family<DirectionLabels, Counter>,
    sent: Family<DirectionLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    in_flight: Family<DirectionLabels, Gauge>,
    duration: Family<DirectionLabels, Histogram>,
}

impl Families {
    fn register(registry: &mut Registry) -> Self {
        let families = Self {
            received: Family::default(),
            sent: Family::default(),
            errors: Family::default(),
            in_flight: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
        };
        registry.register("component_received_events", "Messages that came in", families.received.clone());
        registry.register("component_sent_events", "Messages that went out and were accepted", families.sent.clone());
        registry.register("component_errors", "Failed attempts by reason", families.errors.clone());
        registry.register("component_in_flight_events", "Messages being worked on", families.in_flight.clone());
        registry.register("component_duration_seconds", "Seconds that one attempt took", families.duration.clone());
        families
    }

    fn direction(&self, component_type: &'static str) -> DirectionMetrics {
        let labels = DirectionLabels { component_type };
        DirectionMetrics {
            component_type,
            received: self.received.get_or_create(&labels).clone(),
            sent: self.sent.get_or_create(&labels).clone(),
            errors: self.errors.clone(),
            failed: Counter::default(),
            in_flight: self.in_flight.get_or_create(&labels).clone(),
            duration: self.duration.get_or_create(&labels).clone(),
        }
    }
}

/// One direction of a binding.
#[derive(Debug, Clone)]
pub struct DirectionMetrics {
    component_type: &'static str,
    /// Messages that came in: from the broker (input) or from callers of the API (output).
    pub received: Counter,
    /// Messages that went out and were accepted: by the app (input) or by the broker (output).
    pub sent: Counter,
    errors: Family<ErrorLabels, Counter>,
    /// Failed attempts in all.
    pub failed: Counter,
    /// Messages being worked on.
    pub in_flight: Gauge,
    duration: Histogram,
}

impl DirectionMetrics {
    /// Counts a failed attempt.
    pub fn fail(&self, reason: &str) {
        self.failed.inc();
        let labels = ErrorLabels { component_type: self.component_type, reason: reason.to_owned() };
        self.errors.get_or_create(&labels).inc();
    }

    /// Counts an attempt that was accepted after `elapsed`.
    pub fn succeed(&self, elapsed: Duration) {
        self.sent.inc();
        self.duration.observe(elapsed.as_secs_f64());
    }

    /// Counts a message as in flight until the guard is dropped, however its work ends.
    #[must_use]
    pub fn start(&self) -> InFlight {
        self.received.inc();
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }
}

/// A message in flight.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Metrics of a binding.
#[derive(Debug, Clone)]
pub struct BindingMetrics {
    /// Broker → app.
    pub input: DirectionMetrics,
    /// API → broker.
    pub output: DirectionMetrics,
    /// Messages handed back for redelivery.
    pub redelivered: Counter,
    /// Messages moved to the dead-letter topic.
    pub dead_lettered: Counter,
    /// Messages of this worker's queues that are not acknowledged; -1 until known.
    pub lag: Gauge,
    /// Queues that this worker reads.
    pub queues: Gauge,
}

impl BindingMetrics {
    /// Registers the metrics, labelled with the custom resource they belong to.
    #[must_use]
    pub fn register(metrics: &Metrics, identity: &Identity) -> Self {
        let label = |key: &'static str, value: &str| (key.into(), value.to_owned().into());
        let labels = [
            label("component_kind", &identity.kind),
            label("namespace", &identity.namespace),
            label("name", &identity.name),
        ];
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_labels(labels.into_iter());
            let families = Families::register(registry);
            let (input, output) = (families.direction("input"), families.direction("output"));
            let (redelivered, dead_lettered) = (Counter::default(), Counter::default());
            let (lag, queues) = (Gauge::default(), Gauge::default());
            lag.set(-1);
            registry.register("redelivered_events", "Messages handed back for redelivery", redelivered.clone());
            registry.register("dead_lettered_events", "Messages moved to the dead-letter topic", dead_lettered.clone());
            registry.register(
                "consumer_lag_events",
                "Messages stored but not acknowledged, -1 until known",
                lag.clone(),
            );
            registry.register("consumer_queues", "Queues that this worker reads", queues.clone());
            Self { input, output, redelivered, dead_lettered, lag, queues }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carries_identity_and_direction() {
        let metrics = Metrics::new("worker");
        let identity =
            Identity { kind: "RocketMQBinding".into(), namespace: "n".into(), name: "b".into(), generation: 1 };
        let binding = BindingMetrics::register(&metrics, &identity);
        let guard = binding.input.start();
        binding.input.fail("AppTimeout");
        drop(guard);
        let text = metrics.encode().unwrap();
        let labels = r#"{component_kind="RocketMQBinding",namespace="n",name="b",component_type="input""#;
        for line in [
            format!("component_errors_total{labels},reason=\"AppTimeout\"}} 1"),
            format!("component_in_flight_events{labels}}} 0"),
        ] {
            assert!(text.contains(&format!("rocketmq_connector_{line}")), "{line} missing in {text}");
        }
    }
}
