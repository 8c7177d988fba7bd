use serde_json::{Value, json};

use crate::api::RocketMQBinding;
use crate::controller::binding::dereference::Dereferenced;
use crate::controller::binding::validate::validate;
use crate::controller::settings::Settings;
use crate::worker_config::WorkerConfig;

use super::*;

fn built(spec: Value) -> Value {
    let object = json!({
        "apiVersion": "connector.rocketmq.dev/v1alpha1",
        "kind": "RocketMQBinding",
        "metadata": {"name": "orders", "namespace": "shop", "uid": "1-2-3", "generation": 4},
        "spec": spec,
    });
    let binding: RocketMQBinding = serde_json::from_value(object).unwrap();
    let validated = validate(&binding, &Dereferenced::default(), &Settings::new("operators", "operator-0", "image:1"));
    let children = build(&validated.expect("the binding should be valid"));
    json!({
        "configMap": children.config_map,
        "secret": children.secret,
        "serviceAccount": children.service_account,
        "service": children.service,
        "podDisruptionBudget": children.pod_disruption_budget,
        "autoscaler": children.autoscaler,
        "deployment": children.deployment,
    })
}

fn output(changes: Value) -> Value {
    let mut spec = json!({"nameServer": "names", "topics": ["orders"], "direction": "Output"});
    spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    built(spec)
}

#[test]
fn every_child_has_name_labels_and_owner() {
    let children = output(json!({"replicas": 2, "secretKey": {"value": "s"}, "accessKey": {"value": "a"}}));
    for kind in ["configMap", "secret", "serviceAccount", "service", "podDisruptionBudget", "deployment"] {
        let meta = &children[kind]["metadata"];
        assert_eq!(meta["name"], "orders-binding", "{kind}");
        assert_eq!(meta["namespace"], "shop", "{kind}");
        assert_eq!(meta["labels"]["app.kubernetes.io/instance"], "orders", "{kind}");
        assert_eq!(meta["labels"]["app.kubernetes.io/managed-by"], "rocketmq-connector-operator", "{kind}");
        let owner = json!({
            "apiVersion": "connector.rocketmq.dev/v1alpha1",
            "kind": "RocketMQBinding",
            "name": "orders",
            "uid": "1-2-3",
            "controller": true,
            "blockOwnerDeletion": true,
        });
        assert_eq!(meta["ownerReferences"], json!([owner]), "{kind}");
    }
}

#[test]
fn pods_meet_the_restricted_standard_and_have_no_token() {
    let pod = output(json!({}))["deployment"]["spec"]["template"]["spec"].clone();
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"], json!({"type": "RuntimeDefault"}));
    let container = &pod["containers"][0];
    let security = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
    });
    assert_eq!(container["securityContext"], security);
    assert_eq!(container["env"], json!([{"name": "MALLOC_ARENA_MAX", "value": "1"}]));
    assert_eq!(container["args"], json!(["worker", "--config", "/etc/rocketmq-connector/config/worker.json"]));
    assert_eq!(container["readinessProbe"]["httpGet"], json!({"path": "/readyz", "port": "admin"}));
    assert!(container["resources"]["limits"]["memory"].is_string());
}

#[test]
fn a_plain_credential_is_in_the_secret_and_nowhere_else() {
    let mut children = output(json!({"accessKey": {"value": "plain-user"}, "secretKey": {"value": "plain-password"}}));
    let secret = children["secret"].take();
    assert_eq!(secret["data"]["secretKey"], "cGxhaW4tcGFzc3dvcmQ=");
    let rest = children.to_string();
    assert!(!rest.contains("plain-user") && !rest.contains("plain-password"), "{rest}");
    let sources = &children["deployment"]["spec"]["template"]["spec"]["volumes"][1]["projected"]["sources"];
    assert_eq!(sources[0]["secret"]["name"], "orders-binding");
}

#[test]
fn the_worker_can_read_its_configuration() {
    let children = output(json!({"accessKey": {"value": "a"}, "secretKey": {"value": "s"}}));
    let config = WorkerConfig::from_json(children["configMap"]["data"]["worker.json"].as_str().unwrap()).unwrap();
    assert_eq!(config.identity.generation, 4);
    let annotations = &children["deployment"]["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(annotations["connector.rocketmq.dev/config-digest"], config.digest());
    assert_eq!(annotations["connector.rocketmq.dev/owner"], "orders");
}

#[test]
fn replicas_are_not_owned_unless_given() {
    let replicas = |changes| output(changes)["deployment"]["spec"].as_object().unwrap().get("replicas").cloned();
    assert_eq!(replicas(json!({})), None);
    assert_eq!(replicas(json!({"replicas": 0})), Some(json!(0)));
    assert_eq!(replicas(json!({"state": "Paused"})), Some(json!(0)));
}

#[test]
fn a_budget_needs_more_than_one_worker() {
    assert!(output(json!({"replicas": 1}))["podDisruptionBudget"].is_null());
    assert!(output(json!({}))["podDisruptionBudget"].is_null());
    let budget = output(json!({"replicas": 2}))["podDisruptionBudget"].clone();
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    let scaled = output(json!({"autoscaling": {"minReplicas": 2, "maxReplicas": 4}}));
    assert!(!scaled["podDisruptionBudget"].is_null());
    assert_eq!(scaled["autoscaler"]["spec"]["scaleTargetRef"]["name"], "orders-binding");
    assert_eq!(scaled["autoscaler"]["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
}

#[test]
fn an_input_has_no_service() {
    let app = json!({"url": "http://app"});
    let input = built(json!({"nameServer": "names", "topics": ["orders"], "direction": "Input", "app": app}));
    assert!(input["service"].is_null());
    let ports = output(json!({"api": {"httpPort": 4000}}))["service"]["spec"]["ports"].clone();
    assert_eq!((&ports[0]["port"], &ports[0]["targetPort"]), (&json!(4000), &json!("http")));
    assert_eq!((&ports[1]["port"], &ports[1]["targetPort"]), (&json!(50001), &json!("grpc")));
    assert_eq!(ports[1]["appProtocol"], "kubernetes.io/h2c");
}

#[test]
fn an_own_service_account_is_used() {
    let children = output(json!({"template": {"serviceAccountName": "mine"}}));
    assert!(children["serviceAccount"].is_null());
    assert_eq!(children["deployment"]["spec"]["template"]["spec"]["serviceAccountName"], "mine");
}
