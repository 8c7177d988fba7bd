//! Counters of a pipeline, after the names of the component specification that Vector publishes. They are also the figures of
//! the worker's report, so that both always agree.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::metrics::Metrics;
use crate::worker_config::Identity;

/// Upper bounds of the duration of a write in seconds.
const BUCKETS: [f64; 11] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0, 60.0];

/// Labels of an error counter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    /// CamelCase reason, the same as in reports and conditions.
    reason: String,
}

/// Metrics of a pipeline.
#[derive(Debug, Clone)]
pub struct SyncMetrics {
    /// Records read.
    pub read: Counter,
    /// Records that the target has.
    pub written: Counter,
    /// Records that the target had already.
    pub repeated: Counter,
    /// Records that may be at the target twice.
    pub resent: Counter,
    /// Records left out by a filter, the loop guard or the write policy.
    pub left_out: Counter,
    /// Invalid records that were skipped.
    pub skipped: Counter,
    /// Invalid records that were moved to the dead-letter topic.
    pub dead_lettered: Counter,
    /// Writes of a batch that failed.
    pub failed_writes: Counter,
    errors: Family<ErrorLabels, Counter>,
    /// Records read and not acknowledged.
    pub in_flight: Gauge,
    /// Records that wait at the source; -1 until known.
    pub lag: Gauge,
    /// Milliseconds from the source's time of a record to its acknowledgement; -1 before the first.
    pub delay_millis: Gauge,
    /// Milliseconds that the newest heartbeat took through the pipeline; -1 before the first.
    pub beat_delay_millis: Gauge,
    write_seconds: Histogram,
}

impl SyncMetrics {
    /// Registers the metrics, labelled with the custom resource they belong to.
    #[must_use]
    pub fn register(metrics: &Metrics, identity: &Identity) -> Self {
        let label = |key: &'static str, value: &str| (key.into(), value.to_owned().into());
        let labels = [
            label("component_kind", &identity.kind),
            label("namespace", &identity.namespace),
            label("name", &identity.name),
        ];
        let new = Self {
            read: Counter::default(),
            written: Counter::default(),
            repeated: Counter::default(),
            resent: Counter::default(),
            left_out: Counter::default(),
            skipped: Counter::default(),
            dead_lettered: Counter::default(),
            failed_writes: Counter::default(),
            errors: Family::default(),
            in_flight: Gauge::default(),
            lag: Gauge::default(),
            delay_millis: Gauge::default(),
            beat_delay_millis: Gauge::default(),
            write_seconds: Histogram::new(BUCKETS),
        };
        new.lag.set(-1);
        new.delay_millis.set(-1);
        new.beat_delay_millis.set(-1);
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_labels(labels.into_iter());
            let counters = [
                ("component_received_events", "Records read from the source", &new.read),
                ("component_sent_events", "Records that the target has durably", &new.written),
                ("repeated_events", "Records that the target had already", &new.repeated),
                ("resent_events", "Records that may be at the target twice", &new.resent),
                ("component_discarded_events", "Records left out by filter, loop guard or policy", &new.left_out),
                ("skipped_events", "Invalid records that were skipped", &new.skipped),
                ("dead_lettered_events", "Records moved to the dead-letter topic", &new.dead_lettered),
                ("failed_writes", "Writes of a batch that failed and were tried again", &new.failed_writes),
            ];
            for (name, help, counter) in counters {
                registry.register(name, help, counter.clone());
            }
            let gauges = [
                ("component_in_flight_events", "Records read and not acknowledged", &new.in_flight),
                ("consumer_lag_events", "Records that wait at the source, -1 until known", &new.lag),
                ("delay_milliseconds", "From the source's time to the acknowledgement, -1 at first", &new.delay_millis),
                ("heartbeat_delay_milliseconds", "Of the newest heartbeat, -1 at first", &new.beat_delay_millis),
            ];
            for (name, help, gauge) in gauges {
                registry.register(name, help, gauge.clone());
            }
            registry.register("component_errors", "Failures by reason", new.errors.clone());
            registry.register("write_duration_seconds", "Seconds that a batch took", new.write_seconds.clone());
        });
        new
    }

    /// Counts a failure.
    pub fn fail(&self, reason: &str) {
        self.errors.get_or_create(&ErrorLabels { reason: reason.to_owned() }).inc();
    }

    /// Notes how long a batch took.
    pub fn observe_write(&self, elapsed: Duration) {
        self.write_seconds.observe(elapsed.as_secs_f64());
    }
}
