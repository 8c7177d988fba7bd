//! Models in ConfigMaps: what a connection's worker has loaded, with a JSON Schema for each topic, in as many as it takes.
//!
//! The operator fetches them from the worker's admin port; workers never talk to the API server. The ConfigMaps have labels
//! of their own, so that they are no children of the workload: they change when a topic does.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::{ObjectMeta, Selector};
use kube::{Api, Client, ResourceExt};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::controller::children::{COMPONENT_LABEL, MANAGER, Owner};
use crate::controller::context::Key;
use crate::controller::worker_status::{Endpoint, ReportClient};
use crate::worker_config::models::{ModelPage, ModelWithSchema};

/// Label that tells the ConfigMaps of models from children.
const COMPONENT: &str = "connection-models";
/// Annotation with the revision of the models.
const REVISION_ANNOTATION: &str = "connector.rocketmq.dev/models-revision";
/// Key with all models of a ConfigMap, without their schemas.
const MODELS_KEY: &str = "models.json";
/// Bytes of models and schemas in one ConfigMap; the API server takes 1 MiB.
const CHUNK_BYTES: usize = 600 * 1024;
/// Connections of which the models are written at the same time.
const PARALLEL: usize = 2;
/// Longest key of a ConfigMap.
const KEY_LIMIT: usize = 253;

/// Writes the models of all connections, each when its revision has changed.
#[derive(Debug)]
pub struct ModelMaps {
    /// Revision that is written, or being written.
    kept: Mutex<HashMap<Key, String>>,
    slots: Semaphore,
    reports: ReportClient,
}

impl Default for ModelMaps {
    fn default() -> Self {
        Self { kept: Mutex::default(), slots: Semaphore::new(PARALLEL), reports: ReportClient::new() }
    }
}

/// Why models were not written.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to read them from the worker: {0}")]
    Fetch(#[from] crate::controller::worker_status::PollError),
    #[error("failed to write ConfigMap {name}: {source}")]
    Write { name: String, source: kube::Error },
    #[error("failed to remove surplus ConfigMaps: {0}")]
    Prune(#[source] kube::Error),
}

impl ModelMaps {
    /// Writes the models in the background, unless those of this revision are written. A failure is told in the log, and
    /// the next report tries again.
    pub fn keep(self: &Arc<Self>, client: &Client, owner: &Owner, revision: &str, endpoint: Endpoint) {
        let key = Key { kind: owner.kind.clone(), namespace: owner.namespace.clone(), name: owner.name.clone() };
        if self.kept().insert(key.clone(), revision.to_owned()).as_deref() == Some(revision) {
            return;
        }
        let (maps, client, owner, revision) = (Arc::clone(self), client.clone(), owner.clone(), revision.to_owned());
        tokio::spawn(async move {
            let _slot = maps.slots.acquire().await;
            match maps.write(&client, &owner, endpoint).await {
                Ok(count) => {
                    tracing::info!(namespace = owner.namespace, name = owner.name, count, revision, "models written")
                }
                Err(error) => {
                    tracing::warn!(namespace = owner.namespace, name = owner.name, %error, "models were not written");
                    let mut kept = maps.kept();
                    if kept.get(&key) == Some(&revision) {
                        kept.remove(&key);
                    }
                }
            }
        });
    }

    /// The connection is gone.
    pub fn forget(&self, key: &Key) {
        self.kept().remove(key);
    }

    /// Writes all parts and removes what is left over; returns the number of ConfigMaps.
    async fn write(&self, client: &Client, owner: &Owner, endpoint: Endpoint) -> Result<usize, Error> {
        let api = Api::<ConfigMap>::namespaced(client.clone(), &owner.namespace);
        let (mut names, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.reports.models(endpoint, &after, CHUNK_BYTES).await?;
            let map = config_map(owner, names.len(), &page);
            let name = map.name_any();
            let written = api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&map)).await;
            written.map_err(|source| Error::Write { name: name.clone(), source })?;
            names.push(name);
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        prune(&api, owner, &names).await.map_err(Error::Prune)?;
        Ok(names.len())
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Key, String>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn prune(api: &Api<ConfigMap>, owner: &Owner, wanted: &[String]) -> Result<(), kube::Error> {
    let selector: Selector = selector(owner).into_iter().collect();
    let listed = api.list_metadata(&ListParams::default().labels_from(&selector)).await?;
    let is_ours =
        |meta: &ObjectMeta| meta.owner_references.iter().flatten().any(|reference| reference.uid == owner.uid);
    let surplus = listed.items.into_iter().filter(|item| is_ours(&item.metadata));
    for item in surplus.filter(|item| !wanted.contains(&item.name_any())) {
        match api.delete(&item.name_any(), &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            outcome => drop(outcome?),
        }
    }
    Ok(())
}

fn selector(owner: &Owner) -> BTreeMap<String, String> {
    let mut labels = owner.selector();
    labels.insert(COMPONENT_LABEL.to_owned(), COMPONENT.to_owned());
    labels
}

fn config_map(owner: &Owner, number: usize, page: &ModelPage) -> ConfigMap {
    let mut labels = owner.labels();
    labels.insert(COMPONENT_LABEL.to_owned(), COMPONENT.to_owned());
    // It goes with the connection, but a change of it is no reason to reconcile.
    let reference = OwnerReference {
        api_version: owner.api_version.clone(),
        kind: owner.kind.clone(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
        controller: Some(false),
        block_owner_deletion: Some(false),
    };
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(format!("{}-models-{number}", owner.child_name())),
            namespace: Some(owner.namespace.clone()),
            labels: Some(labels),
            annotations: Some([(REVISION_ANNOTATION.to_owned(), page.revision.clone())].into()),
            owner_references: Some(vec![reference]),
            ..ObjectMeta::default()
        },
        data: Some(data(&page.models)),
        ..ConfigMap::default()
    }
}

fn data(models: &[ModelWithSchema]) -> BTreeMap<String, String> {
    let schemas = models.iter().map(|entry| (key(&entry.model.topic), entry.schema.to_string()));
    let mut data: BTreeMap<_, _> = schemas.collect();
    let plain: Vec<_> = models.iter().map(|entry| &entry.model).collect();
    data.insert(MODELS_KEY.to_owned(), serde_json::to_string(&plain).unwrap_or_default());
    data
}

/// Key of a topic's schema: topics may have `%` and `|`, keys may not.
fn key(topic: &str) -> String {
    let name = format!("{}.schema.json", topic.replace('%', ".25").replace('|', ".7C"));
    if name.len() <= KEY_LIMIT {
        return name;
    }
    let hash: String = Sha256::digest(topic.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hash}.schema.json", &name[..200])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::worker_config::models::{Format, Model};

    fn page(topics: &[&str]) -> ModelPage {
        let models = topics.iter().map(|topic| {
            let model = Model {
                topic: (*topic).to_owned(),
                queues: 1,
                messages: 0,
                sampled: 0,
                format: Format::Empty,
                mixed: vec![],
                fields: vec![],
                error: None,
            };
            ModelWithSchema { model, schema: json!({"title": topic}) }
        });
        ModelPage { revision: "r".to_owned(), models: models.collect(), next: None }
    }

    #[test]
    fn each_topic_has_a_key_and_the_map_is_no_child() {
        let owner = Owner {
            api_version: "connector.rocketmq.dev/v1alpha1".to_owned(),
            kind: "RocketMQConnection".to_owned(),
            namespace: "shop".to_owned(),
            name: "main".to_owned(),
            uid: "u".to_owned(),
            generation: 1,
            component: "connection",
        };
        let map = config_map(&owner, 3, &page(&["orders", "ns%orders"]));
        assert_eq!(map.name_any(), "main-connection-models-3");
        let data = map.data.unwrap();
        assert_eq!(data.keys().collect::<Vec<_>>(), ["models.json", "ns.25orders.schema.json", "orders.schema.json"]);
        assert_eq!(data["orders.schema.json"], r#"{"title":"orders"}"#);
        assert_eq!(map.metadata.owner_references.unwrap()[0].controller, Some(false));
        assert_ne!(map.metadata.labels.unwrap()[COMPONENT_LABEL], owner.selector()[COMPONENT_LABEL]);
    }

    #[test]
    fn a_long_topic_still_fits() {
        let topic = "%".repeat(127);
        assert!(key(&topic).len() <= KEY_LIMIT && key(&topic) != key(&"%".repeat(126)));
    }
}
