//! RocketMQ Connector Operator: custom resources move messages in and out of Apache RocketMQ, with no code.
//!
//! The map, in reading order; `ARCHITECTURE.md` has the whole picture and the invariants.
//! - [`api`]: the custom resources, types only.
//! - [`controller`]: the control plane: reconciles custom resources into worker pods.
//! - [`worker_config`]: the contract between the planes.
//! - [`worker`]: the data plane: what runs in a worker pod.
//! - [`rocketmq`]: the RocketMQ client.
//! - [`rocketmq_http`]: the client of the Aliyun MQ HTTP protocol.
//! - [`dev`]: runs manifests on one machine without a cluster.
//! - [`convert`]: makes manifests of Dapr components.
//! - [`admin`], [`metrics`], [`random`], [`shutdown`], [`telemetry`], [`cli`]: the process.

pub mod admin;
pub mod api;
pub mod cli;
pub mod controller;
pub mod convert;
pub mod dev;
pub mod metrics;
pub mod random;
pub mod rocketmq;
pub mod rocketmq_http;
pub mod shutdown;
pub mod telemetry;
pub mod worker;
pub mod worker_config;
