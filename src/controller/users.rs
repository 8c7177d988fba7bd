//! Who uses which RocketMQConnection: counted from the watches of the kinds that name one, so that a connection's worker
//! knows whether to send heartbeats without its pod being touched.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::context::Key;

/// Users of all connections.
#[derive(Debug)]
pub struct Users {
    state: Mutex<State>,
    is_complete: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    /// Kinds whose objects have not all been seen yet.
    pending: HashSet<&'static str>,
    /// Objects seen since a watch began anew, by kind.
    seen: HashMap<&'static str, HashSet<Key>>,
    /// Connections that an object uses.
    named: HashMap<Key, Vec<Key>>,
    /// Objects that use a connection.
    users: HashMap<Key, BTreeSet<Key>>,
}

impl Users {
    /// No users yet, and not complete until the objects of all `kinds` have been seen.
    #[must_use]
    pub fn new(kinds: &[&'static str]) -> Self {
        let state = State { pending: kinds.iter().copied().collect(), ..State::default() };
        Self { is_complete: watch::Sender::new(kinds.is_empty()), state: Mutex::new(state) }
    }

    /// Objects of `kind` that use a connection, as a number; none while not all have been seen.
    pub fn count(&self, connection: &Key) -> Option<u32> {
        if !*self.is_complete.borrow() {
            return None;
        }
        let count = self.state().users.get(connection).map_or(0, BTreeSet::len);
        Some(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Completes when the objects of all kinds have been seen.
    pub async fn complete(&self) {
        // The sender lives as long as `self`.
        let _ = self.is_complete.subscribe().wait_for(|complete| *complete).await;
    }

    /// A watch begins to list all objects of `kind`.
    pub fn begin(&self, kind: &'static str) {
        self.state().seen.insert(kind, HashSet::new());
    }

    /// `user` uses `connections` from now on; returns those whose users have changed.
    pub fn put(&self, kind: &'static str, user: &Key, connections: Vec<Key>) -> Vec<Key> {
        let mut state = self.state();
        if let Some(seen) = state.seen.get_mut(kind) {
            seen.insert(user.clone());
        }
        state.replace(user, connections)
    }

    /// `user` is gone; returns the connections whose users have changed.
    pub fn remove(&self, user: &Key) -> Vec<Key> {
        self.state().replace(user, Vec::new())
    }

    /// A watch has listed all objects of `kind`: what it did not list is gone. Returns the connections whose users have
    /// changed, and whether this made the users of all kinds known for the first time.
    pub fn end(&self, kind: &'static str) -> (Vec<Key>, bool) {
        let mut state = self.state();
        let seen = state.seen.remove(kind).unwrap_or_default();
        let gone: Vec<_> =
            state.named.keys().filter(|user| user.kind == kind && !seen.contains(user)).cloned().collect();
        let changed = gone.iter().flat_map(|user| state.replace(user, Vec::new())).collect();
        let was_pending = state.pending.remove(kind);
        let is_complete = was_pending && state.pending.is_empty();
        drop(state);
        if is_complete {
            self.is_complete.send_replace(true);
        }
        (changed, is_complete)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn replace(&mut self, user: &Key, connections: Vec<Key>) -> Vec<Key> {
        let before = match connections.is_empty() {
            true => self.named.remove(user),
            false => self.named.insert(user.clone(), connections.clone()),
        };
        let before = before.unwrap_or_default();
        let left = before.iter().filter(|connection| !connections.contains(connection));
        let joined = connections.iter().filter(|connection| !before.contains(connection));
        let changed: Vec<_> = left.clone().chain(joined.clone()).cloned().collect();
        for connection in left {
            if let Some(users) = self.users.get_mut(connection) {
                users.remove(user);
            }
        }
        for connection in joined {
            self.users.entry(connection.clone()).or_default().insert(user.clone());
        }
        self.users.retain(|_, users| !users.is_empty());
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: &str, name: &str) -> Key {
        Key { kind: kind.to_owned(), namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn connection(name: &str) -> Key {
        key("RocketMQConnection", name)
    }

    #[test]
    fn nothing_is_known_until_all_kinds_are_listed() {
        let users = Users::new(&["A", "B"]);
        users.begin("A");
        assert_eq!(users.put("A", &key("A", "one"), vec![connection("main")]), [connection("main")]);
        assert_eq!(users.end("A"), (vec![], false));
        assert_eq!(users.count(&connection("main")), None);
        users.begin("B");
        assert_eq!(users.end("B"), (vec![], true));
        assert_eq!((users.count(&connection("main")), users.count(&connection("other"))), (Some(1), Some(0)));
    }

    #[test]
    fn moves_stops_and_deletions_are_told_once() {
        let users = Users::new(&[]);
        users.put("A", &key("A", "one"), vec![connection("main")]);
        assert_eq!(users.put("A", &key("A", "one"), vec![connection("main")]), []);
        assert_eq!(
            users.put("A", &key("A", "one"), vec![connection("other")]),
            [connection("main"), connection("other")]
        );
        users.put("A", &key("A", "two"), vec![connection("other")]);
        assert_eq!(users.count(&connection("other")), Some(2));
        assert_eq!(users.put("A", &key("A", "two"), vec![]), [connection("other")]);
        assert_eq!(users.remove(&key("A", "one")), [connection("other")]);
        assert_eq!(users.remove(&key("A", "one")), []);
        assert_eq!(users.count(&connection("other")), Some(0));
    }

    #[test]
    fn what_a_new_list_leaves_out_is_gone() {
        let users = Users::new(&[]);
        users.put("A", &key("A", "one"), vec![connection("main")]);
        users.put("A", &key("A", "two"), vec![connection("main")]);
        users.put("B", &key("B", "one"), vec![connection("main")]);
        users.begin("A");
        users.put("A", &key("A", "two"), vec![connection("main")]);
        assert_eq!(users.end("A"), (vec![connection("main")], false));
        assert_eq!(users.count(&connection("main")), Some(2));
    }
}
