//! Children that look the same for every kind.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};

use crate::worker_config::WorkerConfig;

use super::files;
use super::pod::{CONFIG_FILE, Workload};

/// The ConfigMap with the worker's configuration. It holds paths of credentials, never their values.
#[must_use]
pub fn config_map(workload: &Workload, config: &WorkerConfig) -> ConfigMap {
    let text = config.to_json().expect("a worker configuration should always render as JSON");
    ConfigMap {
        metadata: workload.owner.child_meta(),
        data: Some(BTreeMap::from([(CONFIG_FILE.to_owned(), text)])),
        ..ConfigMap::default()
    }
}

/// The Secret with the credentials that the manifest gives as plain values; none without such.
#[must_use]
pub fn secret(workload: &Workload) -> Option<Secret> {
    let values = files::plain_values(&workload.files);
    let data: BTreeMap<_, _> =
        values.into_iter().map(|(name, value)| (name, k8s_openapi::ByteString(value.into_bytes()))).collect();
    (!data.is_empty()).then(|| Secret {
        metadata: workload.owner.child_meta(),
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..Secret::default()
    })
}

/// The ServiceAccount of the pods, without permissions and without a token; none when the user brings one.
#[must_use]
pub fn service_account(workload: &Workload) -> Option<ServiceAccount> {
    workload.template.service_account_name().is_none().then(|| ServiceAccount {
        metadata: workload.owner.child_meta(),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    })
}
