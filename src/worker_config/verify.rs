//! Verification of a sync: what is asked for, and what it came to.

use serde::{Deserialize, Serialize};

use super::report::ReportedError;

/// How a sync compares source and target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerifyConfig {
    /// Milliseconds between two runs; none means on demand only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_millis: Option<u64>,
    /// How many milliseconds back a run on demand looks; none means to where the worker began. Tables of a database are compared
    /// whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_millis: Option<u64>,
    /// Most differences that are listed; all are counted.
    pub max_reported: u32,
}

/// What runs came to: those since the newest order, or since the worker began. Of a database as source, what the newest one did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyReport {
    /// Whether a run is under way.
    pub is_running: bool,
    /// When the newest run ended, milliseconds since the Unix epoch; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at_millis: Option<i64>,
    /// Milliseconds that it took.
    pub duration_millis: u64,
    /// Runs that these figures are of.
    pub runs: u64,
    /// The broker's time of the oldest message that was compared, or when the tables of a database began to be; milliseconds since
    /// the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_millis: Option<i64>,
    /// The broker's time of the newest one, or when the comparison of tables ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_millis: Option<i64>,
    /// Figures.
    pub counts: VerifyCounts,
    /// Differences, as many as are listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Whether the source holds more than one run compares: the rest comes with the next run.
    #[serde(default)]
    pub is_cut: bool,
    /// Why the newest run did not come to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ReportedError>,
}

/// Figures of a verification: messages, and at a table or of a database rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyCounts {
    /// Messages in the window of the source; rows of its tables.
    pub source: u64,
    /// At the target because of this sync, out of that window; of a table also rows that are deleted as they should be.
    pub target: u64,
    /// Messages left out by filters, the loop guard, or as invalid: not expected at the target.
    pub left_out: u64,
    /// Not at the target.
    pub missing: u64,
    /// At the target as if from this sync, but not in the source; rows that should have been deleted.
    pub extra: u64,
    /// At the target with another content than they should have.
    pub different: u64,
    /// At the target more than once; repetitions are no difference.
    pub duplicates: u64,
    /// Rows of which the messages of the window do not tell what they should be.
    #[serde(default)]
    pub undecided: u64,
}

impl VerifyCounts {
    /// Whether source and target differ in more than repetitions.
    #[must_use]
    pub fn has_differences(&self) -> bool {
        self.missing + self.extra + self.different > 0
    }

    /// Adds the figures of another window.
    pub fn add(&mut self, other: &Self) {
        let Self { source, target, left_out, missing, extra, different, duplicates, undecided } = other;
        self.source += source;
        self.target += target;
        self.left_out += left_out;
        self.missing += missing;
        self.extra += extra;
        self.different += different;
        self.duplicates += duplicates;
        self.undecided += undecided;
    }
}

/// A difference between source and target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What is wrong.
    pub kind: Difference,
    /// Keys of the message, or its id when it has none; of a row its key, `column=value`.
    pub key: String,
    /// Id of the message; of a row, of the last message about it.
    pub id: String,
    /// Where it stands: in the source, or in the target topic when it is extra.
    pub place: String,
    /// The target topic or table.
    pub topic: String,
    /// Columns of a row that hold something else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Difference {
    /// The target does not have it.
    Missing,
    /// The target has it with another content.
    Different,
    /// The source does not have it.
    Extra,
}

impl VerifyReport {
    /// Adds another worker's report to this one.
    pub fn add(&mut self, other: &Self) {
        self.is_running |= other.is_running;
        self.finished_at_millis = self.finished_at_millis.max(other.finished_at_millis);
        self.duration_millis = self.duration_millis.max(other.duration_millis);
        self.runs = self.runs.max(other.runs);
        self.from_millis = self.from_millis.into_iter().chain(other.from_millis).min();
        self.to_millis = self.to_millis.max(other.to_millis);
        self.counts.add(&other.counts);
        self.findings.extend(other.findings.iter().cloned());
        self.is_cut |= other.is_cut;
        self.error = self.error.take().or_else(|| other.error.clone());
    }
}
