//! Topics that are found by pattern, under names that are made of theirs.

use std::collections::BTreeMap;
use std::time::Duration;

use rocketmq_connector::worker_config::WorkerReport;
use rocketmq_connector::worker_config::report::warnings;
use rocketmq_connector::worker_config::sync::{DiscoveryConfig, SyncStart, TopicMapConfig};

use super::*;

/// A sync of all topics whose names begin with `stem`, copied on the same cluster behind a prefix.
fn by_pattern(broker: &Broker, stem: &str, prefix: &str) -> SyncConfig {
    let mut config = sync(broker, "", broker, "");
    source(&mut config).topics = Vec::new();
    source(&mut config).discovery = Some(DiscoveryConfig {
        // Copies match as well, but for what must not be read again.
        patterns: vec![format!(".*{stem}.*")],
        excluded: vec![format!("{stem}-excluded")],
        interval_millis: 300,
    });
    let target = target(&mut config);
    (target.topic, target.create_topics) = (None, true);
    let map = TopicMapConfig { prefix: Some(prefix.to_owned()), ..TopicMapConfig::default() };
    target.topic_map = Some(Box::new(map));
    config
}

async fn create(broker: &Broker, topic: &str, queues: i32) {
    let client = broker.client();
    client.admin().create_topic(topic, queues, 6).await.unwrap();
    eventually("the route of a new topic", async || client.admin().topic_route(topic).await.is_ok()).await;
    client.shutdown().await;
}

async fn user_topics(broker: &Broker) -> Vec<String> {
    let client = broker.client();
    let topics = client.admin().user_topics().await.unwrap();
    client.shutdown().await;
    topics
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_match_are_copied_also_those_that_come_later() {
    for version in ["4.9.7-plain", "5.4.0-plain"] {
        let broker = Broker::named(version);
        let stem = unique("found");
        let name = |end: &str| format!("{stem}-{end}");
        create(&broker, &name("a"), 2).await;
        create(&broker, &name("excluded"), 1).await;
        publish(&broker, numbered(&name("a"), 0..5)).await;
        publish(&broker, numbered(&name("excluded"), 0..5)).await;
        let mut config = by_pattern(&broker, &stem, "dr_");
        // What is there at the first start is left, what comes later is read from its first message on.
        source(&mut config).start_from = SyncStart::Last;
        let running = Running::start(&config).await;
        running.until("the first queues", |_, sync| sync.partitions == 2 && sync.lag == Some(0)).await;
        // Long enough for both to know where they start.
        tokio::time::sleep(Duration::from_secs(1)).await;
        publish(&broker, numbered(&name("a"), 10..30)).await;
        running.until("what came to the first topic", |_, sync| sync.written == 20).await;
        create(&broker, &name("b"), 3).await;
        publish(&broker, numbered(&name("b"), 0..40)).await;
        let report =
            running.until("the topic that came later", |_, sync| sync.written == 60 && sync.partitions == 5).await;
        assert_eq!(report.read, 60, "{version}: copies should not be read again");
        running.stop().await;
        // A topic that comes while no worker runs.
        create(&broker, &name("c"), 4).await;
        publish(&broker, numbered(&name("c"), 0..7)).await;
        let running = Running::start(&config).await;
        running.until("the topic that came meanwhile", |_, sync| sync.written == 7).await;
        // Long enough for a look that would find the copies.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let report = running.until("nothing more", |_, sync| sync.lag == Some(0) && sync.partitions == 9).await;
        assert_eq!(report.written, 7, "{version}");
        running.stop().await;

        let made: Vec<String> = user_topics(&broker).await.into_iter().filter(|topic| topic.contains(&stem)).collect();
        let expected: Vec<String> = ["a", "b", "c"].iter().map(|end| format!("dr_{}", name(end))).collect();
        let copies: Vec<String> = made.into_iter().filter(|topic| topic.starts_with("dr_")).collect();
        assert_eq!(copies, expected);
        let client = broker.client();
        for (end, queues, count) in [("a", 2, 20), ("b", 3, 40), ("c", 4, 7)] {
            let copy = format!("dr_{}", name(end));
            assert_eq!(client.admin().topic_stats(&copy).await.unwrap().len(), queues, "{copy}");
            assert_eq!(read_all(&broker, &copy, count).await.len(), count, "{copy}");
        }
        client.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_in_both_directions_do_not_loop() {
    let (east, west) = (Broker::named("4.9.7-plain"), Broker::named("5.4.0-plain"));
    let stem = unique("both");
    let (orders, copy) = (format!("{stem}-orders"), format!("{stem}-west-orders"));
    create(&east, &orders, 2).await;
    create(&west, &copy, 2).await;
    let direction = |from: &Broker, to: &Broker, map: TopicMapConfig| {
        let mut config = sync(from, "", to, "");
        source(&mut config).topics = Vec::new();
        let patterns = vec![format!("{stem}-.*")];
        source(&mut config).discovery = Some(DiscoveryConfig { patterns, excluded: Vec::new(), interval_millis: 300 });
        target(&mut config).topic = None;
        target(&mut config).topic_map = Some(Box::new(map));
        config
    };
    let names = TopicMapConfig { names: BTreeMap::from([(orders.clone(), copy.clone())]), ..TopicMapConfig::default() };
    let pattern = TopicMapConfig {
        pattern: Some((format!("({stem})-west-(.*)"), "${1}-$2".to_owned())),
        ..TopicMapConfig::default()
    };
    let there = Running::start(&direction(&east, &west, names)).await;
    let back = Running::start(&direction(&west, &east, pattern)).await;
    publish(&east, numbered(&orders, 0..50)).await;
    publish(&west, numbered(&copy, 100..130)).await;
    there.until("both ways", |_, sync| sync.written == 50 && sync.left_out == 30).await;
    back.until("both ways", |_, sync| sync.written == 30 && sync.left_out == 50).await;
    there.stop().await;
    back.stop().await;
    assert_eq!(read_all(&east, &orders, 80).await.len(), 80);
    assert_eq!(read_all(&west, &copy, 80).await.len(), 80);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_missing_is_waited_for_and_two_that_become_one_are_told() {
    let broker = Broker::named("5.4.0-plain");
    let stem = unique("one");
    let mut config = by_pattern(&broker, &stem, "dr_");
    let pattern = Some((format!("{stem}-.*"), format!("all-{stem}")));
    target(&mut config).topic_map = Some(Box::new(TopicMapConfig { pattern, ..TopicMapConfig::default() }));
    // What comes while it is waited for is read from its first message on.
    source(&mut config).start_from = SyncStart::Last;
    let running = Running::start(&config).await;
    let message = running.fails_with("TopicNotFound").await;
    assert!(message.contains(&format!("no topic matches ^(?:.*{stem}.*)$")), "{message}");
    create(&broker, &format!("{stem}-a"), 1).await;
    publish(&broker, numbered(&format!("{stem}-a"), 0..5)).await;
    running.until("the first topic", |report, sync| sync.written == 5 && report.state == WorkerState::Running).await;
    assert_eq!(running.report().warnings, []);
    create(&broker, &format!("{stem}-b"), 1).await;
    publish(&broker, numbered(&format!("{stem}-b"), 5..8)).await;
    let conflict = |report: &WorkerReport| {
        report.warnings.iter().find(|warning| warning.reason == warnings::TOPIC_CONFLICT).cloned()
    };
    running.until("the warning", |report, _| conflict(report).is_some()).await;
    let warning = conflict(&running.report()).unwrap();
    let expected = format!("several topics are written to one: \"{stem}-a\" and \"{stem}-b\" become \"all-{stem}\"");
    assert_eq!(warning.message, expected);
    running.until("both topics", |_, sync| sync.written == 8).await;
    running.stop().await;
    assert_eq!(read_all(&broker, &format!("all-{stem}"), 8).await.len(), 8);
}
