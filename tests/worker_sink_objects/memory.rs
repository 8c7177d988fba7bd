//! How much memory a worker takes that writes as fast as it can.

use std::time::{Duration, Instant};

use rocketmq_connector::worker_config::sync::{BatchConfig, Compression, FileFormat};

use crate::BROKER;
use crate::target::{Content, Server, as_format, incompressible, publish, sync, target as objects_of};
use crate::worker_support::sync::Process;
use crate::worker_support::{Broker, LIMIT, memory_kib};

/// The environment that the operator gives to such workers.
const ALLOCATOR: [(&str, &str); 2] = [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "131072")];
/// Messages of 1 KiB.
const COUNT: i64 = 120_000;
/// The most memory of its own that a worker may take, in KiB: with the pages of the program, which are many more in a debug build than in the
/// image, a worker is to stay below 64 MiB.
const BOUND: u64 = 50 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_writes_as_fast_as_it_can_takes_little_memory() {
    let (broker, server) = (Broker::named(BROKER), Server::named("s3"));
    let topic = broker.topic("fast", 4).await;
    publish(&broker, &topic, incompressible(0..COUNT, 1_000)).await;
    let mut found = Vec::new();
    for (format, compression) in
        [(FileFormat::JsonLines, Compression::Gzip), (FileFormat::Parquet, Compression::Snappy)]
    {
        let (bucket, mut most) = (server.bucket(), 0);
        let mut config = sync(&broker, &topic, server.store(&bucket));
        as_format(&mut config, format, compression);
        config.batch = BatchConfig { max_records: 500, max_bytes: 4 << 20, max_wait_millis: 500 };
        objects_of(&mut config).roll_millis = 10_000;
        let (log, place, started) = (tempfile::tempdir().unwrap(), server.bucket_folder(&bucket), Instant::now());
        let process = Process::start_with(log.path(), &config, &ALLOCATOR);
        let mut looked = Instant::now();
        loop {
            most = most.max(memory_kib(process.0.id(), "RssAnon"));
            if looked.elapsed() > Duration::from_secs(2) {
                if Content::count(&place, format) == COUNT {
                    break;
                }
                looked = Instant::now();
            }
            assert!(started.elapsed() < LIMIT, "{format:?}: not all has come within {LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let seconds = started.elapsed().as_secs_f64();
        println!("{format:?} {compression:?}: {COUNT} messages of 1 KiB within {seconds:.1} s, {most} KiB at most");
        found.push((format, most));
    }
    assert!(found.iter().all(|(_, most)| *most <= BOUND), "{found:?}");
}
