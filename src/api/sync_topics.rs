//! How topics of the source become topics of the target.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The topic that a record goes to, by the one that it comes from: the name given for it, else what the pattern makes of it, else
/// its own name behind the prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.names) || has(self.pattern) || has(self.prefix)")
        .message("target.topicMapping needs names, pattern with replacement, or prefix"),
    validation = Rule::new("has(self.pattern) == has(self.replacement)")
        .message("target.topicMapping.pattern and replacement go together"),
    validation = Rule::new("!has(self.pattern) || !has(self.prefix)")
        .message("target.topicMapping: set pattern with replacement, or prefix, not both; a replacement may begin with the prefix")
)]
pub struct TopicMapping {
    /// Target topic by source topic.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 1000))]
    pub names: BTreeMap<String, String>,
    /// Regular expression over the whole name of the source topic; a topic that it does not match keeps its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub pattern: Option<String>,
    /// The target topic of a match; $1 or ${name} stands for a group of the pattern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub replacement: Option<String>,
    /// What stands in front of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub prefix: Option<String>,
}
