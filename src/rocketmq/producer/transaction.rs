//! Transactional messages: a half message, the caller's local work, then commit or rollback; the broker asks when the
//! outcome stays unknown.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytestring::ByteString;

use super::super::client::Inner;
use super::super::connection::Connection;
use super::super::error::{Error, ErrorKind, Result};
use super::super::message::{Message, ReceivedMessage};
use super::super::property;
use super::super::receipt::SendReceipt;
use super::super::wire::Command;
use super::super::wire::codes::request;
use super::super::wire::stored::{self, FLAG_TRANSACTION_COMMIT, FLAG_TRANSACTION_PREPARED, FLAG_TRANSACTION_ROLLBACK};
use super::{Producer, closed};

/// Outcome of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionState {
    /// Deliver the message.
    Commit,
    /// Discard the message.
    Rollback,
    /// Not known yet: the broker asks again.
    Unknown,
}

/// Tells the broker the outcome of a transaction that it asks about.
pub type TransactionChecker =
    Arc<dyn Fn(ReceivedMessage) -> Pin<Box<dyn Future<Output = TransactionState> + Send>> + Send + Sync>;

impl Producer {
    /// Sends a half message, runs `local`, and settles the transaction with its outcome. When the broker cannot be told, it
    /// asks the producer's [`TransactionChecker`] later.
    ///
    /// # Errors
    /// The half message was not stored; `local` has not run then. [`ErrorKind::InvalidConfig`] without a checker.
    pub async fn send_in_transaction(
        &self,
        message: Message,
        local: impl Future<Output = TransactionState>,
    ) -> Result<SendReceipt> {
        if self.0.config.transaction_checker.is_none() {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                "transaction_checker: is missing; give the producer one to send transactions",
            ));
        }
        let extra = [(property::TRANSACTION_PREPARED, "true"), (property::PRODUCER_GROUP, self.0.group.as_str())];
        let mut outgoing = self.0.prepare(message, &extra).await?;
        outgoing.sys_flag |= FLAG_TRANSACTION_PREPARED;
        let receipt = self.0.submit(vec![outgoing]).await.pop().unwrap_or_else(|| Err(closed()))?;
        let state = local.await;
        let commit_log_offset =
            receipt.offset_message_id.get(16..).and_then(|digits| i64::from_str_radix(digits, 16).ok());
        let settle = Settlement {
            group: &self.0.group,
            topic: &receipt.topic,
            queue_offset: receipt.queue_offset,
            commit_log_offset: commit_log_offset.unwrap_or_default(),
            message_id: &receipt.message_id,
            transaction_id: receipt.transaction_id.as_deref().unwrap_or(&receipt.message_id),
            from_check: false,
        };
        let client = &self.0.client.0;
        let told = match client.master_address(&receipt.broker_name) {
            Ok(address) => client.call(&address, settle.request(state), "the end of a transaction").await.map(|_| ()),
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::warn!(message_id = %receipt.message_id, %error, "the broker was not told how a transaction ended; it will ask");
        }
        Ok(receipt)
    }
}

struct Settlement<'a> {
    group: &'a str,
    topic: &'a str,
    queue_offset: i64,
    commit_log_offset: i64,
    message_id: &'a str,
    transaction_id: &'a str,
    from_check: bool,
}

impl Settlement<'_> {
    fn request(&self, state: TransactionState) -> Command {
        let flag = match state {
            TransactionState::Commit => FLAG_TRANSACTION_COMMIT,
            TransactionState::Rollback => FLAG_TRANSACTION_ROLLBACK,
            TransactionState::Unknown => 0,
        };
        Command::request(request::END_TRANSACTION)
            .with("topic", self.topic)
            .with("producerGroup", self.group)
            .with("tranStateTableOffset", self.queue_offset)
            .with("commitLogOffset", self.commit_log_offset)
            .with("commitOrRollback", flag)
            .with("fromTransactionCheck", self.from_check)
            .with("msgId", self.message_id)
            .with("transactionId", self.transaction_id)
    }
}

/// Answers a broker that asks how a transaction ended.
pub(crate) async fn check_transaction(client: Arc<Inner>, connection: Arc<Connection>, command: Command) {
    let Ok(half) = stored::decode(&mut command.body.clone()) else {
        tracing::warn!("a broker asked about a transaction with a message that does not decode");
        return;
    };
    let group = half.property(property::PRODUCER_GROUP).cloned().unwrap_or_default();
    let Some(checker) = client.producers().remove(&*group).and_then(|producer| producer.checker) else { return };
    let topic = half.property(property::REAL_TOPIC).unwrap_or(&half.topic).clone();
    let mut message = ReceivedMessage::from_stored(half, &ByteString::new(), client.config.namespace.as_deref());
    message.topic =
        topic.slice_ref(super::super::message::without_namespace(client.config.namespace.as_deref(), &topic));
    let message_id = message.message_id.clone();
    let state = checker(message).await;
    let settle = Settlement {
        group: &group,
        topic: &topic,
        queue_offset: command.number("tranStateTableOffset").unwrap_or_default(),
        commit_log_offset: command.number("commitLogOffset").unwrap_or_default(),
        message_id: &message_id,
        transaction_id: command.field("transactionId").unwrap_or(&message_id),
        from_check: true,
    };
    if let Err(error) = connection.send(client.sign(settle.request(state).one_way())).await {
        tracing::warn!(%message_id, %error, "the broker was not told how a transaction ended; it will ask again");
    }
}
