//! Control plane of RocketMQSync.

mod reconcile;
mod status;
