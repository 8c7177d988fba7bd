use serde_json::{Value, json};

use crate::controller::feed::ReferenceKind;

use super::*;

/// A binding called `orders` in namespace `shop` whose spec is `base` with the fields of `changes`; null removes a field.
fn binding(changes: Value) -> RocketMQBinding {
    let mut spec = json!({
        "nameServer": "names:9876",
        "topics": ["orders"],
        "direction": "InputOutput",
        "app": {"service": {"name": "app", "port": 8080}},
    });
    for (field, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(spec.as_object_mut().unwrap().remove(field)),
            value => spec[field] = value.clone(),
        }
    }
    let object = json!({
        "apiVersion": "connector.rocketmq.dev/v1alpha1",
        "kind": "RocketMQBinding",
        "metadata": {"name": "orders", "namespace": "shop", "uid": "u", "generation": 1},
        "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

fn settings() -> Settings {
    Settings::new("operators", "operator-0", "image")
}

fn check(changes: Value) -> Result<ValidatedBinding, Error> {
    validate(&binding(changes), &Dereferenced::default(), &settings())
}

fn accepted(changes: Value) -> ValidatedBinding {
    check(changes).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(changes: Value) -> Error {
    check(changes).err().expect("the binding should be refused")
}

#[test]
fn wrong_fields_are_refused_with_field_value_and_remedy() {
    let constant = |interval: Value| json!({"delivery": {"backoff": {"policy": "Constant", "interval": interval}}});
    let table = [
        (
            json!({"nameServer": "names:99999"}),
            "spec.nameServer: \"names:99999\" has the port \"99999\"; use one from 1 to 65535",
        ),
        (json!({"nameServer": null}), "spec.nameServer: no name server is given"),
        (
            json!({"app": {"url": "http://a", "protocol": "GRPC"}}),
            "spec.app.url: \"http://a\" does not fit protocol GRPC; start it with grpc:// or grpcs://",
        ),
        (
            json!({"app": {"url": "grpc://a", "protocol": "GRPC", "routes": [{"topic": "orders", "path": "/o"}]}}),
            "spec.app.routes: is for protocol HTTP; remove it",
        ),
        (json!({"app": {"url": "grpc://a", "protocol": "GRPC", "path": "/o"}}), "spec.app.path: is for protocol HTTP"),
        (json!({"app": {"url": "grpc://a"}}), "spec.app.url: \"grpc://a\" does not fit protocol HTTP"),
        (json!({"app": {"url": "http://a", "timeout": "soon"}}), "spec.app.timeout: \"soon\" is no duration"),
        (
            json!({"app": {"url": "http://a", "routes": [{"topic": "other", "path": "/o"}]}}),
            "spec.app.routes: topic \"other\" is not one of spec.topics",
        ),
        (
            json!({"delivery": {"deadLetter": {"topic": "orders"}}}),
            "spec.delivery.deadLetter.topic: \"orders\" is one of spec.topics",
        ),
        (constant(json!("x")), "spec.delivery.backoff.interval: \"x\" is no duration"),
        (
            json!({"delivery": {"startFrom": {"position": "Offsets"}}}),
            "spec.delivery.startFrom.position: Offsets is for RocketMQSync",
        ),
        (
            json!({"direction": "Output", "app": null, "delivery": null, "autoscaling": {"maxReplicas": 3, "targetLag": 100}}),
            "spec.autoscaling.targetLag: no messages wait for a binding of direction Output",
        ),
        (json!({"api": {"httpPort": 8080}}), "spec.api.httpPort: 8080 is the worker's admin port; choose another"),
        (json!({"api": {"grpcPort": 8080}}), "spec.api.grpcPort: 8080 is the worker's admin port; choose another"),
        (json!({"api": {"maxBodySize": "big"}}), "spec.api.maxBodySize: \"big\" is no size"),
        (
            json!({"template": {"podOverrides": {"spec": {"x": 1}}}}),
            "spec.template.podOverrides.spec.x: is not a field",
        ),
    ];
    for (changes, expected) in table {
        let error = refused(changes.clone());
        assert!(matches!(error, Error::Invalid(_)), "{changes}: {error:?}");
        assert!(error.to_string().contains(expected), "{changes}: {error}");
    }
}

/// The changes of a binding that speaks the Aliyun MQ HTTP protocol.
fn over_http(more: Value) -> Value {
    let mut changes = json!({
        "nameServer": null,
        "accessProto": "http",
        "endpoint": "https://1.mqrest.example.com",
        "instanceId": "MQ_INST_1",
        "accessKey": {"value": "a"},
        "secretKey": {"value": "s"},
    });
    changes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    changes
}

#[test]
fn what_the_http_protocol_cannot_do_is_refused_with_field_value_and_remedy() {
    let delivery = |delivery: Value| json!({"delivery": delivery});
    let long = format!("orders||{}", "tag||".repeat(100));
    let table = [
        (
            json!({"endpoint": "https://mq.example.com/path"}),
            "spec.endpoint: \"https://mq.example.com/path\" has more than scheme, host and port; write https://HOST[:PORT] only",
        ),
        (json!({"endpoint": "mq"}), "spec.endpoint: \"mq\" is no URL; write the HTTP endpoint of the instance"),
        (
            json!({"endpoint": "http://mq", "tls": {"enabled": true}}),
            "spec.tls: spec.endpoint \"http://mq\" is not encrypted; write https://mq there, or remove tls",
        ),
        (json!({"nameServer": "names"}), "spec.nameServer: \"names\" is not used with accessProto: http; remove it"),
        (
            json!({"nameServerDomain": "http://n"}),
            "spec.nameServerDomain: \"http://n\" is not used with accessProto: http",
        ),
        (
            json!({"consumerBatchSize": 17}),
            "spec.consumerBatchSize: 17 is more than accessProto: http gives at once; use 1 to 16",
        ),
        (json!({"topics": [long]}), "makes a request line that is too long for accessProto: http; name fewer"),
        (
            json!({"autoscaling": {"maxReplicas": 3, "targetLag": 100}}),
            "spec.autoscaling.targetLag: 100: with accessProto: http nobody tells how many messages wait; use targetCPU",
        ),
        (
            delivery(json!({"backoff": {"policy": "Constant", "interval": "1s"}})),
            "spec.delivery.backoff.policy: Constant: with accessProto: http the service alone decides when a message comes again",
        ),
        (
            delivery(json!({"maxAttempts": 3})),
            "spec.delivery.maxAttempts: 3: with accessProto: http a worker cannot move a message to the group's dead-letter topic",
        ),
        (
            delivery(json!({"startFrom": {"position": "First"}})),
            "spec.delivery.startFrom.position: First: with accessProto: http the service alone knows where a group starts",
        ),
    ];
    for (changes, expected) in table {
        let error = refused(over_http(changes.clone()));
        assert!(matches!(error, Error::Invalid(_)), "{changes}: {error:?}");
        assert!(error.to_string().contains(expected), "{changes}: {error}");
    }
}

#[test]
fn an_http_binding_gets_its_endpoint_its_credentials_and_the_limits_of_the_protocol() {
    let tls = json!({"ca": {"configMapKeyRef": {"name": "authority", "key": "ca.crt"}}});
    let mut dereferenced = Dereferenced::default();
    dereferenced.found.insert(ReferenceKind::ConfigMap, "authority", ["ca.crt".to_owned()]);
    let delivery = json!({"ordered": true, "maxAttempts": 3, "deadLetter": {"topic": "dead"}, "backoff":
        {"policy": "Constant", "interval": "1s"}});
    let changes = over_http(json!({"tls": tls, "securityToken": {"value": "t"}, "delivery": delivery}));
    let validated = validate(&binding(changes), &dereferenced, &settings()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(validated.cluster.http_endpoint.as_deref(), Some("https://1.mqrest.example.com"));
    let cluster = validated.cluster.config();
    assert_eq!((cluster.name_servers.len(), cluster.instance_id.as_deref()), (0, Some("MQ_INST_1")));
    let credentials = cluster.credentials.unwrap();
    assert!(credentials.security_token.unwrap().ends_with("/securityToken"));
    assert!(cluster.tls.unwrap().ca.unwrap().ends_with("/ca.crt"));
    let input = validated.input.unwrap();
    assert_eq!((input.batch_size, input.redelivery.max_attempts), (16, 3));

    let without = accepted(over_http(json!({}))).input.unwrap();
    assert_eq!(without.redelivery.max_attempts, u32::MAX, "the service alone gives up");
    assert_eq!(accepted(json!({})).input.unwrap().batch_size, 32, "tcp is not concerned");
}

#[test]
fn all_wrong_fields_are_told_at_once() {
    let error = refused(
        json!({"nameServer": "a:0", "api": {"httpPort": 8080}, "delivery": {"deadLetter": {"topic": "orders"}}}),
    );
    for field in ["spec.nameServer", "spec.api.httpPort", "spec.delivery.deadLetter"] {
        assert!(error.to_string().contains(field), "{error}");
    }
}

#[test]
fn defaults_are_those_of_dapr() {
    let validated = accepted(json!({}));
    let input = validated.input.unwrap();
    assert_eq!((input.app_url.as_str(), input.path.as_str()), ("http://app.shop.svc:8080", "/orders"));
    assert_eq!((input.max_concurrency, input.batch_size, input.timeout_millis), (20, 32, 30_000));
    assert_eq!((input.redelivery.max_attempts, input.start_from), (16, config::StartFrom::Last));
    let output = validated.output.unwrap();
    assert_eq!((output.http_port, output.grpc_port, output.max_body_bytes), (3500, 50_001, 4 << 20));
    assert_eq!((validated.group.as_str(), validated.replicas), ("shop_orders", None));
    assert_eq!(validated.workload.grace_seconds, 48);
}

#[test]
fn an_app_may_speak_grpc_and_have_routes() {
    let app = json!({"service": {"name": "app", "port": 50051}, "protocol": "GRPC"});
    let input = accepted(json!({"app": app})).input.unwrap();
    assert_eq!((input.app_url.as_str(), input.protocol), ("grpc://app.shop.svc:50051", config::AppProtocol::Grpc));
    let app = json!({"url": "http://a", "routes": [{"topic": "b", "path": "/b"}]});
    let input = accepted(json!({"app": app, "topics": ["a", "b||x"]})).input.unwrap();
    assert_eq!(input.routes, [("b".to_owned(), "/b".to_owned())].into());
}

#[test]
fn direction_decides_what_there_is() {
    let input_only = accepted(json!({"direction": "Input"}));
    assert!(input_only.input.is_some() && input_only.output.is_none());
    let output_only = accepted(json!({"direction": "Output", "app": null, "topics": null}));
    assert!(output_only.input.is_none() && output_only.output.is_some());
}

#[test]
fn state_wins_over_replicas_and_autoscaling() {
    assert_eq!(accepted(json!({"replicas": 3})).replicas, Some(3));
    assert_eq!(accepted(json!({"replicas": 3, "autoscaling": {"maxReplicas": 5}})).replicas, None);
    assert_eq!(
        accepted(json!({"replicas": 3, "autoscaling": {"maxReplicas": 5}, "state": "Paused"})).replicas,
        Some(0)
    );
}

#[test]
fn topics_are_split_from_their_expressions() {
    let validated = accepted(json!({"topics": ["a", "b||*", "c||x||y"]}));
    let topics: Vec<_> =
        validated.topics.iter().map(|topic| (topic.topic.as_str(), topic.expression.as_deref())).collect();
    assert_eq!(topics, [("a", None), ("b", Some("*")), ("c", Some("x||y"))]);
}

#[test]
fn a_thousand_topics_are_taken() {
    let topics: Vec<_> = (0..1000).map(|number| format!("topic-{number}")).collect();
    assert_eq!(accepted(json!({"topics": topics})).topics.len(), 1000);
}

#[test]
fn derived_groups_are_short_valid_and_unique() {
    let group = |name: &str| {
        let mut binding = binding(json!({}));
        binding.metadata.name = Some(name.to_owned());
        validate(&binding, &Dereferenced::default(), &settings()).ok().unwrap().group
    };
    let (long, other) = (group(&format!("{}a", "x".repeat(252))), group(&format!("{}b", "x".repeat(252))));
    assert!(long.len() <= DERIVED_GROUP_LIMIT && long != other);
    assert_ne!(group("a.b"), group("a-b"));
    assert!(group("a.b").chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
}

#[test]
fn a_missing_connection_is_unresolved() {
    let error = refused(json!({"nameServer": null, "connectionRef": {"name": "main"}}));
    assert!(matches!(error, Error::Unresolved(_)), "{error:?}");
    let expected = "spec.connectionRef: RocketMQConnection \"main\" does not exist in namespace \"shop\"; create it, or name another";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_connection_that_does_not_fit_is_unresolved() {
    let dereferenced = |connection_type: &str| Dereferenced {
        connection: Some(serde_json::from_value(json!({"type": connection_type, "nameServers": ["names"]})).unwrap()),
        ..Dereferenced::default()
    };
    let binding = binding(json!({"nameServer": null, "connectionRef": {"name": "main"}}));
    let broken = Dereferenced {
        connection: Some(serde_json::from_value(json!({"nameServers": ["names:0"]})).unwrap()),
        ..Dereferenced::default()
    };
    let error = validate(&binding, &broken, &settings()).err().unwrap();
    assert_eq!(error.reason(), reasons::CONNECTION_NOT_ACCEPTED, "{error}");
    let validated = |connection_type: &str| validate(&binding, &dereferenced(connection_type), &settings());
    for connection_type in ["Source", "Target"] {
        let error = validated(connection_type).err().unwrap();
        assert_eq!(error.reason(), reasons::CONNECTION_TYPE_MISMATCH, "{error}");
    }
    let cluster = validated("SourceAndTarget").ok().unwrap().cluster.config();
    assert_eq!(cluster.name_servers, ["names:9876"]);
}

#[test]
fn secrets_are_checked_and_mounted() {
    let credentials = json!({
        "accessKey": {"secretKeyRef": {"name": "acl", "key": "user"}},
        "secretKey": {"value": "s3cr3t"},
        "api": {"token": {"secretKeyRef": {"name": "tokens", "key": "api"}}},
    });
    let error = refused(credentials.clone());
    assert_eq!(error.reason(), reasons::SECRET_NOT_FOUND);
    let mut dereferenced = Dereferenced::default();
    dereferenced.found.insert(ReferenceKind::Secret, "acl", ["user".to_owned()]);
    dereferenced.found.insert(ReferenceKind::Secret, "tokens", ["api".to_owned()]);
    let validated = validate(&binding(credentials), &dereferenced, &settings()).ok().unwrap();
    let files = validated.cluster.config().credentials.unwrap();
    assert_eq!(files.access_key, "/etc/rocketmq-connector/credentials/accessKey");
    let token = validated.output.unwrap().token_file.unwrap();
    assert_eq!(token, "/etc/rocketmq-connector/credentials/apiToken");
    assert_eq!(crate::controller::workload::files::plain_fields(&validated.workload.files), ["spec.secretKey"]);
}
