//! Queries and changes of topics, groups and offsets, on 4.9 and 5.x alike.

use std::collections::BTreeMap;

use super::client::Client;
use super::consumer::check_group;
use super::error::{Error, ErrorKind, Result};
use super::message::without_namespace;
use super::route::{BrokerInfo, Queue, TopicRoute};
use super::wire::Command;
use super::wire::codes::request;
use super::wire::loose_json::{self, Loose};

mod groups;
mod probe;
mod topics;

pub use groups::{ConsumerConnection, QueueLag};
pub use probe::{BrokerAnswer, Peek, TOOLS_GROUP, version_name};
pub use topics::{QueueStats, is_system_topic};

/// Queries and changes of topics, groups and offsets.
#[derive(Clone)]
pub struct Admin {
    client: Client,
}

/// The brokers of all clusters that the name servers know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Brokers by name.
    pub brokers: Vec<BrokerInfo>,
}

impl Admin {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// The route of a topic, asked for now.
    ///
    /// # Errors
    /// [`ErrorKind::TopicNotFound`], or no name server answers.
    pub async fn topic_route(&self, topic: &str) -> Result<TopicRoute> {
        let route = self.client.0.refresh_route(&self.client.0.scoped(topic)).await?;
        Ok((*route).clone())
    }

    /// The brokers that the name servers know.
    ///
    /// # Errors
    /// No name server answers.
    pub async fn cluster(&self) -> Result<ClusterInfo> {
        let answer =
            self.client.0.ask_name_server(Command::request(request::GET_BROKER_CLUSTER_INFO), "the cluster").await?;
        let body = parse(&answer, "the cluster")?;
        let table = body.get("brokerAddrTable").map(Loose::entries).unwrap_or_default();
        Ok(ClusterInfo { brokers: table.iter().filter_map(|(_, broker)| BrokerInfo::from_loose(broker)).collect() })
    }

    /// A broker's runtime figures by name. A broker of 5.x walks through its whole timer wheel for the answer, which holds two
    /// slots for each second of a week: ask seldom.
    ///
    /// # Errors
    /// The broker cannot be reached or refuses.
    pub async fn broker_runtime(&self, address: &str) -> Result<BTreeMap<String, String>> {
        let answer =
            self.client.0.call(address, Command::request(request::GET_BROKER_RUNTIME_INFO), "runtime figures").await?;
        let body = parse(&answer, "runtime figures")?;
        let table = body.get("table").map(Loose::entries).unwrap_or_default();
        Ok(table
            .iter()
            .filter_map(|(name, value)| Some((name.as_str()?.to_owned(), value.as_str()?.to_owned())))
            .collect())
    }

    /// Asks one name server for its cluster, whatever the others do.
    ///
    /// # Errors
    /// It cannot be reached or does not speak RocketMQ's protocol.
    pub async fn name_server_ping(&self, address: &str) -> Result<()> {
        self.client.0.call(address, Command::request(request::GET_BROKER_CLUSTER_INFO), "the cluster").await.map(|_| ())
    }

    /// Opens a connection to an advertised broker address, as a producer or consumer would.
    ///
    /// # Errors
    /// It cannot be reached from here.
    pub async fn connect(&self, address: &str) -> Result<()> {
        self.client.0.connection(address).await.map(|_| ())
    }

    /// Addresses of the masters of a cluster, or of all clusters.
    async fn masters(&self) -> Result<Vec<String>> {
        let brokers = self.cluster().await?.brokers;
        let masters: Vec<String> =
            brokers.into_iter().filter_map(|mut broker| broker.addresses.remove(&super::route::MASTER_ID)).collect();
        if masters.is_empty() {
            return Err(Error::new(ErrorKind::Connect, "the name servers list no broker; has any registered?"));
        }
        Ok(masters)
    }

    fn scoped_group(&self, group: &str) -> Result<String> {
        check_group("consumerGroup", group)?;
        Ok(self.client.0.scoped(group))
    }

    /// A topic's name without this client's namespace.
    #[must_use]
    pub fn bare_name<'a>(&self, topic: &'a str) -> &'a str {
        self.unscoped(topic)
    }

    fn unscoped<'a>(&self, name: &'a str) -> &'a str {
        without_namespace(self.client.0.config.namespace.as_deref(), name)
    }

    /// Masters of a topic by broker name, with its readable queues.
    async fn queues_of(&self, topic: &str) -> Result<Vec<Queue>> {
        let scoped = self.client.0.scoped(topic);
        Ok(self.client.0.refresh_route(&scoped).await?.readable_queues(&scoped))
    }
}

fn parse(answer: &Command, subject: &str) -> Result<Loose> {
    loose_json::parse(&answer.body)
        .map_err(|error| Error::new(ErrorKind::Protocol, format!("the answer about {subject}: {error}")))
}
