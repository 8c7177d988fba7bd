//! `backOff…`: Dapr's retries in the sidecar become redeliveries by the broker.

use super::Conversion;
use super::manifest::{Backoff, Delivery};
use super::properties::written;

/// Most deliveries that a manifest may ask for.
const MOST_ATTEMPTS: i64 = 10_000;

/// Names that belong to Dapr's retry configuration.
pub(super) const NAMES: [&str; 8] = [
    "backOffPolicy",
    "backOffDuration",
    "backOffInitialInterval",
    "backOffMaxInterval",
    "backOffMultiplier",
    "backOffRandomizationFactor",
    "backOffMaxElapsedTime",
    "backOffMaxRetries",
];

impl Conversion<'_> {
    /// What the input does when the app does not take a message; nothing where the defaults do.
    pub(super) fn delivery(&mut self) -> Option<Delivery> {
        if NAMES.iter().all(|name| self.component.properties.find(name).is_none()) {
            self.changed(
                "delivery",
                "the sidecar tries again every 5 s without end; 20 such messages stop the topic; after a success the broker \
                 sends the message once more",
                "the broker sends it again after 10s, 30s, 1m … 2h, 16 times in all, then it goes to %DLQ%<group>; after a \
                 success never again. spec.delivery sets other waits and counts",
            );
            return None;
        }
        let retries = self.number("backOffMaxRetries", -1, MOST_ATTEMPTS - 1);
        self.left_out();
        if retries == Some(0) {
            self.changed(
                "backOffMaxRetries",
                "0: the broker sends a refused message again",
                "the same: 16 deliveries with the broker's waits, then %DLQ%<group>",
            );
            return None;
        }
        let max_attempts = self.attempts(retries);
        let backoff = self.backoff();
        Some(Delivery { max_attempts, backoff })
    }

    /// Over HTTP the service alone decides when a message comes again and when it is a dead letter.
    pub(super) fn delivery_over_http(&mut self) -> Option<Delivery> {
        for name in NAMES {
            if let Some(value) = self.text(name) {
                let here = "left out: with accessProto: http the service sends a message again when its time is over, and alone \
                            decides when it is a dead letter";
                self.attention(name, value, here);
            }
        }
        None
    }

    fn attempts(&mut self, retries: Option<i64>) -> i64 {
        match retries {
            Some(retries) if retries > 0 => {
                let attempts = retries + 1;
                self.attention(
                    "backOffMaxRetries",
                    format!("{attempts} deliveries by the sidecar, then the same again with each of the broker's 16"),
                    format!("delivery.maxAttempts: {attempts} in all, then the message goes to %DLQ%<group>: raise it if that is too soon"),
                );
                attempts
            }
            _ => {
                self.changed(
                    "backOffMaxRetries",
                    "without end",
                    format!("delivery.maxAttempts: {MOST_ATTEMPTS}, the most; then %DLQ%<group>"),
                );
                MOST_ATTEMPTS
            }
        }
    }

    fn backoff(&mut self) -> Backoff {
        let policy = self.text("backOffPolicy").unwrap_or_else(|| "constant".to_owned());
        let wait = "the sidecar waits and holds one of its 20 slots meanwhile";
        let here = "the broker waits, by the nearest of its 18 levels from 1s to 2h; other messages go on";
        match policy.to_ascii_lowercase().as_str() {
            "constant" => {
                self.changed("backOffPolicy", wait, here);
                let interval = self.duration("backOffDuration").map_or_else(|| "5s".to_owned(), written);
                Backoff::constant(interval)
            }
            "exponential" => {
                self.changed("backOffPolicy", wait, format!("{here}; the wait doubles each time"));
                let initial = self.duration("backOffInitialInterval");
                let max = self.duration("backOffMaxInterval").unwrap_or(std::time::Duration::from_secs(60));
                let initial = initial.unwrap_or(std::time::Duration::from_millis(500)).min(max);
                Backoff::exponential(written(initial), written(max))
            }
            _ => {
                self.wrong("backOffPolicy", format!("{policy:?} is not known; write constant or exponential"));
                Backoff::constant("5s".to_owned())
            }
        }
    }

    fn left_out(&mut self) {
        for name in ["backOffMultiplier", "backOffRandomizationFactor", "backOffMaxElapsedTime"] {
            if let Some(value) = self.text(name) {
                self.attention(
                    name,
                    value,
                    "left out: waits double, without chance, and deliveries are counted, not timed; see delivery.maxAttempts",
                );
            }
        }
    }
}
