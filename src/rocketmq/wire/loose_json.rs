//! A decoder for the JSON that Java brokers write with fastjson: keys may be bare numbers (`{0:"a"}`) or whole objects
//! (`{{"queueId":0}:{…}}`), and strings may be single-quoted. Standard JSON is a subset.

use serde_json::{Map, Number, Value};

/// Deepest nesting that is accepted.
const MAX_DEPTH: usize = 64;

/// A parsed value whose objects may have keys that are values themselves.
#[derive(Debug, Clone, PartialEq)]
pub enum Loose {
    /// Null, boolean, number or string.
    Scalar(Value),
    /// An array.
    Array(Vec<Loose>),
    /// An object; the order of the text is kept.
    Object(Vec<(Loose, Loose)>),
}

/// Where and why a text is not loose JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("body is not JSON at byte {at}: {reason}")]
pub struct LooseJsonError {
    /// Byte offset in the text.
    pub at: usize,
    /// What was expected.
    pub reason: &'static str,
}

/// Parses a text.
///
/// # Errors
/// The text is not (loose) JSON, is nested deeper than 64 levels, or has text behind the value.
pub fn parse(text: &[u8]) -> Result<Loose, LooseJsonError> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0)?;
    parser.skip_blanks();
    if parser.at < text.len() {
        return Err(parser.error("text behind the value"));
    }
    Ok(value)
}

impl Loose {
    /// Value of a text key in an object.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Loose> {
        self.entries().iter().find(|(known, _)| known.as_str() == Some(key)).map(|(_, value)| value)
    }

    /// Entries of an object; empty for anything else.
    #[must_use]
    pub fn entries(&self) -> &[(Loose, Loose)] {
        if let Loose::Object(entries) = self { entries } else { &[] }
    }

    /// Items of an array; empty for anything else.
    #[must_use]
    pub fn items(&self) -> &[Loose] {
        if let Loose::Array(items) = self { items } else { &[] }
    }

    /// Text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Loose::Scalar(Value::String(text)) = self { Some(text) } else { None }
    }

    /// A whole number, also one that is written as a string.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Loose::Scalar(Value::Number(number)) => number.as_i64(),
            Loose::Scalar(Value::String(text)) => text.parse().ok(),
            _ => None,
        }
    }

    /// The same as standard JSON: keys that are not strings become their JSON text.
    #[must_use]
    pub fn into_json(self) -> Value {
        match self {
            Loose::Scalar(value) => value,
            Loose::Array(items) => Value::Array(items.into_iter().map(Loose::into_json).collect()),
            Loose::Object(entries) => Value::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        let key = match key.into_json() {
                            Value::String(text) => text,
                            other => other.to_string(),
                        };
                        (key, value.into_json())
                    })
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn error(&self, reason: &'static str) -> LooseJsonError {
        LooseJsonError { at: self.at, reason }
    }

    fn skip_blanks(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_blanks();
        self.text.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8, reason: &'static str) -> Result<(), LooseJsonError> {
        if self.peek() != Some(byte) {
            return Err(self.error(reason));
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Loose, LooseJsonError> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deep"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(quote @ (b'"' | b'\'')) => Ok(Loose::Scalar(Value::String(self.string(quote)?))),
            Some(_) => self.bare(),
            None => Err(self.error("a value was expected")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Loose, LooseJsonError> {
        self.at += 1;
        let mut entries = Vec::new();
        while self.peek() != Some(b'}') {
            let key = self.value(depth + 1)?;
            self.expect(b':', "':' was expected")?;
            entries.push((key, self.value(depth + 1)?));
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {}
                _ => return Err(self.error("',' or '}' was expected")),
            }
        }
        self.at += 1;
        Ok(Loose::Object(entries))
    }

    fn array(&mut self, depth: usize) -> Result<Loose, LooseJsonError> {
        self.at += 1;
        let mut items = Vec::new();
        while self.peek() != Some(b']') {
            items.push(self.value(depth + 1)?);
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {}
                _ => return Err(self.error("',' or ']' was expected")),
            }
        }
        self.at += 1;
        Ok(Loose::Array(items))
    }

    fn string(&mut self, quote: u8) -> Result<String, LooseJsonError> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            let Some(&byte) = self.text.get(self.at) else { return Err(self.error("a string does not end")) };
            self.at += 1;
            match byte {
                _ if byte == quote => return Ok(String::from_utf8_lossy(&out).into_owned()),
                b'\\' => self.escape(&mut out)?,
                _ => out.push(byte),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), LooseJsonError> {
        let Some(&byte) = self.text.get(self.at) else { return Err(self.error("an escape does not end")) };
        self.at += 1;
        let plain = match byte {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 8,
            b'f' => 12,
            b'u' => return self.unicode(out),
            other => other,
        };
        out.push(plain);
        Ok(())
    }

    fn unicode(&mut self, out: &mut Vec<u8>) -> Result<(), LooseJsonError> {
        let first = self.four_digits()?;
        let code = if (0xd800..0xdc00).contains(&first) && self.text.get(self.at..self.at + 2) == Some(b"\\u") {
            self.at += 2;
            let second = self.four_digits()?;
            0x10000 + ((first - 0xd800) << 10) + (second.wrapping_sub(0xdc00) & 0x3ff)
        } else {
            first
        };
        let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn four_digits(&mut self) -> Result<u32, LooseJsonError> {
        let digits = self.text.get(self.at..self.at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += 4;
        code.ok_or(LooseJsonError { at: self.at.min(self.text.len()), reason: "four hexadecimal digits were expected" })
    }

    /// A number, `true`, `false`, `null`, or a bare word, which counts as a string.
    fn bare(&mut self) -> Result<Loose, LooseJsonError> {
        let start = self.at;
        while self.text.get(self.at).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+-._$%".contains(byte)) {
            self.at += 1;
        }
        let word = std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default();
        Ok(Loose::Scalar(match word {
            "" => return Err(self.error("a value was expected")),
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            number => match number.parse::<i64>() {
                Ok(whole) => Value::from(whole),
                Err(_) => match number.parse::<f64>().ok().and_then(Number::from_f64) {
                    Some(float) => Value::Number(float),
                    None => Value::String(number.to_owned()),
                },
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn bare_and_object_keys_are_read() {
        let text = br#"{"brokerAddrs":{0:"127.0.0.1:10911",1:"b"},"t":{{"brokerName":"a","queueId":3}:{"offset":7}}}"#;
        let value = parse(text).unwrap();
        let addresses = value.get("brokerAddrs").unwrap().entries();
        assert_eq!(addresses[0].0.as_i64(), Some(0));
        assert_eq!(addresses[1].1.as_str(), Some("b"));
        let (queue, offset) = &value.get("t").unwrap().entries()[0];
        assert_eq!(queue.get("queueId").unwrap().as_i64(), Some(3));
        assert_eq!(offset.get("offset").unwrap().as_i64(), Some(7));
    }

    #[test]
    fn errors_name_the_place() {
        assert_eq!(parse(b"{1:}").unwrap_err().to_string(), "body is not JSON at byte 3: a value was expected");
        assert!(parse(&[b'['; 1000]).is_err());
        assert!(parse(b"1 2").is_err());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(".{0,6}", inner, 0..5).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn standard_json_reads_as_itself(value in any_json()) {
            prop_assert_eq!(parse(value.to_string().as_bytes()).unwrap().into_json(), value);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
