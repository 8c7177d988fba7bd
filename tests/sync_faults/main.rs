//! What faults cost a sync, with counts: `make faults` runs every fault against every pipeline that it can happen to, with servers
//! of its own, and writes the table of `docs/faults.md`. It takes about an hour, so it is no part of `make test`.
//!
//! `cargo test --test sync_faults … -- pipeline=TEXT fault=TEXT` runs the pipelines and faults whose names hold one of the texts, and
//! takes only their rows up into the table. `FAULTS_KILLS` sets the number of kills (50), `FAULTS_SOAK_SECONDS` the length of the
//! soak (600). Faults of the network and of disks need root, for a network namespace and small file systems; both are
//! removed at the end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing run panics")]

mod broker;
mod count;
mod database;
mod faults;
mod net;
mod receiver;
mod secret;
mod server;
mod table;
#[path = "../worker_support/mod.rs"]
mod worker_support;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use faults::{FAULTS, Fault};
use net::Net;
use server::Servers;
use table::Outcome;
use tokio::task::JoinHandle;
use world::{PIPELINES, Pipeline, World, variant_of};

/// A pipeline while records flow.
struct Flow {
    pipeline: &'static Pipeline,
    world: Arc<World>,
    publisher: JoinHandle<()>,
    watching: JoinHandle<Duration>,
}

/// One fault, which happens to all of these pipelines at the same time.
async fn run(fault: &'static Fault, pipelines: &[&'static Pipeline], servers: &Servers) -> Vec<Outcome> {
    let began = Instant::now();
    let pause = count::usual_pause() * pipelines.len() as u32;
    let (stop, mut worlds) = (Arc::new(AtomicBool::new(false)), Vec::new());
    for pipeline in pipelines {
        worlds.push((*pipeline, Arc::new(World::new(pipeline, servers, fault.variant).await)));
    }
    let flow = |(pipeline, world): (&'static Pipeline, Arc<World>)| Flow {
        pipeline,
        publisher: tokio::spawn(count::publish(Arc::clone(&world), Arc::clone(&stop), pause)),
        watching: tokio::spawn(count::longest_pause(Arc::clone(&world), Arc::clone(&stop))),
        world,
    };
    let flows: Vec<Flow> = worlds.into_iter().map(flow).collect();
    let worlds: Vec<Arc<World>> = flows.iter().map(|flow| Arc::clone(&flow.world)).collect();
    let notes = (fault.run)(&worlds).await;
    stop.store(true, Ordering::Relaxed);
    let ends = flows.into_iter().zip(notes).map(|(flow, note)| end(fault, flow, note));
    let outcomes = futures::future::join_all(ends).await;
    println!("{}: {} s", fault.name, began.elapsed().as_secs());
    outcomes.iter().for_each(table::note);
    outcomes
}

/// Waits until everything has come, and compares; the workers were killed just now.
async fn end(fault: &'static Fault, flow: Flow, note: String) -> Outcome {
    let Flow { pipeline, world, publisher, watching } = flow;
    publisher.await.unwrap();
    let pause = watching.await.unwrap().as_secs_f64();
    let last = world.start();
    let compared = count::compare(&world).await;
    drop(last);
    if compared.lost > 0 || std::env::var_os("FAULTS_LOGS").is_some() {
        let path = std::env::temp_dir().join(format!("faults-{}.log", world.origin));
        std::fs::write(&path, world.log()).unwrap();
        println!("{} / {}: the workers' log is {}", pipeline.name, fault.name, path.display());
    }
    let count::Compared { records, lost, repeated } = compared;
    Outcome { pipeline: pipeline.name, fault: fault.name, records, lost, repeated, pause, note }
}

/// What is asked for by `name=TEXT`; everything where nothing is.
fn wanted(arguments: &[String], name: &str, of: &str) -> bool {
    let mut texts = arguments.iter().filter_map(|argument| argument.strip_prefix(name)?.strip_prefix('=')).peekable();
    texts.peek().is_none() || texts.any(|text| of.contains(text))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let net = Net::new();
    if let Err(why) = &net {
        println!("faults of network and disk are left out: they need root and iproute2 ({why})");
    }
    let servers = Servers::new(net.ok());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut outcomes = Vec::new();
    for fault in FAULTS.iter().filter(|fault| wanted(&arguments, "fault", fault.name)) {
        let is_possible = servers.net.is_some() || !fault.needs_root;
        let of_it = |pipeline: &&Pipeline| (fault.applies)(pipeline) && wanted(&arguments, "pipeline", pipeline.name);
        let pipelines: Vec<&'static Pipeline> = PIPELINES.iter().filter(of_it).filter(|_| is_possible).collect();
        let together = if fault.is_alone { 1 } else { pipelines.len().max(1) };
        for pipelines in pipelines.chunks(together) {
            outcomes.extend(runtime.block_on(run(fault, pipelines, &servers)));
        }
        // Those with users or small disks are for one fault.
        servers.stop_unless(|_, side, variant| variant == variant_of(side, broker::Variant::Plain));
    }
    drop(servers);
    let lost: usize = outcomes.iter().map(|outcome| outcome.lost).sum();
    println!("{} rows, {lost} records lost", outcomes.len());
    if lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
