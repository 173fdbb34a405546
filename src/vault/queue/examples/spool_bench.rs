//! Accepted messages a second, with fake scan, directory and store behind real sockets in this process.
//!
//! `cargo run --release --example spool_bench -p postern-queue --ignore-rust-version [BYTES] [DIRECTORY] [SECONDS] [INSIDE]`
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout, reason = "a tool for developers")]

#[path = "../tests/world/mod.rs"]
mod world;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use wire::edge::mail::Submitted;
use world::{Life, World, envelope, submit};

fn cpu() -> Duration {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(usage.tv_sec as u64, usage.tv_nsec as u32)
}

/// Nanoseconds that the writer's thread ran, and bytes that it wrote.
fn writer() -> (f64, f64) {
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let read = |name: &str| std::fs::read_to_string(task.as_ref().unwrap().path().join(name)).unwrap();
        if read("comm").trim() == "spool" {
            let ran = read("schedstat").split(' ').next().unwrap().parse().unwrap();
            let written = read("io").lines().find_map(|l| l.strip_prefix("wchar:")).unwrap().trim().parse().unwrap();
            return (ran, written);
        }
    }
    (f64::NAN, f64::NAN)
}

fn main() {
    let mut args = std::env::args().skip(1);
    let size: usize = args.next().map_or(4096, |a| a.parse().unwrap());
    let base = args.next().map_or_else(std::env::temp_dir, Into::into);
    let seconds: u64 = args.next().map_or(3, |a| a.parse().unwrap());
    let inside = args.next().map_or(postern_queue::limits::MAX_INSIDE, |a| a.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("{size} bytes; CPU is of the whole process: submitters, fakes and queue");
    println!(
        "{:>10} {:>11} {:>11} {:>8} {:>8} {:>8} {:>11} {:>11} {:>12}",
        "submitters", "accepted/s", "delivered/s", "p50 ms", "p99 ms", "commits", "CPU us/msg", "writer us", "written/msg"
    );
    for submitters in [1usize, 10, 50] {
        runtime.block_on(run(size, inside, &base, submitters, Duration::from_secs(seconds)));
    }
}

async fn run(size: usize, inside: u64, base: &std::path::Path, submitters: usize, time: Duration) {
    let world = World::with(true);
    let state = tempfile::tempdir_in(base).unwrap();
    let mut options = world.options(state.path());
    options.limits = postern_queue::limits::Limits { inside, ..Default::default() };
    options.clock = Arc::new(postern_queue::SystemClock);
    let life = Life::start(options);
    let mut message = world::MESSAGE.to_vec();
    message.resize(size, b'x');
    let message = Arc::new(message);
    let accepted = Arc::new(AtomicU64::new(0));
    let (start, cpu_start) = (Instant::now(), cpu());
    let mut tasks = Vec::new();
    for _ in 0..submitters {
        let (client, message, accepted) = (life.inbound.clone(), message.clone(), accepted.clone());
        tasks.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            while start.elapsed() < time {
                let before = Instant::now();
                let answer = submit(&client, envelope("x@remote.test", &["alice@mta.test"]), &message).await;
                latencies.push(before.elapsed());
                match answer {
                    Submitted::Accepted(_) => accepted.fetch_add(1, Ordering::Relaxed),
                    other => panic!("{other:?}"),
                };
            }
            latencies
        }));
    }
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    let accepting = start.elapsed();
    let accepted = accepted.load(Ordering::Relaxed);
    world.store.holds(accepted as usize).await;
    let delivering = start.elapsed();
    let used = cpu() - cpu_start;
    latencies.sort();
    let ms = |q: f64| latencies[((latencies.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e3;
    let (writer, written) = writer();
    println!(
        "{submitters:>10} {:>11.0} {:>11.0} {:>8.2} {:>8.2} {:>8} {:>11.1} {:>11.1} {:>12.0}",
        accepted as f64 / accepting.as_secs_f64(),
        accepted as f64 / delivering.as_secs_f64(),
        ms(0.5),
        ms(0.99),
        life.queue().commits(),
        used.as_secs_f64() * 1e6 / accepted as f64,
        writer / 1e3 / accepted as f64,
        written / accepted as f64,
    );
    life.keeps(0).await;
    life.stop();
}
