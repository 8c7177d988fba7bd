//! Reaching a cluster: name servers, addresses, credentials, TLS, namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use rocketmq_connector::rocketmq::{Client, Credentials, ErrorKind, Message, Subscription, TlsConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::harness::{Case, Context, Failure, Outcome, case, ensure, eventually, receive};
use super::own;

pub fn cases() -> Vec<Case> {
    vec![
        case("connect", "name server list with the first one down", first_name_server_down),
        case("connect", "name server in use dies: the next of the list", name_server_dies),
        case("connect", "name server by host name", host_name),
        case("connect", "name server list served over HTTP", http_list),
        case("connect", "unreachable name server: error with remedy", unreachable),
        case("connect", "broker address mapped to a reachable one", mapped_address),
        case("connect", "route renewed: a topic that gets more queues", more_queues),
        case("connect", "namespace (instanceId) of topics and groups", namespace),
        case("connect", "wrong secret key refused with the broker's words", wrong_key)
            .only(|instance| instance.is("acl")),
        case("connect", "missing credentials refused", no_key).only(|instance| instance.is("acl")),
        case("connect", "topic without permission refused", forbidden_topic).only(|instance| instance.is("acl")),
        case("connect", "credentials replaced at run time", replaced_key).only(|instance| instance.is("acl")),
        case("connect", "credentials replaced while sends are in flight: none fails", replaced_in_flight)
            .only(|instance| instance.is("acl")),
        case("connect", "TLS: other authority refused", other_authority).only(|instance| instance.is("tls")),
        case("connect", "TLS: wrong server name refused, serverName overrides", server_name)
            .only(|instance| instance.is("tls")),
        case("connect", "TLS: client certificate of another authority refused", other_client)
            .only(|instance| instance.is("tls")),
        case("connect", "TLS: server that demands a client certificate", demanded_certificate)
            .only(|instance| instance.is("tls")),
        case("connect", "TLS: without a client certificate", no_client_certificate).only(|instance| instance.is("tls")),
        case("connect", "plain connection to a TLS port: error", plain_to_tls).only(|instance| instance.is("tls")),
    ]
}

async fn works(context: &Context, client: &Client) -> Outcome {
    let topic = context.topic(client, "connect", 1).await?;
    let producer = context.producer(client)?;
    let receipt = producer.send(Message::new(&topic, "x")).await?;
    ensure!(receipt.queue_offset == 0, "stored at {}", receipt.queue_offset);
    Ok(())
}

async fn first_name_server_down(context: Context) -> Outcome {
    let mut config = context.config();
    config.name_servers.insert(0, "127.0.0.1:1".into());
    works(&context, &Client::new(config)?).await
}

async fn host_name(context: Context) -> Outcome {
    let mut config = context.config();
    config.name_servers = vec![context.instance.get("NAME_SERVER").replace("127.0.0.1", "localhost")];
    works(&context, &Client::new(config)?).await
}

async fn http_list(context: Context) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let list = format!("127.0.0.1:1;{}", context.instance.get("NAME_SERVER"));
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{list}", list.len());
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let mut config = context.config();
    config.name_servers.clear();
    config.name_server_domain = Some(format!("http://{address}/rocketmq/nsaddr"));
    let outcome = works(&context, &Client::new(config)?).await;
    server.abort();
    outcome
}

async fn unreachable(context: Context) -> Outcome {
    let mut config = context.config();
    config.name_servers = vec!["127.0.0.1:1".into()];
    let error = Client::new(config)?.admin().cluster().await.err().ok_or("a closed port answered")?;
    ensure!(error.kind() == ErrorKind::NameServerUnreachable, "{:?}", error.kind());
    ensure!(
        error.to_string().contains("127.0.0.1:1") && error.remedy().contains("9876"),
        "{error}: {}",
        error.remedy()
    );
    Ok(())
}

/// Forwards connections to `target` until the set is dropped; returns its own address.
async fn forwarder(target: &str) -> Result<(String, JoinSet<()>), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let (target, mut tasks) = (target.to_owned(), JoinSet::new());
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut inbound, _)) = listener.accept().await {
            let target = target.clone();
            connections.spawn(async move {
                if let Ok(mut outbound) = TcpStream::connect(target).await {
                    let _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await;
                }
            });
        }
    });
    Ok((address, tasks))
}

async fn name_server_dies(context: Context) -> Outcome {
    let (first, mut forwarding) = forwarder(context.instance.get("NAME_SERVER")).await?;
    let mut config = context.config();
    config.name_servers.insert(0, first);
    let client = Client::new(config)?;
    works(&context, &client).await?;
    ensure!(forwarding.try_join_next().is_none(), "the first name server was not there");
    forwarding.shutdown().await;
    let topic = context.topic(&client, "next", 1).await?;
    context.producer(&client)?.send(Message::new(&topic, "x")).await?;
    Ok(())
}

async fn more_queues(context: Context) -> Outcome {
    let mut config = context.config();
    config.route_refresh = Duration::from_secs(1);
    let client = Client::new(config)?;
    let topic = context.topic(&client, "grows", 1).await?;
    let (producer, consumer) =
        (context.producer(&client)?, context.consumer(&client, vec![Subscription::all(&topic)])?);
    producer.send(Message::new(&topic, "x")).await?;
    let other = context.client()?;
    let admin = other.admin();
    admin.create_topic(&topic, 3, 6).await?;
    let seen = Mutex::new((BTreeSet::new(), Instant::now()));
    eventually("sends to the new queues", Duration::from_secs(60), || async {
        let receipt = producer.send(Message::new(&topic, "x")).await?;
        // 5.4.0's name server may ignore the change (docs/upstream.md): what is to be followed must be there
        let told = admin.topic_route(&topic).await?.writable_queues(&topic).len();
        let is_lost = {
            let mut seen = seen.lock().map_err(|error| error.to_string())?;
            seen.0.insert(receipt.queue_id);
            if seen.0.len() == 3 {
                return Ok(true);
            }
            let is_lost = told != 3 && seen.1.elapsed() > Duration::from_secs(5);
            if is_lost {
                seen.1 = Instant::now();
            }
            is_lost
        };
        if is_lost {
            println!("        {topic}: the name server tells {told} queues of 3; the change is made again");
            // The same change once more would be none to the broker.
            admin.create_topic(&topic, 2, 6).await?;
            admin.create_topic(&topic, 3, 6).await?;
        }
        Ok(false)
    })
    .await?;
    eventually("the consumer's new queues", Duration::from_secs(60), || async {
        Ok(consumer.status().queues.iter().filter(|queue| queue.topic == topic).count() == 3)
    })
    .await
}

async fn mapped_address(context: Context) -> Outcome {
    let broker = context.instance.get("BROKER").to_owned();
    let (reachable, forwarding) = forwarder(&broker).await?;
    let mut config = context.config();
    config.broker_addresses = BTreeMap::from([(broker, reachable)]);
    let client = Client::new(config)?;
    works(&context, &client).await?;
    drop(forwarding);
    // with the forwarder gone the mapped address refuses, which shows that it was the one in use
    let mut config = context.config();
    config.broker_addresses = BTreeMap::from([(context.instance.get("BROKER").to_owned(), "127.0.0.1:1".into())]);
    let error = Client::new(config)?
        .admin()
        .connect(context.instance.get("BROKER"))
        .await
        .err()
        .ok_or("the mapping was not used")?;
    ensure!(error.remedy().contains("brokerAddresses"), "{}", error.remedy());
    Ok(())
}

async fn namespace(context: Context) -> Outcome {
    let mut config = context.config();
    config.namespace = Some("space".into());
    let scoped = Client::new(config)?;
    let topic = context.topic(&scoped, "space", 1).await?;
    let plain = context.client()?;
    let all = plain.admin().topics().await?;
    ensure!(all.contains(&format!("space%{topic}")) && !all.contains(&topic), "the broker has no topic space%{topic}");
    ensure!(scoped.admin().user_topics().await?.contains(&topic), "the namespace does not list its topic");
    context.producer(&scoped)?.send(Message::new(&topic, "x")).await?;
    let consumer = context.consumer(&scoped, vec![Subscription::all(&topic)])?;
    let received = receive(&consumer, 1, Duration::from_secs(30)).await;
    ensure!(received.len() == 1 && received[0].topic == topic, "received {received:?}");
    consumer.shutdown(Duration::from_secs(5)).await;
    let groups = plain.admin().groups().await?;
    ensure!(groups.contains(&format!("space%{}", context.name("group"))), "the broker has no group in the namespace");
    Ok(())
}

async fn refused(client: &Client, topic: &str) -> Outcome {
    let context_error = rocketmq_connector::rocketmq::Producer::new(
        client,
        rocketmq_connector::rocketmq::ProducerConfig::new("conformance"),
    )?
    .send(Message::new(topic, "x"))
    .await
    .err()
    .ok_or("the message was taken")?;
    ensure!(context_error.kind() == ErrorKind::AccessDenied, "{:?}: {context_error}", context_error.kind());
    ensure!(context_error.remedy().contains("accessKey"), "{}", context_error.remedy());
    ensure!(context_error.remark().is_some_and(|remark| !remark.is_empty()), "the broker's words are missing");
    Ok(())
}

async fn wrong_key(context: Context) -> Outcome {
    let topic = context.topic(&context.client()?, "wrong", 1).await?;
    let mut config = context.config();
    let access_key = context.credentials("ADMIN").access_key;
    config.credentials =
        Some(Credentials { access_key, secret_key: "not-the-secret".to_owned().into(), security_token: None });
    refused(&Client::new(config)?, &topic).await
}

async fn no_key(context: Context) -> Outcome {
    let topic = context.topic(&context.client()?, "none", 1).await?;
    let mut config = context.config();
    config.credentials = None;
    refused(&Client::new(config)?, &topic).await
}

async fn forbidden_topic(context: Context) -> Outcome {
    let admin = context.client()?;
    let topic = context.topic(&admin, "forbidden", 1).await?;
    let _ = admin.admin().create_topic("allowed", 4, 6).await;
    let mut config = context.config();
    config.credentials = Some(context.credentials("APP"));
    let client = Client::new(config)?;
    context.producer(&client)?.send(Message::new("allowed", "x")).await?;
    refused(&client, &topic).await
}

async fn replaced_key(context: Context) -> Outcome {
    let topic = context.topic(&context.client()?, "replaced", 1).await?;
    let mut config = context.config();
    let access_key = context.credentials("ADMIN").access_key;
    config.credentials =
        Some(Credentials { access_key, secret_key: "not-the-secret".to_owned().into(), security_token: None });
    let client = Client::new(config)?;
    refused(&client, &topic).await?;
    let consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    client.set_credentials(Some(context.credentials("ADMIN")));
    context.producer(&client)?.send(Message::new(&topic, "x")).await?;
    let received = receive(&consumer, 1, Duration::from_secs(40)).await;
    ensure!(received.len() == 1, "the consumer did not recover with the right key: {:?}", consumer.status().last_error);
    Ok(())
}

async fn replaced_in_flight(context: Context) -> Outcome {
    let client = context.client()?;
    let _ = client.admin().create_topic("allowed", 4, 6).await;
    let producer = context.producer(&client)?;
    producer.send(Message::new("allowed", "x")).await?;
    let sends = (0..2000).map(|number: usize| producer.send(Message::new("allowed", number.to_string())));
    let mut sends = std::pin::pin!(futures::stream::iter(sends).buffer_unordered(64).enumerate());
    while let Some((number, sent)) = sends.next().await {
        sent.map_err(|error| format!("send {number}: {error}"))?;
        if number % 100 == 0 {
            client.set_credentials(Some(context.credentials(if number % 200 == 0 { "APP" } else { "ADMIN" })));
        }
    }
    Ok(())
}

async fn demanded_certificate(context: Context) -> Outcome {
    let address = own::strict_name_server(&context).await?;
    let mut config = context.config();
    config.name_servers = vec![address];
    ensure!(Client::new(config.clone())?.admin().cluster().await?.brokers.is_empty(), "it has a broker");
    config.tls = Some(TlsConfig { client_certificate_pem: None, client_key_pem: None, ..context.tls() });
    config.request_timeout = Duration::from_secs(3);
    let error = Client::new(config)?.admin().cluster().await.err().ok_or("taken without a certificate")?;
    // with TLS 1.3 the server's refusal comes after the client's handshake is done
    ensure!(matches!(error.kind(), ErrorKind::Tls | ErrorKind::NameServerUnreachable), "{:?}: {error}", error.kind());
    Ok(())
}

async fn fails_with(context: &Context, tls: Option<TlsConfig>, kinds: &[ErrorKind]) -> Outcome {
    let mut config = context.config();
    config.request_timeout = Duration::from_secs(3);
    config.tls = tls;
    let error = Client::new(config)?.admin().cluster().await.err().ok_or("the server answered")?;
    ensure!(kinds.contains(&error.kind()), "{:?}: {error}", error.kind());
    Ok(())
}

async fn other_authority(context: Context) -> Outcome {
    let ca_pem = Some(std::fs::read(context.instance.get("OTHER_CA_FILE"))?);
    fails_with(&context, Some(TlsConfig { ca_pem, ..TlsConfig::default() }), &[ErrorKind::Tls]).await
}

async fn server_name(context: Context) -> Outcome {
    let wrong = TlsConfig { server_name: Some("elsewhere.example".into()), ..context.tls() };
    fails_with(&context, Some(wrong), &[ErrorKind::Tls]).await?;
    let mut config = context.config();
    config.tls = Some(TlsConfig { server_name: Some("localhost".into()), ..context.tls() });
    works(&context, &Client::new(config)?).await
}

async fn other_client(context: Context) -> Outcome {
    let read = |key: &str| std::fs::read(context.instance.get(key)).ok();
    let tls = TlsConfig {
        client_certificate_pem: read("OTHER_CLIENT_CERTIFICATE_FILE"),
        client_key_pem: read("OTHER_CLIENT_KEY_FILE"),
        ..context.tls()
    };
    // with TLS 1.3 the server's refusal comes after the client's handshake is done
    fails_with(&context, Some(tls), &[ErrorKind::Tls, ErrorKind::NameServerUnreachable]).await
}

async fn no_client_certificate(context: Context) -> Outcome {
    let mut config = context.config();
    config.tls = Some(TlsConfig { client_certificate_pem: None, client_key_pem: None, ..context.tls() });
    works(&context, &Client::new(config)?).await
}

async fn plain_to_tls(context: Context) -> Outcome {
    fails_with(&context, None, &[ErrorKind::NameServerUnreachable]).await
}
