use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::super::format;
use super::super::record::{MessageParts, Operation, Position};
use super::*;
use crate::worker_config::sync::Format;

fn record(body: &Value) -> Record {
    let body = Bytes::from(body.to_string());
    let mut record = Record {
        position: Position { partition: "orders@broker-a@0".into(), offset: 7, index: 0, epoch: 0 },
        entity: "orders".into(),
        operation: Operation::Insert,
        payload: Payload::Raw(body.clone()),
        before: None,
        key_fields: Arc::from([]),
        message: MessageParts { tag: Some("blue".into()), ..MessageParts::default() },
        at_millis: 0,
        original: Some(body),
        is_changed: false,
    };
    assert!(format::decode(Format::Json, &mut record).unwrap());
    record
}

fn apply(steps: &[TransformConfig], body: &Value) -> std::result::Result<Option<Record>, Invalid> {
    let mut record = record(body);
    let kept = Steps::compile(steps).unwrap().apply(&mut record)?;
    Ok(kept.then_some(record))
}

fn fields(steps: &[TransformConfig], body: &Value) -> Value {
    Value::Object(apply(steps, body).unwrap().unwrap().fields().unwrap().clone())
}

fn map<V: Clone>(pairs: &[(&str, V)]) -> BTreeMap<String, V> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

#[test]
fn filters_compare_numbers_of_any_kind_and_take_a_missing_field_as_false() {
    let keeps = |text: &str, body: Value| apply(&[TransformConfig::Filter(text.to_owned())], &body).unwrap().is_some();
    assert!(keeps("record.amount > 0", json!({"amount": 5})));
    assert!(keeps("record.amount > 0.5", json!({"amount": 0.75})));
    assert!(keeps("record.amount > 1", json!({"amount": 1.5})));
    assert!(!keeps("record.amount > 0", json!({"amount": 0})));
    assert!(!keeps("record.amount > 0", json!({"other": 1})));
    assert!(keeps("message.tag == 'blue' && operation == 'insert' && message.topic == 'orders'", json!({})));
    assert!(keeps("!has(record.amount) || record.amount > 0", json!({})));
    assert!(keeps("record.items.exists(item, item.sku == 'a')", json!({"items": [{"sku": "a"}]})));
}

#[test]
fn a_filter_that_is_no_question_makes_the_record_invalid() {
    let error = apply(&[TransformConfig::Filter("record.amount".to_owned())], &json!({"amount": 5})).unwrap_err();
    assert!(error.message.starts_with("transforms[0].filter: gives"), "{}", error.message);
}

#[test]
fn steps_follow_each_other() {
    let steps = [
        TransformConfig::Map(map(&[("total", "record.price * record.count".to_owned()), ("price", "0".to_owned())])),
        TransformConfig::Rename(map(&[("count", "pieces".to_owned()), ("absent", "x".to_owned())])),
        TransformConfig::Add(map(&[("source", "shop".to_owned())])),
        TransformConfig::Drop(vec!["secret".to_owned(), "absent".to_owned()]),
        TransformConfig::Cast(map(&[("total", Cast::String)])),
    ];
    let body = json!({"price": 3, "count": 4, "secret": true});
    assert_eq!(fields(&steps, &body), json!({"price": 0, "total": "12", "pieces": 4, "source": "shop"}));
}

#[test]
fn a_mask_is_the_same_for_the_same_value() {
    let steps = [TransformConfig::Mask(vec!["email".to_owned(), "absent".to_owned()])];
    let (one, other) = (fields(&steps, &json!({"email": "a@b"})), fields(&steps, &json!({"email": "a@b"})));
    assert_eq!(one, other);
    assert_eq!(one["email"].as_str().unwrap().len(), 64);
    assert_eq!(fields(&steps, &json!({"email": null})), json!({"email": null}));
}

#[test]
fn a_route_names_the_target() {
    let steps = [TransformConfig::Route("'orders-' + record.region".to_owned())];
    assert_eq!(apply(&steps, &json!({"region": "eu"})).unwrap().unwrap().entity, "orders-eu");
    assert!(apply(&steps, &json!({"region": 5})).is_err());
}

#[test]
fn casts_convert_or_say_what_they_cannot() {
    let cast = |value: Value, to: Cast| {
        apply(&[TransformConfig::Cast(map(&[("f", to)]))], &json!({"f": value}))
            .map(|record| record.unwrap().fields().unwrap()["f"].clone())
            .map_err(|invalid| invalid.message)
    };
    assert_eq!(cast(json!("42"), Cast::Integer), Ok(json!(42)));
    assert_eq!(cast(json!(42.0), Cast::Integer), Ok(json!(42)));
    assert_eq!(cast(json!("1.5"), Cast::Number), Ok(json!(1.5)));
    assert_eq!(cast(json!("yes"), Cast::Boolean), Ok(json!(true)));
    assert_eq!(cast(json!(0), Cast::Timestamp), Ok(json!("1970-01-01T00:00:00Z")));
    assert_eq!(cast(json!("2026-01-02 03:04:05"), Cast::Timestamp), Ok(json!("2026-01-02T03:04:05Z")));
    assert_eq!(cast(json!(null), Cast::Integer), Ok(json!(null)));
    let message = cast(json!("x"), Cast::Integer).unwrap_err();
    assert_eq!(message, "transforms[0].cast.f: \"x\" cannot become a whole number");
}

#[test]
fn what_no_step_changes_keeps_its_bytes() {
    let body = json!({"b": 1, "a": 2});
    let untouched = apply(&[TransformConfig::Filter("true".to_owned())], &body).unwrap().unwrap();
    assert_eq!(format::encode(Format::Json, &untouched).unwrap(), body.to_string().as_bytes());
    let changed = apply(&[TransformConfig::Drop(vec!["a".to_owned()])], &body).unwrap().unwrap();
    assert_eq!(format::encode(Format::Json, &changed).unwrap(), "{\"b\":1}");
}

#[test]
fn a_bad_expression_does_not_compile() {
    assert!(Steps::compile(&[TransformConfig::Filter("record.amount >".to_owned())]).is_err());
}
