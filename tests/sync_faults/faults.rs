//! What happens to a pipeline while records flow.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::broker::{Variant, password};
use super::net::{Net, Side};
use super::secret::Secret;
use super::server::{Kind, Server};
use super::soak::soak;
use super::worker::Worker;
use super::world::{Pipeline, World};

/// What is to be said of a row; an error where something else than a loss is wrong.
pub type Note = Result<String, String>;

/// Something that happens.
pub struct Fault {
    pub name: &'static str,
    /// What is done, for the document.
    pub done: &'static str,
    /// To which pipelines it can happen.
    pub applies: fn(&Pipeline) -> bool,
    /// How the servers are set up.
    pub variant: Variant,
    /// Whether pipelines go through it one after the other.
    pub is_alone: bool,
    /// Whether it needs the namespace of the workers, or a file system of its own.
    pub needs_root: bool,
    /// Happens to all pipelines at the same time, and gives a note for each.
    pub run: for<'a> fn(&'a [Arc<World>]) -> BoxFuture<'a, Vec<Note>>,
}

const fn fault(
    name: &'static str,
    done: &'static str,
    applies: fn(&Pipeline) -> bool,
    run: for<'a> fn(&'a [Arc<World>]) -> BoxFuture<'a, Vec<Note>>,
) -> Fault {
    Fault { name, done, applies, variant: Variant::Plain, is_alone: false, needs_root: false, run }
}

const fn with_root(fault: Fault) -> Fault {
    Fault { needs_root: true, ..fault }
}

const fn alone(fault: Fault) -> Fault {
    Fault { is_alone: true, ..fault }
}

const fn on(variant: Variant, fault: Fault) -> Fault {
    Fault { variant, ..fault }
}

pub const FAULTS: &[Fault] = &[
    alone(fault("none", "15 s of flow", |_| true, |worlds| Box::pin(nothing(worlds)))),
    alone(fault(
        "worker: kill -9",
        "SIGKILL to the worker, each time 0.6 to 2.5 s after its start, 50 times in a row",
        |_| true,
        |worlds| Box::pin(kill_worker(worlds)),
    )),
    fault(
        "target: kill -9",
        "SIGKILL to the target (HTTP: all connections are broken), started again 2 s later, 3 times",
        |_| true,
        |worlds| Box::pin(kill_server(worlds, Side::Target)),
    ),
    fault(
        "source: kill -9",
        "SIGKILL to the source, started again 2 s later, 3 times",
        |_| true,
        |worlds| Box::pin(kill_server(worlds, Side::Source)),
    ),
    fault(
        "target: restart",
        "the target is stopped in good order and started again, twice",
        |pipeline| pipeline.target != Kind::Http,
        |worlds| Box::pin(restart_server(worlds, Side::Target)),
    ),
    fault(
        "source: restart",
        "the source is stopped in good order and started again, twice",
        |_| true,
        |worlds| Box::pin(restart_server(worlds, Side::Source)),
    ),
    fault(
        "name servers gone",
        "SIGKILL to every name server, started again a minute later",
        |pipeline| pipeline.has(Kind::RocketMq),
        |worlds| Box::pin(name_servers_gone(worlds)),
    ),
    with_root(fault(
        "target: network cut",
        "the worker's link to the target is down for 45 s",
        |_| true,
        |worlds| Box::pin(cut(worlds, Side::Target)),
    )),
    with_root(fault(
        "source: network cut",
        "the worker's link to the source is down for 45 s",
        |_| true,
        |worlds| Box::pin(cut(worlds, Side::Source)),
    )),
    with_root(fault(
        "half-open connections",
        "the worker gets another address, so that every open connection to both sides is dead for good and nobody is told",
        |_| true,
        |worlds| Box::pin(half_open(worlds)),
    )),
    on(
        Variant::SmallDisk,
        with_root(fault(
            "target: disk full",
            "a file uses up the target's disk (94 of 100 for a broker, which refuses messages from 90 on) for 40 s",
            |pipeline| pipeline.target != Kind::Http,
            |worlds| Box::pin(full_disk(worlds)),
        )),
    ),
    fault(
        "target: 500, then 429",
        "the endpoint refuses everything with 500 for 30 s, then with 429 and `Retry-After: 2` for 30 s",
        |pipeline| pipeline.target == Kind::Http,
        |worlds| Box::pin(refusals(worlds)),
    ),
    on(
        Variant::Users,
        fault(
            "credentials rotate",
            "twice: the server takes new credentials, the mounted files change, the old ones are refused and sessions of databases ended",
            |_| true,
            |worlds| Box::pin(rotate(worlds)),
        ),
    ),
    fault(
        "replicas added and removed",
        "three workers more for 25 s, then drained one after the other, twice",
        |_| true,
        |worlds| Box::pin(more_and_less(worlds)),
    ),
    fault(
        "soak",
        "ten minutes of flow, then none. The worker's resident memory is looked at every 5 s: the median of the third minute, of the \
         last one (8 MiB more at most), the peak (64 MiB at most); then its lag returns to 0 and nothing is in flight",
        |_| true,
        |worlds| Box::pin(soak(worlds)),
    ),
];

pub async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// Runs what takes its time outside of the runtime's own threads.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn start(worlds: &[Arc<World>]) -> Vec<Worker> {
    worlds.iter().map(|world| world.start()).collect()
}

fn no_notes(worlds: &[Arc<World>]) -> Vec<Note> {
    vec![Ok(String::new()); worlds.len()]
}

/// The servers of a side, each once.
fn servers(worlds: &[Arc<World>], side: Side) -> Vec<Arc<Server>> {
    let mut servers: Vec<Arc<Server>> = Vec::new();
    for server in worlds.iter().map(|world| world.server(side)) {
        if !servers.iter().any(|known| Arc::ptr_eq(known, &server)) {
            servers.push(server);
        }
    }
    servers
}

/// Does something with each server at the same time.
async fn with_each(servers: Vec<Arc<Server>>, work: fn(&Server)) {
    let all = servers.into_iter().map(|server| beside(move || work(&server)));
    futures::future::join_all(all).await;
}

async fn nothing(worlds: &[Arc<World>]) -> Vec<Note> {
    let _workers = start(worlds);
    pause(15_000).await;
    no_notes(worlds)
}

/// Number of kills.
pub fn kills() -> usize {
    std::env::var("FAULTS_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(50)
}

async fn kill_worker(worlds: &[Arc<World>]) -> Vec<Note> {
    for _ in 0..kills() {
        let workers = start(worlds);
        // Moments that differ from run to run, from before the first record to far into the flow.
        pause(600 + (jiff::Timestamp::now().as_nanosecond().unsigned_abs() % 1_900) as u64).await;
        drop(workers);
    }
    vec![Ok(format!("{} kills", kills())); worlds.len()]
}

async fn kill_server(worlds: &[Arc<World>], side: Side) -> Vec<Note> {
    let _workers = start(worlds);
    for _ in 0..3 {
        pause(5_000).await;
        servers(worlds, side).iter().for_each(|server| server.kill());
        pause(2_000).await;
        with_each(servers(worlds, side), Server::start_again).await;
    }
    pause(10_000).await;
    no_notes(worlds)
}

async fn restart_server(worlds: &[Arc<World>], side: Side) -> Vec<Note> {
    let _workers = start(worlds);
    for _ in 0..2 {
        pause(5_000).await;
        with_each(servers(worlds, side), Server::start_again).await;
    }
    pause(10_000).await;
    no_notes(worlds)
}

async fn name_servers_gone(worlds: &[Arc<World>]) -> Vec<Note> {
    let _workers = start(worlds);
    pause(5_000).await;
    let all = Side::BOTH.map(|side| servers(worlds, side)).concat();
    let kill = |server: &Server| {
        if let Server::Broker(broker) = server {
            broker.kill_name_server();
        }
    };
    with_each(all.clone(), kill).await;
    pause(60_000).await;
    let start_again = |server: &Server| {
        if let Server::Broker(broker) = server {
            broker.start_name_server_again();
        }
    };
    with_each(all, start_again).await;
    pause(10_000).await;
    no_notes(worlds)
}

async fn cut(worlds: &[Arc<World>], side: Side) -> Vec<Note> {
    let _workers = start(worlds);
    pause(8_000).await;
    Net::cut(side);
    pause(45_000).await;
    Net::mend(side);
    pause(45_000).await;
    no_notes(worlds)
}

async fn half_open(worlds: &[Arc<World>]) -> Vec<Note> {
    let _workers = start(worlds);
    pause(8_000).await;
    Net::move_workers();
    pause(120_000).await;
    no_notes(worlds)
}

async fn full_disk(worlds: &[Arc<World>]) -> Vec<Note> {
    let _workers = start(worlds);
    pause(8_000).await;
    with_each(servers(worlds, Side::Target), Server::fill_disk).await;
    pause(40_000).await;
    with_each(servers(worlds, Side::Target), Server::free_disk).await;
    pause(30_000).await;
    worlds.iter().map(|world| Ok(told(world))).collect()
}

/// With which reasons the workers have told that the target fails.
fn told(world: &World) -> String {
    let log = world.log();
    let lines = log.lines().filter(|line| line.contains("the target does not take a batch"));
    let reason = |line: &str| {
        let rest = line.split_once("reason=")?.1;
        Some(rest.split_whitespace().next()?.trim_matches('"').to_owned())
    };
    let reasons: std::collections::BTreeSet<String> = lines.filter_map(reason).collect();
    if reasons.is_empty() {
        "the sender waits in its place".to_owned()
    } else {
        format!("told as {}", reasons.into_iter().collect::<Vec<_>>().join(", "))
    }
}

async fn refusals(worlds: &[Arc<World>]) -> Vec<Note> {
    let _workers = start(worlds);
    let refuse = |status| {
        for server in servers(worlds, Side::Target) {
            if let Server::Receiver(receiver) = &*server {
                receiver.refuse(status);
            }
        }
    };
    pause(8_000).await;
    for status in [Some(500), Some(429)] {
        refuse(status);
        pause(30_000).await;
    }
    refuse(None);
    pause(15_000).await;
    worlds.iter().map(|world| Ok(told(world))).collect()
}

async fn rotate(worlds: &[Arc<World>]) -> Vec<Note> {
    let _workers = start(worlds);
    pause(8_000).await;
    for (new, old) in [("second-user", "first-user"), ("first-user", "second-user")] {
        for side in Side::BOTH {
            for server in servers(worlds, side) {
                let of_it = worlds.iter().filter(|world| Arc::ptr_eq(&world.server(side), &server));
                let secrets: Vec<&Secret> = of_it.filter_map(|world| world.secret(side)).collect();
                rotate_one(&server, &secrets, new, old).await;
            }
        }
        pause(12_000).await;
    }
    let refused = |world: &Arc<World>| world.log().matches("the earlier ones stay in use").count();
    let note = |times| if times == 0 { String::new() } else { format!("refused {times} times before they were taken") };
    worlds.iter().map(|world| Ok(note(refused(world)))).collect()
}

async fn rotate_one(server: &Arc<Server>, secrets: &[&Secret], new: &'static str, old: &'static str) {
    match &**server {
        Server::Database(database) => {
            let (user, before) = database.credentials();
            let after = before.strip_suffix("-new").map_or_else(|| format!("{before}-new"), str::to_owned);
            database.change_password(&after).await;
            secrets.iter().for_each(|secret| secret.change(&[("username", &user), ("password", &after)]));
            pause(6_000).await;
            database.end_sessions().await;
        }
        Server::Broker(_) => {
            let let_in = |users: Vec<&'static str>, gone: Vec<&'static str>| {
                let server = Arc::clone(server);
                beside(move || {
                    if let Server::Broker(broker) = &*server {
                        broker.let_in(&users, &gone);
                    }
                })
            };
            let_in(vec![old, new], Vec::new()).await;
            pause(3_000).await;
            secrets.iter().for_each(|secret| secret.change(&[("access", new), ("secret", &password(new))]));
            pause(8_000).await;
            let_in(vec![new], vec![old]).await;
        }
        Server::Receiver(_) => {}
    }
}

async fn more_and_less(worlds: &[Arc<World>]) -> Vec<Note> {
    let _first = start(worlds);
    for _ in 0..2 {
        let more: Vec<Vec<Worker>> = (0..3).map(|_| start(worlds)).collect();
        pause(25_000).await;
        for workers in more {
            let drained = workers.into_iter().map(|worker| beside(move || worker.drain()));
            futures::future::join_all(drained).await;
        }
        pause(5_000).await;
    }
    no_notes(worlds)
}
