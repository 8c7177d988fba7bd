//! Whether the target of a sync holds what it should: what is asked for, and what it came to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::Duration;

/// Annotation that asks for a comparison of source and target when it is set to another value.
pub const VERIFY_ANNOTATION: &str = "connector.rocketmq.dev/verify";

/// How source and target are compared, over a closed window of the source: messages with the messages of the target topics, or with
/// the rows of the target tables; and the rows of a database as source, whole, with the last word of the target topics on each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.interval) || self.mode == 'Continuous'")
        .message("verify.interval goes with mode: Continuous").field_path(".interval"),
    validation = Rule::new("!has(self.interval) || duration(self.interval) >= duration('10s')")
        .message("verify.interval must be at least 10s").field_path(".interval"),
    validation = Rule::new("!has(self.window) || duration(self.window) >= duration('1s')")
        .message("verify.window must be at least 1s").field_path(".window")
)]
pub struct VerifySpec {
    /// OnDemand compares when the annotation connector.rocketmq.dev/verify gets another value; Continuous also at each interval: what
    /// has come since, and of a database everything.
    #[serde(default)]
    pub mode: VerifyMode,
    /// Time between two runs of Continuous; 10m without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// How far back a run on demand looks; without it, to where the worker began to read. Not for databases as source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Duration>,
    /// Most differences that the status lists; all are counted.
    #[serde(default = "default_max_reported")]
    #[schemars(range(min = 1, max = 500))]
    pub max_reported: i32,
}

const fn default_max_reported() -> i32 {
    20
}

/// When source and target are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum VerifyMode {
    /// When somebody asks for it.
    #[default]
    OnDemand,
    /// At an interval, and when somebody asks for it.
    Continuous,
}

/// What comparing came to: the runs since the newest order, or since the workers began; of a database as source, the newest run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifyStatus {
    /// Waiting, Running, Finished or Failed.
    pub state: String,
    /// When the newest run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<Time>,
    /// Milliseconds that it took.
    pub duration_millis: i64,
    /// The source's time of the oldest message that was compared; of a database as source, when the run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_start: Option<Time>,
    /// The source's time of the newest one; of a database as source, when the run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_end: Option<Time>,
    /// Messages in the window of the source; of a database as source, rows of its tables.
    pub source: i64,
    /// Of those, messages that the target holds as it should; of a table, the rows of those messages that are as they should be.
    pub target: i64,
    /// Of those, messages or rows that filters or the loop guard have left out, and invalid ones.
    pub left_out: i64,
    /// Messages that the target does not hold; rows that a table does not have, or whose topic has no message or says that they are gone.
    pub missing: i64,
    /// Messages that the target holds as if from this sync, and the source does not; rows that should have been deleted, or whose
    /// topic says that they are there, and whose table does not have them.
    pub extra: i64,
    /// Messages or rows that the target holds with another content.
    pub different: i64,
    /// Messages that the target holds more than once; no difference, since delivery is at least once.
    pub duplicates: i64,
    /// Rows of which the messages do not tell what they should be: because of the write policies or of their order, and of a database
    /// as source because they may be too old to have a message.
    #[serde(default)]
    pub undecided: i64,
    /// Whether the source holds more than one run compares; the rest comes with the next one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_cut: bool,
    /// Differences, as many as spec.verify.maxReported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<VerifyDifference>,
    /// Why the newest run did not come to its end, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A difference between source and target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifyDifference {
    /// Missing, Different or Extra.
    pub kind: String,
    /// Keys of the message, or its id when it has none; of a row its key, column=value.
    pub key: String,
    /// Id of the message; of a row, of the last message about it.
    pub id: String,
    /// Where it stands: in the source, or in the target topic when it is extra. Of a row of a database as source, its table and the
    /// last message about it.
    pub place: String,
    /// The target topic or table.
    pub topic: String,
    /// Columns of a row that hold something else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
}

// Serde asks for a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}
