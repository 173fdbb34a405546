//! The programs that tests call, and the Debian packages that bring them.

use crate::note;
use std::{env, path::Path, process::Command};

/// Program, package. The tests of a program that stays missing are skipped, and the summary says so.
const PROGRAMS: [(&str, &str); 16] = [
    ("swaks", "swaks"),
    ("curl", "curl"),
    ("msmtp", "msmtp"),
    ("mbsync", "isync"),
    ("mutt", "mutt"),
    ("python3", "python3"),
    ("dkimverify", "python3-dkim"),
    ("postfix", "postfix"),
    ("saslpasswd2", "sasl2-bin"),
    ("knotd", "knot"),
    ("kdig", "knot-dnsutils"),
    ("openssl", "openssl"),
    ("mmdebstrap", "mmdebstrap"),
    ("ip", "iproute2"),
    ("systemd-analyze", "systemd"),
    ("unshare", "util-linux"),
];

/// A library that swaks finds at run time: a test asks perl for it, here its package is simply asked for together with swaks.
const WITH_SWAKS: &str = "libnet-ssleay-perl";
/// What dkimpy needs for Ed25519 (RFC 8463).
const WITH_DKIMPY: &str = "python3-nacl";

/// Installs what is missing where that is possible, and names the rest.
pub(crate) fn install() {
    let missing = missing();
    if missing.is_empty() {
        return;
    }
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    if packages.contains(&"swaks") {
        packages.push(WITH_SWAKS);
    }
    if packages.contains(&"python3-dkim") {
        packages.push(WITH_DKIMPY);
    }
    add(&packages);
    for (program, package) in self::missing() {
        note(&format!("xtask: {program} is missing (Debian package {package}); the tests that need it are skipped"));
    }
}

/// Installs what the bench compares with; it says itself what is missing.
pub(crate) fn install_peer() {
    if !["postfix", "dovecot", "mbsync"].into_iter().all(found) {
        add(&["postfix", "dovecot-imapd", "dovecot-lmtpd", "isync"]);
    }
}

/// Installs Debian packages where this is Debian and we may.
fn add(packages: &[&str]) {
    if !root() || !found("apt-get") {
        return;
    }
    note(&format!("xtask: installing {}", packages.join(" ")));
    let apt = |arguments: &[&str]| {
        let status = Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(std::io::stderr()).status();
        status.is_ok_and(|s| s.success())
    };
    let all = [&["install", "-y", "-qq", "--no-install-recommends"], packages].concat();
    if !apt(&all) {
        apt(&["update", "-qq"]);
        if !apt(&all) {
            // One that does not exist in this release must not keep the others away.
            for package in packages {
                apt(&["install", "-y", "-qq", "--no-install-recommends", package]);
            }
        }
    }
}

fn missing() -> Vec<(&'static str, &'static str)> {
    PROGRAMS.into_iter().filter(|(program, _)| !found(program)).collect()
}

fn found(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned(), Path::new("/sbin").to_owned()]).any(|dir| dir.join(program).is_file())
}

fn root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.trim_ascii() == b"0")
}
