//! The connection's worker against real brokers: each item of the test failing with its remedy, models, heartbeat, retest.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

#[path = "../worker_support/mod.rs"]
mod worker_support;

mod heartbeat;
mod models;
mod servers;
mod test_items;

use rocketmq_connector::worker::Worker;
use rocketmq_connector::worker::connection::clock::Clocks;
use rocketmq_connector::worker::connection::test;
use rocketmq_connector::worker_config::connection::{ClusterConfig, Usage};
use rocketmq_connector::worker_config::report::{ConnectionReport, TestItem, TestResult};
use rocketmq_connector::worker_config::{AdminConfig, ConnectionConfig, Identity, Role, VERSION, WorkerConfig};
use tokio_util::sync::CancellationToken;

use worker_support::{Broker, TestWorker, credential_files};

const VERSIONS: [(&str, &str); 2] = [("4.9.7", "V4_9_7"), ("5.4.0", "V5_4_0")];

fn identity() -> Identity {
    Identity { kind: "RocketMQConnection".into(), namespace: "test".into(), name: "main".into(), generation: 1 }
}

fn connection(cluster: ClusterConfig) -> ConnectionConfig {
    ConnectionConfig {
        cluster,
        usage: Usage::SourceAndTarget,
        topics: Vec::new(),
        create_topics: None,
        consumer_group: None,
        test_interval_seconds: 3600,
        models: None,
        heartbeat: None,
        in_use: false,
    }
}

/// The cluster of an acl instance with a user's credentials; the folder holds them.
fn with_user(broker: &Broker, folder: &tempfile::TempDir, access_key: &str, secret_key: &str) -> ClusterConfig {
    let credentials = credential_files(folder.path(), access_key, secret_key);
    ClusterConfig { credentials: Some(credentials), ..broker.cluster() }
}

async fn report_of(config: &ConnectionConfig) -> ConnectionReport {
    test::run(config, &identity(), &mut Clocks::asked_at_once()).await
}

fn item<'a>(report: &'a ConnectionReport, name: &str) -> &'a TestItem {
    report.items.iter().find(|item| item.name == name).unwrap_or_else(|| panic!("no item {name} in {report:#?}"))
}

/// Asserts that this item is the first that failed, and that it says what it should.
fn assert_failed(report: &ConnectionReport, name: &str, message: &str, remedy: &str) {
    let failed = report.items.iter().find(|item| item.result == TestResult::Failed);
    let failed = failed.unwrap_or_else(|| panic!("nothing failed in {report:#?}"));
    println!("{}: {} → {}", failed.name, failed.message, failed.remedy);
    assert_eq!(failed.name, name, "{report:#?}");
    assert!(failed.message.contains(message), "{failed:#?}");
    assert!(failed.remedy.contains(remedy), "{failed:#?}");
}

async fn start(config: ConnectionConfig) -> TestWorker {
    let admin = AdminConfig { host: "127.0.0.1".to_owned(), port: 0 };
    let config = WorkerConfig { version: VERSION, identity: identity(), admin, role: Role::Connection(config) };
    let token = CancellationToken::new();
    TestWorker { worker: Worker::start(config, token.clone()).await.unwrap(), token }
}
