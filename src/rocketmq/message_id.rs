//! Unique message ids in the form that RocketMQ's clients make: 32 hexadecimal digits.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

static PREFIX: LazyLock<u64> = LazyLock::new(|| {
    // process id, start time and an address of this process: different for each process of a host, and between hosts
    let mut hasher = std::hash::DefaultHasher::new();
    use std::hash::{BuildHasher, Hash, Hasher};
    std::process::id().hash(&mut hasher);
    now_nanos().hash(&mut hasher);
    std::collections::hash_map::RandomState::new().hash_one(0).hash(&mut hasher);
    hasher.finish()
});
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A new id, unique over processes and hosts.
#[must_use]
pub fn unique_message_id() -> String {
    let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{:016X}{counter:016X}", *PREFIX)
}

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn now_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

fn now_nanos() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_as_long_as_javas() {
        let ids: std::collections::BTreeSet<String> = (0..1000).map(|_| unique_message_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 32));
    }
}
