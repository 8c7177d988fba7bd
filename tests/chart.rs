//! The Helm charts and the kustomize configuration: rendered with helm and kubectl, judged by a real API server.
//!
//! Needs `KUBECONFIG`, and helm and kubectl on `PATH`; kubeconform is used where it is installed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

#[path = "common/apiserver.rs"]
mod apiserver;
#[path = "chart/render.rs"]
mod render;

use std::collections::BTreeSet;

use apiserver::with_definitions;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, PodSpec, PodTemplateSpec};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use render::{OPERATOR_CHART, helm_refuses, helm_template, kubeconform, kubectl_dry_run, kustomize, of_kind};
use serde_json::{Value, json};

/// Sets of values that a user may give.
const VALUE_SETS: [&[&str]; 8] = [
    &[],
    &["watchNamespace=default"],
    &[
        "crds.install=false",
        "rbac.aggregate=false",
        "podDisruptionBudget.enabled=false",
        "metrics.service.enabled=false",
    ],
    &["replicas=2", "fullnameOverride=operator", "operator.concurrency=1", "priorityClassName=system-cluster-critical"],
    &["image.repository=registry.example.com/team/connector", "image.tag=1.2.3", "imagePullSecrets[0].name=registry"],
    &["networkPolicy.enabled=true", "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.team=monitoring"],
    &[
        "operator.leaderElection=false",
        "serviceAccount.create=false",
        "serviceAccount.name=existing",
        "crds.keep=false",
    ],
    &[
        "nodeSelector.disk=ssd",
        "tolerations[0].operator=Exists",
        "podLabels.a=b",
        "podAnnotations.c=d",
        "operator.log=debug",
    ],
];

/// Values that the schema or the templates refuse, and a part of what helm says.
const REFUSED_VALUES: [(&[&str], &str); 10] = [
    (&["replicas=many"], "replicas"),
    (&["replica=2"], "replica"),
    (&["image.digest=sha256:12"], "digest"),
    (&["image.repository="], "repository"),
    (&["image.pullPolicy=Sometimes"], "pullPolicy"),
    (&["watchNamespace=Shop"], "watchNamespace"),
    (&["operator.adminPort=70000"], "adminPort"),
    (&["operator.leaseDurationSeconds=1"], "leaseDurationSeconds"),
    (&["replicas=2", "operator.leaderElection=false"], "leaderElection"),
    (
        &["metrics.serviceMonitor.enabled=true", "metrics.service.enabled=false"],
        "metrics.serviceMonitor.enabled needs metrics.service.enabled: true",
    ),
];

#[test]
fn charts_pass_helm_lint() {
    for chart in [OPERATOR_CHART, "charts/rocketmq-connector-crds"] {
        let (success, output) = render::run("helm", &["lint", "--strict", chart], None);
        assert!(success, "{chart}: {output}");
    }
}

#[test]
fn wrong_values_are_refused() {
    for (values, part) in REFUSED_VALUES {
        let message = helm_refuses(values);
        assert!(message.contains(part), "{values:?}: {message}");
    }
}

#[tokio::test]
async fn the_api_server_accepts_what_the_charts_render() {
    with_definitions().await;
    for values in VALUE_SETS {
        kubectl_dry_run(&helm_template(OPERATOR_CHART, values), &format!("{values:?}"));
    }
    kubectl_dry_run(&helm_template("charts/rocketmq-connector-crds", &[]), "rocketmq-connector-crds");
}

#[tokio::test]
async fn the_api_server_accepts_the_kustomize_configuration() {
    with_definitions().await;
    for folder in ["config/default", "config/namespaced", "config/crd", "config/samples", "config/samples/sidecar"] {
        kubectl_dry_run(&kustomize(folder), folder);
    }
}

#[test]
fn the_sidecar_component_adds_a_native_sidecar() {
    let deployment = &of_kind(&kustomize("config/samples/sidecar"), "Deployment")[0];
    let pod = &deployment["spec"]["template"]["spec"];
    let sidecar = &pod["initContainers"][0];
    assert_eq!((&sidecar["name"], &sidecar["restartPolicy"]), (&json!("rocketmq-connector"), &json!("Always")));
    assert_eq!(sidecar["image"], "registry.example.com/rocketmq-connector:0.1.0");
    let config = pod["volumes"][0]["configMap"]["name"].as_str().unwrap();
    assert!(config.starts_with("rocketmq-connector-sidecar-"), "pods do not roll when {config} changes");
    assert_eq!(pod["containers"][0]["name"], "app");
}

#[tokio::test]
async fn manifests_conform_to_the_schemas_of_the_cluster() {
    let client = Client::try_default().await.unwrap();
    let mut manifests: Vec<_> = VALUE_SETS.iter().flat_map(|values| helm_template(OPERATOR_CHART, values)).collect();
    manifests.extend(kustomize("config/default"));
    manifests.extend(kustomize("config/namespaced"));
    let checked = kubeconform(&client, &manifests).await;
    println!("kubeconform: {checked}");
}

#[test]
fn a_service_monitor_selects_the_metrics_service() {
    let objects =
        helm_template(OPERATOR_CHART, &["metrics.serviceMonitor.enabled=true", "metrics.serviceMonitor.labels.team=a"]);
    let monitor = &of_kind(&objects, "ServiceMonitor")[0];
    let service = &of_kind(&objects, "Service")[0];
    for (label, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&service["metadata"]["labels"][label], value, "{label}");
    }
    assert_eq!(monitor["spec"]["endpoints"][0]["port"], service["spec"]["ports"][0]["name"]);
    assert_eq!(monitor["metadata"]["labels"]["team"], "a");
}

#[test]
fn definitions_are_kept_on_uninstall_unless_told_otherwise() {
    let policy = |values: &[&str]| {
        let objects = helm_template(OPERATOR_CHART, values);
        let crds = of_kind(&objects, "CustomResourceDefinition");
        crds.iter().map(|crd| crd["metadata"]["annotations"]["helm.sh/resource-policy"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(policy(&[]), [json!("keep"), json!("keep"), json!("keep")]);
    assert_eq!(policy(&["crds.keep=false"]), [Value::Null, Value::Null, Value::Null]);
    assert!(policy(&["crds.install=false"]).is_empty());
}

#[test]
fn workers_run_the_image_of_the_operator() {
    let digest = format!("image.digest=sha256:{}", "a".repeat(64));
    let cases = [
        (vec![], "rocketmq-connector:0.1.0".to_owned()),
        (vec!["image.tag=1.2.3"], "rocketmq-connector:1.2.3".to_owned()),
        (vec!["image.tag=1.2.3", digest.as_str()], format!("rocketmq-connector@sha256:{}", "a".repeat(64))),
    ];
    for (values, image) in cases {
        let container = operator_container(&helm_template(OPERATOR_CHART, &values));
        assert_eq!(container["image"], image.as_str());
        let arguments = container["args"].as_array().unwrap();
        assert!(arguments.contains(&json!(format!("--worker-image={image}"))), "{arguments:?}");
    }
    let container = operator_container(&kustomize("config/default"));
    let environment = container["env"].as_array().unwrap();
    let worker_image = environment.iter().find(|variable| variable["name"] == "WORKER_IMAGE").unwrap();
    assert_eq!(worker_image["value"], container["image"]);
}

fn operator_container(objects: &[Value]) -> Value {
    of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0].clone()
}

/// A permission: API group, resource, name, verb.
type Grant = (String, String, String, String);

/// What a role grants, one by one, so that the order in a file does not matter.
fn grants(role: &Value) -> BTreeSet<Grant> {
    let rules: Vec<PolicyRule> = serde_json::from_value(role["rules"].clone()).unwrap();
    let mut grants = BTreeSet::new();
    for rule in rules {
        let names = rule.resource_names.unwrap_or_else(|| vec!["any".to_owned()]);
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for name in &names {
                    let grant = |verb: &String| (group.clone(), resource.clone(), name.clone(), verb.clone());
                    grants.extend(rule.verbs.iter().map(grant));
                }
            }
        }
    }
    grants
}

#[test]
fn chart_and_kustomize_grant_the_same() {
    let cluster = (helm_template(OPERATOR_CHART, &["rbac.aggregate=false"]), kustomize("config/default"));
    assert_eq!(grants(&of_kind(&cluster.0, "ClusterRole")[0]), grants(&of_kind(&cluster.1, "ClusterRole")[0]));
    assert_eq!(grants(&of_kind(&cluster.0, "Role")[0]), grants(&of_kind(&cluster.1, "Role")[0]));
    let one = (helm_template(OPERATOR_CHART, &["watchNamespace=shop"]), kustomize("config/namespaced"));
    let role = |objects: &[Value], suffix: &str| {
        let roles = of_kind(objects, "Role");
        let found = roles.into_iter().find(|role| role["metadata"]["name"].as_str().unwrap().ends_with(suffix));
        grants(&found.unwrap())
    };
    for suffix in ["operator", "operator-lease"] {
        assert_eq!(role(&one.0, suffix), role(&one.1, suffix), "{suffix}");
    }
    assert_eq!(role(&one.0, "operator"), grants(&of_kind(&cluster.0, "ClusterRole")[0]));
}

#[test]
fn nothing_is_granted_by_wildcard_nor_beyond_what_is_needed() {
    let objects = helm_template(OPERATOR_CHART, &[]);
    for role in of_kind(&objects, "ClusterRole").iter().chain(&of_kind(&objects, "Role")) {
        for (group, resource, _, verb) in grants(role) {
            let grant = format!("{} {group}/{resource} {verb}", role["metadata"]["name"]);
            assert!(verb != "*" && resource != "*" && group != "*", "{grant}");
            assert!(!["escalate", "bind", "impersonate"].contains(&verb.as_str()), "{grant}");
            // Applying needs no update; users edit custom resources.
            let edits = group == "connector.rocketmq.dev" && (is_for_users(role) || resource.ends_with("/finalizers"));
            assert!(!["update", "deletecollection"].contains(&verb.as_str()) || edits, "{grant}");
        }
    }
}

/// Roles that extend those of the cluster's users.
fn is_for_users(role: &Value) -> bool {
    role["metadata"]["labels"].get("rbac.authorization.k8s.io/aggregate-to-edit").is_some()
}

#[test]
fn one_namespace_needs_no_cluster_role() {
    let objects = helm_template(OPERATOR_CHART, &["watchNamespace=shop", "rbac.aggregate=false"]);
    assert!(of_kind(&objects, "ClusterRole").is_empty() && of_kind(&objects, "ClusterRoleBinding").is_empty());
    let arguments = operator_container(&objects)["args"].clone();
    assert!(arguments.as_array().unwrap().contains(&json!("--watch-namespace=shop")), "{arguments}");
    let objects = kustomize("config/namespaced");
    assert!(of_kind(&objects, "ClusterRole").is_empty() && of_kind(&objects, "ClusterRoleBinding").is_empty());
}

#[tokio::test]
async fn the_operator_runs_under_the_restricted_pod_security_standard() {
    let client = Client::try_default().await.unwrap();
    let name = format!("chart-test-{}", std::process::id());
    let namespace: Namespace = serde_json::from_value(json!({
        "metadata": { "name": name, "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
    }))
    .unwrap();
    let namespaces = Api::<Namespace>::all(client.clone());
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let mut refusals = Vec::new();
    for objects in [helm_template(OPERATOR_CHART, &[]), kustomize("config/default")] {
        let deployment: Deployment = serde_json::from_value(of_kind(&objects, "Deployment")[0].clone()).unwrap();
        refusals.extend(refusal(&client, &name, deployment.spec.unwrap().template).await);
    }
    // The standard is really enforced: a pod without these settings is refused.
    let lax: PodTemplateSpec =
        serde_json::from_value(json!({ "spec": { "containers": [{ "name": "a", "image": "a" }] } })).unwrap();
    let lax = refusal(&client, &name, lax).await;
    namespaces.delete(&name, &DeleteParams::background()).await.unwrap();
    assert!(refusals.is_empty(), "{refusals:?}");
    assert!(lax.is_some_and(|message| message.contains("restricted")));
}

/// What the API server says against a pod of this template; the ServiceAccount is left to the namespace's default.
async fn refusal(client: &Client, namespace: &str, template: PodTemplateSpec) -> Option<String> {
    let spec = template.spec.map(|spec| PodSpec {
        service_account_name: None,
        automount_service_account_token: Some(false),
        ..spec
    });
    let mut pod = Pod { spec, ..Pod::default() };
    pod.metadata.name = Some("operator".to_owned());
    let parameters = PatchParams { dry_run: true, ..PatchParams::apply("chart-test").force() };
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    // The controller manager makes the default ServiceAccount a moment after the namespace.
    for _ in 0..50 {
        match api.patch("operator", &parameters, &Patch::Apply(&pod)).await {
            Ok(_) => return None,
            Err(kube::Error::Api(status)) if status.message.contains("serviceaccount") => {}
            Err(error) => return Some(error.to_string()),
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    Some("the namespace has no default ServiceAccount after 10 s".to_owned())
}
