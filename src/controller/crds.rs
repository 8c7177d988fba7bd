//! Waits for the custom resource definitions: restarting the operator does not make a missing one appear.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::admin::Readiness;
use crate::api::{RocketMQBinding, RocketMQConnection, RocketMQSync};

use super::settings::Settings;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(3);

/// Closes the gates of all kinds before anything is awaited: no gate at all would count as ready.
pub fn announce(readiness: &Readiness) {
    for crd in [crd_name::<RocketMQConnection>(), crd_name::<RocketMQBinding>(), crd_name::<RocketMQSync>()] {
        readiness.gate(crd.clone(), format!("the API server's answer about {crd}"));
    }
}

fn crd_name<K: Resource<DynamicType = ()>>() -> String {
    format!("{}.{}", K::plural(&()), K::group(&()))
}

/// Waits until the API server serves all kinds; readiness tells which one is missing. `false` when cancelled.
pub async fn wait_for_all(
    client: &Client,
    settings: &Settings,
    readiness: &Readiness,
    token: &CancellationToken,
) -> bool {
    tokio::select! {
        () = token.cancelled() => false,
        _ = async {
            tokio::join!(
                wait_for::<RocketMQConnection>(client, settings, readiness),
                wait_for::<RocketMQBinding>(client, settings, readiness),
                wait_for::<RocketMQSync>(client, settings, readiness),
            )
        } => true,
    }
}

/// Waits for one kind by listing it where it will be watched: that needs no permission that watching does not need.
async fn wait_for<K>(client: &Client, settings: &Settings, readiness: &Readiness)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let crd = crd_name::<K>();
    let gate = readiness.gate(crd.clone(), format!("the API server's answer about {crd}"));
    let api = scoped::<K>(client, settings);
    let mut told = String::new();
    while let Err(error) = api.list_metadata(&ListParams::default().limit(1)).await {
        let missing = explain(&crd, &error);
        if missing != told {
            tracing::warn!(crd, "waiting: {missing}");
            gate.wait(missing.clone());
            told = missing;
        }
        tokio::time::sleep(INTERVAL).await;
    }
    gate.ready();
}

fn explain(crd: &str, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.is_not_found() => {
            format!(
                "the custom resource definition {crd} is not installed; install the chart's or kustomize's definitions"
            )
        }
        kube::Error::Api(status) if status.is_forbidden() => {
            format!("listing {crd} is forbidden; grant the operator's service account list and watch on it")
        }
        other => format!("failed to list {crd}: {other}"),
    }
}

/// The API of a kind in the scope that the operator watches.
pub fn scoped<K>(client: &Client, settings: &Settings) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match &settings.watch_namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
