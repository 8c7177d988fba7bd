//! Workers: processes of their own, in the namespace where there is one.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use axum::http::Method;
use rocketmq_connector::worker_config::report::SyncReport;
use rocketmq_connector::worker_config::{AdminConfig, Role, SyncConfig, WorkerConfig, WorkerReport};

use super::net::{Net, Side};
use super::worker_support::{memory_kib, send, unique, worker_config};

/// The program of the workers: `FAULTS_WORKER`, or what was compiled with this test.
fn program() -> PathBuf {
    std::env::var_os("FAULTS_WORKER").map_or_else(|| env!("CARGO_BIN_EXE_rocketmq-connector").into(), PathBuf::from)
}

/// Whether the program is as users run it: one that is named is taken for such a one.
pub fn is_release() -> bool {
    std::env::var_os("FAULTS_WORKER").is_some() || !cfg!(debug_assertions)
}

/// A folder of the run: `workers` has the ids of those that run, for `clean.sh`, and their configurations; `logs` is kept.
pub fn folder(name: &str) -> PathBuf {
    let run = std::env::var("FAULTS_RUN").expect("FAULTS_RUN should name the folder of the run");
    let folder = PathBuf::from(run).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A process, killed with SIGKILL when it is dropped.
pub struct Worker {
    process: Child,
    note: PathBuf,
    admin: SocketAddr,
}

impl Worker {
    /// Starts a worker whose configuration is in `files`, and which adds to `log`.
    pub fn start(config: &SyncConfig, files: &Path, log: &Path, is_apart: bool) -> Self {
        let port = free_port();
        let (host, address) = if is_apart {
            ("0.0.0.0", Net::worker_address(Side::Target))
        } else {
            ("127.0.0.1", "127.0.0.1".to_owned())
        };
        let admin = AdminConfig { host: host.to_owned(), port };
        let config = WorkerConfig { admin, ..worker_config(Role::Sync(Box::new(config.clone()))) };
        let path = files.join(format!("{}.json", unique("worker")));
        std::fs::write(&path, config.to_json().unwrap()).unwrap();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut command = if is_apart { Net::command(&program()) } else { Command::new(program()) };
        command.args(["worker", "--config"]).arg(&path).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().unwrap();
        let note = folder("workers").join(format!("{}.pid", process.id()));
        std::fs::write(&note, "").unwrap();
        Self { process, note, admin: format!("{address}:{port}").parse().unwrap() }
    }

    /// SIGTERM, and waits for the end.
    pub fn drain(mut self) {
        assert!(Command::new("kill").arg(self.process.id().to_string()).status().unwrap().success());
        self.process.wait().unwrap();
    }

    /// Resident memory in MiB.
    pub fn resident(&self) -> f64 {
        memory_kib(self.process.id(), "VmRSS") as f64 / 1024.0
    }

    /// What it says of itself.
    pub async fn report(&self) -> SyncReport {
        let answer = send(Method::GET, &format!("http://{}/status", self.admin), &[], Vec::new()).await;
        serde_json::from_str::<WorkerReport>(&answer.body).unwrap().sync.unwrap_or_default()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.note);
    }
}

/// A port that nobody has, below those that the kernel gives to connections.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(18_000);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
