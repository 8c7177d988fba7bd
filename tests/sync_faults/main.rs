//! What faults cost a sync, with counts: `make faults` runs every fault against every pipeline that it can happen to, with servers
//! of its own, and writes the table of `docs/faults.md`. It takes about an hour, so it is no part of `make test`.
//!
//! `hack/faults.sh pipeline=TEXT fault=TEXT` runs the pipelines and faults whose names hold one of the texts, and takes only their
//! rows up into the table; its head has the variables of the environment. Faults of the network and of disks need root, for a
//! network namespace and small file systems. `clean.sh` removes whatever was started: at the beginning, in case an earlier run left
//! something, and at the end, also behind a failed row or a signal. A failed row does not keep the others from being run.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing run panics")]

mod broker;
mod count;
mod database;
mod faults;
mod net;
mod receiver;
mod secret;
mod server;
mod soak;
mod table;
mod worker;
#[path = "../worker_support/mod.rs"]
mod worker_support;
mod world;

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use faults::{FAULTS, Fault, Note};
use futures::FutureExt;
use net::{Net, Side};
use server::Servers;
use table::Outcome;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use world::{PIPELINES, Pipeline, World, variant_of};

/// A pipeline while records flow.
struct Flow {
    pipeline: &'static Pipeline,
    world: Arc<World>,
    publisher: JoinHandle<()>,
    watching: JoinHandle<Duration>,
}

/// Ends the flow, also of a row that fails.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One fault, which happens to all of these pipelines at the same time.
async fn run(fault: &'static Fault, pipelines: &[&'static Pipeline], servers: &Servers) -> Vec<Outcome> {
    let began = Instant::now();
    let pause = count::usual_pause() * pipelines.len() as u32;
    let (stop, mut worlds) = (Stop(Arc::default()), Vec::new());
    for pipeline in pipelines {
        worlds.push((*pipeline, Arc::new(World::new(pipeline, servers, fault.variant).await)));
    }
    let flow = |(pipeline, world): (&'static Pipeline, Arc<World>)| Flow {
        pipeline,
        publisher: tokio::spawn(count::publish(Arc::clone(&world), Arc::clone(&stop.0), pause)),
        watching: tokio::spawn(count::longest_pause(Arc::clone(&world), Arc::clone(&stop.0))),
        world,
    };
    let flows: Vec<Flow> = worlds.into_iter().map(flow).collect();
    let worlds: Vec<Arc<World>> = flows.iter().map(|flow| Arc::clone(&flow.world)).collect();
    let notes = (fault.run)(&worlds).await;
    drop(stop);
    let ends = flows.into_iter().zip(notes).map(|(flow, note)| end(fault, flow, note));
    let outcomes = futures::future::join_all(ends).await;
    println!("{}: {} s", fault.name, began.elapsed().as_secs());
    outcomes.iter().for_each(table::note);
    outcomes
}

/// Waits until everything has come, and compares; the workers were killed just now.
async fn end(fault: &'static Fault, flow: Flow, note: Note) -> Outcome {
    let Flow { pipeline, world, publisher, watching } = flow;
    publisher.await.unwrap();
    let pause = watching.await.unwrap().as_secs_f64();
    let last = world.start();
    let compared = count::compare(&world).await;
    drop(last);
    println!("{} / {}: the workers' log is {}", pipeline.name, fault.name, world.log_path().display());
    let count::Compared { records, lost, repeated } = compared;
    let is_broken = note.is_err();
    let note = note.unwrap_or_else(|why| why);
    Outcome { pipeline: pipeline.name, fault: fault.name, records, lost, repeated, pause, note, is_broken }
}

/// What is asked for by `name=TEXT`; everything where nothing is.
fn wanted(arguments: &[String], name: &str, of: &str) -> bool {
    let mut texts = arguments.iter().filter_map(|argument| argument.strip_prefix(name)?.strip_prefix('=')).peekable();
    texts.peek().is_none() || texts.any(|text| of.contains(text))
}

/// What all rows have shown.
#[derive(Default)]
struct Ended {
    outcomes: Vec<Outcome>,
    /// Faults that could not be run to their end.
    failed: Vec<&'static str>,
}

/// Runs what is asked for. Behind a row that fails nothing is taken for sound: servers are started anew.
async fn run_all(arguments: &[String], servers: &Servers) -> Ended {
    let mut ended = Ended::default();
    for fault in FAULTS.iter().filter(|fault| wanted(arguments, "fault", fault.name)) {
        let is_possible = servers.net.is_some() || !fault.needs_root;
        let of_it = |pipeline: &&Pipeline| (fault.applies)(pipeline) && wanted(arguments, "pipeline", pipeline.name);
        let pipelines: Vec<&'static Pipeline> = PIPELINES.iter().filter(of_it).filter(|_| is_possible).collect();
        let together = if fault.is_alone { 1 } else { pipelines.len().max(1) };
        for pipelines in pipelines.chunks(together) {
            if let Ok(outcomes) = AssertUnwindSafe(run(fault, pipelines, servers)).catch_unwind().await {
                ended.outcomes.extend(outcomes);
            } else {
                println!("{} has failed", fault.name);
                ended.failed.push(fault.name);
                if servers.net.is_some() {
                    Side::BOTH.into_iter().for_each(Net::mend);
                }
                tokio::task::block_in_place(|| servers.stop_unless(|_, _, _| false));
            }
        }
        // Those with users or small disks are for one fault.
        let is_plain = |_, side, variant| variant == variant_of(side, broker::Variant::Plain);
        tokio::task::block_in_place(|| servers.stop_unless(is_plain));
    }
    ended
}

async fn interrupted() {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt()).unwrap(), signal(SignalKind::terminate()).unwrap());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Nothing of a run is there: removed at the beginning and, when this is dropped, at the end.
struct Clean(PathBuf);

impl Clean {
    fn begin() -> Self {
        let run =
            std::env::var("FAULTS_RUN").expect("FAULTS_RUN should name the folder of the run; use hack/faults.sh");
        let clean = Self(run.into());
        assert!(clean.sweep(), "what an earlier run left cannot be removed");
        clean
    }

    fn sweep(&self) -> bool {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sync_faults/clean.sh");
        Command::new(script).arg(&self.0).status().is_ok_and(|status| status.success())
    }
}

impl Drop for Clean {
    fn drop(&mut self) {
        self.sweep();
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let _clean = Clean::begin();
    let net = Net::new();
    if let Err(why) = &net {
        println!("faults of network and disk are left out: they need root and iproute2 ({why})");
    }
    let servers = Servers::new(net.ok());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ended = runtime.block_on(async {
        tokio::select! {
            biased;
            () = interrupted() => None,
            ended = run_all(&arguments, &servers) => Some(ended),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(30));
    let Some(Ended { outcomes, failed }) = ended else {
        println!("interrupted");
        return ExitCode::FAILURE;
    };
    let lost: usize = outcomes.iter().map(|outcome| outcome.lost).sum();
    let broken = outcomes.iter().filter(|outcome| outcome.is_broken).count();
    println!("{} rows, {lost} records lost, {broken} rows out of bounds, failed: {failed:?}", outcomes.len());
    if lost == 0 && broken == 0 && failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
