//! Messages while something changes: the spec, the operator, a worker.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::Outcome;
use crate::cluster::{expect, run, wait_for};
use crate::flow::binding;
use crate::install::leader;
use crate::sync::publish;
use crate::world::{LIMIT, NAMESPACE, OPERATOR_NAMESPACE, World};

/// Starts a binding of its own for a scenario; its topic has its name.
async fn start(world: &World, name: &str, app: Option<serde_json::Value>) -> Outcome {
    let topic = world.plain.create_topic(name).await?;
    let mut manifest = binding(name, world.plain.name_server(), &topic);
    if let Some(app) = app {
        manifest["spec"]["app"] = app;
    }
    world.apply(&[manifest]).await?;
    world.settled(name).await
}

pub async fn changed_spec(world: &World) -> Outcome {
    const LAST: u32 = 400;
    start(world, "rolled", None).await?;
    let before = world.workers("rolled").await?;
    let change = async {
        sleep(Duration::from_secs(2)).await;
        world.patch("rocketmqbinding/rolled", &json!({"spec": {"replicas": 2, "consumerThreadNums": 7}})).await?;
        world.settled("rolled").await
    };
    let publish = world.publish("rolled-binding", "rolled", 1, LAST, &["-pause", "30ms"]);
    tokio::try_join!(change, publish)?;
    let after = world.workers("rolled").await?;
    world.show(&format!("workers before {:?}, after {:?}", before.keys(), after.keys()));
    expect(after.len() == 2 && after.keys().all(|pod| !before.contains_key(pod)), || {
        "not all workers are new, or not two".to_owned()
    })?;
    world.all_received("/rolled", LAST).await.map(|_| ())
}

/// The operator adds workers when messages wait, without a metrics-server or an adapter.
pub async fn follows_lag(world: &World) -> Outcome {
    const LAST: u32 = 60;
    let topic = world.plain.create_topic("busy").await?;
    let mut manifest = binding("busy", world.plain.name_server(), &topic);
    // Without an output the app is not asked whether it wants messages: they wait for it at once.
    manifest["spec"]["direction"] = json!("Input");
    manifest["spec"]["app"] = json!({"service": {"name": "not-there-yet", "port": 8080}});
    manifest["spec"]["autoscaling"] = json!({"maxReplicas": 3, "targetLag": 10});
    world.apply(&[manifest]).await?;
    publish(world, &topic, 1, LAST as usize).await?;
    let (workers, took) = wait_for("three workers", LIMIT, || async {
        let workers = world.workers("busy").await?;
        expect(workers.len() == 3, || format!("the workers are {workers:?}"))?;
        Ok(workers)
    })
    .await?;
    world.show(&format!("{} workers after {:.1} s", workers.len(), took.as_secs_f64()));
    let events = world.kubectl(&["get", "events", "--field-selector", "reason=Scaled"]).await?;
    world.show(&events);
    expect(events.contains("the aim is 10 a worker"), || format!("no event tells of it: {events}"))?;
    let app = json!({"spec": {"app": {"service": {"name": "app"}}}});
    world.patch("rocketmqbinding/busy", &app).await?;
    world.all_received("/busy", LAST).await?;
    world.kubectl(&["delete", "rocketmqbinding", "busy"]).await.map(|_| ())
}

pub async fn broken_edit(world: &World) -> Outcome {
    start(world, "steady", None).await?;
    let before = world.workers("steady").await?;
    let broken = json!({"spec": {"nameServer": null, "connectionRef": {"name": "nowhere"}}});
    world.patch("rocketmqbinding/steady", &broken).await?;
    let condition = world.condition("RocketMQBinding", "steady", "Ready", "False", "ConnectionNotFound").await?;
    world.show(&format!("Message: {}", condition["message"].as_str().unwrap_or_default()));
    world.publish("steady-binding", "steady", 1, 10, &[]).await?;
    world.all_received("/steady", 10).await?;
    let mended = json!({"spec": {"nameServer": world.plain.name_server(), "connectionRef": null}});
    world.patch("rocketmqbinding/steady", &mended).await?;
    world.settled("steady").await?;
    let after = world.workers("steady").await?;
    expect(before == after, || format!("the workers were {before:?} and are {after:?}"))
}

pub async fn operator_killed(world: &World) -> Outcome {
    const LAST: u32 = 300;
    start(world, "unbothered", None).await?;
    let before = (world.workers("unbothered").await?, generations(world).await?);
    let old = leader(world).await?;
    let kill = async {
        sleep(Duration::from_secs(1)).await;
        run("kubectl", &["-n", OPERATOR_NAMESPACE, "delete", "pod", &old, "--grace-period=0", "--force"], "").await?;
        world.show(&format!("killed {old}"));
        let (new, took) = wait_for("another operator leads", LIMIT, || async {
            let holder = leader(world).await?;
            expect(holder != old, || format!("{holder} still holds the lease"))?;
            Ok(holder)
        })
        .await?;
        world.show(&format!("{new} leads {:.1} s later", took.as_secs_f64()));
        Ok(())
    };
    tokio::try_join!(kill, world.publish("unbothered-binding", "unbothered", 1, LAST, &["-pause", "30ms"]))?;
    world.all_received("/unbothered", LAST).await?;
    // The new operator has taken up its work: it reads the worker's report.
    wait_for("the new operator counts the messages", LIMIT, || async {
        let counted = world.get("RocketMQBinding", "unbothered").await?["status"]["messagesIn"].take();
        expect(counted == LAST, || format!("messagesIn is {counted}"))
    })
    .await?;
    let after = (world.workers("unbothered").await?, generations(world).await?);
    expect(before == after, || format!("something was rolled: before {before:?}, after {after:?}"))?;
    world.show(&format!("no worker was restarted, {} Deployments have the generation they had", after.1.len()));
    Ok(())
}

/// Name and generation of every Deployment of workers.
async fn generations(world: &World) -> Result<Vec<(String, u64)>, crate::Failure> {
    let deployments = world.list("Deployment", "app.kubernetes.io/managed-by=rocketmq-connector-operator").await?;
    Ok(deployments
        .iter()
        .map(|deployment| {
            let meta = &deployment["metadata"];
            (meta["name"].as_str().unwrap_or_default().to_owned(), meta["generation"].as_u64().unwrap_or_default())
        })
        .collect())
}

pub async fn worker_drains(world: &World) -> Outcome {
    const LAST: u32 = 5;
    let app = json!({"service": {"name": "app", "port": 8080}, "path": "/slow?delay=6s"});
    start(world, "slow", Some(app)).await?;
    world.publish("slow-binding", "slow", 1, LAST, &[]).await?;
    world.all_received("/slow", LAST).await?;
    let workers = world.workers("slow").await?;
    let old = workers.keys().next().ok_or("the binding has no worker")?;
    let follow = ["-n", NAMESPACE, "logs", "-f", old, "--tail=-1"];
    // The app has all messages and answers in some seconds: the worker is asked to end in between. A pause asks for it, so
    // that no other worker gets its queues before it has left: what is in flight then comes again.
    let pause = json!({"spec": {"state": "Paused"}});
    let began = std::time::Instant::now();
    let (log, ()) = tokio::try_join!(run("kubectl", &follow, ""), world.patch("rocketmqbinding/slow", &pause))?;
    let took = began.elapsed();
    world.show(log.lines().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n").as_str());
    world.show(&format!("{old} ended {:.1} s after it was asked to", took.as_secs_f64()));
    expect(took < Duration::from_secs(28), || "the worker was killed at the end of its grace period".to_owned())?;
    world.patch("rocketmqbinding/slow", &json!({"spec": {"state": "Running"}})).await?;
    world.settled("slow").await?;
    // What was not acknowledged would be delivered again by now: the queue is read from the last committed offset.
    world.publish("slow-binding", "slow", LAST + 1, LAST + 1, &[]).await?;
    world.all_received("/slow", LAST + 1).await?;
    let counts = world.received("/slow").await?;
    expect(counts.values().all(|count| *count == 1), || format!("some were delivered again: {counts:?}"))?;
    world.show("what was in flight was acknowledged: nothing was delivered twice");
    Ok(())
}
