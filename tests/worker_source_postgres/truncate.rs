//! A table of PostgreSQL that is truncated while it is read in full.

use std::collections::BTreeMap;
use std::path::Path;

use rocketmq_connector::worker_config::SyncConfig;
use rocketmq_connector::worker_config::sync::Mode;

use super::support::{BROKER, Database, Running};
use super::worker_support::Broker;
use super::worker_support::truncate::{self, Table, pairs};
use super::{ROWS, orders};

/// What the worker notes of the sync.
fn known(database: &Database, what: &str, table: &str) -> String {
    format!("SELECT {what} FROM rocketmq_connector.{table} WHERE slot = '{}'", database.slot)
}

impl Table for Database {
    fn sync(&self, broker: &Broker, topic: &str) -> SyncConfig {
        Database::sync(self, &["orders"], Mode::FullAndIncremental, broker, topic)
    }

    fn folder(&self) -> &Path {
        self.path()
    }

    async fn truncate(&self) {
        self.run(
            "BEGIN; INSERT INTO $S.orders VALUES (-5, 0, ''); TRUNCATE $S.orders; \
             INSERT INTO $S.orders SELECT id, 7 FROM generate_series(0, 11999) id; COMMIT",
        )
        .await;
        self.run("UPDATE $S.orders SET v = 8 WHERE id % 3 = 0; DELETE FROM $S.orders WHERE id % 5 = 0").await;
    }

    async fn change(&self) {
        self.run("UPDATE $S.orders SET v = 9 WHERE id % 7 = 1").await;
    }

    async fn all_told(&self, running: &Running) {
        self.confirmed().await;
        running.until("all", |_, sync| sync.in_flight == 0 && sync.lag == Some(0)).await;
    }

    async fn is_loaded(&self) -> bool {
        self.text(&known(self, "coalesce(bool_or(is_loaded), false)::text", "sync_table")).await == "true"
    }

    async fn is_truncation_durable(&self) -> bool {
        self.text(&known(self, "count(*)::text", "sync_chunk")).await == "0"
    }

    async fn rows(&self) -> BTreeMap<i64, i64> {
        pairs(&self.text("SELECT coalesce(string_agg(id || ':' || v, ','), '') FROM $S.orders").await)
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
