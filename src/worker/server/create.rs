//! The body of a binding request: `{"operation": "create", "data": …, "metadata": {…}}`.
//!
//! It is read as Go's decoder reads it for daprd: names in any case, the last of two equal names wins, unknown names are
//! ignored, `null` is absent, and text after the object is not looked at. Unlike daprd, which decodes `data` and encodes it
//! anew (sorting names, changing numbers), the text of `data` is taken exactly as sent, without a copy.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::ApiError;

/// A binding request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct BindingRequest {
    /// The operation; empty when it is missing.
    pub operation: String,
    /// The JSON text of `data` exactly as sent; `null` when it is missing.
    pub data: Bytes,
    /// The metadata.
    pub metadata: BTreeMap<String, String>,
}

impl BindingRequest {
    /// Reads a request's body.
    ///
    /// # Errors
    /// 400 `ERR_MALFORMED_REQUEST` when the body is empty, no JSON object, or holds a metadata value that is no string.
    pub fn parse(body: &Bytes) -> Result<Self, ApiError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(ApiError::malformed("EOF: the body is empty; send {\"operation\": \"create\", \"data\": …}"));
        }
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let fields = Fields::deserialize(&mut deserializer).map_err(|error| {
            ApiError::malformed(format_args!(
                "{error}; send {{\"operation\": \"create\", \"data\": …, \"metadata\": {{\"name\": \"text\"}}}}"
            ))
        })?;
        let data = fields.data.map_or(Bytes::from_static(b"null"), |data| body.slice_ref(data.get().as_bytes()));
        Ok(Self { operation: fields.operation, data, metadata: fields.metadata })
    }
}

#[derive(Default)]
struct Fields<'a> {
    operation: String,
    data: Option<&'a RawValue>,
    metadata: BTreeMap<String, String>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with operation, data and metadata")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<String>()? {
            if name.eq_ignore_ascii_case("operation") {
                fields.operation = map.next_value::<Option<String>>()?.unwrap_or_default();
            } else if name.eq_ignore_ascii_case("data") {
                fields.data = Some(map.next_value()?);
            } else if name.eq_ignore_ascii_case("metadata") {
                let metadata = map.next_value::<Option<BTreeMap<String, Option<String>>>>()?.unwrap_or_default();
                fields.metadata.extend(metadata.into_iter().map(|(key, value)| (key, value.unwrap_or_default())));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BindingRequest, ApiError> {
        BindingRequest::parse(&Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn data_is_the_text_as_sent() {
        let data = r#"{"z": "<&>",  "a": [1, 2.50, 12345678901234567890], "big": 1e+21, "u": "\u00e9é"}"#;
        let request =
            parse(&format!(r#"{{"operation": "create", "data": {data} , "metadata": {{"k": "v"}}}}"#)).unwrap();
        assert_eq!(request.data, data);
        assert_eq!((request.operation.as_str(), request.metadata["k"].as_str()), ("create", "v"));
    }

    #[test]
    fn reads_what_go_reads() {
        let table = [
            (r#"{"operation":"create","data":"dup","data":"dup2","extra":1} trailing"#, "create", r#""dup2""#),
            (r#"{"Operation":"create","DATA":true,"metadata":null}"#, "create", "true"),
            (r#"{"operation":"create"}"#, "create", "null"),
            (r#"{"data":null,"operation":null}"#, "", "null"),
        ];
        for (body, operation, data) in table {
            let request = parse(body).unwrap();
            assert_eq!((request.operation.as_str(), &request.data[..]), (operation, data.as_bytes()), "{body}");
        }
    }

    #[test]
    fn malformed_bodies_are_refused() {
        let deep = "[".repeat(100_000);
        let bodies =
            ["", "  \n", "{bad", "[]", "null", "5", r#"{"metadata":{"a":5}}"#, r#"{"operation":1}"#, r#"{"data":"#];
        for body in bodies.into_iter().chain([format!(r#"{{"data":{deep}"#).as_str()]) {
            let error = parse(body).unwrap_err();
            assert_eq!(error.status(), 400, "{body:.40}");
        }
        assert!(BindingRequest::parse(&Bytes::from_static(b"{\"data\":\"\xff\"}")).is_err());
    }
}
