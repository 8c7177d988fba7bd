//! Requests over HTTP.

use axum::http::Method;

use crate::observed::{Case, Names, Observed, without_decoders_words};
use crate::peer::{API_TOKEN, Around, Peer, Running};
use crate::worker_support::{Answer, Broker, send, unique};

/// Method, path, headers, body, and why the worker is to answer something else.
type Row = (Method, &'static str, &'static [(&'static str, &'static str)], &'static str, Option<&'static str>);

const BINDING: &str = "/v1.0/bindings/rmq";
const TRACE: &[(&str, &str)] = &[("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")];
const PLAIN: &[(&str, &str)] = &[("content-type", "text/plain")];
const DOCUMENTED: Option<&str> = Some("documented by Dapr and not implemented there");

fn rows() -> Vec<Row> {
    let post = |body, why| (Method::POST, BINDING, &[] as &'static [_], body, why);
    vec![
        post(r#"{"operation": "create", "data": "hello"}"#, None),
        (Method::PUT, BINDING, &[], r#"{"operation": "create", "data": {"a": 1}}"#, None),
        post(r#"{"operation": "create", "data": null}"#, None),
        post(r#"{"operation": "create"}"#, None),
        post(r#"{"operation": "create", "data": true}"#, None),
        post(r#"{"operation": "create", "data": 12345678901234567890}"#, None),
        post(r#"{"operation":"create","data":"one","data":"two","extra":1} trailing"#, None),
        post(r#"{"Operation":"create","DATA":"names in any case"}"#, None),
        post(r#"{"operation": "create", "data": "m", "metadata": {}}"#, None),
        post(r#"{"operation": "create", "data": "m", "metadata": null}"#, None),
        post(r#"{"operation": "create", "data": "m", "metadata": {"colour": "blue"}}"#, None),
        post(r#"{"operation": "create", "data": "m", "metadata": {"rocketmq-topic": "<other>"}}"#, None),
        post(
            r#"{"operation": "create", "data": "m", "metadata": {"rocketmq-topic": "<other>", "rocketmq-tag": "blue", "rocketmq-key": "k1"}}"#,
            None,
        ),
        post(r#"{"operation": "create", "data": "m", "metadata": {"topics": "<other>"}}"#, None),
        post(
            r#"{"operation": "create", "data": "m", "metadata": {"rocketmq-topic": "<topic>,<other>"}}"#,
            Some("several topics are sent to at the same time, and the answer tells each one's result"),
        ),
        post(
            r#"{"operation": "create", "data": "m", "metadata": {"rocketmq-colour": "blue"}}"#,
            Some("an unknown key of RocketMQ is a slip of the pen: the answer lists those that are known"),
        ),
        post(r#"{"operation": "create", "data": "m", "metadata": {"rocketmq-topic": 5}}"#, None),
        post(
            r#"{"operation": "create", "data": "m", "metadata": {"rocketmq-topic": "bad topic!"}}"#,
            Some("refused before it is sent, with the remedy"),
        ),
        post(r#"{"operation": "read", "metadata": {"timeout": "30s"}}"#, DOCUMENTED),
        post(r#"{"operation": "list"}"#, None),
        post(r#"{"data": "x"}"#, None),
        post(r#"{"operation": "", "data": "x"}"#, None),
        post(r#"{"operation": "CREATE", "data": "x"}"#, None),
        post("", None),
        post("{bad", None),
        post("[]", None),
        post("null", Some("`null` is no object")),
        post(r#"{"operation": 1}"#, None),
        (Method::POST, "/v1.0/bindings/nope", &[], r#"{"operation": "create", "data": "x"}"#, None),
        (Method::POST, "/v1.0/bindings/RMQ", &[], r#"{"operation": "create", "data": "x"}"#, None),
        (Method::POST, BINDING, PLAIN, r#"{"operation": "create", "data": "x"}"#, None),
        (Method::POST, BINDING, TRACE, r#"{"operation": "create", "data": "x"}"#, None),
        (Method::GET, BINDING, &[], "", None),
        (Method::DELETE, BINDING, &[], "", None),
        (Method::PATCH, BINDING, &[], "{}", None),
        (Method::POST, "/v1.0/bindings/", &[], "{}", None),
        (Method::POST, "/v1.0/bindings", &[], "{}", None),
        (Method::POST, "/v1.0/bindings/rmq/more", &[], "{}", None),
        (Method::POST, "/v1.0/binding/x", &[], "{}", None),
        (Method::GET, "/", &[], "", None),
        (Method::GET, "/v1.0/healthz", &[], "", None),
        (Method::GET, "/v1.0/healthz/outbound", &[], "", None),
        (Method::POST, "/v1.0/healthz", &[], "", None),
        (Method::PUT, "/v1.0/metadata/colour", &[], "blue", Some("no trace context in an answer without content")),
        (Method::GET, "/v1.0/metadata", &[], "", Some("no other building block of Dapr runs beside the binding")),
    ]
}

pub async fn observe(peer: &Peer, broker: &Broker) -> Vec<Case> {
    let (topic, other) = (broker.topic("compat", 1).await, broker.topic("compat-other", 1).await);
    let mut names = Names::default();
    names.add("topic", &topic);
    names.add("other", &other);
    let fields = output(broker, &topic);
    let running = peer.start(&crate::pairs(&fields), None).await.unwrap();
    let mut cases = Vec::new();
    for (method, path, headers, body, difference) in rows() {
        let headers_shown: String = headers.iter().map(|(name, value)| format!(" `{name}: {value}`")).collect();
        let what = format!("`{method} {path}`{headers_shown} {}", crate::page::code(body));
        let answer = send(method, &running.url(path), headers, names.actual(body).into_bytes()).await;
        cases.push(Case { what, observed: seen(&answer, &names), difference });
    }
    cases.push(large(&running, &names).await);
    running.stop().await;
    cases.extend(with_tokens(peer, &fields, &names).await);
    cases
}

/// The same with an API that asks for a token.
async fn with_tokens(peer: &Peer, fields: &[(String, String)], names: &Names) -> Vec<Case> {
    let around = Around { has_tokens: true, ..Around::default() };
    let running = peer.start_with(&crate::pairs(fields), around).await.unwrap();
    let mut cases = Vec::new();
    for (method, path, token) in [
        (Method::POST, BINDING, Some(API_TOKEN)),
        (Method::POST, BINDING, Some("wrong")),
        (Method::POST, BINDING, None),
        (Method::GET, "/v1.0/metadata", None),
        (Method::GET, "/v1.0/healthz", None),
        (Method::GET, "/v1.0/healthz/outbound", None),
    ] {
        let headers: Vec<_> = token.map(|token| ("dapr-api-token", token)).into_iter().collect();
        let shown = match token {
            Some(token) => format!("`dapr-api-token: {token}`"),
            None => "without a token".to_owned(),
        };
        let body = if method == Method::POST { r#"{"operation": "create", "data": "m"}"# } else { "" };
        let answer = send(method.clone(), &running.url(path), &headers, body.into()).await;
        let what = format!("`{method} {path}` of an API with a token, {shown}");
        cases.push(Case { what, observed: seen(&answer, names), difference: None });
    }
    running.stop().await;
    cases
}

/// Fields of an output.
pub fn output(broker: &Broker, topic: &str) -> Vec<(String, String)> {
    let fields = [
        ("accessProto", "tcp"),
        ("nameServer", broker.name_server()),
        ("topics", topic),
        ("consumerGroup", &unique("g")),
        ("direction", "output"),
    ];
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

async fn large(running: &Running, names: &Names) -> Case {
    let body = format!(r#"{{"operation": "create", "data": "{}"}}"#, "y".repeat(5 << 20));
    let answer = send(Method::POST, &running.url(BINDING), &[], body.into_bytes()).await;
    Case { what: "`POST` of 5 MiB".to_owned(), observed: seen(&answer, names), difference: None }
}

fn seen(answer: &Answer, names: &Names) -> Observed {
    let mut observed = Observed::from([("status".to_owned(), answer.status.to_string())]);
    for (name, value) in &answer.headers {
        let value = value.to_str().unwrap();
        // What differs from answer to answer is not shown.
        let value = match name.as_str() {
            "date" | "content-length" | "connection" => continue,
            name if name.starts_with("metadata.") => "…",
            _ => value,
        };
        observed.insert(name.to_string(), names.shown(value));
    }
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
    match &body {
        serde_json::Value::Object(error) if error.contains_key("errorCode") => {
            observed.insert("errorCode".to_owned(), error["errorCode"].as_str().unwrap().to_owned());
            let message = error["message"].as_str().unwrap();
            observed.insert("message".to_owned(), without_decoders_words(&names.shown(message)));
            let more = error.keys().filter(|key| !["errorCode", "message"].contains(&key.as_str()));
            more.for_each(|key| drop(observed.insert(key.clone(), "…".to_owned())));
        }
        serde_json::Value::Object(fields) => {
            observed.insert("fields".to_owned(), fields.keys().cloned().collect::<Vec<_>>().join(", "));
            if let Some(components) = fields.get("components") {
                observed.insert("components".to_owned(), components.to_string());
            }
        }
        serde_json::Value::Array(items) => {
            let keys = items.first().and_then(|item| item.as_object());
            let keys = keys.map(|item| item.keys().cloned().collect::<Vec<_>>().join(", ")).unwrap_or_default();
            observed.insert("body".to_owned(), format!("a JSON list with {keys}"));
        }
        _ => drop(observed.insert("body".to_owned(), names.shown(&answer.body))),
    }
    observed
}
