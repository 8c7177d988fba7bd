use serde_json::{Value, json};

use super::*;
use crate::controller::workload::pod::{self, ClaimedVolume};
use crate::worker_config::sync as config;

fn settings() -> Settings {
    Settings::new("operators", "operator-0", "image:1")
}

fn sync(changes: Value) -> RocketMQSync {
    let mut spec = json!({
        "source": {"connectionRef": {"name": "old"}, "topics": ["orders"]},
        "target": {"connectionRef": {"name": "new"}},
    });
    merge(&mut spec, changes);
    let object = json!({
        "apiVersion": "connector.rocketmq.dev/v1alpha1", "kind": "RocketMQSync",
        "metadata": {"name": "copy", "namespace": "shop", "uid": "1", "generation": 1},
        "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, change) in changes {
                merge(into.entry(key).or_insert(Value::Null), change);
            }
        }
        (into, change) => *into = change,
    }
}

fn connection(changes: Value) -> RocketMQConnectionSpec {
    let mut spec = json!({"nameServers": ["names"]});
    merge(&mut spec, changes);
    serde_json::from_value(spec).unwrap()
}

fn both() -> Dereferenced {
    Dereferenced {
        source: Some(connection(json!({"nameServers": ["one:1"]}))),
        target: Some(connection(json!({"nameServers": ["two:2"]}))),
        ..Dereferenced::default()
    }
}

fn problems(changes: Value, dereferenced: &Dereferenced) -> Vec<(&'static str, String)> {
    match validate(&sync(changes), dereferenced, &settings()) {
        Err(Error::Invalid(problems) | Error::Unresolved(problems)) => {
            problems.into_iter().map(|problem| (problem.reason, problem.message)).collect()
        }
        Err(other) => panic!("{other}"),
        Ok(_) => Vec::new(),
    }
}

#[test]
fn the_worker_gets_both_clusters_with_files_of_their_own() {
    let credentials = |secret: &str| {
        json!({"credentials": {"accessKey": {"secretKeyRef": {"name": secret, "key": "a"}},
                               "secretKey": {"secretKeyRef": {"name": secret, "key": "s"}}}})
    };
    let mut dereferenced = both();
    dereferenced.source = Some(connection(credentials("old-acl")));
    dereferenced.target = Some(connection(credentials("new-acl")));
    for secret in ["old-acl", "new-acl"] {
        let keys = ["a".to_owned(), "s".to_owned()];
        dereferenced.found.insert(crate::controller::feed::ReferenceKind::Secret, secret, keys);
    }
    let validated = validate(&sync(json!({})), &dereferenced, &settings()).ok().unwrap();
    let mut names: Vec<_> = validated.workload.files.iter().map(|file| file.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names, ["source-accessKey", "source-secretKey", "target-accessKey", "target-secretKey"]);
    let (config::SourceConfig::RocketMq(source), config::TargetConfig::RocketMq(target)) =
        (&validated.config.source, &validated.config.target)
    else {
        panic!("both sides should be RocketMQ");
    };
    let path = |cluster: &crate::worker_config::ClusterConfig| cluster.credentials.clone().unwrap().access_key;
    assert_eq!(path(&source.cluster), "/etc/rocketmq-connector/credentials/source-accessKey");
    assert_eq!(path(&target.cluster), "/etc/rocketmq-connector/credentials/target-accessKey");
    assert_eq!((source.group.as_str(), validated.config.name.as_str()), ("shop_copy_sync", "shop/copy"));
}

#[test]
fn a_cluster_has_one_name_however_its_addresses_are_ordered() {
    let id = |servers: Value, given: Value| {
        let mut dereferenced = both();
        dereferenced.source = Some(connection(json!({"nameServers": servers})));
        let changes = json!({"source": {"clusterId": given}});
        let validated = validate(&sync(changes), &dereferenced, &settings()).ok().unwrap();
        let config::SourceConfig::RocketMq(source) = validated.config.source else { panic!("RocketMQ") };
        source.cluster_id
    };
    assert_eq!(id(json!(["a", "b:1"]), json!(null)), id(json!(["b:1", "a:9876"]), json!(null)));
    assert_ne!(id(json!(["a"]), json!(null)), id(json!(["b"]), json!(null)));
    assert_eq!(id(json!(["a"]), json!("east")), "east");
}

#[test]
fn a_bad_expression_is_named_with_its_place() {
    let changes = json!({"transforms": [{"filter": "record.amount > 0"}, {"map": {"total": "record.price *"}}]});
    let found = problems(changes, &both());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].1.starts_with("spec.transforms[1].map.total: \"record.price *\" is no CEL expression"),
        "{found:?}"
    );
}

#[test]
fn raw_bodies_have_no_fields() {
    let raw = |transform: Value| problems(json!({"format": "Raw", "transforms": [transform]}), &both());
    assert_eq!(raw(json!({"filter": "message.tag == 'a'"})), []);
    assert_eq!(raw(json!({"mask": ["email"]}))[0].0, reasons::INVALID_SPEC);
}

#[test]
fn a_message_never_comes_back_to_its_own_topic() {
    let same = json!({"target": {"connectionRef": {"name": "old"}}});
    assert!(problems(same.clone(), &both())[0].1.starts_with("spec.target.topic: is missing"));
    let mut other = same;
    merge(&mut other, json!({"target": {"topic": "copies"}}));
    assert_eq!(problems(other, &both()), []);
}

#[test]
fn missing_and_unfit_connections_are_told_for_both_sides() {
    let found = problems(json!({}), &Dereferenced::default());
    let reasons_found: Vec<_> = found.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(reasons_found, [reasons::CONNECTION_NOT_FOUND; 2]);
    let mut unfit = both();
    unfit.target = Some(connection(json!({"type": "Source"})));
    assert_eq!(problems(json!({}), &unfit)[0].0, reasons::CONNECTION_TYPE_MISMATCH);
}

#[test]
fn workers_run_where_the_agent_of_either_side_has_them() {
    let agents = |source: Value, target: Value| Dereferenced {
        source: Some(connection(json!({"nameServers": ["one:1"], "agent": source}))),
        target: Some(connection(json!({"nameServers": ["two:2"], "agent": target}))),
        ..Dereferenced::default()
    };
    let pinned = |node: &str| json!({"mode": "Manual", "nodeName": node});
    let automatic = json!({"mode": "Automatic"});
    let node = |dereferenced: &Dereferenced| {
        validate(&sync(json!({})), dereferenced, &settings())
            .ok()
            .unwrap()
            .workload
            .agent
            .and_then(|agent| agent.node_name)
    };
    assert_eq!(node(&both()), None);
    assert_eq!(node(&agents(automatic.clone(), pinned("n1"))).as_deref(), Some("n1"));
    assert_eq!(node(&agents(pinned("n1"), automatic)).as_deref(), Some("n1"));
    let found = problems(json!({}), &agents(pinned("n1"), pinned("n2")));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, reasons::AGENT_CONFLICT);
    assert!(found[0].1.contains("\"old\"") && found[0].1.contains("\"new\""), "{found:?}");
}

#[test]
fn state_wins_over_replicas() {
    let replicas = |changes: Value| validate(&sync(changes), &both(), &settings()).ok().unwrap().replicas;
    assert_eq!(replicas(json!({})), None);
    assert_eq!(replicas(json!({"replicas": 3})), Some(3));
    assert_eq!(replicas(json!({"replicas": 3, "state": "Paused"})), Some(0));
    assert_eq!(replicas(json!({"autoscaling": {"maxReplicas": 3}})), None);
}

#[test]
fn a_table_gets_its_server_and_the_paths_of_its_files() {
    let server = json!({"host": "db", "database": "shop", "username": {"value": "loader"}, "password": {"value": "s3cr3t"},
                        "tls": {"enabled": true, "insecureSkipVerify": true}});
    for (kind, port) in [("postgres", 5432), ("mysql", 3306)] {
        let table = json!({"server": server, "table": "orders", "keyFields": ["id"], "createTable": true});
        let mut object = sync(json!({"format": "Tapdata"}));
        object.spec.target = serde_json::from_value(json!({kind: table})).unwrap();
        let validated = validate(&object, &both(), &settings()).ok().unwrap();
        let (config::TargetConfig::Postgres(target) | config::TargetConfig::MySql(target)) = validated.config.target
        else {
            panic!("the target should be a table");
        };
        let file = |name: &str| format!("/etc/rocketmq-connector/credentials/target-{name}");
        assert_eq!((target.server.host.as_str(), target.server.port), ("db", port));
        assert_eq!((target.server.username_file, target.server.password_file), (file("username"), file("password")));
        assert!(target.server.tls.unwrap().insecure_skip_verify);
        assert_eq!((target.table.as_deref(), target.create_table), (Some("orders"), true));
    }
}

#[test]
fn what_is_not_there_yet_is_refused() {
    let found = problems(json!({"source": {"useLogCache": true}}), &both());
    assert!(found.iter().all(|(reason, _)| *reason == reasons::NOT_IMPLEMENTED), "{found:?}");
    assert_eq!(found.len(), 1);
}

#[test]
fn an_endpoint_gets_no_credential_but_through_a_file() {
    let http = |http: Value| {
        let mut object = sync(json!({}));
        object.spec.target = serde_json::from_value(json!({"http": http})).unwrap();
        object
    };
    let refused = |value: Value| match validate(&http(value), &both(), &settings()) {
        Err(Error::Invalid(problems)) => problems.into_iter().map(|problem| problem.message).collect::<String>(),
        other => panic!("{:?}", other.err()),
    };
    for (value, expected) in [
        (json!({"url": "https://user:pass@h/x"}), "spec.target.http.url: has a user name before the host"),
        (json!({"url": "https://h:port/x"}), "spec.target.http.url: \"https://h:port/x\" is no URL"),
        (
            json!({"url": "https://h", "headers": {"Authorization": "Bearer x"}}),
            "put the token into spec.target.http.token",
        ),
        (json!({"url": "https://h", "headers": {"a b": "x"}}), "spec.target.http.headers.a b: is no header name"),
        (
            json!({"url": "https://h", "headers": {"a": "x\ny"}}),
            "spec.target.http.headers.a: holds what a header cannot",
        ),
        (json!({"url": "https://h", "headers": {"X-Signature": "x"}}), "is set by the worker; remove it"),
    ] {
        let message = refused(value);
        assert!(message.contains(expected), "{message}");
    }
    let value = json!({"url": "https://h/x", "headers": {"X-Team": "shop"}, "token": {"value": "t"}});
    let validated = validate(&http(value), &both(), &settings()).ok().unwrap();
    let config::TargetConfig::Http(target) = validated.config.target else { panic!("HTTP") };
    assert_eq!(target.timeout_millis, 30_000);
    assert_eq!(target.token_file.as_deref(), Some("/etc/rocketmq-connector/credentials/target-token"));
}

#[test]
fn an_object_store_gets_its_keys_by_files_and_a_folder_its_volume() {
    let stored = |store: Value| {
        let mut object = sync(json!({}));
        object.spec.target = serde_json::from_value(json!({"objectStorage": store})).unwrap();
        validate(&object, &both(), &settings())
    };
    let refused = |store: Value| stored(store).err().unwrap().to_string();
    for (store, expected) in [
        (json!({"url": "s3://b", "rollSize": "41Gi"}), "spec.target.objectStorage.rollSize: is more than 40Gi"),
        (json!({"url": "s3://b", "bufferSize": "1Mi"}), "spec.target.objectStorage.bufferSize: is less than 8Mi"),
        (json!({"url": "s3://b/x/../y"}), "spec.target.objectStorage.url: \"s3://b/x/../y\" has a folder . or .."),
    ] {
        let message = refused(store);
        assert!(message.contains(expected), "{message}");
    }
    let s3 = json!({"url": "s3://lake/raw/", "accessKey": {"value": "k"}, "secretKey": {"value": "s"}});
    let validated = stored(s3).ok().unwrap();
    assert_eq!(validated.workload.volume, None);
    let config::TargetConfig::ObjectStorage(target) = validated.config.target else { panic!("object storage") };
    assert_eq!(
        (target.roll_bytes, target.roll_records, target.roll_millis, target.buffer_bytes),
        (128 << 20, None, 300_000, 24 << 20)
    );
    assert_eq!(target.compression, config::Compression::Gzip);
    let config::StoreConfig::S3(store) = target.store else { panic!("S3") };
    assert_eq!((store.bucket.as_str(), store.prefix.as_str(), store.region.as_str()), ("lake", "raw", "us-east-1"));
    assert_eq!(store.keys.unwrap().secret_key, "/etc/rocketmq-connector/credentials/target-secretKey");
    let files = json!({"url": "file:///data/orders/", "persistentVolumeClaim": "files", "fileFormat": "Parquet"});
    let validated = stored(files).ok().unwrap();
    let volume = ClaimedVolume { claim: "files".to_owned(), path: "/data/orders".to_owned() };
    assert_eq!(validated.workload.volume, Some(volume));
    let deployment = pod::deployment(&validated.workload, "d", None, Vec::new());
    let pod = serde_json::to_value(deployment.spec.unwrap().template.spec.unwrap()).unwrap();
    let mounts = &pod["containers"][0]["volumeMounts"];
    assert!(mounts.as_array().unwrap().contains(&json!({"name": "data", "mountPath": "/data/orders"})), "{mounts}");
    let claim = json!({"name": "data", "persistentVolumeClaim": {"claimName": "files"}});
    assert!(pod["volumes"].as_array().unwrap().contains(&claim), "{pod}");
    let threshold = json!({"name": "MALLOC_MMAP_THRESHOLD_", "value": "131072"});
    assert!(pod["containers"][0]["env"].as_array().unwrap().contains(&threshold), "{pod}");
    let config::TargetConfig::ObjectStorage(target) = validated.config.target else { panic!("object storage") };
    assert_eq!(target.store, config::StoreConfig::Folder { path: "/data/orders".to_owned() });
    assert_eq!(target.compression, config::Compression::Snappy);
}

#[test]
fn a_database_is_read_by_one_worker_with_a_slot_of_its_own() {
    let mut object = sync(json!({"mode": "FullAndIncremental"}));
    object.spec.source = serde_json::from_value(json!({"postgres": {
        "server": {"host": "db", "database": "shop", "username": {"value": "u"}, "password": {"value": "p"}},
        "tables": ["public.orders"], "ddl": "Forward",
    }}))
    .unwrap();
    let validated = validate(&object, &both(), &settings()).ok().unwrap();
    let config::SourceConfig::Postgres(source) = &validated.config.source else { panic!("PostgreSQL") };
    assert!(source.slot.starts_with("shop_copy_") && source.slot == source.publication, "{}", source.slot);
    assert_eq!((source.server.port, source.ddl), (5432, config::Ddl::Forward));
    assert_eq!(source.server.password_file, "/etc/rocketmq-connector/credentials/source-password");
    object.spec.replicas = Some(2);
    let refused = validate(&object, &both(), &settings()).err().unwrap().to_string();
    assert!(refused.contains("one replication stream"), "{refused}");
    (object.spec.replicas, object.spec.batch.writers) = (None, Some(2));
    let refused = validate(&object, &both(), &settings()).err().unwrap().to_string();
    assert!(refused.contains("spec.batch.writers: the changes of a database are one sequence"), "{refused}");
}

#[test]
fn a_binary_log_is_read_under_an_id_and_a_name_of_the_syncs_own() {
    let mysql = |id: Value| {
        let mut object = sync(json!({"mode": "FullAndIncremental"}));
        object.spec.source = serde_json::from_value(json!({"mysql": {
            "server": {"host": "db", "database": "shop", "username": {"value": "u"}, "password": {"value": "p"}},
            "tables": ["orders"], "serverId": id, "ddl": "Ignore",
        }}))
        .unwrap();
        object
    };
    let source = |object: &RocketMQSync| match validate(object, &both(), &settings()).ok().unwrap().config.source {
        config::SourceConfig::MySql(source) => source,
        other => panic!("{other:?}"),
    };
    let derived = source(&mysql(Value::Null));
    assert!(derived.slot.starts_with("shop_copy_") && derived.server_id >= 1_000_000, "{derived:?}");
    assert_eq!((derived.server.port, derived.ddl), (3306, config::Ddl::Ignore));
    assert_eq!(derived.server.password_file, "/etc/rocketmq-connector/credentials/source-password");
    assert_eq!(source(&mysql(json!(4_294_967_295_i64))).server_id, u32::MAX);
    let mut object = mysql(Value::Null);
    object.spec.replicas = Some(2);
    let refused = validate(&object, &both(), &settings()).err().unwrap().to_string();
    assert!(refused.contains("one replication stream"), "{refused}");
}

#[test]
fn patterns_and_mappings_are_told_with_field_value_and_remedy() {
    let table = [
        (
            json!({"source": {"topicPatterns": ["orders_.*", "orders_("]}}),
            "spec.source.topicPatterns[1]: \"orders_(\" is no regular expression that can be used: unclosed group; write for",
        ),
        (
            json!({"target": {"topicMapping": {"pattern": "o[", "replacement": "x"}}}),
            "spec.target.topicMapping.pattern: \"o[\" is no regular expression",
        ),
        (
            json!({"target": {"topicMapping": {"pattern": "orders_(.*)", "replacement": "$1_copy"}}}),
            "spec.target.topicMapping.replacement: \"$1_copy\" names the group \"1_copy\", which the pattern does not have; write $1",
        ),
        (
            json!({"target": {"topicMapping": {"names": {"orders": "a b"}}}}),
            "spec.target.topicMapping.names.orders: \"a b\" is no topic name",
        ),
        (
            json!({"source": {"topics": ["a", "b"]}, "target": {"topicMapping": {"names": {"a": "x", "b": "x"}}}}),
            "spec.target.topicMapping: \"a\" and \"b\" both become \"x\"; give each a name of its own",
        ),
        (
            json!({"target": {"connectionRef": {"name": "old"}, "topicMapping": {"pattern": "x.*", "replacement": "y"}}}),
            "spec.target.topicMapping: \"orders\" becomes \"orders\", which is one of source.topics on the same connection",
        ),
        (
            json!({"target": {"topicMapping": {"prefix": "dr_"}}, "transforms": [{"route": "'x'"}]}),
            "spec.target.topicMapping: a route gives the topic",
        ),
        (
            json!({"source": {"topics": ["orders", "_tapdata_heartbeat_table"]}}),
            "spec.source.topics: \"_tapdata_heartbeat_table\" holds the heartbeats of connections",
        ),
        (
            json!({"source": {"topicPatterns": ["o.*"]}, "replicas": 2}),
            "spec.replicas: topics that are found by pattern",
        ),
    ];
    for (changes, expected) in table {
        let found = problems(changes, &both());
        assert!(found.len() == 1 && found[0].1.starts_with(expected), "{found:#?}");
    }
}

#[test]
fn the_worker_looks_for_topics_but_never_for_heartbeats_and_dead_letters() {
    let mut dereferenced = both();
    dereferenced.source =
        Some(connection(json!({"nameServers": ["one:1"], "heartbeat": {"topic": "beats", "interval": "5s"}})));
    let changes = json!({
        "source": {"topics": [], "topicPatterns": ["^orders_(.*)$"], "topicRefresh": "5s"},
        "target": {"topicMapping": {"prefix": "dr_"}},
        "errors": {"onInvalid": "DeadLetter", "deadLetterTopic": "orders_dead"},
    });
    let validated = validate(&sync(changes), &dereferenced, &settings()).ok().unwrap();
    let (config::SourceConfig::RocketMq(source), config::TargetConfig::RocketMq(target)) =
        (&validated.config.source, &validated.config.target)
    else {
        panic!("both sides should be RocketMQ");
    };
    let discovery = source.discovery.as_ref().unwrap();
    assert_eq!(discovery.excluded, ["_tapdata_heartbeat_table", "beats", "orders_dead"]);
    assert_eq!((discovery.interval_millis, discovery.patterns.as_slice()), (5_000, &["^orders_(.*)$".to_owned()][..]));
    let heartbeat = source.heartbeat.as_ref().unwrap();
    assert_eq!((heartbeat.topic.as_str(), heartbeat.interval_millis), ("beats", 5_000));
    assert_eq!(target.topic_map.as_ref().unwrap().prefix.as_deref(), Some("dr_"));
}

#[test]
fn what_cannot_be_compared_is_refused_with_the_reason() {
    let verify = |changes: Value| {
        let mut all = json!({"verify": {}});
        merge(&mut all, changes);
        problems(all, &both())
    };
    assert_eq!(verify(json!({})), []);
    let sql = verify(json!({"source": {"filter": {"sql": "a = 1"}}}));
    assert!(sql[0].1.starts_with("spec.verify: only a broker can evaluate source.filter.sql"), "{sql:?}");
    let delay = verify(json!({"target": {"delay": {"level": 3}}}));
    assert!(delay[0].1.starts_with("spec.verify: messages with target.delay"), "{delay:?}");
    let mut object = sync(json!({"verify": {}}));
    object.spec.target = serde_json::from_value(json!({"http": {"url": "https://h/x"}})).unwrap();
    let http = validate(&object, &both(), &settings()).err().unwrap().to_string();
    assert!(http.contains("spec.verify: an HTTP endpoint cannot be asked what it holds"), "{http}");
    let server = json!({"host": "h", "database": "d", "username": {"value": "a"}, "password": {"value": "b"}});
    for target in ["postgres", "mysql"] {
        object.spec.target = serde_json::from_value(json!({target: {"server": server, "table": "t"}})).unwrap();
        assert!(validate(&object, &both(), &settings()).is_ok(), "rows of {target} can be compared");
    }
    object.spec.source = serde_json::from_value(json!({"postgres": {"server": server, "tables": ["t"]}})).unwrap();
    object.spec.target = serde_json::from_value(json!({"connectionRef": {"name": "new"}})).unwrap();
    assert!(validate(&object, &both(), &settings()).is_ok(), "the rows of a database can be compared");
    object.spec.verify.as_mut().unwrap().window = Some("1h".into());
    let window = validate(&object, &both(), &settings()).err().unwrap().to_string();
    assert!(window.contains("spec.verify.window: the tables of a database are compared as they are"), "{window}");
    let mut object = sync(json!({"verify": {}}));
    object.spec.target = serde_json::from_value(json!({"objectStorage": {"url": "file:///data"}})).unwrap();
    let objects = validate(&object, &both(), &settings()).err().unwrap().to_string();
    assert!(objects.contains("spec.verify: objects are not read back"), "{objects}");
    let continuous = json!({"verify": {"mode": "Continuous", "window": "2h", "maxReported": 7}});
    let config = validate(&sync(continuous), &both(), &settings()).ok().unwrap().config.verify.unwrap();
    assert_eq!(
        (config.interval_millis, config.window_millis, config.max_reported),
        (Some(600_000), Some(7_200_000), 7)
    );
}
