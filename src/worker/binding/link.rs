//! The way to RocketMQ below the roles: RocketMQ's remoting protocol, or the Aliyun MQ HTTP protocol (`accessProto: http`).

use std::time::Duration;

use super::super::config;
use super::super::connection::probe;
use super::super::error::{Error, Result, reported, rocketmq_report};
use super::super::report::Reporter;
use super::super::rotation::{self, CredentialUser};
use super::super::tls;
use crate::rocketmq::{self, Client, Credentials, ErrorKind, Message, Producer, ProducerConfig, SendReceipt};
use crate::rocketmq_http::{HttpClient, HttpClientConfig};
use crate::worker_config::Identity;
use crate::worker_config::binding::BindingConfig;
use crate::worker_config::report::ReportedError;
use tokio_util::sync::CancellationToken;

/// Longest wait for an answer of an HTTP endpoint, beyond the time that a poll waits.
const HTTP_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of the binding's cluster. Cheap to clone.
#[derive(Clone)]
pub enum Link {
    /// RocketMQ's remoting protocol.
    Remoting(Client),
    /// The Aliyun MQ HTTP protocol.
    Http(HttpClient),
}

/// Publishes messages over a [`Link`]. Cheap to clone.
#[derive(Clone)]
pub enum Publisher {
    /// RocketMQ's remoting protocol.
    Remoting(Producer),
    /// The Aliyun MQ HTTP protocol.
    Http {
        /// The client.
        client: HttpClient,
        /// Largest body in bytes.
        limit: usize,
    },
}

/// A message that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its id.
    pub message_id: String,
    /// Where it is; the HTTP protocol does not tell.
    pub place: Option<Place>,
}

/// A place in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Name of the broker.
    pub broker_name: String,
    /// Queue in the topic.
    pub queue_id: i32,
    /// Position in the queue.
    pub queue_offset: i64,
}

impl From<SendReceipt> for Stored {
    fn from(receipt: SendReceipt) -> Self {
        let SendReceipt { message_id, broker_name, queue_id, queue_offset, .. } = receipt;
        let place = Place { broker_name: broker_name.into(), queue_id, queue_offset };
        Self { message_id: message_id.into(), place: Some(place) }
    }
}

impl Link {
    /// A client of the binding's cluster, with what its files hold; dials nothing yet.
    ///
    /// # Errors
    /// A file cannot be read, or the configuration cannot be used.
    pub fn open(binding: &BindingConfig, identity: &Identity) -> Result<Self> {
        let cluster = &binding.cluster;
        let refused = |source| Error::RocketMq { what: "failed to build the client", source };
        let Some(endpoint) = binding.http_endpoint.clone() else {
            let settings = config::client_config(cluster, identity)?;
            return Client::new(settings).map(Self::Remoting).map_err(refused);
        };
        let credentials = config::read_credentials(cluster)?.ok_or_else(|| Error::InvalidConfig {
            field: "cluster.credentials",
            value: endpoint.clone(),
            why: "an HTTP endpoint takes no request without credentials".to_owned(),
        })?;
        let tls = if endpoint.to_ascii_lowercase().starts_with("https://") {
            tls::client_config(&cluster.tls.clone().unwrap_or_default())?
        } else {
            tls::without_authorities()?
        };
        let settings = HttpClientConfig {
            endpoint,
            instance_id: cluster.instance_id.clone(),
            credentials,
            tls,
            server_name: cluster.tls.as_ref().and_then(|tls| tls.server_name.clone()),
            timeout: HTTP_TIMEOUT,
        };
        HttpClient::new(settings).map(Self::Http).map_err(refused)
    }

    /// Asks whether the cluster takes the credentials.
    ///
    /// # Errors
    /// It does not, with the reason and the remedy.
    pub async fn probe(&self, config: &BindingConfig) -> std::result::Result<(), ReportedError> {
        match self {
            Self::Remoting(client) => probe(client).await,
            Self::Http(client) => ask(client, config).await,
        }
    }

    /// What publishes bodies of up to `limit` bytes.
    ///
    /// # Errors
    /// The group cannot be used.
    pub fn publisher(&self, group: &str, limit: Option<u64>) -> Result<Publisher> {
        let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        match self {
            Self::Remoting(client) => {
                let mut settings = ProducerConfig::new(group);
                settings.max_message_size = limit.unwrap_or(settings.max_message_size);
                let refused = |source| Error::RocketMq { what: "failed to build the producer", source };
                Producer::new(client, settings).map(Publisher::Remoting).map_err(refused)
            }
            Self::Http(client) => Ok(Publisher::Http { client: client.clone(), limit: limit.unwrap_or(usize::MAX) }),
        }
    }

    /// Watches the files of the cluster; see [`rotation::watch`].
    pub async fn watch(
        &self,
        config: &BindingConfig,
        reporter: &Reporter,
        token: &CancellationToken,
        on_credentials: impl Fn() + Sync,
    ) {
        match self {
            Self::Remoting(client) => {
                config::watch(&config.cluster, client, reporter, token, on_credentials).await;
            }
            Self::Http(client) => {
                let user = HttpUser { client, config, on_credentials };
                rotation::follow(&config.cluster, &user, reporter, token).await;
            }
        }
    }

    /// Ends the client's connections.
    pub async fn shutdown(&self) {
        match self {
            Self::Remoting(client) => client.shutdown().await,
            // Its connections end with its last clone.
            Self::Http(_) => {}
        }
    }
}

impl Publisher {
    /// Stores a message.
    ///
    /// # Errors
    /// What the broker or the endpoint says.
    pub async fn send(&self, message: Message) -> rocketmq::Result<Stored> {
        match self {
            Self::Remoting(producer) => producer.send(message).await.map(Stored::from),
            Self::Http { limit, .. } if message.body.len() > *limit => {
                let (length, limit) = (message.body.len(), *limit);
                let message = format!("body: {length} bytes are more than the limit of {limit}");
                Err(rocketmq::Error::new(ErrorKind::MessageTooLarge, message))
            }
            Self::Http { client, .. } => {
                client.publish(&message).await.map(|message_id| Stored { message_id, place: None })
            }
        }
    }

    /// Sends what is waiting, and takes no more.
    pub async fn shutdown(&self) {
        match self {
            Self::Remoting(producer) => producer.shutdown().await,
            Self::Http { .. } => {}
        }
    }
}

/// Whose credentials change: an HTTP client.
struct HttpUser<'a, Told> {
    client: &'a HttpClient,
    config: &'a BindingConfig,
    on_credentials: Told,
}

impl<Told: Fn() + Sync> CredentialUser for HttpUser<'_, Told> {
    async fn try_out(&self, credentials: Option<Credentials>) -> std::result::Result<(), ReportedError> {
        match credentials {
            Some(credentials) => ask(&self.client.with_credentials(credentials), self.config).await,
            None => Err(reported("AccessDenied", "there are no credentials", "set accessKey and secretKey")),
        }
    }

    fn take(&self, credentials: Option<Credentials>) {
        if let Some(credentials) = credentials {
            self.client.set_credentials(credentials);
            (self.on_credentials)();
        }
    }
}

async fn ask(client: &HttpClient, config: &BindingConfig) -> std::result::Result<(), ReportedError> {
    let topic = config.topics.first().map(|topic| topic.topic.as_str());
    let asked = client.probe(topic, &config.group).await;
    asked.map_err(|error| rocketmq_report("failed to ask the endpoint", &error))
}
