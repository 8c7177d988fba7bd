//! A real API server, named by `KUBECONFIG`, that serves this tree's definitions.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use rocketmq_connector::api;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// What the API server says to an object.
#[derive(Debug)]
pub enum Verdict {
    /// Accepted, with defaults.
    Accepted(Value),
    /// Refused, with this message.
    Refused(String),
}

impl Verdict {
    /// The object with defaults.
    pub fn accepted(self) -> Value {
        match self {
            Self::Accepted(object) => object,
            Self::Refused(message) => panic!("refused: {message}"),
        }
    }

    /// The message.
    pub fn refused(self) -> String {
        match self {
            Self::Accepted(object) => panic!("accepted: {object}"),
            Self::Refused(message) => message,
        }
    }
}

/// A connection to the API server.
pub struct ApiServer {
    client: Client,
}

/// Tests of one program run side by side: one of them applies the definitions, the others wait.
static APPLIED: Mutex<bool> = Mutex::const_new(false);

impl ApiServer {
    /// Connects, and makes sure that this tree's definitions are served.
    pub async fn with_definitions() -> Self {
        let client = Client::try_default().await.expect("KUBECONFIG should name a running API server");
        let mut applied = APPLIED.lock().await;
        if !*applied {
            for crd in api::all_crds() {
                serve(&client, &crd).await;
            }
            *applied = true;
        }
        Self { client }
    }

    /// Creates `object` in a dry run with strict field validation, as kubectl does.
    pub async fn dry_run(&self, object: &Value) -> Verdict {
        let path = format!("{}?dryRun=All&fieldValidation=Strict", collection(object));
        let body = serde_json::to_vec(object).unwrap();
        let request = http::Request::post(path).header("Content-Type", "application/json").body(body).unwrap();
        match self.client.request::<Value>(request).await {
            Ok(created) => Verdict::Accepted(created),
            Err(kube::Error::Api(status)) if status.code == 422 || status.code == 400 => {
                Verdict::Refused(status.message)
            }
            Err(error) => panic!("the API server did not decide about {object}: {error}"),
        }
    }
}

/// Path of the collection that an object is created in.
fn collection(object: &Value) -> String {
    let version = object["apiVersion"].as_str().unwrap();
    let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let kind = object["kind"].as_str().unwrap().to_lowercase();
    let plural = if kind.ends_with('s') { format!("{kind}es") } else { format!("{kind}s") };
    if plural == "namespaces" {
        return format!("{root}/{plural}");
    }
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    format!("{root}/namespaces/{namespace}/{plural}")
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
