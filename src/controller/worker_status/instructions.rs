//! What workers are told with the polls of their reports, by custom resource.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::controller::context::Key;
use crate::worker_config::report::Instructions;

/// What a worker is told because of an annotation: any text as a word that fits into a URL.
#[must_use]
pub fn word(annotations: &BTreeMap<String, String>, annotation: &str) -> Option<String> {
    let text = annotations.get(annotation)?;
    Some(Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// Instructions of all custom resources that have any.
#[derive(Debug, Default)]
pub struct Book {
    entries: Mutex<HashMap<Key, watch::Sender<Instructions>>>,
}

impl Book {
    /// Tells the workers of `key` from now on.
    pub fn set(&self, key: &Key, instructions: Instructions) {
        let mut entries = self.entries();
        let entry = entries.entry(key.clone()).or_default();
        entry.send_if_modified(|known| {
            let is_news = *known != instructions;
            *known = instructions;
            is_news
        });
    }

    /// What the workers of `key` are told, now and later.
    pub fn told(&self, key: &Key) -> Told {
        Told(self.entries().entry(key.clone()).or_default().subscribe())
    }

    /// The custom resource is gone.
    pub fn forget(&self, key: &Key) {
        self.entries().remove(key);
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Key, watch::Sender<Instructions>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the workers of one custom resource are told.
#[derive(Debug)]
pub struct Told(watch::Receiver<Instructions>);

impl Told {
    /// What they are told now.
    pub fn newest(&mut self) -> Instructions {
        self.0.borrow_and_update().clone()
    }

    /// Completes when that is no longer what [`newest`](Self::newest) returned.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The custom resource is gone, and its pods are about to be.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_poll_is_interrupted_by_news_only() {
        let key = Key { kind: "RocketMQConnection".to_owned(), namespace: "a".to_owned(), name: "b".to_owned() };
        let (book, patience) = (Book::default(), Duration::from_millis(50));
        let mut told = book.told(&key);
        assert_eq!(told.newest(), Instructions::default());
        let order = Instructions { test: Some("1".to_owned()), ..Instructions::default() };
        book.set(&key, order.clone());
        tokio::time::timeout(patience, told.changed()).await.unwrap();
        assert_eq!(told.newest(), order);
        book.set(&key, order);
        assert!(tokio::time::timeout(patience, told.changed()).await.is_err());
        book.forget(&key);
        assert!(tokio::time::timeout(patience, told.changed()).await.is_err());
    }
}
