//! What brokers ask of a client: rebalance now, reset offsets, settle a transaction, show what is running.

use std::sync::Weak;

use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::client::Inner;
use super::connection::{BrokerRequest, Connection};
use super::producer::check_transaction;
use super::route::Queue;
use super::wire::Command;
use super::wire::codes::{request, response};
use super::wire::loose_json::{self, Loose};

/// Answers the brokers' requests until the client ends.
pub(crate) async fn run(client: Weak<Inner>, token: CancellationToken, mut queue: mpsc::Receiver<BrokerRequest>) {
    while let Some(Some((connection, command))) = token.run_until_cancelled(queue.recv()).await {
        let Some(client) = client.upgrade() else { return };
        match command.code {
            request::NOTIFY_CONSUMER_IDS_CHANGED => notify(&client, &command),
            request::RESET_CONSUMER_CLIENT_OFFSET => reset_offsets(&client, &command),
            request::CHECK_TRANSACTION_STATE => {
                tokio::spawn(check_transaction(client, connection, command));
                continue;
            }
            request::GET_CONSUMER_RUNNING_INFO => {
                answer(&connection, running_info(&client, &command)).await;
                continue;
            }
            _ => {
                let refusal = Command::response_to(&command, response::REQUEST_CODE_NOT_SUPPORTED as i16);
                answer(&connection, refusal).await;
                continue;
            }
        }
        if !command.is_one_way() {
            answer(&connection, Command::response_to(&command, 0)).await;
        }
    }
}

async fn answer(connection: &Connection, response: Command) {
    if let Err(error) = connection.send(response).await {
        tracing::debug!(%error, "a broker's request could not be answered");
    }
}

fn notify(client: &Inner, command: &Command) {
    let group = command.field("consumerGroup");
    client.consumers().iter().filter(|member| Some(member.group()) == group).for_each(|member| member.wake_rebalance());
}

/// `ResetOffsetBody`: `{"offsetTable":{{"brokerName":…,"queueId":…,"topic":…}:offset}}`.
fn reset_offsets(client: &Inner, command: &Command) {
    let Ok(body) = loose_json::parse(&command.body) else { return };
    let entries = body.get("offsetTable").map(Loose::entries).unwrap_or_default();
    for member in client.consumers().iter().filter(|member| Some(member.group()) == command.field("group")) {
        for (key, offset) in entries {
            if let (Some(queue), Some(offset)) = (queue_of(key), offset.as_i64()) {
                member.reset_offset(&queue, offset);
            }
        }
    }
}

/// A queue in a body's key or array: fastjson writes `topic`, `brokerName` and `queueId`.
pub(crate) fn queue_of(value: &Loose) -> Option<Queue> {
    Some(Queue {
        topic: value.get("topic")?.as_str()?.into(),
        broker_name: value.get("brokerName")?.as_str()?.into(),
        queue_id: i32::try_from(value.get("queueId")?.as_i64()?).ok()?,
    })
}

fn running_info(client: &Inner, command: &Command) -> Command {
    let group = command.field("consumerGroup");
    let consumers = client.consumers();
    let Some(member) = consumers.iter().find(|member| Some(member.group()) == group) else {
        return Command::response_to(command, response::SYSTEM_ERROR as i16);
    };
    let body = json!({
        "properties": { "PROP_NAMESERVER_ADDR": client.name_servers.addresses().join(";"), "PROP_CONSUME_TYPE": "CONSUME_PASSIVELY",
            "PROP_CONSUMEORDERLY": member.is_ordered().to_string(), "PROP_CLIENT_VERSION": "V4_9_7", "PROP_CONSUMER_START_TIMESTAMP": "0" },
        "subscriptionSet": member.subscription_data(), "mqTable": {}, "mqPopTable": {}, "statusTable": {}, "userConsumerInfo": {},
    });
    Command::response_to(command, 0).with_body(body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queues_of_a_reset_are_read() {
        let body = loose_json::parse(br#"{"offsetTable":{{"brokerName":"a","queueId":2,"topic":"t"}:17}}"#).unwrap();
        let (key, offset) = &body.get("offsetTable").unwrap().entries()[0];
        assert_eq!(queue_of(key), Some(Queue { topic: "t".into(), broker_name: "a".into(), queue_id: 2 }));
        assert_eq!(offset.as_i64(), Some(17));
    }
}
