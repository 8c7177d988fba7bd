//! The same manifests on one machine, with no cluster: `dev` runs them, `dev --check` and `test` look at them.
//!
//! ```text
//! files ─▸ manifest ─▸ schema (the very CRD schemas and rules) ─▸ resources ─▸ plan (the operator's own functions) ─▸ workers
//! ```

pub mod broker;
pub mod demo;
pub mod error;
pub mod files;
pub mod manifest;
pub mod plan;
pub mod resources;
pub mod schema;
pub mod table;
pub mod verify;
pub mod workers;

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::worker::connection::{clock::Clocks, models, test};
use crate::worker_config::connection::Usage;
use crate::worker_config::models::Model;
use crate::worker_config::report::ConnectionReport;
use crate::worker_config::sync::SourceConfig;
use crate::worker_config::{ConnectionConfig, Identity, Role, WorkerConfig};
use broker::JavaBroker;
use error::{Error, Result};
use files::PrivateFolder;
use manifest::Document;
use plan::{Overrides, Planned};
use resources::Resources;
use schema::Schemas;
use workers::Workers;

/// Newest messages of a topic that `models` looks at when no connection says otherwise.
const DEFAULT_SAMPLE: u32 = 100;

/// What `dev` is told by its flags.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Manifest files and folders; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// Check only.
    pub check: bool,
    /// Run the built-in demo besides the files.
    pub demo: bool,
    /// How this program was called, for what the demo says to try next.
    pub program: String,
    /// The broker to start.
    pub broker: Option<JavaBroker>,
    /// Name servers to use instead of those in the manifests.
    pub name_servers: Vec<String>,
}

/// Runs manifests until `token` is cancelled; then drains.
///
/// # Errors
/// A manifest is wrong, or a worker or the broker could not be started.
pub async fn run(options: Options, token: CancellationToken) -> Result<()> {
    let documents = manifest::read(&options.files)?;
    if options.check {
        return check(&documents);
    }
    if !options.demo {
        // Mistakes are told before a broker is started for nothing.
        prepare(&documents, &Overrides::default(), &PrivateFolder::create()?)?;
    }
    let broker = match &options.broker {
        Some(broker) => Some(broker.start(say).await?),
        None => None,
    };
    let name_servers = broker.as_ref().map(|broker| vec![broker.name_server.clone()]);
    let overrides = Overrides { name_servers: name_servers.unwrap_or(options.name_servers) };
    let ran = if options.demo {
        run_demo(documents, &overrides, &options.program, &token).await
    } else {
        run_documents(&documents, &overrides, &token).await
    };
    if let Some(broker) = broker {
        broker.stop().await?;
    }
    ran
}

async fn run_documents(documents: &[Document], overrides: &Overrides, token: &CancellationToken) -> Result<()> {
    let folder = PrivateFolder::create()?;
    let (planned, ignored) = prepare(documents, overrides, &folder)?;
    for subject in ignored {
        say(&format!("left out: {subject}, which only a cluster can use"));
    }
    let workers = Workers::start(planned, token).await?;
    workers.addresses().iter().for_each(|line| say(line));
    let shown = workers.watch(token).await;
    say("draining: finishing what is in flight (Ctrl-C again ends at once)");
    workers.wait().await?;
    shown.map_err(|source| Error::Write { path: PathBuf::from("standard output"), source })
}

async fn run_demo(
    mut documents: Vec<Document>,
    overrides: &Overrides,
    program: &str,
    token: &CancellationToken,
) -> Result<()> {
    let mut app = demo::App::start(token.clone()).await?;
    let name_server = overrides.name_servers.first().cloned().unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    documents.extend(app.manifests(&name_server)?);
    let folder = PrivateFolder::create()?;
    let (planned, _) = prepare(&documents, overrides, &folder)?;
    let workers = Workers::start(planned, token).await?;
    let played = token.run_until_cancelled(app.play(&workers, program, &say)).await.unwrap_or(Ok(()));
    // The figures of the table follow the messages by half a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    print!("{}", table::render(&workers.rows()));
    if played.is_ok() {
        app.follow(token, &say).await;
    }
    token.cancel();
    workers.wait().await?;
    played
}

/// Reads nothing, starts nothing: tells every mistake of the manifests.
fn check(documents: &[Document]) -> Result<()> {
    let folder = PrivateFolder::create()?;
    let (planned, ignored) = prepare(documents, &Overrides::default(), &folder)?;
    for Planned { kind, key, config } in &planned {
        let note = config.as_ref().err().map(|why| format!(" ({why})")).unwrap_or_default();
        println!("ok: {kind} {}/{}{note}", key.0, key.1);
    }
    ignored.iter().for_each(|subject| println!("left out: {subject}"));
    Ok(())
}

fn prepare(
    documents: &[Document],
    overrides: &Overrides,
    folder: &PrivateFolder,
) -> Result<(Vec<Planned>, Vec<String>)> {
    let resources = Resources::collect(documents, &Schemas::load()?).map_err(Error::Invalid)?;
    let planned = plan::plan(&resources, overrides, folder)?;
    if planned.is_empty() { Err(Error::NothingToRun) } else { Ok((planned, resources.ignored)) }
}

/// Tests, once, the cluster of the connection or binding that the manifests hold; `name` chooses among several.
///
/// # Errors
/// A manifest is wrong, or it is not clear which connection is meant.
pub async fn test_connection(
    files: &[PathBuf],
    name: Option<&str>,
    name_servers: Vec<String>,
) -> Result<ConnectionReport> {
    let folder = PrivateFolder::create()?;
    let (config, identity) = one_connection(files, name, name_servers, &folder)?;
    Ok(test::run(&config, &identity, &mut Clocks::asked_at_once()).await)
}

/// Loads, once, the models of the connection or binding that the manifests hold; `progress` is told topics looked at, and
/// all.
///
/// # Errors
/// A manifest is wrong, it is not clear which connection is meant, or the cluster cannot be asked.
pub async fn load_models(
    files: &[PathBuf],
    name: Option<&str>,
    name_servers: Vec<String>,
    progress: &tokio::sync::watch::Sender<(u32, u32)>,
) -> Result<Vec<Model>> {
    let folder = PrivateFolder::create()?;
    let (config, identity) = one_connection(files, name, name_servers, &folder)?;
    let sample = config.models.as_ref().map_or(DEFAULT_SAMPLE, |models| models.sample_size);
    let loaded = models::load_once(&config, &identity, sample, progress).await.map_err(Error::LoadModels)?;
    Ok(loaded.models.into_iter().map(|entry| entry.model).collect())
}

fn one_connection(
    files: &[PathBuf],
    name: Option<&str>,
    name_servers: Vec<String>,
    folder: &PrivateFolder,
) -> Result<(ConnectionConfig, Identity)> {
    let (planned, _) = prepare(&manifest::read(files)?, &Overrides { name_servers }, folder)?;
    let is_chosen = |planned: &Planned| name.is_none_or(|name| planned.key.1 == name);
    let has_connection = planned.iter().any(|planned| planned.kind == "RocketMQConnection" && is_chosen(planned));
    let of_kind = |planned: &Planned| !has_connection || planned.kind == "RocketMQConnection";
    let mut configs: Vec<WorkerConfig> = planned
        .into_iter()
        .filter(|planned| is_chosen(planned) && of_kind(planned))
        .filter_map(|planned| planned.config.ok())
        .collect();
    match (configs.pop(), configs.len()) {
        (None, _) => Err(Error::NothingToRun),
        (Some(config), 0) => Ok((connection_config(config.role), config.identity)),
        (Some(config), more) => {
            configs.push(config);
            let names: Vec<_> = configs.into_iter().map(|config| config.identity.name).collect();
            Err(Error::Ambiguous { count: more + 1, names: names.join(", ") })
        }
    }
}

/// What to test: the connection itself, or the cluster and topics of a binding.
fn connection_config(role: Role) -> ConnectionConfig {
    match role {
        Role::Connection(config) => config,
        // Of its two clusters, the one that is read.
        Role::Sync(mut sync) => ConnectionConfig {
            usage: if matches!(sync.source, SourceConfig::RocketMq(_)) { Usage::Source } else { Usage::Target },
            topics: match &sync.source {
                SourceConfig::RocketMq(source) => source.topics.clone(),
                SourceConfig::Postgres(_) | SourceConfig::MySql(_) => Vec::new(),
            },
            cluster: sync.clusters_mut().into_iter().next().map(|cluster| cluster.clone()).unwrap_or_default(),
            create_topics: None,
            consumer_group: None,
            test_interval_seconds: 60,
            models: None,
            heartbeat: None,
            in_use: false,
        },
        Role::Binding(binding) => ConnectionConfig {
            usage: match (binding.input.is_some(), binding.output.is_some()) {
                (true, true) => Usage::SourceAndTarget,
                (true, false) => Usage::Source,
                (false, _) => Usage::Target,
            },
            topics: binding.topics.into_iter().map(|topic| topic.topic).collect(),
            create_topics: None,
            consumer_group: Some(binding.group),
            cluster: binding.cluster,
            test_interval_seconds: 60,
            models: None,
            heartbeat: None,
            in_use: false,
        },
    }
}

fn say(line: &str) {
    println!("{line}");
}
