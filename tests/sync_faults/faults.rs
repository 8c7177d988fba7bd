//! What happens to a pipeline while records flow.

use std::time::Duration;

use futures::future::BoxFuture;

use super::broker::{Variant, password};
use super::net::{Net, Side};
use super::server::{Kind, Server};
use super::world::{Pipeline, World};

/// Something that happens.
pub struct Fault {
    pub name: &'static str,
    /// What is done, for the document.
    pub done: &'static str,
    /// To which pipelines it can happen.
    pub applies: fn(&Pipeline) -> bool,
    /// How the servers are set up.
    pub variant: Variant,
    /// Whether it needs the namespace of the workers, or a file system of its own.
    pub needs_root: bool,
    /// Gives a note for the table.
    pub run: for<'a> fn(&'a World) -> BoxFuture<'a, String>,
}

const fn fault(
    name: &'static str,
    done: &'static str,
    applies: fn(&Pipeline) -> bool,
    run: for<'a> fn(&'a World) -> BoxFuture<'a, String>,
) -> Fault {
    Fault { name, done, applies, variant: Variant::Plain, needs_root: false, run }
}

const fn with_root(fault: Fault) -> Fault {
    Fault { needs_root: true, ..fault }
}

const fn on(variant: Variant, fault: Fault) -> Fault {
    Fault { variant, ..fault }
}

/// Name of the fault that all pipelines go through at the same time.
pub const SOAK: &str = "soak";

pub const FAULTS: &[Fault] = &[
    fault("none", "15 s of flow", |_| true, |world| Box::pin(nothing(world))),
    fault("worker: kill -9", "SIGKILL to the worker, each time 0.6 to 2.5 s after its start, 50 times in a row", |_| true, |world| {
        Box::pin(kill_worker(world))
    }),
    fault("target: kill -9", "SIGKILL to the target (HTTP: all connections are broken), started again 2 s later, 3 times", |_| true, |world| {
        Box::pin(kill_server(world, Side::Target))
    }),
    fault("source: kill -9", "SIGKILL to the source, started again 2 s later, 3 times", |_| true, |world| {
        Box::pin(kill_server(world, Side::Source))
    }),
    fault("target: restart", "the target is stopped in good order and started again, twice", |pipeline| pipeline.target != Kind::Http, |world| {
        Box::pin(restart_server(world, Side::Target))
    }),
    fault("source: restart", "the source is stopped in good order and started again, twice", |_| true, |world| {
        Box::pin(restart_server(world, Side::Source))
    }),
    fault("name servers gone", "SIGKILL to every name server, started again a minute later", |pipeline| pipeline.has(Kind::RocketMq), |world| {
        Box::pin(name_servers_gone(world))
    }),
    with_root(fault("target: network cut", "the worker's link to the target is down for 45 s", |_| true, |world| {
        Box::pin(cut(world, Side::Target))
    })),
    with_root(fault("source: network cut", "the worker's link to the source is down for 45 s", |_| true, |world| {
        Box::pin(cut(world, Side::Source))
    })),
    with_root(fault(
        "half-open connections",
        "the worker gets another address, so that every open connection to both sides is dead for good and nobody is told",
        |_| true,
        |world| Box::pin(half_open(world)),
    )),
    on(
        Variant::SmallDisk,
        with_root(fault(
            "target: disk full",
            "a file uses up the target's disk (94 of 100 for a broker, which refuses messages from 90 on) for 40 s",
            |pipeline| pipeline.target != Kind::Http,
            |world| Box::pin(full_disk(world)),
        )),
    ),
    on(
        Variant::Users,
        fault(
            "credentials rotate",
            "twice: the server takes new credentials, the mounted files change, the old ones are refused and sessions of databases ended",
            |_| true,
            |world| Box::pin(rotate(world)),
        ),
    ),
    fault("replicas added and removed", "three workers more for 25 s, then drained one after the other, twice", |_| true, |world| {
        Box::pin(more_and_less(world))
    }),
    fault(SOAK, "ten minutes of flow, all pipelines at the same time", |_| true, |world| Box::pin(soak(world))),
];

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// Runs what takes its time outside of the runtime's own threads.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn nothing(world: &World) -> String {
    let _worker = world.start();
    pause(15_000).await;
    String::new()
}

/// Number of kills.
pub fn kills() -> usize {
    std::env::var("FAULTS_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(50)
}

async fn kill_worker(world: &World) -> String {
    for _ in 0..kills() {
        let worker = world.start();
        // Moments that differ from run to run, from before the first record to far into the flow.
        pause(600 + (jiff::Timestamp::now().as_nanosecond().unsigned_abs() % 1_900) as u64).await;
        drop(worker);
    }
    format!("{} kills", kills())
}

async fn kill_server(world: &World, side: Side) -> String {
    let _worker = world.start();
    for _ in 0..3 {
        pause(5_000).await;
        let server = world.server(side);
        server.kill();
        pause(2_000).await;
        beside(move || server.start_again()).await;
    }
    pause(10_000).await;
    String::new()
}

async fn restart_server(world: &World, side: Side) -> String {
    let _worker = world.start();
    for _ in 0..2 {
        pause(5_000).await;
        let server = world.server(side);
        beside(move || server.start_again()).await;
    }
    pause(10_000).await;
    String::new()
}

async fn name_servers_gone(world: &World) -> String {
    let _worker = world.start();
    pause(5_000).await;
    world.brokers().for_each(super::broker::BrokerServer::kill_name_server);
    pause(60_000).await;
    for server in [Side::Source, Side::Target].map(|side| world.server(side)) {
        beside(move || {
            if let Server::Broker(broker) = &*server {
                broker.start_name_server_again();
            }
        })
        .await;
    }
    pause(10_000).await;
    String::new()
}

async fn cut(world: &World, side: Side) -> String {
    let _worker = world.start();
    pause(6_000).await;
    Net::cut(side);
    pause(45_000).await;
    Net::mend(side);
    pause(45_000).await;
    String::new()
}

async fn half_open(world: &World) -> String {
    let _worker = world.start();
    pause(6_000).await;
    Net::move_workers();
    pause(120_000).await;
    String::new()
}

async fn full_disk(world: &World) -> String {
    let _worker = world.start();
    pause(6_000).await;
    world.target.fill_disk();
    pause(40_000).await;
    let target = world.server(Side::Target);
    beside(move || target.free_disk()).await;
    pause(30_000).await;
    let reasons = ["DatabaseFull", "BrokerBusy", "DatabaseUnreachable", "DatabaseBusy", "BrokerError", "BrokerRefused"];
    let log = world.log();
    let told: Vec<&str> = reasons.into_iter().filter(|reason| log.contains(reason)).collect();
    if told.is_empty() { String::new() } else { format!("told as {}", told.join(", ")) }
}

async fn rotate(world: &World) -> String {
    let _worker = world.start();
    pause(6_000).await;
    for (new, old) in [("second-user", "first-user"), ("first-user", "second-user")] {
        for side in Side::BOTH {
            let (server, secret) = (world.server(side), world.secret(side));
            match (&*server, secret) {
                (Server::Database(database), Some(secret)) => {
                    let (user, before) = database.credentials();
                    let after = format!("{}x", before.trim_end_matches("xx"));
                    database.change_password(&after).await;
                    secret.change(&[("username", &user), ("password", &after)]);
                    pause(6_000).await;
                    database.end_sessions().await;
                }
                (Server::Broker(_), Some(secret)) => {
                    let broker = world.server(side);
                    let let_in = move |users: Vec<&'static str>, gone: Vec<&'static str>| {
                        if let Server::Broker(broker) = &*broker {
                            broker.let_in(&users, &gone);
                        }
                    };
                    let accept = let_in.clone();
                    beside(move || accept(vec![old, new], Vec::new())).await;
                    pause(3_000).await;
                    secret.change(&[("access", new), ("secret", &password(new))]);
                    pause(8_000).await;
                    beside(move || let_in(vec![new], vec![old])).await;
                }
                _ => {}
            }
        }
        pause(12_000).await;
    }
    let refused = world.log().matches("keeping the credentials that are in use").count();
    if refused == 0 { String::new() } else { format!("refused at first {refused} times") }
}

async fn more_and_less(world: &World) -> String {
    let _first = world.start();
    for _ in 0..2 {
        let more: Vec<_> = (0..3).map(|_| world.start()).collect();
        pause(25_000).await;
        for worker in more {
            beside(move || worker.drain()).await;
        }
        pause(5_000).await;
    }
    String::new()
}

/// Seconds of the soak.
pub fn soak_seconds() -> u64 {
    std::env::var("FAULTS_SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(600)
}

async fn soak(world: &World) -> String {
    let worker = world.start();
    // What a worker needs once is there behind the first minute.
    let first = soak_seconds().min(60);
    pause(first * 1_000).await;
    let begin = worker.resident();
    pause((soak_seconds() - first) * 1_000).await;
    format!("memory {begin:.1} MiB behind {first} s, {:.1} MiB at the end", worker.resident())
}
