//! W3C trace context: from a caller into the message, and from the message to the app.

use crate::rocketmq::Properties;

use axum::http::header::{HeaderMap, HeaderName};
use base64::Engine;
use sha2::{Digest, Sha256};

use super::encoding::BASE64;

/// Header, metadata key and message property of the trace.
pub const TRACEPARENT: &str = "traceparent";
/// Header, metadata key and message property of what tracing systems add.
pub const TRACESTATE: &str = "tracestate";
/// Longest state that is kept; the standard asks for no more.
const STATE_LIMIT: usize = 512;

/// Where in a trace something happens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// `00-<trace>-<span>-<flags>`.
    pub parent: Option<String>,
    /// What tracing systems add; never without a parent.
    pub state: Option<String>,
}

impl TraceContext {
    /// From a request's headers; what has not the standard's form is left out.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let text = |name: &'static str| headers.get(HeaderName::from_static(name))?.to_str().ok();
        Self::new(text(TRACEPARENT), text(TRACESTATE))
    }

    /// From gRPC's `grpc-trace-bin`: base64 of a version, the trace, the span and the flags, each after its number.
    #[must_use]
    pub fn from_binary(text: &[u8]) -> Self {
        let Ok(bytes) = BASE64.decode(text) else { return Self::default() };
        match bytes.as_slice() {
            [0, 0, trace @ .., 1, b0, b1, b2, b3, b4, b5, b6, b7, 2, flags] if trace.len() == 16 => {
                let span = [*b0, *b1, *b2, *b3, *b4, *b5, *b6, *b7];
                Self { parent: Some(format!("00-{}-{}-{flags:02x}", hex(trace), hex(&span))), state: None }
            }
            _ => Self::default(),
        }
    }

    /// From the properties of a message.
    #[must_use]
    pub fn from_properties(properties: &Properties) -> Self {
        Self::found(|name| properties.get(name).map(|value| &**value))
    }

    /// From where values are found by name.
    #[must_use]
    pub fn found<'a>(text: impl Fn(&str) -> Option<&'a str>) -> Self {
        Self::new(text(TRACEPARENT), text(TRACESTATE))
    }

    /// This one, or `other` if there is none.
    #[must_use]
    pub fn or(self, other: impl FnOnce() -> Self) -> Self {
        if self.parent.is_some() { self } else { other() }
    }

    /// This one, or a trace that is the same for each delivery of a message.
    #[must_use]
    pub fn or_derived(self, message_id: &str) -> Self {
        self.or(|| {
            let digest = Sha256::digest(message_id);
            let (trace, rest) = digest.split_at(16);
            Self { parent: Some(format!("00-{}-{}-00", hex(trace), hex(&rest[..8]))), state: None }
        })
    }

    /// Adds it to the properties of a message.
    pub fn store(&self, properties: &mut impl Extend<(String, String)>) {
        for (name, value) in [(TRACEPARENT, &self.parent), (TRACESTATE, &self.state)] {
            if let Some(value) = value {
                properties.extend([(name.to_owned(), value.clone())]);
            }
        }
    }

    fn new(parent: Option<&str>, state: Option<&str>) -> Self {
        let Some(parent) = parent.filter(|parent| is_traceparent(parent)) else { return Self::default() };
        let is_state = |state: &&str| {
            (1..=STATE_LIMIT).contains(&state.len()) && state.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        };
        Self { parent: Some(parent.to_owned()), state: state.filter(is_state).map(str::to_owned) }
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |digit: u8| char::from_digit(u32::from(digit), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Whether `text` has the form of W3C's trace context, version 00: `00-<32 hex>-<16 hex>-<2 hex>`.
fn is_traceparent(text: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 55
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if matches!(at, 2 | 35 | 52) { byte == b'-' } else { is_hex(byte) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_the_publishers_or_stable() {
        let derived = TraceContext::default().or_derived("AC11");
        assert!(is_traceparent(derived.parent.as_ref().unwrap()), "{derived:?}");
        assert_eq!(derived, TraceContext::default().or_derived("AC11"));
        let parent = format!("00-{}-{}-01", "a".repeat(32), "b".repeat(16));
        let stored = TraceContext::new(Some(&parent), Some("vendor=1"));
        assert_eq!(stored.clone().or_derived("AC11"), stored);
        let mut properties = Properties::new();
        stored.store(&mut properties);
        assert_eq!(TraceContext::from_properties(&properties), stored);
    }

    #[test]
    fn the_binary_form_is_read() {
        // 00 00 <16 bytes> 01 <8 bytes> 02 <flags>
        let trace = TraceContext::from_binary(b"AAABAgMEBQYHCAkKCwwNDg8QAREiM0RVZneIAgE");
        let expected = "00-0102030405060708090a0b0c0d0e0f10-1122334455667788-01";
        assert_eq!(trace.parent.as_deref(), Some(expected));
        assert_eq!(TraceContext::from_binary(b"AAAB"), TraceContext::default());
    }

    #[test]
    fn what_has_another_form_is_left_out() {
        let parent = format!("00-{}-{}-01", "a".repeat(32), "b".repeat(16));
        for wrong in ["junk", "", &parent[1..], &parent.to_uppercase(), &parent.replace('-', "_")] {
            assert_eq!(TraceContext::new(Some(wrong), Some("vendor=1")), TraceContext::default(), "{wrong}");
        }
        assert_eq!(TraceContext::new(Some(&parent), Some("a\nb")).state, None);
        assert_eq!(TraceContext::new(Some(&parent), Some(&"x".repeat(513))).state, None);
    }
}
