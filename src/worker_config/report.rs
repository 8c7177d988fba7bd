//! What a worker reports about itself on `GET /status`.
//!
//! `GET /status?after=<revision>&waitSeconds=<n>` answers at once when the report's revision is greater than `after`, else
//! when it changes or the wait (at most 60 s) is over: the operator polls without a request per second and without delay.
//!
//! The same request carries the operator's [`Instructions`], with every poll, so that a worker that restarts has them again.
//! The revision changes when something an operator should act on changes (state, conditions, last error) and otherwise at
//! most every ten seconds for the counters.

use serde::{Deserialize, Serialize};

use super::Identity;
use super::verify::VerifyReport;

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
    /// Records and failures of a sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncReport>,
    /// What comparing the source and target of a sync came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifyReport>,
    /// Result of testing a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionReport>,
    /// Models of a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<ModelsReport>,
    /// Heartbeat of a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<HeartbeatReport>,
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
    /// Topics that a sync finds by pattern become one at its target, or are more than it reads.
    pub const TOPIC_CONFLICT: &str = "TopicConflict";
}

/// What the operator tells a worker with every poll: what need not restart the pod. Values other than numbers
/// are opaque words of hexadecimal digits; another word than the one before is an order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instructions {
    /// Another word asks for a test now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// Another word asks for a load of the models now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_models: Option<String>,
    /// Another word asks for a comparison of source and target now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<String>,
    /// Bindings and syncs that use the connection and run; none when that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<u32>,
}

impl Instructions {
    /// The part of the poll's query that carries them, with a leading `&` for each.
    #[must_use]
    pub fn to_query(&self) -> String {
        let users = self.users.map(|users| users.to_string());
        let fields = [
            ("test", self.test.clone()),
            ("loadModels", self.load_models.clone()),
            ("verify", self.verify.clone()),
            ("users", users),
        ];
        fields.into_iter().filter_map(|(name, value)| Some(format!("&{name}={}", value?))).collect()
    }
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

/// Counters of a sync.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncReport {
    /// Records read from the source.
    pub read: u64,
    /// Records that the target has durably because of this worker.
    pub written: u64,
    /// Records that the target had already, so that they were not written again.
    pub repeated: u64,
    /// Records that may be at the target twice: their first write ended without an answer.
    pub resent: u64,
    /// Records left out by a filter, the loop guard or the write policy.
    pub left_out: u64,
    /// Invalid records that were skipped.
    pub skipped: u64,
    /// Invalid records that were moved to the dead-letter topic.
    pub dead_lettered: u64,
    /// Writes of a batch that failed and were tried again.
    pub failed_writes: u64,
    /// Records read and not yet acknowledged to the source.
    pub in_flight: u64,
    /// Records that wait at the source; none until known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// Milliseconds from the source's time of the record acknowledged last to its acknowledgement; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_millis: Option<u64>,
    /// The heartbeat of the source's connection that came through last, or one that is still on its way and has been for longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<BeatReport>,
    /// Records read a second, over the last ten seconds.
    pub read_rate: f64,
    /// Records written a second, over the last ten seconds.
    pub write_rate: f64,
    /// Queues or replication streams that this worker reads.
    pub partitions: u32,
    /// When records were acknowledged to the source last, milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_at_millis: Option<i64>,
    /// Progress of each table that is read in full.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableProgress>,
}

/// A heartbeat that goes through a sync.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BeatReport {
    /// Milliseconds since the Unix epoch at which it was written.
    pub written_at_millis: i64,
    /// Milliseconds from then until everything that was read before it was acknowledged, or until now.
    pub delay_millis: u64,
}

/// How far the reading of a table in full has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableProgress {
    /// Name of the table.
    pub table: String,
    /// Rows read.
    pub rows: u64,
    /// Rows that the database expects, by its own statistics; none until known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_rows: Option<u64>,
    /// Whether all rows were read.
    pub is_complete: bool,
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
    /// Not tried: an earlier item failed, or there is nothing to try. The message says which.
    Skipped,
}

/// How far the models of a connection are loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelsReport {
    /// Changes when a model changes; empty before the first load.
    pub revision: String,
    /// Models of the newest load that came to its end.
    pub count: u32,
    /// Models of which the topic could not be looked at.
    pub failed: u32,
    /// Models that the load before did not have.
    pub added: u32,
    /// Models that the newest load does not have any more.
    pub removed: u32,
    /// Models with other fields or another format than before.
    pub changed: u32,
    /// Milliseconds since the Unix epoch of the end of the newest load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded_at_millis: Option<i64>,
    /// Milliseconds that it took.
    pub duration_millis: u64,
    /// Milliseconds since the Unix epoch of the next load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at_millis: Option<i64>,
    /// Topics looked at and topics in all, while a load is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<(u32, u32)>,
    /// Why the newest load came to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ReportedError>,
}

/// The heartbeat of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatReport {
    /// What it is doing.
    pub state: HeartbeatState,
    /// Milliseconds since the Unix epoch at which it came into this state.
    pub since_millis: i64,
    /// Milliseconds since the Unix epoch at which the newest heartbeat came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_beat_millis: Option<i64>,
    /// Milliseconds from sending the newest heartbeat to reading it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_millis: Option<u64>,
    /// Why none comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ReportedError>,
}

/// What a heartbeat is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeartbeatState {
    /// Nothing uses the connection.
    #[default]
    Stopped,
    /// Something uses the connection; no heartbeat has come back yet.
    Starting,
    /// Heartbeats come back.
    Beating,
    /// None has come back for six intervals.
    Missing,
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
