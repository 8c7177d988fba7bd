//! A Java RocketMQ on this machine, for manifests that have none to talk to. It is started and stopped by the scripts that
//! also start the brokers of the tests; they fetch RocketMQ with Maven the first time.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::sync::mpsc;

use super::error::{Error, Result};

/// Lines of a failed script that its error shows.
const KEPT_LINES: usize = 5;

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JavaBroker {
    /// Folder with `install.sh`, `up.sh` and `down.sh`.
    pub scripts: PathBuf,
    /// Version of RocketMQ.
    pub version: String,
    /// Port of the name server; the broker's ports follow it.
    pub port: u16,
}

/// A broker that this process has started.
#[derive(Debug)]
pub struct RunningBroker {
    scripts: PathBuf,
    instance: String,
    /// Its name server.
    pub name_server: String,
}

impl JavaBroker {
    /// Starts a name server and a broker; returns when the broker has registered itself.
    ///
    /// # Errors
    /// A script is missing or failed; the error holds its last lines.
    pub async fn start(&self, progress: impl Fn(&str)) -> Result<RunningBroker> {
        let instance = format!("dev-{}", self.port);
        progress(&format!("RocketMQ {}: fetching it if it is not here yet (about 100 MB, once)", self.version));
        run(&self.scripts, "install.sh", &[&self.version], &instance, &progress).await?;
        progress(&format!("RocketMQ {}: starting a name server and a broker (10 to 30 s)", self.version));
        let port = self.port.to_string();
        run(&self.scripts, "up.sh", &[&self.version, "plain", &port], &instance, &progress).await?;
        Ok(RunningBroker { scripts: self.scripts.clone(), instance, name_server: format!("127.0.0.1:{port}") })
    }
}

impl RunningBroker {
    /// Stops the broker and its name server; the store stays until the next start.
    ///
    /// # Errors
    /// The script failed.
    pub async fn stop(self) -> Result<()> {
        run(&self.scripts, "down.sh", &[&self.instance], &self.instance, &|_: &str| {}).await
    }
}

/// Runs a script to its end; `progress` sees each line that it prints.
async fn run(folder: &Path, script: &str, arguments: &[&str], instance: &str, progress: &impl Fn(&str)) -> Result<()> {
    let path = folder.join(script);
    if !path.is_file() {
        let remedy = "run in the project's folder, or name the folder with --broker-scripts";
        return Err(Error::Broker(format!("{} does not exist; {remedy}", path.display())));
    }
    let failed = |why: String| Error::Broker(format!("{}: {why}", path.display()));
    let mut command = Command::new("sh");
    // One pipe for both streams, so that their lines stay in order.
    command.arg("-c").arg("exec \"$0\" \"$@\" 2>&1").arg(&path).args(arguments);
    command.env("INSTANCE", instance).env("PROXY", "none").stdin(Stdio::null()).stdout(Stdio::piped());
    // A process group of its own: Ctrl-C must not reach the servers that the script starts.
    let mut child = command.process_group(0).spawn().map_err(|error| failed(error.to_string()))?;
    let (lines, mut printed) = mpsc::channel(16);
    let output = child.stdout.take();
    let end = tokio::task::spawn_blocking(move || {
        for line in output.into_iter().flat_map(|output| BufReader::new(output).lines().map_while(io::Result::ok)) {
            // The receiver is gone when nobody wants to know any more; the script goes on to its end.
            let _ = lines.blocking_send(line);
        }
        child.wait()
    });
    let mut last = VecDeque::new();
    while let Some(line) = printed.recv().await {
        progress(&line);
        if last.len() == KEPT_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    let status = end.await.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    if status.success() { Ok(()) } else { Err(failed(format!("ended with {status}: {}", Vec::from(last).join(" / ")))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_script_names_the_flag() {
        let broker = JavaBroker { scripts: PathBuf::from("nowhere"), version: "5.4.0".into(), port: 1 };
        let error = broker.start(|_| {}).await.unwrap_err().to_string();
        assert!(error.contains("nowhere/install.sh") && error.contains("--broker-scripts"), "{error}");
    }
}
