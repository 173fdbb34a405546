//! What the disk itself can do: appended 4 KiB blocks made durable, per second.

use crate::Failure;
use std::{
    fs::File,
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// fdatasync calls per second with this many threads, each on a file of its own.
pub(crate) fn fdatasync_rate(dir: &Path, threads: usize, time: Duration) -> Result<f64, Failure> {
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let start = Instant::now();
    let workers: Vec<_> = (0..threads)
        .map(|n| {
            let (stop, done, path) = (stop.clone(), done.clone(), dir.join(format!("sync-{n}")));
            thread::spawn(move || -> std::io::Result<()> {
                let mut file = File::create(&path)?;
                while !stop.load(Ordering::Relaxed) {
                    file.write_all(&[0x55; 4096])?;
                    file.sync_data()?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                std::fs::remove_file(path)
            })
        })
        .collect();
    thread::sleep(time);
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().map_err(|_| "a disk thread panicked")??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
}
