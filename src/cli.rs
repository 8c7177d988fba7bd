//! Flags and environment: every flag has a variable, a flag wins. Nothing else in the program reads either.

mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio_util::sync::CancellationToken;

use crate::admin::{AdminServer, Readiness};
use crate::controller::Settings;
use crate::convert::app::Address;
use crate::dev::broker::JavaBroker;
use crate::dev::{self, table};
use crate::metrics::Metrics;
use crate::telemetry::{self, LogFormat};
use crate::worker_config::models::ModelWithSchema;
use crate::worker_config::report::TestResult;
use crate::{api, controller, convert, shutdown, worker};

/// Exit code of a test that could not be made, because a manifest is wrong.
const NOT_TESTED: u8 = 2;

/// Moves messages in and out of Apache RocketMQ: a Kubernetes operator and its workers.
#[derive(Debug, Parser)]
#[command(name = "rocketmq-connector", version, about, max_term_width = 120)]
pub struct Cli {
    /// What is logged, for instance info,rocketmq_connector::worker=debug. Default: info, for dev and test: warn.
    #[arg(long, global = true, env = "ROCKETMQ_CONNECTOR_LOG")]
    log: Option<String>,
    /// How log lines look: compact or json.
    #[arg(long, global = true, env = "ROCKETMQ_CONNECTOR_LOG_FORMAT", default_value = "compact")]
    log_format: LogFormat,
    /// Threads of the process; by default one for each processor, at most four.
    #[arg(long, global = true, env = "ROCKETMQ_CONNECTOR_THREADS", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Reconcile custom resources in a cluster.
    Operator(OperatorArgs),
    /// Run one worker; the operator starts it in a pod.
    Worker(WorkerArgs),
    /// Run manifests on this machine without a cluster.
    Dev(DevArgs),
    /// Test the connection that manifests describe. Ends with 0 when it passed, 1 when an item failed, 2 when a manifest is wrong.
    Test(TestArgs),
    /// Convert Dapr components of type bindings.rocketmq to manifests of this operator.
    Convert(ConvertArgs),
    /// Load the topics of a connection as models and print their schemas.
    Models(TestArgs),
    /// Compare the source and target of a sync. Ends with 0 when they are alike, 1 when they differ, 2 when nothing was compared.
    Verify(verify::VerifyArgs),
    /// Print the custom resource definitions.
    Crds(CrdsArgs),
}

#[derive(Debug, Args)]
struct OperatorArgs {
    /// Image of the worker pods; it must be the operator's own.
    #[arg(long, env = "WORKER_IMAGE")]
    worker_image: String,
    /// Pull policy of the worker pods: Always, IfNotPresent or Never.
    #[arg(long, env = "WORKER_IMAGE_PULL_POLICY")]
    worker_image_pull_policy: Option<String>,
    /// Watch this namespace only.
    #[arg(long, env = "WATCH_NAMESPACE")]
    watch_namespace: Option<String>,
    /// Namespace of the operator itself.
    #[arg(long, env = "POD_NAMESPACE")]
    operator_namespace: String,
    /// Name of the operator's pod.
    #[arg(long, env = "POD_NAME")]
    pod_name: String,
    /// Whether a lease decides which of several operators works.
    #[arg(long, env = "LEADER_ELECTION", default_value_t = true, action = clap::ArgAction::Set)]
    leader_election: bool,
    /// Seconds that a lease is valid without renewal.
    #[arg(long, env = "LEASE_DURATION_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(5..=3600))]
    lease_duration_seconds: u64,
    /// Reconciliations of one kind at the same time.
    #[arg(long, env = "CONCURRENCY", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// Address of the operator's admin server.
    #[arg(long, env = "ADMIN_HOST", default_value = "0.0.0.0")]
    admin_host: String,
    /// Port of the operator's admin server: /healthz, /readyz, /metrics.
    #[arg(long, env = "ADMIN_PORT", default_value_t = 8080)]
    admin_port: u16,
    /// Port of the workers' admin server.
    #[arg(long, env = "WORKER_ADMIN_PORT", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    worker_admin_port: u16,
}

#[derive(Debug, Args)]
struct WorkerArgs {
    /// The worker's configuration file.
    #[arg(long, env = "WORKER_CONFIG")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct DevArgs {
    /// Manifest file or folder, - for standard input; may be given several times.
    #[arg(short = 'f', long = "file", env = "DEV_FILES", value_delimiter = ',', required_unless_present = "demo")]
    files: Vec<PathBuf>,
    /// Check the manifests and end.
    #[arg(long, alias = "once", env = "DEV_CHECK", conflicts_with = "demo")]
    check: bool,
    /// Run a built-in example: publish through a binding and see the messages come back.
    #[arg(long, env = "DEV_DEMO")]
    demo: bool,
    /// Broker to start and to use instead of the manifests' own; the demo starts java unless --name-server is given.
    #[arg(long, env = "DEV_BROKER", value_enum, conflicts_with = "name_servers")]
    broker: Option<BrokerKind>,
    /// Folder of the scripts that install, start and stop a Java broker.
    #[arg(long, env = "DEV_BROKER_SCRIPTS", default_value = "tests/cluster/rocketmq")]
    broker_scripts: PathBuf,
    /// Version of RocketMQ to start.
    #[arg(long, env = "DEV_BROKER_VERSION", default_value = "5.4.0")]
    broker_version: String,
    /// Port of the name server to start; the broker's ports are this + 9, + 11 and + 12.
    #[arg(long, env = "DEV_BROKER_PORT", default_value_t = 18_760, value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    broker_port: u16,
    /// Name server (host:port) to use instead of those in the manifests; may be given several times.
    #[arg(long = "name-server", env = "DEV_NAME_SERVERS", value_delimiter = ',')]
    name_servers: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BrokerKind {
    /// Apache RocketMQ from Maven Central; needs JDK 17 and Maven.
    Java,
    /// None: the manifests name a cluster that runs.
    None,
}

#[derive(Debug, Args)]
struct TestArgs {
    /// Manifest file or folder, - for standard input; may be given several times.
    #[arg(short = 'f', long = "file", env = "TEST_FILES", value_delimiter = ',', required = true)]
    files: Vec<PathBuf>,
    /// Name of the connection or binding, when there are several.
    #[arg(long, env = "TEST_NAME")]
    name: Option<String>,
    /// How the result is printed.
    #[arg(short, long, env = "TEST_OUTPUT", value_enum, default_value = "table")]
    output: OutputFormat,
    /// Name server (host:port) to use instead of those in the manifest.
    #[arg(long = "name-server", env = "TEST_NAME_SERVERS", value_delimiter = ',')]
    name_servers: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
}

#[derive(Debug, Args)]
struct ConvertArgs {
    /// File or folder with Dapr components, - for standard input; may be given several times. Secrets go through; Deployments
    /// and Services in them tell where the app listens.
    #[arg(short = 'f', long = "file", env = "CONVERT_FILES", value_delimiter = ',', required = true)]
    files: Vec<PathBuf>,
    /// Where the app of an input listens: SERVICE:PORT or a URL, instead of what the files say.
    #[arg(long, env = "CONVERT_APP")]
    app: Option<Address>,
    /// Protocol of the app, instead of what the files say.
    #[arg(long, env = "CONVERT_APP_PROTOCOL", value_enum)]
    app_protocol: Option<Protocol>,
    /// Write the report of what changes into this Markdown file instead of standard error.
    #[arg(long, env = "CONVERT_REPORT")]
    report: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    /// A POST for each message.
    Http,
    /// Dapr's AppCallback.
    Grpc,
}

#[derive(Debug, Args)]
struct CrdsArgs {
    /// Only this kind, by any of its names.
    #[arg(env = "CRDS_KIND")]
    kind: Option<String>,
    /// Write one file a kind into this folder instead of printing.
    #[arg(long, env = "CRDS_OUTPUT")]
    output: Option<PathBuf>,
}

/// What ends the process with a failure: already in words for the user.
type Failure = String;

impl Cli {
    /// Does what the command line asks for; errors are printed.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.dispatch() {
            Ok(code) => code,
            Err(failure) => {
                eprintln!("error: {failure}");
                ExitCode::FAILURE
            }
        }
    }

    fn dispatch(self) -> Result<ExitCode, Failure> {
        let is_interactive = matches!(
            self.command,
            Command::Dev(_)
                | Command::Test(_)
                | Command::Models(_)
                | Command::Verify(_)
                | Command::Convert(_)
                | Command::Crds(_)
        );
        let default_log = if is_interactive { "warn" } else { telemetry::DEFAULT_FILTER };
        telemetry::init(self.log.as_deref().unwrap_or(default_log), self.log_format)
            .map_err(|error| error.to_string())?;
        match &self.command {
            Command::Crds(args) => return print_crds(args),
            Command::Convert(args) => return print_converted(args),
            _ => {}
        }
        let runtime = build_runtime(self.threads)?;
        let outcome = runtime.block_on(run_command(self.command));
        // Nothing that is still waiting, such as a long poll of a client, holds up the end.
        runtime.shutdown_timeout(Duration::from_secs(1));
        outcome
    }
}

fn build_runtime(threads: Option<u16>) -> Result<tokio::runtime::Runtime, Failure> {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.map_or(available.min(4), usize::from);
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    built.map_err(|error| format!("failed to start {threads} threads: {error}"))
}

async fn run_command(command: Command) -> Result<ExitCode, Failure> {
    let token = shutdown::on_signal().map_err(|error| format!("failed to listen for signals: {error}"))?;
    match command {
        Command::Operator(args) => run_operator(args, token).await?,
        Command::Worker(args) => run_worker(&args, token).await?,
        Command::Dev(args) => dev::run(args.into(), token).await.map_err(|error| error.to_string())?,
        Command::Test(args) => return Ok(run_test(args).await),
        Command::Models(args) => run_models(args).await?,
        Command::Verify(args) => return Ok(verify::run(args).await),
        Command::Convert(args) => return print_converted(&args),
        Command::Crds(args) => return print_crds(&args),
    }
    Ok(ExitCode::SUCCESS)
}

async fn run_operator(args: OperatorArgs, token: CancellationToken) -> Result<(), Failure> {
    let settings = Settings {
        watch_namespace: args.watch_namespace,
        worker_image_pull_policy: args.worker_image_pull_policy,
        leader_election: args.leader_election,
        lease_duration: Duration::from_secs(args.lease_duration_seconds),
        concurrency: args.concurrency,
        worker_admin_port: args.worker_admin_port,
        ..Settings::new(&args.operator_namespace, &args.pod_name, &args.worker_image)
    };
    let (host, port) = (&args.admin_host, args.admin_port);
    let server =
        AdminServer::bind(host, port).await.map_err(|error| format!("failed to listen on {host}:{port}: {error}"))?;
    let (metrics, readiness, served) = (Metrics::new("operator"), Readiness::default(), CancellationToken::new());
    let serve = server.serve(metrics.clone(), readiness.clone(), Router::new(), served.clone());
    let reconcile = async {
        let ran = controller::run(settings, readiness, metrics, token).await;
        served.cancel();
        ran
    };
    let (ran, served) = tokio::join!(reconcile, serve);
    ran.map_err(|error| error.to_string())?;
    served.map_err(|error| format!("the admin server failed: {error}"))
}

async fn run_worker(args: &WorkerArgs, token: CancellationToken) -> Result<(), Failure> {
    let words = |error: worker::error::Error| format!("{error}; {}", error.remedy());
    let config = worker::config::load(&args.config).map_err(words)?;
    worker::run(config, token).await.map_err(words)
}

async fn run_test(args: TestArgs) -> ExitCode {
    let tested = dev::test_connection(&args.files, args.name.as_deref(), args.name_servers).await;
    let text = tested.map_err(|error| error.to_string()).and_then(|report| match args.output {
        OutputFormat::Table => Ok((table::render_test(&report), report)),
        OutputFormat::Json => to_json(&report).map(|text| (text, report)),
    });
    match text {
        Ok((text, report)) => {
            print!("{text}");
            let has_failed = report.items.iter().any(|item| item.result == TestResult::Failed);
            if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(NOT_TESTED)
        }
    }
}

async fn run_models(args: TestArgs) -> Result<(), Failure> {
    let (sender, mut progress) = tokio::sync::watch::channel((0, 0));
    let show = async {
        while progress.changed().await.is_ok() {
            let (done, total) = *progress.borrow_and_update();
            eprintln!("{done} of {total} topics");
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        std::future::pending::<()>().await;
    };
    let models = tokio::select! {
        models = dev::load_models(&args.files, args.name.as_deref(), args.name_servers, &sender) => models,
        () = show => Ok(Vec::new()),
    };
    let models = models.map_err(|error| error.to_string())?;
    match args.output {
        OutputFormat::Table => print!("{}", table::render_models(&models)),
        OutputFormat::Json => {
            let schema = worker::connection::models::json_schema;
            let models: Vec<_> =
                models.into_iter().map(|model| ModelWithSchema { schema: schema(&model), model }).collect();
            print!("{}", to_json(&models)?);
        }
    }
    Ok(())
}

fn to_json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map(|text| format!("{text}\n")).map_err(|error| error.to_string())
}

fn print_converted(args: &ConvertArgs) -> Result<ExitCode, Failure> {
    let options = convert::Options {
        files: args.files.clone(),
        app: args.app.clone(),
        is_grpc_app: args.app_protocol.map(|protocol| protocol == Protocol::Grpc),
    };
    let converted = convert::run(&options).map_err(|error| error.to_string())?;
    match &args.report {
        Some(path) => std::fs::write(path, converted.report.markdown())
            .map_err(|error| format!("failed to write {}: {error}", path.display()))?,
        None => eprint!("{}", converted.report.text()),
    }
    print!("{}", converted.manifests);
    Ok(ExitCode::SUCCESS)
}

fn print_crds(args: &CrdsArgs) -> Result<ExitCode, Failure> {
    let kind = args.kind.as_deref();
    let Some(folder) = &args.output else {
        print!("{}", api::crd_yaml(kind).map_err(|error| error.to_string())?);
        return Ok(ExitCode::SUCCESS);
    };
    std::fs::create_dir_all(folder).map_err(|error| format!("failed to create {}: {error}", folder.display()))?;
    for crd in api::all_crds() {
        let yaml = api::crd_yaml(Some(&crd.spec.names.kind)).map_err(|error| error.to_string())?;
        let path = folder.join(format!("{}.yaml", crd.metadata.name.unwrap_or(crd.spec.names.plural)));
        std::fs::write(&path, yaml).map_err(|error| format!("failed to write {}: {error}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

impl From<DevArgs> for dev::Options {
    fn from(args: DevArgs) -> Self {
        let is_java = match args.broker {
            Some(kind) => kind == BrokerKind::Java,
            None => args.demo && args.name_servers.is_empty(),
        };
        let broker = JavaBroker { scripts: args.broker_scripts, version: args.broker_version, port: args.broker_port };
        Self {
            files: args.files,
            check: args.check,
            demo: args.demo,
            // `make demo` leaves the program where no PATH leads.
            program: std::env::args().next().unwrap_or_else(|| "rocketmq-connector".to_owned()),
            broker: is_java.then_some(broker),
            name_servers: args.name_servers,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_flag_has_a_variable() {
        Cli::command().debug_assert();
        let root = Cli::command();
        for command in root.get_subcommands().chain([&root]) {
            let flags =
                command.get_arguments().filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"));
            for flag in flags {
                assert!(flag.get_env().is_some(), "{} {}", command.get_name(), flag.get_id());
            }
        }
    }

    #[test]
    fn the_demo_starts_a_broker_unless_one_is_named() {
        let broker = |line: &[&str]| {
            let cli = Cli::try_parse_from(["x", "dev", "--demo"].iter().chain(line)).unwrap();
            let Command::Dev(args) = cli.command else { panic!("not dev") };
            dev::Options::from(args).broker.is_some()
        };
        assert!(broker(&[]));
        assert!(!broker(&["--name-server", "127.0.0.1:9876"]));
        assert!(!broker(&["--broker", "none"]));
    }
}
