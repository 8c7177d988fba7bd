//! What the worker pods of all kinds have in common: how they reach a cluster, which files they mount, how they run.

pub mod agent;
pub mod cluster;
pub mod files;
pub mod lookup;
pub mod objects;
pub mod pod;
pub mod scaling;
pub mod state;
pub mod template;
