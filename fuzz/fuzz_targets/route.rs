//! Answers of name servers: a route of any bytes never becomes more queues than a topic may have.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rocketmq_layer::rocketmq::TopicRoute;
use rocketmq_layer::rocketmq::wire::loose_json;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = loose_json::parse(bytes) else { return };
    let route = TopicRoute::from_loose(&value);
    for queues in [route.readable_queues("t"), route.writable_queues("t")] {
        assert!(queues.len() <= 65_536);
    }
});
