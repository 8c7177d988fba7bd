//! Items of the connection test that ask brokers about themselves: credentials, version, clock and limits.

use std::collections::BTreeMap;

use super::cluster::{list, masters};
use super::is_authorization;
use super::test::Outcome;
use crate::rocketmq::Admin;
use crate::rocketmq::admin::{ClusterInfo, version_name};

/// Ordinal of 4.9.0 in `MQVersion`: the oldest version that is supported.
const OLDEST: i16 = 393;
/// Largest difference of clocks that is not worth a word, in milliseconds. Brokers tell their time in whole seconds.
const CLOCK_TOLERANCE: i64 = 5_000;
/// Largest message that clients send by default, in bytes.
const USUAL_MESSAGE_BYTES: u64 = 4 * 1024 * 1024;

/// What the masters told about themselves.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    brokers: Vec<Fact>,
}

#[derive(Debug, Clone, Default)]
struct Fact {
    name: String,
    version_ordinal: i16,
    version: Option<String>,
    /// The broker's clock minus ours, in milliseconds.
    clock_difference: Option<i64>,
    max_message_bytes: Option<u64>,
}

impl Facts {
    /// The oldest version among the brokers.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        let oldest = self.brokers.iter().min_by_key(|broker| broker.version_ordinal)?;
        oldest.version.clone().or_else(|| version_name(oldest.version_ordinal))
    }
}

/// Asks every master a question that needs a valid signature.
pub async fn authenticate(admin: &Admin, info: &ClusterInfo, has_credentials: bool) -> (Outcome, Facts) {
    let mut facts = Facts::default();
    let mut is_limited = false;
    for (broker, address) in masters(info) {
        let answer = match admin.introduce(address).await {
            Ok(answer) => answer,
            Err(error) => return (Outcome::of_error(&error), facts),
        };
        let mut fact = Fact { name: broker.name.clone(), version_ordinal: answer.version_ordinal, ..Fact::default() };
        match answer.runtime {
            Ok(runtime) => {
                fact.version = runtime.get("brokerVersionDesc").cloned().filter(|version| !version.is_empty());
                fact.clock_difference = clock_difference(&runtime, jiff::Timestamp::now().as_millisecond());
                let settings = admin.broker_settings(address).await.unwrap_or_default();
                fact.max_message_bytes = settings.get("maxMessageSize").and_then(|size| size.parse().ok());
            }
            Err(error) if is_authorization(&error) => is_limited = true,
            Err(error) => return (Outcome::of_error(&error), facts),
        }
        facts.brokers.push(fact);
    }
    let words = match (is_limited, has_credentials) {
        (false, true) => "every broker has accepted the credentials",
        (false, false) => "the brokers ask for no credentials",
        (true, _) => "every broker has accepted the credentials; this user is no administrator",
    };
    (Outcome::passed(words), facts)
}

/// Whether the oldest broker is new enough.
#[must_use]
pub fn check_version(facts: &Facts) -> Outcome {
    let Some(oldest) = facts.brokers.iter().map(|broker| broker.version_ordinal).min() else {
        return Outcome::skipped("no broker was asked");
    };
    match facts.version() {
        Some(version) if oldest >= OLDEST => Outcome::passed(version),
        version => {
            let version = version.unwrap_or_else(|| format!("the version with the number {oldest}"));
            Outcome::failed(format!("{version} is too old"), "use RocketMQ 4.9 or newer")
        }
    }
}

/// Whether the brokers' clocks agree with ours: start positions by time and delays depend on it.
#[must_use]
pub fn check_clocks(facts: &Facts) -> Outcome {
    let known: Vec<_> =
        facts.brokers.iter().filter_map(|broker| Some((&broker.name, broker.clock_difference?))).collect();
    if known.is_empty() {
        return Outcome::skipped("not known: brokers tell their time to administrators only");
    }
    let seconds = |millis: i64| format!("{:.0} s", millis as f64 / 1000.0);
    let off: Vec<_> = known.iter().filter(|(_, millis)| millis.abs() > CLOCK_TOLERANCE).collect();
    match off.as_slice() {
        [] => Outcome::passed(format!("the clocks agree within {}", seconds(CLOCK_TOLERANCE))),
        off => {
            let words =
                list(off.iter().map(|(name, millis)| format!("the clock of {name} is {} off", seconds(*millis))));
            Outcome::warning(
                words,
                "set the clocks with NTP on the brokers and on the nodes: start positions by time and delays are off",
            )
        }
    }
}

/// The broker's time is when it started and how long it has run; both come in its runtime figures.
fn clock_difference(runtime: &BTreeMap<String, String>, now: i64) -> Option<i64> {
    let started: i64 = runtime.get("bootTimestamp")?.parse().ok()?;
    Some(started + up_time(runtime.get("runtime")?)? - now)
}

/// Milliseconds in a text such as `[ 1 days, 2 hours, 3 minutes, 4 seconds ]`.
fn up_time(text: &str) -> Option<i64> {
    let parts = text.trim_matches(['[', ']', ' ']).split(',').map(|part| part.trim().split_once(' '));
    parts.into_iter().try_fold(0, |sum, part| {
        let (number, unit) = part?;
        let millis = match unit {
            "days" => 86_400_000,
            "hours" => 3_600_000,
            "minutes" => 60_000,
            "seconds" => 1_000,
            _ => return None,
        };
        Some(sum + number.parse::<i64>().ok()? * millis)
    })
}

/// Whether the brokers take messages of the usual size.
#[must_use]
pub fn check_message_size(facts: &Facts) -> Outcome {
    let Some(limit) = facts.brokers.iter().filter_map(|broker| broker.max_message_bytes).min() else {
        return Outcome::skipped("not known: brokers tell their settings to administrators only");
    };
    if limit >= USUAL_MESSAGE_BYTES {
        return Outcome::passed(format!("messages of up to {limit} bytes are taken"));
    }
    let remedy =
        format!("raise maxMessageSize to {USUAL_MESSAGE_BYTES} on the brokers, or keep messages below the limit");
    Outcome::warning(format!("messages of more than {limit} bytes are refused"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker_config::report::TestResult;

    fn facts(fact: Fact) -> Facts {
        Facts { brokers: vec![Fact { name: "broker-a".to_owned(), ..fact }] }
    }

    #[test]
    fn versions_before_4_9_are_too_old() {
        let table = [(407, TestResult::Passed), (493, TestResult::Passed), (373, TestResult::Failed)];
        for (version_ordinal, expected) in table {
            let facts = facts(Fact { version_ordinal, ..Fact::default() });
            assert_eq!(check_version(&facts).result, expected, "{version_ordinal}");
        }
        let mut mixed = facts(Fact { version_ordinal: 493, ..Fact::default() });
        mixed.brokers.push(Fact { version_ordinal: 373, version: Some("V4_8_0".to_owned()), ..Fact::default() });
        assert!(check_version(&mixed).message.contains("V4_8_0"));
    }

    #[test]
    fn the_brokers_clock_is_its_start_and_its_up_time() {
        let runtime = |started: i64| {
            [
                ("bootTimestamp", started.to_string()),
                ("runtime", "[ 1 days, 2 hours, 3 minutes, 4 seconds ]".to_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
        };
        let up = 93_784_000;
        assert_eq!(clock_difference(&runtime(1_000), 1_000 + up), Some(0));
        let off = clock_difference(&runtime(61_000), 1_000 + up);
        let outcome = check_clocks(&facts(Fact { clock_difference: off, ..Fact::default() }));
        assert_eq!(outcome.result, TestResult::Warning);
        assert!(outcome.message.contains("broker-a is 60 s off"), "{}", outcome.message);
        assert_eq!(check_clocks(&facts(Fact::default())).result, TestResult::Skipped);
    }

    #[test]
    fn a_small_message_limit_is_a_warning() {
        let check = |limit| check_message_size(&facts(Fact { max_message_bytes: limit, ..Fact::default() })).result;
        assert_eq!(check(Some(65_536)), TestResult::Warning);
        assert_eq!(check(Some(4 * 1024 * 1024)), TestResult::Passed);
        assert_eq!(check(None), TestResult::Skipped);
    }
}
