use std::borrow::Cow;

use super::super::super::table::schema::Column;
use super::*;

fn keyed() -> Keyed {
    let column = |(name, kind): (&str, Kind)| Column {
        name: name.to_owned(),
        kind,
        sql_type: String::new(),
        stored_type: "stored".to_owned(),
        is_generated: false,
    };
    let columns = [("id", Kind::Integer), ("na`me", Kind::Text), ("raw", Kind::Bytes)].map(column).to_vec();
    let table = Table::new(Dialect::MySql, quote_table("shop.orders"), columns, &["id".to_owned()], &[]);
    Keyed::new(table, &[]).unwrap()
}

fn cell(value: &str) -> Cell<'_> {
    Cell::Text(Cow::Borrowed(value))
}

#[test]
fn texts_end_where_they_end() {
    let quoted = |value: &str| {
        let mut into = String::new();
        text(value, &mut into);
        into
    };
    assert_eq!(quoted("it's"), "'it''s'");
    assert_eq!(quoted("\\' OR 1=1 -- "), "'\\\\'' OR 1=1 -- '");
    assert_eq!(quoted("\0\u{1a}"), "'\\0\\Z'");
}

#[test]
fn numbers_are_numbers_only_where_they_are() {
    let shown = |value: &str, kind| {
        let mut into = String::new();
        literal(&cell(value), kind, &mut into);
        into
    };
    assert_eq!(shown("-12", Kind::Integer), "-12");
    assert_eq!(shown("1.50", Kind::Decimal), "1.50");
    assert_eq!(shown("1 OR 1=1", Kind::Integer), "'1 OR 1=1'");
    assert_eq!(shown("1e5", Kind::Integer), "'1e5'");
    assert_eq!(shown("12", Kind::Text), "'12'");
}

#[test]
fn a_statement_for_each_action() {
    let keyed = keyed();
    let (head, tail) = insert(&keyed, Action::Put, &[0, 1, 2]);
    assert_eq!(head, "INSERT INTO `shop`.`orders` (`id`, `na``me`, `raw`) VALUES ");
    assert_eq!(tail, " ON DUPLICATE KEY UPDATE `na``me` = VALUES(`na``me`), `raw` = VALUES(`raw`)");
    assert_eq!(insert(&keyed, Action::Add, &[0, 1]).1, " ON DUPLICATE KEY UPDATE `id` = `shop`.`orders`.`id`");
    assert_eq!(insert(&keyed, Action::New, &[0, 1]).1, "");
    let mut values = String::new();
    row(&keyed.table, &vec![(0, cell("1")), (1, Cell::Null), (2, Cell::Bytes(Cow::Borrowed(&[1, 255])))], &mut values);
    assert_eq!(values, "(1,NULL,x'01ff')");

    let (one, two) = (cell("1"), cell("2"));
    let keys = vec![vec![&one], vec![&two]];
    assert_eq!(
        find(&keyed, &keys),
        "SELECT CASE WHEN `id`=1 THEN 0 WHEN `id`=2 THEN 1 END FROM `shop`.`orders` WHERE (`id`) IN ((1),(2)) FOR UPDATE"
    );
    assert_eq!(remove(&keyed, &keys), "DELETE FROM `shop`.`orders` WHERE (`id`) IN ((1),(2))");
    let rows = [vec![(0, cell("1")), (1, cell("a"))], vec![(0, cell("2")), (1, cell("b"))]];
    assert_eq!(
        update(&keyed, &keys, &rows.iter().collect::<Vec<_>>()).unwrap(),
        "UPDATE `shop`.`orders` SET `na``me` = CASE WHEN `id`=1 THEN 'a' WHEN `id`=2 THEN 'b' END WHERE (`id`) IN ((1),(2))"
    );
    assert_eq!(update(&keyed, &keys, &[&vec![(0, cell("1"))]]), None);
    assert_eq!(
        create_expected("`x`", &keyed.table),
        "CREATE TEMPORARY TABLE `x` (`rocketmq_connector_n` int NOT NULL PRIMARY KEY, `id` stored NULL, `na``me` stored NULL, \
         `raw` stored NULL) ENGINE=InnoDB"
    );
    let mut statement = insert_expected("`x`", &keyed.table, &[0, 1]);
    let cells = [(0, cell("1")), (1, cell("a"))];
    expected_row(&keyed.table, 7, cells.iter().map(|(number, cell)| (*number, cell)), &mut statement);
    assert_eq!(statement, "INSERT INTO `x` (`rocketmq_connector_n`, `id`, `na``me`) VALUES (7,1,'a')");
    assert_eq!(
        compare("`x`", &keyed, &[1, 2]),
        "SELECT e.`rocketmq_connector_n`, t.`id` IS NOT NULL, CONCAT_WS(',','',IF(CAST(t.`na``me` AS BINARY)<=>CAST(e.`na``me` AS \
         BINARY),NULL,1),IF(t.`raw`<=>e.`raw`,NULL,2)) FROM `x` AS e LEFT JOIN `shop`.`orders` AS t ON t.`id` = e.`id`"
    );
}
