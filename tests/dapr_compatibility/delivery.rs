//! Deliveries to an application: what it gets, and what its answers do.

use std::time::Duration;

use axum::http::StatusCode;
use rocketmq_connector::rocketmq::{Message, Producer, ProducerConfig};

use crate::observed::{Case, Names, Observed};
use crate::peer::{AppAt, Peer};
use crate::rpc::GrpcApp;
use crate::worker_support::{App, Broker, eventually, unique};

/// Time for what must not come: a message that was taken. A broker redelivers to a new group within 30 s.
const QUIET: Duration = Duration::from_secs(40);
/// What the app answers first to a message whose body is this status; the next time it takes it.
const STATUSES: &[u16] = &[200, 204, 299, 302, 400, 404, 413, 500];
/// The same over gRPC.
const CODES: &[u32] = &[0, 2, 3, 13, 14];

fn fields(broker: &Broker, topic: &str, group: &str) -> Vec<(String, String)> {
    let fields =
        [("accessProto", "tcp"), ("nameServer", broker.name_server()), ("topics", topic), ("consumerGroup", group)];
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

pub async fn publish(broker: &Broker, topic: &str, bodies: &[String]) {
    let client = broker.client();
    let producer = Producer::new(&client, ProducerConfig::new(unique("publisher"))).unwrap();
    let messages = bodies.iter().map(|body| Message::new(topic, body.clone()).with_tag("blue").with_key("k1"));
    for result in producer.send_batch(messages.collect()).await {
        result.unwrap();
    }
    producer.shutdown().await;
    client.shutdown().await;
}

pub async fn observe(peer: &Peer, broker: &Broker) -> Vec<Case> {
    let (mut cases, over_grpc) = tokio::join!(over_http(peer, broker), over_grpc(peer, broker));
    cases.extend(over_grpc);
    cases
}

const FURTHER: Option<&str> = Some("what is known of the message; the expression of a topic without one is `*`");
const AGAIN_IN_PROCESS: Option<&str> =
    Some("redelivered by the broker, by `spec.delivery`; a message that was taken never comes again");

async fn over_http(peer: &Peer, broker: &Broker) -> Vec<Case> {
    let (topic, group) = (broker.topic("compat-in", 1).await, unique("g"));
    let app = App::start(|request, times| {
        let status = if times == 1 { request.body.parse().unwrap_or(200) } else { 200 };
        (StatusCode::from_u16(status).unwrap(), Duration::ZERO)
    })
    .await;
    let mut fields = fields(broker, &topic, &group);
    fields.push(("direction".to_owned(), "input".to_owned()));
    let running =
        peer.start(&crate::pairs(&fields), Some(AppAt { address: app.address, is_grpc: false })).await.unwrap();
    let mut bodies: Vec<String> = STATUSES.iter().map(u16::to_string).collect();
    bodies.push(r#"{"a":1}"#.to_owned());
    publish(broker, &topic, &bodies).await;
    let refused = STATUSES.iter().filter(|status| **status >= 300).count();
    app.until(bodies.len() + refused).await;
    tokio::time::sleep(QUIET).await;
    let messages = app.messages();
    running.stop().await;

    let mut names = Names::default();
    names.add("topic", &topic);
    names.add("group", &group);
    names.add("app", app.address.to_string());
    let event = messages.iter().find(|message| message.body.starts_with('{')).unwrap();
    let mut observed = Observed::from([
        ("request".to_owned(), format!("{} {}", event.method, event.path)),
        ("body".to_owned(), event.body.clone()),
    ]);
    for (name, value) in &event.headers {
        // Of the connection, not of the message.
        if ["host", "content-length", "user-agent", "accept-encoding", "connection"].contains(&name.as_str()) {
            continue;
        }
        observed.insert(name.to_string(), shown_value(name.as_str(), &names.shown(value.to_str().unwrap())));
    }
    let mut cases = vec![Case { what: "a message over HTTP".to_owned(), observed, difference: FURTHER }];
    for status in STATUSES {
        let times = messages.iter().filter(|message| message.body == status.to_string()).count();
        cases.push(answered(format!("HTTP app answers {status}, then 200"), times, *status < 300));
    }
    cases
}

/// Values that differ from message to message are not shown.
fn shown_value(name: &str, value: &str) -> String {
    const OWN: &[&str] = &[
        "traceparent",
        "rocketmq-message-id",
        "rocketmq-born-time",
        "rocketmq-store-time",
        "rocketmq-queue-id",
        "rocketmq-queue-offset",
        "grpc-trace-bin",
        "grpc-timeout",
    ];
    if OWN.contains(&name) && !value.is_empty() { "…".to_owned() } else { value.to_owned() }
}

fn answered(what: String, times: usize, is_taken: bool) -> Case {
    let seen = match times {
        1 => "taken",
        2 => "comes again, until it is taken",
        _ => "comes again, and once more after it was taken",
    };
    let observed = Observed::from([("starts".to_owned(), seen.to_owned())]);
    Case { what, observed, difference: AGAIN_IN_PROCESS.filter(|_| !is_taken) }
}

async fn over_grpc(peer: &Peer, broker: &Broker) -> Vec<Case> {
    let (topic, group) = (broker.topic("compat-in-grpc", 1).await, unique("g"));
    let app = GrpcApp::start(|body| std::str::from_utf8(body).unwrap().parse().unwrap_or(0)).await;
    let mut fields = fields(broker, &topic, &group);
    fields.push(("direction".to_owned(), "input".to_owned()));
    let running =
        peer.start(&crate::pairs(&fields), Some(AppAt { address: app.address, is_grpc: true })).await.unwrap();
    let mut bodies: Vec<String> = CODES.iter().map(u32::to_string).collect();
    bodies.push(r#"{"a":1}"#.to_owned());
    publish(broker, &topic, &bodies).await;
    let expected = bodies.len() + CODES.len() - 1;
    eventually("every event", async || app.events().len() >= expected).await;
    tokio::time::sleep(QUIET).await;
    let events = app.events();
    running.stop().await;

    let mut names = Names::default();
    names.add("topic", &topic);
    names.add("group", &group);
    let event = events.iter().find(|event| event.request.data.starts_with(b"{")).unwrap();
    let mut observed = Observed::from([
        ("request".to_owned(), format!("OnBindingEvent name {:?}", event.request.name)),
        ("body".to_owned(), String::from_utf8_lossy(&event.request.data).into_owned()),
    ]);
    for (name, value) in &event.request.metadata {
        observed.insert(name.clone(), shown_value(name, &names.shown(value)));
    }
    for name in ["traceparent", "dapr-api-token"] {
        if event.headers.contains_key(name) {
            observed.insert(format!("{name} (gRPC metadata)"), "…".to_owned());
        }
    }
    let mut cases = vec![Case { what: "a message over gRPC".to_owned(), observed, difference: FURTHER }];
    for code in CODES {
        let body = code.to_string();
        let times = events.iter().filter(|event| event.request.data == body.as_bytes()).count();
        cases.push(answered(format!("gRPC app answers status {code}, then 0"), times, *code == 0));
    }
    cases
}
