//! The two sides: a daprd and a binding worker, each started from one and the same Dapr component.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rocketmq_connector::convert::{self, app::Address};
use rocketmq_connector::dev::files::PrivateFolder;
use rocketmq_connector::dev::manifest;
use rocketmq_connector::dev::plan::{Overrides, plan};
use rocketmq_connector::dev::resources::Resources;
use rocketmq_connector::dev::schema::Schemas;
use rocketmq_connector::worker::Worker;
use rocketmq_connector::worker_config::Role;
use rocketmq_connector::worker_config::report::WorkerState;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::worker_support::TestWorker;

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

/// A side that runs.
pub struct Running {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    side: Side,
}

enum Side {
    Daprd { process: Child, folder: TempDir },
    Worker { worker: TestWorker, _folder: PrivateFolder },
}

/// A component of this name as JSON, which is YAML too.
fn component(name: &str, fields: &[(&str, &str)]) -> String {
    let items: Vec<_> = fields.iter().map(|(name, value)| serde_json::json!({"name": name, "value": value})).collect();
    let spec = serde_json::json!({"type": "bindings.rocketmq", "version": "v1", "metadata": items});
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
        match self {
            Self::Daprd(program) => start_daprd(program, fields, app).await,
            Self::Worker => start_worker(fields, app).await,
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn start_daprd(program: &str, fields: &[(&str, &str)], app: Option<AppAt>) -> Result<Running, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("components")).unwrap();
    std::fs::write(folder.path().join("components/rmq.yaml"), component("rmq", fields)).unwrap();
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
    if let Some(app) = app {
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
        if is_healthy(address(http)).await {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "daprd is not healthy: {}", last_words(folder.path()));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(Running { http: address(http), grpc: address(grpc), side: Side::Daprd { process, folder } })
}

/// Whether daprd serves; it may also end at any moment.
async fn is_healthy(address: SocketAddr) -> bool {
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(b"GET /v1.0/healthz/outbound HTTP/1.1\r\nHost: daprd\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer.starts_with(b"HTTP/1.1 204"))
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

async fn start_worker(fields: &[(&str, &str)], app: Option<AppAt>) -> Result<Running, String> {
    let schemas = Schemas::load().unwrap();
    let parsed = |text: &str| manifest::parse(Path::new("rmq.yaml"), text).unwrap();
    let options = convert::Options {
        app: app.map(|app| Address::Url(format!("{}://{}", if app.is_grpc { "grpc" } else { "http" }, app.address))),
        is_grpc_app: app.map(|app| app.is_grpc),
        ..convert::Options::default()
    };
    let told = |error: rocketmq_connector::dev::error::Error| error.to_string();
    let converted = convert::convert(&parsed(&component("rmq", fields)), &options).map_err(told)?;
    let documents = parsed(&converted.manifests);
    let resources = Resources::collect(&documents, &schemas).map_err(|mistakes| format!("{mistakes:?}"))?;
    let folder = PrivateFolder::create().unwrap();
    let mut planned = plan(&resources, &Overrides::default(), &folder).map_err(told)?;
    let mut config = planned.remove(0).config?;
    config.admin.port = 0;
    if let Role::Binding(binding) = &mut config.role
        && let Some(output) = &mut binding.output
    {
        (output.http_port, output.grpc_port) = (0, 0);
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
    Ok(Running { http, grpc, side: Side::Worker { worker, _folder: folder } })
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
                worker.stop().await;
            }
        }
    }
}
