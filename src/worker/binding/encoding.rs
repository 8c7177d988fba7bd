//! How the body of a request becomes the body of a message.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use super::request::Invalid;
use crate::worker_config::binding::DataEncoding;

/// Standard base64, with or without padding.
pub const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The body of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Bytes to store as they are, from a protocol that carries bytes.
    Raw(Bytes),
    /// The JSON text of `data` exactly as it was sent.
    Json(Bytes),
}

impl Data {
    /// The body of the message.
    ///
    /// # Errors
    /// `data` should be a string with base64 and is not.
    pub fn into_body(self, encoding: DataEncoding) -> Result<Bytes, Invalid> {
        match (self, encoding) {
            (Self::Raw(bytes), _) | (Self::Json(bytes), DataEncoding::Json) => Ok(bytes),
            (Self::Json(text), DataEncoding::Text) => Ok(unquote(&text).map_or(text, Bytes::from)),
            (Self::Json(text), DataEncoding::Base64) => {
                let string = unquote(&text).ok_or_else(|| invalid("it is no JSON string"))?;
                BASE64.decode(&string).map(Bytes::from).map_err(|error| invalid(&error.to_string()))
            }
        }
    }
}

/// The text of a JSON string; none for any other JSON.
fn unquote(text: &[u8]) -> Option<String> {
    (text.first() == Some(&b'"')).then(|| serde_json::from_slice(text).ok()).flatten()
}

fn invalid(why: &str) -> Invalid {
    Invalid::Base64(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &'static str, encoding: DataEncoding) -> Result<Bytes, Invalid> {
        Data::Json(Bytes::from_static(text.as_bytes())).into_body(encoding)
    }

    #[test]
    fn each_encoding_stores_what_it_says() {
        use DataEncoding::{Base64, Json, Text};
        let table: [(&str, DataEncoding, &[u8]); 8] = [
            (r#""a\u00e9\n""#, Json, br#""a\u00e9\n""#),
            (r#""a\u00e9\n""#, Text, "aé\n".as_bytes()),
            (r#"{"a": 1}"#, Text, br#"{"a": 1}"#),
            ("12345678901234567890", Text, b"12345678901234567890"),
            ("null", Text, b"null"),
            (r#""AP+AYQ==""#, Base64, b"\x00\xff\x80a"),
            (r#""AP+AYQ""#, Base64, b"\x00\xff\x80a"),
            (r#""""#, Base64, b""),
        ];
        for (text, encoding, expected) in table {
            assert_eq!(body(text, encoding).unwrap(), expected, "{text} {encoding:?}");
        }
        assert_eq!(Data::Raw(Bytes::from_static(b"\xff")).into_body(Base64).unwrap(), &b"\xff"[..]);
    }

    #[test]
    fn what_is_no_base64_is_refused_with_the_remedy() {
        for text in ["{}", "5", r#""a b""#, r#""-_-_""#] {
            let error = body(text, DataEncoding::Base64).unwrap_err().to_string();
            assert!(error.contains("base64") && error.contains("rocketmq-data-encoding"), "{text}: {error}");
        }
    }
}
