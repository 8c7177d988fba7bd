//! The project's RocketMQ layer, without the rest of the project.

#[path = "../../../src/rocketmq/mod.rs"]
pub mod rocketmq;
