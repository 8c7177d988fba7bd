//! Routes: which brokers hold which queues of a topic (`TopicRouteData` of Apache RocketMQ), read leniently: 4.9 leaves out
//! fields that 5.x sends, and both write broker ids as bare numbers.

use std::collections::BTreeMap;

use bytestring::ByteString;

use super::wire::loose_json::Loose;

const PERMISSION_READ: i64 = 4;
const PERMISSION_WRITE: i64 = 2;
/// Most queues of a topic, as brokers have it: a damaged answer must not make us expand billions of them.
const MAX_QUEUES: usize = 65_536;
/// Id of a broker's master.
pub(crate) const MASTER_ID: i64 = 0;

/// Where a topic's queues are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicRoute {
    /// Queues by broker.
    pub queues: Vec<QueueData>,
    /// Brokers with their addresses.
    pub brokers: Vec<BrokerInfo>,
}

/// A broker's share of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueData {
    /// Name of the broker.
    pub broker_name: String,
    /// Number of queues that may be read.
    pub read_queues: i32,
    /// Number of queues that may be written.
    pub write_queues: i32,
    /// Whether consumers may read.
    pub readable: bool,
    /// Whether producers may write.
    pub writable: bool,
}

/// A broker: a master (id 0) and its replicas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokerInfo {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the broker.
    pub name: String,
    /// Address by broker id; id 0 is the master.
    pub addresses: BTreeMap<i64, String>,
}

/// One queue of a topic. The order (topic, broker, id) is the one by which all members of a group share queues.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Queue {
    /// Topic with the namespace.
    pub topic: ByteString,
    /// Name of the broker.
    pub broker_name: ByteString,
    /// Queue id, from 0.
    pub queue_id: i32,
}

impl TopicRoute {
    /// From a name server's answer; entries that lack their name are left out.
    #[must_use]
    pub fn from_loose(value: &Loose) -> Self {
        let queues = value.get("queueDatas").map(Loose::items).unwrap_or_default();
        let brokers = value.get("brokerDatas").map(Loose::items).unwrap_or_default();
        Self {
            queues: queues.iter().filter_map(QueueData::from_loose).collect(),
            brokers: brokers.iter().filter_map(BrokerInfo::from_loose).collect(),
        }
    }

    /// Queues that may be written: their broker's master is there.
    #[must_use]
    pub fn writable_queues(&self, topic: &str) -> Vec<Queue> {
        let has_master = |name: &str| {
            self.brokers.iter().any(|broker| broker.name == name && broker.addresses.contains_key(&MASTER_ID))
        };
        self.expand(topic, |data| if data.writable && has_master(&data.broker_name) { data.write_queues } else { 0 })
    }

    /// Queues that may be read.
    #[must_use]
    pub fn readable_queues(&self, topic: &str) -> Vec<Queue> {
        self.expand(topic, |data| if data.readable { data.read_queues } else { 0 })
    }

    fn expand(&self, topic: &str, count: impl Fn(&QueueData) -> i32) -> Vec<Queue> {
        let topic = ByteString::from(topic);
        let mut queues: Vec<Queue> = self
            .queues
            .iter()
            .flat_map(|data| {
                let (topic, broker_name) = (&topic, ByteString::from(data.broker_name.as_str()));
                (0..count(data)).map(move |queue_id| Queue {
                    topic: topic.clone(),
                    broker_name: broker_name.clone(),
                    queue_id,
                })
            })
            .take(MAX_QUEUES)
            .collect();
        queues.sort();
        queues
    }
}

impl QueueData {
    fn from_loose(value: &Loose) -> Option<Self> {
        let permission = value.get("perm").and_then(Loose::as_i64).unwrap_or_default();
        let count =
            |name: &str| value.get(name).and_then(Loose::as_i64).unwrap_or_default().clamp(0, MAX_QUEUES as i64) as i32;
        Some(Self {
            broker_name: value.get("brokerName")?.as_str()?.to_owned(),
            read_queues: count("readQueueNums"),
            write_queues: count("writeQueueNums"),
            readable: permission & PERMISSION_READ != 0,
            writable: permission & PERMISSION_WRITE != 0,
        })
    }
}

impl BrokerInfo {
    pub(crate) fn from_loose(value: &Loose) -> Option<Self> {
        let addresses = value.get("brokerAddrs").map(Loose::entries).unwrap_or_default();
        Some(Self {
            cluster: value.get("cluster").and_then(Loose::as_str).unwrap_or_default().to_owned(),
            name: value.get("brokerName")?.as_str()?.to_owned(),
            addresses: addresses
                .iter()
                .filter_map(|(id, address)| Some((id.as_i64()?, address.as_str()?.to_owned())))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::wire::loose_json;
    use super::*;

    proptest! {
        #[test]
        fn a_route_never_has_more_queues_than_a_topic_may_have(
            counts in prop::collection::vec((any::<i64>(), any::<i64>(), 0i64..8), 0..5), brokers in 0usize..4) {
            let queues: Vec<String> = counts.iter().enumerate().map(|(at, (read, write, permission))| {
                format!(r#"{{"brokerName":"b{at}","perm":{permission},"readQueueNums":{read},"writeQueueNums":{write}}}"#)
            }).collect();
            let masters: Vec<String> = (0..brokers).map(|at| format!(r#"{{"brokerName":"b{at}","brokerAddrs":{{0:"h:1"}}}}"#)).collect();
            let body = format!(r#"{{"queueDatas":[{}],"brokerDatas":[{}]}}"#, queues.join(","), masters.join(","));
            let route = TopicRoute::from_loose(&loose_json::parse(body.as_bytes()).unwrap());
            prop_assert!(route.readable_queues("t").len() <= MAX_QUEUES && route.writable_queues("t").len() <= MAX_QUEUES);
            let masters: std::collections::BTreeSet<&str> = route.brokers.iter().map(|broker| broker.name.as_str()).collect();
            prop_assert!(route.writable_queues("t").iter().all(|queue| masters.contains(&*queue.broker_name)));
        }

        #[test]
        fn arbitrary_bodies_never_panic(bytes in "[\\[\\]{}:,\"a-z0-9]{0,200}") {
            if let Ok(value) = loose_json::parse(bytes.as_bytes()) {
                let _ = TopicRoute::from_loose(&value).readable_queues("t");
            }
        }
    }

    #[test]
    fn a_route_of_4_9_reads_without_the_fields_of_5() {
        let body = br#"{"brokerDatas":[{"brokerAddrs":{0:"127.0.0.1:10911",1:"127.0.0.1:10921"},"brokerName":"broker-a","cluster":"c"}],
            "filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":3,"topicSysFlag":0,"writeQueueNums":2}]}"#;
        let route = TopicRoute::from_loose(&loose_json::parse(body).unwrap());
        assert_eq!(route.writable_queues("t").len(), 2);
        assert_eq!(route.readable_queues("t").len(), 3);
        assert_eq!(route.brokers[0].addresses[&1], "127.0.0.1:10921");
    }

    #[test]
    fn a_broker_without_master_takes_no_messages_but_gives_them() {
        let body = br#"{"brokerDatas":[{"brokerAddrs":{"1":"r:1"},"brokerName":"a"}],"queueDatas":[{"brokerName":"a","perm":6,"readQueueNums":1,"writeQueueNums":1}]}"#;
        let route = TopicRoute::from_loose(&loose_json::parse(body).unwrap());
        assert!(route.writable_queues("t").is_empty());
        assert_eq!(route.readable_queues("t").len(), 1);
    }
}
