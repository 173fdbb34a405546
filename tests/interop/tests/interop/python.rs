use crate::{assert_same, await_messages, file, files, message, run, stripped};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use test_support::{Appliance, need};

pub(crate) fn client(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

/// Who sends what: `mode` is that of `send.py`.
pub(crate) fn send(appliance: &Appliance, python: &Path, mode: &str, from: &str, to: &str, file: &Path) {
    let port = match mode {
        "mx" => "mx",
        "tls" => "submissions",
        _ => "submission",
    };
    let (user, password) = if mode == "mx" { ("", "") } else { appliance.account(from) };
    run(Command::new(python)
        .arg(client("send.py"))
        .args([mode, &appliance.port(port).to_string()])
        .arg(appliance.authority())
        .args([user, password, from, to])
        .arg(file));
}

/// The messages and the structures of an account's INBOX.
pub(crate) fn read(appliance: &Appliance, python: &Path, user: &str, password: &str) -> Vec<(Vec<u8>, String)> {
    let dir = appliance.scratch().join(format!("read-{}", user.replace('@', "-")));
    fs::create_dir_all(&dir).unwrap();
    run(Command::new(python)
        .arg(client("read.py"))
        .arg(appliance.port("imaps").to_string())
        .arg(appliance.authority())
        .args([user, password, "INBOX"])
        .arg(&dir));
    let all = files(&dir);
    all.iter()
        .filter(|(name, _)| name.ends_with(".eml"))
        .map(|(name, bytes)| {
            let structure = fs::read(dir.join(name).with_extension("structure")).unwrap();
            (bytes.clone(), String::from_utf8_lossy(&structure).into_owned())
        })
        .collect()
}

#[test]
fn smtplib_sends_and_imaplib_reads() {
    let Some(python) = need("python3") else { return };
    let appliance = Appliance::mta_test();
    let inbound = message("python-mx");
    send(&appliance, &python, "mx", "carol@remote.test", "alice@mta.test", &file(&appliance, "in", &inbound));
    await_messages(&appliance, "alice", 1);
    let own = String::from_utf8(message("python-submission")).unwrap().replace("carol@remote.test", "bob@mta.test").into_bytes();
    let own_file = file(&appliance, "own", &own);
    send(&appliance, &python, "starttls", "bob@mta.test", "alice@mta.test", &own_file);
    await_messages(&appliance, "alice", 2);
    send(&appliance, &python, "tls", "bob@mta.test", "alice@mta.test", &own_file);
    await_messages(&appliance, "alice", 3);
    let (user, password) = appliance.account("alice");
    let read = read(&appliance, &python, user, password);
    assert_eq!(read.len(), 3);
    for (sent, (read, _)) in [&inbound, &own, &own].into_iter().zip(&read) {
        assert_same(sent, &stripped(read));
    }
}
