//! The user's app, over HTTP or gRPC: what it is asked, and why it has not taken a message.
//!
//! A connection that cannot be opened is told apart from everything else: then the app cannot have seen the message, and no
//! attempt is used up.

pub mod connect;
pub mod grpc;
pub mod http;

use std::time::Duration;

use bytes::Bytes;

use super::super::error::{Result, reported};
use crate::rocketmq::ReceivedMessage;
use crate::worker_config::binding::{AppProtocol, BindingConfig, InputConfig};
use crate::worker_config::report::ReportedError;
use connect::Address;
use grpc::GrpcApp;
use http::HttpApp;

/// A client of the user's app.
pub struct App {
    protocol: Protocol,
    address: Address,
    timeout: Duration,
}

enum Protocol {
    Http(HttpApp),
    Grpc(GrpcApp),
}

/// What the app said when it took a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Output bindings that it wants `data` sent to.
    pub to: Vec<String>,
    /// What to send.
    pub data: Bytes,
}

/// Why the app has not taken a message, or does not want any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No connection: the app has not seen the message.
    Unreachable(String),
    /// It answered with a status that is no success.
    Refused(String),
    /// It did not answer in time.
    TimedOut,
    /// The connection broke before the answer.
    Broken(String),
    /// It does not want messages of this binding.
    NotSubscribed(String),
    /// It took the message, but what it asked for in its answer could not be done.
    Reply(String),
}

impl App {
    /// A client for the app of an input binding; opens no connection yet.
    ///
    /// # Errors
    /// The app's address or a path makes no URL, the token file cannot be read, or the system has no certificate authorities
    /// for an app that has a certificate.
    pub fn new(binding: &BindingConfig, input: &InputConfig) -> Result<Self> {
        let (protocol, address) = match input.protocol {
            AppProtocol::Http => {
                let app = HttpApp::new(binding, input)?;
                let address = Address::of(app.uri());
                (Protocol::Http(app), address)
            }
            AppProtocol::Grpc => {
                let app = GrpcApp::new(binding, input)?;
                let address = Address::of(app.uri());
                (Protocol::Grpc(app), address)
            }
        };
        Ok(Self { protocol, address, timeout: Duration::from_millis(input.timeout_millis) })
    }

    /// What a message of `topic` is sent to, as a failure names it.
    #[must_use]
    pub fn target(&self, topic: &str) -> String {
        match &self.protocol {
            Protocol::Http(app) => format!("POST {}", app.route(topic)),
            Protocol::Grpc(app) => format!("OnBindingEvent at {}", app.uri()),
        }
    }

    /// Sends a message; `redeliveries` is how often it has been delivered before.
    ///
    /// # Errors
    /// Anything but a success within the time limit.
    pub async fn deliver(
        &self,
        message: &ReceivedMessage,
        redeliveries: u32,
    ) -> std::result::Result<Option<Reply>, Failure> {
        let deliver = async {
            match &self.protocol {
                Protocol::Http(app) => app.deliver(message, redeliveries).await.map(|()| None),
                Protocol::Grpc(app) => app.deliver(message, redeliveries).await,
            }
        };
        tokio::time::timeout(self.timeout, deliver).await.unwrap_or(Err(Failure::TimedOut))
    }

    /// Sends messages as one list. Only an app that speaks HTTP takes one.
    ///
    /// # Errors
    /// Anything but a success within the time limit.
    pub async fn deliver_batch(
        &self,
        messages: impl Iterator<Item = &ReceivedMessage>,
    ) -> std::result::Result<Option<Reply>, Failure> {
        let Protocol::Http(app) = &self.protocol else {
            return Err(Failure::Refused("nothing, because batches are for HTTP,".to_owned()));
        };
        let deliver = app.deliver_batch(messages);
        tokio::time::timeout(self.timeout, deliver).await.unwrap_or(Err(Failure::TimedOut)).map(|()| None)
    }

    /// Asks whether the app wants messages, as daprd does.
    ///
    /// # Errors
    /// It does not, or it could not be asked.
    pub async fn wants_messages(&self) -> std::result::Result<(), Failure> {
        let ask = async {
            match &self.protocol {
                Protocol::Http(app) => app.wants_messages().await,
                Protocol::Grpc(app) => app.wants_messages().await,
            }
        };
        tokio::time::timeout(self.timeout, ask).await.unwrap_or(Err(Failure::TimedOut))
    }

    /// Whether a connection can be opened.
    pub async fn is_reachable(&self) -> bool {
        self.address.is_reachable().await
    }

    /// `failure` as it appears in a worker's report; `target` is what [`target`](Self::target) says.
    #[must_use]
    pub fn report(&self, failure: &Failure, target: &str) -> ReportedError {
        let (message, remedy) = match failure {
            Failure::Unreachable(why) => (
                format!("no connection to the app for {target}: {why}"),
                "start the app, or correct spec.app; messages wait meanwhile and use up no attempt",
            ),
            Failure::Refused(status) => (
                format!("the app answered {status} to {target}"),
                "answer 2xx (gRPC: OK) when a message is taken; look at the app's log for the reason",
            ),
            Failure::TimedOut => (
                format!("the app did not answer {target} within {} ms", self.timeout.as_millis()),
                "answer sooner, raise spec.app.timeout, or lower spec.app.maxConcurrency",
            ),
            Failure::Broken(why) => (
                format!("the connection to the app for {target} broke before its answer: {why}"),
                "look at the app's log for a crash, or at a proxy between",
            ),
            Failure::NotSubscribed(what) => (
                format!("{what}, so no messages are read"),
                "answer OPTIONS with 2xx or 405 (gRPC: list the binding in ListInputBindings), or set spec.direction to Input, \
                 which asks nothing",
            ),
            Failure::Reply(why) => (
                format!("the app took the message of {target}, but its answer could not be carried out: {why}"),
                "name this binding in `to`, or publish with the other binding's own API",
            ),
        };
        reported(failure.reason(), message, remedy)
    }
}

impl Failure {
    /// CamelCase reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "AppUnreachable",
            Self::Refused(_) => "AppRefused",
            Self::TimedOut => "AppTimeout",
            Self::Broken(_) => "AppConnectionBroken",
            Self::NotSubscribed(_) => "AppNotSubscribed",
            Self::Reply(_) => "AppReplyFailed",
        }
    }
}
