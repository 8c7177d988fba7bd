//! A table of MariaDB that is truncated while it is read in full.

use std::collections::BTreeMap;
use std::path::Path;

use rocketmq_connector::worker_config::SyncConfig;
use rocketmq_connector::worker_config::sync::Mode;

use super::support::{BROKER, Database, Running};
use super::worker_support::Broker;
use super::worker_support::truncate::{self, Table, pairs};
use super::{LAST, ROWS, all, orders};

impl Table for Database {
    fn sync(&self, broker: &Broker, topic: &str) -> SyncConfig {
        Database::sync(self, &["orders"], Mode::FullAndIncremental, broker, topic)
    }

    fn folder(&self) -> &Path {
        self.path()
    }

    async fn truncate(&self) {
        self.run(&[
            "TRUNCATE TABLE orders",
            "INSERT INTO orders (id, v) SELECT seq, 7 FROM seq_0_to_11999",
            "UPDATE orders SET v = 8 WHERE id % 3 = 0",
            "DELETE FROM orders WHERE id % 5 = 0",
        ])
        .await;
    }

    async fn change(&self) {
        self.run(&["UPDATE orders SET v = 9 WHERE id % 7 = 1"]).await;
    }

    async fn all_told(&self, running: &Running) {
        all(running, self, LAST).await;
    }

    async fn is_loaded(&self) -> bool {
        self.progress("is_loaded", "orders").await == "1"
    }

    async fn is_truncation_durable(&self) -> bool {
        self.text("SELECT count(*) FROM rocketmq_connector_sync_chunk").await == "0"
    }

    async fn rows(&self) -> BTreeMap<i64, i64> {
        self.run(&["SET SESSION group_concat_max_len = 10000000"]).await;
        pairs(&self.text("SELECT group_concat(concat(id, ':', v)) FROM orders").await)
    }

    async fn clean(&self) {
        Database::clean(self).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncation_during_the_load_leaves_what_the_table_has() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    orders(&database, ROWS).await;
    truncate::during_the_load(&broker, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_before_and_behind_a_truncation_leaves_what_the_table_has() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    orders(&database, ROWS).await;
    truncate::with_kills_before_and_behind(&broker, &database).await;
}
