//! Request and response codes of the remoting protocol, as in RocketMQ's `RequestCode` and `ResponseCode` (4.9 to 5.4).

/// Request codes.
pub mod request {
    #![allow(missing_docs)] // the names are the protocol's own
    pub const PULL_MESSAGE: i16 = 11;
    pub const QUERY_CONSUMER_OFFSET: i16 = 14;
    pub const UPDATE_CONSUMER_OFFSET: i16 = 15;
    pub const UPDATE_AND_CREATE_TOPIC: i16 = 17;
    pub const GET_BROKER_CONFIG: i16 = 26;
    pub const GET_BROKER_RUNTIME_INFO: i16 = 28;
    pub const SEARCH_OFFSET_BY_TIMESTAMP: i16 = 29;
    pub const GET_MAX_OFFSET: i16 = 30;
    pub const GET_MIN_OFFSET: i16 = 31;
    pub const HEART_BEAT: i16 = 34;
    pub const UNREGISTER_CLIENT: i16 = 35;
    pub const CONSUMER_SEND_MSG_BACK: i16 = 36;
    pub const END_TRANSACTION: i16 = 37;
    pub const GET_CONSUMER_LIST_BY_GROUP: i16 = 38;
    pub const CHECK_TRANSACTION_STATE: i16 = 39;
    pub const NOTIFY_CONSUMER_IDS_CHANGED: i16 = 40;
    pub const LOCK_BATCH_MQ: i16 = 41;
    pub const UNLOCK_BATCH_MQ: i16 = 42;
    pub const GET_ALL_CONSUMER_OFFSET: i16 = 43;
    pub const GET_ROUTEINFO_BY_TOPIC: i16 = 105;
    pub const GET_BROKER_CLUSTER_INFO: i16 = 106;
    pub const UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: i16 = 200;
    pub const GET_ALL_SUBSCRIPTIONGROUP_CONFIG: i16 = 201;
    pub const GET_TOPIC_STATS_INFO: i16 = 202;
    pub const GET_CONSUMER_CONNECTION_LIST: i16 = 203;
    pub const GET_ALL_TOPIC_LIST_FROM_NAMESERVER: i16 = 206;
    pub const GET_CONSUME_STATS: i16 = 208;
    pub const DELETE_TOPIC_IN_BROKER: i16 = 215;
    pub const DELETE_TOPIC_IN_NAMESRV: i16 = 216;
    pub const RESET_CONSUMER_CLIENT_OFFSET: i16 = 220;
    pub const INVOKE_BROKER_TO_RESET_OFFSET: i16 = 222;
    pub const GET_CONSUMER_RUNNING_INFO: i16 = 307;
    pub const SEND_MESSAGE_V2: i16 = 310;
    pub const SEND_BATCH_MESSAGE: i16 = 320;
}

/// Response codes.
pub mod response {
    #![allow(missing_docs)] // the names are the protocol's own
    pub const SUCCESS: i32 = 0;
    pub const SYSTEM_ERROR: i32 = 1;
    pub const SYSTEM_BUSY: i32 = 2;
    pub const REQUEST_CODE_NOT_SUPPORTED: i32 = 3;
    pub const FLUSH_DISK_TIMEOUT: i32 = 10;
    pub const SLAVE_NOT_AVAILABLE: i32 = 11;
    pub const FLUSH_SLAVE_TIMEOUT: i32 = 12;
    pub const MESSAGE_ILLEGAL: i32 = 13;
    pub const SERVICE_NOT_AVAILABLE: i32 = 14;
    pub const NO_PERMISSION: i32 = 16;
    pub const TOPIC_NOT_EXIST: i32 = 17;
    pub const PULL_NOT_FOUND: i32 = 19;
    pub const PULL_RETRY_IMMEDIATELY: i32 = 20;
    pub const PULL_OFFSET_MOVED: i32 = 21;
    pub const QUERY_NOT_FOUND: i32 = 22;
    pub const SUBSCRIPTION_PARSE_FAILED: i32 = 23;
    pub const SUBSCRIPTION_NOT_EXIST: i32 = 24;
    pub const SUBSCRIPTION_NOT_LATEST: i32 = 25;
    pub const SUBSCRIPTION_GROUP_NOT_EXIST: i32 = 26;
    pub const FILTER_DATA_NOT_EXIST: i32 = 27;
    pub const FILTER_DATA_NOT_LATEST: i32 = 28;
    pub const INVALID_PARAMETER: i32 = 29;
    pub const CONSUMER_NOT_ONLINE: i32 = 206;

    /// The protocol's name of a code, for messages; `UNKNOWN` for one that is not listed.
    #[must_use]
    pub fn name(code: i32) -> &'static str {
        const NAMES: [(i32, &str); 22] = [
            (SUCCESS, "SUCCESS"),
            (SYSTEM_ERROR, "SYSTEM_ERROR"),
            (SYSTEM_BUSY, "SYSTEM_BUSY"),
            (REQUEST_CODE_NOT_SUPPORTED, "REQUEST_CODE_NOT_SUPPORTED"),
            (FLUSH_DISK_TIMEOUT, "FLUSH_DISK_TIMEOUT"),
            (SLAVE_NOT_AVAILABLE, "SLAVE_NOT_AVAILABLE"),
            (FLUSH_SLAVE_TIMEOUT, "FLUSH_SLAVE_TIMEOUT"),
            (MESSAGE_ILLEGAL, "MESSAGE_ILLEGAL"),
            (SERVICE_NOT_AVAILABLE, "SERVICE_NOT_AVAILABLE"),
            (NO_PERMISSION, "NO_PERMISSION"),
            (TOPIC_NOT_EXIST, "TOPIC_NOT_EXIST"),
            (PULL_NOT_FOUND, "PULL_NOT_FOUND"),
            (PULL_RETRY_IMMEDIATELY, "PULL_RETRY_IMMEDIATELY"),
            (PULL_OFFSET_MOVED, "PULL_OFFSET_MOVED"),
            (QUERY_NOT_FOUND, "QUERY_NOT_FOUND"),
            (SUBSCRIPTION_PARSE_FAILED, "SUBSCRIPTION_PARSE_FAILED"),
            (SUBSCRIPTION_NOT_EXIST, "SUBSCRIPTION_NOT_EXIST"),
            (SUBSCRIPTION_NOT_LATEST, "SUBSCRIPTION_NOT_LATEST"),
            (SUBSCRIPTION_GROUP_NOT_EXIST, "SUBSCRIPTION_GROUP_NOT_EXIST"),
            (FILTER_DATA_NOT_EXIST, "FILTER_DATA_NOT_EXIST"),
            (FILTER_DATA_NOT_LATEST, "FILTER_DATA_NOT_LATEST"),
            (CONSUMER_NOT_ONLINE, "CONSUMER_NOT_ONLINE"),
        ];
        if code == INVALID_PARAMETER {
            return "INVALID_PARAMETER";
        }
        NAMES.iter().find(|(known, _)| *known == code).map_or("UNKNOWN", |(_, name)| name)
    }
}
