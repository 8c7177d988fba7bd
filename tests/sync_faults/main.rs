//! What faults cost a sync, with counts: `make faults` runs every fault against every pipeline that it can happen to, with servers
//! of its own, and writes the table of `docs/faults.md`. It takes about two hours, so it is no part of `make test`.
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
mod world;
#[path = "../worker_support/mod.rs"]
mod worker_support;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use faults::{FAULTS, Fault, SOAK};
use net::Net;
use server::Servers;
use table::Outcome;
use world::{PIPELINES, Pipeline, World, variant_of};

/// One fault of one pipeline.
async fn run(pipeline: &'static Pipeline, fault: &'static Fault, servers: &Servers, publishing: Duration) -> Outcome {
    let began = Instant::now();
    let world = Arc::new(World::new(pipeline, servers, fault.variant).await);
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = tokio::spawn(count::publish(Arc::clone(&world), Arc::clone(&stop), publishing));
    let watching = tokio::spawn(count::longest_pause(Arc::clone(&world), Arc::clone(&stop)));
    let note = (fault.run)(&world).await;
    stop.store(true, Ordering::Relaxed);
    publisher.await.unwrap();
    let pause = watching.await.unwrap().as_secs_f64();
    // The worker was killed just now.
    let last = world.start();
    let compared = count::compare(&world).await;
    drop(last);
    if compared.lost > 0 {
        let path = std::env::temp_dir().join(format!("faults-{}.log", world.origin));
        std::fs::write(&path, world.log()).unwrap();
        println!("records were lost; the workers' log is {}", path.display());
    }
    println!("{} / {}: {} s", pipeline.name, fault.name, began.elapsed().as_secs());
    let count::Compared { records, lost, repeated } = compared;
    Outcome { pipeline: pipeline.name, fault: fault.name, records, lost, repeated, pause, note }
}

/// What is asked for by `name=TEXT`; everything where nothing is.
fn wanted(arguments: &[String], name: &str, of: &str) -> bool {
    let mut texts = arguments.iter().filter_map(|argument| argument.strip_prefix(name)?.strip_prefix('=')).peekable();
    texts.peek().is_none() || texts.any(|text| of.contains(text))
}

/// All pipelines of a fault: one after the other, those of the soak at the same time.
async fn run_all(fault: &'static Fault, pipelines: &[&'static Pipeline], servers: &Servers) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    if fault.name == SOAK {
        let slower = count::usual_pause() * (1 + 4 * pipelines.len() as u32);
        let all = pipelines.iter().map(|pipeline| run(pipeline, fault, servers, slower));
        outcomes = futures::future::join_all(all).await;
        outcomes.iter().for_each(table::note);
        return outcomes;
    }
    for pipeline in pipelines {
        let outcome = run(pipeline, fault, servers, count::usual_pause()).await;
        table::note(&outcome);
        outcomes.push(outcome);
    }
    outcomes
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
        outcomes.extend(runtime.block_on(run_all(fault, &pipelines, &servers)));
        // Those with users or small disks are for one fault.
        servers.stop_unless(|_, side, variant| variant == variant_of(side, broker::Variant::Plain));
    }
    drop(servers);
    let lost: usize = outcomes.iter().map(|outcome| outcome.lost).sum();
    println!("{} rows, {lost} records lost", outcomes.len());
    if lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
