//! The sample manifests run as they stand, but for names and addresses.

use std::process::{Command, Stdio};

use rocketmq_connector::rocketmq::Message;

use super::databases::Server;
use super::worker_support::{Broker, eventually, unique};
use super::{Process, publish, tapdata};

const POSTGRES: &str = include_str!("../../config/samples/sync_postgres.yaml");
const MYSQL: &str = include_str!("../../config/samples/sync_mysql.yaml");

/// Runs manifests without a cluster until it is dropped.
fn dev(manifests: &str) -> (Process, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifests.yaml");
    std::fs::write(&path, manifests).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rocketmq-connector"));
    let child = command.args(["dev", "-f"]).arg(&path).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn();
    (Process(child.unwrap()), folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_samples_write_to_their_tables() {
    let broker = Broker::named("5.4.0-plain");
    let (topic, table) = (broker.topic("sample", 1).await, unique("sample").replace('-', "_"));
    let messages = [
        r#"{"id":1,"amount":5,"email":"a@b.c"}"#,
        r#"{"id":2,"amount":0,"email":"d@e.f"}"#,
        r#"{"id":3,"amount":7.5,"email":"g@h.i"}"#,
    ];
    publish(&broker, messages.map(|body| tapdata(&topic, "insert", body)).to_vec()).await;
    publish(&broker, vec![Message::new(&topic, "no json")]).await;
    let connection = format!(
        "apiVersion: connector.rocketmq.dev/v1alpha1\nkind: RocketMQConnection\nmetadata: {{ name: production }}\n\
         spec: {{ nameServers: [\"{}\"] }}\n---\n",
        broker.name_server()
    );
    for (sample, instance, rows) in [(POSTGRES, "postgres", 2), (MYSQL, "mariadb", 3)] {
        let server = Server::named(instance);
        let address = format!("host: {}\n        port: {}", server.setting("HOST"), server.setting("PORT"));
        let mut sync = sample.replace("change-me", server.setting("APP_PASSWORD"));
        let changes = [
            ("host: warehouse.shop.svc", address.as_str()),
            ("host: reports.shop.svc", &address),
            ("database: warehouse", "database: connector"),
            ("database: reports", "database: connector"),
            ("loader", server.setting("APP_USER")),
            ("public.orders", &format!("public.{table}")),
            ("table: customers", &format!("table: {table}")),
            ("topics: [orders]", &format!("topics: [{topic}]\n    startFrom: {{ position: First }}")),
            ("topics: [customers]", &format!("topics: [{topic}]")),
        ];
        for (from, to) in changes {
            sync = sync.replace(from, to);
        }
        let (process, _folder) = dev(&format!("{connection}{sync}"));
        let exists = format!("SELECT count(*) FROM information_schema.tables WHERE table_name = '{table}'");
        eventually("the table", async || server.count(&exists).await == 1).await;
        eventually("the rows", async || server.count(&format!("SELECT count(*) FROM {table}")).await == rows).await;
        drop(process);
    }
}
