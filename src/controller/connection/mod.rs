//! Control plane of RocketMQConnection.

mod build;
mod dereference;
mod extras;
mod model_maps;
mod reconcile;
mod status;
mod validate;

pub use build::build_worker_config;
pub use model_maps::ModelMaps;
pub use validate::{ValidatedConnection, validate};

/// `app.kubernetes.io/component` of its children.
pub const COMPONENT: &str = "connection";
