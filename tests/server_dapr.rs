//! The Dapr-compatible API beside what daprd 1.18 answered to the same requests.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

mod worker_support;

use std::time::{Duration, Instant};

use axum::http::Method;
use rocketmq_connector::worker_config::BindingConfig;
use rocketmq_connector::worker_config::report::WorkerState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use worker_support::{Broker, TestWorker, binding, eventually, memory_kib, output, send};

const NO_TRACE: &str = "00-00000000000000000000000000000000-0000000000000000-00";
const INVOKE: &str = "ERR_INVOKE_OUTPUT_BINDING";
const MALFORMED: &str = "ERR_MALFORMED_REQUEST";
const DIRECT: &str = "ERR_DIRECT_INVOKE";
const NO_APP_ID: &str = "failed getting app id either from the URL path or the header dapr-app-id";

async fn start(change: impl FnOnce(&mut BindingConfig)) -> (Broker, TestWorker) {
    let broker = Broker::named("5.4.0-plain");
    let topic = broker.topic("dapr", 1).await;
    let mut config = BindingConfig { output: Some(output()), ..binding(&broker, &[&topic]) };
    change(&mut config);
    let worker = TestWorker::start(config).await;
    worker.until("a connection", |report| report.state == WorkerState::Running).await;
    (broker, worker)
}

/// Method, path, body, and daprd's recorded status, error code and beginning of its message.
type Recorded = (Method, &'static str, &'static str, u16, &'static str, &'static str);

fn recorded() -> Vec<Recorded> {
    let (post, rmq) = (Method::POST, "/v1.0/bindings/rmq");
    let deserializing = "failed deserializing HTTP body: ";
    vec![
        (post.clone(), rmq, r#"{"operation": "create", "data": "hello"}"#, 200, "", ""),
        (Method::PUT, rmq, r#"{"operation": "create", "data": {"a": 1}}"#, 200, "", ""),
        (post.clone(), rmq, r#"{"operation": "create", "data": null}"#, 200, "", ""),
        (post.clone(), rmq, r#"{"operation": "create"}"#, 200, "", ""),
        (post.clone(), rmq, r#"{"operation": "create", "data": true}"#, 200, "", ""),
        (post.clone(), rmq, r#"{"operation":"create","data":"dup","data":"dup2","extra":1} trailing"#, 200, "", ""),
        (
            post.clone(),
            rmq,
            r#"{"operation": "create", "data": "m", "metadata": {"rocketmq-topic": 5}}"#,
            400,
            MALFORMED,
            deserializing,
        ),
        (
            post.clone(),
            rmq,
            r#"{"operation": "create", "data": "m", "metadata": {"rocketmq-topic": "bad topic!"}}"#,
            500,
            INVOKE,
            "error invoking output binding rmq: binding-rocketmq: send failed err:",
        ),
        (
            post.clone(),
            rmq,
            r#"{"operation": "list"}"#,
            500,
            INVOKE,
            "error invoking output binding rmq: binding rmq does not support operation list. supported operations:create",
        ),
        (
            post.clone(),
            rmq,
            r#"{"data": "x"}"#,
            500,
            INVOKE,
            "error invoking output binding rmq: operation field is missing from request",
        ),
        (post.clone(), rmq, "", 400, MALFORMED, "failed deserializing HTTP body: EOF"),
        (post.clone(), rmq, "{bad", 400, MALFORMED, deserializing),
        (post.clone(), rmq, "[]", 400, MALFORMED, deserializing),
        (
            post.clone(),
            "/v1.0/bindings/nope",
            r#"{"operation": "create", "data": "x"}"#,
            500,
            INVOKE,
            "error invoking output binding nope: couldn't find output binding nope",
        ),
        (Method::GET, rmq, "", 404, DIRECT, NO_APP_ID),
        (Method::DELETE, rmq, "", 404, DIRECT, NO_APP_ID),
        (post.clone(), "/v1.0/bindings/", "{}", 404, DIRECT, NO_APP_ID),
        (post.clone(), "/v1.0/bindings", "{}", 404, DIRECT, NO_APP_ID),
        (post, "/v1.0/binding/x", "{}", 404, DIRECT, NO_APP_ID),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_as_daprd_answered() {
    let (_, worker) = start(|_| {}).await;
    for (method, path, body, status, code, message) in recorded() {
        let answer = send(method.clone(), &worker.api(path), &[], body.as_bytes().to_vec()).await;
        let case = format!("{method} {path} {body}: {answer:?}");
        assert_eq!(answer.status, status, "{case}");
        assert_eq!(
            (answer.header("content-type"), answer.header("traceparent")),
            ("application/json", NO_TRACE),
            "{case}"
        );
        assert_eq!(answer.header("content-length"), answer.body.len().to_string(), "{case}");
        if status == 200 {
            assert_eq!(answer.body, "", "{case}");
            continue;
        }
        let beginning = format!(r#"{{"errorCode":"{code}","message":"{message}"#);
        assert!(answer.body.starts_with(&beginning), "{case}");
        let error: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(error.as_object().unwrap().len(), 2, "{case}");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metadata() {
    let (_, worker) = start(|_| {}).await;
    for path in ["/v1.0/healthz", "/v1.0/healthz/outbound"] {
        let answer = send(Method::GET, &worker.api(path), &[], Vec::new()).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{path}");
    }
    assert_eq!(send(Method::PUT, &worker.api("/v1.0/metadata/foo"), &[], b"bar".to_vec()).await.status, 204);
    let answer = send(Method::GET, &worker.api("/v1.0/metadata"), &[], Vec::new()).await;
    let metadata: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let component = serde_json::json!({"name": "rmq", "type": "bindings.rocketmq", "version": "v1", "capabilities": ["OUTPUT_BINDING"]});
    assert_eq!(metadata["components"], serde_json::json!([component]));
    assert_eq!(metadata["extended"]["foo"], "bar");
    for field in ["id", "runtimeVersion", "enabledFeatures", "appConnectionProperties", "actorRuntime"] {
        assert!(metadata.get(field).is_some(), "{field} is missing: {metadata}");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_asked_for_and_may_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "first\n").unwrap();
    let token_file = Some(path.to_string_lossy().into_owned());
    let (_, worker) = start(|config| config.output.as_mut().unwrap().token_file = token_file).await;
    let url = worker.api("/v1.0/bindings/rmq");
    let create = async |token: &str| {
        send(Method::POST, &url, &[("dapr-api-token", token)], br#"{"operation":"create","data":1}"#.to_vec())
            .await
            .status
    };
    assert_eq!((create("first").await, create("wrong").await), (200, 401));
    assert_eq!(send(Method::POST, &url, &[], Vec::new()).await.status, 401);
    assert_eq!(send(Method::GET, &worker.api("/v1.0/metadata"), &[], Vec::new()).await.status, 401);
    assert_eq!(send(Method::GET, &worker.api("/v1.0/healthz/outbound"), &[], Vec::new()).await.status, 204);
    std::fs::write(&path, "second").unwrap();
    eventually("the new token", async || create("second").await == 200).await;
    assert_eq!(create("first").await, 401);
    worker.stop().await;
}

/// Sends `head` and then `chunk` again and again until `total` bytes are sent or the server has had enough; its answer.
async fn pour(address: std::net::SocketAddr, head: &str, chunk: &[u8], total: usize) -> String {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    writer.write_all(head.as_bytes()).await.unwrap();
    let chunk = chunk.to_vec();
    let pouring = tokio::spawn(async move {
        let mut sent = 0;
        while sent < total && writer.write_all(&chunk).await.is_ok() {
            sent += chunk.len();
        }
    });
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(Duration::from_secs(30), reader.read(&mut answer)).await;
    pouring.abort();
    let length = read.expect("the server should answer").unwrap_or(0);
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_100_mib_is_refused_without_being_kept() {
    let (_, worker) = start(|_| {}).await;
    let address = worker.worker.api_address().unwrap();
    let before = memory_kib(std::process::id(), "VmRSS");
    let total = 100 * 1024 * 1024;
    let announced = format!("POST /v1.0/bindings/rmq HTTP/1.1\r\nHost: x\r\nContent-Length: {total}\r\n\r\n");
    let answer = pour(address, &announced, &[b'x'; 64 * 1024], total).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("stream too large"), "{answer}");

    let chunk = [b"10000\r\n".to_vec(), vec![b'x'; 65_536], b"\r\n".to_vec()].concat();
    let chunked = "POST /v1.0/bindings/rmq HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = pour(address, chunked, &chunk, total).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("stream too large"), "{answer}");
    let grown = memory_kib(std::process::id(), "VmRSS").saturating_sub(before);
    assert!(grown < 40 * 1024, "memory grew by {grown} KiB");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_vanished_clients_leave_the_others_alone() {
    let (_, worker) = start(|_| {}).await;
    let address = worker.worker.api_address().unwrap();
    let mut slow = Vec::new();
    for number in 0..40 {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = "POST /v1.0/bindings/rmq HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{\"operation\":";
        stream.write_all(head.as_bytes()).await.unwrap();
        if number % 2 == 0 {
            slow.push(stream); // the others are closed in the middle of their request
        }
    }
    let started = Instant::now();
    let answer = worker.create(r#"{"operation":"create","data":1}"#).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    // A drain does not wait for them for ever.
    drop(slow.split_off(1));
    let took = worker.stop().await;
    assert!(took < Duration::from_secs(30), "{took:?}");
}
