use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::super::super::super::record::{MessageParts, Position};
use super::super::schema::{Column, Table};
use super::*;

fn keyed(key: &[&str]) -> Keyed {
    let column = |(name, kind): (&str, Kind)| Column {
        name: name.to_owned(),
        kind,
        sql_type: "text".to_owned(),
        stored_type: "text".to_owned(),
        is_generated: name == "computed",
    };
    let columns = [("id", Kind::Integer), ("name", Kind::Text), ("computed", Kind::Text)].map(column).to_vec();
    let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
    Keyed::new(Table::new(Dialect::Postgres, "\"t\"".to_owned(), columns, &key, &[]), &[]).unwrap()
}

const WRITE: WriteConfig =
    WriteConfig { insert: OnExists::Update, update: OnMissing::Insert, delete: OnMissing::Ignore };

fn record(operation: Operation, before: Option<Value>, fields: Value) -> Record {
    let object = |value: Value| value.as_object().unwrap().clone();
    Record {
        position: Position { partition: "orders@broker-a@3".into(), offset: 7, index: 0, epoch: 0 },
        entity: "orders".into(),
        operation,
        payload: Payload::Fields { fields: object(fields), size: 9 },
        before: before.map(object),
        key_fields: Arc::from([]),
        message: MessageParts { id: "m1".into(), keys: vec!["a".into(), "b".into()], ..MessageParts::default() },
        at_millis: 5,
        original: None,
        is_changed: false,
    }
}

/// Actions with the texts of their keys and of their rows.
fn done(record: &Record, keyed: &Keyed, write: WriteConfig) -> Result<Vec<(Action, String, String)>, String> {
    let rules = Rules { dialect: Dialect::Postgres, write, unknown: Unknown::Refuse };
    let mut into = Vec::new();
    changes(record, 0, keyed, &rules, &mut into).map_err(|invalid| invalid.message)?;
    let text = |cells: Vec<&Cell>| cells.iter().map(|cell| cell.text().unwrap_or("-")).collect::<Vec<_>>().join(",");
    let shown = |change: &Change| {
        (change.action, text(change.key.iter().collect()), text(change.row.iter().map(|(_, cell)| cell).collect()))
    };
    Ok(into.iter().map(shown).collect())
}

fn is(action: Action, key: &str, row: &str) -> (Action, String, String) {
    (action, key.to_owned(), row.to_owned())
}

#[test]
fn operations_follow_the_policies() {
    let keyed = keyed(&["id"]);
    let row = || json!({"name": "a", "id": 1});
    let of = |operation, write| done(&record(operation, None, row()), &keyed, write).unwrap();
    assert_eq!(of(Operation::Insert, WRITE), [is(Action::Put, "1", "1,a")]);
    assert_eq!(of(Operation::Insert, WriteConfig { insert: OnExists::Ignore, ..WRITE })[0].0, Action::Add);
    assert_eq!(of(Operation::Insert, WriteConfig { insert: OnExists::Fail, ..WRITE })[0].0, Action::New);
    assert_eq!(of(Operation::Update, WRITE)[0].0, Action::Put);
    assert_eq!(of(Operation::Update, WriteConfig { update: OnMissing::Log, ..WRITE })[0].0, Action::Change);
    assert_eq!(of(Operation::Delete, WRITE), [is(Action::Remove, "1", "")]);
}

#[test]
fn a_row_that_gets_another_key_leaves_the_old_one() {
    let moved = record(Operation::Update, Some(json!({"id": 1, "name": "a"})), json!({"id": 2, "name": "a"}));
    assert_eq!(
        done(&moved, &keyed(&["id"]), WRITE).unwrap(),
        [is(Action::Remove, "1", ""), is(Action::Put, "2", "2,a")]
    );
    let same = record(Operation::Update, Some(json!({"id": 1})), json!({"id": 1, "name": "b"}));
    assert_eq!(done(&same, &keyed(&["id"]), WRITE).unwrap(), [is(Action::Put, "1", "1,b")]);
}

#[test]
fn without_a_key_rows_are_only_appended() {
    let keyed = keyed(&[]);
    let fields = json!({"name": "a", "computed": "never"});
    assert_eq!(
        done(&record(Operation::Insert, None, fields.clone()), &keyed, WRITE).unwrap(),
        [is(Action::New, "", "a")]
    );
    let why = done(&record(Operation::Delete, None, fields), &keyed, WRITE).unwrap_err();
    assert_eq!(why, "delete \"t\": the table has no key");
}

#[test]
fn what_is_wrong_names_the_field() {
    let keyed = keyed(&["id"]);
    let why = |fields| done(&record(Operation::Insert, None, fields), &keyed, WRITE).unwrap_err();
    assert_eq!(why(json!({"name": "a"})), "field id: is missing or null, and identifies the row");
    assert_eq!(why(json!({"id": null})), "field id: is missing or null, and identifies the row");
    assert_eq!(why(json!({"id": 1, "more": null})), "field more: \"t\" has no such column");
}

#[test]
fn a_raw_message_fills_the_columns_that_are_there() {
    let mut raw = record(Operation::Insert, None, json!({}));
    raw.payload = Payload::Raw(Bytes::from_static(b"\xff"));
    let column = |(name, kind): (&str, Kind)| Column {
        name: name.to_owned(),
        kind,
        sql_type: String::new(),
        stored_type: String::new(),
        is_generated: false,
    };
    let columns = RAW_COLUMNS.map(column).to_vec();
    let key: Vec<String> = RAW_COLUMNS[..RAW_KEY].iter().map(|(name, _)| (*name).to_owned()).collect();
    let keyed = Keyed::new(Table::new(Dialect::Postgres, "t".to_owned(), columns, &key, &[]), &[]).unwrap();
    let row = "orders,broker-a,3,7,m1,-,a b,{},1970-01-01 00:00:00.000000+00,-";
    assert_eq!(done(&raw, &keyed, WRITE).unwrap(), [is(Action::Put, "orders,broker-a,3,7", row)]);
}

#[test]
fn columns_are_made_of_what_comes() {
    let records = [
        record(Operation::Insert, None, json!({"id": 1, "note": null, "price": 1, "Name": "x", "": 1})),
        record(Operation::Insert, None, json!({"id": 2, "note": null, "price": 2.5})),
    ];
    let missing = |dialect| {
        let columns = missing_columns(records.iter(), dialect, |name| match dialect {
            Dialect::Postgres => ["id", "name"].contains(&name),
            Dialect::MySql => ["id", "name"].contains(&name.to_lowercase().as_str()),
        });
        columns.into_iter().map(|column| (column.name, column.kind)).collect::<Vec<_>>()
    };
    assert_eq!(missing(Dialect::Postgres), [("Name".to_owned(), Kind::Text), ("price".to_owned(), Kind::Float)]);
    assert_eq!(missing(Dialect::MySql), [("price".to_owned(), Kind::Float)]);
}
