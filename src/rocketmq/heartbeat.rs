//! Heartbeats: how brokers learn which groups, topics and filters this client has (`HeartbeatData` of Apache RocketMQ).

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::client::Inner;
use super::consumer::Member;
use super::error::Result;
use super::wire::Command;
use super::wire::codes::request;

/// Sends heartbeats until the client ends: at each interval, and soon after a group joined or a connection was lost.
pub(crate) async fn run(client: Weak<Inner>, token: CancellationToken, interval: Duration) {
    loop {
        let Some(strong) = client.upgrade() else { return };
        beat(&strong).await;
        let wait = async {
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = strong.heartbeat_wanted.notified() => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        };
        if token.run_until_cancelled(wait).await.is_none() {
            return;
        }
    }
}

/// Sends one heartbeat to every known broker. Failures are logged: the next heartbeat follows.
pub(crate) async fn beat(client: &Arc<Inner>) {
    let _under_way = client.heartbeats.read().await;
    let consumers = client.consumers();
    let producers = client.producers();
    if consumers.is_empty() && producers.is_empty() {
        return;
    }
    let body = body(client, &consumers);
    // replicas need to know consumers, which may read from them
    let beats = client.broker_addresses(!consumers.is_empty()).into_iter().map(|address| {
        let body = body.clone();
        async move {
            if let Err(error) = beat_one(client, &address, body).await {
                tracing::debug!(address, %error, "a heartbeat failed");
            }
        }
    });
    futures::future::join_all(beats).await;
}

/// Sends a heartbeat to one broker, for instance because it does not know a subscription.
///
/// # Errors
/// The broker cannot be reached or refuses it, for instance for a wrong SQL92 expression.
pub(crate) async fn beat_address(client: &Arc<Inner>, address: &str) -> Result<()> {
    let _under_way = client.heartbeats.read().await;
    let consumers = client.consumers();
    beat_one(client, address, body(client, &consumers)).await
}

async fn beat_one(client: &Arc<Inner>, address: &str, body: Vec<u8>) -> Result<()> {
    client.call(address, Command::request(request::HEART_BEAT).with_body(body), "the heartbeat").await?;
    if let Ok(connection) = client.connection(address).await {
        client.watch_connection(address, connection);
    }
    Ok(())
}

fn body(client: &Inner, consumers: &[Arc<Member>]) -> Vec<u8> {
    let producers: Vec<Value> = client.producers().keys().map(|group| json!({ "groupName": group })).collect();
    let consumers: Vec<Value> = consumers.iter().map(|member| member.heartbeat_data()).collect();
    json!({ "clientID": client.client_id, "producerDataSet": producers, "consumerDataSet": consumers })
        .to_string()
        .into_bytes()
}
