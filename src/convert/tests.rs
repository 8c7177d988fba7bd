use std::path::Path;

use super::*;

/// The example of Dapr's page, its placeholder included.
const PAGE: &str = include_str!("../../config/samples/dapr/component-page.yaml");

fn try_convert(text: &str) -> Result<Converted> {
    convert(&documents::parse(Path::new("c.yaml"), text).unwrap(), &Options::default())
}

fn component(metadata: &str) -> String {
    let items: String =
        metadata.lines().filter(|line| !line.trim().is_empty()).map(|line| format!("  - {}\n", line.trim())).collect();
    format!(
        "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {{name: orders}}\nspec:\n  type: bindings.rocketmq\n  version: v1\n  metadata:\n{items}"
    )
}

fn item(name: &str, value: &str) -> String {
    format!("{{name: {name}, value: \"{value}\"}}\n")
}

fn output(more: &str) -> String {
    let base = [item("accessProto", "tcp"), item("nameServer", "10.0.0.1:9876"), item("direction", "output")].concat();
    component(&(base + more))
}

fn input(more: &str) -> String {
    let base = [item("accessProto", "tcp"), item("nameServer", "10.0.0.1:9876"), item("direction", "input")].concat();
    component(&(base + &item("topics", "a") + &item("consumerGroup", "g") + more))
}

fn spec(text: &str) -> Value {
    let converted = try_convert(text).unwrap();
    let documents = documents::parse(Path::new("out.yaml"), &converted.manifests).unwrap();
    documents.iter().find(|document| document.text(&["kind"]) == Some("RocketMQBinding")).unwrap().value["spec"].clone()
}

fn row(text: &str, field: &str) -> Row {
    let rows = try_convert(text).unwrap().report.rows;
    let mut rows = rows.into_iter().filter(|row| row.field == field);
    rows.next().unwrap_or_else(|| panic!("no row for {field}"))
}

#[test]
fn the_example_of_the_page_is_converted() {
    let converted = try_convert(PAGE).unwrap();
    let documents = documents::parse(Path::new("out.yaml"), &converted.manifests).unwrap();
    let expected = serde_json::json!({
        "nameServer": "localhost:9876", "topics": ["topic1", "topic2"], "consumerGroup": "my-consumer-group",
        "consumerBatchSize": 10, "consumerThreadNums": 4, "retries": 3, "instanceId": "my-instance",
        "app": {"service": {"name": "name", "port": 8080}},
    });
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0].value["spec"], expected);
    let field = |field: &str| converted.report.rows.iter().any(|row| row.field == field);
    for name in
        ["metadata.name", "direction", "endpoint", "topics", "nameServer", "app", "consumerThreadNums", "retries"]
    {
        assert!(field(name), "{name} is not told:\n{}", converted.report.text());
    }
}

#[test]
fn every_field_has_its_place() {
    let table = [
        (output(&item("topics", " a , b||x ,, a")), "topics", serde_json::json!(["a", "b||x"])),
        (output(&item("topics", "a")), "direction", serde_json::json!("Output")),
        (
            output(&item("NAMESERVER", "http://ns-0:9876; ns-1:9876")),
            "nameServer",
            serde_json::json!("ns-0:9876;ns-1:9876"),
        ),
        (
            output(&item("nameServerDomain", "rocketmq.example.com")),
            "nameServerDomain",
            serde_json::json!("http://rocketmq.example.com:8080/rocketmq/nsaddr"),
        ),
        (output("{name: retries, value: 5}"), "retries", serde_json::json!(5)),
        (output(&item("accessProto", "tcp-cgo")), "accessProto", serde_json::json!("tcp-cgo")),
        (
            input(&item("route", "hook")),
            "app",
            serde_json::json!({"path": "/hook", "service": {"name": "orders", "port": 8080}}),
        ),
        (input(&item("consumerBatchSize", "5000")), "consumerBatchSize", serde_json::json!(1024)),
        (
            input(&item("backOffDuration", "1500")),
            "delivery",
            serde_json::json!({"maxAttempts": 10000, "backoff": {"policy": "Constant", "interval": "2s"}}),
        ),
        (
            input(&(item("backOffPolicy", "exponential") + &item("backOffMaxRetries", "4"))),
            "delivery",
            serde_json::json!({"maxAttempts": 5, "backoff": {"policy": "Exponential", "initialInterval": "1s", "maxInterval": "60s"}}),
        ),
        (input(&item("backOffMaxRetries", "0")), "delivery", Value::Null),
        (
            output(
                "{name: accessKey, secretKeyRef: {name: acl, key: ak}}\n{name: secretKey, secretKeyRef: {name: acl}}",
            ),
            "secretKey",
            serde_json::json!({"secretKeyRef": {"name": "acl", "key": "acl"}}),
        ),
    ];
    for (text, field, expected) in table {
        assert_eq!(spec(&text)[field], expected, "{field} of\n{text}");
    }
}

#[test]
fn what_cannot_be_converted_names_field_value_and_remedy() {
    let table = [
        (output(&item("retries", "abc")), "spec.metadata[retries]: \"abc\" is no whole number"),
        (
            output(&item("accessProto", "udp")),
            "spec.metadata[accessProto]: \"udp\" is not known; write tcp, tcp-cgo or http",
        ),
        (output(&item("direction", "sideways")), "spec.metadata[direction]: \"sideways\" is not known"),
        (output(&item("accessKey", "ak")), "spec.metadata[secretKey]: is missing while accessKey is set"),
        (
            output("{name: nameServer, envRef: NS}"),
            "spec.metadata[nameServer]: comes from the sidecar's variable \"NS\"",
        ),
        (
            output("{name: nameServer, secretKeyRef: {name: s, key: k}}"),
            "spec.metadata[nameServer]: comes from the key \"k\" of the secret \"s\"",
        ),
        (output("{name: topics, value: [a]}"), "spec.metadata[3]: (topics) has a list or an object"),
        (output("{value: x}"), "spec.metadata[3]: has no name"),
        (
            input(&item("consumerGroup", "g-{uuid}")),
            "spec.metadata[consumerGroup]: \"g-{uuid}\" has {uuid}, which is another value in each pod",
        ),
        (input(&item("topics", "")), "spec.metadata[topics]: is missing, and an input reads nothing"),
        (input(&item("backOffDuration", "soon")), "spec.metadata[backOffDuration]: \"soon\" is no duration"),
        (output(&item("accessProto", "http")), "spec.metadata[endpoint]: is missing, and accessProto: http needs it"),
        (output("").replace("type: bindings.rocketmq", "type: pubsub.rocketmq"), "pubsub.rocketmq"),
        (output("").replace("version: v1\n", "version: v2\n"), "spec.version: \"v2\" is not known"),
        (output("").replace("dapr.io/v1alpha1", "dapr.io/v2"), "apiVersion: \"dapr.io/v2\" is no version"),
        // What Dapr would take and the broker refuse is found by the schema.
        (output(&item("topics", "bad topic!")), "each of topics must be topic or topic||expression"),
        (
            "kind: ConfigMap\napiVersion: v1\nmetadata: {name: x}\n".to_owned(),
            "no Dapr component of type bindings.rocketmq",
        ),
    ];
    for (text, expected) in table {
        let error = try_convert(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
    }
}

#[test]
fn secrets_go_through_and_plain_values_into_one() {
    let plain = output(&(item("accessKey", "user-1234") + &item("secretKey", "pass") + &item("topics", "a")));
    let secret =
        "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: mine}\ndata: {ns: MTAuMC4wLjI6OTg3Ng==}\ntype: Opaque\n";
    let converted = try_convert(&(plain + secret)).unwrap();
    let documents = documents::parse(Path::new("out.yaml"), &converted.manifests).unwrap();
    let subjects: Vec<_> = documents.iter().map(Document::subject).collect();
    assert_eq!(subjects, ["Secret orders-credentials", "RocketMQBinding orders", "Secret mine"]);
    assert_eq!(documents[0].value["stringData"]["accessKey"], "user-1234");
    assert_eq!(documents[1].value["spec"]["accessKey"]["secretKeyRef"]["name"], "orders-credentials");
    assert_eq!(documents[2].value["data"]["ns"], "MTAuMC4wLjI6OTg3Ng==");
    assert!(!converted.report.text().contains("user-1234") && !converted.report.markdown().contains("pass\""));
    // A field that cannot refer to a Secret takes the value of the Secret in the files.
    let referred = output("{name: nameServer, secretKeyRef: {name: mine, key: ns}}") + secret;
    assert_eq!(spec(&referred)["nameServer"], "10.0.0.2:9876");
}

#[test]
fn another_secret_store_is_told() {
    let refs = "{name: accessKey, secretKeyRef: {name: team/rocketmq, key: ak}}\n{name: secretKey, secretKeyRef: {name: team/rocketmq, key: sk}}\n";
    let text = output(refs) + "auth: {secretStore: vault}\nscopes: [shop]\n";
    assert_eq!(spec(&text)["accessKey"]["secretKeyRef"]["name"], "team-rocketmq");
    let told = row(&text, "accessKey");
    assert!(told.level == report::Level::Attention && told.dapr.contains("\"vault\""), "{told:?}");
    assert!(row(&text, "scopes").dapr.contains("shop"));
}

#[test]
fn names_that_nothing_reads_are_told() {
    let told = row(&output(&item("nameSever", "x")), "nameSever");
    assert!(told.here.contains("was nameServer meant"), "{told:?}");
    assert!(
        row(&output(&item("topics", "a")).replace("name: orders", "name: \"My Orders\""), "metadata.name")
            .here
            .contains("my-orders")
    );
}

#[test]
fn the_app_is_found_in_the_files() {
    let workload = "
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  template:
    metadata:
      labels: {app: shop, tier: web}
      annotations: {dapr.io/enabled: \"true\", dapr.io/app-id: shop-app, dapr.io/app-port: \"5000\", dapr.io/app-protocol: grpc,
        dapr.io/app-token-secret: app-token, dapr.io/app-max-concurrency: \"7\"}
    spec:
      containers: [{name: web, image: x, ports: [{name: api, containerPort: 5000}]}]
---
apiVersion: v1
kind: Service
metadata: {name: shop-web}
spec: {selector: {app: shop}, ports: [{port: 80, targetPort: api}]}
";
    let app = spec(&(input("") + "scopes: [shop-app]\n" + workload))["app"].clone();
    let expected = serde_json::json!({
        "service": {"name": "shop-web", "port": 80}, "protocol": "GRPC", "maxConcurrency": 7,
        "apiToken": {"secretKeyRef": {"name": "app-token", "key": "token"}},
    });
    assert_eq!(app, expected);
    // Without the Service, the app's id and port are what is known.
    let (alone, _) = workload.split_once("---\napiVersion: v1").unwrap();
    assert_eq!(spec(&(input("") + alone))["app"]["service"], serde_json::json!({"name": "shop-app", "port": 5000}));
}

#[test]
fn the_flags_win() {
    let documents = documents::parse(Path::new("c.yaml"), &input("")).unwrap();
    let options = Options {
        app: Some("https://app.example.com/base".parse().unwrap()),
        is_grpc_app: Some(false),
        ..Options::default()
    };
    let converted = convert(&documents, &options).unwrap();
    assert!(converted.manifests.contains("https://app.example.com/base"), "{}", converted.manifests);
    assert!("orders:8080".parse::<Address>().is_ok());
    for wrong in ["orders", "orders:x", "orders:0", "Orders:80", ":80"] {
        assert!(wrong.parse::<Address>().is_err(), "{wrong}");
    }
}

#[test]
fn texts_that_yaml_reads_otherwise_stay_texts() {
    for group in ["yes", "123", "null", "0x1F", "1e3", "n"] {
        let text = input(&item("consumerGroup", group));
        assert_eq!(spec(&text)["consumerGroup"], group);
    }
}

#[test]
fn over_http_what_the_protocol_has_not_is_left_out_and_told() {
    let fields = [
        ("accessProto", "http"),
        ("endpoint", "http://1.mqrest.example.com"),
        ("accessKey", "ak"),
        ("secretKey", "sk"),
        ("instanceId", "MQ_INST_1"),
        ("direction", "input"),
        ("topics", "orders"),
        ("consumerGroup", "GID_orders"),
        ("consumerBatchSize", "64"),
        ("backOffMaxRetries", "3"),
    ];
    let text = component(&fields.map(|(name, value)| item(name, value)).concat());
    let spec = spec(&text);
    assert_eq!((&spec["accessProto"], &spec["endpoint"]), (&"http".into(), &"http://1.mqrest.example.com".into()));
    assert_eq!((&spec["consumerBatchSize"], spec.get("delivery")), (&16.into(), None));
    assert!(row(&text, "consumerBatchSize").here.contains("16, the most"));
    assert!(row(&text, "backOffMaxRetries").here.contains("the service"));
}
