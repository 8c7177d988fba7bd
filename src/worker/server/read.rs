//! The operations `read` and `ack`: Dapr's page promises the first, its code has neither.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::binding::encoding::Data;
use super::super::binding::reader::ReadRequest;
use super::super::binding::request::Invalid;

/// Most messages that a read gives.
const MAX_MESSAGES: &str = "maxMessages";
/// Longest wait for the first one.
const TIMEOUT: &str = "timeout";
/// Time until a message that is not acknowledged comes again.
const LEASE: &str = "lease";
/// `auto` acknowledges at once.
const ACK: &str = "ack";
/// Receipts of an `ack`, separated by commas, instead of in its data.
const RECEIPTS: &str = "receipts";

/// Messages of one read: the default and the most.
const MESSAGES: (usize, usize) = (32, 1_000);
/// Wait for the first message: the default and the longest.
const WAIT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// Lease: the default and the longest.
const LEASES: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15 * 60));

/// What a `read` asks for.
///
/// # Errors
/// A value cannot be used.
pub fn parse_read(metadata: &BTreeMap<String, String>) -> Result<ReadRequest, Invalid> {
    let get = |key: &str| metadata.get(key).map(|value| value.trim()).filter(|value| !value.is_empty());
    let max_messages = match get(MAX_MESSAGES) {
        None => MESSAGES.0,
        Some(text) => text
            .parse()
            .ok()
            .filter(|count| (1..=MESSAGES.1).contains(count))
            .ok_or_else(|| invalid(MAX_MESSAGES, text, format!("send a number from 1 to {}", MESSAGES.1)))?,
    };
    let duration = |key: &str, (default, longest): (Duration, Duration)| match get(key) {
        None => Ok(default),
        Some(text) => parse_duration(text).filter(|wait| *wait <= longest).ok_or_else(|| {
            let longest = longest.as_secs();
            invalid(key, text, format!("send a time with its unit, such as 500ms, 5s or 1m, at most {longest}s"))
        }),
    };
    let lease = match get(ACK) {
        None | Some("explicit") => Some(duration(LEASE, LEASES)?),
        Some("auto") => None,
        Some(other) => return Err(invalid(ACK, other, "send explicit, or auto to acknowledge at once".to_owned())),
    };
    Ok(ReadRequest { max_messages, timeout: duration(TIMEOUT, WAIT)?, lease })
}

/// The receipts of an `ack`: `{"receipts": […]}` or a list as data, or separated by commas in the metadata.
///
/// # Errors
/// There are none.
pub fn parse_receipts(metadata: &BTreeMap<String, String>, data: &Data) -> Result<Vec<String>, Invalid> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Receipts {
        List(Vec<String>),
        Object { receipts: Vec<String> },
    }
    let (Data::Raw(text) | Data::Json(text)) = data;
    let receipts = match metadata.get(RECEIPTS) {
        Some(list) => list.split(',').map(str::trim).filter(|receipt| !receipt.is_empty()).map(str::to_owned).collect(),
        None => match serde_json::from_slice(text) {
            Ok(Receipts::List(receipts) | Receipts::Object { receipts }) => receipts,
            Err(_) => Vec::new(),
        },
    };
    if receipts.is_empty() { Err(Invalid::NoReceipts) } else { Ok(receipts) }
}

/// What an `ack` answers.
#[derive(Debug, Serialize)]
pub struct Acknowledged {
    /// Messages that will not come again.
    pub acknowledged: usize,
    /// Receipts that are not known any more: their messages come again.
    pub unknown: Vec<String>,
}

impl Acknowledged {
    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        // Strings and numbers are always JSON.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    match &text[digits..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

fn invalid(key: &str, value: &str, why: String) -> Invalid {
    Invalid::Metadata { key: key.to_owned(), value: value.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<ReadRequest, Invalid> {
        parse_read(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_read_has_defaults_and_bounds() {
        let seconds = Duration::from_secs;
        let default = ReadRequest { max_messages: 32, timeout: seconds(5), lease: Some(seconds(60)) };
        assert_eq!(read(&[]), Ok(default));
        let own = [("maxMessages", "7"), ("timeout", "250ms"), ("lease", "2m")];
        let expected = ReadRequest { max_messages: 7, timeout: Duration::from_millis(250), lease: Some(seconds(120)) };
        assert_eq!(read(&own), Ok(expected));
        assert_eq!(read(&[("ack", "auto")]).unwrap().lease, None);
        for wrong in [
            ("maxMessages", "0"),
            ("maxMessages", "1001"),
            ("timeout", "5"),
            ("timeout", "61s"),
            ("lease", "1h"),
            ("ack", "yes"),
        ] {
            let error = read(&[wrong]).unwrap_err().to_string();
            assert!(error.contains(wrong.0) && error.contains(wrong.1), "{error}");
        }
    }

    #[test]
    fn receipts_are_found_wherever_they_are() {
        let none = BTreeMap::new();
        let json = |text: &'static str| Data::Json(Bytes::from_static(text.as_bytes()));
        for data in [json(r#"["a","b"]"#), json(r#"{"receipts":["a","b"]}"#)] {
            assert_eq!(parse_receipts(&none, &data).unwrap(), ["a", "b"]);
        }
        let metadata = BTreeMap::from([("receipts".to_owned(), "a, b,".to_owned())]);
        assert_eq!(parse_receipts(&metadata, &json("null")).unwrap(), ["a", "b"]);
        for data in [json("null"), json("[]"), json(r#""a""#)] {
            assert_eq!(parse_receipts(&none, &data), Err(Invalid::NoReceipts));
        }
    }
}
