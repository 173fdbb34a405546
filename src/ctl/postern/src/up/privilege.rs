//! What `up` does when it is started by root: every daemon gets a user of its own, and `up` keeps only what that needs.
//!
//! PID 1 does this better (`systemd/`); here it lets a container or a virtual machine without systemd show the same picture.

use crate::{Failure, control::plain};
use caps::{CapSet, Capability, CapsHashSet};
use rustix::{
    mount::{MountPropagationFlags, mount_bind, mount_change},
    thread::UnshareFlags,
};
use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Needed to start daemons as other users and to end them.
const TO_SUPERVISE: [Capability; 3] = [Capability::CAP_SETUID, Capability::CAP_SETGID, Capability::CAP_KILL];
/// Needed until everything is prepared.
const TO_PREPARE: [Capability; 6] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
];
/// Where the state directory appears, in a mount namespace of `up` alone, when other users cannot reach it: the first that exists.
const PLACES: [&str; 4] = ["/mnt", "/srv", "/media", "/opt"];

/// Whether daemons get users of their own, and the state directory as they see it.
#[derive(Debug)]
pub(super) struct Separation {
    pub(super) users: bool,
    pub(super) root: PathBuf,
}

/// Decides it, and gives up everything else; `others` are read later. Call it while there is one thread.
pub(super) fn prepare(state: &Path, others: &[PathBuf]) -> Result<Separation, Failure> {
    let failed = |e: caps::errors::CapsError| Failure::new("capabilities", e);
    let permitted = caps::read(None, CapSet::Permitted).map_err(failed)?;
    let users = rustix::process::geteuid().is_root() && TO_SUPERVISE.iter().chain(&TO_PREPARE).all(|c| permitted.contains(c));
    let mut root = state.to_owned();
    if users {
        let open = |path: &Path| -> io::Result<()> {
            let mode = fs::metadata(path)?.permissions().mode();
            fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o111))
        };
        open(state).map_err(|e| Failure::new(state.display(), plain(&e)))?;
        if !reachable(state) {
            root = show_elsewhere(state, others)?;
        }
    }
    if permitted.contains(&Capability::CAP_SETPCAP) {
        // What is not in this set, no child can get back by an exec.
        caps::clear(None, CapSet::Bounding).map_err(failed)?;
    }
    keep(TO_SUPERVISE.iter().chain(&TO_PREPARE))?;
    rustix::thread::set_no_new_privs(true).map_err(|e| Failure::new("no_new_privs", e))?;
    Ok(Separation { users, root })
}

/// Everything is prepared: keeps what supervising needs.
pub(super) fn settle() -> Result<(), Failure> {
    keep(TO_SUPERVISE.iter())
}

fn keep<'a>(wanted: impl Iterator<Item = &'a Capability>) -> Result<(), Failure> {
    let failed = |e: caps::errors::CapsError| Failure::new("capabilities", e);
    let permitted = caps::read(None, CapSet::Permitted).map_err(failed)?;
    let kept: CapsHashSet = wanted.copied().filter(|c| permitted.contains(c)).collect();
    caps::clear(None, CapSet::Ambient).map_err(failed)?;
    caps::clear(None, CapSet::Inheritable).map_err(failed)?;
    caps::set(None, CapSet::Effective, &kept).map_err(failed)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(failed)
}

/// Whether every user may pass through all directories down to `path`, and read what is there.
pub(super) fn reachable(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    path.ancestors().all(|part| fs::metadata(part).is_ok_and(|meta| meta.mode() & 0o001 != 0))
}

/// A directory below, say, /root is closed to the daemons' users. It is bound to another place that only `up` and its children see.
#[expect(deprecated, reason = "sound without CLONE_FILES; the replacement is unsafe")]
fn show_elsewhere(state: &Path, others: &[PathBuf]) -> Result<PathBuf, Failure> {
    // What is below the place can no longer be seen.
    let hidden = |place: &Path| others.iter().any(|path| path.canonicalize().is_ok_and(|path| path.starts_with(place)));
    let place = PLACES.iter().map(Path::new).find(|p| p.is_dir() && !state.starts_with(p) && !hidden(p) && reachable(p));
    let result = match place {
        Some(place) => rustix::thread::unshare(UnshareFlags::NEWNS)
            .and_then(|()| mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE))
            .and_then(|()| mount_bind(state, place))
            .map(|()| place.to_owned())
            .map_err(io::Error::from),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    result.map_err(|e| {
        let why = format_args!("other users cannot reach it, and it cannot be shown elsewhere ({}); choose another --state", plain(&e));
        Failure::new(state.display(), why)
    })
}

/// Gives a directory and everything in it to a user. Links are not followed.
pub(super) fn give(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        std::os::unix::fs::lchown(&path, Some(uid), Some(gid))?;
        if fs::symlink_metadata(&path)?.is_dir() {
            for entry in fs::read_dir(&path)? {
                open.push(entry?.path());
            }
        }
    }
    Ok(())
}
