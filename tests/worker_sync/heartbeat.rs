//! The delay of a sync, measured by the heartbeats of the connection that it reads.

use rocketmq_connector::worker::Worker;
use rocketmq_connector::worker_config::connection::{ConnectionConfig, HeartbeatConfig, Usage};
use rocketmq_connector::worker_config::sync::{DiscoveryConfig, HeartbeatSource};
use rocketmq_connector::worker_config::{Role, WorkerReport};
use tokio_util::sync::CancellationToken;

use super::worker_support::worker_config;
use super::*;

/// A connection's worker that beats each second.
async fn beating(broker: &Broker, topic: &str, token: &CancellationToken) -> Worker {
    let heartbeat = HeartbeatConfig { topic: topic.to_owned(), interval_millis: 1_000, id: "uid".to_owned() };
    let config = ConnectionConfig {
        cluster: broker.cluster(),
        usage: Usage::SourceAndTarget,
        topics: Vec::new(),
        create_topics: None,
        consumer_group: None,
        test_interval_seconds: 3600,
        models: None,
        heartbeat: Some(heartbeat),
        in_use: true,
    };
    Worker::start(worker_config(Role::Connection(config)), token.clone()).await.unwrap()
}

fn delay(report: &WorkerReport) -> Option<u64> {
    Some(report.sync.as_ref()?.heartbeat?.delay_millis)
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_measure_the_delay_and_are_no_data() {
    for version in ["4.9.7-plain", "5.4.0-plain"] {
        let (broker, to) = (Broker::named(version), Broker::named("5.4.0-plain"));
        let stem = unique("beat");
        let (topic, heartbeats) = (format!("{stem}-orders"), format!("{stem}-heartbeats"));
        let client = broker.client();
        client.admin().create_topic(&topic, 2, 6).await.unwrap();
        let there = to.client();
        // Nobody may write to it for now.
        there.admin().create_topic(&format!("copy-{stem}"), 2, 4).await.unwrap();
        let mut config = sync(&broker, "", &to, &format!("copy-{stem}"));
        source(&mut config).topics = Vec::new();
        source(&mut config).heartbeat = Some(HeartbeatSource { topic: heartbeats.clone(), interval_millis: 1_000 });
        // As the operator has it: whatever the pattern, heartbeats do not match.
        source(&mut config).discovery = Some(DiscoveryConfig {
            patterns: vec![format!("{stem}.*")],
            excluded: vec![heartbeats.clone()],
            interval_millis: 300,
        });
        let running = Running::start(&config).await;
        running.until("the queues", |_, sync| sync.partitions == 2).await;
        let token = CancellationToken::new();
        let connection = beating(&broker, &heartbeats, &token).await;
        running.until("a heartbeat", |report, _| delay(report).is_some()).await;
        let first = running.report().sync.unwrap().heartbeat.unwrap();
        assert!(first.delay_millis < 5_000, "{version}: {first:?}");
        let later = running.until("another", |_, sync| {
            sync.heartbeat.is_some_and(|beat| beat.written_at_millis > first.written_at_millis)
        });
        println!(
            "{version}: heartbeats took {} and {} ms",
            first.delay_millis,
            later.await.heartbeat.unwrap().delay_millis
        );

        // What is read waits for the target, and so do heartbeats behind it.
        publish(&broker, numbered(&topic, 0..10)).await;
        let stuck =
            running.until("the delay to rise", |_, sync| sync.heartbeat.is_some_and(|beat| beat.delay_millis > 6_000));
        stuck.await;
        there.admin().create_topic(&format!("copy-{stem}"), 2, 6).await.unwrap();
        let report = running.until("the delay to fall", |_, sync| {
            sync.written == 10 && sync.lag == Some(0) && sync.heartbeat.is_some_and(|beat| beat.delay_millis < 3_000)
        });
        let report = report.await;
        assert_eq!((report.read, report.partitions), (10, 2), "{version}: no heartbeat is a record");
        running.stop().await;
        token.cancel();
        connection.wait().await.unwrap();
        assert_eq!(read_all(&to, &format!("copy-{stem}"), 10).await.len(), 10);
        there.shutdown().await;
        client.shutdown().await;
    }
}
