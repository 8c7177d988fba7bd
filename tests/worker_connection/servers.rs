//! Name servers of a test's own: what the shared ones must not show.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::BytesMut;
use rocketmq_connector::rocketmq::wire::Command as Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Request code of a broker that registers itself (`RequestCode.REGISTER_BROKER`).
const REGISTER_BROKER: i16 = 103;

fn script(name: &str) -> Command {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/rocketmq").join(name);
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    command
}

fn run(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A real name server without a broker.
pub struct NameServer {
    instance: String,
    pub address: String,
    _certificates: Option<tempfile::TempDir>,
}

impl NameServer {
    pub fn start(variant: &str, port: u16, certificates: Option<tempfile::TempDir>) -> Self {
        let instance = format!("connection-{variant}-{port}");
        let mut command = script("up.sh");
        command.args(["5.4.0", variant, &port.to_string()]);
        command.env("INSTANCE", &instance).env("WHAT", "ns").env("BIND_ADDRESS", "127.0.0.1");
        if let Some(folder) = &certificates {
            command.env("CERTIFICATES", folder.path());
        }
        run(command);
        Self { instance, address: format!("127.0.0.1:{port}"), _certificates: certificates }
    }

    /// One that serves a certificate which has expired.
    pub fn with_expired_certificate(port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = script("expired.sh");
        command.arg(folder.path());
        run(command);
        Self::start("tls", port, Some(folder))
    }

    /// Registers a broker that advertises `address`, for as long as the connection that is returned stays open.
    pub async fn register(&self, broker: &str, address: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = Frame::request(REGISTER_BROKER)
            .with("brokerName", broker)
            .with("brokerAddr", address)
            .with("clusterName", "DefaultCluster")
            .with("haServerAddr", address)
            .with("brokerId", 0)
            .with("compressed", false)
            .with("bodyCrc32", 0);
        let mut frame = BytesMut::new();
        request.encode(&mut frame);
        stream.write_all(&frame).await.unwrap();
        let mut answer = BytesMut::new();
        let read = async {
            loop {
                stream.read_buf(&mut answer).await.unwrap();
                if let Some(answer) = Frame::decode(&mut answer).unwrap() {
                    return answer;
                }
            }
        };
        let answer = tokio::time::timeout(Duration::from_secs(20), read).await.unwrap();
        assert_eq!(answer.code, 0, "{}", answer.remark);
        stream
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let mut command = script("down.sh");
        command.arg(&self.instance);
        let _ = command.output();
    }
}
