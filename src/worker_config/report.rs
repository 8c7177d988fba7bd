//! What a worker reports about itself on `GET /status`.
//!
//! `GET /status?after=<revision>&waitSeconds=<n>` answers at once when the report's revision is greater than `after`, else
//! when it changes or the wait (at most 60 s) is over: the operator polls without a request per second and without delay.
//! The revision changes when something an operator should act on changes (state, conditions, last error) and otherwise at
//! most every ten seconds for the counters.

use serde::{Deserialize, Serialize};

use super::Identity;

/// A worker's report. Counters count from the start of the process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerReport {
    /// Rises with every reported change; restarts at 1 with the process.
    pub revision: u64,
    /// The custom resource served.
    pub identity: Identity,
    /// Version of the program.
    pub program_version: String,
    /// Milliseconds since the Unix epoch at which the process started.
    pub started_at_millis: i64,
    /// What the worker is doing.
    pub state: WorkerState,
    /// One sentence that explains [`state`](Self::state) when it is not `Running`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Messages and failures of a binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<BindingReport>,
    /// Result of testing a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionReport>,
    /// The newest failure, kept after it has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<ReportedError>,
    /// What does not keep the worker from working and should be looked at, at most one for each reason of [`warnings`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<ReportedError>,
}

/// Reasons of [`WorkerReport::warnings`].
pub mod warnings {
    /// Changed credentials were refused; the earlier ones stay in use.
    pub const CREDENTIALS_REFUSED: &str = "CredentialsRefused";
    /// Another member of the consumer group subscribes to other topics or with other expressions.
    pub const FOREIGN_SUBSCRIPTION: &str = "ForeignSubscription";
}

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerState {
    /// Connecting; nothing has failed yet.
    Starting,
    /// Working.
    Running,
    /// Not working because something outside is missing or wrong; it keeps trying.
    Failing,
    /// Finishing what is in flight before it exits.
    Draining,
}

/// Counters of a binding.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BindingReport {
    /// Messages that the app has taken (answered 2xx) and that were acknowledged.
    pub messages_in: u64,
    /// Messages that the broker has stored for callers of the API.
    pub messages_out: u64,
    /// Deliveries and publications that failed.
    pub failed: u64,
    /// Failed deliveries that were handed back for redelivery.
    pub redelivered: u64,
    /// Messages that were moved to the dead-letter topic.
    pub dead_lettered: u64,
    /// Messages in delivery now.
    pub in_flight: u64,
    /// Messages stored for this worker's queues that it has not acknowledged; none until known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// Queues that this worker reads.
    pub queues: u32,
}

/// Result of testing a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionReport {
    /// Milliseconds since the Unix epoch of the end of the newest test; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tested_at_millis: Option<i64>,
    /// Items in the order in which they were tried.
    #[serde(default)]
    pub items: Vec<TestItem>,
    /// Version that the brokers report, for instance `V5_4_0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// Number of brokers that the name servers list.
    pub brokers: u32,
    /// Number of topics that are not system topics.
    pub topics: u32,
}

/// One item of a connection test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestItem {
    /// What was tested, for instance `NameServerReachable`.
    pub name: String,
    /// How it went.
    pub result: TestResult,
    /// What was tried and what came back.
    pub message: String,
    /// What to do about it; empty when it passed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// Milliseconds that it took.
    pub duration_millis: u64,
}

/// How a test item went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TestResult {
    /// As it should be.
    Passed,
    /// Usable, but something should be looked at.
    Warning,
    /// Not usable.
    Failed,
    /// Not tried, because an earlier item failed.
    Skipped,
}

/// A failure with its remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedError {
    /// Milliseconds since the Unix epoch.
    pub at_millis: i64,
    /// CamelCase reason, usable as a condition's reason.
    pub reason: String,
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}
