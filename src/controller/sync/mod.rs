//! Control plane of RocketMQSync.

mod build;
mod dereference;
mod objects;
mod reconcile;
mod sides;
mod source;
mod status;
mod steps;
mod target;
mod topics;
mod validate;
mod verify;

pub use build::build_worker_config;
pub use dereference::Dereferenced;
pub use validate::{ValidatedSync, validate};

/// `app.kubernetes.io/component` of its children.
pub const COMPONENT: &str = "sync";
