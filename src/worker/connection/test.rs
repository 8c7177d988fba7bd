//! The connection test: items in the order in which they depend on each other; after one that fails, those that need it
//! are skipped. `rocketmq-connector test` prints the same items.

use std::time::{Duration, Instant};

use super::super::config;
use super::super::error::Result;
use super::cluster;
use crate::rocketmq::admin::ClusterInfo;
use crate::rocketmq::{Admin, Client};
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

    /// Usable, but to be looked at.
    pub fn warning(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { result: TestResult::Warning, message: message.into(), remedy: remedy.into() }
    }

    /// Not usable.
    pub fn failed(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { result: TestResult::Failed, message: message.into(), remedy: remedy.into() }
    }
}

/// Items in order, and whether one has failed.
#[derive(Default)]
struct Run {
    report: ConnectionReport,
    has_failed: bool,
}

impl Run {
    /// Runs an item, or notes that it was skipped.
    async fn item(&mut self, name: &str, work: impl Future<Output = Outcome>) {
        let started = Instant::now();
        let outcome = if self.has_failed {
            Outcome { result: TestResult::Skipped, message: "an earlier item failed".to_owned(), remedy: String::new() }
        } else {
            work.await
        };
        self.has_failed |= outcome.result == TestResult::Failed;
        let Outcome { result, message, remedy } = outcome;
        let duration_millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.report.items.push(TestItem { name: name.to_owned(), result, message, remedy, duration_millis });
    }
}

/// Tests the cluster of `config` once. It always comes to an end: each attempt has a time limit.
pub async fn run(config: &ConnectionConfig, identity: &Identity) -> ConnectionReport {
    let mut run = Run::default();
    let addresses = cluster::addresses(&config.cluster);
    run.item("NameServerAddress", async { cluster::check_addresses(&config.cluster) }).await;
    run.item("NameServerResolved", cluster::resolve(&addresses)).await;
    run.item("NameServerReachable", cluster::reach_name_servers(&addresses)).await;

    let client = build_client(config, identity);
    run.item("CredentialsReadable", async { check_client(config, client.as_ref().err()) }).await;
    if let Ok(client) = client {
        let admin = client.admin();
        test_brokers(&mut run, config, &admin).await;
        client.shutdown().await;
    }
    run.report.tested_at_millis = Some(jiff::Timestamp::now().as_millisecond());
    run.report
}

fn build_client(config: &ConnectionConfig, identity: &Identity) -> Result<Client> {
    let settings = config::client_config(&config.cluster, identity)?;
    Client::new(settings)
        .map_err(|source| super::super::error::Error::RocketMq { what: "failed to build the client", source })
}

fn check_client(config: &ConnectionConfig, error: Option<&super::super::error::Error>) -> Outcome {
    match (error, &config.cluster.credentials) {
        (Some(error), _) => Outcome::failed(error.to_string(), error.remedy()),
        (None, Some(_)) => Outcome::passed("access key and secret key are mounted and readable"),
        (None, None) => Outcome::passed("no credentials are configured"),
    }
}

async fn test_brokers(run: &mut Run, config: &ConnectionConfig, admin: &Admin) {
    let mut info = ClusterInfo::default();
    run.item("ClusterKnown", async {
        let (outcome, found) = cluster::query(admin).await;
        info = found;
        outcome
    })
    .await;
    run.report.brokers = u32::try_from(info.brokers.len()).unwrap_or(u32::MAX);
    run.item("BrokersReachable", cluster::reach_brokers(&info, &config.cluster.broker_addresses)).await;

    let mut version = None;
    run.item("Authenticated", async {
        let (outcome, found) = cluster::authenticate(admin, &info, config.cluster.credentials.is_some()).await;
        version = found;
        outcome
    })
    .await;
    let mut topics = 0;
    run.item("TopicsUsable", async {
        let (outcome, found) = cluster::check_topics(admin, &config.topics, config.usage).await;
        topics = found;
        outcome
    })
    .await;
    run.report.topics = topics;
    run.item("ServerVersion", async { cluster::check_version(version.as_deref()) }).await;
    run.report.server_version = version;
}
