//! `postern up`: what it promises to the person and to the program that start it.

use serde_json::Value;
use std::{
    fs,
    io::Read,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::{Command, Stdio},
};
use test_support::{Appliance, Imap, Smtp, binaries, daemons, eventually, need, skip};

fn root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn exists(pid: u32) -> bool {
    // A zombie has ended; whoever adopted it will take it away.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap_or_else(|| panic!("{field} in {text}"));
    line.split_once(':').unwrap().1.trim().to_owned()
}

#[test]
fn the_line_of_json_has_everything_that_was_promised() {
    let appliance = Appliance::demonstration();
    let ready = appliance.ready();
    assert_eq!(ready["ready"], true);
    assert_eq!(ready["domain"], "example.test");
    for port in ["mx", "submission", "submissions", "imaps"] {
        assert!(ready["ports"][port].as_u64().is_some_and(|n| (1..=65535).contains(&n)), "{ready}");
    }
    let accounts: Vec<&str> = ready["accounts"].as_array().unwrap().iter().map(|a| a["address"].as_str().unwrap()).collect();
    assert_eq!(accounts, ["alice@example.test", "bob@example.test"]);
    assert!(fs::read_to_string(appliance.authority()).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(appliance.state().join("postern.toml").is_file());
    for account in ["alice", "bob"] {
        assert_eq!(Imap::login(&appliance, account).count("INBOX"), 0);
    }
}

#[test]
fn every_process_is_confined_and_none_is_root() {
    let appliance = Appliance::demonstration();
    let mut users = Vec::new();
    for daemon in daemons() {
        let pid = appliance.pid(daemon);
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status(pid, set), "0000000000000000", "{daemon} {set}");
        }
        assert_eq!(status(pid, "NoNewPrivs"), "1", "{daemon}");
        assert_eq!(status(pid, "Seccomp:"), "2", "{daemon}");
        assert!(appliance.log(daemon).contains("landlock=\"ABI 6 or newer\""), "{daemon}: {}", appliance.log(daemon));
        let uid = status(pid, "Uid");
        if root() {
            assert_eq!(status(pid, "CapBnd"), "0000000000000000", "{daemon}");
            assert_eq!(status(pid, "Groups"), "", "{daemon}");
            assert!(uid.split_whitespace().all(|id| id != "0"), "{daemon} {uid}");
            users.push(uid);
        }
    }
    users.sort();
    let all = users.len();
    users.dedup();
    assert_eq!(users.len(), all, "two daemons share a user");
}

#[test]
fn only_keys_can_read_the_key() {
    let appliance = Appliance::demonstration();
    let credentials = appliance.state().join("credentials");
    for daemon in daemons() {
        let key = credentials.join(daemon).join("tls.key");
        assert_eq!(key.exists(), daemon == "keys", "{daemon}");
    }
    let (dir, key) = (fs::metadata(credentials.join("keys")).unwrap(), fs::metadata(credentials.join("keys/tls.key")).unwrap());
    assert_eq!((dir.mode() & 0o777, key.mode() & 0o777), (0o700, 0o400));
    let owner = status(appliance.pid("keys"), "Uid").split_whitespace().next().unwrap().parse::<u32>().unwrap();
    assert_eq!((dir.uid(), key.uid()), (owner, owner));
}

#[test]
fn a_daemon_is_given_only_what_it_needs() {
    let appliance = Appliance::demonstration();
    // What a process can see of its own environment, it could tell whoever takes it over.
    for daemon in daemons() {
        let environment = fs::read(format!("/proc/{}/environ", appliance.pid(daemon)));
        let Ok(environment) = environment else {
            return skip("the environment of a process that is not dumpable can be read by root alone");
        };
        let names: Vec<String> = environment
            .split(|b| *b == 0)
            .filter(|v| !v.is_empty())
            .map(|v| String::from_utf8_lossy(v).split('=').next().unwrap().to_owned())
            .collect();
        let allowed =
            ["POSTERN_EDGES", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_FDNAMES", "POSTERN_LOG"];
        assert!(names.iter().all(|name| allowed.contains(&name.as_str())), "{daemon}: {names:?}");
        assert_eq!(names.iter().any(|n| n == "STATE_DIRECTORY"), ["store", "queue", "auth", "keys"].contains(&daemon), "{daemon}");
    }
}

#[test]
fn an_interrupt_ends_every_process() {
    let mut appliance = Appliance::demonstration();
    let pids: Vec<u32> = daemons().iter().map(|daemon| appliance.pid(daemon)).collect();
    assert!(pids.iter().all(|pid| exists(*pid)));
    assert!(appliance.stop(), "it ends by itself, with success");
    assert!(pids.iter().all(|pid| !exists(*pid)));
}

#[test]
fn no_process_outlives_up_even_if_it_is_killed() {
    let appliance = Appliance::demonstration();
    let pids: Vec<u32> = daemons().iter().map(|daemon| appliance.pid(daemon)).collect();
    let status = Command::new("kill").args(["-KILL", &appliance.up_pid().to_string()]).status().unwrap();
    assert!(status.success());
    eventually("the end of every daemon", || pids.iter().all(|pid| !exists(*pid)).then_some(()));
}

#[test]
fn a_killed_daemon_is_back_and_nobody_was_refused() {
    let appliance = Appliance::mta_test();
    for daemon in daemons() {
        let before = appliance.pid(daemon);
        assert!(appliance.kill(daemon));
        // The listening socket is still there: this connection waits until the next life accepts it.
        let mut smtp = Smtp::connect(&appliance, "mx");
        let message = format!("From: carol@remote.test\r\nSubject: after {daemon}\r\n\r\n");
        eventually("an accepted message", || {
            let reply = smtp.send("carol@remote.test", &["alice@mta.test"], message.as_bytes());
            if reply.code == 0 {
                smtp = Smtp::connect(&appliance, "mx");
            } else if reply.code != 250 {
                smtp.command("RSET");
            }
            (reply.code == 250).then_some(())
        });
        eventually("another process", || (appliance.pid(daemon) != before).then_some(()));
    }
    let mut imap = Imap::login(&appliance, "alice");
    eventually("all messages", || (imap.count("INBOX") == daemons().len()).then_some(()));
}

#[test]
fn a_second_start_has_the_same_passwords_and_the_same_mail() {
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let mut child = Appliance::command(dir.path()).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(rest, "", "one line, nothing else");
        ready
    };
    let (first, second) = (start(), start());
    assert_eq!(first["accounts"], second["accounts"]);
    assert_eq!(fs::metadata(dir.path().join("passwords")).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn an_occupied_port_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    // Some base whose first port is taken by us.
    let (listener, base) = (0..100)
        .find_map(|_| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let base = listener.local_addr().unwrap().port().checked_sub(525).filter(|base| *base > 0 && *base < 64_000)?;
            Some((listener, base))
        })
        .unwrap();
    let output = Command::new(binaries().join("postern"))
        .args(["up", "--json", "--port-base", &base.to_string(), "--state"])
        .arg(dir.path())
        .output()
        .unwrap();
    drop(listener);
    one_line(&output, "already in use");
}

#[test]
fn a_directory_that_cannot_be_written_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    one_line(&Appliance::command(&file.join("state")).output().unwrap(), "Not a directory");
    let Some(setpriv) = need("setpriv") else { return };
    if root() {
        let closed = dir.path().join("closed");
        fs::create_dir(&closed).unwrap();
        open(dir.path());
        let bin = tempfile::tempdir().unwrap();
        let postern = as_nobody(bin.path());
        let output = Command::new(setpriv)
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(postern)
            .args(["up", "--json", "--port-base", "0", "--state"])
            .arg(closed.join("state"))
            .output()
            .unwrap();
        one_line(&output, "Permission denied");
    }
}

#[test]
fn it_runs_without_root() {
    if !root() {
        return skip("the other tests show it: they are not run by root");
    }
    let Some(setpriv) = need("setpriv") else { return };
    let dir = tempfile::tempdir().unwrap();
    open(dir.path());
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    std::os::unix::fs::chown(&state, Some(65534), Some(65534)).unwrap();
    let bin = tempfile::tempdir().unwrap();
    let mut child = Command::new(setpriv)
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(as_nobody(bin.path()))
        .args(["up", "--json", "--port-base", "0", "--state"])
        .arg(&state)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    for daemon in daemons() {
        let pid = u32::try_from(ready["pids"][daemon].as_u64().unwrap()).unwrap();
        assert_eq!(status(pid, "CapEff"), "0000000000000000");
        assert_eq!(status(pid, "Seccomp:"), "2");
        assert!(status(pid, "Uid").starts_with("65534"));
    }
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_state_directory_that_other_users_cannot_reach_serves_all_the_same() {
    if !root() {
        return skip("only root's daemons are other users");
    }
    let dir = tempfile::tempdir().unwrap();
    // As /root is.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let mut child = Appliance::command(&dir.path().join("state")).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    // It was probed by a login before it said so.
    let ready: Value = serde_json::from_str(&line).unwrap();
    let pid = u32::try_from(ready["pids"]["store"].as_u64().unwrap()).unwrap();
    assert!(!status(pid, "Uid").starts_with('0'));
    assert!(dir.path().join("state/state/store").is_dir());
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o777, 0o700, "what was closed stays closed");
}

/// The executables where everybody can run them.
fn as_nobody(dir: &Path) -> std::path::PathBuf {
    open(dir);
    for entry in fs::read_dir(binaries()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_file() && name.starts_with("postern") && !name.contains('.') {
            fs::copy(&path, dir.join(&name)).unwrap();
            fs::set_permissions(dir.join(&name), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    dir.join("postern")
}

fn open(dir: &Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
}

fn one_line(output: &std::process::Output, contains: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains(contains), "{error}");
    assert!(output.stdout.is_empty());
}
