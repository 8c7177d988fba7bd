//! How long a message waits for its next delivery.

use std::time::Duration;

use crate::rocketmq::Redelivery;
use crate::worker_config::binding::Backoff;

/// Seconds of the broker's delay levels 3 to 18, those it uses for redelivery (`messageDelayLevel` of a broker as shipped).
const BROKER_LEVELS: [u64; 16] = [10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];

/// What to ask the broker for after attempt number `attempt` (from 1) has failed.
#[must_use]
pub fn redelivery(backoff: &Backoff, attempt: u32) -> Redelivery {
    match backoff {
        Backoff::BrokerLevels => Redelivery::BrokerDefault,
        Backoff::Constant { .. } | Backoff::Exponential { .. } => Redelivery::After(pause(backoff, attempt)),
    }
}

/// The same as a pause, for ordered delivery, which retries in place.
#[must_use]
pub fn pause(backoff: &Backoff, attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1);
    match backoff {
        Backoff::BrokerLevels => {
            let level = usize::try_from(doublings).unwrap_or(usize::MAX).min(BROKER_LEVELS.len() - 1);
            Duration::from_secs(BROKER_LEVELS[level])
        }
        Backoff::Constant { millis } => Duration::from_millis(*millis),
        Backoff::Exponential { initial_millis, max_millis } => {
            let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
            Duration::from_millis(initial_millis.saturating_mul(factor).min(*max_millis))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_rise_and_stay_within_bounds() {
        let exponential = Backoff::Exponential { initial_millis: 1_000, max_millis: 60_000 };
        let table = [
            (Backoff::BrokerLevels, 1, 10_000),
            (Backoff::BrokerLevels, 2, 30_000),
            (Backoff::BrokerLevels, u32::MAX, 7_200_000),
            (Backoff::Constant { millis: 250 }, 9, 250),
            (exponential.clone(), 1, 1_000),
            (exponential.clone(), 4, 8_000),
            (exponential.clone(), 40, 60_000),
            (exponential, 4_000, 60_000),
        ];
        for (backoff, attempt, millis) in table {
            assert_eq!(pause(&backoff, attempt), Duration::from_millis(millis), "{backoff:?} attempt {attempt}");
        }
        assert_eq!(redelivery(&Backoff::BrokerLevels, 7), Redelivery::BrokerDefault);
    }
}
