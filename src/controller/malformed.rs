//! Tells the user of a stored object that this version cannot read; the other objects of its kind are not held up.

use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::error_boundary::InvalidObject;
use serde_json::json;

use crate::api::condition::{reasons, types};

use super::children::MANAGER;
use super::conditions::{self, Draft};
use super::context::Context;
use super::reconciler::Kind;

/// Writes conditions that say what cannot be read. A failure is logged: there is nothing else to be done with the object.
pub async fn report<K: Kind>(invalid: &InvalidObject, context: &Context) {
    let (namespace, name) =
        (invalid.metadata.namespace.clone().unwrap_or_default(), invalid.metadata.name.clone().unwrap_or_default());
    let message = format!("the object cannot be read: {}; correct it and apply it again", invalid.error);
    let drafts = vec![
        Draft::new(types::READY, false, reasons::INVALID_SPEC, &message),
        Draft::new(types::ACCEPTED, false, reasons::INVALID_SPEC, &message),
        Draft::new(types::STALLED, true, reasons::INVALID_SPEC, &message),
    ];
    let generation = invalid.metadata.generation.unwrap_or_default();
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name},
        "status": {
            "observedGeneration": generation,
            "conditions": conditions::merge(&[], drafts, generation, Timestamp::now()),
        },
    });
    let api = Api::<kube::core::PartialObjectMeta<K>>::namespaced(context.client.clone(), &namespace);
    let parameters = PatchParams::apply(MANAGER).force();
    if let Err(error) = api.patch_status(&name, &parameters, &Patch::Apply(&patch)).await {
        tracing::warn!(kind = K::KIND, namespace, name, %error, "failed to tell that the object cannot be read");
    }
}
