//! The samples of pipelines between RocketMQ, databases, HTTP and object storage, in pods, on real servers.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mysql_async::prelude::Queryable;
use parquet::file::reader::{FileReader, SerializedFileReader};
use rocketmq_connector::rocketmq::{Client, ClientConfig, Message, Producer, ProducerConfig};
use serde_json::{Value, json};

use crate::cluster::{expect, wait_for};
use crate::world::{LIMIT, World};
use crate::{Failure, Outcome};

const CONNECTION: &str = "pipelines";
const RECORDS: usize = 100;

/// A database that pods reach.
struct Database {
    settings: BTreeMap<String, String>,
}

impl Database {
    fn load(instance: &str) -> Result<Self, Failure> {
        Ok(Self { settings: settings("databases", instance)? })
    }

    fn setting(&self, key: &str) -> &str {
        self.settings.get(key).map_or("", String::as_str)
    }

    /// Points a sample's `server` to this database.
    fn fill(&self, server: &mut Value) -> Outcome {
        let port: u16 = self.setting("PORT").parse()?;
        server["host"] = json!(self.setting("HOST"));
        server["port"] = json!(port);
        server["database"] = json!(self.setting("DATABASE"));
        Ok(())
    }

    async fn postgres(&self) -> Result<tokio_postgres::Client, Failure> {
        let (client, connection) = tokio_postgres::Config::new()
            .host(self.setting("HOST"))
            .port(self.setting("PORT").parse()?)
            .dbname(self.setting("DATABASE"))
            .user(self.setting("APP_USER"))
            .password(self.setting("APP_PASSWORD"))
            .connect(tokio_postgres::NoTls)
            .await?;
        tokio::spawn(connection);
        Ok(client)
    }

    async fn mysql(&self) -> Result<mysql_async::Conn, Failure> {
        let options = mysql_async::OptsBuilder::default()
            .ip_or_hostname(self.setting("HOST"))
            .tcp_port(self.setting("PORT").parse()?)
            .db_name(Some(self.setting("DATABASE")))
            .user(Some(self.setting("APP_USER")))
            .pass(Some(self.setting("APP_PASSWORD")));
        Ok(mysql_async::Conn::new(options).await?)
    }

    async fn execute(&self, statement: &str) -> Outcome {
        match self.setting("KIND") {
            "postgres" => self.postgres().await?.batch_execute(statement).await?,
            _ => self.mysql().await?.query_drop(statement).await?,
        }
        Ok(())
    }

    /// Waits until a table has so many rows.
    async fn holds(&self, world: &World, table: &str, rows: usize) -> Outcome {
        let is_postgres = self.setting("KIND") == "postgres";
        let question = format!("SELECT count(*) FROM {table}");
        let (_, took) = wait_for(&format!("{rows} rows in {table}"), LIMIT, || async {
            let count = if is_postgres {
                self.postgres().await?.query_one(&question, &[]).await?.get::<_, i64>(0)
            } else {
                self.mysql().await?.query_first::<i64, _>(&question).await?.unwrap_or_default()
            };
            expect(count == i64::try_from(rows)?, || format!("it has {count}"))
        })
        .await?;
        world.show(&format!("{} has {rows} rows in {table} {:.1} s later", self.setting("KIND"), took.as_secs_f64()));
        Ok(())
    }
}

/// The settings of a server that the scripts of a folder of `tests/cluster` have started.
fn settings(kind: &str, instance: &str) -> Result<BTreeMap<String, String>, Failure> {
    let variable = format!("{}_TEST_RUN", kind.to_uppercase());
    let folder = std::env::var(&variable).map_err(|_| format!("{variable} is not set; run make e2e"))?;
    let file = PathBuf::from(folder).join(instance).join("env");
    let text = fs::read_to_string(&file)
        .map_err(|error| format!("{}: {error}; start it with SET=e2e tests/cluster/{kind}/up.sh", file.display()))?;
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Ok(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

/// Messages to a table of PostgreSQL, to one of MariaDB, to an HTTP endpoint, to a bucket and to a volume; rows of both to topics.
pub async fn samples(world: &World) -> Outcome {
    let (postgres, mariadb) = (Database::load("e2e-postgres")?, Database::load("e2e-mariadb")?);
    let connection = json!({
        "apiVersion": "connector.rocketmq.dev/v1alpha1", "kind": "RocketMQConnection", "metadata": {"name": CONNECTION},
        "spec": {"nameServers": [world.plain.name_server()], "modelLoad": {"enabled": false}},
    });
    world.apply(&[connection]).await?;
    world.condition("RocketMQConnection", CONNECTION, "Ready", "True", "").await?;
    let orders = world.plain.create_topic("piped-orders").await?;
    let customers = world.plain.create_topic("piped-customers").await?;
    to_postgres(world, &postgres, &orders).await?;
    to_mariadb(world, &mariadb, &customers).await?;
    to_http(world, &orders).await?;
    to_bucket(world, &orders).await?;
    to_volume(world, &orders).await?;
    from_postgres(world, &postgres).await?;
    from_mariadb(world, &mariadb).await?;
    let tables = ["orders-to-warehouse", "customers-to-reports", "shop-changes", "shop-mysql-changes"];
    for sync in tables.into_iter().chain(["orders-to-hooks", "orders-to-lake"]) {
        world.kubectl(&["delete", "rmqsync", sync]).await?;
    }
    world.kubectl(&["delete", "rmqconn", CONNECTION]).await.map(|_| ())
}

/// A sample's manifests, with the credentials of the test's database and the test's connection; `change` gets the sync's spec.
fn sample(
    world: &World,
    file: &str,
    credentials: &Value,
    change: impl Fn(&mut Value) -> Outcome,
) -> Result<Vec<Value>, Failure> {
    let mut manifests = world.samples(file)?;
    for manifest in &mut manifests {
        if manifest["kind"] == "Secret" {
            let known = manifest["stringData"].as_object().cloned().unwrap_or_default();
            for key in known.keys() {
                manifest["stringData"][key] = credentials[key].clone();
            }
        } else {
            let spec = &mut manifest["spec"];
            for side in ["source", "target"] {
                if spec[side].get("connectionRef").is_some() {
                    spec[side]["connectionRef"]["name"] = json!(CONNECTION);
                }
            }
            change(spec)?;
        }
    }
    Ok(manifests)
}

fn login(database: &Database) -> Value {
    json!({"username": database.setting("APP_USER"), "password": database.setting("APP_PASSWORD")})
}

/// A name that no earlier run has used.
fn table(topic: &str) -> String {
    topic.replace('-', "_")
}

async fn to_postgres(world: &World, database: &Database, topic: &str) -> Outcome {
    publish(world, topic, |number| {
        let body = json!({"id": number, "amount": number % 2, "email": "a@example.com"});
        Message::new(topic, body.to_string()).with_tag("paid")
    })
    .await?;
    let manifests = sample(world, "sync_postgres.yaml", &login(database), |spec| {
        spec["source"]["topics"] = json!([topic]);
        spec["source"]["startFrom"] = json!({"position": "First"});
        spec["target"]["postgres"]["server"]["username"] = json!({"value": database.setting("APP_USER")});
        spec["target"]["postgres"]["table"] = json!(format!("public.{}", table(topic)));
        database.fill(&mut spec["target"]["postgres"]["server"])
    })?;
    world.apply(&manifests).await?;
    world.condition("RocketMQSync", "orders-to-warehouse", "Ready", "True", "").await?;
    // the sample leaves records out whose amount is 0
    database.holds(world, &table(topic), RECORDS / 2).await
}

async fn to_mariadb(world: &World, database: &Database, topic: &str) -> Outcome {
    publish(world, topic, |number| {
        let body = json!({"id": number, "name": format!("customer {number}")});
        Message::new(topic, body.to_string()).with_property("mqOp", "insert")
    })
    .await?;
    let manifests = sample(world, "sync_mysql.yaml", &login(database), |spec| {
        spec["source"]["topics"] = json!([topic]);
        spec["target"]["mysql"]["table"] = json!(table(topic));
        database.fill(&mut spec["target"]["mysql"]["server"])
    })?;
    world.apply(&manifests).await?;
    world.condition("RocketMQSync", "customers-to-reports", "Ready", "True", "").await?;
    database.holds(world, &table(topic), RECORDS).await?;
    publish(world, topic, |number| {
        let operation = if number < RECORDS / 4 { "delete" } else { "update" };
        let body = json!({"id": number, "name": format!("renamed {number}")});
        Message::new(topic, body.to_string()).with_property("mqOp", operation)
    })
    .await?;
    database.holds(world, &table(topic), RECORDS - RECORDS / 4).await
}

async fn to_http(world: &World, topic: &str) -> Outcome {
    let manifests =
        sample(world, "sync_http.yaml", &json!({"token": "a-token", "signingKey": "a-signing-key"}), |spec| {
            spec["source"]["topics"] = json!([topic]);
            spec["source"]["startFrom"] = json!({"position": "First"});
            spec["target"]["http"]["url"] = json!("http://app:8080/hooks");
            Ok(())
        })?;
    world.apply(&manifests).await?;
    world.condition("RocketMQSync", "orders-to-hooks", "Ready", "True", "").await?;
    let (requests, took) = wait_for("all records at the endpoint", LIMIT, || async {
        let text = world.probe(&["get", "http://localhost:8080/received?path=/hooks"]).await?;
        let records = text.matches("\"messageId\"").count();
        expect(records == RECORDS, || format!("{records} records have come"))?;
        Ok(text.lines().count())
    })
    .await?;
    world.show(&format!("the endpoint got {RECORDS} records in {requests} requests {:.1} s later", took.as_secs_f64()));
    Ok(())
}

async fn to_bucket(world: &World, topic: &str) -> Outcome {
    let server = settings("objects", "e2e-s3")?;
    let keys = json!({"accessKey": server["ACCESS_KEY"], "secretKey": server["SECRET_KEY"]});
    let bucket = Path::new(&server["DATA"]).join(topic);
    fs::create_dir_all(&bucket)?;
    let manifests = sample(world, "sync_object_storage.yaml", &keys, |spec| {
        spec["source"]["topics"] = json!([topic]);
        let store = &mut spec["target"]["objectStorage"];
        store["url"] = json!(format!("s3://{topic}/raw"));
        store["endpoint"] = json!(server["ENDPOINT"]);
        store["region"] = json!(server["REGION"]);
        store["rollInterval"] = json!("2s");
        Ok(())
    })?;
    world.apply(&manifests).await?;
    world.condition("RocketMQSync", "orders-to-lake", "Ready", "True", "").await?;
    let (_, took) = wait_for("all records in the bucket", LIMIT, || async {
        let mut rows = 0;
        for file in files(&bucket, "parquet")? {
            rows += SerializedFileReader::new(File::open(file)?)?.metadata().file_metadata().num_rows();
        }
        expect(rows == i64::try_from(RECORDS)?, || format!("it has {rows}"))
    })
    .await?;
    world.show(&format!("{RECORDS} records are in Parquet files of a bucket {:.1} s later", took.as_secs_f64()));
    Ok(())
}

/// A volume of the node, which is this machine, bound to the claim of the sample.
async fn to_volume(world: &World, topic: &str) -> Outcome {
    if std::env::var("USE_EXISTING_CLUSTER").is_ok_and(|own| own == "true") {
        return Ok(()); // whose nodes' folders are not ours
    }
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777))?;
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": topic},
        "spec": {
            "capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "", "hostPath": {"path": folder.path()},
        },
    });
    world.apply(&[volume]).await?;
    let mut manifests = world.samples("sync_object_storage_volume.yaml")?;
    for manifest in &mut manifests {
        if manifest["kind"] == "PersistentVolumeClaim" {
            manifest["spec"]["storageClassName"] = json!("");
            manifest["spec"]["volumeName"] = json!(topic);
        } else {
            let spec = &mut manifest["spec"];
            spec["source"]["connectionRef"]["name"] = json!(CONNECTION);
            spec["source"]["topics"] = json!([topic]);
            spec["source"]["startFrom"] = json!({"position": "First"});
            spec["target"]["objectStorage"]["rollInterval"] = json!("2s");
            spec["target"]["objectStorage"]["compression"] = json!("None");
        }
    }
    world.apply(&manifests).await?;
    world.condition("RocketMQSync", "orders-to-files", "Ready", "True", "").await?;
    let (_, took) = wait_for("all records on the volume", LIMIT, || async {
        let texts: Vec<String> =
            files(folder.path(), "jsonl")?.iter().map(fs::read_to_string).collect::<Result<_, _>>()?;
        let lines = texts.iter().map(|text| text.lines().count()).sum::<usize>();
        expect(lines == RECORDS, || format!("it has {lines}"))
    })
    .await?;
    world.show(&format!("{RECORDS} records are in files of a volume {:.1} s later", took.as_secs_f64()));
    world.kubectl(&["delete", "rmqsync", "orders-to-files", "--wait=true"]).await?;
    world.kubectl(&["delete", "pvc", "order-files", "--wait=false"]).await?;
    world.kubectl(&["delete", "pv", topic, "--wait=false"]).await.map(|_| ())
}

/// The files below a folder with this extension.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|known| known == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Tables that are new, with rows, and how they are named in the manifest and as topics.
async fn tables_of(database: &Database, schema: &str) -> Result<[String; 2], Failure> {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let tables = ["orders", "customers"].map(|name| format!("shop_{name}_{}", since_epoch.as_secs()));
    let rows: Vec<String> = (1..=RECORDS).map(|number| format!("({number}, 'loaded')")).collect();
    for table in &tables {
        database.execute(&format!("CREATE TABLE {schema}.{table} (id bigint PRIMARY KEY, note text)")).await?;
        database.execute(&format!("INSERT INTO {schema}.{table} VALUES {}", rows.join(", "))).await?;
    }
    Ok(tables)
}

async fn from_postgres(world: &World, database: &Database) -> Outcome {
    let tables = tables_of(database, "public").await?;
    let manifests = sample(world, "sync_from_postgres.yaml", &login(database), |spec| {
        spec["source"]["postgres"]["tables"] = json!(tables.each_ref().map(|table| format!("public.{table}")));
        database.fill(&mut spec["source"]["postgres"]["server"])
    })?;
    world.apply(&manifests).await?;
    world.condition("RocketMQSync", "shop-changes", "Ready", "True", "").await?;
    loaded_and_changed(world, database, "public", &tables).await
}

async fn from_mariadb(world: &World, database: &Database) -> Outcome {
    let schema = database.setting("DATABASE");
    let tables = tables_of(database, schema).await?;
    let manifests = sample(world, "sync_from_mysql.yaml", &login(database), |spec| {
        spec["source"]["mysql"]["tables"] = json!(tables);
        database.fill(&mut spec["source"]["mysql"]["server"])
    })?;
    world.apply(&manifests).await?;
    world.condition("RocketMQSync", "shop-mysql-changes", "Ready", "True", "").await?;
    loaded_and_changed(world, database, schema, &tables).await
}

/// All rows come, then ten changes and five deletions.
async fn loaded_and_changed(world: &World, database: &Database, schema: &str, tables: &[String; 2]) -> Outcome {
    let topics = tables.each_ref().map(|table| format!("{schema}_{table}"));
    stored(world, &topics[0], RECORDS).await?;
    stored(world, &topics[1], RECORDS).await?;
    let table = format!("{schema}.{}", tables[0]);
    database.execute(&format!("UPDATE {table} SET note = 'changed' WHERE id <= 10")).await?;
    database.execute(&format!("DELETE FROM {table} WHERE id > {}", RECORDS - 5)).await?;
    stored(world, &topics[0], RECORDS + 15).await
}

/// Waits until a topic holds so many messages.
async fn stored(world: &World, topic: &str, messages: usize) -> Outcome {
    let (_, took) = wait_for(&format!("{messages} messages in {topic}"), LIMIT, || async {
        let stored = world.plain.stored(topic).await?;
        expect(stored == messages as u64, || format!("{stored} messages are stored"))
    })
    .await?;
    world.show(&format!("{messages} messages in {topic} {:.1} s later", took.as_secs_f64()));
    Ok(())
}

async fn publish(world: &World, topic: &str, make: impl Fn(usize) -> Message) -> Outcome {
    let client = Client::new(ClientConfig::new(vec![world.plain.name_server().to_owned()]))?;
    let producer = Producer::new(&client, ProducerConfig::new("e2e-publisher"))?;
    for number in 0..RECORDS {
        // one queue a record's key, so that changes of one row stay in order
        let message = make(number).with_sharding_key(number.to_string());
        producer.send(message).await.map_err(|error| format!("topic {topic}: {error}"))?;
    }
    producer.shutdown().await;
    client.shutdown().await;
    Ok(())
}
