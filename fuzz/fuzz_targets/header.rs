//! One frame around a header of any bytes, binary or JSON; what decodes survives being sent on.
#![no_main]

use bytes::{BufMut, BytesMut};
use libfuzzer_sys::fuzz_target;
use rocketmq_layer::rocketmq::wire::Command;

fuzz_target!(|input: (bool, &[u8])| {
    let (binary, header) = input;
    let mut bytes = BytesMut::new();
    bytes.put_u32(4 + header.len() as u32 + 4);
    bytes.put_u32(u32::from(binary) << 24 | header.len() as u32);
    bytes.put_slice(header);
    bytes.put_slice(b"body");
    let Ok(Some(mut command)) = Command::decode(&mut bytes) else { return };
    assert!(bytes.is_empty() && command.body == "body");
    let again = {
        let mut bytes = BytesMut::new();
        command.encode(&mut bytes);
        Command::decode(&mut bytes).expect("our own frame should decode").expect("our own frame should be whole")
    };
    command.fields.retain(|(_, value)| !value.is_empty());
    command.version = again.version;
    assert_eq!(command, again);
});
