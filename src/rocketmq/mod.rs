//! The RocketMQ layer: an asynchronous client of Apache RocketMQ 4.9 and 5.x over its remoting protocol.
//!
//! [`Client`] holds the connections, routes and heartbeats; [`Producer`], [`Consumer`] and [`Admin`] work on it. There are no
//! blocking threads and no global state; every queue between tasks is bounded, and every error carries the broker's own words
//! and a remedy. Why this is our own and not the client crate: `docs/adr/0003-rocketmq-client-layer.md`.

pub mod admin;
mod auth;
mod broker_requests;
mod client;
mod compression;
pub mod config;
mod connection;
pub mod consumer;
pub mod error;
mod heartbeat;
pub mod message;
mod message_id;
mod name_server;
mod pool;
pub mod producer;
pub mod properties;
pub mod property;
pub mod receipt;
pub mod route;
mod route_cache;
pub(crate) mod socket;
pub(crate) mod tls;
pub mod wire;

pub use admin::Admin;
pub use client::Client;
pub use config::{ClientConfig, Credentials, TlsConfig};
pub use consumer::{
    Aside, Consumer, ConsumerConfig, ConsumerStatus, Delivery, Filter, QueueStatus, Redelivery, StartFrom, Subscription,
};
pub use error::{Error, ErrorKind, Result};
pub use message::{Delay, Message, ReceivedMessage};
pub use producer::{Producer, ProducerConfig, TransactionChecker, TransactionState};
pub use properties::Properties;
pub use receipt::{SendReceipt, SendStatus};
pub use route::{BrokerInfo, Queue, TopicRoute};
