//! The image and the chart in a real cluster with real brokers: what a user does, with the tools that a user has.
//!
//! `make e2e` starts all of it. The scenarios run one after the other and build on the release that the first one installs;
//! `cargo test --test e2e … -- TEXT` runs those whose name holds TEXT, apart from the first and the last, which always run.
//!
//! | variable | what it is |
//! |---|---|
//! | `KUBECONFIG` | the cluster; `kubectl` and `helm` are on the path |
//! | `E2E_IMAGE`, `E2E_PROBE_IMAGE` | images that the cluster has or can pull |
//! | `ROCKETMQ_TEST_RUN` | folder of the brokers `e2e-5.4.0` and `e2e-4.9.7` |
//! | `DATABASES_TEST_RUN` | folder of the databases `e2e-postgres` and `e2e-mariadb` |
//! | `E2E_AUDIT_LOG` | the API server's audit log; without it the requests are not compared with the role |
//! | `E2E_SCOPE=namespace` | the operator watches the tests' namespace only: for a cluster that others use |

mod brokers;
mod cluster;
mod connections;
mod flow;
mod install;
mod lifecycle;
mod lost_node;
mod pipelines;
mod rbac;
mod rollout;
mod secrets;
mod sync;
mod world;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Instant;

use world::World;

/// Why a scenario failed.
type Failure = Box<dyn std::error::Error + Send + Sync>;
type Outcome = Result<(), Failure>;
type Run = for<'a> fn(&'a World) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

struct Scenario {
    name: &'static str,
    /// Runs even when only others were asked for.
    always: bool,
    run: Run,
}

macro_rules! scenario {
    ($name:literal, $run:path) => {
        Scenario { name: $name, always: false, run: |world| Box::pin($run(world)) }
    };
    ($name:literal, $run:path, always) => {
        Scenario { name: $name, always: true, run: |world| Box::pin($run(world)) }
    };
}

const SCENARIOS: &[Scenario] = &[
    scenario!("helm installs the operator", install::install, always),
    scenario!("the samples are admitted", install::samples_are_admitted),
    scenario!("a connection reports its test", flow::connection_reports_its_test),
    scenario!("messages both ways, RocketMQ 5.4.0", flow::both_ways_plain),
    scenario!("messages both ways, RocketMQ 4.9.7 with ACL", flow::both_ways_acl),
    scenario!("messages both ways over gRPC, RocketMQ 5.4.0", flow::both_ways_grpc),
    scenario!("models and heartbeat of connections, 5.4.0 and 4.9.7", connections::models_and_heartbeat),
    scenario!("agents place the workers", connections::agents),
    scenario!("the node of a worker is lost", lost_node::is_lost),
    scenario!("a wrong secret is explained, then fixed", secrets::wrong_secret),
    scenario!("a missing secret is explained, then created", secrets::missing_secret),
    scenario!("a sync moves messages from 5.4.0 to 4.9.7 with ACL", sync::mirror),
    scenario!("pipelines between RocketMQ, databases and HTTP", pipelines::samples),
    scenario!("names of 253 characters work", lifecycle::longest_names),
    scenario!("kubectl get rocketmq prints all kinds", lifecycle::get_prints_all_kinds),
    scenario!("a changed spec rolls without loss", rollout::changed_spec),
    scenario!("workers follow the messages that wait", rollout::follows_lag),
    scenario!("a broken edit keeps the last good workers", rollout::broken_edit),
    scenario!("messages go on when the operator is killed", rollout::operator_killed),
    scenario!("a worker drains when it is asked to end", rollout::worker_drains),
    scenario!("another node took the worker over", lost_node::another_took_over),
    scenario!("children that are no longer wanted go", lifecycle::pruning),
    scenario!("secrets stay where they belong", secrets::nothing_leaks),
    scenario!("deletion leaves nothing", lifecycle::deletion),
    scenario!("the role allows what is asked and nothing else", rbac::role_is_exact),
    scenario!("helm uninstall keeps definitions and resources", install::uninstall, always),
];

fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(&filters)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(filters: &[String]) -> Outcome {
    let world = World::new().await?;
    let wanted = |scenario: &&Scenario| {
        scenario.always || filters.is_empty() || filters.iter().any(|filter| scenario.name.contains(filter.as_str()))
    };
    let mut failed = Vec::new();
    let mut passed = 0;
    for scenario in SCENARIOS.iter().filter(wanted) {
        world.step(&format!("== {}", scenario.name));
        let began = Instant::now();
        match (scenario.run)(&world).await {
            Ok(()) => {
                passed += 1;
                world.step(&format!("   passed in {:.1} s", began.elapsed().as_secs_f64()));
            }
            Err(failure) => {
                world.step(&format!("   FAILED after {:.1} s: {failure}", began.elapsed().as_secs_f64()));
                world.dump().await;
                failed.push(scenario.name);
                if scenario.always {
                    break;
                }
            }
        }
    }
    println!("{passed} scenarios passed, {} failed", failed.len());
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join("; ")).into()) }
}
