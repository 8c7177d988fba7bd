use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::worker::record::{MessageParts, Operation, Payload, Position, QueueOf};
use crate::worker_config::ClusterConfig;
use crate::worker_config::sync::TopicMapConfig;

fn target() -> RocketMqTargetConfig {
    RocketMqTargetConfig {
        cluster: ClusterConfig::default(),
        topic: None,
        topic_map: None,
        group: "g".into(),
        tag_field: None,
        key_fields: None,
        sharding_key_field: None,
        delay: None,
        create_topics: false,
        cluster_id: "west".into(),
    }
}

fn composer(change: impl FnOnce(&mut RocketMqTargetConfig)) -> Composer {
    let mut target = target();
    change(&mut target);
    let topics = target.topic_map.as_ref().map(|map| TopicMap::compile(map).unwrap());
    Composer { target, topics, format: Format::Json, source_cluster: Some("east".into()), names: Mutex::default() }
}

fn record(body: Value) -> Record {
    let Value::Object(fields) = body else { panic!("an object") };
    let original = Bytes::from(serde_json::to_vec(&fields).unwrap());
    Record {
        position: Position { partition: "orders@broker-a@2".into(), offset: 7, index: 0, epoch: 0 },
        entity: "orders".into(),
        operation: Operation::Insert,
        payload: Payload::Fields { fields, size: original.len() },
        before: None,
        key_fields: Arc::from([]),
        message: MessageParts {
            id: "ID".into(),
            has_own_id: true,
            tag: Some("blue".into()),
            keys: vec!["k".into()],
            sharding_key: None,
            queue: Some(QueueOf { number: 2, count: 4 }),
            born_millis: 99,
            ..MessageParts::default()
        },
        at_millis: 5,
        original: Some(original),
        is_changed: false,
    }
}

fn queues(count: i32) -> Vec<Queue> {
    let queue = |queue_id| Queue { topic: "orders".into(), broker_name: "b".into(), queue_id };
    (0..count).map(queue).collect()
}

#[test]
fn a_message_goes_nowhere_twice() {
    let composer = composer(|_| {});
    let mut record = record(json!({"n": 1}));
    let first = composer.compose(&record).unwrap().unwrap();
    assert_eq!(first.properties[ORIGIN_PROPERTY], "east/orders");
    assert_eq!((first.id.as_deref(), &*first.properties[BORN_PROPERTY]), (Some("ID"), "99"));
    record.message.properties.insert(ORIGIN_PROPERTY, "north/orders");
    let second = composer.compose(&record).unwrap().unwrap();
    assert_eq!(second.properties[ORIGIN_PROPERTY], "north/orders,east/orders");
    record.message.properties.insert(ORIGIN_PROPERTY, "north/x,west/orders");
    assert_eq!(composer.compose(&record).unwrap(), None);
    record.message.properties.insert(ORIGIN_PROPERTY, "west/other");
    assert!(composer.compose(&record).unwrap().is_some(), "another topic of the same cluster is another place");
}

#[test]
fn a_topic_gets_the_name_that_the_mapping_makes() {
    let prefix = TopicMapConfig { prefix: Some("dr_".into()), ..TopicMapConfig::default() };
    let composer = composer(|target| target.topic_map = Some(Box::new(prefix)));
    let mut record = record(json!({"n": 1}));
    assert_eq!(composer.compose(&record).unwrap().unwrap().topic, "dr_orders");
    record.entity = "public.orders".into();
    assert_eq!(composer.compose(&record).unwrap().unwrap().topic, "dr_public_orders");
    record.message.properties.insert(ORIGIN_PROPERTY, "west/dr_public_orders");
    assert_eq!(composer.compose(&record).unwrap(), None, "the loop guard knows the name at the target");
}

#[test]
fn a_message_is_not_written_to_the_topic_that_it_is_read_from() {
    let composer = composer(|target| target.cluster_id = "east".into());
    let mut record = record(json!({"n": 1}));
    assert_eq!(composer.compose(&record).unwrap(), None);
    record.entity = "other".into();
    assert!(composer.compose(&record).unwrap().is_some());
}

#[test]
fn queues_keep_their_numbers_where_counts_agree() {
    let chosen = |composer: &Composer, record: &Record, count: i32| {
        let mut message = composer.compose(record).unwrap().unwrap();
        composer.choose_queue(record, &mut message, &queues(count));
        message.queue.map(|(_, queue)| queue)
    };
    let (plain, mut record) = (composer(|_| {}), record(json!({"n": 1, "customer": "c"})));
    assert_eq!(chosen(&plain, &record, 4), Some(2));
    assert_eq!(chosen(&plain, &record, 2), Some(0), "all of a source queue go to one queue");
    record.message.sharding_key = Some("s".into());
    assert_eq!(chosen(&plain, &record, 4), Some(2));
    assert_eq!(chosen(&plain, &record, 2), None, "the sharding key chooses");
    let by_field = composer(|target| target.sharding_key_field = Some("customer".into()));
    assert_eq!(chosen(&by_field, &record, 4), None);
}

#[test]
fn fields_become_tag_keys_and_delay() {
    let composer = composer(|target| {
        target.tag_field = Some("region".into());
        target.key_fields = Some(vec!["id".into(), "customer.name".into()]);
        target.sharding_key_field = Some("id".into());
        target.delay = Some(DelayConfig::Field("at".into()));
    });
    let body = json!({"id": 5, "region": "eu", "customer": {"name": "x"}, "at": "1970-01-01T00:00:01Z"});
    let message = composer.compose(&record(body)).unwrap().unwrap();
    assert_eq!((message.tag.as_deref(), message.sharding_key.as_deref()), (Some("eu"), Some("5")));
    assert_eq!((message.keys, message.delay), (vec!["5".into(), "x".into()], Some(Delay::At(1000))));
    let missing = composer.compose(&record(json!({"id": 5}))).unwrap_err();
    assert_eq!(missing.message, "target.tags: the record has no text or number in its field \"region\"");
}

#[test]
fn a_row_has_its_key_as_key_and_sharding_key() {
    let mut composer = composer(|_| {});
    composer.source_cluster = None;
    let mut row = record(json!({"id": 5, "part": "a b"}));
    row.entity = "public.orders".into();
    row.message = MessageParts::default();
    row.key_fields = Arc::from(["id".to_owned(), "part".to_owned()]);
    row.operation = Operation::Update;
    let message = composer.compose(&row).unwrap().unwrap();
    assert_eq!(message.topic, "public_orders");
    assert_eq!((message.keys, message.sharding_key.as_deref()), (vec!["5_a_b".into()], Some("5_a_b")));
    assert_eq!(message.properties[OPERATION_PROPERTY], "update");
    assert_eq!(message.id, None);
}
