//! Runs planned workers in this process and shows how they do.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::{Error, Result};
use super::plan::Planned;
use super::resources::Key;
use super::table::{self, Row};
use crate::worker::Worker;
use crate::worker::report::Reporter;

/// Time between two looks at the reports.
const REFRESH: Duration = Duration::from_secs(1);

/// A resource and its worker, when it has one.
struct Entry {
    kind: String,
    key: Key,
    reporter: std::result::Result<Reporter, String>,
}

/// Running workers.
pub struct Workers {
    entries: Vec<Entry>,
    workers: Vec<(String, Worker)>,
}

impl Workers {
    /// Starts a worker for each planned resource that has one. All stop when `token` is cancelled.
    ///
    /// # Errors
    /// One of them could not be started: the others are stopped.
    pub async fn start(planned: Vec<Planned>, token: &CancellationToken) -> Result<Self> {
        let (mut entries, mut workers) = (Vec::new(), Vec::new());
        for Planned { kind, key, config } in planned {
            let reporter = match config {
                Ok(config) => {
                    let subject = format!("{kind} {}/{}", key.0, key.1);
                    let started = Worker::start(config, token.clone()).await;
                    let worker = started.map_err(|source| {
                        token.cancel();
                        Error::Worker { subject: subject.clone(), source }
                    })?;
                    let reporter = worker.reporter().clone();
                    workers.push((subject, worker));
                    Ok(reporter)
                }
                Err(why) => Err(why),
            };
            entries.push(Entry { kind, key, reporter });
        }
        Ok(Self { entries, workers })
    }

    /// Address of the API of the binding `name`, when it has one.
    #[must_use]
    pub fn api_address(&self, name: &str) -> Option<SocketAddr> {
        let of_name = |subject: &str| subject.rsplit('/').next() == Some(name);
        self.workers.iter().find(|(subject, _)| of_name(subject)).and_then(|(_, worker)| worker.api_address())
    }

    /// One line for each address that a user may want to call.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let lines = self.workers.iter().flat_map(|(subject, worker)| {
            let name = subject.rsplit('/').next().unwrap_or_default();
            let api =
                worker.api_address().map(|address| format!("{subject}: POST http://{address}/v1.0/bindings/{name}"));
            let admin = format!("{subject}: http://{}/status and /metrics", worker.admin_address());
            let grpc = worker.grpc_address().map(|address| format!("{subject}: Dapr's gRPC API at {address}"));
            api.into_iter().chain(grpc).chain([admin])
        });
        lines.collect()
    }

    /// The table as it is now.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let row = |entry: &Entry| Row {
            kind: entry.kind.clone(),
            name: format!("{}/{}", entry.key.0, entry.key.1),
            report: entry.reporter.as_ref().map(|reporter| Box::new(reporter.current())).map_err(Clone::clone),
        };
        self.entries.iter().map(row).collect()
    }

    /// Shows the table until `token` is cancelled: redrawn in place on a terminal, else printed when it has changed.
    ///
    /// # Errors
    /// The output is closed.
    pub async fn watch(&self, token: &CancellationToken) -> io::Result<()> {
        let mut out = io::stdout();
        let mut shown = String::new();
        loop {
            let text = table::render(&self.rows());
            if text != shown {
                redraw(&mut out, &shown, &text)?;
                shown = text;
            }
            if token.run_until_cancelled(tokio::time::sleep(REFRESH)).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Waits until all workers have drained.
    ///
    /// # Errors
    /// A worker failed.
    pub async fn wait(self) -> Result<()> {
        let mut outcome = Ok(());
        for (subject, worker) in self.workers {
            let ended = worker.wait().await.map_err(|source| Error::Worker { subject, source });
            outcome = outcome.and(ended);
        }
        outcome
    }
}

fn redraw(out: &mut io::Stdout, shown: &str, text: &str) -> io::Result<()> {
    let lines = shown.lines().count();
    if out.is_terminal() && lines > 0 {
        // Up over what is shown, and clear from there to the end of the screen.
        write!(out, "\x1b[{lines}A\x1b[J")?;
    }
    out.write_all(text.as_bytes())?;
    out.flush()
}
