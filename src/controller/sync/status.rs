//! Computes the status of a RocketMQSync.

use k8s_openapi::jiff::Timestamp;

use crate::api::condition::{reasons, types};
use crate::api::{RocketMQSync, RocketMQSyncStatus};
use crate::controller::conditions::{Draft, merge};
use crate::controller::status::conditions_of;

const MESSAGE: &str = "the spec is valid, but this version runs no RocketMQSync yet; meanwhile use a RocketMQBinding of direction Input \
    that delivers the messages to an app of yours, and one of direction Output to publish";

/// The status that says that nothing runs, and what to use meanwhile.
#[must_use]
pub fn compute(sync: &RocketMQSync, now: Timestamp) -> RocketMQSyncStatus {
    let generation = sync.metadata.generation.unwrap_or_default();
    let drafts = vec![
        Draft::new(types::READY, false, reasons::NOT_IMPLEMENTED, MESSAGE),
        Draft::new(types::ACCEPTED, true, reasons::NOT_IMPLEMENTED, MESSAGE),
        Draft::new(types::RECONCILING, false, reasons::SETTLED, "nothing is being changed"),
        Draft::new(types::STALLED, true, reasons::NOT_IMPLEMENTED, MESSAGE),
    ];
    RocketMQSyncStatus {
        observed_generation: Some(generation),
        conditions: merge(conditions_of(sync), drafts, generation, now),
        ..RocketMQSyncStatus::default()
    }
}
