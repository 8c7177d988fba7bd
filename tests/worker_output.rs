//! Output binding against real brokers: what is stored, where, and what callers are told.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

mod worker_support;

use std::time::{Duration, Instant};

use axum::http::Method;
use rocketmq_connector::rocketmq::{Consumer, ConsumerConfig, ReceivedMessage, StartFrom, Subscription};
use rocketmq_connector::worker_config::BindingConfig;
use rocketmq_connector::worker_config::binding::{DataEncoding, OutputConfig};
use rocketmq_connector::worker_config::report::WorkerState;
use serde_json::{Value, json};
use worker_support::{Broker, LIMIT, TestWorker, binding, credential_files, output, send, unique};

const BROKERS: [&str; 2] = ["4.9.7-plain", "5.4.0-plain"];

async fn worker(broker: &Broker, topics: &[&str]) -> TestWorker {
    let worker = TestWorker::start(BindingConfig { output: Some(output()), ..binding(broker, topics) }).await;
    worker.until("a connection", |report| report.state == WorkerState::Running).await;
    worker
}

/// Everything that is in a topic, read by a consumer of its own until `count` messages are there.
async fn read(broker: &Broker, topic: &str, count: usize) -> Vec<ReceivedMessage> {
    let client = broker.client();
    let mut config = ConsumerConfig::new(unique("reader"), vec![Subscription::all(topic)]);
    config.start_from = StartFrom::First;
    let consumer = Consumer::start(&client, config).unwrap();
    let mut messages = Vec::new();
    while messages.len() < count {
        let delivery = tokio::time::timeout(LIMIT, consumer.recv()).await.expect("messages should arrive").unwrap();
        messages.push(delivery.message().clone());
        delivery.ack();
    }
    consumer.shutdown(Duration::from_secs(5)).await;
    client.shutdown().await;
    messages.sort_by_key(|message| (message.queue_id, message.queue_offset));
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_of_data_is_stored_exactly_as_sent() {
    for broker in BROKERS.map(Broker::named) {
        let topic = broker.topic("output", 1).await;
        let worker = worker(&broker, &[&topic]).await;
        let bodies = [
            r#""hello""#,
            r#"{"z": "<&>",  "a": [1, 2.50, 12345678901234567890], "big": 1e+21, "u": "\u00e9é"}"#,
            "null",
            "true",
        ];
        for body in bodies {
            let answer = worker.create(&format!(r#"{{"operation": "create", "data": {body}}}"#)).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{answer:?}");
            assert_eq!((answer.header("content-length"), answer.header("content-type")), ("0", "application/json"));
        }
        let stored: Vec<_> =
            read(&broker, &topic, bodies.len()).await.into_iter().map(|message| message.body).collect();
        assert_eq!(stored, bodies, "{}", broker.setting("VERSION"));
        let report = worker.report().binding.unwrap();
        assert!(report.failed == 0 && report.in_flight == 0, "{report:?}");
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_names_topics_tag_keys_and_the_trace_is_kept() {
    for broker in BROKERS.map(Broker::named) {
        let (one, two) = (broker.topic("one", 1).await, broker.topic("two", 1).await);
        let worker = worker(&broker, &[&one]).await;
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let body = format!(
            r#"{{"operation": "create", "data": 1, "metadata": {{"topics": "{one},{two}||tagT", "rocketmq-key": "k1 k2", "rocketmq-shardingkey": "s"}}}}"#
        );
        let answer =
            send(Method::PUT, &worker.api("/v1.0/bindings/rmq"), &[("traceparent", trace)], body.into_bytes()).await;
        assert_eq!((answer.status, answer.header("traceparent")), (200, trace), "{answer:?}");
        let ids: Vec<_> = answer.header("metadata.rocketmq-message-id").split(',').map(str::to_owned).collect();

        let first = read(&broker, &one, 1).await.remove(0);
        let second = read(&broker, &two, 1).await.remove(0);
        assert_eq!(ids, [first.message_id.to_string(), second.message_id.to_string()]);
        assert_eq!((first.tag.as_deref(), second.tag.as_deref()), (None, Some("tagT")));
        for message in [first, second] {
            assert_eq!(message.keys, ["k1", "k2"]);
            assert_eq!(message.properties.get("traceparent").map(|trace| &**trace), Some(trace));
        }
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_topic_of_two_is_named_and_the_other_has_the_message() {
    let broker = Broker::named("5.4.0-plain");
    let topic = broker.topic("good", 1).await;
    let worker = worker(&broker, &[]).await;
    let answer = worker
        .create(&format!(r#"{{"operation": "create", "data": 1, "metadata": {{"topics": "{topic},bad topic!"}}}}"#))
        .await;
    assert_eq!(answer.status, 500);
    assert!(
        answer.body.contains("topic bad topic!: ") && answer.body.contains(&format!("topic {topic}: stored as ")),
        "{}",
        answer.body
    );
    assert_eq!(read(&broker, &topic, 1).await[0].body, "1");

    let none = worker.create(r#"{"operation": "create", "data": 1}"#).await;
    assert!(none.status == 500 && none.body.contains("no topic: set spec.topics"), "{none:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_is_kept() {
    for broker in BROKERS.map(Broker::named) {
        let topic = broker.topic("delay", 1).await;
        let worker = worker(&broker, &[&topic]).await;
        let sent = Instant::now();
        let answer =
            worker.create(r#"{"operation": "create", "data": 1, "metadata": {"rocketmq-delay-level": "2"}}"#).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        read(&broker, &topic, 1).await;
        assert!(sent.elapsed() >= Duration::from_secs(4), "level 2 is 5 s, came after {:?}", sent.elapsed());
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_at_the_limits() {
    let broker = Broker::named("5.4.0-plain");
    let topic = broker.topic("large", 1).await;
    let worker = worker(&broker, &[&topic]).await;
    let create =
        async |size: usize| worker.create(&format!(r#"{{"operation":"create","data":"{}"}}"#, "y".repeat(size))).await;

    let fits = create(4 * 1024 * 1024 - 4096).await;
    assert_eq!(fits.status, 200, "{fits:?}");
    let too_large = create(4 * 1024 * 1024).await;
    assert_eq!(too_large.status, 400, "{too_large:?}");
    assert!(too_large.body.starts_with(
        r#"{"errorCode":"ERR_MALFORMED_REQUEST","message":"failed deserializing HTTP body: stream too large"#
    ));
    assert!(too_large.body.contains("4194304") && too_large.body.contains("maxBodySize"), "{}", too_large.body);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_reported_and_a_new_one_is_taken_at_run_time() {
    for instance in ["4.9.7-acl", "5.4.0-acl"] {
        let broker = Broker::named(instance);
        let topic = broker.topic("acl", 1).await;
        let folder = tempfile::tempdir().unwrap();
        let mut config = binding(&broker, &[&topic]);
        config.output = Some(output());
        config.retries = 1;
        let files = credential_files(folder.path(), broker.setting("ADMIN_ACCESS_KEY"), "wrong-secret-1");
        config.cluster.credentials = Some(files.clone());
        let worker = TestWorker::start(config).await;

        let failing = worker.until("a refusal", |report| report.state == WorkerState::Failing).await;
        let error = failing.last_error.unwrap();
        assert_eq!(error.reason, "AccessDenied", "{error:?}");
        assert!(error.remedy.contains("accessKey"), "{error:?}");
        assert!(!format!("{error:?}").contains("wrong-secret-1"));
        let ready = send(Method::GET, &worker.admin("/readyz"), &[], Vec::new()).await;
        assert_eq!(ready.status, 503, "{ready:?}");
        let refused = worker.create(r#"{"operation": "create", "data": 1}"#).await;
        assert_eq!(refused.status, 500, "{refused:?}");

        std::fs::write(&files.secret_key, format!("{}\n", broker.setting("ADMIN_SECRET_KEY"))).unwrap();
        worker.until("the new secret", |report| report.state == WorkerState::Running).await;
        let taken = worker.create(r#"{"operation": "create", "data": 1}"#).await;
        assert_eq!(taken.status, 200, "{instance}: {taken:?}");

        std::fs::remove_file(&files.secret_key).unwrap();
        worker
            .until("the missing file", |report| {
                report.last_error.as_ref().is_some_and(|error| error.reason == "InvalidSecretFile")
            })
            .await;
        assert_eq!(
            worker.create(r#"{"operation": "create", "data": 2}"#).await.status,
            200,
            "a deleted Secret changes nothing that runs"
        );
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_stored_in_the_encoding_that_is_asked_for() {
    let broker = Broker::named("5.4.0-plain");
    let topic = broker.topic("encoding", 1).await;
    let settings = OutputConfig { data_encoding: DataEncoding::Text, ..output() };
    let worker = TestWorker::start(BindingConfig { output: Some(settings), ..binding(&broker, &[&topic]) }).await;
    worker.until("a connection", |report| report.state == WorkerState::Running).await;
    let create = async |data: &str, encoding: &str| {
        let metadata =
            if encoding.is_empty() { String::new() } else { format!(r#""rocketmq-data-encoding": "{encoding}""#) };
        worker.create(&format!(r#"{{"operation": "create", "data": {data}, "metadata": {{{metadata}}}}}"#)).await
    };
    for (data, encoding) in
        [(r#""h\u00e9 \"you\"""#, ""), (r#"{"a": 1}"#, ""), (r#""quoted""#, "json"), (r#""AP+A""#, "base64")]
    {
        let answer = create(data, encoding).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let refused = create("{}", "base64").await;
    assert!(refused.status == 500 && refused.body.contains("data is no base64: it is no JSON string"), "{refused:?}");
    let stored: Vec<_> = read(&broker, &topic, 4).await.into_iter().map(|message| message.body.to_vec()).collect();
    assert_eq!(stored, ["hé \"you\"".as_bytes(), br#"{"a": 1}"#, br#""quoted""#, b"\x00\xff\x80"]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_topics_are_answered_one_by_one() {
    let broker = Broker::named("4.9.7-plain");
    let (one, two) = (broker.topic("several", 1).await, broker.topic("several", 1).await);
    let worker = worker(&broker, &[&one, &two]).await;
    let answer = worker.create(r#"{"operation": "create", "data": 1}"#).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let results: Vec<Value> = serde_json::from_str(&answer.body).unwrap();
    for (result, topic) in results.iter().zip([&one, &two]) {
        let place = (&result["topic"], &result["queueId"], &result["queueOffset"]);
        assert_eq!(place, (&json!(topic), &json!(0), &json!(0)), "{answer:?}");
        assert_eq!(result["messageId"], *read(&broker, topic, 1).await[0].message_id);
    }
    let body = format!(r#"{{"operation": "create", "data": 1, "metadata": {{"topics": "{one},bad topic!"}}}}"#);
    let answer = worker.create(&body).await;
    let error: Value = serde_json::from_str(&answer.body).unwrap();
    let topics = &error["topics"];
    assert!(topics[0]["messageId"].is_string() && topics[1]["error"].is_string(), "{answer:?}");
    let single =
        worker.create(&format!(r#"{{"operation": "create", "data": 1, "metadata": {{"topics": "{two}"}}}}"#)).await;
    assert_eq!((single.body.as_str(), single.header("metadata.rocketmq-queue-offset")), ("", "1"), "{single:?}");
    worker.stop().await;
}

/// Reads until `count` messages are there.
async fn read_with(worker: &TestWorker, metadata: &str, count: usize) -> Vec<Value> {
    let started = Instant::now();
    let mut messages: Vec<Value> = Vec::new();
    while messages.len() < count {
        assert!(started.elapsed() < LIMIT, "{count} messages were not read within {LIMIT:?}: {messages:#?}");
        let answer = worker.create(&format!(r#"{{"operation": "read", "metadata": {{{metadata}}}}}"#)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        messages.extend(serde_json::from_str::<Vec<Value>>(&answer.body).unwrap());
    }
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_read_acknowledged_and_read_again_when_they_are_not() {
    for broker in BROKERS.map(Broker::named) {
        let topic = broker.topic("read", 2).await;
        let config = BindingConfig { output: Some(output()), ..binding(&broker, &[&format!("{topic}||blue")]) };
        let first = TestWorker::start(config.clone()).await;
        first.until("a connection", |report| report.state == WorkerState::Running).await;
        for data in [r#"{"n": 1}"#, r#"{"n": 2}"#, r#"{"n": 3}"#] {
            let metadata = r#""rocketmq-key": "k1""#;
            let body = format!(r#"{{"operation": "create", "data": {data}, "metadata": {{{metadata}}}}}"#);
            assert_eq!(first.create(&body).await.status, 200);
        }
        let number = |message: &Value| message["data"]["n"].as_i64().unwrap();
        let mut messages = read_with(&first, r#""maxMessages": "1", "timeout": "2s", "lease": "2s""#, 3).await;
        messages.sort_by_key(number);
        assert_eq!(messages.iter().map(number).collect::<Vec<_>>(), [1, 2, 3]);
        let metadata = &messages[0]["metadata"];
        let expected = [("rocketmq-topic", topic.as_str()), ("rocketmq-tag", "blue"), ("rocketmq-keys", "k1")];
        assert!(expected.iter().all(|(key, value)| metadata[key] == *value), "{metadata}");

        // Two are acknowledged in the two ways, the third one is not.
        let receipt = |at: usize| messages[at]["receipt"].as_str().unwrap();
        let as_data = format!(r#"{{"operation": "ack", "data": {{"receipts": ["{}", "unknown"]}}}}"#, receipt(0));
        let answer = first.create(&as_data).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"acknowledged":1,"unknown":["unknown"]}"#));
        let as_metadata = format!(r#"{{"operation": "ack", "metadata": {{"receipts": "{}"}}}}"#, receipt(1));
        assert_eq!(first.create(&as_metadata).await.body, r#"{"acknowledged":1,"unknown":[]}"#);
        let again = first.create(&as_metadata).await;
        assert!(again.status == 500 && again.body.contains("none of the 1 receipts is known"), "{again:?}");

        let late = read_with(&first, r#""timeout": "5s""#, 1).await;
        assert_eq!((late.len(), number(&late[0])), (1, 3));
        assert_eq!(late[0]["metadata"]["rocketmq-redelivery-count"], "1", "{late:?}");
        let report = first.report().binding.unwrap();
        assert_eq!((report.messages_in, report.redelivered), (2, 1));
        // The worker ends while the lease goes on: another one gets the message, and only it.
        first.stop().await;
        let second = TestWorker::start(config).await;
        second.until("a connection", |report| report.state == WorkerState::Running).await;
        let rest = read_with(&second, r#""timeout": "5s", "ack": "auto""#, 1).await;
        assert_eq!((rest.len(), number(&rest[0])), (1, 3));
        assert!(rest[0].get("receipt").is_none(), "{rest:?}");
        let nothing = second.create(r#"{"operation": "read", "metadata": {"timeout": "1s"}}"#).await;
        assert_eq!((nothing.status, nothing.body.as_str()), (200, "[]"));
        second.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_said() {
    let broker = Broker::named("5.4.0-plain");
    let worker = worker(&broker, &[&unique("missing")]).await;
    let read =
        async |metadata: &str| worker.create(&format!(r#"{{"operation": "read", "metadata": {metadata}}}"#)).await;
    let missing = read(r#"{"timeout": "3s"}"#).await;
    assert!(missing.status == 500 && missing.body.contains("read failed err:"), "{missing:?}");
    let wrong = read(r#"{"maxMessages": "many"}"#).await;
    assert!(wrong.body.contains("send a number from 1 to 1000"), "{wrong:?}");
    worker.stop().await;

    let worker = self::worker(&broker, &[]).await;
    let none = worker.create(r#"{"operation": "read"}"#).await;
    assert!(none.body.contains("has no topics to read from"), "{none:?}");
    worker.stop().await;
}
