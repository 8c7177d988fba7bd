//! Servers that a case may break: a name server and a broker a version, on ports of their own, started by the first case that
//! needs them and ended with the suite. The shared ones serve the other cases meanwhile.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;
use rocketmq_connector::rocketmq::wire::Command as Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::harness::{Context, Failure, Instance, Outcome};

const GET_MAX_OFFSET: i16 = 30;
/// Brokers tell the name server where they are every 30 s by default, which a case would have to wait for.
const SETTINGS: &str = "autoCreateTopicEnable=false\nslaveReadEnable=true\nregisterNameServerPeriod=10000";

/// Instances that were started, to be ended.
static STARTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A name server with a broker, and perhaps a replica.
pub struct Cluster {
    pub context: Context,
    version: &'static str,
    port: u16,
}

fn folder() -> Result<PathBuf, Failure> {
    Ok(PathBuf::from(std::env::var("ROCKETMQ_TEST_RUN")?))
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/rocketmq").join(name)
}

/// Runs `up.sh` with these variables.
async fn up(version: &str, variant: &str, port: u16, instance: &str, variables: &[(&str, &str)]) -> Outcome {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner).push(instance.to_owned());
    let mut command = tokio::process::Command::new(script("up.sh"));
    command.args([version, variant, &port.to_string()]).stdin(Stdio::null());
    command.env("INSTANCE", instance).env("PROXY", "none").envs(variables.iter().copied());
    let output = command.output().await?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("up.sh of {instance}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Ends every server that was started here.
pub fn stop() {
    let mut instances = std::mem::take(&mut *STARTED.lock().unwrap_or_else(PoisonError::into_inner));
    instances.sort();
    instances.dedup();
    if !instances.is_empty() {
        let _ = std::process::Command::new(script("down.sh")).args(instances).status();
    }
}

/// A TLS name server that takes no client without a certificate; returns its address.
pub async fn strict_name_server(context: &Context) -> Result<String, Failure> {
    let (version, port) = if context.instance.is_v4() { ("4.9.7", 18_460) } else { ("5.4.0", 28_460) };
    let instance = format!("{version}-strict");
    up(version, "tls", port, &instance, &[("WHAT", "ns"), ("TLS_CLIENT_AUTH", "require")]).await?;
    Ok(format!("127.0.0.1:{port}"))
}

/// The servers of the case's version, started when they do not run.
pub async fn cluster(context: &Context) -> Result<Cluster, Failure> {
    let (version, port, instance) =
        if context.instance.is_v4() { ("4.9.7", 18_400, "4.9.7-faults") } else { ("5.4.0", 28_400, "5.4.0-faults") };
    let known = STARTED.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|started| started == instance);
    if !known {
        up(version, "plain", port, instance, &[("BROKER_SETTINGS", SETTINGS)]).await?;
    }
    let cluster = Cluster { context: context.on(Instance::load(instance)?), version, port };
    // a case that failed may have left something down
    if !cluster.is_alive("name-server") {
        cluster.start("ns", &[]).await?;
    }
    if !cluster.is_alive("broker-a-0") {
        cluster.start("broker", &[]).await?;
    }
    Ok(cluster)
}

impl Cluster {
    /// Starts `ns` or `broker`, with further variables of `up.sh`, and waits until it can be used.
    pub async fn start(&self, what: &str, variables: &[(&str, &str)]) -> Outcome {
        let all = [&[("WHAT", what), ("BROKER_SETTINGS", SETTINGS)], variables].concat();
        up(self.version, "plain", self.port, self.context.instance.name, &all).await
    }

    /// Starts the broker where nobody has seen it before.
    pub async fn start_moved(&self) -> Outcome {
        self.start("broker", &[("BROKER_PORT", &(self.port + 31).to_string())]).await
    }

    /// Starts a replica of the broker and returns its address.
    pub async fn start_replica(&self) -> Result<String, Failure> {
        self.start("broker", &[("BROKER_ID", "1"), ("BROKER_ROLE", "SLAVE")]).await?;
        Ok(format!("127.0.0.1:{}", self.port + 41))
    }

    /// SIGKILL to `name-server`, `broker-a-0` or `broker-a-1`.
    pub fn kill(&self, part: &str) -> Outcome {
        let pid = self.pid(part)?;
        let killed = std::process::Command::new("kill").args(["-9", &pid]).status()?;
        if killed.success() { Ok(()) } else { Err(format!("{part} with process id {pid} could not be killed").into()) }
    }

    fn pid(&self, part: &str) -> Result<String, Failure> {
        let file = folder()?.join(self.context.instance.name).join(part).join("pid");
        Ok(std::fs::read_to_string(file)?.trim().to_owned())
    }

    fn is_alive(&self, part: &str) -> bool {
        // the command line of one that is dead and not yet waited for is empty
        self.pid(part).is_ok_and(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|text| !text.is_empty()))
    }

    /// Whether the replica has been told of a topic.
    pub fn replica_knows(&self, topic: &str) -> Result<bool, Failure> {
        let file = folder()?.join(self.context.instance.name).join("broker-a-1/store/config/topics.json");
        Ok(std::fs::read_to_string(file).is_ok_and(|text| text.contains(topic)))
    }
}

/// Offset of the next message of a queue, asked of one broker, whatever routes say.
pub async fn max_offset(address: &str, topic: &str, queue_id: i32) -> Result<i64, Failure> {
    let mut stream = TcpStream::connect(address).await?;
    let mut bytes = BytesMut::new();
    Frame::request(GET_MAX_OFFSET).with("topic", topic).with("queueId", queue_id).encode(&mut bytes);
    stream.write_all(&bytes).await?;
    bytes.clear();
    loop {
        if let Some(answer) = Frame::decode(&mut bytes)? {
            return Ok(answer.number("offset").unwrap_or(-1));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(format!("{address} closed the connection").into());
        }
    }
}
