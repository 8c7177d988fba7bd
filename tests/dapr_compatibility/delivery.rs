//! Deliveries to an application: what it gets, and what its answers do.

use std::time::Duration;

use axum::http::StatusCode;
use rocketmq_connector::rocketmq::{Message, Producer, ProducerConfig};

use crate::observed::{Case, Names, Observed};
use crate::peer::{AppAt, Peer};
use crate::rpc::{Event, GrpcApp};
use crate::worker_support::{App, Broker, Received, eventually, unique};

/// Time for what must not come: a message that was taken. A broker redelivers to a new group within 30 s.
const QUIET: Duration = Duration::from_secs(40);

/// How an application answers over a protocol.
struct Protocol {
    name: &'static str,
    /// What a row has before the number of an answer.
    number: &'static str,
    /// What the app answers first to a message whose body is this number; the next time it takes it.
    answers: &'static [u16],
    /// What it answers then.
    taken: u16,
    /// Whether a number is a refusal.
    is_refusal: fn(u16) -> bool,
}

const HTTP: Protocol = Protocol {
    name: "HTTP",
    number: "",
    answers: &[200, 204, 299, 302, 400, 404, 413, 500],
    taken: 200,
    is_refusal: |status| status >= 300,
};
const GRPC: Protocol =
    Protocol { name: "gRPC", number: "status ", answers: &[0, 2, 3, 13, 14], taken: 0, is_refusal: |code| code != 0 };

/// A message as the application got it.
struct Delivered {
    body: String,
    /// Everything besides, as it came.
    more: Vec<(String, String)>,
}

/// Fields of an input.
pub fn input(broker: &Broker, topic: &str, group: &str) -> Vec<(String, String)> {
    let fields = [
        ("accessProto", "tcp"),
        ("nameServer", broker.name_server()),
        ("topics", topic),
        ("consumerGroup", group),
        ("direction", "input"),
    ];
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

const FURTHER: Option<&str> = Some("what is known of the message; the expression of a topic without one is `*`");
const AGAIN_IN_PROCESS: Option<&str> =
    Some("redelivered by the broker, by `spec.delivery`; a message that was taken never comes again");

pub async fn observe(peer: &Peer, broker: &Broker) -> Vec<Case> {
    let (mut cases, over_grpc) = tokio::join!(over_http(peer, broker), over_grpc(peer, broker));
    cases.extend(over_grpc);
    cases
}

async fn over_http(peer: &Peer, broker: &Broker) -> Vec<Case> {
    let app = App::start(|request, times| {
        let status = if times == 1 { request.body.parse().unwrap_or(HTTP.taken) } else { HTTP.taken };
        (StatusCode::from_u16(status).unwrap(), Duration::ZERO)
    })
    .await;
    let at = AppAt { address: app.address, is_grpc: false };
    let delivered = || app.messages().into_iter().map(over_http_as_it_came).collect();
    refusing(peer, broker, &HTTP, at, delivered).await
}

fn over_http_as_it_came(message: Received) -> Delivered {
    // Of the connection, not of the message.
    const CONNECTION: &[&str] = &["host", "content-length", "user-agent", "accept-encoding", "connection"];
    let headers = message.headers.iter().filter(|(name, _)| !CONNECTION.contains(&name.as_str()));
    let mut more: Vec<_> =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    more.push(("request".to_owned(), format!("{} {}", message.method, message.path)));
    Delivered { body: message.body, more }
}

async fn over_grpc(peer: &Peer, broker: &Broker) -> Vec<Case> {
    let app = GrpcApp::start(|body| std::str::from_utf8(body).unwrap().parse().unwrap_or(GRPC.taken.into())).await;
    let at = AppAt { address: app.address, is_grpc: true };
    let delivered = || app.events().into_iter().map(over_grpc_as_it_came).collect();
    refusing(peer, broker, &GRPC, at, delivered).await
}

fn over_grpc_as_it_came(event: Event) -> Delivered {
    let mut more: Vec<_> = event.request.metadata.into_iter().collect();
    more.push(("request".to_owned(), format!("OnBindingEvent name {:?}", event.request.name)));
    let header = |name: &&str| event.headers.contains_key(*name);
    let headers = ["traceparent", "dapr-api-token"].into_iter().filter(header);
    more.extend(headers.map(|name| (format!("{name} (gRPC metadata)"), "…".to_owned())));
    Delivered { body: String::from_utf8_lossy(&event.request.data).into_owned(), more }
}

/// Sends a message for each answer of an application, and one that is taken at once.
async fn refusing(
    peer: &Peer,
    broker: &Broker,
    protocol: &Protocol,
    app: AppAt,
    delivered: impl Fn() -> Vec<Delivered>,
) -> Vec<Case> {
    let (topic, group) = (broker.topic("compat-in", 1).await, unique("g"));
    let running = peer.start(&crate::pairs(&input(broker, &topic, &group)), Some(app)).await.unwrap();
    running.until_reading(&topic).await;
    let mut bodies: Vec<String> = protocol.answers.iter().map(u16::to_string).collect();
    bodies.push(r#"{"a":1}"#.to_owned());
    publish(broker, &topic, &bodies).await;
    let refused = protocol.answers.iter().filter(|answer| (protocol.is_refusal)(**answer)).count();
    eventually("every message", async || delivered().len() >= bodies.len() + refused).await;
    tokio::time::sleep(QUIET).await;
    let delivered = delivered();
    running.stop().await;

    let mut names = Names::default();
    names.add("topic", &topic);
    names.add("group", &group);
    let message = delivered.iter().find(|message| message.body.starts_with('{')).unwrap();
    let more = message.more.iter().map(|(name, value)| (name.clone(), shown_value(name, &names.shown(value))));
    let mut observed: Observed = more.collect();
    observed.insert("body".to_owned(), message.body.clone());
    let Protocol { name, number, taken, .. } = protocol;
    let mut cases = vec![Case { what: format!("a message over {name}"), observed, difference: FURTHER }];
    for answer in protocol.answers {
        let times = delivered.iter().filter(|message| message.body == answer.to_string()).count();
        let what = format!("{name} app answers {number}{answer}, then {taken}");
        cases.push(answered(what, times, !(protocol.is_refusal)(*answer)));
    }
    cases
}

/// Values that differ from message to message are not shown.
pub fn shown_value(name: &str, value: &str) -> String {
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
    let is_own = OWN.contains(&name.to_ascii_lowercase().as_str());
    if is_own && !value.is_empty() { "…".to_owned() } else { value.to_owned() }
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
