//! Calls over gRPC.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use rocketmq_connector::worker::grpc::proto::{
    GetMetadataRequest, GetMetadataResponse, InvokeBindingRequest, InvokeBindingResponse, SetMetadataRequest,
};
use rocketmq_connector::worker::grpc::{GET_METADATA, INVOKE_BINDING, SET_METADATA};

use tonic::Code;

use crate::observed::{Case, Names, Observed};
use crate::peer::Peer;
use crate::rpc::{Reply, call};
use crate::worker_support::Broker;

/// Binding, operation, data, metadata, and why the worker is to answer something else.
type Row = (&'static str, &'static str, Bytes, &'static [(&'static str, &'static str)], Option<&'static str>);

fn rows() -> Vec<Row> {
    let data = |text: &'static str| Bytes::from_static(text.as_bytes());
    vec![
        ("rmq", "create", Bytes::from_static(b"raw \0\xff bytes"), &[], None),
        (
            "rmq",
            "create",
            Bytes::new(),
            &[],
            Some("an empty message is RocketMQ's to refuse; the answer says so before it is sent"),
        ),
        (
            "rmq",
            "create",
            data("g"),
            &[("rocketmq-topic", "<other>"), ("rocketmq-tag", "blue"), ("rocketmq-key", "k1")],
            None,
        ),
        ("rmq", "create", data("g"), &[("topics", "<other>")], None),
        (
            "rmq",
            "create",
            data("g"),
            &[("rocketmq-topic", "bad topic!")],
            Some("refused before it is sent, with the remedy"),
        ),
        ("rmq", "read", Bytes::new(), &[("timeout", "30s")], Some("documented by Dapr and not implemented there")),
        ("rmq", "list", data("x"), &[], None),
        ("rmq", "", data("x"), &[], None),
        ("nope", "create", data("x"), &[], None),
        ("", "create", data("x"), &[], None),
        ("rmq", "create", Bytes::from(vec![b'z'; 4 << 20]), &[], None),
        ("rmq", "create", Bytes::from(vec![b'z'; 4_000_000]), &[], None),
    ]
}

pub async fn observe(peer: &Peer, broker: &Broker) -> Vec<Case> {
    let (topic, other) = (broker.topic("compat", 1).await, broker.topic("compat-other", 1).await);
    let mut names = Names::default();
    names.add("topic", &topic);
    names.add("other", &other);
    let running = peer.start(&crate::pairs(&crate::http::output(broker, &topic)), None).await.unwrap();
    let mut cases = Vec::new();
    for (name, operation, data, metadata, difference) in rows() {
        let shown = match data.len() {
            length @ 1000.. => format!("{length} bytes"),
            _ => crate::page::code(&data.escape_ascii().to_string()),
        };
        let keys: String = metadata.iter().map(|(key, value)| format!(" `{key}: {value}`")).collect();
        let what = format!("`InvokeBinding` name {name:?} operation {operation:?} data {shown}{keys}");
        let metadata: BTreeMap<_, _> =
            metadata.iter().map(|(key, value)| ((*key).to_owned(), names.actual(value))).collect();
        let request = InvokeBindingRequest { name: name.to_owned(), data, metadata, operation: operation.to_owned() };
        let reply = call(running.grpc, INVOKE_BINDING, &request.encode_to_vec()).await;
        let mut observed = seen(&reply, &names);
        if let Some(data) = reply.data.filter(|_| reply.code == Code::Ok) {
            let response = InvokeBindingResponse::decode(data).unwrap();
            let items: Vec<serde_json::Value> = serde_json::from_slice(&response.data).unwrap_or_default();
            let keys = items.first().and_then(|item| item.as_object());
            let keys = keys.map(|item| item.keys().cloned().collect::<Vec<_>>().join(", "));
            observed.insert("data".to_owned(), keys.map(|keys| format!("a JSON list with {keys}")).unwrap_or_default());
            response.metadata.into_keys().for_each(|key| drop(observed.insert(key, "…".to_owned())));
        }
        cases.push(Case { what, observed, difference });
    }
    let set = SetMetadataRequest { key: "colour".to_owned(), value: "blue".to_owned() };
    let reply = call(running.grpc, SET_METADATA, &set.encode_to_vec()).await;
    cases.push(Case { what: "`SetMetadata`".to_owned(), observed: seen(&reply, &names), difference: None });
    let reply = call(running.grpc, GET_METADATA, &GetMetadataRequest {}.encode_to_vec()).await;
    let mut observed = seen(&reply, &names);
    let metadata = GetMetadataResponse::decode(reply.data.unwrap()).unwrap();
    let components = metadata.registered_components.iter();
    let components: Vec<_> = components.map(|one| format!("{} {} {}", one.name, one.r#type, one.version)).collect();
    observed.insert("components".to_owned(), components.join(", "));
    observed.insert("extended colour".to_owned(), metadata.extended_metadata["colour"].clone());
    cases.push(Case { what: "`GetMetadata`".to_owned(), observed, difference: None });
    for (path, why) in [
        (
            "/dapr.proto.runtime.v1.Dapr/GetState",
            Some("a binding worker serves no state; the answer says what it serves"),
        ),
        ("/grpc.health.v1.Health/Check", Some("a worker serves gRPC's health check")),
        ("/no.such.Service/Method", Some("a worker calls no other service")),
    ] {
        let reply = call(running.grpc, path, &[]).await;
        cases.push(Case { what: format!("`{path}`"), observed: seen(&reply, &names), difference: why });
    }
    running.stop().await;
    cases
}

fn seen(reply: &Reply, names: &Names) -> Observed {
    let mut observed = Observed::from([("code".to_owned(), format!("{:?}", reply.code))]);
    if reply.code != Code::Ok {
        observed.insert("message".to_owned(), names.shown(&reply.message));
    }
    if let Some(info) = &reply.info {
        observed.insert("reason".to_owned(), info.reason.clone());
        observed.insert("domain".to_owned(), info.domain.clone());
    }
    observed
}
