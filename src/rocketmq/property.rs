//! Names of the properties that RocketMQ gives a meaning (`MessageConst` of Apache RocketMQ).

#![allow(missing_docs, reason = "the names are RocketMQ's own")]

pub const KEYS: &str = "KEYS";
pub const TAGS: &str = "TAGS";
pub const WAIT: &str = "WAIT";
pub const DELAY: &str = "DELAY";
pub const UNIQUE_KEY: &str = "UNIQ_KEY";
pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
pub const REAL_TOPIC: &str = "REAL_TOPIC";
pub const SHARDING_KEY: &str = "__SHARDINGKEY";
pub const TRANSACTION_PREPARED: &str = "TRAN_MSG";
pub const PRODUCER_GROUP: &str = "PGROUP";
pub const TRANSACTION_ID: &str = "__transactionId__";
pub const TIMER_DELIVER_MILLIS: &str = "TIMER_DELIVER_MS";
pub const TIMER_DELAY_MILLIS: &str = "TIMER_DELAY_MS";
/// Properties that RocketMQ sets itself; they are not the user's.
pub const RESERVED: [&str; 44] = [
    KEYS,
    TAGS,
    WAIT,
    DELAY,
    UNIQUE_KEY,
    RETRY_TOPIC,
    REAL_TOPIC,
    SHARDING_KEY,
    TRANSACTION_PREPARED,
    PRODUCER_GROUP,
    TRANSACTION_ID,
    TIMER_DELIVER_MILLIS,
    TIMER_DELAY_MILLIS,
    "TIMER_DELAY_SEC",
    "REAL_QID",
    "MIN_OFFSET",
    "MAX_OFFSET",
    "BUYER_ID",
    "ORIGIN_MESSAGE_ID",
    "TRANSFER_FLAG",
    "CORRECTION_FLAG",
    "MQ2_FLAG",
    "RECONSUME_TIME",
    "MSG_REGION",
    "TRACE_ON",
    "MAX_RECONSUME_TIMES",
    "CONSUME_START_TIME",
    "TRAN_PREPARED_QUEUE_OFFSET",
    "TRANSACTION_CHECK_TIMES",
    "CHECK_IMMUNITY_TIME_IN_SECONDS",
    "INSTANCE_ID",
    "CORRELATION_ID",
    "REPLY_TO_CLIENT",
    "TTL",
    "ARRIVE_TIME",
    "PUSH_REPLY_TIME",
    "CLUSTER",
    "MSG_TYPE",
    "POP_CK",
    "POP_CK_OFFSET",
    "1ST_POP_TIME",
    "EXTEND_UNIQ_INFO",
    "INNER_NUM",
    "INNER_BASE",
];

/// The name itself, when RocketMQ gives it a meaning of its own.
#[must_use]
pub fn reserved(name: &str) -> Option<&'static str> {
    RESERVED.iter().find(|known| **known == name).copied()
}

/// Whether RocketMQ gives the name a meaning of its own.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    reserved(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reserved_name_is_found_and_no_other() {
        assert!(RESERVED.iter().all(|name| is_reserved(name)));
        assert!(!["", "A", "KEY", "KEYSS", "tags", "zz", "connector-origin"].iter().any(|name| is_reserved(name)));
    }
}
