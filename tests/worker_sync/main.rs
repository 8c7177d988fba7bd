//! Syncs between real brokers: what a copy keeps, and that nothing is lost whatever ends in between.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

mod heartbeat;
mod topics;
mod verify;
#[path = "../worker_support/mod.rs"]
mod worker_support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rocketmq_connector::rocketmq::{
    Client, Consumer, ConsumerConfig, Message, Producer, ProducerConfig, ReceivedMessage, Subscription,
};
use rocketmq_connector::worker_config::SyncConfig;
use rocketmq_connector::worker_config::report::WorkerState;
use rocketmq_connector::worker_config::sync::{
    Format, OnInvalid, RocketMqSourceConfig, RocketMqTargetConfig, SourceConfig, StartOffset, SyncStart, TargetConfig,
    TransformConfig,
};
use worker_support::sync::{Process, Running, from_topic, pipeline, to_topic};
use worker_support::{Broker, LIMIT, eventually, topic, unique};

fn sync(from: &Broker, source: &str, to: &Broker, target: &str) -> SyncConfig {
    let name = unique("sync");
    let source = SourceConfig::RocketMq(from_topic(from, source, &name));
    pipeline(&name, source, TargetConfig::RocketMq(to_topic(to, target, &name)))
}

fn source(config: &mut SyncConfig) -> &mut RocketMqSourceConfig {
    match &mut config.source {
        SourceConfig::RocketMq(source) => source,
        _ => unreachable!("the source of these tests is RocketMQ"),
    }
}

fn target(config: &mut SyncConfig) -> &mut RocketMqTargetConfig {
    match &mut config.target {
        TargetConfig::RocketMq(target) => target,
        _ => unreachable!("the target of these tests is RocketMQ"),
    }
}

/// Sends messages and waits for all.
async fn publish(broker: &Broker, messages: Vec<Message>) {
    let client: Client = broker.client();
    let producer = Producer::new(&client, ProducerConfig::new(unique("publisher"))).unwrap();
    for result in producer.send_batch(messages).await {
        result.unwrap();
    }
    producer.shutdown().await;
    client.shutdown().await;
}

/// Everything that a topic holds, when it has held `count` messages or more; those that are behind come, too.
async fn read_all(broker: &Broker, topic: &str, count: usize) -> Vec<ReceivedMessage> {
    eventually(&format!("{count} messages in {topic}"), async || topic::count(broker, topic).await >= count).await;
    topic::read_all(broker, topic).await
}

fn bodies(messages: &[ReceivedMessage]) -> Vec<String> {
    messages.iter().map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
}

/// Bodies by queue in the order of their offsets.
fn by_queue(messages: &[ReceivedMessage]) -> BTreeMap<i32, Vec<String>> {
    let mut queues: BTreeMap<i32, Vec<(i64, String)>> = BTreeMap::new();
    for message in messages {
        let body = String::from_utf8_lossy(&message.body).into_owned();
        queues.entry(message.queue_id).or_default().push((message.queue_offset, body));
    }
    let sorted = queues.into_iter().map(|(queue, mut bodies)| {
        bodies.sort();
        (queue, bodies.into_iter().map(|(_, body)| body).collect())
    });
    sorted.collect()
}

fn numbered(topic: &str, numbers: std::ops::Range<usize>) -> Vec<Message> {
    numbers.map(|number| Message::new(topic, number.to_string()).with_sharding_key((number % 7).to_string())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_keeps_what_the_original_has() {
    let (from, to) = (Broker::named("4.9.7-plain"), Broker::named("5.4.0-plain"));
    let (source, target) = (from.topic("mirror", 4).await, to.topic("mirror", 4).await);
    let message = |number: usize| {
        Message::new(&source, format!("body {number}"))
            .with_tag(format!("tag{}", number % 3))
            .with_key(format!("k{number}"))
            .with_key("common")
            .with_property("region", "eu")
            .with_sharding_key((number % 5).to_string())
    };
    publish(&from, (0..500).map(message).collect()).await;
    let running = Running::start(&sync(&from, &source, &to, &target)).await;
    let report = running
        .until("all", |report, sync| sync.written == 500 && sync.lag == Some(0) && report.state == WorkerState::Running)
        .await;
    assert_eq!((report.read, report.resent, report.left_out, report.in_flight), (500, 0, 0, 0));
    assert!(report.checkpoint_at_millis.is_some() && report.delay_millis.is_some());
    running.stop().await;

    let originals = read_all(&from, &source, 500).await;
    let copies = read_all(&to, &target, 500).await;
    assert_eq!(by_queue(&copies), by_queue(&originals), "each queue should hold what its original holds, in order");
    let of = |messages: &[ReceivedMessage]| {
        messages.iter().map(|message| (message.message_id.clone(), message.clone())).collect::<BTreeMap<_, _>>()
    };
    let (originals, copies) = (of(&originals), of(&copies));
    assert_eq!(copies.len(), 500);
    for (id, original) in &originals {
        let copy = &copies[id];
        let kept = |message: &ReceivedMessage| {
            (message.body.clone(), message.tag.clone(), message.keys.clone(), message.sharding_key.clone())
        };
        assert_eq!(kept(copy), kept(original));
        assert_eq!(copy.properties["region"], "eu");
        assert_eq!(copy.properties["connector-born-time"], original.born_timestamp.to_string());
        assert_eq!(copy.properties["connector-origin"], format!("{}/{source}", from.name_server()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_way_replication_does_not_loop() {
    let (east, west) = (Broker::named("4.9.7-plain"), Broker::named("5.4.0-plain"));
    let (in_east, in_west) = (east.topic("loop", 2).await, west.topic("loop", 2).await);
    let there = Running::start(&sync(&east, &in_east, &west, &in_west)).await;
    let back = Running::start(&sync(&west, &in_west, &east, &in_east)).await;
    publish(&east, numbered(&in_east, 0..50)).await;
    publish(&west, numbered(&in_west, 100..130)).await;
    there.until("both ways", |_, sync| sync.written == 50 && sync.left_out == 30).await;
    back.until("both ways", |_, sync| sync.written == 30 && sync.left_out == 50).await;
    there.stop().await;
    back.stop().await;
    assert_eq!(read_all(&east, &in_east, 80).await.len(), 80);
    assert_eq!(read_all(&west, &in_west, 80).await.len(), 80);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_created_and_offsets_are_where_to_start() {
    let broker = Broker::named("5.4.0-plain");
    let (source_topic, target_topic) = (broker.topic("create", 3).await, unique("created"));
    publish(&broker, numbered(&source_topic, 0..60)).await;
    let all = by_queue(&read_all(&broker, &source_topic, 60).await);
    let mut config = sync(&broker, &source_topic, &broker, &target_topic);
    target(&mut config).create_topics = true;
    let start = |queue: i32| StartOffset { topic: source_topic.clone(), broker: "broker-a".into(), queue, offset: 2 };
    source(&mut config).start_from = SyncStart::Offsets(all.keys().map(|queue| start(*queue)).collect());
    let expected: BTreeMap<i32, Vec<String>> = all
        .iter()
        .map(|(queue, bodies)| (*queue, bodies[2..].to_vec()))
        .filter(|(_, bodies)| !bodies.is_empty())
        .collect();
    let count = expected.values().map(Vec::len).sum::<usize>();
    let running = Running::start(&config).await;
    running.until("the rest", |_, sync| sync.written == count as u64).await;
    running.stop().await;
    let copies = read_all(&broker, &target_topic, count).await;
    assert_eq!(by_queue(&copies), expected);
    let client = broker.client();
    let stats = client.admin().topic_stats(&target_topic).await.unwrap();
    assert_eq!(stats.len(), 3, "{stats:?}");
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transforms_change_what_goes_through() {
    let broker = Broker::named("5.4.0-plain");
    let (source_topic, target_topic) = (broker.topic("transform", 2).await, broker.topic("transformed", 2).await);
    let body = |number: usize| format!(r#"{{"id":{number},"amount":{},"email":"a@b.c","region":"eu"}}"#, number % 2);
    publish(&broker, (0..20).map(|number| Message::new(&source_topic, body(number))).collect()).await;
    let mut config = sync(&broker, &source_topic, &broker, &target_topic);
    config.format = Format::Json;
    target(&mut config).key_fields = Some(vec!["id".into()]);
    target(&mut config).tag_field = Some("region".into());
    config.transforms = vec![
        TransformConfig::Filter("record.amount > 0".into()),
        TransformConfig::Map([("double".to_owned(), "record.id * 2".to_owned())].into()),
        TransformConfig::Mask(vec!["email".into()]),
    ];
    let running = Running::start(&config).await;
    running.until("the odd ones", |_, sync| sync.written == 10 && sync.left_out == 10 && sync.lag == Some(0)).await;
    running.stop().await;
    for message in read_all(&broker, &target_topic, 10).await {
        let fields: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
        let id = fields["id"].as_i64().unwrap();
        assert_eq!((id % 2, fields["double"].as_i64()), (1, Some(id * 2)));
        assert_eq!(fields["email"].as_str().unwrap().len(), 64);
        assert_eq!((message.tag.as_deref(), message.keys), (Some("eu"), vec![id.to_string().into()]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_record_stops_the_sync_and_is_named() {
    let broker = Broker::named("5.4.0-plain");
    let (source_topic, target_topic) = (broker.topic("poison", 1).await, broker.topic("poisoned", 1).await);
    let texts = ["{\"n\":1}", "{\"n\":2}", "no json", "{\"n\":4}"];
    publish(&broker, texts.map(|text| Message::new(&source_topic, text)).to_vec()).await;
    let mut config = sync(&broker, &source_topic, &broker, &target_topic);
    config.format = Format::Json;
    let running = Running::start(&config).await;
    running.until("the stop", |report, sync| report.state == WorkerState::Failing && sync.written == 2).await;
    let error = running.report().last_error.unwrap();
    assert_eq!(error.reason, "InvalidBody");
    let place = format!("topic {source_topic}, broker broker-a, queue 0, offset 2");
    assert!(error.message.starts_with(&place), "{}", error.message);
    running.stop().await;

    config.errors.on_invalid = OnInvalid::DeadLetter { topic: None };
    let running = Running::start(&config).await;
    running.until("the others", |_, sync| sync.written == 1 && sync.dead_lettered == 1).await;
    running.stop().await;
    assert_eq!(bodies(&read_all(&broker, &target_topic, 3).await), ["{\"n\":1}", "{\"n\":2}", "{\"n\":4}"]);
    let dead = read_all(&broker, &format!("%DLQ%{}", source(&mut config).group), 1).await.remove(0);
    assert_eq!(dead.body, "no json");
    assert_eq!(dead.properties["connector-reason"], "InvalidBody");
    assert_eq!(dead.properties["connector-place"], place);
}

#[tokio::test(flavor = "multi_thread")]
async fn skipping_has_a_limit() {
    let broker = Broker::named("5.4.0-plain");
    let (source_topic, target_topic) = (broker.topic("skip", 1).await, broker.topic("skipped", 1).await);
    let texts = ["x", "{\"n\":1}", "y", "{\"n\":2}", "z", "{\"n\":3}"];
    publish(&broker, texts.map(|text| Message::new(&source_topic, text)).to_vec()).await;
    let mut config = sync(&broker, &source_topic, &broker, &target_topic);
    config.format = Format::Json;
    config.errors.on_invalid = OnInvalid::Skip { limit: Some(2) };
    let running = Running::start(&config).await;
    let report =
        running.until("the limit", |report, sync| report.state == WorkerState::Failing && sync.written == 2).await;
    assert_eq!(report.skipped, 2);
    let error = running.report().last_error.unwrap();
    assert!(error.remedy.contains("errors.skipLimit of 2 is used up"), "{}", error.remedy);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_topic_that_comes_later_is_waited_for() {
    let broker = Broker::named("5.4.0-acl");
    let mut acl = broker.cluster();
    let folder = tempfile::tempdir().unwrap();
    let keys = ("ADMIN_ACCESS_KEY", "ADMIN_SECRET_KEY");
    let files = worker_support::credential_files(folder.path(), broker.setting(keys.0), "wrong for now");
    acl.credentials = Some(files);
    let (source_topic, target_topic) = (broker.topic("late", 1).await, broker.topic("later", 1).await);
    publish(&broker, numbered(&source_topic, 0..10)).await;
    let mut config = sync(&broker, &source_topic, &broker, &target_topic);
    source(&mut config).cluster = acl.clone();
    target(&mut config).cluster = acl;
    let running = Running::start(&config).await;
    running.until("the refusal", |report, _| report.state == WorkerState::Failing).await;
    let error = running.report().last_error.unwrap();
    assert_eq!(error.reason, "AccessDenied", "{error:?}");
    std::fs::write(folder.path().join("secret"), broker.setting(keys.1)).unwrap();
    running.until("the copy", |report, sync| sync.written == 10 && report.state == WorkerState::Running).await;
    running.stop().await;
}

/// Kills the worker with SIGKILL again and again while messages flow. `SYNC_KILLS` sets how often; the fault table uses 50.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_at_random_moments_loses_nothing() {
    let kills: usize = std::env::var("SYNC_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(3);
    let (from, to) = (Broker::named("4.9.7-plain"), Broker::named("5.4.0-plain"));
    let (source, target) = (from.topic("kill", 4).await, to.topic("killed", 4).await);
    let config = sync(&from, &source, &to, &target);
    let folder = tempfile::tempdir().unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let publishing = tokio::spawn({
        let (from, source, stop) = (from.clone(), source.clone(), Arc::clone(&stop));
        async move {
            let client = from.client();
            let producer = Producer::new(&client, ProducerConfig::new(unique("publisher"))).unwrap();
            let mut sent = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for result in producer.send_batch(numbered(&source, sent..sent + 50)).await {
                    result.unwrap();
                }
                sent += 50;
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            producer.shutdown().await;
            client.shutdown().await;
            sent
        }
    });
    for round in 0..kills {
        let process = Process::start(folder.path(), &config);
        // Moments that differ from run to run, from before the first message to far into the flow.
        let nanos = jiff::Timestamp::now().as_nanosecond().unsigned_abs();
        tokio::time::sleep(Duration::from_millis(700 + (nanos % 1_900) as u64)).await;
        drop(process);
        assert!(round < kills);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let sent = publishing.await.unwrap();
    let last = Process::start(folder.path(), &config);
    let client = to.client();
    let total = async || {
        let stats = client.admin().topic_stats(&target).await.unwrap_or_default();
        stats.iter().map(|queue| queue.max_offset).sum::<i64>() as usize
    };
    // The number at rest: nothing has come for five seconds.
    let (mut count, mut quiet) = (0, Instant::now());
    while count < sent || quiet.elapsed() < Duration::from_secs(5) {
        let now = total().await;
        if now != count {
            (count, quiet) = (now, Instant::now());
        }
        assert!(
            quiet.elapsed() < LIMIT,
            "{count} of {sent} have come; the log: {}",
            std::fs::read_to_string(folder.path().join("log")).unwrap()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop(last);
    client.shutdown().await;
    let copies = read_all(&to, &target, sent).await;
    let distinct: BTreeSet<String> = bodies(&copies).into_iter().collect();
    let lost = (0..sent).filter(|number| !distinct.contains(&number.to_string())).count();
    println!("{kills} kills, {sent} messages: {lost} lost, {} duplicated", copies.len() - distinct.len());
    assert_eq!(lost, 0);
    in_order_but_for_repetitions(&copies);
}

/// The first arrival of each message of a sharding key is behind those of all before it.
fn in_order_but_for_repetitions(messages: &[ReceivedMessage]) {
    for (queue, bodies) in by_queue(messages) {
        let mut newest: BTreeMap<usize, usize> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for number in bodies.iter().map(|body| body.parse::<usize>().unwrap()).filter(|number| seen.insert(*number)) {
            let before = newest.insert(number % 7, number);
            assert!(before.is_none_or(|before| before < number), "queue {queue}: {number} came after {before:?}");
        }
    }
}
