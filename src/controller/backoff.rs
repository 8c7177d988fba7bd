//! Per-object exponential backoff with jitter: kube's error policy is not told how often an object has failed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::random;

/// Wait after the first failure.
const INITIAL: Duration = Duration::from_secs(1);

/// Longest wait before jitter.
pub const CAP: Duration = Duration::from_mins(5);

/// Consecutive failures of each object.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<HashMap<String, u32>>,
}

impl Backoff {
    /// Counts a failure of `key` and tells how long to wait: 1 s, 2 s, 4 s, … 5 min, each up to 20 % shorter.
    pub fn next(&self, key: &str) -> Duration {
        let mut failures = self.failures();
        let count = failures.entry(key.to_owned()).or_insert(0);
        let exponent = *count;
        *count = count.saturating_add(1);
        jittered(INITIAL.saturating_mul(2_u32.saturating_pow(exponent)).min(CAP))
    }

    /// Forgets the failures of `key`: it was reconciled, or it is gone.
    pub fn reset(&self, key: &str) {
        self.failures().remove(key);
    }

    fn failures(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `wait` shortened by a random part of up to 20 %, so that objects that failed together don't come back together.
#[must_use]
pub fn jittered(wait: Duration) -> Duration {
    wait - wait.mul_f64(0.2 * random::share())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_range(wait: Duration, full: Duration) -> bool {
        wait <= full && wait >= full.mul_f64(0.8)
    }

    #[test]
    fn doubles_up_to_the_cap_and_restarts_after_success() {
        let backoff = Backoff::default();
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let wait = backoff.next("a/b");
            assert!(in_range(wait, Duration::from_secs(expected)), "{wait:?} is not about {expected} s");
        }
        backoff.reset("a/b");
        assert!(in_range(backoff.next("a/b"), INITIAL));
    }

    #[test]
    fn never_overflows() {
        let backoff = Backoff::default();
        let longest = (0..200).map(|_| backoff.next("a/b")).max().unwrap();
        assert!(longest <= CAP);
    }

    #[test]
    fn objects_are_independent() {
        let backoff = Backoff::default();
        for _ in 0..5 {
            backoff.next("a/b");
        }
        assert!(in_range(backoff.next("a/c"), INITIAL));
    }
}
