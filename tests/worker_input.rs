//! Input binding against real brokers: what the app gets, and what happens when it does not take a message.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

mod worker_support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use rocketmq_connector::rocketmq::{
    Client, Consumer, ConsumerConfig, Message, Producer, ProducerConfig, SendReceipt, StartFrom, Subscription,
};
use rocketmq_connector::worker_config::binding::{Backoff, InputConfig, Payload};
use rocketmq_connector::worker_config::report::WorkerState;
use rocketmq_connector::worker_config::{BindingConfig, Role};
use serde_json::json;
use worker_support::{App, Broker, LIMIT, TestWorker, binding, eventually, input, output, send, unique, worker_config};

const OK: (StatusCode, Duration) = (StatusCode::OK, Duration::ZERO);
const REFUSED: (StatusCode, Duration) = (StatusCode::INTERNAL_SERVER_ERROR, Duration::ZERO);

fn with_input(broker: &Broker, topics: &[&str], change: InputConfig) -> BindingConfig {
    BindingConfig { input: Some(change), ..binding(broker, topics) }
}

/// Publishes bodies in order.
async fn publish(broker: &Broker, topic: &str, bodies: impl IntoIterator<Item = String>) -> Vec<SendReceipt> {
    let client: Client = broker.client();
    let producer = Producer::new(&client, ProducerConfig::new(unique("publisher"))).unwrap();
    let mut receipts = Vec::new();
    for body in bodies {
        let message = Message::new(topic, body).with_tag("blue").with_key("k1").with_sharding_key("same");
        receipts.push(producer.send(message).await.unwrap());
    }
    producer.shutdown().await;
    client.shutdown().await;
    receipts
}

fn numbers(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| number.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_with_daprs_headers_and_ours() {
    for broker in ["4.9.7-plain", "5.4.0-plain"].map(Broker::named) {
        let topic = broker.topic("input", 2).await;
        let app = App::taking().await;
        let receipts = publish(&broker, &topic, numbers(5)).await;
        let config = with_input(&broker, &[&format!("{topic}||blue||red")], input(app.address));
        let group = config.group.clone();
        let worker = TestWorker::start(config).await;
        let mut messages = app.until(5).await;
        messages.sort_by_key(|message| message.body.clone());
        for (message, receipt) in messages.iter().zip(&receipts) {
            assert_eq!(message.path, "/rmq");
            let expected = [
                ("content-type", "application/json"),
                ("rocketmq-broker-name", &*receipt.broker_name),
                ("rocketmq-consumergroup", group.as_str()),
                ("rocketmq-sub-expression", "blue||red"),
                ("rocketmq-sub-type", ""),
                ("rocketmq-topic", topic.as_str()),
                ("rocketmq-message-id", &*receipt.message_id),
                ("rocketmq-tag", "blue"),
                ("rocketmq-keys", "k1"),
                ("rocketmq-redelivery-count", "0"),
            ];
            for (name, value) in expected {
                assert!(message.headers.contains_key(name) && message.header(name) == value, "{name}: {message:?}");
            }
            assert_eq!(message.header("traceparent").len(), 55);
            assert!(message.header("rocketmq-store-time").parse::<i64>().unwrap() > 1_600_000_000_000);
        }
        let report = worker
            .until("no lag", |report| report.binding.as_ref().is_some_and(|binding| binding.lag == Some(0)))
            .await;
        let binding = report.binding.unwrap();
        assert_eq!((binding.messages_in, binding.failed, binding.queues), (5, 0, 2));
        worker.stop().await;
        assert_eq!(app.messages().len(), 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_comes_again_until_it_is_taken_and_no_further() {
    for broker in ["4.9.7-plain", "5.4.0-plain"].map(Broker::named) {
        let topic = broker.topic("again", 1).await;
        let app = App::start(|request, times| if request.body == "1" && times < 3 { REFUSED } else { OK }).await;
        let config = with_input(&broker, &[&topic], input(app.address));
        let worker = TestWorker::start(config).await;
        publish(&broker, &topic, numbers(3)).await;
        app.until(5).await;
        let report = worker
            .until("an acknowledgement", |report| {
                report.binding.as_ref().is_some_and(|binding| binding.messages_in == 3)
            })
            .await;
        assert_eq!(report.binding.as_ref().unwrap().redelivered, 2);
        assert_eq!(report.last_error.unwrap().reason, "AppRefused");
        let counts: Vec<_> = app
            .messages()
            .iter()
            .filter(|message| message.body == "1")
            .map(|message| message.header("rocketmq-redelivery-count").to_owned())
            .collect();
        assert_eq!(counts, ["0", "1", "2"]);
        // daprd sends such a message once more, 28 s later at the latest.
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(app.messages().len(), 5, "{:?}", app.bodies());
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_last_attempt_a_message_is_dead_and_its_neighbours_are_not() {
    for broker in ["4.9.7-plain", "5.4.0-plain"].map(Broker::named) {
        let topic = broker.topic("dead", 1).await;
        let app = App::start(|request, _| if request.body == "poison" { REFUSED } else { OK }).await;
        let mut input = input(app.address);
        input.redelivery.max_attempts = 2;
        let config = with_input(&broker, &[&topic], input);
        let dead_letters = format!("%DLQ%{}", config.group);
        let worker = TestWorker::start(config).await;
        publish(&broker, &topic, ["poison".to_owned()].into_iter().chain(numbers(20))).await;
        let report = worker
            .until("a dead letter", |report| report.binding.as_ref().is_some_and(|binding| binding.dead_lettered == 1))
            .await;
        assert_eq!(report.binding.unwrap().messages_in, 20);
        let client = broker.client();
        eventually("the dead-letter topic", async || {
            client
                .admin()
                .topic_stats(&dead_letters)
                .await
                .is_ok_and(|stats| stats.iter().map(|queue| queue.max_offset).sum::<i64>() == 1)
        })
        .await;
        client.shutdown().await;
        assert_eq!(app.bodies().iter().filter(|body| *body == "poison").count(), 2);
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_may_go_to_a_topic_of_ones_own() {
    let broker = Broker::named("5.4.0-plain");
    let (topic, dead) = (broker.topic("dead-from", 1).await, broker.topic("dead-to", 1).await);
    let refusing = App::start(|_, _| REFUSED).await;
    let mut settings = input(refusing.address);
    settings.redelivery.max_attempts = 1;
    settings.dead_letter_topic = Some(dead.clone());
    let worker = TestWorker::start(with_input(&broker, &[&topic], settings)).await;
    let receipts = publish(&broker, &topic, ["poison".to_owned()]).await;
    worker
        .until("a dead letter", |report| report.binding.as_ref().is_some_and(|binding| binding.dead_lettered == 1))
        .await;
    let client = broker.client();
    let mut config = ConsumerConfig::new(unique("undertaker"), vec![Subscription::all(&dead)]);
    config.start_from = StartFrom::First;
    let consumer = Consumer::start(&client, config).unwrap();
    let letter = tokio::time::timeout(LIMIT, consumer.recv()).await.expect("the letter should arrive").unwrap();
    let message = letter.message();
    assert_eq!((&message.body[..], message.tag.as_deref()), (&b"poison"[..], Some("blue")));
    let expected = [
        ("dead-letter-origin-topic", topic.as_str()),
        ("dead-letter-origin-message-id", &*receipts[0].message_id),
        ("dead-letter-attempts", "1"),
    ];
    assert!(expected.iter().all(|(name, value)| message.properties[*name] == *value), "{message:?}");
    consumer.shutdown(Duration::ZERO).await;
    client.shutdown().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_have_routes_and_messages_may_be_cloud_events() {
    let broker = Broker::named("5.4.0-plain");
    let (one, two) = (broker.topic("route-one", 1).await, broker.topic("route-two", 1).await);
    let app = App::taking().await;
    let mut settings = input(app.address);
    settings.routes = [(two.clone(), "/two".to_owned())].into();
    settings.payload = Payload::CloudEvents;
    publish(&broker, &one, [r#"{"n": 1}"#.to_owned()]).await;
    let receipts = publish(&broker, &two, ["plain text".to_owned()]).await;
    let worker = TestWorker::start(with_input(&broker, &[&one, &two], settings)).await;
    let mut messages = app.until(2).await;
    messages.sort_by_key(|message| message.path.clone());
    assert_eq!(messages.iter().map(|message| message.path.as_str()).collect::<Vec<_>>(), ["/rmq", "/two"]);
    assert_eq!(messages[1].header("content-type"), "application/cloudevents+json");
    let event: serde_json::Value = serde_json::from_str(&messages[0].body).unwrap();
    assert_eq!((&event["data"]["n"], &event["datacontenttype"]), (&json!(1), &json!("application/json")));
    let event: serde_json::Value = serde_json::from_str(&messages[1].body).unwrap();
    let expected = json!({
        "specversion": "1.0",
        "id": receipts[0].message_id,
        "source": format!("rocketmq/{}/{two}", receipts[0].broker_name),
        "type": "dev.rocketmq.connector.message",
        "subject": "blue",
        "time": event["time"],
        "datacontenttype": "text/plain",
        "traceparent": messages[1].header("traceparent"),
        "rocketmqtopic": two,
        "rocketmqkeys": "k1",
        "rocketmqqueueid": 0,
        "rocketmqqueueoffset": "0",
        "rocketmqredeliverycount": 0,
        "data": "plain text",
    });
    assert_eq!(event, expected);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_lists_and_a_refused_one_comes_again_message_by_message() {
    let broker = Broker::named("5.4.0-plain");
    let topic = broker.topic("batch", 1).await;
    // Refuses every list that holds the poison, the first two times.
    let refused = AtomicU32::new(0);
    let app = App::start(move |request, _| {
        let is_refused = request.body.contains("poison") && refused.fetch_add(1, Ordering::SeqCst) < 2;
        if is_refused { REFUSED } else { OK }
    })
    .await;
    let mut settings = input(app.address);
    (settings.batch, settings.batch_size, settings.max_concurrency) = (true, 8, 1);
    publish(&broker, &topic, numbers(20).chain([r#""poison""#.to_owned()])).await;
    let worker = TestWorker::start(with_input(&broker, &[&topic], settings)).await;
    let done = worker
        .until("every message", |report| report.binding.as_ref().is_some_and(|binding| binding.messages_in == 21))
        .await;
    let lists: Vec<Vec<serde_json::Value>> =
        app.bodies().iter().map(|body| serde_json::from_str(body).unwrap()).collect();
    assert!(lists.iter().all(|list| list.len() <= 8) && lists.iter().any(|list| list.len() > 1), "{lists:?}");
    let poisoned: Vec<_> = lists.iter().filter(|list| list.iter().any(|one| one["data"] == "poison")).collect();
    assert_eq!(poisoned.len(), 3, "{poisoned:?}");
    assert!(poisoned[1..].iter().all(|list| list.len() == 1), "{poisoned:?}");
    assert_eq!(done.binding.unwrap().redelivered, poisoned[0].len() as u64 + 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_app_costs_no_attempt_and_is_found_when_it_comes() {
    let broker = Broker::named("5.4.0-plain");
    let topic = broker.topic("late", 2).await;
    let placeholder = App::taking().await;
    let address: SocketAddr = placeholder.address;
    placeholder.stop();
    eventually("a free port", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    publish(&broker, &topic, numbers(50)).await;
    let mut input = input(address);
    input.redelivery.max_attempts = 1;
    let worker = TestWorker::start(with_input(&broker, &[&topic], input)).await;
    let failing = worker.until("a missing app", |report| report.state == WorkerState::Failing).await;
    let error = failing.last_error.unwrap();
    assert!(error.reason == "AppUnreachable" && error.message.contains(&address.to_string()), "{error:?}");
    assert!(error.remedy.contains("spec.app"), "{error:?}");
    // The API's side of readiness does not depend on the app.
    assert_eq!(send(Method::GET, &worker.admin("/readyz"), &[], Vec::new()).await.status, 200);
    tokio::time::sleep(Duration::from_secs(3)).await;

    let app = App::start_at(address, |_, _| OK).await;
    let report = worker
        .until("the app", |report| report.binding.as_ref().is_some_and(|binding| binding.messages_in == 50))
        .await;
    let binding = report.binding.unwrap();
    assert_eq!((binding.redelivered, binding.dead_lettered), (0, 0), "{binding:?}");
    assert_eq!(app.messages().len(), 50);
    worker.until("health", |report| report.state == WorkerState::Running).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_the_app_and_commits() {
    let broker = Broker::named("5.4.0-plain");
    let topic = broker.topic("drain", 1).await;
    let slow = App::start(|_, _| (StatusCode::OK, Duration::from_secs(3))).await;
    let mut settings = input(slow.address);
    settings.max_concurrency = 4;
    let config = with_input(&broker, &[&topic], settings);
    publish(&broker, &topic, numbers(12)).await;
    let worker = TestWorker::start(config.clone()).await;
    let in_flight = slow.until(4).await.len();
    let started = Instant::now();
    let reporter = worker.worker.reporter().clone();
    let took = worker.stop().await;
    assert!(took < Duration::from_secs(8), "drained in {took:?}");
    assert_eq!(reporter.current().state, WorkerState::Draining);
    assert_eq!(reporter.current().binding.unwrap().messages_in, in_flight as u64);
    assert_eq!(slow.messages().len(), in_flight, "nothing new was delivered after {:?}", started.elapsed());

    let app = App::taking().await;
    let mut config = config;
    config.input = Some(input(app.address));
    let worker = TestWorker::start(config).await;
    worker
        .until("the rest", |report| {
            report.binding.as_ref().is_some_and(|binding| binding.lag == Some(0) && binding.messages_in > 0)
        })
        .await;
    let first: BTreeSet<_> = slow.bodies().into_iter().collect();
    let second: BTreeSet<_> = app.bodies().into_iter().collect();
    assert!(first.is_disjoint(&second), "delivered twice: {first:?} {second:?}");
    assert_eq!(first.len() + second.len(), 12);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn order_is_kept_across_failures() {
    let broker = Broker::named("5.4.0-plain");
    let topic = broker.topic("order", 2).await;
    let app = App::start(|request, times| if request.body.ends_with('3') && times < 3 { REFUSED } else { OK }).await;
    let mut settings = input(app.address);
    settings.ordered = true;
    settings.redelivery.backoff = Backoff::Constant { millis: 200 };
    publish(&broker, &topic, numbers(20)).await;
    let worker = TestWorker::start(with_input(&broker, &[&topic], settings)).await;
    worker.until("all", |report| report.binding.as_ref().is_some_and(|binding| binding.messages_in == 20)).await;
    let mut taken = app.bodies();
    taken.dedup();
    assert_eq!(taken, numbers(20).collect::<Vec<_>>());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_options_question_is_asked_again_until_the_answer_is_yes() {
    let broker = Broker::named("5.4.0-plain");
    let topic = broker.topic("options", 1).await;
    let app = App::start(|request, times| match (&request.method, times) {
        (&Method::OPTIONS, 1) => (StatusCode::NOT_FOUND, Duration::ZERO),
        (&Method::OPTIONS, _) => (StatusCode::METHOD_NOT_ALLOWED, Duration::ZERO),
        _ => OK,
    })
    .await;
    publish(&broker, &topic, numbers(1)).await;
    let mut config = with_input(&broker, &[&topic], input(app.address));
    config.output = Some(output());
    let worker = TestWorker::start(config).await;
    let failing = worker.until("a no", |report| report.state == WorkerState::Failing).await;
    assert!(failing.message.unwrap().contains("404 Not Found to OPTIONS"));
    assert_eq!(app.messages().len(), 0);
    app.until(1).await;
    worker.until("health", |report| report.state == WorkerState::Running).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_comes_later_is_found() {
    let broker = Broker::named("5.4.0-plain");
    let topic = unique("later");
    let app = App::taking().await;
    let worker = TestWorker::start(with_input(&broker, &[&topic], input(app.address))).await;
    worker
        .until("a missing topic", |report| {
            report.last_error.as_ref().is_some_and(|error| error.message.contains(&topic))
        })
        .await;
    let client = broker.client();
    client.admin().create_topic(&topic, 1, 6).await.unwrap();
    publish(&broker, &topic, numbers(1)).await;
    client.shutdown().await;
    app.until(1).await;
    worker.until("health", |report| report.state == WorkerState::Running).await;
    worker.stop().await;
}

/// A worker process, killed when dropped.
struct Process(Child);

impl Process {
    fn start(folder: &std::path::Path, config: BindingConfig) -> Self {
        let path = folder.join("worker.json");
        std::fs::write(&path, worker_config(Role::Binding(config)).to_json().unwrap()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rocketmq-connector"));
        command.args(["worker", "--config"]).arg(path).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_loses_nothing() {
    let broker = Broker::named("5.4.0-plain");
    let topic = broker.topic("kill", 4).await;
    let app = App::start(|_, _| (StatusCode::OK, Duration::from_millis(20))).await;
    let config = with_input(&broker, &[&topic], input(app.address));
    publish(&broker, &topic, numbers(1_000)).await;
    let folder = tempfile::tempdir().unwrap();
    let first = Process::start(folder.path(), config.clone());
    app.until(200).await;
    drop(first);
    let second = Process::start(folder.path(), config);
    let distinct = async || app.bodies().into_iter().collect::<BTreeSet<_>>().len();
    eventually("every message", async || distinct().await == 1_000).await;
    drop(second);
}
