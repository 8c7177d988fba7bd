//! The models as they are now, and the admin server's routes `/models` and `/models/{topic}`.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::load::{Entry, Loaded};
use super::schema::json_schema;
use crate::worker_config::models::{Model, ModelPage, ModelWithSchema};

/// Bytes of a part of the models unless the request says otherwise, and at most.
const PAGE_BYTES: usize = 512 * 1024;
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;

/// The models of the newest load; clones share it.
#[derive(Clone, Default)]
pub struct Store {
    shared: Arc<RwLock<(Arc<Loaded>, String)>>,
}

/// How the models of two loads differ, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Models that are new.
    pub added: usize,
    /// Models that are gone.
    pub removed: usize,
    /// Models with other fields or another format.
    pub changed: usize,
}

impl Store {
    /// The models as they are now.
    #[must_use]
    pub fn current(&self) -> Arc<Loaded> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Changes when a model changes; empty before the first load.
    #[must_use]
    pub fn revision(&self) -> String {
        self.shared.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Takes the models of a load.
    pub fn replace(&self, loaded: Loaded) -> Difference {
        let difference = difference(&self.current(), &loaded);
        let revision = revision(&loaded);
        *self.shared.write().unwrap_or_else(PoisonError::into_inner) = (Arc::new(loaded), revision);
        difference
    }

    /// The routes `/models` and `/models/{topic}`.
    pub fn routes(&self) -> Router {
        Router::new().route("/models", get(page)).route("/models/{topic}", get(one)).with_state(self.clone())
    }

    fn page(&self, after: &str, max_bytes: usize) -> ModelPage {
        let loaded = self.current();
        let start = loaded.models.partition_point(|entry| entry.model.topic.as_str() <= after);
        let (mut models, mut bytes) = (Vec::new(), 0);
        for entry in &loaded.models[start..] {
            let model = with_schema(&entry.model);
            bytes += serde_json::to_vec(&model).map_or(0, |text| text.len());
            if bytes > max_bytes && !models.is_empty() {
                break;
            }
            models.push(model);
        }
        let is_last = start + models.len() >= loaded.models.len();
        let next = models.last().filter(|_| !is_last).map(|last| last.model.topic.clone());
        ModelPage { revision: self.revision(), models, next }
    }
}

fn with_schema(model: &Model) -> ModelWithSchema {
    ModelWithSchema { schema: json_schema(model), model: model.clone() }
}

/// What a model says about its messages; counts change by themselves.
fn face(
    entry: &Entry,
) -> (crate::worker_config::models::Format, Vec<(String, Vec<crate::worker_config::models::FieldType>, bool)>) {
    let fields = entry.model.fields.iter().map(|field| (field.path.clone(), field.types.clone(), field.nullable));
    (entry.model.format, fields.collect())
}

fn difference(before: &Loaded, after: &Loaded) -> Difference {
    let known: HashMap<&str, &Entry> = before.models.iter().map(|entry| (entry.model.topic.as_str(), entry)).collect();
    let pairs = after.models.iter().map(|entry| (entry, known.get(entry.model.topic.as_str())));
    let kept = pairs.clone().filter(|(_, before)| before.is_some()).count();
    let changed = pairs.filter(|(entry, before)| before.is_some_and(|before| face(before) != face(entry))).count();
    Difference { added: after.models.len() - kept, removed: before.models.len() - kept, changed }
}

fn revision(loaded: &Loaded) -> String {
    let mut digest = Sha256::new();
    for entry in &loaded.models {
        digest.update(&entry.model.topic);
        digest.update(format!("{:?}", face(entry)));
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PageQuery {
    #[serde(default)]
    after: String,
    #[serde(default)]
    max_bytes: Option<usize>,
}

async fn page(State(store): State<Store>, Query(query): Query<PageQuery>) -> Json<ModelPage> {
    Json(store.page(&query.after, query.max_bytes.unwrap_or(PAGE_BYTES).min(MAX_PAGE_BYTES)))
}

async fn one(State(store): State<Store>, Path(topic): Path<String>) -> Response {
    let loaded = store.current();
    match loaded.models.binary_search_by(|entry| entry.model.topic.as_str().cmp(&topic)) {
        Ok(at) => Json(with_schema(&loaded.models[at].model)).into_response(),
        Err(_) => {
            let message = format!("topic {topic:?} is not among the {} models\n", loaded.models.len());
            (StatusCode::NOT_FOUND, message).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::Sample;
    use super::*;

    fn entry(topic: &str, body: &str) -> Entry {
        let mut sample = Sample::default();
        sample.add(body.as_bytes());
        let model = Model {
            topic: topic.to_owned(),
            queues: 1,
            messages: 1,
            sampled: 1,
            format: sample.format(),
            mixed: vec![],
            fields: sample.fields(),
            error: None,
        };
        Entry { model, end: 1 }
    }

    #[test]
    fn a_load_is_compared_with_the_one_before() {
        let store = Store::default();
        let load = |entries: &[(&str, &str)]| Loaded {
            models: entries.iter().map(|(topic, body)| entry(topic, body)).collect(),
            left: 0,
        };
        let first = store.replace(load(&[("a", r#"{"x": 1}"#), ("b", r#"{"x": 1}"#)]));
        assert_eq!(first, Difference { added: 2, removed: 0, changed: 0 });
        let revision = store.revision();
        let same = store.replace(load(&[("a", r#"{"x": 7}"#), ("b", r#"{"x": 1}"#)]));
        assert_eq!((same.changed, store.revision()), (0, revision.clone()));
        let second = store.replace(load(&[("b", r#"{"x": "text"}"#), ("c", "plain")]));
        assert_eq!(second, Difference { added: 1, removed: 1, changed: 1 });
        assert_ne!(store.revision(), revision);
    }

    #[test]
    fn ten_thousand_models_come_in_parts_and_quickly() {
        let store = Store::default();
        let body = format!("{{{}}}", (0..20).map(|n| format!("\"field{n}\": {n}")).collect::<Vec<_>>().join(","));
        let mut models: Vec<_> = (0..10_000).map(|n| entry(&format!("topic-{n:05}"), &body)).collect();
        models.sort_by(|a, b| a.model.topic.cmp(&b.model.topic));
        store.replace(Loaded { models, left: 0 });
        let started = Instant::now();
        let first = store.page("", PAGE_BYTES);
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        let (mut seen, mut next) = (first.models.len(), first.next);
        assert!(serde_json::to_vec(&first.models).unwrap().len() < PAGE_BYTES + 100_000);
        while let Some(after) = next {
            let page = store.page(&after, MAX_PAGE_BYTES);
            seen += page.models.len();
            next = page.next;
        }
        assert_eq!(seen, 10_000);
    }
}
