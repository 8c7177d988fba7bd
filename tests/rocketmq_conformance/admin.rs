//! Queries and changes of topics, groups and offsets.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rocketmq_connector::rocketmq::admin::version_name;
use rocketmq_connector::rocketmq::{Message, Subscription};

use super::harness::{Case, Context, Outcome, body, case, ensure, eventually, receive, send_numbered};

const LIMIT: Duration = Duration::from_secs(40);

pub fn cases() -> Vec<Case> {
    vec![
        case("admin", "cluster and version", cluster),
        case("admin", "create, list, describe and delete a topic", topics),
        case("admin", "statistics and offset by time", statistics),
        case("admin", "groups and connections", groups),
        case("admin", "reset offsets of a disconnected group", reset_disconnected),
        case("admin", "reset offsets of a connected group", reset_connected),
    ]
}

async fn cluster(context: Context) -> Outcome {
    let admin = context.client()?.admin();
    let brokers = admin.cluster().await?.brokers;
    ensure!(brokers.len() == 1 && brokers[0].name == "broker-a", "{brokers:?}");
    let address = brokers[0].addresses.get(&0).ok_or("no master")?;
    let answer = admin.introduce(address).await?;
    let runtime = admin.broker_runtime(address).await?;
    let expected = if context.instance.is_v4() { "V4_9_7" } else { "V5_4_0" };
    let version = version_name(answer.version_ordinal);
    ensure!(version.as_deref() == Some(expected), "version {version:?}");
    ensure!(runtime.get("brokerVersionDesc").map(String::as_str) == Some(expected), "{runtime:?}");
    ensure!(answer.settings?.contains_key("maxMessageSize"), "no maxMessageSize");
    Ok(())
}

async fn topics(context: Context) -> Outcome {
    let client = context.client()?;
    let admin = client.admin();
    let topic = context.topic(&client, "made", 3).await?;
    let route = admin.topic_route(&topic).await?;
    ensure!(route.readable_queues(&topic).len() == 3 && route.writable_queues(&topic).len() == 3, "{route:?}");
    let mine = admin.user_topics().await?;
    ensure!(
        mine.contains(&topic)
            && !mine.iter().any(|topic| topic == "TBW102" || topic == "broker-a" || topic == "DefaultCluster"),
        "{mine:?}"
    );
    admin.delete_topic(&topic).await?;
    eventually("the topic's end", LIMIT, || async { Ok(!admin.user_topics().await?.contains(&topic)) }).await?;
    let error = admin.create_topic(&topic, 0, 6).await.err().ok_or("0 queues were taken")?;
    ensure!(error.to_string().contains("queues"), "{error}");
    Ok(())
}

async fn statistics(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "stats", 1).await?;
    let producer = context.producer(&client)?;
    send_numbered(&producer, &topic, 3).await?;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let between = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    tokio::time::sleep(Duration::from_millis(300)).await;
    producer.send(Message::new(&topic, "late")).await?;
    let stats = client.admin().topic_stats(&topic).await?;
    ensure!(
        stats.len() == 1
            && stats[0].max_offset == 4
            && stats[0].min_offset == 0
            && stats[0].last_update_millis > between,
        "{stats:?}"
    );
    let found = client.admin().search_offsets(&topic, between).await?;
    ensure!(found.len() == 1 && found[0].1 == 3, "{found:?}");
    Ok(())
}

async fn groups(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "groups", 1).await?;
    let group = context.name("group");
    client.admin().create_group(&group, 5).await?;
    ensure!(client.admin().groups().await?.contains(&group), "the group is not listed");
    ensure!(client.admin().consumer_connections(&group).await?.is_empty(), "somebody is connected");
    let _consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    eventually("the connection", LIMIT, || async {
        Ok(client
            .admin()
            .consumer_connections(&group)
            .await?
            .iter()
            .any(|connection| connection.client_id == client.client_id()))
    })
    .await
}

async fn reset_disconnected(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "reset", 2).await?;
    send_numbered(&context.producer(&client)?, &topic, 6).await?;
    let first = context.consumer(&client, vec![Subscription::all(&topic)])?;
    ensure!(receive(&first, 6, LIMIT).await.len() == 6, "not all were received");
    first.shutdown(Duration::from_secs(5)).await;
    client.admin().reset_offsets(&context.name("group"), &topic, 0).await?;
    let second = context.consumer(&client, vec![Subscription::all(&topic)])?;
    let again = receive(&second, 6, LIMIT).await;
    ensure!(again.len() == 6, "{} of 6 came again", again.len());
    Ok(())
}

async fn reset_connected(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "rewind", 1).await?;
    send_numbered(&context.producer(&client)?, &topic, 4).await?;
    let consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    ensure!(receive(&consumer, 4, LIMIT).await.len() == 4, "not all were received");
    tokio::time::sleep(Duration::from_secs(2)).await;
    client.admin().reset_offsets(&context.name("group"), &topic, 0).await?;
    let bodies: Vec<String> = receive(&consumer, 4, LIMIT).await.iter().map(body).collect();
    ensure!(bodies == ["0", "1", "2", "3"], "{bodies:?}");
    Ok(())
}
