//! The Aliyun MQ HTTP layer: a client of the HTTP protocol of ApsaraMQ for RocketMQ, as its official SDKs speak it.
//!
//! ```text
//! POST   /topics/{topic}/messages?ns=…                       publish     ─▸ 201, the message's id
//! GET    /topics/{topic}/messages?consumer=…&waitseconds=…   consume     ─▸ 200, up to 16 messages, each with a receipt
//! DELETE /topics/{topic}/messages?consumer=…                 acknowledge ─▸ 204, or the receipts that are not valid any more
//! ```
//! [`HttpClient`] signs and sends requests, [`HttpConsumer`] polls and acknowledges. What the protocol does not have (queues,
//! offsets, lag, handing a message back, delay levels) is not imitated: a message that is not acknowledged comes again when
//! the service's own time for it is over. Messages and errors are those of [`crate::rocketmq`], so that callers treat both
//! protocols alike. What the protocol is was taken from the SDKs for Python (`mq_http_sdk` 1.0.3) and Node
//! (`@aliyunmq/mq-http-sdk` 1.0.4), and the error codes from the service's documentation.

mod client;
mod consumer;
mod delivery;
mod fault;
mod message;
mod request;
mod signature;
mod xml;

pub use client::{HttpClient, HttpClientConfig, RefusedReceipt};
pub use consumer::{HttpConsumer, HttpConsumerConfig, HttpConsumerStatus};
pub use delivery::HttpDelivery;
pub use message::Received;
pub use request::Poll;
