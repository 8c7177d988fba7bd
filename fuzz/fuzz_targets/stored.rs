//! The messages of a pull, one behind the other.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rocketmq_layer::rocketmq::wire::stored;

fuzz_target!(|bytes: &[u8]| {
    let Ok(messages) = stored::decode_all(Bytes::copy_from_slice(bytes)) else { return };
    for message in messages {
        // every part of an uncompressed message is bytes that have arrived
        assert!(message.sys_flag & stored::FLAG_COMPRESSED != 0 || message.body.len() <= bytes.len());
        assert!(message.properties.len() <= bytes.len());
    }
});
