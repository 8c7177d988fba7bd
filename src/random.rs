//! Randomness for waits that are not to end together. Not for secrets.

use std::hash::{BuildHasher, RandomState};

/// A random number from 0 to less than 1, in steps of a thousandth.
#[must_use]
pub fn share() -> f64 {
    // A fresh RandomState is seeded by the operating system: enough without a dependency.
    (RandomState::new().hash_one(()) % 1_000) as f64 / 1_000.0
}
