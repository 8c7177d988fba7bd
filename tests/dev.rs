//! `rocketmq-connector dev`: the binary as a user runs it, on manifests in a folder.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

use std::path::Path;
use std::process::{Command, Output};

const BINDING: &str = "apiVersion: connector.rocketmq.dev/v1alpha1
kind: RocketMQBinding
metadata: {name: orders}
spec:
  nameServer: 127.0.0.1:9876
  topics: [orders]
  direction: Output
";

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rocketmq-connector"));
    command.args(arguments);
    command
}

fn check(files: &[(&str, &str)]) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let output = run(folder.path(), &["dev", "--check", "-f", "."]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(arguments).current_dir(folder).output().unwrap()
}

#[test]
fn good_manifests_are_listed() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    let (is_good, text) = check(&[("a.yaml", BINDING), ("b.yaml", namespace)]);
    assert!(is_good, "{text}");
    assert!(text.contains("ok: RocketMQBinding default/orders"), "{text}");
    assert!(text.contains("left out: Namespace shop"), "{text}");
}

#[test]
fn every_mistake_is_told_with_its_place_and_field() {
    let table = [
        (
            "an unknown field",
            "direction: Output",
            "dierction: Output",
            "a.yaml, document 1: RocketMQBinding orders: spec.dierction: is no field; known are ",
        ),
        (
            "a name in the wrong case",
            "direction: Output",
            "Direction: Output",
            "spec.Direction: is no field; write direction",
        ),
        ("a value of the wrong type", "topics: [orders]", "topics: orders", "spec.topics: \"orders\" must be a list"),
        (
            "an unknown choice",
            "direction: Output",
            "direction: Sideways",
            "spec.direction: \"Sideways\" is not one of Input, Output, InputOutput",
        ),
        (
            "a number out of bounds",
            "direction: Output",
            "direction: Output\n  consumerBatchSize: 5000",
            "spec.consumerBatchSize: 5000 is too large, the most is 1024",
        ),
        ("a topic twice", "topics: [orders]", "topics: [orders, orders]", "spec.topics[1]: \"orders\" is there twice"),
        ("a broken rule", "direction: Output", "direction: Input", "an input needs app"),
        ("a comma list", "topics: [orders]", "topics: [\"a,b\"]", "one list entry for each topic"),
        (
            "a bad port",
            "127.0.0.1:9876",
            "127.0.0.1:99999",
            "spec.nameServer: \"127.0.0.1:99999\" has the port \"99999\"",
        ),
        ("a bad name", "name: orders", "name: Orders_1", "metadata.name: \"Orders_1\" is no name"),
        ("no name", "{name: orders}", "{}", "metadata.name: is required"),
        (
            "an unknown version",
            "/v1alpha1",
            "/v9",
            "apiVersion: \"connector.rocketmq.dev/v9\" is not served; write connector.rocketmq.dev/v1alpha1",
        ),
        (
            "an unknown kind",
            "kind: RocketMQBinding",
            "kind: RocketMQBindings",
            "kind: \"RocketMQBindings\" is not known, use one of RocketMQBinding",
        ),
        (
            "no Secret",
            "direction: Output",
            "direction: Output\n  accessKey: {secretKeyRef: {name: acl, key: user}}\n  secretKey: {value: x}",
            "spec.accessKey: Secret \"acl\" does not exist",
        ),
        (
            "no connection",
            "nameServer: 127.0.0.1:9876",
            "connectionRef: {name: main}",
            "spec.connectionRef: RocketMQConnection \"main\" does not exist",
        ),
        ("broken YAML", "topics: [orders]", "topics: [orders", "a.yaml: not YAML: "),
    ];
    for (case, from, to, expected) in table {
        assert!(BINDING.contains(from), "{case}");
        let (is_good, text) = check(&[("a.yaml", &BINDING.replace(from, to))]);
        assert!(!is_good && text.contains(expected), "{case}: expected {expected:?} in:\n{text}");
        assert!(!text.contains("panicked"), "{case}: {text}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let wrong = BINDING.replace("topics: [orders]", "topics: orders\n  retries: many");
    let other = BINDING.replace("name: orders", "name: other").replace("direction: Output", "direction: Nowhere");
    let (_, text) = check(&[("a.yaml", &format!("{wrong}---\n{other}"))]);
    for expected in [
        "document 1: RocketMQBinding orders: spec.topics",
        "document 1: RocketMQBinding orders: spec.retries",
        "document 2: RocketMQBinding other: spec.direction",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
    }
}

#[test]
fn secrets_are_resolved_and_their_values_never_shown() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: acl}\ndata: {user: dXNlcg==}\nstringData: {password: s3cr3t-value}\n";
    let credentials = "direction: Output\n  accessKey: {secretKeyRef: {name: acl, key: user}}\n  secretKey: {secretKeyRef: {name: acl, key: password}}";
    let binding = BINDING.replace("direction: Output", credentials);
    let (is_good, text) = check(&[("a.yaml", &binding), ("b.yaml", secret)]);
    assert!(is_good && !text.contains("s3cr3t-value"), "{text}");
    let (is_good, text) = check(&[("a.yaml", &binding), ("b.yaml", &secret.replace("dXNlcg==", "'not base64!'"))]);
    assert!(!is_good && text.contains("data.user: is not base64") && !text.contains("not base64!'"), "{text}");
}

#[test]
fn what_is_missing_on_the_command_line_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let words = |arguments: &[&str]| {
        let output = run(folder.path(), arguments);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(words(&["dev"]).contains("--file"));
    assert!(words(&["dev", "-f", "nowhere.yaml"]).contains("failed to read nowhere.yaml"));
    assert!(words(&["dev", "-f", "."]).contains("holds no .yaml"));
    assert!(
        words(&["worker", "--config", "nowhere.json"]).contains("failed to read the worker configuration nowhere.json")
    );
    assert!(words(&["test", "-f", "nowhere.yaml", "-o", "xml"]).contains("xml"));
}

#[test]
fn crds_are_printed_as_yaml() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["crds", "rmqbind"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("name: rocketmqbindings.connector.rocketmq.dev"), "{text}");
}

#[test]
fn a_cluster_that_is_not_there_fails_the_test_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), BINDING.replace("9876", "1")).unwrap();
    let table = run(folder.path(), &["test", "-f", "a.yaml"]);
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    assert_eq!(table.status.code(), Some(1));
    assert!(text.contains("FAILED   NameServerReachable") && text.contains("→ check that it runs"), "{text}");
    let json = run(folder.path(), &["test", "-f", "a.yaml", "-o", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["items"][2]["result"], "Failed");
    assert_eq!(report["items"][3]["result"], "Skipped");
}

#[test]
fn dapr_components_are_converted_to_manifests_that_pass_the_check() {
    let samples = format!("{}/config/samples/dapr", env!("CARGO_MANIFEST_DIR"));
    for (sample, expected) in [("component-page.yaml", "default/name"), ("orders.yaml", "shop/orders")] {
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("report.md");
        let converted =
            command(&["convert", "-f", &format!("{samples}/{sample}"), "--report"]).arg(&report).output().unwrap();
        assert!(converted.status.success(), "{sample}: {}", String::from_utf8_lossy(&converted.stderr));
        let manifests = String::from_utf8(converted.stdout).unwrap();
        let (is_good, text) = check(&[("converted.yaml", &manifests)]);
        assert!(is_good && text.contains(&format!("ok: RocketMQBinding {expected}")), "{sample}: {text}\n{manifests}");
        let report = std::fs::read_to_string(report).unwrap();
        assert!(report.contains("| to do | `app` |") || sample == "orders.yaml", "{report}");
        assert!(!report.contains("change-me-please"), "a secret is in the report: {report}");
    }
}

#[test]
fn what_cannot_be_converted_prints_no_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let component =
        "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: a}\nspec: {type: state.redis, version: v1}\n";
    std::fs::write(folder.path().join("a.yaml"), component).unwrap();
    let output = run(folder.path(), &["convert", "-f", "a.yaml"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty(), "{text}");
    assert!(text.contains("\"state.redis\" is no RocketMQ binding"), "{text}");
}
