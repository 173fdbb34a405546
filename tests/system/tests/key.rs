//! Each secret is in the memory of the process that it belongs to, and in no other. Case IPC-04, "read key file".
//!
//! What each of them must have is looked for in the same pass: that a secret was not found shows something only where the rest was.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic in a test is its report")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::FileExt,
};
use system::{ALICE, Appliance, DOMAIN, SERVICES, Service};

/// Bytes of a secret that are looked for.
const LENGTH: usize = 32;
const SMARTHOST: &str = "the smarthost's own horse battery";

/// The 32 secret bytes of a P-256 key in PKCS #8 (RFC 5208, RFC 5915): an OCTET STRING after the version.
fn scalar(der: &[u8]) -> Vec<u8> {
    behind(der, &[0x02, 0x01, 0x01, 0x04, 0x20])[..LENGTH].to_vec()
}

/// Of an Ed25519 key in PKCS #8 (RFC 8410 7): an OCTET STRING in an OCTET STRING.
fn seed(der: &[u8]) -> Vec<u8> {
    behind(der, &[0x04, 0x22, 0x04, 0x20])[..LENGTH].to_vec()
}

/// From the midst of a prime of an RSA key of 2048 bits (RFC 8017 A.1.2): n, e, d, p, each an INTEGER.
fn prime(der: &[u8]) -> Vec<u8> {
    let mut rest = behind(der, &[0x02, 0x01, 0x00, 0x02, 0x82, 0x01, 0x01]);
    // The modulus, of which the last bytes stand before the exponent.
    rest = &rest[257..];
    let mut number = &rest[..0];
    for _ in ["e", "d", "p"] {
        assert_eq!(rest[0], 0x02, "an INTEGER");
        let (length, body) = match rest[1] {
            0x81 => (usize::from(rest[2]), &rest[3..]),
            0x82 => (usize::from(rest[2]) * 256 + usize::from(rest[3]), &rest[4..]),
            short => (usize::from(short), &rest[2..]),
        };
        (number, rest) = body.split_at(length);
    }
    number[LENGTH..2 * LENGTH].to_vec()
}

fn behind<'a>(der: &'a [u8], mark: &[u8]) -> &'a [u8] {
    let at = der.windows(mark.len()).position(|part| part == mark).unwrap();
    &der[at + mark.len()..]
}

/// All that a process can read of its memory, one mapping after the other. It stands still meanwhile.
fn memory(appliance: &Appliance, service: &Service) -> Vec<Vec<u8>> {
    let pid = appliance.main_pid(service).unwrap();
    appliance.sh(&format!("kill -STOP {pid}; until grep -q '^State:\\sT' /proc/{pid}/status; do :; done")).unwrap();
    let maps = fs::read_to_string(appliance.path(&format!("/proc/{pid}/maps"))).unwrap();
    let memory = File::open(appliance.path(&format!("/proc/{pid}/mem"))).unwrap();
    let mut all = Vec::new();
    for line in maps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        // What the kernel puts there for all processes alike, and lets nobody read this way.
        let is_kernels = words.get(5).is_some_and(|name| name.starts_with("[vvar") || *name == "[vsyscall]");
        if !words[1].starts_with('r') || is_kernels {
            continue;
        }
        let (from, to) = words[0].split_once('-').unwrap();
        let [from, to] = [from, to].map(|number| u64::from_str_radix(number, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        memory.read_exact_at(&mut bytes, from).unwrap_or_else(|e| panic!("{}: {line}: {e}", service.name));
        all.push(bytes);
    }
    appliance.sh(&format!("kill -CONT {pid}")).unwrap();
    all
}

/// Which of these are in it.
fn found<'a>(memory: &[Vec<u8>], secrets: &BTreeMap<&'a str, Vec<Vec<u8>>>) -> Vec<&'a str> {
    // By their first two bytes: most places are none of theirs.
    let mut first: Vec<Vec<(&str, &[u8])>> = vec![Vec::new(); 1 << 16];
    for (what, forms) in secrets {
        for form in forms {
            first[usize::from(form[0]) << 8 | usize::from(form[1])].push((what, form));
        }
    }
    let mut found = Vec::new();
    for bytes in memory {
        let mut before = 0;
        for (at, byte) in bytes.iter().enumerate() {
            let both = before << 8 & 0xff00 | usize::from(*byte);
            before = both;
            for (what, form) in &first[both] {
                if at > 0 && bytes[at - 1..].starts_with(form) && !found.contains(what) {
                    found.push(*what);
                }
            }
        }
    }
    found.sort_unstable();
    found
}

#[test]
fn each_secret_is_in_the_memory_of_its_process_and_of_no_other() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let config = fs::read_to_string(appliance.path("/etc/postern/postern.toml")).unwrap();
    let config = format!(
        "{config}[send.smarthosts.relay]\nhost = \"smtp.relay.test\"\nuser = \"postern\"\n[send.domains.\"far.test\"]\nsmarthost = \"relay\"\n"
    );
    appliance.put("/etc/postern/postern.toml", config.as_bytes(), 0o644).unwrap();
    appliance.put("/etc/credstore/smarthost.relay", format!("{SMARTHOST}\n").as_bytes(), 0o600).unwrap();
    appliance.sh("systemctl restart postern-auth postern-keys postern-dns postern-send postern-queue").unwrap();
    appliance.wait_until_active().unwrap();
    // Handshakes on all listeners, logins and signatures, so that whoever wants a secret has had a reason to.
    appliance.deliver("s@example.net", ALICE, b"From: s@example.net\r\nSubject: encrypted\r\n\r\nx\r\n").unwrap();
    appliance.submit(ALICE, ALICE, b"From: alice@example.test\r\nSubject: encrypted\r\n\r\nx\r\n").unwrap();
    appliance.submit(ALICE, "far@far.test", b"From: alice@example.test\r\nSubject: signed\r\n\r\nx\r\n").unwrap();
    assert!(!appliance.fetch(ALICE, "encrypted").unwrap().is_empty());
    appliance.sh(&format!("postern dkim list {DOMAIN}")).unwrap();

    // In either order: the library computes with little-endian limbs.
    let both = |secret: Vec<u8>| vec![secret.iter().rev().copied().collect(), secret];
    let mut secrets: BTreeMap<&str, Vec<Vec<u8>>> = BTreeMap::new();
    secrets.insert("the TLS key", both(scalar(&appliance.tls_key().serialize_der())));
    let files = appliance.sh(&format!("ls /var/lib/postern/keys/dkim/{DOMAIN}/*.key")).unwrap();
    for name in files.lines() {
        let key = fs::read(appliance.path(name)).unwrap();
        // src/vault/keys/src/dkim/files.rs: which algorithm, behind 15 bytes.
        let (what, secret) = if key[15] == 1 { ("the DKIM key, Ed25519", seed(&key)) } else { ("the DKIM key, RSA", prime(&key)) };
        secrets.insert(what, both(secret));
    }
    secrets.insert("the smarthost's password", vec![SMARTHOST.into()]);
    assert_eq!(secrets.len(), 4, "{files}");
    for service in SERVICES {
        // In the program, and where its own data is.
        let invocation = appliance.sh(&format!("systemctl show --property=InvocationID --value {}", service.unit())).unwrap();
        secrets.insert("its build", vec![wire::BUILD_ID.into()]);
        secrets.insert("its invocation", vec![format!("INVOCATION_ID={}", invocation.trim()).into()]);
        let mut expected = match service.name {
            "keys" => vec!["the DKIM key, Ed25519", "the DKIM key, RSA", "the TLS key"],
            "send" => vec!["the smarthost's password"],
            _ => Vec::new(),
        };
        expected.extend(["its build", "its invocation"]);
        expected.sort_unstable();
        assert_eq!(found(&memory(&appliance, service), &secrets), expected, "{}", service.name);
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
