//! TLS, and credentials that change while messages flow.

use rocketmq_connector::rocketmq::Message;
use rocketmq_connector::worker_config::sync::Format;

use super::databases::Server;
use super::worker_support::{Broker, unique};
use super::{Running, publish, server_of, sync};

fn numbers(topic: &str, from: usize) -> Vec<Message> {
    (from..from + 20).map(|id| Message::new(topic, format!(r#"{{"id":{id}}}"#))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_trusted_by_its_authority_only_and_credentials_rotate() {
    let broker = Broker::named("5.4.0-plain");
    for server in ["postgres", "mariadb"].map(Server::named) {
        let (topic, table) = (broker.topic("secrets", 1).await, unique("secrets").replace('-', "_"));
        let user = unique("u").replace('-', "_");
        if server.is_postgres() {
            server
                .run(&format!("CREATE ROLE {user} LOGIN PASSWORD 'first' IN ROLE {}", server.setting("APP_USER")))
                .await;
        } else {
            server
                .run(&format!(
                    "CREATE USER '{user}'@'%' IDENTIFIED BY 'first'; GRANT ALL ON connector.* TO '{user}'@'%'"
                ))
                .await;
        }
        server.file("username", &user);
        server.file("password", "wrong");
        publish(&broker, numbers(&topic, 0)).await;
        let mut config = sync(&broker, &topic, &server, &table);
        config.format = Format::Json;
        server_of(&mut config).tls = Some(server.tls("OTHER_CA_FILE"));
        let stranger = Running::start(&config).await;
        stranger
            .until("the refusal", |report, _| {
                report.last_error.as_ref().is_some_and(|error| error.message.contains("ertificate"))
            })
            .await;
        stranger.stop().await;

        server_of(&mut config).tls = Some(server.tls("CA_FILE"));
        let running = Running::start(&config).await;
        running
            .until("the refusal", |report, _| {
                report.last_error.as_ref().is_some_and(|error| error.reason == "CredentialsRefused")
            })
            .await;
        server.file("password", "first");
        running.until("the rows", |_, sync| sync.written == 20).await;

        // First the file, which is refused; then the server.
        server.file("password", "second");
        tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
        publish(&broker, numbers(&topic, 20)).await;
        running
            .until("a warning and more rows", |report, sync| sync.written == 40 && !report.warnings.is_empty())
            .await;
        let alter = if server.is_postgres() {
            format!("ALTER ROLE {user} PASSWORD 'second'")
        } else {
            format!("ALTER USER '{user}'@'%' IDENTIFIED BY 'second'")
        };
        server.run(&alter).await;
        // The session from before is ended: there is no way back to the first password.
        if server.is_postgres() {
            server
                .run(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'"))
                .await;
        } else {
            server.run(&format!("KILL USER '{user}'")).await;
        }
        publish(&broker, numbers(&topic, 40)).await;
        running.until("all rows", |report, sync| sync.written == 60 && report.warnings.is_empty()).await;
        running.stop().await;
        assert_eq!(server.count(&format!("SELECT count(*) FROM {table}")).await, 60);
    }
}
