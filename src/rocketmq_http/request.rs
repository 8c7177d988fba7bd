//! What requests ask for: their path and query, spelt as the SDKs spell them.

use std::fmt::Write as _;

use crate::rocketmq::{Error, ErrorKind, Result};

/// Longest request target that the service takes: a request line has at most 1024 characters.
const MAX_RESOURCE: usize = 1_000;

/// A long poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poll {
    /// Topic without the instance.
    pub topic: String,
    /// Consumer group without the instance.
    pub group: String,
    /// Tags that are wanted, separated by `||`; none wants all.
    pub tags: Option<String>,
    /// Messages at most, 1 to 16.
    pub messages: u32,
    /// Seconds that the service waits for the first one, 0 to 30.
    pub wait_seconds: u64,
    /// Messages of one sharding key come in order, the next ones when those before are acknowledged.
    pub ordered: bool,
}

impl Poll {
    /// Path and query.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`]: they are longer than the service takes.
    pub(super) fn resource(&self, instance: Option<&str>) -> Result<String> {
        let mut resource = messages_of(&self.topic);
        // Writing to a string never fails.
        let _ = write!(resource, "?consumer={}&numOfMessages={}", escape(&self.group), self.messages);
        push(&mut resource, "&ns=", instance);
        let _ = write!(resource, "&waitseconds={}", self.wait_seconds);
        push(&mut resource, "&tag=", self.tags.as_deref());
        push(&mut resource, "&trans=", self.ordered.then_some("order"));
        if resource.len() > MAX_RESOURCE {
            let message = format!("topics: the request for topic {} is {} characters long", self.topic, resource.len());
            let remedy = format!("name fewer or shorter tags: at most {MAX_RESOURCE} characters are taken");
            return Err(Error::with_remedy(ErrorKind::InvalidConfig, message, Some(remedy)));
        }
        Ok(resource)
    }
}

/// Path and query of a publication.
pub fn publication(topic: &str, instance: Option<&str>) -> String {
    let mut resource = messages_of(topic);
    push(&mut resource, "?ns=", instance);
    resource
}

/// Path and query of an acknowledgement.
pub fn acknowledgement(topic: &str, group: &str, instance: Option<&str>) -> String {
    let mut resource = messages_of(topic);
    push(&mut resource, "?consumer=", Some(group));
    push(&mut resource, "&ns=", instance);
    resource
}

fn messages_of(topic: &str) -> String {
    format!("/topics/{}/messages", escape(topic))
}

fn push(resource: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        resource.push_str(name);
        resource.push_str(&escape(value));
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string never fails.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll() -> Poll {
        let (topic, group) = ("orders".to_owned(), "g".to_owned());
        Poll { topic, group, tags: None, messages: 16, wait_seconds: 15, ordered: false }
    }

    #[test]
    fn requests_are_spelt_as_the_sdks_spell_them() {
        assert_eq!(publication("orders", None), "/topics/orders/messages");
        assert_eq!(publication("orders", Some("I")), "/topics/orders/messages?ns=I");
        assert_eq!(acknowledgement("orders", "g", Some("I")), "/topics/orders/messages?consumer=g&ns=I");
        let all = Poll { tags: Some("a||b c".to_owned()), ordered: true, ..poll() };
        assert_eq!(
            all.resource(Some("I")).unwrap(),
            "/topics/orders/messages?consumer=g&numOfMessages=16&ns=I&waitseconds=15&tag=a%7C%7Cb%20c&trans=order"
        );
        assert_eq!(
            poll().resource(None).unwrap(),
            "/topics/orders/messages?consumer=g&numOfMessages=16&waitseconds=15"
        );
        assert_eq!(publication("%DLQ%g", None), "/topics/%25DLQ%25g/messages");
    }

    #[test]
    fn a_request_line_that_is_too_long_is_refused() {
        let error = Poll { tags: Some("x".repeat(1_000)), ..poll() }.resource(None).unwrap_err();
        assert!(error.to_string().contains("topic orders"), "{error}");
    }
}
