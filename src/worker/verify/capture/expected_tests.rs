use super::*;

fn shape(key: &[&str]) -> Shape {
    let key_fields = key.iter().map(|name| (*name).to_owned()).collect();
    Shape { partition: "slot".into(), entity: "s.t".into(), key_fields }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_key_is_followed_through_the_steps() {
    let rename = TransformConfig::Rename(map(&[("id", "order_id"), ("x", "y")]));
    assert_eq!(key_names(std::slice::from_ref(&rename), &shape(&["id", "part"])).unwrap(), ["order_id", "part"]);
    for lost in [TransformConfig::Drop(vec!["order_id".into()]), TransformConfig::Add(map(&[("order_id", "1")]))] {
        let error = key_names(&[rename.clone(), lost], &shape(&["id"])).unwrap_err();
        assert_eq!(error.reason, "NotComparable");
        assert!(error.message.contains("take field order_id of its key away"), "{}", error.message);
    }
    let error = key_names(&[], &shape(&[])).unwrap_err();
    assert!(error.message.contains("has no primary key"), "{}", error.message);
}

#[test]
fn tables_of_one_topic_need_messages_that_name_them() {
    let mut topics = Topics::default();
    assert!(topics.add(Format::Json, "all", "s.a", 0).unwrap());
    assert!(!topics.add(Format::Json, "all", "s.a", 0).unwrap());
    let error = topics.add(Format::Json, "all", "s.b", 1).unwrap_err();
    assert!(error.message.contains("several tables, s.a and s.b among them"), "{}", error.message);
    assert_eq!(topics.table(Format::Json, "all", None), Some(0));
    assert_eq!(topics.table(Format::Json, "all", Some("as it was named before")), Some(0));
    assert_eq!(topics.table(Format::Json, "other", None), None);
    let mut topics = Topics::default();
    topics.add(Format::Debezium, "all", "s.a", 0).unwrap();
    topics.add(Format::Debezium, "all", "s.b", 1).unwrap();
    let table = |entity| topics.table(Format::Debezium, "all", entity);
    assert_eq!((table(Some("s.b")), table(Some("s.c")), table(None)), (Some(1), None, None));
    assert!(topics.has("all", 1) && !topics.has("all", 2));
}

#[test]
fn what_depends_on_the_change_is_not_compared() {
    let steps = [
        TransformConfig::Map(map(&[
            ("what", "operation + '!'"),
            ("operations", "record.operations + 1"),
            ("old", "before.v"),
        ])),
        TransformConfig::Rename(map(&[("what", "act")])),
        TransformConfig::Map(map(&[("again", "record.act")])),
    ];
    assert_eq!(passing_fields(&steps).unwrap(), ["old", "act", "again"]);
    assert!(passing_fields(&[TransformConfig::Route("record.region".into())]).unwrap().is_empty());
    let error = passing_fields(&[TransformConfig::Route("operation == 'delete' ? 'a' : 'b'".into())]).unwrap_err();
    assert_eq!(error.reason, "NotComparable");
}
