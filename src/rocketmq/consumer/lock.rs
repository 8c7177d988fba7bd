//! Locks of queues on the broker, so that only one member of a group reads an ordered queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::broker_requests::queue_of;
use super::super::client::lock as guard;
use super::super::error::{Error, ErrorKind, Result};
use super::super::wire::Command;
use super::super::wire::codes::request;
use super::super::wire::loose_json::{self, Loose};
use super::assigned::Assigned;
use super::member::Member;
use super::offsets;

/// Brokers hold a lock for 60 s after it was last asked for; this much of it is trusted.
pub(super) const LOCK_VALID: Duration = Duration::from_secs(30);
const RENEWAL: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(500);
/// How long a revoked queue's delivery may take before its lock is left to expire.
const RELEASE_WAIT: Duration = Duration::from_secs(10);

/// Asks for the locks of all assigned queues at an interval, and soon for those that another member still holds.
pub(super) async fn run(member: Arc<Member>) {
    loop {
        let mut missing = false;
        for (broker, queues) in by_broker(&member) {
            let outcome = acquire(&member, &broker, &queues).await;
            missing |= !matches!(&outcome, Ok(true));
            member.note(&format!("lock {broker}"), outcome.err());
        }
        let pause = if missing { RETRY } else { RENEWAL };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = member.rebalance_done() => {}
        }
    }
}

/// Gives all locks back.
pub(super) async fn release_all(member: &Arc<Member>) {
    if member.is_ordered() {
        for (broker, queues) in by_broker(member) {
            release(member, &broker, &queues).await;
        }
    }
}

/// Gives the lock of a revoked queue back once the caller's delivery is settled, so that the next member does not overtake it;
/// what was pulled and not handed out is that member's.
pub(super) async fn release_revoked(member: Arc<Member>, assigned: Arc<Assigned>) {
    let settled = async {
        while assigned.handed_out() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let settled = tokio::time::timeout(RELEASE_WAIT, settled).await.is_ok();
    // it may have come back meanwhile: the lock is in use then
    if settled && !guard(&member.queues).contains_key(&assigned.queue) {
        // nobody else has moved the offset: the lock is still held
        offsets::commit(&member, &assigned).await;
        let broker = assigned.queue.broker_name.clone();
        release(&member, &broker, &[assigned]).await;
    }
}

fn by_broker(member: &Member) -> BTreeMap<String, Vec<Arc<Assigned>>> {
    let mut brokers: BTreeMap<String, Vec<Arc<Assigned>>> = BTreeMap::new();
    for assigned in guard(&member.queues).values() {
        brokers.entry(assigned.queue.broker_name.to_string()).or_default().push(assigned.clone());
    }
    brokers
}

/// Asks a broker for locks; true when all were given.
async fn acquire(member: &Member, broker: &str, queues: &[Arc<Assigned>]) -> Result<bool> {
    let address = member.client().master_address(broker)?;
    let asked_at = std::time::Instant::now();
    let request = Command::request(request::LOCK_BATCH_MQ).with_body(body(member, queues));
    let answer = member.client().call(&address, request, "queue locks").await?;
    let body = loose_json::parse(&answer.body)
        .map_err(|error| Error::new(ErrorKind::Protocol, format!("{address}: queue locks: {error}")))?;
    let given: Vec<_> =
        body.get("lockOKMQSet").map(Loose::items).unwrap_or_default().iter().filter_map(queue_of).collect();
    let mut all = true;
    for assigned in queues {
        let held = given.contains(&assigned.queue);
        all &= held;
        // the broker counts from when it was asked, not from when the answer came
        assigned.set_locked(held && asked_at.elapsed() < LOCK_VALID);
    }
    Ok(all)
}

async fn release(member: &Member, broker: &str, queues: &[Arc<Assigned>]) {
    queues.iter().for_each(|assigned| assigned.set_locked(false));
    let Ok(address) = member.client().master_address(broker) else { return };
    let request = Command::request(request::UNLOCK_BATCH_MQ).with_body(body(member, queues));
    if let Err(error) = member.client().call(&address, request, "queue locks").await {
        tracing::debug!(broker, %error, "queue locks were not given back; they expire after a minute");
    }
}

fn body(member: &Member, queues: &[Arc<Assigned>]) -> String {
    let queues: Vec<_> = queues
        .iter()
        .map(|assigned| &assigned.queue)
        .map(|queue| json!({ "topic": queue.topic, "brokerName": queue.broker_name, "queueId": queue.queue_id }))
        .collect();
    json!({ "consumerGroup": member.group(), "clientId": member.client().client_id, "mqSet": queues }).to_string()
}
