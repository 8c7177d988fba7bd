//! A long flow without a fault: the worker's memory does not grow, and when nothing more is published nothing is left to do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::faults::{Note, pause};
use super::worker::{Worker, is_release};
use super::world::World;

/// Time between two looks at the memory.
const LOOK: u64 = 5_000;
/// What the median of the memory may grow by from the third of ten minutes to the last one, in MiB.
const GROWTH: f64 = 8.0;
/// Most memory in MiB of a worker as users run it.
const PEAK: f64 = 64.0;
/// Longest time until nothing is left to do.
const CATCH_UP: Duration = Duration::from_secs(60);

/// Seconds of the soak.
fn seconds() -> u64 {
    std::env::var("FAULTS_SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(600)
}

pub async fn soak(worlds: &[Arc<World>]) -> Vec<Note> {
    let workers: Vec<Worker> = worlds.iter().map(|world| world.start()).collect();
    let (length, began) = (Duration::from_secs(seconds()), Instant::now());
    let mut memory = vec![Memory::default(); worlds.len()];
    while began.elapsed() < length {
        pause(LOOK).await;
        let share = began.elapsed().as_secs_f64() / length.as_secs_f64();
        memory.iter_mut().zip(&workers).for_each(|(memory, worker)| memory.0.push((share, worker.resident())));
    }
    worlds.iter().for_each(|world| world.hold());
    let lags = futures::future::join_all(workers.iter().map(caught_up)).await;
    memory.iter().zip(lags).map(|(memory, lag)| both(memory.judge(), lag)).collect()
}

/// Both notes; broken where one is.
fn both(one: Note, other: Note) -> Note {
    let is_broken = one.is_err() || other.is_err();
    let text = [one, other].map(|note| note.unwrap_or_else(|why| why)).join("; ");
    if is_broken { Err(text) } else { Ok(text) }
}

/// Waits until the worker has nothing to do.
async fn caught_up(worker: &Worker) -> Note {
    let began = Instant::now();
    loop {
        let report = worker.report().await;
        if (report.lag, report.in_flight) == (Some(0), 0) {
            return Ok(format!("lag 0 within {} s", began.elapsed().as_secs() + 1));
        }
        if began.elapsed() > CATCH_UP {
            return Err(format!("lag {:?} and {} in flight after {CATCH_UP:?}", report.lag, report.in_flight));
        }
        pause(200).await;
    }
}

/// Resident memory in MiB, by the share of the soak that has gone by.
#[derive(Debug, Clone, Default)]
struct Memory(Vec<(f64, f64)>);

impl Memory {
    fn median(&self, from: f64, to: f64) -> f64 {
        let mut sizes: Vec<f64> =
            self.0.iter().filter(|(at, _)| (from..=to).contains(at)).map(|(_, size)| *size).collect();
        sizes.sort_by(f64::total_cmp);
        assert!(!sizes.is_empty(), "the soak is too short for its looks at the memory");
        sizes[sizes.len() / 2]
    }

    fn judge(&self) -> Note {
        let (early, late) = (self.median(0.2, 0.3), self.median(0.9, 2.0));
        let peak = self.0.iter().map(|(_, size)| *size).fold(0.0, f64::max);
        let build = if is_release() { "" } else { " (debug build)" };
        let note = format!("memory {early:.1} MiB, at the end {late:.1}, at most {peak:.1}{build}");
        if late - early > GROWTH || (is_release() && peak > PEAK) { Err(note) } else { Ok(note) }
    }
}
