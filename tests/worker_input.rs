//! Input binding against real brokers: what the app gets, and what happens when it does not take a message.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

mod worker_support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use rocketmq_connector::rocketmq::{Client, Message, Producer, ProducerConfig, SendReceipt};
use rocketmq_connector::worker_config::binding::{Backoff, InputConfig};
use rocketmq_connector::worker_config::report::WorkerState;
use rocketmq_connector::worker_config::{BindingConfig, Role};
use worker_support::{App, Broker, TestWorker, binding, eventually, input, output, send, unique, worker_config};

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
                ("rocketmq-broker-name", receipt.broker_name.as_str()),
                ("rocketmq-consumergroup", group.as_str()),
                ("rocketmq-sub-expression", "blue||red"),
                ("rocketmq-sub-type", ""),
                ("rocketmq-topic", topic.as_str()),
                ("rocketmq-message-id", receipt.message_id.as_str()),
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
