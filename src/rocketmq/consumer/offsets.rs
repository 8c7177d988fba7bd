//! Where a queue starts, and the commits of what was acknowledged.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::client::{Inner, check, lock};
use super::super::error::Result;
use super::super::message::without_namespace;
use super::super::route::{MASTER_ID, Queue};
use super::super::wire::Command;
use super::super::wire::codes::{request, response};
use super::super::wire::loose_json::{self, Loose};
use super::StartFrom;
use super::assigned::Assigned;
use super::member::Member;

/// Commits between two looks at the end of queues that are not being pulled.
const COMMITS_PER_LAG_LOOK: u32 = 5;

/// Commits what was acknowledged at each interval, and keeps the lag of held-back queues fresh.
pub(super) async fn run(member: Arc<Member>) {
    for round in 1u32.. {
        tokio::time::sleep(member.config.commit_interval).await;
        commit_all(&member).await;
        if round % COMMITS_PER_LAG_LOOK == 0 {
            refresh_lag(&member).await;
        }
    }
}

/// Commits every queue whose acknowledged offset the broker does not have yet.
pub(super) async fn commit_all(member: &Arc<Member>) {
    let queues: Vec<Arc<Assigned>> = lock(&member.queues).values().cloned().collect();
    futures::future::join_all(queues.iter().map(|assigned| commit(member, assigned))).await;
}

/// Commits a queue. A failure is logged: the next commit follows, and an offset that is too old only repeats messages.
///
/// One commit of a queue after the other: brokers handle requests side by side, so the older of two could come last.
pub(super) async fn commit(member: &Member, assigned: &Assigned) {
    let _turn = assigned.commit_turn.lock().await;
    let Some(offset) = assigned.uncommitted().filter(|_| !member.config.broadcasting) else { return };
    match store_one_first(member, &assigned.queue, offset).await {
        Ok(()) => assigned.set_committed(offset),
        Err(error) => {
            tracing::debug!(queue = ?assigned.queue, offset, %error, "an offset was not committed; it is tried again")
        }
    }
}

/// Writes an offset; the first one of a topic at a broker alone. A broker that has none of the group's for a topic makes the table
/// of them for the first, and drops what another of the same moment has just put into one of its own
/// (`ConsumerOffsetManager.commitOffset`, 4.9 and 5.x).
async fn store_one_first(member: &Member, queue: &Queue, offset: i64) -> Result<()> {
    let place = (queue.broker_name.to_string(), queue.topic.to_string());
    let first = lock(&member.first_commits).entry(place).or_default().clone();
    let mut is_done = first.lock().await;
    if *is_done {
        drop(is_done);
        return store(member.client(), member.group(), queue, offset).await;
    }
    store(member.client(), member.group(), queue, offset).await?;
    *is_done = true;
    Ok(())
}

/// Writes a group's offset of a queue.
///
/// # Errors
/// The broker cannot be reached or refuses.
pub(crate) async fn store(client: &Arc<Inner>, group: &str, queue: &Queue, offset: i64) -> Result<()> {
    let address = client.broker_address(&queue.broker_name, MASTER_ID, false)?;
    let request =
        of_queue(request::UPDATE_CONSUMER_OFFSET, queue).with("consumerGroup", group).with("commitOffset", offset);
    client.call(&address, request, &format!("group {group}")).await.map(|_| ())
}

async fn refresh_lag(member: &Member) {
    let idle = |assigned: &&Arc<Assigned>| !assigned.pulling.load(Ordering::Relaxed);
    let queues: Vec<Arc<Assigned>> = lock(&member.queues).values().filter(idle).cloned().collect();
    for assigned in queues {
        if let Ok(max) = boundary(member.client(), request::GET_MAX_OFFSET, &assigned.queue).await {
            assigned.max_offset.store(max, Ordering::Relaxed);
        }
    }
}

/// The offset at which a queue starts, and the one that the broker has committed, if any.
///
/// # Errors
/// The broker cannot be reached or refuses.
pub(super) async fn start_position(member: &Member, queue: &Queue) -> Result<(i64, Option<i64>)> {
    let (client, start_from) = (member.client(), member.start_from(&queue.topic));
    if !member.config.broadcasting
        && let Some(committed) = committed(client, member.group(), queue, &start_from).await?
    {
        return Ok((committed, Some(committed)));
    }
    let start = match start_from {
        StartFrom::First => boundary(client, request::GET_MIN_OFFSET, queue).await?,
        StartFrom::Last => boundary(client, request::GET_MAX_OFFSET, queue).await?,
        StartFrom::Timestamp(millis) => search(client, queue, millis).await?,
        StartFrom::Offsets(offsets) => {
            let topic = without_namespace(client.config.namespace.as_deref(), &queue.topic).into();
            match offsets.get(&Queue { topic, ..queue.clone() }) {
                Some(offset) => *offset,
                None => boundary(client, request::GET_MAX_OFFSET, queue).await?,
            }
        }
    };
    Ok((start, None))
}

/// The committed offset of a group.
///
/// A 4.9 broker answers 0 for a group that it does not know, when the queue still has its first message: whether 0 was really
/// committed matters when the group is to start elsewhere, and is looked up in the broker's whole table then. 5.x brokers
/// tell with `setZeroIfNotFound=false`.
async fn committed(client: &Arc<Inner>, group: &str, queue: &Queue, start: &StartFrom) -> Result<Option<i64>> {
    let address = client.broker_address(&queue.broker_name, MASTER_ID, false)?;
    let request =
        of_queue(request::QUERY_CONSUMER_OFFSET, queue).with("consumerGroup", group).with("setZeroIfNotFound", false);
    let answer = client.exchange(&address, request, client.config.request_timeout).await?;
    if i32::from(answer.code) == response::QUERY_NOT_FOUND {
        return Ok(None);
    }
    let offset = check(answer, &address, &format!("group {group}"))?.number("offset").filter(|offset| *offset >= 0);
    if offset == Some(0) && *start != StartFrom::First && !is_committed(client, &address, group, queue).await {
        return Ok(None);
    }
    Ok(offset)
}

/// Whether the broker's table has an offset of the group for this queue. When it cannot be asked (it needs more permission
/// than consuming) the answer is yes: starting at the first message repeats, starting elsewhere could lose.
async fn is_committed(client: &Arc<Inner>, address: &str, group: &str, queue: &Queue) -> bool {
    let Ok(answer) = client.call(address, Command::request(request::GET_ALL_CONSUMER_OFFSET), group).await else {
        return true;
    };
    let Ok(body) = loose_json::parse(&answer.body) else { return true };
    let of_topic = body.get("offsetTable").and_then(|table| table.get(&format!("{}@{group}", queue.topic)));
    of_topic
        .map(Loose::entries)
        .unwrap_or_default()
        .iter()
        .any(|(id, _)| id.as_i64() == Some(i64::from(queue.queue_id)))
}

/// First or next offset of a queue.
///
/// # Errors
/// The broker cannot be reached or refuses.
pub(crate) async fn boundary(client: &Arc<Inner>, code: i16, queue: &Queue) -> Result<i64> {
    ask_offset(client, queue, of_queue(code, queue)).await
}

/// Offset of the first message of a queue stored at or after a time.
///
/// # Errors
/// The broker cannot be reached or refuses.
pub(crate) async fn search(client: &Arc<Inner>, queue: &Queue, millis: i64) -> Result<i64> {
    ask_offset(client, queue, of_queue(request::SEARCH_OFFSET_BY_TIMESTAMP, queue).with("timestamp", millis)).await
}

async fn ask_offset(client: &Arc<Inner>, queue: &Queue, request: Command) -> Result<i64> {
    let address = client.broker_address(&queue.broker_name, MASTER_ID, false)?;
    let limit = client.config.request_timeout.max(Duration::from_secs(3));
    let answer = check(client.exchange(&address, request, limit).await?, &address, &format!("topic {}", queue.topic))?;
    Ok(answer.number("offset").unwrap_or_default())
}

fn of_queue(code: i16, queue: &Queue) -> Command {
    Command::request(code).with("topic", &queue.topic).with("queueId", queue.queue_id).with("bname", &queue.broker_name)
}
