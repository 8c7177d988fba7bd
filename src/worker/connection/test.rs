//! The connection test: items in the order in which they depend on each other; after one that the rest needs has failed,
//! the rest is skipped. `rocketmq-connector test` prints the same items.

use std::time::{Duration, Instant};

use super::super::config;
use super::super::error::{Error, Result};
use super::clock::Clocks;
use super::{broker, cluster, group, topics};
use crate::rocketmq::admin::ClusterInfo;
use crate::rocketmq::{Admin, Client};
use crate::worker_config::connection::Usage;
use crate::worker_config::report::{ConnectionReport, TestItem, TestResult};
use crate::worker_config::{ConnectionConfig, Identity};

/// Longest time for one attempt to reach an address.
pub const REACH: Duration = Duration::from_secs(5);

/// What an item found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it went.
    pub result: TestResult,
    /// What was tried and what came back.
    pub message: String,
    /// What to do about it; empty when it passed.
    pub remedy: String,
}

impl Outcome {
    /// As it should be.
    pub fn passed(message: impl Into<String>) -> Self {
        Self { result: TestResult::Passed, message: message.into(), remedy: String::new() }
    }

    /// Not tried; the message says why.
    pub fn skipped(message: impl Into<String>) -> Self {
        Self { result: TestResult::Skipped, message: message.into(), remedy: String::new() }
    }

    /// Usable, but to be looked at.
    pub fn warning(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { result: TestResult::Warning, message: message.into(), remedy: remedy.into() }
    }

    /// Not usable.
    pub fn failed(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { result: TestResult::Failed, message: message.into(), remedy: remedy.into() }
    }

    /// Not usable, in the words of the RocketMQ layer.
    #[must_use]
    pub fn of_error(error: &crate::rocketmq::Error) -> Self {
        Self::failed(error.to_string(), error.remedy())
    }
}

/// Items in order, and whether one has failed that the rest needs.
#[derive(Default)]
struct Run {
    report: ConnectionReport,
    is_blocked: bool,
}

impl Run {
    /// Runs an item that the rest needs, or notes that it was skipped.
    async fn step(&mut self, name: &str, work: impl Future<Output = Outcome>) {
        let result = self.item(name, work).await;
        self.is_blocked |= result == TestResult::Failed;
    }

    /// Runs an item that nothing else needs, or notes that it was skipped.
    async fn item(&mut self, name: &str, work: impl Future<Output = Outcome>) -> TestResult {
        let started = Instant::now();
        let outcome = match self.is_blocked {
            true => Outcome::skipped("an earlier item failed"),
            false => work.await,
        };
        let Outcome { result, message, remedy } = outcome;
        let duration_millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.report.items.push(TestItem { name: name.to_owned(), result, message, remedy, duration_millis });
        result
    }
}

/// Tests the cluster of `config` once; `clocks` are looked at when they are due. It always comes to an end: each attempt has a time limit.
pub async fn run(config: &ConnectionConfig, identity: &Identity, clocks: &mut Clocks) -> ConnectionReport {
    let mut run = Run::default();
    let addresses = cluster::addresses(&config.cluster);
    run.step("NameServerAddress", async { cluster::check_addresses(&config.cluster) }).await;
    run.step("NameServerResolved", cluster::resolve(&addresses)).await;
    run.step("NameServerReachable", cluster::reach_name_servers(&addresses)).await;

    let client = build_client(config, identity);
    run.step("CredentialsReadable", async { check_client(config, client.as_ref().err()) }).await;
    if let Ok(client) = client {
        test_cluster(&mut run, config, &client.admin(), clocks).await;
        client.shutdown().await;
    }
    run.report.tested_at_millis = Some(jiff::Timestamp::now().as_millisecond());
    run.report
}

fn build_client(config: &ConnectionConfig, identity: &Identity) -> Result<Client> {
    let settings = config::client_config(&config.cluster, identity)?;
    Client::new(settings).map_err(|source| Error::RocketMq { what: "failed to build the client", source })
}

fn check_client(config: &ConnectionConfig, error: Option<&Error>) -> Outcome {
    match (error, &config.cluster.credentials) {
        (Some(error), _) => Outcome::failed(error.to_string(), error.remedy()),
        (None, Some(_)) => Outcome::passed("access key and secret key are mounted and readable"),
        (None, None) => Outcome::passed("no credentials are configured"),
    }
}

async fn test_cluster(run: &mut Run, config: &ConnectionConfig, admin: &Admin, clocks: &mut Clocks) {
    run.step("NameServerTls", cluster::shake_hands_with_name_servers(admin, &config.cluster)).await;
    let mut info = ClusterInfo::default();
    run.step("ClusterKnown", async {
        let (outcome, found) = cluster::query(admin, config.cluster.tls.is_some()).await;
        info = found;
        outcome
    })
    .await;
    run.report.brokers = u32::try_from(info.brokers.len()).unwrap_or(u32::MAX);
    run.step("BrokersReachable", cluster::reach_brokers(&info, &config.cluster)).await;
    run.step("BrokerTls", cluster::shake_hands_with_brokers(admin, &info, config.cluster.tls.is_some())).await;

    let mut facts = broker::Facts::default();
    run.step("Authenticated", async {
        let (outcome, found) = broker::authenticate(admin, &info, config.cluster.credentials.is_some()).await;
        facts = found;
        outcome
    })
    .await;
    test_use(run, config, admin, &info).await;
    run.item("ServerVersion", async { broker::check_version(&facts) }).await;
    run.item("ClockDifference", clocks.check(admin, &info)).await;
    run.item("MessageSizeLimit", async { broker::check_message_size(&facts) }).await;
    run.report.server_version = facts.version();
}

/// What the connection is for: topics and, when messages are read, the consumer group.
async fn test_use(run: &mut Run, config: &ConnectionConfig, admin: &Admin, info: &ClusterInfo) {
    let mut found = 0;
    run.item("TopicsUsable", async {
        let (outcome, count) = topics::check(admin, config, info).await;
        found = count;
        outcome
    })
    .await;
    run.report.topics = found;
    run.item("ConsumerGroup", async {
        match (&config.consumer_group, config.usage) {
            (_, Usage::Target) => Outcome::skipped("type is Target: nothing is read"),
            (None, _) => Outcome::skipped("no consumerGroup is set here: bindings and syncs bring their own"),
            (Some(group), _) => group::check(admin, group, &config.topics, info).await,
        }
    })
    .await;
}
