//! What a broker answers to a message that it has stored.

use bytestring::ByteString;

/// How far a broker had secured a message when it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendStatus {
    /// As secure as the broker's configuration asks for.
    Ok,
    /// Stored, but not flushed to disk in time (synchronous flush).
    FlushDiskTimeout,
    /// Stored, but not copied to a replica in time (synchronous replication).
    FlushReplicaTimeout,
    /// Stored, but there is no replica (synchronous replication).
    ReplicaNotAvailable,
}

/// Where a message was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendReceipt {
    /// Unique id that consumers see.
    pub message_id: ByteString,
    /// The broker's id of the stored copy.
    pub offset_message_id: ByteString,
    /// Topic without the namespace.
    pub topic: ByteString,
    /// Name of the broker.
    pub broker_name: ByteString,
    /// Queue in the topic.
    pub queue_id: i32,
    /// Position in the queue.
    pub queue_offset: i64,
    /// How far the message is secured.
    pub status: SendStatus,
    /// Id of the transaction, for a transactional message.
    pub transaction_id: Option<ByteString>,
}
