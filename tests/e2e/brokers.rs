//! The brokers that pods reach, looked at with RocketMQ's own tool.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::Failure;
use crate::cluster::run;

const TOOL: &str = "tests/cluster/rocketmq/mqadmin.sh";

/// A running name server and broker.
pub struct Broker {
    name: &'static str,
    settings: BTreeMap<String, String>,
}

impl Broker {
    pub fn load(name: &'static str) -> Result<Self, Failure> {
        let folder = std::env::var("ROCKETMQ_TEST_RUN").map_err(|_| "ROCKETMQ_TEST_RUN is not set; run make e2e")?;
        let file = PathBuf::from(folder).join(name).join("env");
        let text = std::fs::read_to_string(&file).map_err(|error| {
            format!("{}: {error}; start it with tests/cluster/rocketmq/matrix.sh up e2e", file.display())
        })?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Ok(Self { name, settings: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect() })
    }

    pub fn setting(&self, key: &str) -> &str {
        self.settings.get(key).map_or("", String::as_str)
    }

    pub fn name_server(&self) -> &str {
        self.setting("NAME_SERVER")
    }

    /// Makes a topic of four queues whose name begins with `stem` and was never used before.
    pub async fn create_topic(&self, stem: &str) -> Result<String, Failure> {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let topic = format!("{stem}-{}", since_epoch.as_secs());
        run(TOOL, &[self.name, "updateTopic", "-c", "DefaultCluster", "-t", &topic, "-r", "4", "-w", "4"], "").await?;
        Ok(topic)
    }

    /// Messages that the broker has stored in `topic`, as its own tool tells: the sum of the queues' ends.
    pub async fn stored(&self, topic: &str) -> Result<u64, Failure> {
        let text = run(TOOL, &[self.name, "topicStatus", "-t", topic], "").await?;
        let columns = text
            .lines()
            .filter(|line| line.starts_with("broker-"))
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        columns
            .map(|columns| {
                let (first, end) = (columns.get(2), columns.get(3));
                end?.parse::<u64>().ok()?.checked_sub(first?.parse::<u64>().ok()?)
            })
            .sum::<Option<u64>>()
            .ok_or_else(|| format!("topicStatus of {topic} is not understood:\n{text}").into())
    }
}
