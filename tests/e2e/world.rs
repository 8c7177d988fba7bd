//! What the scenarios share: two namespaces, the brokers, and short ways to say what a user would type.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::Failure;
use crate::brokers::Broker;
use crate::cluster::{expect, run, wait_for};

/// Where bindings and the app run.
pub const NAMESPACE: &str = "rocketmq-connector-e2e";
/// Where the operator runs; the audit policy of the test cluster names it.
pub const OPERATOR_NAMESPACE: &str = "rocketmq-connector-e2e-system";
/// Name of the Helm release.
pub const RELEASE: &str = "rocketmq-connector-operator";
/// Longest time until something expected is there: pods start slowly on a loaded machine, and a new group is found late.
pub const LIMIT: Duration = Duration::from_secs(120);

pub struct World {
    pub client: Client,
    pub image: String,
    pub probe_image: String,
    pub plain: Broker,
    pub acl: Broker,
    /// When the run began, as the audit log writes times.
    pub began_at: String,
    began: Instant,
}

fn variable(name: &str) -> Result<String, Failure> {
    std::env::var(name).map_err(|_| format!("{name} is not set; run make e2e").into())
}

impl World {
    pub async fn new() -> Result<Self, Failure> {
        // Another part of the process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_default().await?;
        let version = client.apiserver_version().await?;
        println!("Kubernetes {}, {}", version.git_version, run("helm", &["version", "--short"], "").await?.trim());
        Ok(Self {
            client,
            image: variable("E2E_IMAGE")?,
            probe_image: variable("E2E_PROBE_IMAGE")?,
            plain: Broker::load("e2e-5.4.0")?,
            acl: Broker::load("e2e-4.9.7")?,
            began_at: jiff::Timestamp::now().to_string(),
            began: Instant::now(),
        })
    }

    /// A line of progress.
    pub fn step(&self, text: &str) {
        println!("[{:4}s] {text}", self.began.elapsed().as_secs());
    }

    /// What was seen, indented.
    pub fn show(&self, text: &str) {
        for line in text.trim_end().lines() {
            self.step(&format!("   {line}"));
        }
    }

    /// `kubectl` in the tests' namespace.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String, Failure> {
        run("kubectl", &[&["-n", NAMESPACE], arguments].concat(), "").await
    }

    /// `kubectl apply -f -` of manifests.
    pub async fn apply(&self, manifests: &[Value]) -> Result<(), Failure> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests});
        run("kubectl", &["-n", NAMESPACE, "apply", "-f", "-"], &list.to_string()).await.map(|_| ())
    }

    /// `kubectl patch --type merge`.
    pub async fn patch(&self, what: &str, change: &Value) -> Result<(), Failure> {
        self.kubectl(&["patch", what, "--type", "merge", "-p", &change.to_string()]).await.map(|_| ())
    }

    /// Objects of a kind in the tests' namespace, read without starting a program: for waiting.
    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        self.api_in(NAMESPACE, kind)
    }

    pub fn api_in(&self, namespace: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = match kind {
            "Deployment" | "ReplicaSet" => ("apps", "v1"),
            "PodDisruptionBudget" => ("policy", "v1"),
            "HorizontalPodAutoscaler" => ("autoscaling", "v2"),
            "RocketMQConnection" | "RocketMQBinding" | "RocketMQSync" => ("connector.rocketmq.dev", "v1alpha1"),
            _ => ("", "v1"),
        };
        let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        resource.plural = format!("{}s", kind.to_lowercase());
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    pub async fn get(&self, kind: &str, name: &str) -> Result<Value, Failure> {
        Ok(serde_json::to_value(self.api(kind).get(name).await?)?)
    }

    /// Objects of a kind with these labels.
    pub async fn list(&self, kind: &str, labels: &str) -> Result<Vec<Value>, Failure> {
        let listed = self.api(kind).list(&ListParams::default().labels(labels)).await?;
        Ok(listed.items.iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
    }

    /// Waits until a condition of the newest generation has this status (and reason, unless empty).
    pub async fn condition(
        &self,
        kind: &str,
        name: &str,
        type_: &str,
        status: &str,
        reason: &str,
    ) -> Result<Value, Failure> {
        let what = format!("{kind} {name}: {type_}={status} {reason}");
        let (condition, took) = wait_for(&what, LIMIT, || async {
            let object = self.get(kind, name).await?;
            let condition = find_condition(&object, type_).ok_or_else(|| format!("it has no condition {type_}"))?;
            let newest = condition["observedGeneration"] == object["metadata"]["generation"];
            let fits = condition["status"] == status && (reason.is_empty() || condition["reason"] == reason);
            expect(newest && fits, || format!("it is {condition}"))?;
            Ok(condition)
        })
        .await?;
        self.show(&format!(
            "{kind} {:.40}: {type_}={status} {} after {:.1} s",
            name,
            condition["reason"].as_str().unwrap_or_default(),
            took.as_secs_f64()
        ));
        Ok(condition)
    }

    /// Waits until a binding is ready and nothing about it is being changed.
    pub async fn settled(&self, binding: &str) -> Result<(), Failure> {
        self.condition("RocketMQBinding", binding, "Ready", "True", "").await?;
        self.condition("RocketMQBinding", binding, "Reconciling", "False", "").await.map(|_| ())
    }

    /// Documents of a file of `config/samples`.
    pub fn samples(&self, file: &str) -> Result<Vec<Value>, Failure> {
        let path = Path::new("config/samples").join(file);
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(serde_saphyr::from_multiple::<Value>(&text)?)
    }

    /// Runs the probe's HTTP client in the app's pod.
    pub async fn probe(&self, arguments: &[&str]) -> Result<String, Failure> {
        self.kubectl(&[&["exec", "deployment/app", "--", "/probe"], arguments].concat()).await
    }

    /// Publishes the numbers from `first` to `last` through a binding's Service, each until it was accepted.
    pub async fn publish(
        &self,
        binding: &str,
        path: &str,
        first: u32,
        last: u32,
        flags: &[&str],
    ) -> Result<(), Failure> {
        let url = format!("http://{binding}:3500/v1.0/bindings/{path}");
        let (first, last) = (first.to_string(), last.to_string());
        let said = self.probe(&[&["send"], flags, &[&url, &first, &last]].concat()).await?;
        self.show(&format!("published {first} to {last} through {url:.70}: {}", said.trim().replace('\n', ", ")));
        Ok(())
    }

    /// How often each number was delivered to a path of the app.
    pub async fn received(&self, path: &str) -> Result<BTreeMap<u32, u32>, Failure> {
        let text = self.probe(&["get", &format!("http://localhost:8080/received?path={path}")]).await?;
        let mut counts = BTreeMap::new();
        for line in text.lines() {
            let number = line.trim().parse().map_err(|_| format!("the app got {line:?}, which was not sent"))?;
            *counts.entry(number).or_insert(0) += 1;
        }
        Ok(counts)
    }

    /// Waits until the app has got all numbers up to `last` at least once; how many came more than once.
    pub async fn all_received(&self, path: &str, last: u32) -> Result<usize, Failure> {
        let (repeated, took) = wait_for(&format!("all of 1 to {last} at {path}"), LIMIT, || async {
            let counts = self.received(path).await?;
            let missing: Vec<_> = (1..=last).filter(|number| !counts.contains_key(number)).collect();
            expect(missing.is_empty(), || format!("{} are missing: {:.200}", missing.len(), format!("{missing:?}")))?;
            Ok(counts.values().filter(|count| **count > 1).count())
        })
        .await?;
        self.show(&format!(
            "the app got all of 1 to {last} at {path:.40}, {repeated} of them more than once, {:.1} s later",
            took.as_secs_f64()
        ));
        Ok(repeated)
    }

    /// Names of the worker pods of a binding that are not ending, with the restarts of their containers.
    pub async fn workers(&self, binding: &str) -> Result<BTreeMap<String, u64>, Failure> {
        let pods = self
            .list("Pod", &format!("app.kubernetes.io/instance={binding},app.kubernetes.io/component=binding"))
            .await?;
        let alive = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        Ok(alive
            .map(|pod| {
                let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default();
                (pod["metadata"]["name"].as_str().unwrap_or_default().to_owned(), restarts)
            })
            .collect())
    }

    /// Everything that explains a failure.
    pub async fn dump(&self) {
        let commands: [&[&str]; 6] = [
            &["-n", NAMESPACE, "describe", "rocketmq"],
            &["-n", NAMESPACE, "get", "all,configmaps,secrets", "-o", "wide"],
            &["-n", NAMESPACE, "describe", "pods"],
            &[
                "-n",
                NAMESPACE,
                "logs",
                "-l",
                "app.kubernetes.io/managed-by=rocketmq-connector-operator",
                "--tail=60",
                "--prefix",
                "--max-log-requests=30",
            ],
            &["-n", OPERATOR_NAMESPACE, "describe", "pods"],
            &["-n", OPERATOR_NAMESPACE, "logs", "-l", "app.kubernetes.io/component=operator", "--tail=200", "--prefix"],
        ];
        for arguments in commands {
            println!("----- kubectl {}", arguments.join(" "));
            match run("kubectl", arguments, "").await {
                Ok(text) => println!("{text}"),
                Err(failure) => println!("{failure}"),
            }
        }
        println!("-----");
    }
}

/// A condition of an object's status.
pub fn find_condition(object: &Value, type_: &str) -> Option<Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_).cloned()
}
