//! Topics by pattern: which topics of the source are read, and what they are called at the target.

use std::collections::BTreeMap;

use regex::{Captures, Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

/// Largest compiled expression in bytes.
const SIZE_LIMIT: usize = 1 << 20;

/// Topics that are found while the sync runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiscoveryConfig {
    /// Regular expressions over whole names, at least one.
    pub patterns: Vec<String>,
    /// Names that never match: those of heartbeats and dead letters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
    /// Milliseconds between two looks at the list of topics.
    pub interval_millis: u64,
}

/// How names of target topics are made of those of the source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicMapConfig {
    /// Target topic by source topic; comes first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
    /// Regular expression over the whole name, with what a match becomes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<(String, String)>,
    /// What stands in front of every other name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// Why an expression or a replacement cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is no regular expression, or one that would take too much memory.
    #[error("{text:?} is no regular expression that can be used: {why}")]
    Syntax {
        /// The expression.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The replacement names a group that the expression does not have.
    #[error("{text:?} names the group {group:?}, which the pattern does not have")]
    UnknownGroup {
        /// The replacement.
        text: String,
        /// The name or number, as the replacement is read.
        group: String,
    },
}

/// Compiles an expression that must match a whole name.
///
/// # Errors
/// [`PatternError::Syntax`].
pub fn whole_name(text: &str) -> Result<Regex, PatternError> {
    let compiled = RegexBuilder::new(&format!("^(?:{text})$")).size_limit(SIZE_LIMIT).build();
    // Twice, since a parenthesis that is closed too early would close the group around the expression.
    let own = RegexBuilder::new(text).size_limit(SIZE_LIMIT).build();
    own.and(compiled).map_err(|error| {
        let why = error.to_string();
        // The last line says what is wrong; those before it draw where.
        let why = why.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
        PatternError::Syntax { text: text.to_owned(), why }
    })
}

/// Names of target topics by those of the source.
#[derive(Debug, Clone)]
pub struct TopicMap {
    names: BTreeMap<String, String>,
    pattern: Option<(Regex, String)>,
    prefix: String,
}

impl TopicMap {
    /// Compiles a mapping.
    ///
    /// # Errors
    /// See [`PatternError`].
    pub fn compile(config: &TopicMapConfig) -> Result<Self, PatternError> {
        let pattern = match &config.pattern {
            Some((text, replacement)) => {
                let pattern = whole_name(text)?;
                check_groups(&pattern, replacement)?;
                Some((pattern, replacement.clone()))
            }
            None => None,
        };
        Ok(Self { names: config.names.clone(), pattern, prefix: config.prefix.clone().unwrap_or_default() })
    }

    /// The target topic of a source topic.
    #[must_use]
    pub fn target_of(&self, topic: &str) -> String {
        if let Some(name) = self.names.get(topic) {
            return name.clone();
        }
        let replaced = self.pattern.as_ref().and_then(|(pattern, replacement)| {
            let expand = |captures: Captures<'_>| {
                let mut name = String::new();
                captures.expand(replacement, &mut name);
                name
            };
            pattern.captures(topic).map(expand)
        });
        replaced.unwrap_or_else(|| format!("{}{topic}", self.prefix))
    }

    /// Whether a name looks like one that the prefix has made.
    #[must_use]
    pub fn is_prefixed(&self, topic: &str) -> bool {
        !self.prefix.is_empty() && topic.starts_with(&self.prefix)
    }
}

/// Looks whether the pattern has all groups of the replacement: one that it lacks would become nothing.
fn check_groups(pattern: &Regex, replacement: &str) -> Result<(), PatternError> {
    let has = |group: &str| match group.parse::<usize>() {
        Ok(number) => number < pattern.captures_len(),
        Err(_) => pattern.capture_names().flatten().any(|name| name == group),
    };
    match groups(replacement).find(|group| !has(group)) {
        Some(group) => Err(PatternError::UnknownGroup { text: replacement.to_owned(), group: group.to_owned() }),
        None => Ok(()),
    }
}

/// Groups that a replacement names, as the regex crate reads it: `$name` is as long as letters, digits and `_` go.
fn groups(replacement: &str) -> impl Iterator<Item = &str> {
    let mut rest = replacement;
    std::iter::from_fn(move || {
        loop {
            rest = &rest[rest.find('$')? + 1..];
            if let Some(behind) = rest.strip_prefix('$') {
                rest = behind;
                continue;
            }
            let (group, behind) = match rest.strip_prefix('{') {
                Some(braced) => braced.split_once('}')?,
                None => {
                    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()))
                }
            };
            rest = behind;
            if !group.is_empty() {
                return Some(group);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(names: &[(&str, &str)], pattern: Option<(&str, &str)>, prefix: Option<&str>) -> TopicMapConfig {
        TopicMapConfig {
            names: names.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect(),
            pattern: pattern.map(|(pattern, replacement)| (pattern.to_owned(), replacement.to_owned())),
            prefix: prefix.map(str::to_owned),
        }
    }

    #[test]
    fn a_name_goes_before_the_pattern_and_the_pattern_before_the_own_name() {
        let by_pattern = TopicMap::compile(&map(&[("orders_eu", "europe")], Some(("orders_(.*)", "copy_$1")), None));
        let by_pattern = by_pattern.unwrap();
        let made: Vec<_> =
            ["orders_eu", "orders_us", "my_orders_us", "paid"].map(|topic| by_pattern.target_of(topic)).into();
        assert_eq!(made, ["europe", "copy_us", "my_orders_us", "paid"]);
        let by_prefix = TopicMap::compile(&map(&[], None, Some("dr_"))).unwrap();
        assert_eq!(by_prefix.target_of("orders"), "dr_orders");
        assert!(by_prefix.is_prefixed("dr_orders") && !by_prefix.is_prefixed("orders"));
        assert!(!by_pattern.is_prefixed("orders"));
    }

    #[test]
    fn a_pattern_matches_whole_names_only() {
        let pattern = whole_name("a|b").unwrap();
        assert!(pattern.is_match("a") && pattern.is_match("b") && !pattern.is_match("ab"));
        assert!(whole_name("^orders_(.*)$").unwrap().is_match("orders_x"));
    }

    #[test]
    fn what_cannot_be_compiled_says_why() {
        assert_eq!(
            whole_name("orders_(").unwrap_err().to_string(),
            "\"orders_(\" is no regular expression that can be used: unclosed group"
        );
        assert!(whole_name("a)(b").is_err(), "it closes a group that is not its own");
        assert!(whole_name("(a{1000}){1000}").is_err(), "it would take too much memory");
    }

    #[test]
    fn a_replacement_has_groups_of_its_pattern_only() {
        let unknown =
            |replacement: &str| match TopicMap::compile(&map(&[], Some(("o_(?P<rest>.*)", replacement)), None)) {
                Ok(_) => None,
                Err(PatternError::UnknownGroup { group, .. }) => Some(group),
                Err(other) => panic!("{other}"),
            };
        for good in ["copy_$1", "copy_${1}_x", "${rest}", "$rest-x", "$0", "a$$b", "plain"] {
            assert_eq!(unknown(good), None, "{good}");
        }
        assert_eq!(unknown("$1_x").as_deref(), Some("1_x"));
        assert_eq!(unknown("$2").as_deref(), Some("2"));
        assert_eq!(unknown("${other}").as_deref(), Some("other"));
    }
}
