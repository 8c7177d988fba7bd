//! A real API server, named by `KUBECONFIG`, that serves this tree's definitions.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use rocketmq_connector::api;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// Tests of one program run side by side: one of them applies the definitions, the others wait.
static APPLIED: Mutex<bool> = Mutex::const_new(false);

/// Connects, and makes sure that this tree's definitions are served.
pub async fn with_definitions() -> Client {
    let client = Client::try_default().await.expect("KUBECONFIG should name a running API server");
    let mut applied = APPLIED.lock().await;
    if !*applied {
        for crd in api::all_crds() {
            serve(&client, &crd).await;
        }
        *applied = true;
    }
    client
}

async fn serve(client: &Client, crd: &CustomResourceDefinition) {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    let name = crd.name_any();
    let before = api.get_opt(&name).await.unwrap().and_then(|crd| crd.metadata.generation);
    let parameters = PatchParams::apply("rocketmq-connector-tests").force();
    let applied = api.patch(&name, &parameters, &Patch::Apply(crd)).await.unwrap();
    let established = await_condition(api, &name, conditions::is_crd_established());
    tokio::time::timeout(Duration::from_secs(30), established)
        .await
        .expect("the definition should be established")
        .unwrap();
    if applied.metadata.generation != before {
        wait_until_served(client, crd).await;
    }
}

/// A changed schema takes effect a moment after it was stored; nothing in the definition says when.
async fn wait_until_served(client: &Client, crd: &CustomResourceDefinition) {
    let names = &crd.spec.names;
    let path = format!("/apis/{}/{}/namespaces/default/{}?dryRun=All", api::GROUP, api::VERSION, names.plural);
    let probe = json!({
        "apiVersion": format!("{}/{}", api::GROUP, api::VERSION), "kind": names.kind, "metadata": {"name": "probe"},
    });
    for _ in 0..100 {
        let body = serde_json::to_vec(&probe).unwrap();
        let request = http::Request::post(&path).header("Content-Type", "application/json").body(body).unwrap();
        match client.request::<Value>(request).await {
            Err(kube::Error::Api(status)) if status.code == 404 => tokio::time::sleep(Duration::from_millis(200)).await,
            _ => break,
        }
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
}
