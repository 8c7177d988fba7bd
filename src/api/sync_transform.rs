//! The steps that a sync's records go through.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A step that each record goes through; exactly one field is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "[has(self.filter), has(self.map), has(self.rename), has(self.add), has(self.drop), has(self.cast), has(self.mask), \
      has(self.route)].filter(set, set).size() == 1")
    .message("each of transforms must have exactly one of filter, map, rename, add, drop, cast, mask and route; write one list entry for each step"))]
pub struct Transform {
    /// CEL expression over `record`; a record for which it is false is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub filter: Option<String>,
    /// Field to CEL expression over `record` that gives its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 256))]
    pub map: Option<BTreeMap<String, String>>,
    /// Old field name to new field name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 256))]
    pub rename: Option<BTreeMap<String, String>>,
    /// Field to constant text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 256))]
    pub add: Option<BTreeMap<String, String>>,
    /// Fields to remove.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 255)))]
    pub drop: Option<Vec<String>>,
    /// Field to type: string, integer, number, boolean or timestamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 256))]
    pub cast: Option<BTreeMap<String, CastType>>,
    /// Fields whose values are replaced by a digest that is the same for the same value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 255)))]
    pub mask: Option<Vec<String>>,
    /// CEL expression over `record` that gives the target topic or table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub route: Option<String>,
}

/// Type that a field is converted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CastType {
    /// Text.
    String,
    /// A whole number of 64 bits.
    Integer,
    /// A floating-point number of 64 bits.
    Number,
    /// True or false.
    Boolean,
    /// A moment, RFC 3339.
    Timestamp,
}
