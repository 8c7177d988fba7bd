//! Credentials: wrong, missing, and never where they do not belong.

use serde_json::{Value, json};

use crate::Outcome;
use crate::cluster::{expect, run, wait_for};
use crate::flow::{API_TOKEN, binding};
use crate::world::{LIMIT, NAMESPACE, OPERATOR_NAMESPACE, World};

fn secret(name: &str, access_key: &str, secret_key: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"accessKey": access_key, "secretKey": secret_key}})
}

/// A binding at the broker with access control, with credentials of a Secret.
fn guarded(world: &World, name: &str, topic: &str, secret: &str) -> Value {
    let mut guarded = binding(name, world.acl.name_server(), topic);
    guarded["spec"]["accessKey"] = json!({"secretKeyRef": {"name": secret, "key": "accessKey"}});
    guarded["spec"]["secretKey"] = json!({"secretKeyRef": {"name": secret, "key": "secretKey"}});
    guarded
}

pub async fn wrong_secret(world: &World) -> Outcome {
    let topic = world.acl.create_topic("guarded").await?;
    let (access_key, secret_key) = (world.acl.setting("ADMIN_ACCESS_KEY"), world.acl.setting("ADMIN_SECRET_KEY"));
    world
        .apply(&[secret("wrong", access_key, "not-the-secret-key"), guarded(world, "guarded", &topic, "wrong")])
        .await?;
    let condition = world.condition("RocketMQBinding", "guarded", "Ready", "False", "WorkerFailing").await?;
    let error = world.get("RocketMQBinding", "guarded").await?["status"]["lastError"].take();
    let remedy = error["remedy"].as_str().unwrap_or_default().to_owned();
    let described = world.kubectl(&["describe", "rocketmqbinding", "guarded"]).await?;
    world.show(&format!("Message: {}", condition["message"].as_str().unwrap_or_default()));
    expect(!remedy.is_empty() && described.contains(&remedy), || {
        format!("the remedy {remedy:?} is not in kubectl describe:\n{described}")
    })?;
    expect(condition["message"].to_string().contains("secretKey") || remedy.contains("secret"), || {
        format!("neither message nor remedy speak of the secret key: {condition}, {remedy}")
    })?;
    expect(!described.contains("not-the-secret-key"), || "kubectl describe shows the secret".to_owned())?;

    world.apply(&[secret("wrong", access_key, secret_key)]).await?;
    world.condition("RocketMQBinding", "guarded", "Ready", "True", "").await?;
    world.publish("guarded-binding", "guarded", 1, 3, &[]).await?;
    world.all_received("/guarded", 3).await.map(|_| ())
}

pub async fn missing_secret(world: &World) -> Outcome {
    let topic = world.acl.create_topic("waiting").await?;
    world.apply(&[guarded(world, "waiting", &topic, "not-yet")]).await?;
    let condition = world.condition("RocketMQBinding", "waiting", "ResolvedRefs", "False", "SecretNotFound").await?;
    world.show(&format!("Message: {}", condition["message"].as_str().unwrap_or_default()));
    let described = world.kubectl(&["describe", "rocketmqbinding", "waiting"]).await?;
    for part in ["spec.accessKey", "\"not-yet\"", "create it with the key"] {
        expect(described.contains(part), || format!("kubectl describe does not say {part}:\n{described}"))?;
    }
    expect(described.contains("SecretNotFound"), || "there is no Event with the reason".to_owned())?;
    world
        .apply(&[secret("not-yet", world.acl.setting("ADMIN_ACCESS_KEY"), world.acl.setting("ADMIN_SECRET_KEY"))])
        .await?;
    world.settled("waiting").await
}

pub async fn nothing_leaks(world: &World) -> Outcome {
    let listed = "configmaps,events,rocketmq,pods,deployments,services,serviceaccounts,replicasets";
    let mut places = vec![
        ("objects", world.kubectl(&["get", listed, "-o", "json"]).await?),
        (
            "operator's log",
            run(
                "kubectl",
                &["-n", OPERATOR_NAMESPACE, "logs", "-l", "app.kubernetes.io/component=operator", "--tail=-1"],
                "",
            )
            .await?,
        ),
    ];
    let logs = [
        "logs",
        "-l",
        "app.kubernetes.io/managed-by=rocketmq-connector-operator",
        "--tail=-1",
        "--max-log-requests=50",
    ];
    let managed = world.list("Pod", "app.kubernetes.io/managed-by=rocketmq-connector-operator").await?;
    for pod in &managed {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let volumes = pod["spec"]["volumes"].to_string();
        expect(!volumes.contains("kube-api-access"), || format!("worker pod {name} has a token for the API server"))?;
    }
    // A pod that goes while the logs are read makes kubectl give up.
    let arguments = [&["-n", NAMESPACE], &logs[..]].concat();
    let (read, _) = wait_for("the workers' logs", LIMIT, || run("kubectl", &arguments, "")).await?;
    places.push(("workers' logs", read));
    let secret_key = world.acl.setting("ADMIN_SECRET_KEY");
    for (place, text) in &places {
        world.show(&format!("{place}: {} bytes", text.len()));
        expect(!text.trim().is_empty(), || format!("there is nothing to look at in the {place}"))?;
        for value in [secret_key, API_TOKEN] {
            expect(!text.contains(value), || format!("the {place} hold a value of a Secret"))?;
        }
    }
    Ok(())
}
