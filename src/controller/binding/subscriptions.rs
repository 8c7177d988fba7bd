//! What the bindings of each consumer group subscribe to: bindings of one group with other topics or expressions lose messages.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use crate::controller::context::Key;
use crate::controller::feed::Switchboard;

use super::validate::ValidatedBinding;

/// What a binding that runs subscribes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Name servers, the URL of their list, or the endpoint: two clusters that share one are the same.
    cluster: BTreeSet<String>,
    instance_id: Option<String>,
    group: String,
    topics: BTreeMap<String, String>,
}

impl Subscription {
    /// The subscription of a binding; none when it reads nothing.
    #[must_use]
    pub fn of(binding: &ValidatedBinding) -> Option<Self> {
        binding.input.as_ref()?;
        let with_port = |server: &String| if server.contains(':') { server.clone() } else { format!("{server}:9876") };
        let cluster = &binding.cluster;
        let topic = |topic: &crate::worker_config::binding::TopicConfig| {
            (topic.topic.clone(), normal(topic.expression.as_deref().unwrap_or_default()))
        };
        Some(Self {
            cluster: cluster
                .name_servers
                .iter()
                .map(with_port)
                .chain(cluster.name_server_domain.clone())
                .chain(cluster.http_endpoint.clone())
                .collect(),
            instance_id: cluster.instance_id.clone(),
            group: binding.group.clone(),
            topics: binding.topics.iter().map(topic).collect(),
        })
    }

    /// Names group, topics and expressions: the same for the same ones, whatever the cluster.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for (topic, expression) in self.topics.iter().chain([(&self.group, &instance_id(self))]) {
            digest.update(format!("{topic}\n{expression}\n"));
        }
        digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    fn shares_group_with(&self, other: &Self) -> bool {
        self.group == other.group && self.instance_id == other.instance_id && !self.cluster.is_disjoint(&other.cluster)
    }

    fn difference(&self, other: &Self) -> Option<String> {
        let mut parts = Vec::new();
        for (topic, expression) in &self.topics {
            match other.topics.get(topic) {
                None => parts.push(format!("topic {topic} only here")),
                Some(theirs) if theirs != expression => {
                    parts.push(format!("topic {topic} with {expression:?} here and {theirs:?} there"));
                }
                Some(_) => {}
            }
        }
        let only_there = other.topics.keys().filter(|topic| !self.topics.contains_key(*topic));
        parts.extend(only_there.map(|topic| format!("topic {topic} only there")));
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

fn instance_id(subscription: &Subscription) -> String {
    subscription.instance_id.clone().unwrap_or_default()
}

/// An expression in one spelling: `*` for all, else its tags in order.
fn normal(expression: &str) -> String {
    let tags: BTreeSet<_> = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty()).collect();
    if tags.is_empty() || tags.contains("*") {
        return "*".to_owned();
    }
    tags.into_iter().collect::<Vec<_>>().join("||")
}

/// The subscriptions of all bindings that run.
pub struct Subscriptions {
    switchboard: Switchboard,
    known: Mutex<HashMap<Key, Subscription>>,
}

impl Subscriptions {
    /// Nothing known yet; bindings whose verdict may change are told through `switchboard`.
    #[must_use]
    pub fn new(switchboard: Switchboard) -> Self {
        Self { switchboard, known: Mutex::default() }
    }

    /// The binding `key` subscribes to this from now on, or to nothing.
    pub fn set(&self, key: &Key, subscription: Option<Subscription>) {
        let mut known = self.known();
        let before = match &subscription {
            Some(subscription) => known.insert(key.clone(), subscription.clone()),
            None => known.remove(key),
        };
        if before == subscription {
            return;
        }
        let concerned: Vec<Key> = known
            .iter()
            .filter(|(other, theirs)| {
                *other != key && before.iter().chain(&subscription).any(|own| own.shares_group_with(theirs))
            })
            .map(|(other, _)| other.clone())
            .collect();
        drop(known);
        concerned.into_iter().for_each(|other| self.switchboard.reported(other));
    }

    /// The binding `key` subscribes to nothing, or is gone.
    pub fn remove(&self, key: &Key) {
        self.set(key, None);
    }

    /// A sentence for each binding that shares the group of `key` and differs.
    #[must_use]
    pub fn conflicts(&self, key: &Key) -> Vec<String> {
        let known = self.known();
        let Some(own) = known.get(key) else { return Vec::new() };
        let sharing = known.iter().filter(|(other, theirs)| *other != key && own.shares_group_with(theirs));
        let mut sentences: Vec<_> = sharing
            .filter_map(|(other, theirs)| {
                let difference = own.difference(theirs)?;
                Some(format!("{other} is in the consumer group {:?} with other subscriptions: {difference}", own.group))
            })
            .collect();
        sentences.sort();
        sentences
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Key, Subscription>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::feed::Trigger;

    fn subscription(server: &str, group: &str, topics: &[(&str, &str)]) -> Subscription {
        Subscription {
            cluster: [server.to_owned()].into(),
            instance_id: None,
            group: group.to_owned(),
            topics: topics.iter().map(|(topic, expression)| ((*topic).to_owned(), normal(expression))).collect(),
        }
    }

    fn key(name: &str) -> Key {
        Key { kind: "RocketMQBinding".to_owned(), namespace: "shop".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn a_difference_is_told_to_both_and_taken_back() {
        let (switchboard, [mut bindings]) = Switchboard::new(["RocketMQBinding"]);
        let all = Subscriptions::new(switchboard);
        all.set(&key("a"), Some(subscription("ns:1", "g", &[("t", "x || y")])));
        assert!(bindings.try_recv().is_err());
        all.set(&key("b"), Some(subscription("ns:1", "g", &[("t", "y||x")])));
        assert_eq!(bindings.try_recv().unwrap(), Trigger::Report(key("a")));
        assert_eq!(all.conflicts(&key("a")), Vec::<String>::new());

        all.set(&key("b"), Some(subscription("ns:1", "g", &[("t", "*"), ("u", "")])));
        assert_eq!(bindings.try_recv().unwrap(), Trigger::Report(key("a")));
        let told = all.conflicts(&key("a")).join("\n");
        assert!(told.contains("RocketMQBinding shop/b is in the consumer group \"g\""), "{told}");
        assert!(told.contains("topic t with \"x||y\" here and \"*\" there, topic u only there"), "{told}");
        assert_eq!(all.conflicts(&key("b")).len(), 1);

        all.remove(&key("b"));
        assert_eq!(bindings.try_recv().unwrap(), Trigger::Report(key("a")));
        assert_eq!(all.conflicts(&key("a")), Vec::<String>::new());
    }

    #[test]
    fn other_groups_and_other_clusters_do_not_matter() {
        let (switchboard, [_bindings]) = Switchboard::new(["RocketMQBinding"]);
        let all = Subscriptions::new(switchboard);
        all.set(&key("a"), Some(subscription("ns:1", "g", &[("t", "")])));
        all.set(&key("b"), Some(subscription("ns:2", "g", &[("u", "")])));
        all.set(&key("c"), Some(subscription("ns:1", "h", &[("u", "")])));
        assert_eq!(all.conflicts(&key("a")), Vec::<String>::new());
    }
}
