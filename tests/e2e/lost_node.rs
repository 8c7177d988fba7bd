//! A node is lost: its worker starts elsewhere. The node is an object for which the test stands in as kubelet until it is lost;
//! from then on everything is the cluster's own: it notices, taints, evicts, and places the worker anew.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{expect, run, wait_for};
use crate::world::{LIMIT, World};
use crate::{Failure, Outcome};

const NODE: &str = "lost-node";
const CONNECTION: &str = "survives";
const LOST_AT: &str = "rocketmq.test/lost-at";
const TAINT: &str = "rocketmq.test/stand-in";
/// Until Kubernetes misses the node (`node-monitor-grace-period`, 50 s), 30 s for which workers tolerate it, and a start; with
/// room for a loaded machine.
const FAILOVER_LIMIT: Duration = Duration::from_secs(180);

/// Whether the cluster is the tests' own: nobody makes nodes in somebody else's.
fn may_make_nodes() -> bool {
    std::env::var_os("E2E_AUDIT_LOG").is_some()
}

/// A connection's worker runs on a node that then is heard of no more.
pub async fn is_lost(world: &World) -> Outcome {
    if !may_make_nodes() {
        world.show("skipped: makes a node, which is done in a cluster of its own only");
        return Ok(());
    }
    make_node().await?;
    let prefers = json!({"weight": 100, "preference": {"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]},
    ]}});
    let agent = json!({
        "mode": "Manual", "tolerations": [{"key": TAINT, "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [prefers]}},
    });
    let connection = json!({
        "apiVersion": "connector.rocketmq.dev/v1alpha1", "kind": "RocketMQConnection", "metadata": {"name": CONNECTION},
        "spec": {"nameServers": [world.plain.name_server()], "agent": agent, "modelLoad": {"enabled": false}},
    });
    world.apply(&[connection]).await?;
    let (pod, _) = wait_for("the worker on the node that will be lost", LIMIT, || async {
        let pods = worker_pods(world).await?;
        let placed = pods.iter().find(|pod| pod["spec"]["nodeName"] == NODE);
        let name = placed.and_then(|pod| pod["metadata"]["name"].as_str());
        Ok(name.ok_or_else(|| format!("{} pods, none on {NODE}", pods.len()))?.to_owned())
    })
    .await?;
    let conditions: Vec<Value> = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
        .map(|kind| json!({"type": kind, "status": "True"}))
        .into();
    // TEST-NET-1 of RFC 5737: nothing answers there
    let status = json!({"status": {
        "phase": "Running", "podIP": "192.0.2.7", "podIPs": [{"ip": "192.0.2.7"}], "conditions": conditions,
    }});
    world
        .kubectl(&["patch", "pod", &pod, "--subresource", "status", "--type", "merge", "-p", &status.to_string()])
        .await?;
    let lost_at = beat("replace").await?;
    let annotation = format!("{LOST_AT}={lost_at}");
    run("kubectl", &["annotate", "node", NODE, &annotation], "").await?;
    world.show(&format!("pod {pod} runs on {NODE}, which was last heard of at {lost_at}"));
    Ok(())
}

/// The worker runs elsewhere; how long that took.
pub async fn another_took_over(world: &World) -> Outcome {
    if !may_make_nodes() {
        world.show("skipped, as above");
        return Ok(());
    }
    let node: Value = serde_json::from_str(&run("kubectl", &["get", "node", NODE, "-o", "json"], "").await?)?;
    let lost_at: jiff::Timestamp = node["metadata"]["annotations"][LOST_AT].as_str().unwrap_or_default().parse()?;
    let (successor, _) = wait_for("the worker on another node", FAILOVER_LIMIT, || async {
        let pods = worker_pods(world).await?;
        let ready = pods.iter().find(|pod| pod["spec"]["nodeName"] != NODE && ready_since(pod).is_some());
        Ok(ready.ok_or_else(|| format!("{} pods, none ready elsewhere", pods.len()))?.clone())
    })
    .await?;
    let since: jiff::Timestamp = ready_since(&successor).unwrap_or_default().parse()?;
    let created: jiff::Timestamp = successor["metadata"]["creationTimestamp"].as_str().unwrap_or_default().parse()?;
    let seconds = |at: jiff::Timestamp| at.duration_since(lost_at).as_secs();
    world.show(&format!(
        "{} runs on {}: placed {} s and ready {} s after {NODE} was heard of last",
        successor["metadata"]["name"],
        successor["spec"]["nodeName"],
        seconds(created),
        seconds(since)
    ));
    expect(seconds(since) <= i64::try_from(FAILOVER_LIMIT.as_secs())?, || {
        format!("it took {} s, the limit is {} s", seconds(since), FAILOVER_LIMIT.as_secs())
    })?;
    world.condition("RocketMQConnection", CONNECTION, "Ready", "True", "").await?;
    // the pod that was lost goes with its node
    run("kubectl", &["delete", "node", NODE], "").await?;
    world.kubectl(&["delete", "rmqconn", CONNECTION]).await.map(|_| ())
}

async fn worker_pods(world: &World) -> Result<Vec<Value>, Failure> {
    let pods = world.list("Pod", "app.kubernetes.io/component=connection").await?;
    Ok(pods
        .into_iter()
        .filter(|pod| pod["metadata"]["annotations"]["connector.rocketmq.dev/owner"] == CONNECTION)
        .collect())
}

fn ready_since(pod: &Value) -> Option<&str> {
    let conditions = pod["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready" && condition["status"] == "True")?;
    ready["lastTransitionTime"].as_str()
}

/// A node that says it is ready, as a kubelet would have it. Its taint keeps the pods of other scenarios away.
async fn make_node() -> Outcome {
    let labels = json!({"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux"});
    let taint = json!({"key": TAINT, "effect": "NoSchedule"});
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": labels}, "spec": {"taints": [taint]},
    });
    run("kubectl", &["create", "-f", "-"], &node.to_string()).await?;
    beat("create").await?;
    let room = json!({"cpu": "4", "memory": "8Gi", "pods": "20"});
    let now = jiff::Timestamp::now().to_string();
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now, "lastTransitionTime": now,
    });
    let status = json!({"status": {"capacity": room, "allocatable": room, "conditions": [ready]}});
    let patch = status.to_string();
    run("kubectl", &["patch", "node", NODE, "--subresource", "status", "--type", "merge", "-p", &patch], "").await?;
    Ok(())
}

/// A kubelet's sign of life: the node's lease. Returns its time.
async fn beat(how: &str) -> Result<String, Failure> {
    let now = format!("{:.6}", jiff::Timestamp::now());
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": NODE, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": NODE, "leaseDurationSeconds": 40, "renewTime": now},
    });
    run("kubectl", &[how, "-f", "-"], &lease.to_string()).await?;
    Ok(now)
}
