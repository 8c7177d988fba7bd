//! When a worker compares: at an interval, and when the operator orders it.

use std::time::{Duration, Instant};

use crate::worker_config::verify::VerifyConfig;

/// Time between two looks at whether a run is due.
pub const LOOK: Duration = Duration::from_millis(500);

/// What makes a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// An order of the operator's, which is another one than before.
    Order,
    /// The interval is over.
    Interval,
}

/// What has been ordered, and when the newest run ended.
pub struct Schedule {
    interval: Option<Duration>,
    order: Option<String>,
    ran: Instant,
}

impl Schedule {
    /// As the configuration has it, from now on.
    #[must_use]
    pub fn new(config: &VerifyConfig) -> Self {
        let interval = config.interval_millis.map(Duration::from_millis);
        Self { interval, order: None, ran: Instant::now() }
    }

    /// Whether a run is due, `told` being the newest order.
    #[must_use]
    pub fn due(&self, told: Option<&String>) -> Option<Cause> {
        if told.is_some() && told != self.order.as_ref() {
            return Some(Cause::Order);
        }
        self.interval.filter(|interval| self.ran.elapsed() >= *interval).map(|_| Cause::Interval)
    }

    /// A run begins, which carries out the newest order.
    pub fn begin(&mut self, told: Option<String>) {
        self.order = told;
    }

    /// A run has ended.
    pub fn end(&mut self) {
        self.ran = Instant::now();
    }
}
