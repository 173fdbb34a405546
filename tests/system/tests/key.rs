//! The TLS key is in `keys` and nowhere else. Case IPC-04, "read key file".

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
};
use system::{ALICE, Appliance, SERVICES, Service};

/// Bytes read of a mapping at a time.
const CHUNK: u64 = 4 * 1024 * 1024;

/// The 32 secret bytes of a P-256 key in PKCS #8 (RFC 5208, RFC 5915): an OCTET STRING after the version.
fn secret(der: &[u8]) -> Option<&[u8]> {
    let at = der.windows(5).position(|w| w == [0x02, 0x01, 0x01, 0x04, 0x20])?;
    der.get(at + 5..at + 37)
}

/// Whether a process has these bytes anywhere in its memory, in either order: the library computes with little-endian limbs.
fn has_in_memory(appliance: &Appliance, service: &Service, secret: &[u8]) -> bool {
    let reversed: Vec<u8> = secret.iter().rev().copied().collect();
    let Ok(pid) = appliance.main_pid(service) else { return false };
    let Ok(mut memory) = File::open(appliance.path(&format!("/proc/{pid}/mem"))) else { return false };
    let maps = fs::read_to_string(appliance.path(&format!("/proc/{pid}/maps"))).unwrap_or_default();
    for (from, to) in maps.lines().filter(|l| l.contains(" r")).filter_map(range) {
        let mut at = from;
        while at < to {
            let mut bytes = Vec::new();
            // Pieces overlap, so that the bytes are found across a boundary.
            let end = to.min(at + CHUNK);
            if memory.seek(SeekFrom::Start(at)).is_ok() {
                let _ = (&mut memory).take(end - at).read_to_end(&mut bytes);
            }
            if bytes.windows(secret.len()).any(|w| w == secret || w == reversed) {
                return true;
            }
            at = if end == to { to } else { end - secret.len() as u64 };
        }
    }
    false
}

fn range(line: &str) -> Option<(u64, u64)> {
    let (from, to) = line.split_whitespace().next()?.split_once('-')?;
    Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
}

#[test]
fn only_keys_has_the_private_key_in_its_memory() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    // Handshakes on all listeners, so that whoever wants the key has had a reason to.
    appliance.deliver("s@example.net", ALICE, b"From: s@example.net\r\nSubject: encrypted\r\n\r\nx\r\n").unwrap();
    appliance.submit(ALICE, ALICE, b"From: alice@example.test\r\nSubject: encrypted\r\n\r\nx\r\n").unwrap();
    assert!(!appliance.fetch(ALICE, "encrypted").unwrap().is_empty());
    let der = appliance.tls_key().serialize_der();
    let scalar = secret(&der).unwrap();
    for service in SERVICES {
        assert_eq!(has_in_memory(&appliance, service, scalar), service.name == "keys", "{}", service.name);
    }
}

#[test]
fn no_user_but_that_of_keys_can_read_the_key_from_a_file() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    for service in SERVICES {
        let pid = appliance.main_pid(service).unwrap();
        let seen = appliance.sh(&format!("find /proc/{pid}/root/ -xdev -name '*.key*'; ls /proc/{pid}/root/run/credentials/*")).unwrap();
        assert_eq!(seen.contains("tls.key"), service.name == "keys", "{}: {seen}", service.name);
        // Even in the whole file system of the host, as that user and with its groups.
        let ids = appliance.sh(&format!("stat -c '%u %g' /proc/{pid}; sed -n 's/^Groups:\\s*//p' /proc/{pid}/status")).unwrap();
        let (ids, groups) = ids.split_once('\n').unwrap();
        let (user, group) = ids.split_once(' ').unwrap();
        let groups = groups.split_whitespace().collect::<Vec<_>>().join(",");
        let groups = if groups.is_empty() { "--clear-groups".to_owned() } else { format!("--groups={groups}") };
        for path in ["/etc/credstore/postern.tls.key", "/run/credentials/postern-keys.service/tls.key"] {
            let words = ["setpriv", "--reuid", user, "--regid", group, &groups, "cat", path];
            let outcome = appliance.run(&words).unwrap();
            let may = service.name == "keys" && path.starts_with("/run/");
            assert_eq!(outcome.success(), may, "{}: {path}: {outcome:?}", service.name);
        }
    }
}
