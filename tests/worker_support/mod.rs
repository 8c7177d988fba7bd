//! What the worker tests share: real brokers, workers in this process, and an app that answers as it is told.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod history;
pub mod relay;
pub mod sync;
pub mod topic;
pub mod truncate;
pub mod verify;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, StatusCode, Uri};
use axum::response::IntoResponse;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use rocketmq_connector::rocketmq::{Client, ClientConfig, Credentials};
use rocketmq_connector::worker::Worker;
use rocketmq_connector::worker_config::binding::{
    AppProtocol, Backoff, BindingConfig, DataEncoding, InputConfig, OutputConfig, Payload, RedeliveryConfig, StartFrom,
    TopicConfig,
};
use rocketmq_connector::worker_config::connection::{ClusterConfig, CredentialFiles};
use rocketmq_connector::worker_config::{AdminConfig, Identity, Role, VERSION, WorkerConfig, WorkerReport};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

/// Longest time until something expected is there: brokers on a loaded machine are slow, and a new group is found late.
pub const LIMIT: Duration = Duration::from_secs(90);

/// The folder in which everything is kept that tests install.
pub fn cache() -> PathBuf {
    std::env::var_os("ROCKETMQ_CONNECTOR_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        Path::new(&std::env::var_os("HOME").expect("HOME should be set")).join(".cache/rocketmq-connector")
    })
}

/// A size in KiB that the system tells of a process, by its name in `/proc/<id>/status`: `VmRSS`, `RssAnon`.
pub fn memory_kib(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process should run");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {status}"))
}

/// A running broker of the test set-up.
#[derive(Clone)]
pub struct Broker {
    settings: BTreeMap<String, String>,
}

impl Broker {
    /// The instance of this name, for instance `5.4.0-plain`.
    pub fn named(instance: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder =
            std::env::var("ROCKETMQ_TEST_RUN").expect("ROCKETMQ_TEST_RUN should name the folder of the brokers");
        let path = PathBuf::from(folder).join(instance).join("env");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Self { settings: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect() }
    }

    pub fn setting(&self, key: &str) -> &str {
        self.settings.get(key).map(String::as_str).unwrap_or_default()
    }

    pub fn name_server(&self) -> &str {
        self.setting("NAME_SERVER")
    }

    /// A client with all rights.
    pub fn client(&self) -> Client {
        let mut config = ClientConfig::new(vec![self.name_server().to_owned()]);
        if !self.setting("ADMIN_ACCESS_KEY").is_empty() {
            config.credentials = Some(Credentials {
                access_key: self.setting("ADMIN_ACCESS_KEY").to_owned(),
                secret_key: SecretString::from(self.setting("ADMIN_SECRET_KEY")),
                security_token: None,
            });
        }
        Client::new(config).unwrap()
    }

    /// Makes a topic with a name of its own and `queues` queues.
    pub async fn topic(&self, stem: &str, queues: i32) -> String {
        let topic = unique(stem);
        let client = self.client();
        client.admin().create_topic(&topic, queues, 6).await.unwrap();
        eventually("the route of a new topic", async || client.admin().topic_route(&topic).await.is_ok()).await;
        client.shutdown().await;
        topic
    }

    pub fn cluster(&self) -> ClusterConfig {
        ClusterConfig { name_servers: vec![self.name_server().to_owned()], ..ClusterConfig::default() }
    }
}

/// A name that no other test run has.
pub fn unique(stem: &str) -> String {
    format!("{stem}-{:x}", jiff::Timestamp::now().as_nanosecond())
}

/// A binding without input and output.
pub fn binding(broker: &Broker, topics: &[&str]) -> BindingConfig {
    let topics = topics.iter().map(|topic| match topic.split_once("||") {
        Some((topic, expression)) => TopicConfig { topic: topic.to_owned(), expression: Some(expression.to_owned()) },
        None => TopicConfig { topic: (*topic).to_owned(), expression: None },
    });
    BindingConfig {
        name: "rmq".to_owned(),
        cluster: broker.cluster(),
        http_endpoint: None,
        topics: topics.collect(),
        group: unique("g"),
        retries: 3,
        input: None,
        output: None,
    }
}

pub fn output() -> OutputConfig {
    OutputConfig {
        host: "127.0.0.1".to_owned(),
        http_port: 0,
        grpc_port: 0,
        token_file: None,
        max_body_bytes: 4 * 1024 * 1024,
        data_encoding: DataEncoding::Json,
    }
}

pub fn input(app: SocketAddr) -> InputConfig {
    InputConfig {
        app_url: format!("http://{app}"),
        protocol: AppProtocol::Http,
        path: "/rmq".to_owned(),
        routes: BTreeMap::new(),
        max_concurrency: 20,
        timeout_millis: 10_000,
        api_token_file: None,
        batch_size: 32,
        batch: false,
        payload: Payload::Raw,
        ordered: false,
        start_from: StartFrom::First,
        redelivery: RedeliveryConfig { max_attempts: 16, backoff: Backoff::Constant { millis: 1_000 } },
        dead_letter_topic: None,
    }
}

pub fn worker_config(role: Role) -> WorkerConfig {
    let identity =
        Identity { kind: "RocketMQBinding".into(), namespace: "test".into(), name: "rmq".into(), generation: 1 };
    WorkerConfig { version: VERSION, identity, admin: AdminConfig { host: "127.0.0.1".to_owned(), port: 0 }, role }
}

/// A worker in this process.
pub struct TestWorker {
    pub worker: Worker,
    pub token: CancellationToken,
}

impl TestWorker {
    pub async fn start(config: BindingConfig) -> Self {
        let token = CancellationToken::new();
        let worker = Worker::start(worker_config(Role::Binding(config)), token.clone()).await.unwrap();
        Self { worker, token }
    }

    pub fn report(&self) -> WorkerReport {
        self.worker.reporter().current()
    }

    /// Waits until the report is as it should be.
    pub async fn until(&self, what: &str, is_so: impl Fn(&WorkerReport) -> bool) -> WorkerReport {
        let started = Instant::now();
        loop {
            let report = self.report();
            if is_so(&report) {
                return report;
            }
            assert!(started.elapsed() < LIMIT, "{what} did not come true within {LIMIT:?}: {report:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn api(&self, path: &str) -> String {
        format!("http://{}{path}", self.worker.api_address().expect("the worker should have an API"))
    }

    pub fn admin(&self, path: &str) -> String {
        format!("http://{}{path}", self.worker.admin_address())
    }

    /// Publishes; the answer's status and body.
    pub async fn create(&self, body: &str) -> Answer {
        send(Method::POST, &self.api("/v1.0/bindings/rmq"), &[], body.as_bytes().to_vec()).await
    }

    /// Drains; the time it took.
    pub async fn stop(self) -> Duration {
        let started = Instant::now();
        self.token.cancel();
        self.worker.wait().await.unwrap();
        started.elapsed()
    }
}

/// An answer of a server.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

pub async fn send(method: Method, url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let client = HttpClient::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.request(request.body(Full::from(body)).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

pub async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < LIMIT, "{what} did not come true within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A request that the app has got.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
    pub at: Instant,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

type Responder = Arc<dyn Fn(&Received, usize) -> (StatusCode, Duration) + Send + Sync>;

/// An app: it keeps every request and answers what `respond` says after the pause that it says; the number is how often
/// this body has come, from 1.
#[derive(Clone)]
pub struct App {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Received>>>,
    respond: Responder,
    stop: CancellationToken,
}

impl App {
    pub async fn start(respond: impl Fn(&Received, usize) -> (StatusCode, Duration) + Send + Sync + 'static) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), respond).await
    }

    pub async fn start_at(
        address: SocketAddr,
        respond: impl Fn(&Received, usize) -> (StatusCode, Duration) + Send + Sync + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let (requests, respond): (_, Responder) = (Arc::default(), Arc::new(respond));
        let app = Self { address: listener.local_addr().unwrap(), requests, respond, stop: CancellationToken::new() };
        let router = Router::new().fallback(handle).with_state(app.clone());
        let stop = app.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, router).into_future() => served.unwrap(),
                () = stop.cancelled() => {}
            }
        });
        app
    }

    /// An app that takes everything at once.
    pub async fn taking() -> Self {
        Self::start(|_, _| (StatusCode::OK, Duration::ZERO)).await
    }

    /// The messages that have come, without OPTIONS questions.
    pub fn messages(&self) -> Vec<Received> {
        self.requests.lock().unwrap().iter().filter(|request| request.method == Method::POST).cloned().collect()
    }

    pub fn bodies(&self) -> Vec<String> {
        self.messages().into_iter().map(|request| request.body).collect()
    }

    /// Waits until `count` messages have come.
    pub async fn until(&self, count: usize) -> Vec<Received> {
        eventually(&format!("{count} messages at the app"), async || self.messages().len() >= count).await;
        self.messages()
    }

    pub fn stop(&self) {
        self.stop.cancel();
    }
}

async fn handle(
    State(app): State<App>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> impl IntoResponse {
    let request = Received { method, path: uri.path().to_owned(), headers, body, at: Instant::now() };
    let (status, pause) = {
        let mut requests = app.requests.lock().unwrap();
        let same =
            requests.iter().filter(|earlier| earlier.method == request.method && earlier.body == request.body).count();
        let answer = (app.respond)(&request, same + 1);
        requests.push(request);
        answer
    };
    tokio::time::sleep(pause).await;
    status
}

/// Files with a user's credentials, and the configuration that names them.
pub fn credential_files(folder: &std::path::Path, access_key: &str, secret_key: &str) -> CredentialFiles {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let files = CredentialFiles { access_key: path("access"), secret_key: path("secret"), security_token: None };
    std::fs::write(&files.access_key, access_key).unwrap();
    std::fs::write(&files.secret_key, secret_key).unwrap();
    files
}
