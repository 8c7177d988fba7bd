//! What a binding is for: callers publish, apps receive, and nothing is lost.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use rocketmq_connector::worker_config::Role;
use rocketmq_connector::worker_config::binding::{Backoff, BindingConfig, Payload};
use rocketmq_connector::worker_config::report::{WorkerReport, WorkerState};
use serde_json::{Value, json};

use super::sdk::Sdk;
use super::server::{Fault, Server};
use super::worker_support::{App, LIMIT, TestWorker, eventually, output, send, worker_config};
use super::{GROUP, with_input, with_output};

async fn running(worker: &TestWorker) {
    worker.until("a connection", |report| report.state == WorkerState::Running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_callers_publish_the_sdks_receive() {
    let server = Server::start(&["orders", "audit"]).await;
    let folder = tempfile::tempdir().unwrap();
    let worker = TestWorker::start(with_output(&server, &folder, &["orders"])).await;
    running(&worker).await;
    let at = jiff::Timestamp::now().as_millisecond() + 2_000;
    let metadata = json!({"rocketmq-tag": "t", "rocketmq-key": "k1 k2", "rocketmq-shardingkey": "s",
        "rocketmq-delivery-time": at.to_string()});
    let (trace, body) = (
        format!("00-{:032x}-{:016x}-01", 1, 2),
        json!({"operation": "create", "data": {"n": 1}, "metadata": metadata}),
    );
    let headers = [("traceparent", trace.as_str()), ("tracestate", "a=b:c")];
    let api = worker.api("/v1.0/bindings/rmq");
    let answer = send(Method::POST, &api, &headers, body.to_string().into_bytes()).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{answer:?}");
    let stored = &server.messages("orders")[0];
    assert_eq!(answer.header("metadata.rocketmq-message-id"), stored.id);
    assert_eq!(answer.header("metadata.rocketmq-queue-id"), "", "the protocol has no queues");
    assert_eq!(stored.property("traceparent"), Some(trace.as_str()));
    assert_eq!(stored.property("tracestate"), None, "a colon separates properties");

    let mut python = Sdk::python(&server);
    let call = json!({"topic": "orders", "group": "py", "tag": "t", "wait": 10});
    let received = python.result("consume", call).await;
    assert!(jiff::Timestamp::now().as_millisecond() >= at, "it came before its time");
    let received = &received[0];
    assert_eq!((&received["body"], &received["tag"]), (&json!("{\"n\":1}"), &json!("t")));
    assert_eq!((&received["key"], &received["sharding_key"]), (&json!("k1 k2"), &json!("s")));
    assert_eq!(received["delivery_time"], at);

    // Several topics: each has its own answer.
    let create = |topics: &str| json!({"operation": "create", "data": "x", "metadata": {"topics": topics}}).to_string();
    let answer = worker.create(&create("orders,audit")).await;
    let list: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((answer.status, list[1]["topic"].as_str()), (200, Some("audit")), "{answer:?}");
    assert!(list[0]["messageId"].is_string() && list[0]["queueId"].is_null(), "{list}");
    let answer = worker.create(&create("orders,missing")).await;
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(answer.status, 500, "{answer:?}");
    assert!(body["topics"][0]["messageId"].is_string(), "{body}");
    let told = body["topics"][1]["error"].as_str().unwrap();
    assert!(told.contains("404 TopicNotExist") && told.contains("create the topic in the console"), "{told}");

    // What the protocol cannot carry, and operations that it has not.
    for (request, expected) in [
        (
            json!({"operation": "create", "data": 1, "metadata": {"rocketmq-delay-level": "3"}}),
            "rocketmq-delivery-time",
        ),
        (json!({"operation": "create", "data": 1, "metadata": {"rocketmq-key": "a:b"}}), "leave out the characters"),
        (
            json!({"operation": "create", "data": "/w==", "metadata": {"rocketmq-data-encoding": "base64"}}),
            "is no UTF-8 text",
        ),
        (json!({"operation": "read"}), "not offered with accessProto: http"),
        (json!({"operation": "ack", "data": {"receipts": ["r"]}}), "not offered with accessProto: http"),
    ] {
        let answer = worker.create(&request.to_string()).await;
        assert_eq!(answer.status, 500, "{request}: {answer:?}");
        assert!(answer.body.contains(expected), "{request}: {answer:?}");
    }
    let stored = |report: &WorkerReport| report.binding.as_ref().is_some_and(|binding| binding.messages_out == 4);
    worker.until("a count of what is stored", stored).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_sdks_publish_the_app_receives_once() {
    let server = Server::start(&["orders", "audit"]).await;
    let folder = tempfile::tempdir().unwrap();
    let app = App::taking().await;
    let worker = TestWorker::start(with_input(&server, &folder, &["orders||a||b", "audit"], &app)).await;
    running(&worker).await;
    let (mut python, mut node) = (Sdk::python(&server), Sdk::javascript(&server));
    let tagged = |tag: &str, body: &str| json!({"topic": "orders", "tag": tag, "body": body, "key": "k"});
    python.result("publish", tagged("a", "from python")).await;
    node.result("publish", tagged("b", "from node")).await;
    node.result("publish", tagged("c", "not wanted")).await;
    for number in 0..40 {
        python.result("publish", json!({"topic": "audit", "body": number.to_string()})).await;
    }
    let messages = app.until(42).await;
    let is_told = |report: &WorkerReport| {
        report.binding.as_ref().is_some_and(|binding| (binding.messages_in, binding.queues) == (42, 2))
    };
    let report = worker.until("all taken from two topics", is_told).await;
    let first = messages.iter().find(|message| message.body == "from python").unwrap();
    let names =
        ["rocketmq-topic", "rocketmq-tag", "rocketmq-keys", "rocketmq-sub-expression", "rocketmq-consumergroup"];
    assert_eq!(names.map(|name| first.header(name)), ["orders", "a", "k", "a||b", GROUP]);
    assert_eq!(first.header("rocketmq-redelivery-count"), "0");
    assert_eq!(first.header("rocketmq-message-id").len(), 32);
    let unknown = ["rocketmq-broker-name", "rocketmq-queue-id", "rocketmq-queue-offset"];
    assert!(unknown.iter().all(|name| !first.headers.contains_key(*name)), "{first:?}");
    let binding = report.binding.unwrap();
    assert_eq!((binding.lag, binding.failed), (None, 0));
    // The drain waits for the acknowledgements.
    assert!(worker.stop().await < Duration::from_secs(5));
    assert!(server.all_done("audit", GROUP));
    let wanted = server.messages("orders").into_iter().filter(|message| message.tag.as_deref() != Some("c"));
    assert!(wanted.clone().count() == 2 && wanted.into_iter().all(|message| message.is_done(GROUP)));
    let acknowledgements = server.requests(&Method::DELETE).len();
    assert!(acknowledgements < 44, "{acknowledgements} requests acknowledged 42 messages: none was gathered");
    assert_eq!(app.messages().len(), 42, "nothing came twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_comes_again_after_the_services_time_and_ends_in_the_topic_for_dead_letters() {
    let server = Server::start(&["orders", "dead"]).await;
    server.lock().invisible = Duration::from_secs(2);
    let folder = tempfile::tempdir().unwrap();
    let app = App::start(|request, count| match request.body.as_str() {
        "twice" if count < 2 => (StatusCode::INTERNAL_SERVER_ERROR, Duration::ZERO),
        "never" => (StatusCode::INTERNAL_SERVER_ERROR, Duration::ZERO),
        _ => (StatusCode::OK, Duration::ZERO),
    })
    .await;
    let mut config = with_input(&server, &folder, &["orders"], &app);
    let input = config.input.as_mut().unwrap();
    (input.redelivery.max_attempts, input.dead_letter_topic) = (3, Some("dead".to_owned()));
    let mut node = Sdk::javascript(&server);
    for body in ["once", "twice", "never"] {
        node.result("publish", json!({"topic": "orders", "body": body, "tag": "t", "key": "k"})).await;
    }
    let worker = TestWorker::start(config).await;
    eventually("all settled", async || server.all_done("orders", GROUP)).await;
    let report = worker
        .until("the dead letter", |report| report.binding.as_ref().is_some_and(|binding| binding.dead_lettered == 1))
        .await;
    let counts = ["once", "twice", "never"].map(|body| app.bodies().iter().filter(|got| *got == body).count());
    assert_eq!(counts, [1, 2, 3]);
    let again: Vec<_> = app.messages().into_iter().filter(|message| message.body == "never").collect();
    assert_eq!(
        again.iter().map(|message| message.header("rocketmq-redelivery-count")).collect::<Vec<_>>(),
        ["0", "1", "2"]
    );
    assert!(again[1].at - again[0].at >= Duration::from_millis(1_900), "it came before the service's time");
    let dead = &server.messages("dead")[0];
    assert_eq!((dead.body.as_str(), dead.tag.as_deref(), dead.property("KEYS")), ("never", Some("t"), Some("k")));
    assert_eq!(dead.property("dead-letter-origin-topic"), Some("orders"));
    assert_eq!(report.binding.unwrap().redelivered, 3, "never twice, twice once");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ordered_messages_wait_for_those_before_them() {
    let server = Server::start(&["orders"]).await;
    server.lock().invisible = Duration::from_secs(30);
    let folder = tempfile::tempdir().unwrap();
    let app = App::start(|request, count| match request.body.as_str() {
        "a-1" if count < 3 => (StatusCode::INTERNAL_SERVER_ERROR, Duration::ZERO),
        _ => (StatusCode::OK, Duration::from_millis(20)),
    })
    .await;
    let mut config = with_input(&server, &folder, &["orders"], &app);
    let input = config.input.as_mut().unwrap();
    (input.ordered, input.redelivery.backoff) = (true, Backoff::Constant { millis: 200 });
    let mut python = Sdk::python(&server);
    for number in 0..10 {
        for key in ["a", "b"] {
            let message = json!({"topic": "orders", "body": format!("{key}-{number}"), "sharding_key": key});
            python.result("publish", message).await;
        }
    }
    let worker = TestWorker::start(config).await;
    eventually("all settled", async || server.all_done("orders", GROUP)).await;
    let bodies = app.bodies();
    for key in ["a", "b"] {
        let mut of_key: Vec<_> = bodies.iter().filter(|body| body.starts_with(key)).cloned().collect();
        of_key.dedup();
        assert_eq!(of_key, (0..10).map(|number| format!("{key}-{number}")).collect::<Vec<_>>(), "{bodies:?}");
    }
    assert_eq!(bodies.iter().filter(|body| *body == "a-1").count(), 3);
    assert_eq!(server.requests(&Method::GET)[0].parameter("trans").as_deref(), Some("order"));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_and_cloud_events_have_no_place_in_a_queue() {
    let server = Server::start(&["orders"]).await;
    let folder = tempfile::tempdir().unwrap();
    let app = App::taking().await;
    let mut config = with_input(&server, &folder, &["orders"], &app);
    let input = config.input.as_mut().unwrap();
    (input.batch, input.payload) = (true, Payload::CloudEvents);
    for number in 0..16 {
        server.publish("orders", &number.to_string());
    }
    let worker = TestWorker::start(config).await;
    eventually("all settled", async || server.all_done("orders", GROUP)).await;
    let events: Vec<Value> =
        app.bodies().iter().flat_map(|body| serde_json::from_str::<Vec<Value>>(body).unwrap()).collect();
    assert_eq!(events.len(), 16);
    assert!(app.bodies().len() < 16, "none came together");
    assert!(events.iter().all(|event| event["source"] == "rocketmq/http/orders"), "{events:?}");
    assert!(events.iter().all(|event| event.get("rocketmqqueueid").is_none()), "{events:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_and_output_publishes_and_receives() {
    let server = Server::start(&["orders"]).await;
    let folder = tempfile::tempdir().unwrap();
    let app = App::taking().await;
    let config = BindingConfig { output: Some(output()), ..with_input(&server, &folder, &["orders"], &app) };
    let worker = TestWorker::start(config).await;
    running(&worker).await;
    let sent = Instant::now();
    assert_eq!(worker.create(r#"{"operation": "create", "data": "round"}"#).await.status, 200);
    let received = app.until(1).await;
    assert_eq!(received[0].body, "\"round\"");
    assert!(sent.elapsed() < LIMIT);
    worker.stop().await;
    assert!(server.all_done("orders", GROUP));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_what_the_app_has_and_leaves_the_rest() {
    let server = Server::start(&["orders"]).await;
    let folder = tempfile::tempdir().unwrap();
    let app = App::start(|_, _| (StatusCode::OK, Duration::from_millis(700))).await;
    let mut config = with_input(&server, &folder, &["orders"], &app);
    config.input.as_mut().unwrap().max_concurrency = 4;
    for number in 0..100 {
        server.publish("orders", &number.to_string());
    }
    // Acknowledgements take their time, so that a drain that does not wait for them is seen.
    server.fault(|request| (request.method == Method::DELETE).then(|| Fault::Late(Duration::from_millis(500))));
    let worker = TestWorker::start(config).await;
    app.until(4).await;
    let took = worker.stop().await;
    assert!(took < Duration::from_secs(5), "drained in {took:?}");
    let done = server.messages("orders").iter().filter(|message| message.is_done(GROUP)).count();
    assert_eq!(app.messages().len(), done, "what the app has taken is acknowledged");
    assert!((4..20).contains(&done), "{done} of 100 were finished");
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
    let server = Server::start(&["orders"]).await;
    server.lock().invisible = Duration::from_secs(3);
    let folder = tempfile::tempdir().unwrap();
    let app = App::start(|_, _| (StatusCode::OK, Duration::from_millis(20))).await;
    let config = with_input(&server, &folder, &["orders"], &app);
    for number in 0..1_000 {
        server.publish("orders", &number.to_string());
    }
    for after in [200, 400, 600] {
        let process = Process::start(folder.path(), config.clone());
        app.until(after).await;
        drop(process);
    }
    let last = Process::start(folder.path(), config);
    let distinct = || app.bodies().into_iter().collect::<BTreeSet<_>>().len();
    eventually("every message", async || distinct() == 1_000 && server.all_done("orders", GROUP)).await;
    let twice = app.messages().len() - 1_000;
    println!("killed three times: 1000 messages, 0 lost, {twice} delivered again");
    assert!(twice < 300, "{twice} messages came again");
    drop(last);
}
