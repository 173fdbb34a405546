//! The Debian tree that hosts are booted from: built once, then only read.

use crate::{Failure, Reason, run};
use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

const SUITE: &str = "trixie";
const PACKAGES: &str = "systemd,systemd-sysv,dbus,libnss-systemd";
/// Changes with everything that makes a different tree.
const VERSION: u32 = 1;

/// The root of the source tree.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Why this machine cannot boot hosts, if it cannot.
pub(crate) fn missing() -> Option<Reason> {
    let me = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let root = me.lines().any(|l| l.starts_with("Uid:\t0\t"));
    if !root {
        return Some(Reason("booting a host needs root".into()));
    }
    let tools: &[(&str, &str)] = &[("unshare", "util-linux"), ("nsenter", "util-linux"), ("ip", "iproute2"), ("python3", "python3")];
    let absent = |tool: &str| run(&["sh", "-c", "command -v \"$0\"", tool], b"").is_ok_and(|o| !o.success());
    if let Some((_, package)) = tools.iter().find(|(tool, _)| absent(tool)) {
        return Some(Reason(format!("needs the Debian package {package}")));
    }
    if !tree().join(".complete").exists() && absent("mmdebstrap") {
        return Some(Reason("needs the Debian package mmdebstrap".into()));
    }
    if !fs::read_to_string("/proc/mounts").unwrap_or_default().lines().any(|l| l.split(' ').nth(2) == Some("cgroup2")) {
        return Some(Reason("needs a mounted cgroup2".into()));
    }
    None
}

fn tree() -> PathBuf {
    let cache = env::var_os("POSTERN_TEST_CACHE").map_or_else(|| PathBuf::from("/var/cache/postern-test"), PathBuf::from);
    cache.join(format!("{SUITE}-{VERSION}"))
}

/// The tree; built by the first who asks, in about half a minute.
pub(crate) fn root() -> Result<PathBuf, Failure> {
    let tree = tree();
    let cache = tree.parent().unwrap_or(&tree);
    fs::create_dir_all(cache)?;
    let lock = File::create(cache.join("lock"))?;
    lock.lock()?;
    if tree.join(".complete").exists() {
        return Ok(tree);
    }
    let building = tree.with_extension("building");
    for stale in [&tree, &building] {
        if stale.exists() {
            fs::remove_dir_all(stale)?;
        }
    }
    let include = format!("--include={PACKAGES}");
    let destination = building.to_string_lossy().into_owned();
    let words = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        &include,
        "--dpkgopt=force-unsafe-io",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        SUITE,
        &destination,
    ];
    run(&words, b"")?.ok("mmdebstrap")?;
    File::create(building.join(".complete"))?;
    fs::rename(&building, &tree)?;
    Ok(tree)
}
