//! A stored message with a compressed body, topic and properties of any bytes, so that no length and checksum has to be guessed.
#![no_main]

use bytes::{BufMut, Bytes};
use libfuzzer_sys::fuzz_target;
use rocketmq_layer::rocketmq::wire::stored;

const MAGIC_V2: i32 = -626_843_477;

fuzz_target!(|input: (u8, &[u8], &[u8], &[u8])| {
    let (kind, topic, properties, body) = input;
    let (topic, properties) = (&topic[..topic.len().min(200)], &properties[..properties.len().min(2000)]);
    let mut out = Vec::new();
    out.put_i32(0);
    out.put_i32(MAGIC_V2);
    out.put_bytes(0, 4 + 4 + 4 + 8 + 8); // a checksum of 0 is none
    out.put_i32(stored::FLAG_COMPRESSED | i32::from(kind & 7) << 8);
    out.put_bytes(0, 8 + 8 + 8 + 8 + 4 + 8);
    out.put_i32(body.len() as i32);
    out.put_slice(body);
    out.put_i16(topic.len() as i16);
    out.put_slice(topic);
    out.put_i16(properties.len() as i16);
    out.put_slice(properties);
    let length = out.len() as i32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    if let Err(error) = stored::decode_all(Bytes::from(out)) {
        assert!(matches!(error, stored::StoredMessageError::Compression(_)), "{error}");
    }
});
