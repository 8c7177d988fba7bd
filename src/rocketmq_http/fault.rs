//! What the service says when it refuses, as an error with a remedy.

use std::time::Duration;

use jiff::Timestamp;

use super::xml::Element;
use crate::rocketmq::{Error, ErrorKind};

/// Codes of the service's documentation; 4xx and 5xx that are not here are told as they are.
const NO_MESSAGE: &str = "MessageNotExist";
const SIGNATURE: &str = "SignatureDoesNotMatch";
const UNKNOWN_KEY: &str = "InvalidAccessKeyId";
const EXPIRED: &str = "TimeExpired";

/// The service refuses requests whose date differs by more.
const MAX_SKEW: Duration = Duration::from_secs(15 * 60);

/// An answer that is no success.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fault {
    /// Status of the answer.
    pub status: u16,
    /// The service's code; empty when the answer has none.
    pub code: String,
    /// The service's words.
    pub message: String,
    /// Id of the request, by which the service's people find it.
    pub request_id: String,
    /// How far this clock is ahead of the service's, in seconds; none when the answer has no date.
    pub skew_seconds: Option<i64>,
}

impl Fault {
    /// From `<Error><Code>…</Code><Message>…</Message><RequestId>…</RequestId><HostId>…</HostId></Error>`.
    pub fn from_xml(status: u16, error: &Element) -> Self {
        let get = |name| error.get(name).unwrap_or_default().trim().to_owned();
        let (code, message, request_id) = (get("Code"), get("Message"), get("RequestId"));
        Self { status, code, message, request_id, skew_seconds: None }
    }

    /// Whether it says that there is no message now, or none any more for a receipt.
    pub fn is_no_message(&self) -> bool {
        self.code == NO_MESSAGE
    }

    /// Whether the service knows who asks, and refuses what was asked: an answer that proves the credentials.
    pub fn proves_credentials(&self) -> bool {
        (400..500).contains(&self.status)
            && !self.code.is_empty()
            && !matches!(self.kind(), ErrorKind::AccessDenied | ErrorKind::BrokerBusy)
    }

    fn is_clock(&self) -> bool {
        let is_far = self.skew_seconds.is_some_and(|skew| skew.unsigned_abs() > MAX_SKEW.as_secs());
        self.code == EXPIRED || (is_far && matches!(self.status, 400 | 403 | 408))
    }

    fn kind(&self) -> ErrorKind {
        match (self.code.as_str(), self.status) {
            ("TopicNotExist", _) => ErrorKind::TopicNotFound,
            ("SubscriptionNotExist" | "ConsumerNotExist" | "GroupNotExist", _) => ErrorKind::GroupNotFound,
            (EXPIRED | "InvalidDateHeader", _) | (_, 401 | 403) => ErrorKind::AccessDenied,
            ("InvalidAuthorizationHeader" | "MissingAuthorizationHeader", _) => ErrorKind::AccessDenied,
            (_, 408 | 429 | 500..) => ErrorKind::BrokerBusy,
            (_, 413) => ErrorKind::MessageTooLarge,
            ("InvalidArgument" | "MalformedXML" | "InvalidDigest", _) => ErrorKind::InvalidMessage,
            _ => ErrorKind::Broker,
        }
    }

    fn remedy(&self) -> Option<String> {
        if self.is_clock() {
            let by = self.skew_seconds.map(|skew| format!("; this clock differs from the endpoint's by {skew} s"));
            let by = by.unwrap_or_default();
            return Some(format!("set the clock of the node: the endpoint takes requests of the last 15 minutes{by}"));
        }
        let remedy = match (self.code.as_str(), self.kind()) {
            (SIGNATURE, _) => "check secretKey: it does not belong to accessKey",
            (UNKNOWN_KEY, _) => "check accessKey: the service does not know it; temporary keys need securityToken too",
            (_, ErrorKind::AccessDenied) => {
                "check accessKey, secretKey and securityToken, and that their user (RAM policy) may publish to the topic, or \
                 subscribe with the group"
            }
            (_, ErrorKind::TopicNotFound) => {
                "create the topic in the console of the instance, or correct topics and instanceId: the service creates none"
            }
            (_, ErrorKind::GroupNotFound) => {
                "create the group for the HTTP protocol in the console of the instance, or correct consumerGroup and instanceId"
            }
            (_, ErrorKind::BrokerBusy) => {
                "look at the state of the service and the limits of the instance; the operation is tried again"
            }
            (_, ErrorKind::MessageTooLarge) => "send a smaller message: the service sets the limit",
            (_, ErrorKind::Broker) if self.code.is_empty() => {
                "check that endpoint is the HTTP endpoint of the instance, and that no proxy answers instead of it"
            }
            (_, ErrorKind::Broker) => "look the code up in the service's list of error codes",
            _ => return None,
        };
        Some(remedy.to_owned())
    }

    /// The error; `subject` says what was asked for, such as `topic orders`.
    pub fn error(&self, subject: &str) -> Error {
        let code = if self.code.is_empty() { "no code" } else { &self.code };
        let words = if self.message.is_empty() { "no message" } else { &self.message };
        let request = if self.request_id.is_empty() { "-" } else { &self.request_id };
        let kind = if self.is_clock() { ErrorKind::AccessDenied } else { self.kind() };
        let message =
            format!("the endpoint answered {} {code} for {subject}: {words} (RequestId {request})", self.status);
        Error::with_remedy(kind, message, self.remedy())
    }
}

/// How far this clock is ahead of the one that wrote `date`, a value of the header `Date`.
pub fn skew_seconds(date: &str, now: Timestamp) -> Option<i64> {
    let theirs = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(now.as_second() - theirs.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(status: u16, code: &str) -> Fault {
        Fault { status, code: code.into(), message: "words".into(), request_id: "R1".into(), skew_seconds: Some(2) }
    }

    #[test]
    fn codes_have_kinds_and_remedies() {
        let table = [
            (403, "SignatureDoesNotMatch", ErrorKind::AccessDenied, "secretKey"),
            (403, "InvalidAccessKeyId", ErrorKind::AccessDenied, "securityToken"),
            (403, "AccessDenied", ErrorKind::AccessDenied, "RAM"),
            (408, "TimeExpired", ErrorKind::AccessDenied, "set the clock of the node"),
            (404, "TopicNotExist", ErrorKind::TopicNotFound, "create the topic"),
            (404, "SubscriptionNotExist", ErrorKind::GroupNotFound, "create the group"),
            (500, "InternalError", ErrorKind::BrokerBusy, "tried again"),
            (502, "", ErrorKind::BrokerBusy, "tried again"),
            (429, "Throttled", ErrorKind::BrokerBusy, "limits"),
            (400, "MalformedXML", ErrorKind::InvalidMessage, "correct"),
            (418, "", ErrorKind::Broker, "no proxy answers"),
        ];
        for (status, code, kind, remedy) in table {
            let error = fault(status, code).error("topic orders");
            assert_eq!(error.kind(), kind, "{status} {code}");
            assert!(error.remedy().contains(remedy), "{status} {code}: {}", error.remedy());
            assert!(error.to_string().contains("topic orders: words (RequestId R1)"), "{error}");
        }
    }

    #[test]
    fn a_clock_that_is_wrong_is_told_whatever_the_code() {
        let wrong = Fault { skew_seconds: Some(-3_600), ..fault(403, "AccessDenied") };
        let remedy = wrong.error("topic orders").remedy();
        assert!(remedy.contains("set the clock") && remedy.contains("-3600 s"), "{remedy}");
        let now: Timestamp = "2026-11-26T12:00:05Z".parse().unwrap();
        assert_eq!(skew_seconds("Thu, 26 Nov 2026 12:00:00 GMT", now), Some(5));
        assert_eq!(skew_seconds("yesterday", now), None);
    }

    #[test]
    fn only_who_is_known_gets_other_refusals() {
        for (status, code) in [(404, "MessageNotExist"), (400, "ReceiptHandleError"), (404, "TopicNotExist")] {
            assert!(fault(status, code).proves_credentials(), "{code}");
        }
        for (status, code) in [(403, "AccessDenied"), (408, "TimeExpired"), (500, "InternalError"), (404, "")] {
            assert!(!fault(status, code).proves_credentials(), "{code}");
        }
    }
}
