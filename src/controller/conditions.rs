//! Conditions: merges what a reconciliation found into what a resource's status already says.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::api::condition::{reasons, types};

use super::events::Notice;

/// Longest message of a condition that the API server takes, in characters.
const MESSAGE_LIMIT: usize = 4096;

/// A condition without the fields that depend on what was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    type_: &'static str,
    status: Cow<'static, str>,
    reason: String,
    message: String,
}

impl Draft {
    /// A condition that holds or does not.
    pub fn new(type_: &'static str, holds: bool, reason: impl Into<String>, message: impl Into<String>) -> Self {
        let status = if holds { "True" } else { "False" };
        Self { type_, status: status.into(), reason: reason.into(), message: message.into() }
    }

    /// A condition as it was: what was found does not bear on it.
    #[must_use]
    pub fn repeat(type_: &'static str, before: &Condition) -> Self {
        let (reason, message) = (before.reason.clone(), before.message.clone());
        Self { type_, status: before.status.clone().into(), reason, message }
    }

    /// A condition that is not known yet.
    pub fn unknown(type_: &'static str, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { type_, status: "Unknown".into(), reason: reason.into(), message: message.into() }
    }

    /// Whether the condition holds.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }

    /// Whether the condition is known not to hold.
    #[must_use]
    pub fn is_false(&self) -> bool {
        self.status == "False"
    }

    /// The same under another type.
    #[must_use]
    pub fn renamed(&self, type_: &'static str) -> Self {
        Self { type_, ..self.clone() }
    }
}

/// Renders `drafts` as conditions observed at `generation`; a condition whose status is as in `previous` keeps its time.
#[must_use]
pub fn merge(previous: &[Condition], drafts: Vec<Draft>, generation: i64, now: Timestamp) -> Vec<Condition> {
    drafts.into_iter().map(|draft| merge_one(previous, draft, generation, now)).collect()
}

fn merge_one(previous: &[Condition], draft: Draft, generation: i64, now: Timestamp) -> Condition {
    let before = previous.iter().find(|condition| condition.type_ == draft.type_);
    let unchanged_since = before.filter(|condition| condition.status == draft.status);
    Condition {
        type_: draft.type_.to_owned(),
        status: draft.status.into_owned(),
        reason: draft.reason,
        message: draft.message.chars().take(MESSAGE_LIMIT).collect(),
        observed_generation: Some(generation),
        last_transition_time: unchanged_since.map_or(Time(now), |condition| condition.last_transition_time.clone()),
    }
}

/// What to tell as Events: each condition whose status or reason is another than in `previous`. Progress is not told, and
/// neither is a first condition that is as it should be, apart from the summary.
#[must_use]
pub fn notices(previous: &[Condition], next: &[Condition]) -> Vec<Notice> {
    next.iter().filter(|condition| is_news(previous, condition)).map(notice).fold(Vec::new(), |mut notices, notice| {
        // The summary repeats the reason of the condition that it summarises.
        if !notices.iter().any(|told: &Notice| told.reason == notice.reason) {
            notices.push(notice);
        }
        notices
    })
}

fn is_news(previous: &[Condition], condition: &Condition) -> bool {
    if matches!(condition.type_.as_str(), types::RECONCILING | types::STALLED) || condition.status == "Unknown" {
        return false;
    }
    let before = previous.iter().find(|before| before.type_ == condition.type_);
    match before {
        Some(before) => before.status != condition.status || before.reason != condition.reason,
        None => is_warning(condition) || condition.type_ == types::READY,
    }
}

fn notice(condition: &Condition) -> Notice {
    Notice { warning: is_warning(condition), reason: condition.reason.clone(), message: condition.message.clone() }
}

fn is_warning(condition: &Condition) -> bool {
    // Everything starts like this.
    let harmless = [reasons::WORKERS_NOT_READY, reasons::PROGRESSING, reasons::TEST_PENDING, reasons::NO_USERS];
    if harmless.contains(&condition.reason.as_str()) {
        return false;
    }
    let abnormal_when = match condition.type_.as_str() {
        types::PLAIN_TEXT_CREDENTIAL | types::CREDENTIALS_REFUSED | types::STALLED => "True",
        types::PAUSED => return false,
        _ => "False",
    };
    condition.status == abnormal_when
}

/// A number that differs when two statuses differ in anything but the times of their conditions.
pub fn fingerprint<Status: Serialize>(status: &Status) -> u64 {
    let mut hasher = DefaultHasher::new();
    without_times(status).map(|value| value.to_string()).hash(&mut hasher);
    hasher.finish()
}

fn without_times<Status: Serialize>(status: &Status) -> Option<Value> {
    let mut value = serde_json::to_value(status).ok()?;
    for condition in value.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        condition.as_object_mut().map(|fields| fields.remove("lastTransitionTime"));
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(type_: &'static str, holds: bool, reason: &str, at: i64) -> Condition {
        merge(&[], vec![Draft::new(type_, holds, reason, "m")], 1, Timestamp::from_second(at).unwrap()).remove(0)
    }

    #[test]
    fn the_time_changes_with_the_status_only() {
        let previous = [condition(types::READY, false, "A", 1)];
        let same =
            merge(&previous, vec![Draft::new(types::READY, false, "B", "n")], 2, Timestamp::from_second(9).unwrap());
        assert_eq!(same[0].last_transition_time, previous[0].last_transition_time);
        assert_eq!((same[0].reason.as_str(), same[0].observed_generation), ("B", Some(2)));
        let other =
            merge(&previous, vec![Draft::new(types::READY, true, "B", "n")], 2, Timestamp::from_second(9).unwrap());
        assert_eq!(other[0].last_transition_time.0.as_second(), 9);
    }

    #[test]
    fn a_long_message_is_cut() {
        let merged = merge(&[], vec![Draft::new(types::READY, true, "A", "é".repeat(9000))], 1, Timestamp::UNIX_EPOCH);
        assert_eq!(merged[0].message.chars().count(), MESSAGE_LIMIT);
    }

    #[test]
    fn only_news_is_told_and_once() {
        let before =
            [condition(types::READY, true, "Running", 1), condition(types::RESOLVED_REFS, true, "Resolved", 1)];
        assert_eq!(notices(&before, &before), []);
        let after = [
            condition(types::RESOLVED_REFS, false, "SecretNotFound", 2),
            condition(types::READY, false, "SecretNotFound", 2),
        ];
        let told = notices(&before, &after);
        assert_eq!(told.len(), 1);
        assert!(told[0].warning);
        assert_eq!(notices(&after, &before).iter().map(|notice| notice.warning).collect::<Vec<_>>(), [false, false]);
    }

    #[test]
    fn a_plain_credential_is_a_warning_and_a_pause_is_not() {
        assert!(notices(&[], &[condition(types::PLAIN_TEXT_CREDENTIAL, true, "PlainTextValue", 1)])[0].warning);
        let running = [condition(types::PAUSED, false, "NotPaused", 1)];
        assert!(!notices(&running, &[condition(types::PAUSED, true, "Paused", 1)])[0].warning);
        assert_eq!(notices(&[], &running), []);
    }

    #[test]
    fn times_are_no_difference() {
        #[derive(Serialize)]
        struct Status {
            conditions: Vec<Condition>,
        }
        let status = |at| Status { conditions: vec![condition(types::READY, true, "A", at)] };
        assert_eq!(fingerprint(&status(1)), fingerprint(&status(2)));
        assert_ne!(fingerprint(&Status { conditions: vec![] }), fingerprint(&status(2)));
    }
}
