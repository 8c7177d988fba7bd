//! The custom resources: types only, with the schema and the admission rules that the API server enforces.
//!
//! What a rule can express is refused at admission, with a message that names the field and the remedy. What needs another
//! object (a Secret, a connection) is checked by the operator and shown as a condition of [`condition`].

#![allow(clippy::duplicated_attributes, reason = "several printer columns have one type or one priority")]

pub mod binding;
mod binding_input;
pub mod condition;
pub mod connection;
pub mod connection_status;
mod crds;
pub mod position;
pub mod quantity;
pub mod reference;
pub mod status;
pub mod sync;
pub mod sync_database;
pub mod sync_objects;
mod sync_status;
mod sync_target;
mod sync_topics;
mod sync_transform;
pub mod sync_verify;
pub mod template;
pub mod workload;

pub use binding::{RocketMQBinding, RocketMQBindingSpec, RocketMQBindingStatus};
pub use connection::{RocketMQConnection, RocketMQConnectionSpec, RocketMQConnectionStatus};
pub use crds::{CrdError, all_crds, crd_yaml};
pub use sync::{RocketMQSync, RocketMQSyncSpec, RocketMQSyncStatus};

/// API group of the custom resources.
pub const GROUP: &str = "connector.rocketmq.dev";
/// The one served and stored version.
pub const VERSION: &str = "v1alpha1";
/// Category of the kinds: `kubectl get rocketmq` lists all of them.
pub const CATEGORY: &str = "rocketmq";
