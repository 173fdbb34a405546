//! Mail to elsewhere: leases, schedules, what senders are told, and what a restart leaves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report of a test")]

mod clock;
mod content;
mod control;
mod reports;
mod restarts;
mod schedule;
#[path = "../world/mod.rs"]
mod world;

use std::time::Duration;
use world::*;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

async fn alice(life: &Life) -> Submission {
    life.login(owner(1, "alice@mta.test")).await.unwrap()
}

fn step(world: &World, life: &Life, by: Duration) {
    world.clock.advance(by);
    life.queue().wake();
}

fn text(stored: &Stored) -> String {
    String::from_utf8_lossy(&stored.text).into_owned()
}
