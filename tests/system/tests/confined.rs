//! Every running process is as confined as the table says. Cases SBX-02 and SBX-08.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, str,
};
use system::{ALICE, Appliance, CONTROL_EDGES, ORDINARY, SERVICES, Service, cgroup, children, run};

/// The lines of `/proc/PID/status` by their names.
fn status(appliance: &Appliance, pid: u32) -> BTreeMap<String, String> {
    let text = fs::read_to_string(appliance.path(&format!("/proc/{pid}/status"))).unwrap_or_default();
    text.lines().filter_map(|l| l.split_once(':')).map(|(k, v)| (k.to_owned(), v.trim().to_owned())).collect()
}

#[test]
fn no_process_is_root_or_holds_a_capability_and_all_have_filters() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let mut users = BTreeSet::new();
    for service in SERVICES {
        let status = status(&appliance, appliance.main_pid(service).unwrap());
        let name = service.name;
        let ids: BTreeSet<&str> = status["Uid"].split_whitespace().collect();
        assert!(ids.len() == 1 && !ids.contains("0"), "{name}: {}", status["Uid"]);
        assert!(users.insert(status["Uid"].clone()), "{name}: its user is another's too");
        let gids: BTreeSet<&str> = status["Gid"].split_whitespace().collect();
        assert!(gids.len() == 1 && !gids.contains("0"), "{name}: {}", status["Gid"]);
        let mut groups: BTreeSet<&str> = status["Groups"].split_whitespace().collect();
        groups.retain(|g| !gids.contains(g));
        assert_eq!(groups, BTreeSet::new(), "{name}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status[set], "0000000000000000", "{name}: {set}");
        }
        assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"), "{name}");
    }
}

#[test]
fn every_process_says_that_landlock_is_in_force() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    for service in SERVICES {
        let unit = format!("_SYSTEMD_UNIT={}", service.unit());
        let entries = appliance.journal(&[&unit]).unwrap();
        let confined = entries.iter().find(|e| e["MESSAGE"] == "confined").unwrap_or_else(|| panic!("{}", service.name));
        assert!(confined["POSTERN_LANDLOCK"].as_str().is_some_and(|l| l.starts_with("ABI ")), "{confined}");
    }
}

#[test]
fn only_send_and_dns_have_a_network_with_a_way_out() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let of_the_host = fs::read_link(appliance.path("/proc/1/ns/net")).unwrap();
    let mut namespaces = BTreeSet::from([of_the_host.clone()]);
    for service in SERVICES {
        let pid = appliance.main_pid(service).unwrap();
        let namespace = fs::read_link(appliance.path(&format!("/proc/{pid}/ns/net"))).unwrap();
        if service.dials_out {
            assert_eq!(namespace, of_the_host, "{}", service.name);
            continue;
        }
        assert!(namespaces.insert(namespace), "{}", service.name);
        let devices = fs::read_to_string(appliance.path(&format!("/proc/{pid}/net/dev"))).unwrap();
        let devices: Vec<&str> = devices.lines().skip(2).filter_map(|l| l.split(':').next()).map(str::trim).collect();
        assert_eq!(devices, ["lo"], "{}", service.name);
    }
}

/// Everything that is a regular file, socket or pipe below the root of a process, without the kernel's own file systems.
fn view(appliance: &Appliance, service: &Service) -> BTreeSet<String> {
    let pid = appliance.main_pid(service).unwrap_or_default();
    let script =
        format!("cd /proc/{pid}/root && find . \\( -path ./proc -o -path ./sys -o -path ./dev \\) -prune -o ! -type d ! -empty -print");
    appliance.sh(&script).unwrap_or_default().lines().map(|l| l.trim_start_matches('.').to_owned()).collect()
}

#[test]
fn a_process_sees_its_program_four_libraries_and_the_edges_it_calls() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    for service in SERVICES.iter().filter(|s| !s.state) {
        let seen = view(&appliance, service);
        let libraries = |p: &&String| p.starts_with("/lib/") || p.starts_with("/lib64/");
        assert!(seen.iter().filter(libraries).count() <= 4, "{}: {seen:#?}", service.name);
        let systemd = |p: &&String| ["/run/systemd/", "/run/host/", "/run/postern/"].iter().any(|own| p.starts_with(own));
        let credentials = format!("/run/credentials/{}/", service.unit());
        let own: BTreeSet<String> = seen.iter().filter(|p| !libraries(p) && !systemd(p) && !p.starts_with(&credentials)).cloned().collect();
        let reads: BTreeSet<&str> = service.reads.iter().copied().collect();
        let own: BTreeSet<String> = own.into_iter().filter(|p| !reads.contains(p.as_str())).collect();
        let program = format!("/usr/lib/postern/{}", service.program);
        assert_eq!(own, BTreeSet::from([program]), "{}", service.name);
    }
    for service in SERVICES {
        let pid = appliance.main_pid(service).unwrap();
        let edges = appliance.sh(&format!("ls /proc/{pid}/root/run/postern 2>/dev/null || true")).unwrap();
        assert_eq!(edges.lines().collect::<BTreeSet<_>>(), service.calls.iter().copied().collect(), "{}", service.name);
    }
}

/// Which sockets below a directory somebody can connect to.
fn open_to(appliance: &Appliance, user: &str, groups: &str, directory: &str) -> BTreeSet<String> {
    let look = format!("for edge in {directory}/*/; do if [ -w $edge/sock ]; then basename $edge; fi; done");
    let script = format!("setpriv --reuid={user} --regid=nogroup --{groups} sh -c '{look}'");
    appliance.sh(&script).unwrap().lines().filter(|l| *l != "*").map(str::to_owned).collect()
}

#[test]
fn no_user_of_the_host_opens_an_edge_and_operators_open_those_for_control() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let served: BTreeSet<String> = SERVICES.iter().flat_map(|s| s.serves).map(|edge| (*edge).to_owned()).collect();
    let control: BTreeSet<String> = CONTROL_EDGES.iter().map(|edge| (*edge).to_owned()).collect();
    for user in ["nobody", "postern-queue"] {
        for directory in ["/run/postern", "/run/postern-edges"] {
            assert_eq!(open_to(&appliance, user, "clear-groups", directory), BTreeSet::new(), "{user} in {directory}");
        }
    }
    assert_eq!(open_to(&appliance, "nobody", "groups=postern-admin", "/run/postern"), control);
    assert_eq!(open_to(&appliance, "nobody", "groups=postern-admin", "/run/postern-edges"), BTreeSet::new());
    // What is asked above can be answered with yes.
    let all = ["/run/postern", "/run/postern-edges"].iter().flat_map(|place| open_to(&appliance, "root", "clear-groups", place));
    assert_eq!(all.collect::<BTreeSet<_>>(), served);
}

#[test]
fn nothing_that_a_process_writes_can_be_read_by_another() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    appliance.deliver("s@example.net", ALICE, b"From: s@example.net\r\nSubject: private\r\n\r\nx\r\n").unwrap();
    appliance.fetch(ALICE, "private").unwrap();
    let open = appliance.sh("find /var/lib/postern -mindepth 1 -perm /077").unwrap();
    assert_eq!(open, "");
    let owners = appliance.sh("cd /var/lib/postern; for d in *; do echo $d $(find $d -printf '%u\\n' | sort -u); done").unwrap();
    assert_eq!(owners, "auth postern-auth\nkeys postern-keys\nqueue postern-queue\nstore postern-store\n");
}

/// What of a process only itself and root may see.
const PRIVATE: [&str; 3] = ["mem", "environ", "maps"];

/// Whether somebody with a process' own user, in the user namespace where it is known, can read these of it: all of them, or none.
fn is_open_to_its_own_user(pid: u32) -> bool {
    let of_user = |field: &str| system::status(pid, field).unwrap().split_whitespace().next().unwrap().to_owned();
    let (user, group, number) = (of_user("Uid"), of_user("Gid"), pid.to_string());
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    let become_it: &[&str] = if namespace("self") == namespace(&number) {
        &["setpriv", "--reuid", &user, "--regid", &group, "--clear-groups", "--"]
    } else {
        &["nsenter", "-t", &number, "-U", "-S", &user, "-G", &group, "--"]
    };
    // That it is that user, and is refused for no other reason.
    let me = run(&[become_it, &["id", "-u"]].concat(), b"").unwrap().ok("id").unwrap();
    assert_eq!(me.trim(), user, "{pid}");
    // Of its memory nothing is at the beginning, and opening it is all.
    let opens = PRIVATE.map(|file| run(&[become_it, &["sh", "-c", &format!(": </proc/{pid}/{file}")]].concat(), b"").unwrap().success());
    let owners = PRIVATE.map(|file| run(&["stat", "-c", "%u", &format!("/proc/{pid}/{file}")], b"").unwrap().ok("stat").unwrap());
    let is_its_own = owners.map(|owner| owner.trim() == user);
    assert!(opens == is_its_own && opens.iter().all(|one| *one == opens[0]), "{pid}: {opens:?} {is_its_own:?}");
    opens[0]
}

/// The process of a unit, or of `postern up`, as the machine numbers it.
fn outside(appliance: &Appliance, is_it: impl Fn(u32) -> bool) -> u32 {
    let up = children(appliance.pid());
    let below: Vec<u32> = up.iter().flat_map(|pid| children(*pid)).collect();
    up.into_iter().chain(below).find(|pid| is_it(*pid)).unwrap()
}

#[test]
fn no_process_lets_others_of_its_user_look_into_it() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    // Who is as the kernel makes it can be looked into, in the host's user namespace and in one of its own.
    appliance.sh(&format!("systemd-run --quiet --unit=plain -p User={ORDINARY} -p Type=exec sleep infinity")).unwrap();
    appliance.sh("systemd-run --quiet --unit=private -p User=postern-queue -p PrivateUsers=yes -p Type=exec sleep infinity").unwrap();
    for control in ["plain", "private"] {
        let pid = outside(&appliance, |pid| cgroup(pid).ends_with(&format!("/{control}.service")) && is_named(pid, "sleep"));
        assert!(is_open_to_its_own_user(pid), "{control}");
    }
    for service in SERVICES {
        let pid = outside(&appliance, |pid| cgroup(pid).ends_with(&format!("/{}", service.unit())));
        assert!(!is_open_to_its_own_user(pid), "{}", service.name);
    }
    let up = appliance.up("/srv/up").unwrap();
    let daemons: Vec<u32> = children(up);
    assert_eq!(daemons.len(), SERVICES.len());
    for pid in daemons {
        assert!(!is_open_to_its_own_user(pid), "{:?} of up", system::status(pid, "Name"));
    }
}

fn is_named(pid: u32, name: &str) -> bool {
    system::status(pid, "Name").is_some_and(|comm| comm == name)
}
