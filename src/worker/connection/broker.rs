//! Items of the connection test that ask brokers about themselves: credentials, version and limits.

use super::cluster::masters;
use super::is_authorization;
use super::test::Outcome;
use crate::rocketmq::Admin;
use crate::rocketmq::admin::{ClusterInfo, version_name};

/// Ordinal of 4.9.0 in `MQVersion`: the oldest version that is supported.
const OLDEST: i16 = 393;
/// Largest message that clients send by default, in bytes.
const USUAL_MESSAGE_BYTES: u64 = 4 * 1024 * 1024;

/// What the masters told about themselves.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    brokers: Vec<Fact>,
}

#[derive(Debug, Clone, Default)]
struct Fact {
    version_ordinal: i16,
    max_message_bytes: Option<u64>,
}

impl Facts {
    /// The oldest version among the brokers.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        version_name(self.brokers.iter().map(|broker| broker.version_ordinal).min()?)
    }
}

/// Asks every master a question that needs a valid signature.
pub async fn authenticate(admin: &Admin, info: &ClusterInfo, has_credentials: bool) -> (Outcome, Facts) {
    let mut facts = Facts::default();
    let mut is_limited = false;
    for (_, address) in masters(info) {
        let answer = match admin.introduce(address).await {
            Ok(answer) => answer,
            Err(error) => return (Outcome::of_error(&error), facts),
        };
        let mut fact = Fact { version_ordinal: answer.version_ordinal, max_message_bytes: None };
        match answer.settings {
            Ok(settings) => {
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
        Facts { brokers: vec![fact] }
    }

    #[test]
    fn versions_before_4_9_are_too_old() {
        let table = [(407, TestResult::Passed), (493, TestResult::Passed), (373, TestResult::Failed)];
        for (version_ordinal, expected) in table {
            let facts = facts(Fact { version_ordinal, ..Fact::default() });
            assert_eq!(check_version(&facts).result, expected, "{version_ordinal}");
        }
        let mut mixed = facts(Fact { version_ordinal: 493, ..Fact::default() });
        mixed.brokers.push(Fact { version_ordinal: 373, ..Fact::default() });
        assert!(check_version(&mixed).message.contains("V4_8_0"), "{}", check_version(&mixed).message);
    }

    #[test]
    fn a_small_message_limit_is_a_warning() {
        let check = |limit| check_message_size(&facts(Fact { max_message_bytes: limit, ..Fact::default() })).result;
        assert_eq!(check(Some(65_536)), TestResult::Warning);
        assert_eq!(check(Some(4 * 1024 * 1024)), TestResult::Passed);
        assert_eq!(check(None), TestResult::Skipped);
    }
}
