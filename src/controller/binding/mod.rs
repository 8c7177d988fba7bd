//! Control plane of RocketMQBinding.

mod build;
mod dereference;
mod http;
mod reconcile;
mod status;
mod strategy;
mod subscriptions;
mod validate;

pub use build::build_worker_config;
pub use dereference::Dereferenced;
pub use subscriptions::Subscriptions;
pub use validate::{ValidatedBinding, validate};

/// `app.kubernetes.io/component` of its children.
pub const COMPONENT: &str = "binding";
