//! `send` reaches public addresses and no others, `dns` also the host's own name servers; an operator can add to them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

use std::{collections::BTreeSet, fs, net::IpAddr};
use system::{Appliance, workspace};
use test_support::skip;

/// RFC 6890 and others: this host, this link, this site, multicast, reserved; what clouds keep their metadata at is among them.
const CLOSED: &[&str] = &[
    "0.0.0.0",
    "0.1.2.3",
    "169.254.0.1",
    "169.254.169.254",
    "192.0.0.192",
    "198.18.0.1",
    "198.19.255.255",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::ffff:127.0.0.1",
    "64:ff9b::a00:1",
    "100::1",
    "2002:a00:1::1",
    "fe80::1",
    "ff02::1",
];
/// Where the host's name servers often are.
const INSIDE: &[&str] = &[
    "127.0.0.1",
    "127.0.0.53",
    "127.255.255.255",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.255.255",
    "::1",
    "fc00::1",
    "fd00:ec2::254",
];
/// Neighbours of those, and others.
const PUBLIC: &[&str] = &[
    "1.0.0.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.0.2.2",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:db8::2",
    "2001:4860:4860::8888",
    "2003::1",
    "2a00:1450::1",
    "3fff::1",
];

/// The values of a key in a unit file; none where there is no such file.
fn values(unit: &str, key: &str) -> Vec<String> {
    let text = fs::read_to_string(workspace().join("systemd").join(unit)).unwrap_or_default();
    let assigned = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    assigned.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// The slice that a slice lies in, as systemd.slice(5) reads its name.
fn parent(slice: &str) -> Option<String> {
    Some(format!("{}.slice", slice.strip_suffix(".slice")?.rsplit_once('-')?.0))
}

/// Whether a prefix of the unit or of a slice that it lies in holds the address.
fn allows(unit: &str, address: &str) -> bool {
    assert_eq!(values(unit, "IPAddressDeny"), ["any"], "{unit}");
    let slices = std::iter::successors(values(unit, "Slice").pop(), |slice| parent(slice));
    let prefixes: Vec<String> = slices.chain([unit.to_owned()]).flat_map(|unit| values(&unit, "IPAddressAllow")).collect();
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let (wanted, width) = bits(address.parse().unwrap());
    prefixes.into_iter().any(|prefix| {
        let (network, length) = prefix.split_once('/').unwrap_or((prefix.as_str(), ""));
        let (network, of_family) = bits(network.parse().unwrap());
        let length: u32 = if length.is_empty() { of_family } else { length.parse().unwrap() };
        // A prefix has no bits beyond its length: systemd would ignore them, a reader would not.
        assert_eq!(network.checked_shl(length).unwrap_or(0), 0, "{unit}: {prefix}");
        of_family == width && (network ^ wanted).checked_shr(128 - length).unwrap_or(0) == 0
    })
}

#[test]
fn the_lists_hold_what_is_public_and_nothing_else() {
    for (unit, inside) in [("postern-send.service", false), ("postern-dns.service", true)] {
        let expected = [(CLOSED, false), (INSIDE, inside), (PUBLIC, true)];
        for (address, allowed) in expected.into_iter().flat_map(|(list, allowed)| list.iter().map(move |a| (a, allowed))) {
            assert_eq!(allows(unit, address), allowed, "{unit}: {address}");
        }
    }
}

/// Sends one datagram as if the service did. True: it left; false: it was not permitted.
fn leaves(appliance: &Appliance, service: &str, address: &str) -> bool {
    let script = format!(
        "echo $$ >/sys/fs/cgroup$(systemctl show --property=ControlGroup --value postern-{service})/cgroup.procs\n\
         echo x >/dev/udp/{address}/53"
    );
    let outcome = appliance.run_with(&["bash"], script.as_bytes()).unwrap();
    assert!(outcome.success() || outcome.stderr.contains("Operation not permitted"), "{service} {address}: {outcome:?}");
    outcome.success()
}

#[test]
fn nothing_leaves_for_other_addresses() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    if appliance.journal_text().contains("does not support BPF/cgroup firewalling") {
        return skip("systemd has no BPF here");
    }
    // Somewhere to go, and nobody there who answers.
    for family in [["-4", "192.0.2.2"], ["-6", "2001:db8::2"]] {
        appliance.network(&["ip", family[0], "route", "add", "default", "via", family[1]]).unwrap().ok("route").unwrap();
    }
    let reached = |service| {
        let all = ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.0.2.2", "::1", "fd00::1", "2001:db8::2", "2002:a00:1::1"];
        all.into_iter().filter(|address| leaves(&appliance, service, address)).collect::<BTreeSet<_>>()
    };
    assert_eq!(reached("send"), BTreeSet::from(["192.0.2.2", "2001:db8::2"]));
    assert_eq!(reached("dns"), BTreeSet::from(["127.0.0.1", "10.1.2.3", "192.0.2.2", "::1", "fd00::1", "2001:db8::2"]));

    // A smarthost of one's own network.
    appliance.put("/etc/systemd/system/postern-send.service.d/inside.conf", b"[Service]\nIPAddressAllow=10.1.2.3\n", 0o644).unwrap();
    appliance.sh("systemctl daemon-reload; systemctl restart postern-send").unwrap();
    assert_eq!(reached("send"), BTreeSet::from(["10.1.2.3", "192.0.2.2", "2001:db8::2"]));
}
