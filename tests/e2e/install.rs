//! The chart: installed, and uninstalled without losing anything of the user's.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{expect, run, wait_for};
use crate::world::{LIMIT, NAMESPACE, OPERATOR_NAMESPACE, RELEASE, World};
use crate::{Failure, Outcome};

const CHART: &str = "charts/rocketmq-connector-operator";

pub async fn install(world: &World) -> Outcome {
    remove_leftovers().await?;
    for namespace in [OPERATOR_NAMESPACE, NAMESPACE] {
        run("kubectl", &["create", "namespace", namespace], "").await?;
        // Everything must run under the strictest of Kubernetes' own policies.
        run("kubectl", &["label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"], "").await?;
    }
    let (repository, tag) =
        world.image.rsplit_once(':').ok_or_else(|| format!("E2E_IMAGE: {:?} has no tag", world.image))?;
    let mut settings = vec![format!("image.repository={repository}"), format!("image.tag={tag}")];
    if std::env::var("E2E_SCOPE").as_deref() == Ok("namespace") {
        settings.push(format!("watchNamespace={NAMESPACE}"));
    }
    let settings = settings.join(",");
    // Definitions that other tests have applied to this cluster become the chart's.
    let adopt = ["--take-ownership", "--force-conflicts"];
    let install =
        ["install", RELEASE, CHART, "-n", OPERATOR_NAMESPACE, "--set", &settings, "--wait", "--timeout", "180s"];
    let began = std::time::Instant::now();
    let said = run("helm", &[&install[..], &adopt[..]].concat(), "").await?;
    world.show(&format!("helm {} took {:.1} s", install[..3].join(" "), began.elapsed().as_secs_f64()));
    expect(said.contains("STATUS: deployed"), || format!("helm said:\n{said}"))?;
    world.show(&run("kubectl", &["-n", OPERATOR_NAMESPACE, "get", "pods", "--no-headers"], "").await?);
    let holder = wait_for("the operator leads", LIMIT, || leader(world)).await?.0;
    world.show(&format!("{holder} leads"));
    start_app(world).await
}

/// What a run that was interrupted left behind.
async fn remove_leftovers() -> Outcome {
    run("helm", &["uninstall", RELEASE, "-n", OPERATOR_NAMESPACE, "--ignore-not-found", "--wait"], "").await?;
    run("kubectl", &["delete", "namespace", NAMESPACE, OPERATOR_NAMESPACE, "--ignore-not-found"], "").await.map(|_| ())
}

/// The pod that holds the operator's lease; it must exist.
pub async fn leader(world: &World) -> Result<String, Failure> {
    let lease = run(
        "kubectl",
        &["-n", OPERATOR_NAMESPACE, "get", "lease", RELEASE, "-o", "jsonpath={.spec.holderIdentity}"],
        "",
    )
    .await?;
    expect(!lease.is_empty(), || "nobody holds the lease".to_owned())?;
    world.api_in(OPERATOR_NAMESPACE, "Pod").get(&lease).await?;
    Ok(lease)
}

/// The user's app: it records what it gets.
async fn start_app(world: &World) -> Outcome {
    let labels = json!({"app": "app"});
    let container = json!({
        "name": "app",
        "image": world.probe_image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "GRPC_BINDINGS", "value": "refunds"}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"}},
    });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}},
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "app"},
        "spec": {"selector": labels, "ports": [{"port": 8080}]},
    });
    world.apply(&[deployment, service]).await?;
    world.kubectl(&["rollout", "status", "deployment/app", "--timeout", "120s"]).await.map(|_| ())
}

pub async fn samples_are_admitted(world: &World) -> Outcome {
    let said = world.kubectl(&["apply", "-k", "config/samples", "--dry-run=server"]).await?;
    world.show(&said);
    expect(said.lines().count() >= 8, || format!("only these were admitted:\n{said}"))
}

pub async fn uninstall(world: &World) -> Outcome {
    let connection = json!({
        "apiVersion": "connector.rocketmq.dev/v1alpha1", "kind": "RocketMQConnection", "metadata": {"name": "kept"},
        "spec": {"nameServers": [world.plain.name_server()]},
    });
    world.apply(&[connection]).await?;
    world.condition("RocketMQConnection", "kept", "Ready", "True", "").await?;
    run("helm", &["uninstall", RELEASE, "-n", OPERATOR_NAMESPACE, "--wait"], "").await?;
    let crds = run("kubectl", &["get", "crd", "-o", "name"], "").await?;
    let kept: Vec<_> = crds.lines().filter(|name| name.ends_with(".connector.rocketmq.dev")).collect();
    world.show(&format!("kept: {}", kept.join(", ")));
    expect(kept.len() == 3, || format!("the definitions after helm uninstall are {kept:?}"))?;
    let left = run("kubectl", &["get", "clusterrole,clusterrolebinding", "-o", "name"], "").await?;
    let left: Vec<_> = left.lines().filter(|name| name.contains(OPERATOR_NAMESPACE)).collect();
    expect(left.is_empty(), || format!("helm uninstall left {left:?}"))?;
    let pods = world.list("Pod", "app.kubernetes.io/instance=kept").await?;
    expect(pods.len() == 1, || format!("{} workers run after helm uninstall, not 1", pods.len()))?;
    // Without an operator: nothing holds the resource up, and its children go with it.
    world.kubectl(&["delete", "rocketmqconnection", "kept", "--timeout", "30s"]).await?;
    wait_for("the children are gone", Duration::from_secs(90), || async {
        let left: Vec<Value> = world.list("Pod", "app.kubernetes.io/instance=kept").await?;
        expect(left.is_empty(), || format!("{} pods are left", left.len()))
    })
    .await?;
    run("kubectl", &["delete", "namespace", NAMESPACE, OPERATOR_NAMESPACE, "--wait=false"], "").await.map(|_| ())
}
