//! Finds out which keys the Secrets and ConfigMaps have that a RocketMQConnection names.

use kube::{Client, ResourceExt};

use crate::api::{RocketMQConnection, RocketMQConnectionSpec};
use crate::controller::error::Error;
use crate::controller::workload::cluster::Cluster;
use crate::controller::workload::lookup::{Found, look_up};

/// Fetches what `connection` names.
///
/// # Errors
/// A request failed; that an object does not exist is for validation to tell.
pub async fn dereference(client: &Client, connection: &RocketMQConnection) -> Result<Found, Error> {
    look_up(client, &connection.namespace().unwrap_or_default(), &cluster(&connection.spec).files).await
}

/// The cluster that a connection describes.
pub fn cluster(spec: &RocketMQConnectionSpec) -> Cluster {
    Cluster::of_connection(spec, "spec")
}
