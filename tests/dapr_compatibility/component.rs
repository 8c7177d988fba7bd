//! The fields of the component, one by one: whether it starts, and what a first `create` is answered.

use std::time::{Duration, Instant};

use axum::http::Method;
use futures::{StreamExt, stream};

use crate::observed::{Case, Names, Observed};
use crate::peer::{AppAt, Peer, Running};
use crate::worker_support::topic::count;
use crate::worker_support::{App, Broker, send, unique};

/// Components that run at the same time, of each direction.
const AT_ONCE: usize = 4;

/// Changed fields, and why the worker is to differ.
type Row = (&'static [(&'static str, &'static str)], Option<&'static str>);

/// Changes of the component of an output (without a value the field is left out), and why the worker is to differ.
const OUTPUTS: &[Row] = &[
    (&[], None),
    (&[("accessProto", "")], Some("without `accessProto` it is tcp")),
    (&[("accessProto", "tcp-cgo")], Some("the same client, with `consumerThreadNums` honoured")),
    (&[("accessProto", "udp")], Some("refused before anything runs, with the values that there are")),
    (&[("nameServer", "")], Some("refused before anything runs, with the field")),
    (&[("nameServer", "http://<name server>")], None),
    (&[("nameServer", "localhost:<port>")], Some("a host name is an address: the page's own example has one")),
    (&[("nameServer", "<name server>,127.0.0.1:1")], None),
    (&[("nameServer", "<name server>;127.0.0.1:1")], Some("RocketMQ's own lists are separated by semicolons")),
    (&[("nameServer", "notanaddress")], Some("the port is 9876 when none is given; the answer says what failed")),
    (&[("topics", "")], Some("nothing was sent: an error")),
    (&[("topics", "<topic>,<other>")], Some("the page's list of topics: sent to each of them")),
    (&[("topics", "<topic>||blue")], None),
    (&[("topics", "<topic>||blue||red")], Some("a message has one tag: the request names it in `rocketmq-tag`")),
    (&[("consumerBatchSize", "10")], None),
    (&[("consumerThreadNums", "4")], None),
    (&[("retries", "5")], None),
    (&[("retries", "abc")], Some("refused before anything runs, with field and value")),
    (&[("direction", "")], Some("the page's own example, without a direction, runs")),
    (&[("direction", "input, output")], Some("both directions at once run")),
    (&[("colour", "blue")], None),
];

/// The same of an input, and whether a message that waits is delivered.
const INPUTS: &[Row] = &[
    (&[], None),
    (&[("topics", "")], Some("refused before anything runs, with the field")),
    (&[("consumerGroup", "")], Some("refused before anything runs, with the field")),
    (&[("topics", "<topic>,<other>")], Some("the page's list of topics is read")),
    (&[("topics", "<topic>||blue")], None),
    (&[("topics", "<topic>||blue || red")], Some("an expression of several tags is read")),
    (&[("consumerBatchSize", "10")], None),
    (&[("consumerThreadNums", "4")], None),
    (&[("route", "/orders")], None),
];

/// What a component is for, and how its base fields are.
#[derive(Debug, Clone, Copy)]
enum Direction {
    Output,
    Input,
}

pub async fn observe(peer: &Peer, broker: &Broker) -> Vec<Case> {
    let each = |direction, rows: &'static [Row]| {
        stream::iter(rows).map(move |row| field(peer, broker, direction, row)).buffered(AT_ONCE).collect()
    };
    let (outputs, inputs): (Vec<_>, Vec<_>) =
        tokio::join!(each(Direction::Output, OUTPUTS), each(Direction::Input, INPUTS));
    [outputs, inputs].concat()
}

fn names(broker: &Broker, topic: &str, other: &str) -> Names {
    let mut names = Names::default();
    names.add("other", other);
    names.add("topic", topic);
    names.add("name server", broker.name_server());
    names
}

/// The fields with their changes, and how the page calls them.
fn changed(
    fields: Vec<(String, String)>,
    change: &[(&str, &str)],
    kind: &str,
    broker: &Broker,
    names: &Names,
) -> (Vec<(String, String)>, String) {
    let port = broker.name_server().rsplit_once(':').unwrap().1;
    let mut fields = fields;
    for (field, value) in change {
        fields.retain(|(name, _)| name != field);
        if !value.is_empty() {
            fields.push(((*field).to_owned(), names.actual(value).replace("<port>", port)));
        }
    }
    let shown = change.iter().map(|(field, value)| match *value {
        "" => format!(" without `{field}`"),
        value => format!(" `{field}: {}`", value.replace('|', "\\|")),
    });
    let shown: String = shown.collect();
    (
        fields,
        if shown.is_empty() {
            format!("{kind}: accessProto, nameServer, topics, consumerGroup, direction")
        } else {
            format!("{kind}{shown}")
        },
    )
}

fn refused(why: &str, names: &Names) -> Observed {
    Observed::from([("starts".to_owned(), "does not start".to_owned()), ("message".to_owned(), names.shown(why))])
}

/// Starts a component with a row's changes, and tries it.
async fn field(peer: &Peer, broker: &Broker, direction: Direction, (change, difference): &Row) -> Case {
    let (topic, other) = (broker.topic("compat-field", 1).await, broker.topic("compat-field-other", 1).await);
    let names = names(broker, &topic, &other);
    let (kind, fields) = match direction {
        Direction::Output => ("output", crate::http::output(broker, &topic)),
        Direction::Input => ("input", crate::delivery::input(broker, &topic, &unique("g"))),
    };
    let (fields, what) = changed(fields, change, kind, broker, &names);
    let app = App::taking().await;
    let reads = fields.iter().find(|(name, _)| name == "direction").is_none_or(|(_, value)| value.contains("input"));
    let at = reads.then_some(AppAt { address: app.address, is_grpc: false });
    let observed = match peer.start(&crate::pairs(&fields), at).await {
        Err(why) => refused(&why, &names),
        Ok(running) => {
            let mut observed = match direction {
                Direction::Output => created(&running, broker, &topic, &names).await,
                Direction::Input => delivered(&running, broker, &topic, &app, &names).await,
            };
            observed.insert("starts".to_owned(), "starts".to_owned());
            running.stop().await;
            observed
        }
    };
    Case { what, observed, difference: *difference }
}

async fn created(running: &Running, broker: &Broker, topic: &str, names: &Names) -> Observed {
    let body = br#"{"operation": "create", "data": "m"}"#.to_vec();
    let answer = send(Method::POST, &running.url("/v1.0/bindings/rmq"), &[], body).await;
    // A broker counts a message some time after it has taken it.
    let began = Instant::now();
    let mut messages = count(broker, topic).await;
    while messages == 0 && answer.status == 200 && began.elapsed() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        messages = count(broker, topic).await;
    }
    let mut observed = Observed::from([
        ("create".to_owned(), answer.status.to_string()),
        ("messages in the topic".to_owned(), messages.to_string()),
    ]);
    if answer.status != 200 {
        let error: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        observed.insert("message".to_owned(), names.shown(error["message"].as_str().unwrap()));
    }
    observed
}

async fn delivered(running: &Running, broker: &Broker, topic: &str, app: &App, names: &Names) -> Observed {
    // A new group of a worker begins with what comes after its first start.
    tokio::time::sleep(Duration::from_secs(2)).await;
    crate::delivery::publish(broker, topic, &["m".to_owned()]).await;
    let mut waited = Duration::ZERO;
    while app.messages().is_empty() && waited < Duration::from_secs(30) && running.complaint().is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        waited += Duration::from_millis(100);
    }
    let path = app.messages().first().map(|message| message.path.clone());
    if let Some(path) = path {
        return Observed::from([("delivered".to_owned(), path)]);
    }
    let complaint = names.shown(&running.complaint());
    Observed::from([("delivered".to_owned(), "nothing".to_owned()), ("message".to_owned(), complaint)])
}
