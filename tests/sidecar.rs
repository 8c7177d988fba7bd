//! The worker as a sidecar: the sample's configuration is read and runs by `worker --config`, as docs/sidecar.md says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rocketmq_connector::worker_config::{Role, WorkerConfig};

const SAMPLE: &str = include_str!("../config/samples/sidecar/worker.json");

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
fn the_sample_runs_with_addresses_of_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let (admin, api) = (free_port(), free_port());
    let mut config = WorkerConfig::from_json(SAMPLE).unwrap();
    (config.admin.host, config.admin.port) = ("127.0.0.1".to_owned(), admin);
    let Role::Binding(binding) = &mut config.role else { panic!("the sample is no binding") };
    assert!(binding.input.is_some() && binding.output.is_some());
    // Nobody answers there: a worker waits, and its API tells.
    binding.cluster.name_servers = vec![format!("127.0.0.1:{}", free_port())];
    let credentials = binding.cluster.credentials.as_mut().unwrap();
    for (path, name) in [(&mut credentials.access_key, "accessKey"), (&mut credentials.secret_key, "secretKey")] {
        assert_eq!(*path, format!("/etc/rocketmq-connector/credentials/{name}"));
        *path = folder.path().join(name).to_string_lossy().into_owned();
        std::fs::write(&*path, "change-me").unwrap();
    }
    let output = binding.output.as_mut().unwrap();
    (output.http_port, output.grpc_port) = (api, 0);
    let file = folder.path().join("worker.json");
    std::fs::write(&file, config.to_json().unwrap()).unwrap();

    let program = env!("CARGO_BIN_EXE_rocketmq-connector");
    let child = Command::new(program).args(["worker", "--config"]).arg(&file).stderr(Stdio::null()).spawn().unwrap();
    let _running = Running(child);
    let started = Instant::now();
    let answer = loop {
        if let Some(answer) = get(admin, "/healthz").filter(|answer| answer.contains(" 200 ")) {
            break answer;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "the worker does not answer");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(get(api, "/v1.0/healthz").unwrap().contains(" 204 "));
    assert!(get(admin, "/status").unwrap().contains("\"name\":\"orders\""));
    assert!(get(admin, "/readyz").unwrap().contains(" 503 "));
}

#[test]
fn a_slip_in_the_configuration_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("worker.json");
    std::fs::write(&file, SAMPLE.replace("\"retries\"", "\"retrys\"")).unwrap();
    let program = env!("CARGO_BIN_EXE_rocketmq-connector");
    let output = Command::new(program).args(["worker", "--config"]).arg(&file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("unknown field `retrys`") && text.contains("line"), "{text}");
}
