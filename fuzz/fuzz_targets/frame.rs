//! A stream of frames that arrives in two pieces: where it is cut makes no difference.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use rocketmq_layer::rocketmq::wire::Command;
use rocketmq_layer::rocketmq::wire::command::FrameError;

fn decode(input: &mut BytesMut, out: &mut Vec<Command>) -> Result<(), FrameError> {
    while let Some(command) = Command::decode(input)? {
        out.push(command);
    }
    Ok(())
}

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let (mut whole, mut pieces) = (Vec::new(), Vec::new());
    let first = decode(&mut BytesMut::from(bytes), &mut whole);
    let cut = usize::from(cut).min(bytes.len());
    let mut buffer = BytesMut::from(&bytes[..cut]);
    let second = decode(&mut buffer, &mut pieces).and_then(|()| {
        buffer.extend_from_slice(&bytes[cut..]);
        decode(&mut buffer, &mut pieces)
    });
    assert_eq!((first, whole), (second, pieces));
});
