//! Bodies of any bytes as loose JSON; what parses is the same again as standard JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rocketmq_layer::rocketmq::wire::loose_json;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = loose_json::parse(bytes) else { return };
    let json = value.into_json();
    let again = loose_json::parse(json.to_string().as_bytes()).expect("standard JSON should parse");
    assert_eq!(again.into_json(), json);
});
