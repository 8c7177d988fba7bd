//! Applications of the unmodified Dapr SDKs, as clients and as input servers of one binding. They find the worker by
//! `DAPR_HTTP_ENDPOINT` and `DAPR_GRPC_ENDPOINT`, and by nothing else. `install.sh` installs the SDKs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

#[path = "../worker_support/mod.rs"]
mod worker_support;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rocketmq_connector::worker_config::binding::{AppProtocol, BindingConfig};
use rocketmq_connector::worker_config::report::WorkerState;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use worker_support::{Broker, LIMIT, TestWorker, binding, input, output};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dapr_sdk");

/// The folder of an installed SDK.
fn installed(language: &str) -> PathBuf {
    let cache = std::env::var_os("ROCKETMQ_CONNECTOR_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        Path::new(&std::env::var_os("HOME").expect("HOME should be set")).join(".cache/rocketmq-connector")
    });
    let folder = cache.join("dapr-sdk").join(language);
    assert!(
        folder.join(".complete").exists(),
        "run tests/dapr_sdk/install.sh {language}: {} is missing",
        folder.display()
    );
    folder
}

/// An application, and what it has printed.
struct Peer {
    _process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    printed: Vec<Value>,
}

impl Peer {
    fn start(mut command: Command, worker: &TestWorker, port: u16) -> Self {
        let (http, grpc) = (worker.worker.api_address().unwrap(), worker.worker.grpc_address().unwrap());
        command
            .env("DAPR_HTTP_ENDPOINT", format!("http://{http}"))
            .env("DAPR_GRPC_ENDPOINT", grpc.to_string())
            .env("APP_PORT", port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { _process: process, lines, printed: Vec::new() }
    }

    /// Reads what is printed until there are `count` lines of this call; gives those back.
    async fn until(&mut self, call: &str, count: usize) -> Vec<Value> {
        let read = async {
            loop {
                let found: Vec<_> = self.printed.iter().filter(|line| line["call"] == call).cloned().collect();
                if found.len() >= count {
                    return found;
                }
                let line =
                    self.lines.next_line().await.unwrap().unwrap_or_else(|| panic!("ended: {:#?}", self.printed));
                // Libraries print lines of their own.
                let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
                assert_ne!(line["call"], "failed", "{line}");
                self.printed.push(line);
            }
        };
        let read = tokio::time::timeout(LIMIT, read).await;
        read.unwrap_or_else(|_| panic!("no {count} × {call:?} within {LIMIT:?}"))
    }

    /// What a call has given.
    async fn result(&mut self, call: &str) -> Value {
        self.until(call, 1).await.remove(0)
    }
}

/// A worker of a binding in both directions, and a port for its app.
async fn start(protocol: AppProtocol) -> (TestWorker, u16) {
    start_with(protocol, |_| {}).await
}

async fn start_with(protocol: AppProtocol, change: impl FnOnce(&mut BindingConfig)) -> (TestWorker, u16) {
    let broker = Broker::named("5.4.0-plain");
    let topic = broker.topic("sdk", 1).await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = free.local_addr().unwrap();
    drop(free);
    let mut input = input(app);
    input.protocol = protocol;
    if protocol == AppProtocol::Grpc {
        input.app_url = format!("grpc://{app}");
    }
    let mut config = BindingConfig { input: Some(input), output: Some(output()), ..binding(&broker, &[&topic]) };
    change(&mut config);
    let worker = TestWorker::start(config).await;
    worker.until("a connection", |report| report.state != WorkerState::Starting).await;
    (worker, app.port())
}

/// Waits until the worker counts `count` messages as taken, and ends it.
async fn finish(worker: TestWorker, count: u64) {
    let taken = worker
        .until("every message", |report| report.binding.as_ref().is_some_and(|binding| binding.messages_in == count))
        .await;
    assert_eq!(taken.binding.unwrap().redelivered, 1, "one message is refused once");
    let took = worker.stop().await;
    assert!(took < Duration::from_secs(30), "drained in {took:?}");
}

fn bodies(received: &[Value]) -> Vec<&str> {
    received.iter().map(|line| line["body"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn python() {
    let folder = tempfile::tempdir().unwrap();
    let token_file = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("{name}-token")).unwrap();
        Some(path.to_string_lossy().into_owned())
    };
    let (worker, port) = start_with(AppProtocol::Grpc, |config| {
        config.output.as_mut().unwrap().token_file = token_file("api");
        config.input.as_mut().unwrap().api_token_file = token_file("app");
    })
    .await;
    let mut command = Command::new(installed("python").join("bin/python"));
    command.arg(format!("{SOURCES}/python/peer.py")).env("DAPR_API_TOKEN", "api-token");
    let mut peer = Peer::start(command, &worker, port);

    let create = peer.result("create").await;
    assert_eq!(create["data"], "");
    let reads = ["rocketmq-message-id", "rocketmq-broker-name", "rocketmq-queue-id", "rocketmq-queue-offset"];
    assert!(reads.iter().all(|key| create["metadata"][key].is_string()), "{create}");

    let info = json!({"reason": "ERR_INVOKE_OUTPUT_BINDING", "domain": "dapr.io"});
    let recorded = [
        ("unknown", "INTERNAL", "error invoking output binding nope: couldn't find output binding nope", true),
        (
            "operation",
            "INTERNAL",
            "error invoking output binding rmq: binding rmq does not support operation list. supported operations:create",
            true,
        ),
        ("large", "RESOURCE_EXHAUSTED", "grpc: received message larger than max (4194322 vs. 4194304)", false),
        ("no_token", "UNAUTHENTICATED", "missing api token in request metadata", false),
        ("wrong_token", "UNAUTHENTICATED", "authentication error: api token mismatch", false),
        ("state", "UNIMPLEMENTED", "dapr.proto.runtime.v1.Dapr/GetState is not served by a binding worker", false),
    ];
    for (call, code, message, has_info) in recorded {
        let result = peer.result(call).await;
        assert_eq!(result["code"], code, "{result}");
        assert!(result["message"].as_str().unwrap().starts_with(message), "{result}");
        if has_info {
            assert_eq!(
                (&result["info"]["reason"], &result["info"]["domain"]),
                (&info["reason"], &info["domain"]),
                "{result}"
            );
        }
    }

    let metadata = peer.result("metadata").await;
    assert_eq!(metadata["id"], "rmq");
    let component = json!(["rmq", "bindings.rocketmq", "v1", ["INPUT_BINDING", "OUTPUT_BINDING"]]);
    assert_eq!(metadata["components"], json!([component]));
    assert_eq!(metadata["extended"]["colour"], "blue");
    assert_eq!(peer.result("health").await["status"], "SERVING");
    assert_eq!(peer.result("gzip").await["code"], "OK");
    assert_eq!(peer.result("deflate").await["code"], "UNIMPLEMENTED");
    let reflection = peer.result("reflection").await;
    let services = reflection["services"].as_array().unwrap();
    assert!(
        services.contains(&json!("dapr.proto.runtime.v1.Dapr")) && services.contains(&json!("grpc.health.v1.Health")),
        "{reflection}"
    );
    assert_eq!(reflection["files"], 1);

    let received = peer.until("received", 4).await;
    let mut found = bodies(&received);
    found.sort_unstable();
    assert_eq!(found, ["\u{0}\u{ff} bytes", "again", "again", &"squeezed ".repeat(500)]);
    assert!(received.iter().all(|line| line["trace"].as_str().unwrap().len() == 55), "{received:?}");
    assert!(received.iter().all(|line| line["token"] == "app-token"), "{received:?}");
    finish(worker, 3).await;
}

async fn javascript(protocol: AppProtocol) {
    let (worker, port) = start(protocol).await;
    let folder = installed("javascript");
    let mut command = Command::new("node");
    let name = if protocol == AppProtocol::Http { "HTTP" } else { "GRPC" };
    command.args(["--", &format!("{SOURCES}/javascript/peer.js"), name]).env("NODE_PATH", folder.join("node_modules"));
    let mut peer = Peer::start(command, &worker, port);

    let metadata = peer.result("metadata").await;
    assert_eq!((&metadata["id"], &metadata["components"]), (&json!("rmq"), &json!(["rmq"])));
    assert_eq!(peer.result("set").await["done"], true);
    let unknown = peer.result("unknown").await;
    let message = unknown["message"].as_str().unwrap();
    assert!(message.contains("couldn't find output binding nope"), "{unknown}");

    let received = peer.until("received", 3).await;
    let mut found = bodies(&received);
    found.sort_unstable();
    assert_eq!(found, [r#"{"number":1}"#, r#"{"text":"again"}"#, r#"{"text":"again"}"#]);
    finish(worker, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_over_http() {
    javascript(AppProtocol::Http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_over_grpc() {
    javascript(AppProtocol::Grpc).await;
}

async fn go(protocol: AppProtocol) {
    let (worker, port) = start(protocol).await;
    let mut command = Command::new(installed("go").join("peer"));
    command.arg(if protocol == AppProtocol::Http { "http" } else { "grpc" });
    let mut peer = Peer::start(command, &worker, port);

    let create = peer.result("create").await;
    assert!(create["metadata"]["rocketmq-message-id"].is_string(), "{create}");
    let unknown = peer.result("unknown").await;
    assert_eq!(unknown["code"], "Internal", "{unknown}");
    assert!(unknown["message"].as_str().unwrap().contains("couldn't find output binding nope"), "{unknown}");
    let metadata = peer.result("metadata").await;
    assert_eq!((&metadata["id"], &metadata["components"]), (&json!("rmq"), &json!(1)));

    let received = peer.until("received", 3).await;
    let mut found = bodies(&received);
    found.sort_unstable();
    assert_eq!(found, [r#""again""#, r#""again""#, r#"{"number":1}"#]);
    // The SDK's HTTP server gives headers in Go's spelling, its gRPC server the metadata as it came.
    let id = if protocol == AppProtocol::Http { "Rocketmq-Message-Id" } else { "rocketmq-message-id" };
    assert!(received.iter().all(|line| line["metadata"][id].is_string()), "{received:?}");
    finish(worker, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn go_over_http() {
    go(AppProtocol::Http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn go_over_grpc() {
    go(AppProtocol::Grpc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn java() {
    let (worker, port) = start(AppProtocol::Grpc).await;
    let folder = installed("java");
    let classes = format!("{0}/classes:{0}/lib/*", folder.display());
    let mut command = Command::new("java");
    command.args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", &classes, "Peer"]);
    let mut peer = Peer::start(command, &worker, port);

    let unknown = peer.result("unknown").await;
    assert!(unknown["message"].as_str().unwrap().contains("couldn't find output binding nope"), "{unknown}");
    assert_eq!(peer.result("metadata").await["id"], "rmq");

    // Three messages and one refusal, and the app's reply to one of them.
    let received = peer.until("received", 5).await;
    let count = |part: &str| bodies(&received).iter().filter(|body| body.contains(part)).count();
    assert_eq!(
        [count("number"), count("again"), count("reply to this"), count("the reply")],
        [1, 2, 1, 1],
        "{received:?}"
    );
    assert!(received.iter().all(|line| line["id"] != "" && line["group"] != ""), "{received:?}");
    finish(worker, 4).await;
}
