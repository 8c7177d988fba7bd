//! How fast reconciliations begin: whatever makes many due at once, the API server gets no burst of requests.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Time between two reconciliations when many are due: 25 a second.
const STEP: Duration = Duration::from_millis(40);
/// Reconciliations that begin without waiting after a quiet time.
const AT_ONCE: u32 = 25;

/// Turns of all controllers of one operator.
#[derive(Debug)]
pub struct Pace {
    /// When the next turn would be, if turns came at [`STEP`] without a quiet time.
    next: Mutex<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { next: Mutex::new(Instant::now()) }
    }
}

impl Pace {
    /// Waits for a turn: none while few are due, up to its place in the queue otherwise.
    pub async fn turn(&self) {
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let turn = (*next).max(now.checked_sub(STEP * AT_ONCE).unwrap_or(now));
            *next = turn + STEP;
            turn
        };
        sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_turns_are_spread_and_few_do_not_wait() {
        tokio::time::advance(Duration::from_secs(60)).await;
        let pace = Pace::default();
        tokio::time::advance(Duration::from_secs(60)).await;
        let began = Instant::now();
        for _ in 0..AT_ONCE {
            pace.turn().await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        for _ in 0..500 {
            pace.turn().await;
        }
        let spent = began.elapsed();
        assert!(spent >= STEP * 499 && spent <= STEP * 510, "{spent:?}");
        tokio::time::advance(Duration::from_secs(1)).await;
        let again = Instant::now();
        pace.turn().await;
        assert_eq!(again.elapsed(), Duration::ZERO);
    }
}
