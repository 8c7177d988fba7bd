//! Fetches what a RocketMQSync names: the connections of both sides, and which keys its Secrets and ConfigMaps have.

use kube::{Api, Client, ResourceExt};

use crate::api::reference::ConnectionRef;
use crate::api::{RocketMQConnection, RocketMQConnectionSpec, RocketMQSync};
use crate::controller::error::Error;
use crate::controller::workload::lookup::{Found, look_up};

use super::sides;

/// What a sync names, as far as it exists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dereferenced {
    /// Spec of the source's connection; none when there is none, or it does not exist.
    pub source: Option<RocketMQConnectionSpec>,
    /// Spec of the target's connection; none when there is none, or it does not exist.
    pub target: Option<RocketMQConnectionSpec>,
    /// Keys of Secrets and ConfigMaps.
    pub found: Found,
}

/// Fetches what `sync` names.
///
/// # Errors
/// A request failed; that an object does not exist is for validation to tell.
pub async fn dereference(client: &Client, sync: &RocketMQSync) -> Result<Dereferenced, Error> {
    let namespace = sync.namespace().unwrap_or_default();
    let (source, target) = futures::try_join!(
        connection(client, &namespace, sync.spec.source.connection_ref.as_ref()),
        connection(client, &namespace, sync.spec.target.connection_ref.as_ref()),
    )?;
    let files = sides::files(&sync.spec, source.as_ref(), target.as_ref());
    let found = look_up(client, &namespace, &files).await?;
    Ok(Dereferenced { source, target, found })
}

async fn connection(
    client: &Client,
    namespace: &str,
    reference: Option<&ConnectionRef>,
) -> Result<Option<RocketMQConnectionSpec>, Error> {
    let Some(ConnectionRef { name }) = reference else { return Ok(None) };
    let found = Api::<RocketMQConnection>::namespaced(client.clone(), namespace).get_opt(name).await;
    let found = found.map_err(|source| Error::GetReference { what: format!("RocketMQConnection {name}"), source })?;
    Ok(found.map(|connection| connection.spec))
}
