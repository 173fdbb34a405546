//! Processes, as the machine numbers them, and what the kernel says of them.

use crate::Failure;
use std::{fs, path::Path};

/// A line of `/proc/PID/status`.
pub fn status(pid: u32, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| Some(line.strip_prefix(field)?.strip_prefix(':')?.trim().to_owned()))
}

/// Its cgroup.
pub fn cgroup(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned()
}

/// Its children.
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task")) else { return Vec::new() };
    let lists = tasks.flatten().map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect()
}

/// Its number in its host.
pub fn inner(pid: u32) -> Result<i32, Failure> {
    let numbers = status(pid, "NSpid").unwrap_or_default();
    let last = numbers.split_whitespace().last().and_then(|pid| pid.parse().ok());
    last.ok_or_else(|| Failure::new(format!("{pid} has no number in its host")))
}
