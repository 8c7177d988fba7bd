//! Control plane of RocketMQBinding.

mod build;
mod dereference;
mod reconcile;
mod status;
mod validate;

/// `app.kubernetes.io/component` of its children.
pub const COMPONENT: &str = "binding";
