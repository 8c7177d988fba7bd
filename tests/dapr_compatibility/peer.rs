//! The two sides: a daprd and a binding worker, each started from one and the same Dapr component.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rocketmq_connector::convert::{self, app::Address};
use rocketmq_connector::dev::files::PrivateFolder;
use rocketmq_connector::dev::manifest;
use rocketmq_connector::dev::plan::{Overrides, plan};
use rocketmq_connector::dev::resources::Resources;
use rocketmq_connector::dev::schema::Schemas;
use rocketmq_connector::worker::Worker;
use rocketmq_connector::worker_config::Role;
use rocketmq_connector::worker_config::binding::StartFrom;
use rocketmq_connector::worker_config::report::{WorkerReport, WorkerState};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::worker_support::{TestWorker, eventually};

/// Which side is observed.
#[derive(Debug, Clone)]
pub enum Peer {
    /// Dapr's sidecar: the program at this path.
    Daprd(String),
    /// A worker of ours.
    Worker,
}

/// An application for an input.
#[derive(Debug, Clone, Copy)]
pub struct AppAt {
    pub address: SocketAddr,
    pub is_grpc: bool,
}

/// What a side has around its component.
#[derive(Debug, Clone, Copy, Default)]
pub struct Around {
    pub app: Option<AppAt>,
    /// The API asks for [`API_TOKEN`], and the application is sent [`APP_TOKEN`].
    pub has_tokens: bool,
    /// There is an output for the application's replies, [`Running::replies`]: a worker's own, which publishes to the topic;
    /// with daprd one of another type, since a sidecar starts only one component of RocketMQ.
    pub has_replies: bool,
}

pub const API_TOKEN: &str = "api-token";
pub const APP_TOKEN: &str = "app-token";

/// A side that runs.
pub struct Running {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    /// Name of the output that publishes the application's replies.
    pub replies: &'static str,
    side: Side,
}

enum Side {
    Daprd { process: Child, folder: TempDir },
    Worker { worker: TestWorker, _folder: PrivateFolder },
}

const ROCKETMQ: &str = "bindings.rocketmq";

/// A component of this name and type as JSON, which is YAML too.
fn component(name: &str, kind: &str, fields: &[(&str, &str)]) -> String {
    let items: Vec<_> = fields.iter().map(|(name, value)| serde_json::json!({"name": name, "value": value})).collect();
    let spec = serde_json::json!({"type": kind, "version": "v1", "metadata": items});
    let component = serde_json::json!({
        "apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": name}, "spec": spec,
    });
    component.to_string()
}

impl Peer {
    /// Starts this side with a component "rmq" of these fields.
    ///
    /// # Errors
    /// Why it does not start, in its own words.
    pub async fn start(&self, fields: &[(&str, &str)], app: Option<AppAt>) -> Result<Running, String> {
        self.start_with(fields, Around { app, ..Around::default() }).await
    }

    /// The same with more around it.
    ///
    /// # Errors
    /// Why it does not start, in its own words.
    pub async fn start_with(&self, fields: &[(&str, &str)], around: Around) -> Result<Running, String> {
        match self {
            Self::Daprd(program) => start_daprd(program, fields, around).await,
            Self::Worker => start_worker(fields, around).await,
        }
    }
}

/// A port for a process that is yet to start. It is below 32768, where those of outgoing connections begin, and given once.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let first = 24_000 + (std::process::id() % 16) as u16 * 300;
    loop {
        let port = first + GIVEN.fetch_add(1, Ordering::Relaxed);
        if std::net::TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// Daprd's output for replies, and its folder.
const REPLIES: &str = "replies";

async fn start_daprd(program: &str, fields: &[(&str, &str)], around: Around) -> Result<Running, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("components")).unwrap();
    std::fs::write(folder.path().join("components/rmq.yaml"), component("rmq", ROCKETMQ, fields)).unwrap();
    if around.has_replies {
        let root = folder.path().join(REPLIES).to_string_lossy().into_owned();
        let replies = component(REPLIES, "bindings.localstorage", &[("rootPath", &root), ("direction", "output")]);
        std::fs::write(folder.path().join("components/replies.yaml"), replies).unwrap();
    }
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let (http, grpc) = (free_port(), free_port());
    let mut command = Command::new(program);
    let ports = [("--dapr-http-port", http), ("--dapr-grpc-port", grpc)];
    let more = [("--metrics-port", free_port()), ("--dapr-internal-grpc-port", free_port())];
    for (flag, port) in ports.into_iter().chain(more) {
        command.arg(flag).arg(port.to_string());
    }
    command.args(["--app-id", "rmq", "--dapr-listen-addresses", "127.0.0.1", "--log-level", "warn"]);
    command.args(["--scheduler-host-address", "", "--placement-host-address", "", "--disable-init-endpoints", ""]);
    command.arg("--resources-path").arg(folder.path().join("components"));
    if around.has_tokens {
        command.env("DAPR_API_TOKEN", API_TOKEN).env("APP_API_TOKEN", APP_TOKEN);
    }
    if let Some(app) = around.app {
        command.arg("--app-port").arg(app.address.port().to_string());
        command.args(["--app-protocol", if app.is_grpc { "grpc" } else { "http" }]);
    }
    let process = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
    let mut process = process.unwrap_or_else(|error| panic!("{program}: {error}"));
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let began = Instant::now();
    loop {
        if process.try_wait().unwrap().is_some() {
            return Err(last_words(folder.path()));
        }
        if has_component(address(http)).await {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "daprd has no component: {}", last_words(folder.path()));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(Running { http: address(http), grpc: address(grpc), replies: REPLIES, side: Side::Daprd { process, folder } })
}

/// Whether daprd serves and has started the component; it may also end at any moment. That it is healthy does not tell: one
/// that is about to end, because the component does not start, is healthy for a moment.
async fn has_component(address: SocketAddr) -> bool {
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request = format!(
            "GET /v1.0/metadata HTTP/1.1\r\nHost: daprd\r\nConnection: close\r\ndapr-api-token: {API_TOKEN}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer.contains(r#""name":"rmq""#))
    };
    asked.await.unwrap_or(false)
}

/// What daprd says when it ends: its fatal error, or the first line of a panic.
fn last_words(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    let fatal = log.lines().find(|line| line.contains("level=fatal") || line.starts_with("panic:"));
    let said = fatal.unwrap_or_default();
    let said = said.split_once("msg=\"").map_or(said, |(_, rest)| rest.split("\" ").next().unwrap_or(rest));
    // The reason is after the last repetition of the component's name.
    let reason = said.rsplit("(bindings.rocketmq/v1): ").next().unwrap_or(said);
    reason.replace("\\n", " ").trim_end_matches('"').to_owned()
}

async fn start_worker(fields: &[(&str, &str)], around: Around) -> Result<Running, String> {
    let Around { app, has_tokens, has_replies } = around;
    let mut fields = fields.to_vec();
    if has_replies {
        fields.retain(|(name, _)| *name != "direction");
        fields.push(("direction", "input, output"));
    }
    let schemas = Schemas::load().unwrap();
    let parsed = |text: &str| manifest::parse(Path::new("rmq.yaml"), text).unwrap();
    let options = convert::Options {
        app: app.map(|app| Address::Url(format!("{}://{}", if app.is_grpc { "grpc" } else { "http" }, app.address))),
        is_grpc_app: app.map(|app| app.is_grpc),
        ..convert::Options::default()
    };
    let told = |error: rocketmq_connector::dev::error::Error| error.to_string();
    let converted = convert::convert(&parsed(&component("rmq", ROCKETMQ, &fields)), &options).map_err(told)?;
    let documents = parsed(&converted.manifests);
    let resources = Resources::collect(&documents, &schemas).map_err(|mistakes| format!("{mistakes:?}"))?;
    let folder = PrivateFolder::create().unwrap();
    let mut planned = plan(&resources, &Overrides::default(), &folder).map_err(told)?;
    let mut config = planned.remove(0).config?;
    config.admin.port = 0;
    let token_file = |name: &str, token: &str| {
        let file = || folder.write("tokens", name, token.as_bytes()).unwrap().join(name);
        has_tokens.then(|| file().to_string_lossy().into_owned())
    };
    if let Role::Binding(binding) = &mut config.role {
        if let Some(output) = &mut binding.output {
            (output.http_port, output.grpc_port) = (0, 0);
            output.token_file = token_file("api", API_TOKEN);
        }
        if let Some(input) = &mut binding.input {
            input.api_token_file = token_file("app", APP_TOKEN);
            if has_replies {
                // With both directions the group begins when the application wants messages; some may be there by then. Daprd
                // begins with the first message of a young topic.
                input.start_from = StartFrom::First;
            }
        }
    }
    let token = CancellationToken::new();
    let worker = Worker::start(config, token.clone()).await.map_err(|error| error.to_string())?;
    let worker = TestWorker { worker, token };
    let unused = SocketAddr::from(([127, 0, 0, 1], 9));
    let http = worker.worker.api_address().unwrap_or(unused);
    let grpc = worker.worker.grpc_address().unwrap_or(unused);
    // A worker serves before it is connected; what is asked meanwhile is told why it has to wait.
    let began = Instant::now();
    while worker.report().state == WorkerState::Starting && began.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(Running { http, grpc, replies: "rmq", side: Side::Worker { worker, _folder: folder } })
}

impl Running {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// What this side says about its state besides its answers: daprd's warnings of an input, a worker's report.
    pub fn complaint(&self) -> String {
        match &self.side {
            Side::Daprd { folder, .. } => {
                let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                let line = log.lines().find(|line| line.contains("error reading from input binding"));
                let said = line
                    .and_then(|line| line.split_once("msg=\""))
                    .map(|(_, rest)| rest.split("\" ").next().unwrap_or(rest));
                said.unwrap_or_default().trim_end_matches('"').to_owned()
            }
            Side::Worker { worker, .. } => worker.report().message.unwrap_or_default(),
        }
    }

    /// Waits until daprd has its position in a topic: what is sent before, a new group of it may pass over. A worker has its
    /// own from its start.
    pub async fn until_reading(&self, topic: &str) {
        let Side::Daprd { folder, .. } = &self.side else { return };
        eventually("daprd's position", async || {
            let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            log.lines().any(|line| line.contains("MessageQueue do balance done") && line.contains(topic))
        })
        .await;
    }

    /// The application's replies that daprd has published; nothing of a worker, whose replies are in its topic.
    pub fn published(&self) -> Option<Vec<String>> {
        let Side::Daprd { folder, .. } = &self.side else { return None };
        let files = std::fs::read_dir(folder.path().join(REPLIES)).into_iter().flatten();
        Some(files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect())
    }

    /// Waits until a worker counts `taken` messages as taken, and gives how often one was handed back; nothing of daprd,
    /// which does not count.
    pub async fn handed_back(&self, taken: u64) -> Option<u64> {
        let Side::Worker { worker, .. } = &self.side else { return None };
        let is_so = |report: &WorkerReport| report.binding.as_ref().is_some_and(|binding| binding.messages_in == taken);
        worker.until("every message", is_so).await.binding.map(|binding| binding.redelivered)
    }

    /// Ends this side as a pod's end does, by SIGTERM.
    pub async fn stop(self) {
        match self.side {
            Side::Daprd { mut process, .. } => {
                Command::new("kill").arg(process.id().to_string()).status().unwrap();
                let began = Instant::now();
                while process.try_wait().unwrap().is_none() {
                    if began.elapsed() > Duration::from_secs(20) {
                        process.kill().unwrap();
                        process.wait().unwrap();
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            Side::Worker { worker, .. } => {
                let took = worker.stop().await;
                assert!(took < Duration::from_secs(30), "drained in {took:?}");
            }
        }
    }
}
