//! Messages as brokers store and deliver them (`MessageDecoder` and `MessageSysFlag` of Apache RocketMQ).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf, Bytes};
use bytestring::ByteString;

use super::super::{compression, property};

/// `sysFlag`: the body is compressed.
pub const FLAG_COMPRESSED: i32 = 1;
/// `sysFlag`: a half message of a transaction.
pub const FLAG_TRANSACTION_PREPARED: i32 = 1 << 2;
/// `sysFlag`: the transaction was committed.
pub const FLAG_TRANSACTION_COMMIT: i32 = 2 << 2;
/// `sysFlag`: the transaction was rolled back.
pub const FLAG_TRANSACTION_ROLLBACK: i32 = 3 << 2;
const FLAG_BORN_HOST_V6: i32 = 1 << 4;
const FLAG_STORE_HOST_V6: i32 = 1 << 5;
const MAGIC_V1: i32 = -626_843_481;
const MAGIC_V2: i32 = -626_843_477;
/// Separates a property's name from its value.
pub const NAME_VALUE_SEPARATOR: char = '\u{1}';
/// Ends a property.
pub const PROPERTY_SEPARATOR: char = '\u{2}';

/// A message as a broker delivers it, with its body decompressed. Texts share the memory of the answer that it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Topic as stored: with the namespace, and `%RETRY%group` for a redelivery.
    pub topic: ByteString,
    /// Queue in the topic.
    pub queue_id: i32,
    /// Position in the queue.
    pub queue_offset: i64,
    /// Position in the broker's commit log.
    pub commit_log_offset: i64,
    /// The sender's own flag.
    pub flag: i32,
    /// RocketMQ's flags, see `FLAG_*`.
    pub sys_flag: i32,
    /// Sender's clock, milliseconds since the Unix epoch.
    pub born_timestamp: i64,
    /// Address of the sender.
    pub born_host: SocketAddr,
    /// Broker's clock, milliseconds since the Unix epoch.
    pub store_timestamp: i64,
    /// Address of the broker.
    pub store_host: SocketAddr,
    /// Redeliveries so far.
    pub reconsume_times: i32,
    /// Offset of the half message, in transactions.
    pub prepared_transaction_offset: i64,
    /// The body.
    pub body: Bytes,
    /// All properties, in their stored order.
    pub properties: Vec<(ByteString, ByteString)>,
}

/// Why bytes are not a stored message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredMessageError {
    /// A field ends behind the message.
    #[error("message ends within its {0}")]
    Short(&'static str),
    /// The magic code is neither of the known ones.
    #[error("message has the unknown magic code {0}")]
    Magic(i32),
    /// A length is negative.
    #[error("message has a negative length of its {0}")]
    Length(&'static str),
    /// The body's checksum does not match.
    #[error("body has checksum {found:#010x}, the broker stored {stored:#010x}")]
    Checksum {
        /// Checksum of the bytes that arrived.
        found: u32,
        /// Checksum that the broker stored.
        stored: u32,
    },
    /// The body does not decompress.
    #[error("body does not decompress: {0}")]
    Compression(String),
}

impl StoredMessage {
    /// Value of a property.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&ByteString> {
        self.properties.iter().find(|(known, _)| **known == *name).map(|(_, value)| value)
    }
}

/// Decodes the messages that lie one behind the other in a pull response.
///
/// # Errors
/// Of the first message that does not decode; none is returned then, because where the next begins is unknown.
pub fn decode_all(mut bytes: Bytes) -> Result<Vec<StoredMessage>, StoredMessageError> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        messages.push(decode(&mut bytes)?);
    }
    Ok(messages)
}

/// Takes one message from the front of `bytes`.
///
/// # Errors
/// See [`StoredMessageError`].
pub fn decode(bytes: &mut Bytes) -> Result<StoredMessage, StoredMessageError> {
    let total =
        usize::try_from(i32_of(&mut bytes.clone(), "length")?).map_err(|_| StoredMessageError::Length("whole"))?;
    if total < 4 || total > bytes.len() {
        return Err(StoredMessageError::Short("length"));
    }
    let mut rest = bytes.split_to(total).slice(4..);
    let magic = i32_of(&mut rest, "magic code")?;
    if magic != MAGIC_V1 && magic != MAGIC_V2 {
        return Err(StoredMessageError::Magic(magic));
    }
    let checksum = i32_of(&mut rest, "checksum")?;
    let queue_id = i32_of(&mut rest, "queue id")?;
    let flag = i32_of(&mut rest, "flag")?;
    let queue_offset = i64_of(&mut rest, "queue offset")?;
    let commit_log_offset = i64_of(&mut rest, "commit log offset")?;
    let sys_flag = i32_of(&mut rest, "system flag")?;
    let born_timestamp = i64_of(&mut rest, "born time")?;
    let born_host = host_of(&mut rest, sys_flag & FLAG_BORN_HOST_V6 != 0)?;
    let store_timestamp = i64_of(&mut rest, "store time")?;
    let store_host = host_of(&mut rest, sys_flag & FLAG_STORE_HOST_V6 != 0)?;
    let reconsume_times = i32_of(&mut rest, "redelivery count")?;
    let prepared_transaction_offset = i64_of(&mut rest, "transaction offset")?;
    let body_length = i32_of(&mut rest, "body length")?;
    let stored_body = take(&mut rest, body_length, "body")?;
    let topic_length = if magic == MAGIC_V2 {
        i16_of(&mut rest, "topic length")?
    } else {
        i16::from(u8_of(&mut rest, "topic length")?)
    };
    let topic = text(take(&mut rest, i32::from(topic_length), "topic")?);
    let properties_length = i16_of(&mut rest, "properties length")?;
    let properties = parse_properties(&text(take(&mut rest, i32::from(properties_length), "properties")?));
    let body = body_of(stored_body, checksum, sys_flag)?;
    Ok(StoredMessage {
        topic,
        queue_id,
        queue_offset,
        commit_log_offset,
        flag,
        sys_flag,
        born_timestamp,
        born_host,
        store_timestamp,
        store_host,
        reconsume_times,
        prepared_transaction_offset,
        body,
        properties,
    })
}

/// Splits a property string (`name\u{1}value\u{2}…`).
#[must_use]
pub fn parse_properties(text: &ByteString) -> Vec<(ByteString, ByteString)> {
    // Most messages have a handful: one allocation instead of a growing one.
    let mut properties = Vec::with_capacity(memchr::memchr_iter(PROPERTY_SEPARATOR as u8, text.as_bytes()).count());
    for pair in text.split(PROPERTY_SEPARATOR) {
        if let Some((name, value)) = pair.split_once(NAME_VALUE_SEPARATOR) {
            // Nobody has to count who shares a name that stands in the program.
            let known = property::reserved(name).map(ByteString::from_static);
            properties.push((known.unwrap_or_else(|| text.slice_ref(name)), text.slice_ref(value)));
        }
    }
    properties
}

fn body_of(stored: Bytes, checksum: i32, sys_flag: i32) -> Result<Bytes, StoredMessageError> {
    // a broker configured without checksums stores 0
    let found = crc32fast::hash(&stored) & 0x7fff_ffff;
    if checksum != 0 && found != checksum as u32 {
        return Err(StoredMessageError::Checksum { found, stored: checksum as u32 });
    }
    if sys_flag & FLAG_COMPRESSED == 0 {
        return Ok(stored);
    }
    compression::decompress(&stored, sys_flag).map_err(|error| StoredMessageError::Compression(error.to_string()))
}

fn take(bytes: &mut Bytes, length: i32, what: &'static str) -> Result<Bytes, StoredMessageError> {
    let length = usize::try_from(length).map_err(|_| StoredMessageError::Length(what))?;
    if length > bytes.len() {
        return Err(StoredMessageError::Short(what));
    }
    Ok(bytes.split_to(length))
}

fn u8_of(bytes: &mut Bytes, what: &'static str) -> Result<u8, StoredMessageError> {
    bytes.try_get_u8().map_err(|_| StoredMessageError::Short(what))
}

fn i16_of(bytes: &mut Bytes, what: &'static str) -> Result<i16, StoredMessageError> {
    bytes.try_get_i16().map_err(|_| StoredMessageError::Short(what))
}

fn i32_of(bytes: &mut Bytes, what: &'static str) -> Result<i32, StoredMessageError> {
    bytes.try_get_i32().map_err(|_| StoredMessageError::Short(what))
}

fn i64_of(bytes: &mut Bytes, what: &'static str) -> Result<i64, StoredMessageError> {
    bytes.try_get_i64().map_err(|_| StoredMessageError::Short(what))
}

/// A port is stored in four bytes, of which two have a meaning.
fn host_of(bytes: &mut Bytes, v6: bool) -> Result<SocketAddr, StoredMessageError> {
    let address = if v6 {
        IpAddr::V6(Ipv6Addr::from_bits(bytes.try_get_u128().map_err(|_| StoredMessageError::Short("host"))?))
    } else {
        IpAddr::V4(Ipv4Addr::from_bits(bytes.try_get_u32().map_err(|_| StoredMessageError::Short("host"))?))
    };
    Ok(SocketAddr::new(address, i32_of(bytes, "port")? as u16))
}

/// The broker's id of a stored copy: the broker's address and the offset in its commit log, in hexadecimal.
#[must_use]
pub fn offset_message_id(store_host: SocketAddr, commit_log_offset: i64) -> String {
    let port = store_host.port();
    match store_host.ip() {
        IpAddr::V4(address) => format!("{:08X}{port:08X}{commit_log_offset:016X}", address.to_bits()),
        IpAddr::V6(address) => format!("{:032X}{port:08X}{commit_log_offset:016X}", address.to_bits()),
    }
}

/// Text in its place; only what is no UTF-8 is copied.
fn text(bytes: Bytes) -> ByteString {
    ByteString::try_from(bytes.clone()).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into())
}

/// Writes a message in its stored form; the counterpart of [`decode`] for tests and fuzzing.
#[cfg(test)]
pub(crate) fn encode_for_test(message: &StoredMessage) -> Vec<u8> {
    use bytes::BufMut;
    let mut out = Vec::new();
    let properties: String =
        message.properties.iter().map(|(name, value)| format!("{name}\u{1}{value}\u{2}")).collect();
    out.put_i32(0);
    out.put_i32(MAGIC_V1);
    out.put_i32((crc32fast::hash(&message.body) & 0x7fff_ffff) as i32);
    out.put_i32(message.queue_id);
    out.put_i32(message.flag);
    out.put_i64(message.queue_offset);
    out.put_i64(message.commit_log_offset);
    out.put_i32(message.sys_flag);
    out.put_i64(message.born_timestamp);
    out.put_slice(&[127, 0, 0, 1, 0, 0, 0, 9]);
    out.put_i64(message.store_timestamp);
    out.put_slice(&[127, 0, 0, 1, 0, 0, 0, 10]);
    out.put_i32(message.reconsume_times);
    out.put_i64(message.prepared_transaction_offset);
    out.put_i32(message.body.len() as i32);
    out.put_slice(&message.body);
    out.put_u8(message.topic.len() as u8);
    out.put_slice(message.topic.as_bytes());
    out.put_i16(properties.len() as i16);
    out.put_slice(properties.as_bytes());
    let length = out.len() as i32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_message() -> impl Strategy<Value = StoredMessage> {
        (
            any::<[i64; 4]>(),
            any::<[i32; 3]>(),
            prop::collection::vec(any::<u8>(), 0..200),
            "[a-zA-Z%_-]{1,40}",
            prop::collection::vec(("[A-Za-z_]{1,8}", "[^\u{1}\u{2}]{0,12}"), 0..6),
        )
            .prop_map(|(longs, ints, body, topic, properties)| StoredMessage {
                topic: topic.into(),
                queue_id: ints[0],
                queue_offset: longs[0],
                commit_log_offset: longs[1],
                flag: ints[1],
                sys_flag: 0,
                born_timestamp: longs[2],
                born_host: SocketAddr::from(([127, 0, 0, 1], 9)),
                store_timestamp: longs[3],
                store_host: SocketAddr::from(([127, 0, 0, 1], 10)),
                reconsume_times: ints[2],
                prepared_transaction_offset: 0,
                body: body.into(),
                properties: properties.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            })
    }

    proptest! {
        #[test]
        fn messages_survive_a_round_trip(messages in prop::collection::vec(any_message(), 0..4)) {
            let bytes: Vec<u8> = messages.iter().flat_map(encode_for_test).collect();
            prop_assert_eq!(decode_all(bytes.into()).unwrap(), messages);
        }

        #[test]
        fn damaged_messages_never_panic(message in any_message(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = encode_for_test(&message);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = decode_all(bytes.into());
        }
    }

    #[test]
    fn a_changed_body_is_an_error() {
        let message = StoredMessage {
            topic: "t".into(),
            queue_id: 0,
            queue_offset: 1,
            commit_log_offset: 2,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: SocketAddr::from(([0; 4], 0)),
            store_timestamp: 0,
            store_host: SocketAddr::from(([127, 0, 0, 1], 10)),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: Bytes::from_static(b"hello"),
            properties: vec![],
        };
        assert_eq!(offset_message_id(message.store_host, 2), "7F0000010000000A0000000000000002");
        let mut bytes = encode_for_test(&message);
        let at = bytes.windows(5).position(|window| window == b"hello").unwrap();
        bytes[at] = b'j';
        assert!(matches!(decode_all(bytes.into()), Err(StoredMessageError::Checksum { .. })));
    }
}
