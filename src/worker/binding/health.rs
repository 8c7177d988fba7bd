//! What keeps a binding from working, one slot for each thing that may: the first one explains the worker's state.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::worker_config::report::ReportedError;

/// What may keep a binding from working.
#[derive(Debug, Default)]
pub struct Health {
    troubles: Mutex<Troubles>,
}

#[derive(Debug, Default)]
struct Troubles {
    is_connected: bool,
    slots: [Option<ReportedError>; 4],
}

/// A thing that may be wrong; the order is the order in which they explain each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Reaching the RocketMQ cluster with the credentials given.
    Cluster,
    /// Reading from the broker.
    Consumer,
    /// Delivering to the app.
    App,
    /// Publishing to the broker.
    Producer,
}

impl Health {
    /// Notes that `part` is wrong, or well again (`None`).
    pub fn set(&self, part: Part, trouble: Option<ReportedError>) {
        self.lock().slots[part as usize] = trouble;
    }

    /// Notes that `part` works; cheap when it did so before.
    pub fn clear(&self, part: Part) {
        let mut troubles = self.lock();
        if troubles.slots[part as usize].is_some() {
            troubles.slots[part as usize] = None;
        }
    }

    /// Whether `part` is wrong.
    #[must_use]
    pub fn has(&self, part: Part) -> bool {
        self.lock().slots[part as usize].is_some()
    }

    /// Notes that the cluster was reached once: the worker has left its start.
    pub fn connected(&self) {
        self.lock().is_connected = true;
    }

    /// Whether the cluster was reached once.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.lock().is_connected
    }

    /// The trouble that explains the state, if there is any.
    #[must_use]
    pub fn trouble(&self) -> Option<ReportedError> {
        self.lock().slots.iter().flatten().next().cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::error::reported;
    use super::*;

    #[test]
    fn the_cluster_explains_before_the_app() {
        let health = Health::default();
        health.set(Part::App, Some(reported("AppUnreachable", "", "")));
        health.set(Part::Cluster, Some(reported("Connect", "", "")));
        assert_eq!(health.trouble().unwrap().reason, "Connect");
        health.clear(Part::Cluster);
        assert_eq!(health.trouble().unwrap().reason, "AppUnreachable");
        health.clear(Part::App);
        assert_eq!(health.trouble(), None);
    }
}
