//! The official SDKs as processes, driven by lines of JSON. `tests/mq_http_sdk/install.sh` installs them.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::server::{ACCESS_KEY, INSTANCE, SECRET_KEY, Server};
use super::worker_support::cache;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mq_http_sdk");
/// Longest time until a command is answered.
const LIMIT: Duration = Duration::from_secs(60);

/// The folder of an installed SDK.
fn installed(language: &str) -> PathBuf {
    let folder = cache().join("mq-http-sdk").join(language);
    let hint = format!("run tests/mq_http_sdk/install.sh {language}: {} is missing", folder.display());
    assert!(folder.join(".complete").exists(), "{hint}");
    folder
}

/// A running SDK.
pub struct Sdk {
    _process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Sdk {
    pub fn python(server: &Server) -> Self {
        let mut command = Command::new(installed("python").join("bin/python"));
        command.arg(format!("{SOURCES}/python/peer.py"));
        Self::start(command, server, None)
    }

    pub fn javascript(server: &Server) -> Self {
        Self::javascript_with(server, None)
    }

    /// With a token of temporary credentials.
    pub fn javascript_with(server: &Server, token: Option<&str>) -> Self {
        let mut command = Command::new("node");
        command.arg(format!("{SOURCES}/javascript/peer.js"));
        command.env("NODE_PATH", installed("javascript").join("node_modules"));
        Self::start(command, server, token)
    }

    fn start(mut command: Command, server: &Server, token: Option<&str>) -> Self {
        command
            .env("ENDPOINT", server.endpoint())
            .env("ACCESS_KEY", ACCESS_KEY)
            .env("SECRET_KEY", SECRET_KEY)
            .env("SECURITY_TOKEN", token.unwrap_or_default())
            .env("INSTANCE", INSTANCE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { input: process.stdin.take().unwrap(), output, _process: process }
    }

    /// The answer to a command: `result`, or `error`.
    pub async fn call(&mut self, call: &str, mut arguments: Value) -> Value {
        arguments["call"] = json!(call);
        self.input.write_all(format!("{arguments}\n").as_bytes()).await.unwrap();
        let line = tokio::time::timeout(LIMIT, self.output.next_line()).await.unwrap().unwrap();
        serde_json::from_str(&line.expect("the SDK ended")).unwrap()
    }

    /// The result of a command that succeeds.
    pub async fn result(&mut self, call: &str, arguments: Value) -> Value {
        let answer = self.call(call, arguments).await;
        assert!(answer.get("error").is_none(), "{call}: {answer}");
        answer["result"].clone()
    }
}
