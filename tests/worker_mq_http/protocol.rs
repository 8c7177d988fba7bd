//! Our requests beside those of the SDKs, byte by byte.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use rocketmq_connector::rocketmq::{Credentials, Delay, ErrorKind, Message};
use rocketmq_connector::rocketmq_http::{HttpClient, HttpClientConfig, Poll};
use serde_json::json;

use super::GROUP;
use super::sdk::Sdk;
use super::server::{ACCESS_KEY, INSTANCE, Recorded, SECRET_KEY, Server, elements};

fn client_with(server: &Server, token: Option<&str>) -> HttpClient {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    HttpClient::new(HttpClientConfig {
        endpoint: server.endpoint(),
        instance_id: Some(INSTANCE.to_owned()),
        credentials: Credentials {
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SECRET_KEY.into(),
            security_token: token.map(Into::into),
        },
        tls,
        server_name: None,
        timeout: Duration::from_secs(5),
    })
    .unwrap()
}

fn client(server: &Server) -> HttpClient {
    client_with(server, None)
}

fn poll(topic: &str) -> Poll {
    let (topic, group) = (topic.to_owned(), GROUP.to_owned());
    Poll { topic, group, tags: None, messages: 16, wait_seconds: 3, ordered: false }
}

/// What two requests have in common when they are the same: all but the date, the signature over it, and who asks.
fn comparable(request: &Recorded) -> (String, String, Vec<(String, String)>, String) {
    // Headers that libraries add, which mean nothing here.
    let others = ["date", "authorization", "user-agent", "connection", "accept-encoding"];
    let headers = request.headers.iter().filter(|(name, _)| !others.contains(&name.as_str()));
    let mut headers: Vec<_> =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    headers.sort();
    // The SDK says that there is no body; without one nothing needs to be said.
    headers.retain(|header| *header != ("content-length".to_owned(), "0".to_owned()));
    (request.method.to_string(), request.resource.clone(), headers, request.body.clone())
}

/// The signature as it is over a date of one's own choice: both sides must come to the same one.
fn key_of(request: &Recorded) -> String {
    request.header("authorization").split_once(':').unwrap().0.to_owned()
}

/// The last two requests of a method: the SDK's, then ours.
fn assert_equal(server: &Server, method: &Method, what: &str) {
    let requests = server.requests(method);
    let [.., theirs, ours] = requests.as_slice() else { panic!("{what}: too few requests") };
    assert_eq!(comparable(theirs), comparable(ours), "{what}");
    assert_eq!(key_of(theirs), key_of(ours), "{what}");
    assert!(ours.header("user-agent").starts_with("rocketmq-connector/"), "{what}");
    if theirs.header("date") == ours.header("date") {
        assert_eq!(theirs.header("authorization"), ours.header("authorization"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_byte_by_byte_those_of_the_sdk_for_python() {
    let server = Server::start(&["orders"]).await;
    let (client, mut python) = (client(&server), Sdk::python(&server));
    let publications = [
        (json!({"body": "hello"}), Message::new("orders", "hello")),
        (
            json!({"body": "<a & b> \"c\" ключ 🦀\nline", "tag": "tagA"}),
            Message::new("orders", "<a & b> \"c\" ключ 🦀\nline").with_tag("tagA"),
        ),
        (
            json!({"body": "{\"n\":1}", "tag": "t", "key": "k1 k2", "sharding_key": "s", "delivery_time": 1_893_499_200_000_i64,
                   "properties": {"own": "value"}}),
            Message::new("orders", "{\"n\":1}")
                .with_tag("t")
                .with_key("k1")
                .with_key("k2")
                .with_sharding_key("s")
                .with_delay(Delay::At(1_893_499_200_000))
                .with_property("own", "value"),
        ),
    ];
    for (mut theirs, ours) in publications {
        theirs["topic"] = json!("orders");
        python.result("publish", theirs.clone()).await;
        client.publish(&ours).await.unwrap();
        assert_equal(&server, &Method::POST, &theirs.to_string());
        let stored = server.messages("orders");
        let [.., of_theirs, of_ours] = stored.as_slice() else { panic!("too few messages") };
        assert_eq!((&of_theirs.body, &of_theirs.tag), (&of_ours.body, &of_ours.tag));
        assert_eq!(of_theirs.properties, of_ours.properties);
    }

    let polls = [
        (json!({}), poll("orders")),
        (
            json!({"tag": "tagA||t ag", "count": 5}),
            Poll { tags: Some("tagA||t ag".into()), messages: 5, ..poll("orders") },
        ),
        (json!({"ordered": true, "wait": 1}), Poll { ordered: true, wait_seconds: 1, ..poll("orders") }),
    ];
    for (mut theirs, ours) in polls {
        (theirs["topic"], theirs["group"]) = (json!("orders"), json!(GROUP));
        python.call("consume", theirs.clone()).await;
        client.poll(&ours).await.unwrap();
        assert_equal(&server, &Method::GET, &theirs.to_string());
    }

    let receipts = ["1-a/+=".to_owned(), "2-<b>&".to_owned()];
    let refused = python.call("ack", json!({"topic": "orders", "group": GROUP, "receipts": receipts})).await;
    let ours = client.acknowledge("orders", GROUP, &receipts).await.unwrap();
    assert_equal(&server, &Method::DELETE, "an acknowledgement");
    // Both understand the server's answer alike.
    let theirs: Vec<_> =
        refused["refused"].as_array().unwrap().iter().map(|one| one["ReceiptHandle"].clone()).collect();
    assert_eq!(theirs, ours.iter().map(|one| json!(one.receipt)).collect::<Vec<_>>());
    assert!(ours.iter().all(|one| one.error.to_string().contains("MessageNotExist")), "{ours:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_ask_for_what_the_sdk_for_node_asks_for() {
    let server = Server::start(&["orders"]).await;
    server.lock().users.insert(ACCESS_KEY.to_owned(), (SECRET_KEY.to_owned(), Some("the-token".to_owned())));
    let (client, mut node) =
        (client_with(&server, Some("the-token")), Sdk::javascript_with(&server, Some("the-token")));
    let body = "<a & b> \"c\" ключ 🦀\nline";
    let command = json!({"topic": "orders", "body": body, "tag": "t", "key": "k", "sharding_key": "s", "delivery_time": 5,
        "properties": {"own": "value"}});
    node.result("publish", command).await;
    let message = Message::new("orders", body).with_tag("t").with_key("k").with_sharding_key("s");
    client.publish(&message.with_delay(Delay::At(5)).with_property("own", "value")).await.unwrap();
    let requests = server.requests(&Method::POST);
    let [theirs, ours] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!(theirs.resource, ours.resource);
    assert_eq!(theirs.header("security-token"), ours.header("security-token"));
    let fields = |request: &Recorded| {
        let mut fields = elements(&request.body, "Message").unwrap();
        fields.sort();
        let sorted = fields.into_iter().map(|(name, text)| {
            let mut pairs: Vec<_> = text.split('|').filter(|pair| !pair.is_empty()).map(str::to_owned).collect();
            pairs.sort();
            (name, pairs)
        });
        sorted.collect::<Vec<_>>()
    };
    assert_eq!(fields(theirs), fields(ours));

    node.result("consume", json!({"topic": "orders", "group": "other", "tag": "t||u"})).await;
    let ours = Poll { tags: Some("t||u".into()), group: "another".into(), ..poll("orders") };
    assert_eq!(client.poll(&ours).await.unwrap().0.len(), 2);
    let requests = server.requests(&Method::GET);
    let parameters =
        |request: &Recorded| ["ns", "tag", "numOfMessages", "waitseconds", "trans"].map(|name| request.parameter(name));
    assert_eq!(parameters(&requests[0]), parameters(&requests[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_is_what_the_sdks_see() {
    let server = Server::start(&["orders"]).await;
    let (client, mut python, mut node) = (client(&server), Sdk::python(&server), Sdk::javascript(&server));
    let body = "a\r\nb\tc <&> \"ключ\" 🦀 ]]>";
    let message = Message::new("orders", body).with_tag("t").with_key("k").with_sharding_key("s");
    client.publish(&message.with_delay(Delay::At(5)).with_property("own", "value")).await.unwrap();
    let theirs = python.result("consume", json!({"topic": "orders", "group": "py"})).await;
    let of_node = node.result("consume", json!({"topic": "orders", "group": "js"})).await;
    let (ours, _) = client.poll(&poll("orders")).await.unwrap();
    let ours = &ours[0].message;
    for seen in [&theirs[0], &of_node[0]] {
        assert_eq!(seen["body"], body);
        assert_eq!((&seen["tag"], &seen["key"], &seen["sharding_key"]), (&json!("t"), &json!("k"), &json!("s")));
        assert_eq!(
            (&seen["delivery_time"], &seen["times"], &seen["id"]),
            (&json!(5), &json!(1), &json!(ours.message_id))
        );
        assert_eq!(seen["properties"]["own"], "value");
    }
    assert_eq!((&ours.body[..], ours.tag.as_deref(), ours.reconsume_times), (body.as_bytes(), Some("t"), 0));
    assert_eq!((ours.keys.as_slice(), ours.sharding_key.as_deref()), (&["k".into()][..], Some("s")));
    assert_eq!(ours.properties["own"], "value");
    // A receipt of one works for the other: the server knows both alike.
    let receipt = theirs[0]["receipt"].as_str().unwrap().to_owned();
    assert!(client.acknowledge("orders", "py", &[receipt]).await.unwrap().is_empty());
    assert!(server.all_done("orders", "py") && !server.all_done("orders", "js"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_known_is_told_apart_from_what_is_not_there() {
    let server = Server::start(&["orders"]).await;
    let client = client(&server);
    let wrong = |access_key: &str, secret_key: &str| Credentials {
        access_key: access_key.to_owned(),
        secret_key: secret_key.into(),
        security_token: None,
    };
    // A question changes nothing, and the credentials are proved without a group or a topic that exists.
    for topic in [Some("orders"), Some("missing"), None] {
        client.probe(topic, GROUP).await.unwrap_or_else(|error| panic!("{topic:?}: {error}"));
    }
    for (credentials, code, remedy) in [
        (wrong(ACCESS_KEY, "wrong"), "SignatureDoesNotMatch", "check secretKey"),
        (wrong("nobody", SECRET_KEY), "InvalidAccessKeyId", "check accessKey"),
    ] {
        let client = client.with_credentials(credentials);
        for topic in [Some("orders"), None] {
            let error = client.probe(topic, GROUP).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AccessDenied);
            assert!(error.to_string().contains(code) && error.remedy().contains(remedy), "{error}: {}", error.remedy());
            assert!(!error.to_string().contains("wrong\""), "{error}");
        }
    }
    let error = client.publish(&Message::new("missing", "x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopicNotFound);
    assert_eq!(server.requests(&Method::POST).len(), 1, "a missing topic is not asked for again");
}
