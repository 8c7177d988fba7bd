//! Syncs from real brokers into real databases: formats and policies, tables that are made, records that are refused, and
//! that each record is written once whatever ends in between.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

mod databases;
mod faults;
mod rows;
mod sample;
mod secrets;
mod verify;
#[path = "../worker_support/mod.rs"]
mod worker_support;

use rocketmq_connector::rocketmq::{Message, Producer, ProducerConfig};
use rocketmq_connector::worker_config::SyncConfig;
use rocketmq_connector::worker_config::report::SyncReport;
use rocketmq_connector::worker_config::sync::{DatabaseConfig, Format, SourceConfig, TableTargetConfig, TargetConfig};

use databases::Server;
use worker_support::sync::{Process, Running, from_topic, pipeline};
use worker_support::{Broker, unique};

/// A sync of a topic into a table of `server` that is made when it is missing, with the key `id`.
fn sync(broker: &Broker, topic: &str, server: &Server, table: &str) -> SyncConfig {
    let name = unique("sync");
    let target = TableTargetConfig {
        server: server.config(),
        table: Some(table.to_owned()),
        key_fields: vec!["id".to_owned()],
        create_table: true,
    };
    let target = if server.is_postgres() { TargetConfig::Postgres(target) } else { TargetConfig::MySql(target) };
    let source = SourceConfig::RocketMq(from_topic(broker, topic, &name));
    SyncConfig { format: Format::Tapdata, ..pipeline(&name, source, target) }
}

fn target(config: &mut SyncConfig) -> &mut TableTargetConfig {
    match &mut config.target {
        TargetConfig::Postgres(target) | TargetConfig::MySql(target) => target,
        _ => unreachable!("the target of these tests is a table"),
    }
}

fn server_of(config: &mut SyncConfig) -> &mut DatabaseConfig {
    &mut target(config).server
}

fn group(config: &SyncConfig) -> String {
    match &config.source {
        SourceConfig::RocketMq(source) => source.group.clone(),
        _ => unreachable!("the source of these tests is RocketMQ"),
    }
}

/// A message in `TapData`'s format.
fn tapdata(topic: &str, operation: &str, body: &str) -> Message {
    Message::new(topic, body.to_owned()).with_property("mqOp", operation)
}

async fn publish(broker: &Broker, messages: Vec<Message>) {
    let client = broker.client();
    let producer = Producer::new(&client, ProducerConfig::new(unique("publisher"))).unwrap();
    for result in producer.send_batch(messages).await {
        result.unwrap();
    }
    producer.shutdown().await;
    client.shutdown().await;
}

/// Runs a sync until it has dealt with `count` records.
async fn run_through(config: &SyncConfig, count: u64) -> SyncReport {
    let running = Running::start(config).await;
    let dealt = |sync: &SyncReport| sync.written + sync.repeated + sync.left_out + sync.skipped + sync.dead_lettered;
    let report = running.until("the end", |_, sync| dealt(sync) >= count && sync.in_flight == 0).await;
    running.stop().await;
    report
}
