//! The unit files agree with each other, with the table and with the edges of the code. Needs no host.

use std::{collections::BTreeSet, fs};
use system::{CONTROL_EDGES, LISTENERS, OPTIONAL_LISTENERS, SERVICES, Service, unit_files, workspace};
use wire::{
    Edge,
    edge::{
        auth_control::AuthControl,
        auth_directory::AuthDirectory,
        auth_login::{AuthForImap, AuthForSubmission},
        dns_scan::DnsForScan,
        keys_control::KeysControl,
        keys_dkim::KeysDkim,
        keys_tls::{KeysForImap, KeysForMx, KeysForSubmission},
        queue_control::QueueControl,
        queue_grant::QueueGrant,
        queue_inbound::QueueInbound,
        scan_index::{ScanForQueue, ScanForStore},
        send_deliver::SendDeliver,
        send_names::SendNames,
        store_deliver::StoreDeliver,
        store_grant::StoreGrant,
    },
};

/// Edges that processes connect to by a socket of PID 1; the sessions that a login returns have none.
const EDGES: &[&str] = &[
    AuthControl::NAME,
    AuthDirectory::NAME,
    AuthForImap::NAME,
    AuthForSubmission::NAME,
    DnsForScan::NAME,
    SendNames::NAME,
    KeysControl::NAME,
    KeysDkim::NAME,
    KeysForImap::NAME,
    KeysForMx::NAME,
    KeysForSubmission::NAME,
    QueueControl::NAME,
    QueueGrant::NAME,
    QueueInbound::NAME,
    ScanForQueue::NAME,
    ScanForStore::NAME,
    SendDeliver::NAME,
    StoreDeliver::NAME,
    StoreGrant::NAME,
];

/// The sandbox that is the same for every process. A unit that needs less of it says why in SECURITY.md and has its own test.
const SANDBOX: &[&str] = &[
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "ProtectProc=invisible",
    "ProcSubset=pid",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "PrivateMounts=yes",
    "PrivateUsers=yes",
    "PrivateIPC=yes",
    "DevicePolicy=closed",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "RemoveIPC=yes",
    "KeyringMode=private",
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallErrorNumber=EPERM",
    "SystemCallFilter=@system-service landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp",
    "SystemCallFilter=~@privileged @resources @keyring @aio @setuid @chown",
    "LimitCORE=0",
    "UMask=0077",
    "NotifyAccess=main",
    "Restart=always",
    "WatchdogSec=30s",
    "LoadCredential=postern.toml:/etc/postern/postern.toml",
    "OpenFile=/run/systemd/journal/socket:journal:graceful",
    "OpenFile=/run/systemd/notify:notify",
];

/// The rest that is the same for every process.
const COMMON: &[&str] = &[
    "RestartSec=100ms",
    "RestartSteps=6",
    "TimeoutStartSec=60s",
    "TimeoutStopSec=20s",
    "BindReadOnlyPaths=-/lib64/ld-linux-x86-64.so.2 -/lib/ld-linux-aarch64.so.1",
    "BindReadOnlyPaths=-/lib/x86_64-linux-gnu/libc.so.6 -/lib/x86_64-linux-gnu/libm.so.6 -/lib/x86_64-linux-gnu/libgcc_s.so.1",
    "BindReadOnlyPaths=-/lib/aarch64-linux-gnu/libc.so.6 -/lib/aarch64-linux-gnu/libm.so.6 -/lib/aarch64-linux-gnu/libgcc_s.so.1",
    "BindReadOnlyPaths=-/usr/lib64/libc.so.6 -/usr/lib64/libm.so.6 -/usr/lib64/libgcc_s.so.1",
    "BindReadOnlyPaths=-/usr/lib/libc.so.6 -/usr/lib/libm.so.6 -/usr/lib/libgcc_s.so.1",
];

/// What each process may use: memory, tasks, descriptors.
const LIMITS: &[(&str, [&str; 3])] = &[
    ("mx", ["2G", "64", "16384"]),
    ("submission", ["2G", "64", "16384"]),
    ("imap", ["2G", "64", "65536"]),
    ("scan", ["1G", "64", "1024"]),
    ("dns", ["512M", "64", "16384"]),
    ("send", ["1G", "64", "16384"]),
    ("queue", ["2G", "64", "65536"]),
    ("store", ["2G", "64", "65536"]),
    ("auth", ["1G", "64", "4096"]),
    ("keys", ["128M", "32", "1024"]),
];
/// Who holds secrets, of which none is ever written to a swap area.
const NEVER_SWAPPED: &[&str] = &["auth", "keys", "send"];

/// What only some have: credentials, a name of the machine's start, and that who is asked by another is there again soon.
const OWN: &[(&str, &[&str])] = &[
    ("send", &["ImportCredential=smarthost.*"]),
    ("auth", &["ImportCredential=account.*"]),
    ("keys", &["LoadCredential=tls.crt:postern.tls.crt", "LoadCredential=tls.key:postern.tls.key"]),
    ("store", &["Environment=POSTERN_BOOT_ID=%b"]),
];

/// What a process has that opens no connection, and what one has that does.
const NO_NETWORK: &[&str] = &["PrivateNetwork=yes", "IPAddressDeny=any", "SocketBindDeny=any"];
const NETWORK: &[&str] = &["IPAddressDeny=any"];

const INTERNET: &[&str] = &["AF_INET", "AF_INET6"];
const NONE: &[&str] = &[];

/// The text of a unit file; one that is missing has nothing that a test looks for.
fn unit(name: &str) -> String {
    fs::read_to_string(workspace().join("systemd").join(name)).unwrap_or_default()
}

fn none() -> BTreeSet<String> {
    BTreeSet::new()
}

fn values(unit: &str, key: &str) -> BTreeSet<String> {
    let assigned = unit.lines().filter_map(|l| l.strip_prefix(key)?.strip_prefix('='));
    assigned.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// Where the directory of an edge is, and the group and mode of its socket.
fn way_in(edge: &str) -> (&'static str, &'static str, &'static str) {
    if CONTROL_EDGES.contains(&edge) {
        ("/run/postern", "postern-admin", "0660")
    } else if SERVICES.iter().any(|service| service.answers.contains(&edge)) {
        ("/run/postern-edges", "root", "0600")
    } else {
        ("/run/postern-edges", "root", "0666")
    }
}

fn set(names: impl IntoIterator<Item = impl Into<String>>) -> BTreeSet<String> {
    names.into_iter().map(Into::into).collect()
}

/// Everything that the section of a service says, in any order.
fn section(service: &Service) -> Vec<String> {
    let name = service.name;
    let mut lines: Vec<String> = SANDBOX.iter().chain(COMMON).map(|line| (*line).to_owned()).collect();
    lines.extend(if service.dials_out { NETWORK } else { NO_NETWORK }.iter().map(|line| (*line).to_owned()));
    let families = if service.calls.is_empty() { NONE } else { &["AF_UNIX"] };
    let families = [families, if service.dials_out { INTERNET } else { NONE }].concat();
    lines.push(format!("RestrictAddressFamilies={}", if families.is_empty() { "none".to_owned() } else { families.join(" ") }));
    lines.extend(service.dials_out.then(|| format!("Slice=system-postern-public{}.slice", if name == "dns" { "-site" } else { "" })));
    lines.push(format!("Type={}", if service.reloads { "notify-reload" } else { "notify" }));
    lines.push(format!(
        "ExecStart=/usr/lib/postern/{}{}",
        service.program,
        if service.program == "postern-smtp" { format!(" {name}") } else { String::new() }
    ));
    // It ends whenever send does, and is to be back as soon.
    lines.push(format!("RestartMaxDelaySec={}", if service.answers.is_empty() { "10s" } else { "1s" }));
    if service.dynamic_user {
        lines.push("DynamicUser=yes".to_owned());
    } else {
        lines.extend([format!("User=postern-{name}"), format!("Group=postern-{name}")]);
    }
    if service.state {
        lines.extend([format!("StateDirectory=postern/{name}"), "StateDirectoryMode=0700".to_owned()]);
    }
    let limits = LIMITS.iter().find(|(of, _)| *of == name).map(|(_, limits)| limits);
    lines.extend(limits.into_iter().flat_map(|[memory, tasks, descriptors]| {
        [format!("MemoryMax={memory}"), format!("TasksMax={tasks}"), format!("LimitNOFILE={descriptors}")]
    }));
    lines.extend(NEVER_SWAPPED.contains(&name).then(|| "MemorySwapMax=0".to_owned()));
    lines.push(format!("RootDirectory=/run/postern-root/{name}"));
    lines.push(format!("BindReadOnlyPaths=/usr/lib/postern/{}", service.program));
    lines.extend(service.reads.iter().map(|file| format!("BindReadOnlyPaths=-{file}")));
    lines.extend(service.calls.iter().map(|edge| format!("BindReadOnlyPaths=/run/postern-edges/{edge}:/run/postern/{edge}")));
    lines.extend(service.answers.iter().map(|edge| format!("OpenFile=/run/postern-edges/{edge}/sock:{edge}:graceful")));
    lines.extend(OWN.iter().filter(|(of, _)| *of == name).flat_map(|(_, own)| *own).map(|line| (*line).to_owned()));
    lines.sort();
    lines
}

/// A directive more could take back what another says, so nothing else may stand there: no second value, nothing that is new.
#[test]
fn a_service_says_this_and_nothing_else() {
    for service in SERVICES {
        let unit = unit(&service.unit());
        let said = unit.split_once("\n[Service]\n").unwrap().1.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let filters: Vec<&str> = said.clone().filter(|line| line.starts_with("SystemCallFilter=")).collect();
        let mut said: Vec<&str> = said.collect();
        said.sort_unstable();
        let expected = section(service);
        let more: Vec<&&str> = said.iter().filter(|line| !expected.iter().any(|other| other == **line)).collect();
        let less: Vec<&String> = expected.iter().filter(|line| !said.contains(&line.as_str())).collect();
        assert_eq!((more, less), (Vec::new(), Vec::new()), "{}: what is more, what is missing", service.name);
        assert_eq!(said, expected, "{}: something stands twice", service.name);
        // Of these the order counts: what is taken away is taken from what was given.
        assert!(filters[0].contains("=@") && filters[1].contains("=~@"), "{}", service.name);
        assert_eq!(unit.matches("[Service]").count(), 1, "{}", service.name);
    }
}

#[test]
fn every_service_is_what_the_table_says() {
    for service in SERVICES {
        let unit = unit(&service.unit());
        let argument = if service.program == "postern-smtp" { format!(" {}", service.name) } else { String::new() };
        assert!(unit.contains(&format!("\nExecStart=/usr/lib/postern/{}{argument}\n", service.program)), "{}", service.name);
        let kind = if service.reloads { "notify-reload" } else { "notify" };
        assert_eq!(values(&unit, "Type"), set([kind]), "{}", service.name);
        assert_eq!(unit.contains("\nDynamicUser=yes\n"), service.dynamic_user, "{}", service.name);
        let user = if service.dynamic_user { none() } else { set([format!("postern-{}", service.name)]) };
        assert_eq!((values(&unit, "User"), values(&unit, "Group")), (user.clone(), user), "{}", service.name);
        let state = if service.state { set([format!("postern/{}", service.name)]) } else { none() };
        assert_eq!(values(&unit, "StateDirectory"), state, "{}", service.name);
        assert_eq!(values(&unit, "SupplementaryGroups"), none(), "{}: an edge is opened by being seen", service.name);
        assert_eq!(service.dials_out, ["dns", "send"].contains(&service.name), "{}: nobody else has a network", service.name);
    }
}

#[test]
fn a_service_sees_its_program_the_c_library_and_the_edges_it_calls() {
    for service in SERVICES {
        let bound = values(&unit(&service.unit()), "BindReadOnlyPaths");
        let libraries = |path: &String| path.starts_with("-/lib") || path.starts_with("-/usr/lib");
        let expected = service.calls.iter().map(|e| format!("/run/postern-edges/{e}:/run/postern/{e}"));
        let expected = expected.chain([format!("/usr/lib/postern/{}", service.program)]);
        let expected = expected.chain(service.reads.iter().map(|file| format!("-{file}")));
        assert_eq!(bound.into_iter().filter(|p| !libraries(p)).collect::<BTreeSet<_>>(), set(expected), "{}", service.name);
        assert_eq!(values(&unit(&service.unit()), "BindPaths"), none(), "{}", service.name);
        // The journal and PID 1, which every process has, and those whom it answers without seeing them.
        let opened = service.answers.iter().map(|edge| format!("/run/postern-edges/{edge}/sock:{edge}:graceful"));
        let opened = opened.chain(SANDBOX.iter().filter_map(|line| line.strip_prefix("OpenFile=")).map(str::to_owned));
        assert_eq!(values(&unit(&service.unit()), "OpenFile"), set(opened), "{}", service.name);
        assert_eq!(values(&unit(&service.unit()), "RootDirectory"), set([format!("/run/postern-root/{}", service.name)]));
    }
}

#[test]
fn a_service_needs_its_own_sockets_and_wants_those_it_calls() {
    let socket = |name: &&str| format!("postern-{name}.socket");
    for service in SERVICES {
        let unit = unit(&service.unit());
        assert_eq!(values(&unit, "Requires"), set(service.listeners.iter().chain(service.serves).map(socket)), "{}", service.name);
        // Who answers here has to be running, and it does not run because it is asked.
        let answering: Vec<&Service> = SERVICES.iter().filter(|s| s.answers.iter().any(|edge| service.serves.contains(edge))).collect();
        let wanted = set(service.calls.iter().map(socket).chain(answering.iter().map(|s| s.unit())));
        assert_eq!(values(&unit, "Wants"), wanted, "{}", service.name);
        let every = service.listeners.iter().chain(service.serves).chain(service.calls).chain(service.answers);
        assert_eq!(values(&unit, "After"), set(every.map(socket).chain(answering.iter().map(|s| s.unit()))), "{}", service.name);
        let asking = SERVICES.iter().filter(|s| s.serves.iter().any(|edge| service.answers.contains(edge)));
        assert_eq!(values(&unit, "StopPropagatedFrom"), set(asking.map(Service::unit)), "{}", service.name);
    }
}

#[test]
fn every_edge_of_the_code_has_one_server_and_one_socket() {
    let served: Vec<&str> = SERVICES.iter().flat_map(|s| s.serves).copied().collect();
    assert_eq!(set(served.clone()), set(EDGES.to_vec()));
    assert_eq!(served.len(), EDGES.len());
    for service in SERVICES {
        for edge in service.serves {
            let socket = unit(&format!("postern-{edge}.socket"));
            let (directory, group, mode) = way_in(edge);
            assert_eq!(values(&socket, "ListenSequentialPacket"), set([format!("{directory}/{edge}/sock")]));
            assert_eq!(values(&socket, "FileDescriptorName"), set([*edge]));
            assert_eq!(values(&socket, "Service"), set([service.unit()]));
            assert_eq!((values(&socket, "SocketUser"), values(&socket, "SocketGroup")), (set(["root"]), set([group])), "{edge}");
            assert_eq!(values(&socket, "SocketMode"), set([mode]), "{edge}");
            if directory == "/run/postern-edges" {
                // Where tmpfiles.d was forgotten, PID 1 makes the directories: then nobody passes them, rather than everybody.
                assert_eq!(values(&socket, "DirectoryMode"), set(["0700"]), "{edge}");
            }
        }
    }
}

#[test]
fn every_called_edge_is_served_and_only_the_operator_calls_control_edges() {
    let called = set(SERVICES.iter().flat_map(|s| s.calls.iter().chain(s.answers)).copied());
    let for_operators = set(CONTROL_EDGES.to_vec());
    assert_eq!(called.union(&for_operators).cloned().collect::<BTreeSet<_>>(), set(EDGES.to_vec()));
    assert!(called.is_disjoint(&for_operators));
}

#[test]
fn a_port_has_a_socket_of_its_own_name_and_only_the_usual_ones_are_open() {
    let target = values(&unit("postern.target"), "Wants");
    for (listeners, usual) in [(LISTENERS, true), (OPTIONAL_LISTENERS, false)] {
        for listener in listeners {
            let name = format!("postern-{}.socket", listener.name);
            let socket = unit(&name);
            assert_eq!(values(&socket, "ListenStream"), set([listener.port.to_string()]));
            assert_eq!(values(&socket, "FileDescriptorName"), set([listener.name]));
            assert_eq!(values(&socket, "Service"), set([format!("postern-{}.service", listener.service)]));
            assert_eq!(target.contains(&name), usual, "{name}");
            assert_eq!(socket.contains("\nWantedBy=postern.target\n"), !usual, "{name}: enabled by hand or not at all");
        }
    }
}

#[test]
fn the_target_starts_everything_and_there_are_no_other_units() {
    let usual = LISTENERS.iter().map(|l| l.name).chain(EDGES.iter().copied()).map(|n| format!("postern-{n}.socket"));
    let expected = set(usual.chain(SERVICES.iter().map(Service::unit)));
    assert_eq!(values(&unit("postern.target"), "Wants"), expected);
    let optional = OPTIONAL_LISTENERS.iter().map(|l| format!("postern-{}.socket", l.name));
    let files = ["service", "socket"].iter().flat_map(|kind| unit_files(kind).unwrap()).map(|(name, _)| name);
    assert_eq!(set(files.clone()), expected.into_iter().chain(optional).collect());
    for name in files {
        assert_eq!(values(&unit(&name), "PartOf"), set(["postern.target"]), "{name}");
    }
}

#[test]
fn who_has_a_network_has_a_slice_with_its_addresses() {
    let named = |dials_out: bool| SERVICES.iter().filter(move |s| s.dials_out == dials_out).map(|s| values(&unit(&s.unit()), "Slice"));
    assert!(named(false).all(|slices| slices.is_empty()));
    assert!(named(true).all(|slices| slices.len() == 1));
    let files = unit_files("slice").unwrap().into_iter().map(|(name, _)| name);
    assert_eq!(files.collect::<BTreeSet<_>>(), named(true).flatten().collect());
    // The addresses stand there once.
    for service in SERVICES {
        assert_eq!(values(&unit(&service.unit()), "IPAddressAllow"), none(), "{}", service.name);
    }
}

#[test]
fn directories_exist_for_all_edges_and_roots_and_users_for_all_vaults() {
    let tmpfiles = unit("postern.tmpfiles.conf");
    let sysusers = unit("postern.sysusers.conf");
    // Nobody but PID 1 passes here, and binds what is below for whom it concerns.
    assert!(tmpfiles.contains("\nd /run/postern-edges 0700 root root -\n"));
    for edge in EDGES {
        assert!(tmpfiles.contains(&format!("\nd {}/{edge} 0755 root root -\n", way_in(edge).0)), "{edge}");
    }
    for service in SERVICES {
        assert!(tmpfiles.contains(&format!("\nd /run/postern-root/{} 0755 root root -\n", service.name)), "{}", service.name);
    }
    for service in SERVICES.iter().filter(|s| !s.dynamic_user) {
        assert!(sysusers.contains(&format!("\nu postern-{} - ", service.name)), "{}", service.name);
    }
}
