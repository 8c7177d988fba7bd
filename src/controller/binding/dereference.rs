//! Fetches what a RocketMQBinding names: the connection, and which keys its Secrets and ConfigMaps have.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client, ResourceExt};

use crate::api::binding::AccessProto;
use crate::api::{RocketMQBinding, RocketMQBindingSpec, RocketMQConnection, RocketMQConnectionSpec};
use crate::controller::children::Owner;
use crate::controller::error::Error;
use crate::controller::workload::cluster::{Cluster, Keys};
use crate::controller::workload::files::MountedFile;
use crate::controller::workload::lookup::{Found, look_up};

/// File names of the binding's own tokens.
pub const APP_TOKEN: &str = "appToken";
pub const API_TOKEN: &str = "apiToken";

/// What a binding names, as far as it exists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dereferenced {
    /// Spec of the connection; none when the binding names none, or one that does not exist.
    pub connection: Option<RocketMQConnectionSpec>,
    /// Keys of Secrets and ConfigMaps.
    pub found: Found,
    /// The workers that run now.
    pub deployed: Option<Deployment>,
}

/// Fetches what `binding` names.
///
/// # Errors
/// A request failed; that an object does not exist is for validation to tell.
pub async fn dereference(client: &Client, binding: &RocketMQBinding, owner: &Owner) -> Result<Dereferenced, Error> {
    let namespace = binding.namespace().unwrap_or_default();
    let connection = match &binding.spec.connection_ref {
        Some(reference) => connection(client, &namespace, &reference.name).await?,
        None => None,
    };
    let mut files = cluster(&binding.spec, connection.as_ref()).files;
    files.extend(own_files(&binding.spec));
    let found = look_up(client, &namespace, &files).await?;
    let workers = Api::<Deployment>::namespaced(client.clone(), &namespace).get_opt(&owner.child_name()).await;
    let deployed =
        workers.map_err(|source| Error::GetReference { what: format!("Deployment {}", owner.child_name()), source })?;
    Ok(Dereferenced { connection, found, deployed })
}

async fn connection(client: &Client, namespace: &str, name: &str) -> Result<Option<RocketMQConnectionSpec>, Error> {
    let found = Api::<RocketMQConnection>::namespaced(client.clone(), namespace).get_opt(name).await;
    let found = found.map_err(|source| Error::GetReference { what: format!("RocketMQConnection {name}"), source })?;
    Ok(found.map(|connection| connection.spec))
}

/// The cluster that a binding works with: its connection's, or its own fields'.
pub fn cluster(spec: &RocketMQBindingSpec, connection: Option<&RocketMQConnectionSpec>) -> Cluster {
    let keys = Keys {
        access_key: spec.access_key.as_ref(),
        secret_key: spec.secret_key.as_ref(),
        security_token: spec.security_token.as_ref(),
    };
    match (&spec.connection_ref, connection) {
        (Some(reference), Some(connection)) => {
            Cluster::of_connection(connection, &format!("spec of RocketMQConnection {:?}", reference.name))
        }
        _ if spec.access_proto == AccessProto::Http => {
            Cluster::http(spec.endpoint.as_deref(), spec.instance_id.as_deref(), keys, spec.tls.as_ref())
        }
        _ => Cluster::inline(
            spec.name_server.as_deref(),
            spec.name_server_domain.as_deref(),
            spec.instance_id.as_deref(),
            keys,
        ),
    }
}

/// Files for tokens of the app and of the API.
pub fn own_files(spec: &RocketMQBindingSpec) -> Vec<MountedFile> {
    let app = spec.app.as_ref().and_then(|app| app.api_token.as_ref());
    let api = spec.api.as_ref().and_then(|api| api.token.as_ref());
    let app = app.and_then(|token| MountedFile::credential(APP_TOKEN, "spec.app.apiToken", token));
    let api = api.and_then(|token| MountedFile::credential(API_TOKEN, "spec.api.token", token));
    app.into_iter().chain(api).collect()
}
