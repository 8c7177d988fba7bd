//! A lane: the messages of one queue, one request at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use bytestring::ByteString;
use tokio::sync::mpsc;

use super::super::client::lock;
use super::super::error::{Error, ErrorKind, Result};
use super::super::message::{Outgoing, without_namespace};
use super::super::receipt::{SendReceipt, SendStatus};
use super::super::route::Queue;
use super::super::wire::Command;
use super::super::wire::codes::{request, response};
use super::queues::{AUTO_CREATE_QUEUES, AUTO_CREATE_TOPIC};
use super::{Core, Pending};

/// A lane without messages for this long ends.
const IDLE: Duration = Duration::from_secs(60);
/// Messages in one batch.
const BATCH_MESSAGES: usize = 1024;
/// Bytes in one batch; brokers refuse more than their `maxMessageSize`.
const BATCH_BYTES: usize = 1024 * 1024;
/// Pause before the first retry; it doubles with each.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause before a retry.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Serves a queue until it has been idle for a while or the producer is shut down.
pub(super) async fn run(core: Arc<Core>, queue: Queue, mut arrivals: mpsc::UnboundedReceiver<Vec<Pending>>) {
    let mut waiting: std::collections::VecDeque<Pending> = Default::default();
    loop {
        if waiting.is_empty() {
            match tokio::time::timeout(IDLE, arrivals.recv()).await {
                Ok(Some(batch)) => waiting.extend(batch),
                Ok(None) => return,
                Err(_) => {
                    // under the lock no message can be pushed, so an empty channel stays empty
                    let mut lanes = lock(&core.lanes);
                    if arrivals.is_empty() {
                        lanes.remove(&queue);
                        return;
                    }
                }
            }
        }
        while let Ok(batch) = arrivals.try_recv() {
            waiting.extend(batch);
        }
        waiting.retain(|pending| !pending.respond.is_closed());
        let batch = next_batch(&mut waiting, core.config.max_message_size.min(BATCH_BYTES));
        if !batch.is_empty() {
            deliver(&core, &queue, batch).await;
        }
    }
}

/// Takes as many messages from the front as one request carries.
fn next_batch(waiting: &mut std::collections::VecDeque<Pending>, limit: usize) -> Vec<Pending> {
    let mut bytes = 0;
    let mut count = 0;
    for pending in waiting.iter().take(BATCH_MESSAGES) {
        bytes += pending.message.batch_bytes();
        if count > 0 && (!pending.message.batchable || bytes > limit) {
            break;
        }
        count += 1;
        if !pending.message.batchable {
            break;
        }
    }
    waiting.drain(..count).collect()
}

/// Sends a batch until each message has its result or has moved to another lane.
async fn deliver(core: &Arc<Core>, queue: &Queue, mut batch: Vec<Pending>) {
    let mut pause = RETRY_PAUSE;
    loop {
        let error = match send(core, queue, &batch).await {
            Ok(receipts) => {
                batch.into_iter().zip(receipts).for_each(|(pending, receipt)| respond(pending, Ok(receipt)));
                return;
            }
            Err(error) => error,
        };
        if batch.len() > 1 && matches!(error.kind(), ErrorKind::InvalidMessage | ErrorKind::MessageTooLarge) {
            // one of them is at fault: alone, each gets its own answer
            for pending in batch {
                Box::pin(deliver(core, queue, vec![pending])).await;
            }
            return;
        }
        batch = keep_for_retry(batch, &error);
        if batch.is_empty() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_RETRY_PAUSE);
        // the failure may mean that the broker has moved or the topic has changed; without an answer the old route serves
        if core.client.0.refresh_route(&queue.topic).await.is_ok() {
            batch = redistribute(core, queue, batch).await;
        }
        if batch.is_empty() {
            return;
        }
    }
}

/// Answers the messages that may not be tried again and returns the others.
fn keep_for_retry(batch: Vec<Pending>, error: &Error) -> Vec<Pending> {
    let passing = matches!(
        error.kind(),
        ErrorKind::Connect | ErrorKind::ConnectionLost | ErrorKind::Timeout | ErrorKind::BrokerBusy
    ) || error.broker_code() == Some(response::SYSTEM_ERROR) && error.kind() == ErrorKind::Broker;
    let now = Instant::now();
    let mut kept = Vec::with_capacity(batch.len());
    for mut pending in batch {
        if passing && pending.tries_left > 0 && now < pending.deadline {
            pending.tries_left -= 1;
            kept.push(pending);
        } else {
            respond(pending, Err(error.clone()));
        }
    }
    kept
}

/// Gives messages without a queue or sharding key to another broker's lane, and all of them when the queue is gone.
async fn redistribute(core: &Arc<Core>, queue: &Queue, batch: Vec<Pending>) -> Vec<Pending> {
    let Ok(queues) = core.publish_queues(&queue.topic).await else { return batch };
    let gone = !queues.contains(queue);
    let elsewhere = queues.iter().any(|other| other.broker_name != queue.broker_name);
    let (moving, staying): (Vec<_>, Vec<_>) =
        batch.into_iter().partition(|pending| gone || elsewhere && !pending.message.is_bound());
    for pending in moving {
        match core.select_queue(&pending.message, Some(&queue.broker_name)).await {
            Ok(other) => core.push(&other, vec![pending]),
            Err(error) => respond(pending, Err(error)),
        }
    }
    staying
}

fn respond(pending: Pending, result: Result<SendReceipt>) {
    // the caller may have given up
    let _ = pending.respond.send(result);
}

async fn send(core: &Core, queue: &Queue, batch: &[Pending]) -> Result<Vec<SendReceipt>> {
    let client = &core.client.0;
    let address = client.master_address(&queue.broker_name)?;
    let messages: Vec<&Outgoing> = batch.iter().map(|pending| &pending.message).collect();
    let request = request_of(&core.group, queue, &messages);
    let answer = client.exchange(&address, request, client.config.request_timeout).await?;
    let status = match i32::from(answer.code) {
        response::SUCCESS => SendStatus::Ok,
        response::FLUSH_DISK_TIMEOUT => SendStatus::FlushDiskTimeout,
        response::FLUSH_SLAVE_TIMEOUT => SendStatus::FlushReplicaTimeout,
        response::SLAVE_NOT_AVAILABLE => SendStatus::ReplicaNotAvailable,
        code => return Err(Error::from_response(code, &answer.remark, &address, &format!("topic {}", queue.topic))),
    };
    receipts(core, queue, &messages, &answer, status)
}

/// A broker answers a batch with all stored ids, comma separated, and the offset of the first message.
fn receipts(
    core: &Core,
    queue: &Queue,
    messages: &[&Outgoing],
    answer: &Command,
    status: SendStatus,
) -> Result<Vec<SendReceipt>> {
    let field = |name: &'static str| {
        answer
            .number(name)
            .ok_or_else(|| Error::new(ErrorKind::Protocol, format!("the broker's answer to a send lacks {name}")))
    };
    let (queue_id, first_offset) = (field("queueId")? as i32, field("queueOffset")?);
    let ids = ByteString::from(answer.field("msgId").unwrap_or_default());
    let mut stored = ids.split(',');
    let topic = without_namespace(core.client.0.config.namespace.as_deref(), &queue.topic);
    let topic = queue.topic.slice_ref(topic);
    let transaction_id = answer.field("transactionId").map(ByteString::from);
    let receipt = |(at, message): (usize, &&Outgoing)| SendReceipt {
        message_id: message.message_id.clone(),
        offset_message_id: stored.next().map(|id| ids.slice_ref(id)).unwrap_or_default(),
        topic: topic.clone(),
        broker_name: queue.broker_name.clone(),
        queue_id,
        queue_offset: first_offset + at as i64,
        status,
        transaction_id: transaction_id.clone(),
    };
    Ok(messages.iter().enumerate().map(receipt).collect())
}

/// The request for messages that are known to fit one.
pub(super) fn send_request(group: &str, queue: &Queue, messages: &[Outgoing]) -> Command {
    request_of(group, queue, &messages.iter().collect::<Vec<_>>())
}

/// `SendMessageRequestHeaderV2`: one letter a field, to save bytes.
fn request_of(group: &str, queue: &Queue, messages: &[&Outgoing]) -> Command {
    let first = messages[0];
    let batch = messages.len() > 1;
    let code = if batch { request::SEND_BATCH_MESSAGE } else { request::SEND_MESSAGE_V2 };
    let request = Command::request(code)
        .with("a", group)
        .with("b", &queue.topic)
        .with("c", AUTO_CREATE_TOPIC)
        .with("d", AUTO_CREATE_QUEUES)
        .with("e", queue.queue_id)
        .with("f", first.sys_flag)
        .with("g", first.born_timestamp)
        .with("h", 0)
        .with("i", if batch { "" } else { &first.properties })
        .with("j", 0)
        .with("k", false)
        .with("m", batch);
    if !batch {
        return request.with_body(first.body.clone());
    }
    let mut body = BytesMut::with_capacity(messages.iter().map(|message| message.batch_bytes()).sum());
    messages.iter().for_each(|message| message.encode_in_batch(&mut body));
    request.with_body(body.freeze())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::sync::{Semaphore, oneshot};

    use super::super::super::message::{Delay, Message};
    use super::*;

    fn pending(message: Message) -> Pending {
        let memory = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let message = Outgoing::prepare(message, None, 1 << 20, &[]).unwrap();
        Pending { message, respond: oneshot::channel().0, tries_left: 0, deadline: Instant::now(), _memory: memory }
    }

    fn sizes(messages: Vec<Message>, limit: usize) -> Vec<usize> {
        let mut waiting: VecDeque<Pending> = messages.into_iter().map(pending).collect();
        std::iter::from_fn(|| (!waiting.is_empty()).then(|| next_batch(&mut waiting, limit).len())).collect()
    }

    #[test]
    fn batches_end_at_the_size_limit_and_at_messages_that_go_alone() {
        let message = || Message::new("t", vec![0; 300]);
        assert_eq!(sizes(vec![message(), message(), message()], 900), [2, 1]);
        assert_eq!(
            sizes(vec![message(), message().with_delay(Delay::Level(1)), message(), message()], 9000),
            [1, 1, 2]
        );
        assert_eq!(sizes(vec![Message::new("t", vec![0; 5000]), message()], 900), [1, 1]);
    }
}
