//! What a `create` stores: body, tag, keys and properties of the message.

use axum::http::Method;

use crate::observed::{Case, Names, Observed};
use crate::peer::Peer;
use crate::worker_support::topic::read_all;
use crate::worker_support::{Broker, send};

const EXACT: Option<&str> = Some("the text of `data` is stored exactly as it was sent");

/// Data and metadata, both JSON, and why the worker is to store something else; one message each.
const ROWS: &[(&str, &str, Option<&str>)] = &[
    (r#""hello""#, "{}", None),
    (r#"{"z": 1, "a": [1, 2]}"#, "{}", EXACT),
    ("12345678901234567890", "{}", EXACT),
    ("2.50", "{}", EXACT),
    (r#""<&>""#, "{}", EXACT),
    ("null", "{}", None),
    (r#""m""#, r#"{"rocketmq-key": "k1"}"#, None),
    (r#""m""#, r#"{"rocketmq-key": "k1 k2"}"#, None),
    (
        r#""m""#,
        r#"{"rocketmq-tag": "blue", "rocketmq-key": "k1"}"#,
        Some("the tag of the request is stored, also without `rocketmq-topic`"),
    ),
    (r#""m""#, r#"{"colour": "blue"}"#, None),
    (
        r#""m""#,
        r#"{"rocketmq-shardingkey": "customer-7"}"#,
        Some("messages of one sharding key go to one queue in order"),
    ),
    (r#""m""#, r#"{"rocketmq-delay-level": "1"}"#, Some("delivered by RocketMQ when the level's time is over")),
];

/// Properties that every client or broker adds with values of its own.
const OWN: &[&str] = &[
    "UNIQ_KEY",
    "WAIT",
    "CLUSTER",
    "MSG_REGION",
    "TRACE_ON",
    "INNER_NUM",
    "__CLIENT_HOST",
    "__VERSION",
    "PGROUP",
    "REAL_TOPIC",
    "REAL_QID",
    "TIMER_DELAY_LEVEL",
    "INSTANCE_ID",
];

pub async fn observe(peer: &Peer, broker: &Broker) -> Vec<Case> {
    let topic = broker.topic("compat-stored", 1).await;
    let mut names = Names::default();
    names.add("topic", &topic);
    let running = peer.start(&crate::pairs(&crate::http::output(broker, &topic)), None).await.unwrap();
    let mut cases = Vec::new();
    for (data, metadata, difference) in ROWS {
        let body = format!(r#"{{"operation": "create", "data": {data}, "metadata": {metadata}}}"#);
        let answer = send(Method::POST, &running.url("/v1.0/bindings/rmq"), &[], body.into_bytes()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let more =
            if *metadata == "{}" { String::new() } else { format!(", metadata {}", crate::page::code(metadata)) };
        let what = format!("data {}{more}", crate::page::code(data));
        cases.push(Case { what, observed: Observed::new(), difference: *difference });
    }
    // The delayed one comes last.
    crate::worker_support::eventually("every message", async || {
        crate::worker_support::topic::count(broker, &topic).await == ROWS.len()
    })
    .await;
    let messages = read_all(broker, &topic).await;
    for (case, message) in cases.iter_mut().zip(&messages) {
        case.observed.insert("body".to_owned(), String::from_utf8_lossy(&message.body).into_owned());
        let quoted = |value: &str| format!("{value:?}");
        for (name, value) in &message.properties {
            if !OWN.contains(&&**name) {
                let is_trace = name == "traceparent";
                case.observed.insert(name.to_string(), if is_trace { "…".to_owned() } else { quoted(value) });
            }
        }
        case.observed.insert("tag".to_owned(), message.tag.clone().unwrap_or_default().into());
        case.observed.insert("keys".to_owned(), message.keys.join(", "));
        case.observed.insert("sharding key".to_owned(), message.sharding_key.clone().unwrap_or_default().into());
        case.observed.insert(
            "came after".to_owned(),
            if message.store_timestamp - message.born_timestamp >= 900 { "1 s" } else { "" }.to_owned(),
        );
    }
    running.stop().await;
    cases
}
