//! Runs helm, kubectl and kubeconform.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use kube::Client;
use serde_json::{Map, Value, json};

/// Folder of the operator's chart.
pub const OPERATOR_CHART: &str = "charts/rocketmq-connector-operator";

/// Runs a program in the repository's root; whether it succeeded, and what it printed.
pub fn run(program: &str, arguments: &[&str], input: Option<&str>) -> (bool, String) {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} should be on PATH: {error}"));
    let mut standard_input = child.stdin.take().unwrap();
    let input = input.unwrap_or_default().to_owned();
    let writer = std::thread::spawn(move || standard_input.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap_or_default();
    let text =
        String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr }).into_owned();
    (output.status.success(), text)
}

/// What helm renders in the namespace `default`.
pub fn helm_template(chart: &str, values: &[&str]) -> Vec<Value> {
    let (success, text) = template(chart, values);
    assert!(success, "{chart} {values:?}: {text}");
    documents(&text)
}

/// What helm says against values of the operator's chart.
pub fn helm_refuses(values: &[&str]) -> String {
    let (success, text) = template(OPERATOR_CHART, values);
    assert!(!success, "{values:?} should be refused");
    text
}

fn template(chart: &str, values: &[&str]) -> (bool, String) {
    let mut arguments = vec!["template", "test", chart, "--namespace", "default", "--kube-version", "1.33.0"];
    values.iter().for_each(|value| arguments.extend(["--set", value]));
    run("helm", &arguments, None)
}

/// What kustomize renders.
pub fn kustomize(folder: &str) -> Vec<Value> {
    let (success, text) = run("kubectl", &["kustomize", folder], None);
    assert!(success, "{folder}: {text}");
    documents(&text)
}

fn documents(text: &str) -> Vec<Value> {
    let documents = serde_saphyr::from_multiple::<Value>(text).unwrap();
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// The objects of one kind.
pub fn of_kind(objects: &[Value], kind: &str) -> Vec<Value> {
    objects.iter().filter(|object| object["kind"] == kind).cloned().collect()
}

/// Has the API server judge the objects as `kubectl apply` would send them, strictly and without storing them. What is
/// meant for a namespace that does not exist is judged in `default`.
pub fn kubectl_dry_run(objects: &[Value], what: &str) {
    let mut items: Vec<Value> = objects.to_vec();
    for item in &mut items {
        if let Some(namespace) = item["metadata"].get_mut("namespace") {
            *namespace = json!("default");
        }
    }
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();
    let arguments = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=chart-test",
        "--dry-run=server",
        "--validate=strict",
        "--filename=-",
        "--output=name",
    ];
    let (success, text) = run("kubectl", &arguments, Some(&list));
    assert!(success, "{what}: {text}");
    assert_eq!(text.lines().count(), objects.len(), "{what}: {text}");
}

/// Checks the objects with kubeconform against the schemas that the cluster itself publishes; a summary, or why not.
pub async fn kubeconform(client: &Client, objects: &[Value]) -> String {
    if Command::new("kubeconform").arg("-v").output().is_err() {
        return "not installed, the API server has judged alone".to_owned();
    }
    let folder = tempfile::tempdir().unwrap();
    write_schemas(client, folder.path()).await;
    let location = format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", folder.path().display());
    let text: String = objects.iter().map(|object| format!("---\n{object}\n")).collect();
    let arguments = [
        "-schema-location",
        &location,
        "-summary",
        "-output",
        "json",
        "-skip",
        "CustomResourceDefinition,ServiceMonitor",
    ];
    let (success, output) = run("kubeconform", &arguments, Some(&text));
    assert!(success, "kubeconform: {output}");
    let summary: Value = serde_json::from_str(&output).unwrap();
    assert!(summary["summary"]["valid"].as_u64().unwrap() > 50, "{summary}");
    summary["summary"].to_string()
}

/// Writes a schema file for each kind: references into one file that holds all definitions.
async fn write_schemas(client: &Client, folder: &Path) {
    let request = http::Request::get("/openapi/v2").body(Vec::new()).unwrap();
    let mut document: Value = client.request(request).await.unwrap();
    let definitions = document["definitions"].as_object_mut().unwrap();
    definitions.values_mut().for_each(allow_numbers_where_either_may_stand);
    for (name, definition) in definitions.iter() {
        for kind in definition.get("x-kubernetes-group-version-kind").and_then(Value::as_array).into_iter().flatten() {
            let text = |field: &str| kind[field].as_str().unwrap().to_lowercase();
            let group = text("group").split('.').next().unwrap().to_owned();
            let group = if group.is_empty() { group } else { format!("-{group}") };
            let reference = json!({ "$ref": format!("definitions.json#/definitions/{name}") });
            let file = folder.join(format!("{}{group}-{}.json", text("kind"), text("version")));
            std::fs::write(file, reference.to_string()).unwrap();
        }
    }
    std::fs::write(folder.join("definitions.json"), document.to_string()).unwrap();
}

/// OpenAPI 2 cannot say "number or string": Kubernetes publishes a string with a format of its own.
fn allow_numbers_where_either_may_stand(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    let either = object.get("format").is_some_and(|format| format == "int-or-string");
    if either || is_quantity(object) {
        object.insert("type".to_owned(), json!(["string", "number"]));
        object.remove("format");
    }
    object.values_mut().for_each(|value| match value {
        Value::Array(items) => items.iter_mut().for_each(allow_numbers_where_either_may_stand),
        other => allow_numbers_where_either_may_stand(other),
    });
}

fn is_quantity(schema: &Map<String, Value>) -> bool {
    let description = schema.get("description").and_then(Value::as_str);
    description.is_some_and(|description| description.starts_with("Quantity is a fixed-point"))
}
