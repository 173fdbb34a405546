use crate::{assert_same, await_messages, file, files, message, run, stripped};
use std::{fs, path::Path, process::Command};
use test_support::{Appliance, Imap, Smtp, need};

fn config(appliance: &Appliance, near: &Path) -> String {
    let (user, password) = appliance.account("alice");
    format!(
        "IMAPAccount postern\nHost localhost\nPort {}\nUser {user}\nPass {password}\nSSLType IMAPS\nCertificateFile {}\n\n\
         IMAPStore far\nAccount postern\n\nMaildirStore near\nPath {near}/\nInbox {near}/INBOX\nSubFolders Verbatim\n\n\
         Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n",
        appliance.port("imaps"),
        appliance.authority().display(),
        near = near.display()
    )
}

fn maildir(near: &Path, folder: &str) -> Vec<Vec<u8>> {
    let dir = near.join(folder);
    ["new", "cur"].iter().flat_map(|part| files(&dir.join(part))).map(|(_, bytes)| bytes).collect()
}

/// mbsync marks what it stores with a field of its own.
fn without_tuid(message: &[u8]) -> Vec<u8> {
    let mut header = true;
    let mut kept = Vec::new();
    for line in message.split_inclusive(|b| *b == b'\n') {
        header &= line != b"\n";
        if !(header && line.starts_with(b"X-TUID: ")) {
            kept.extend_from_slice(line);
        }
    }
    kept
}

#[test]
fn mbsync_copies_both_ways_and_a_second_run_changes_nothing() {
    let Some(mbsync) = need("mbsync") else { return };
    let appliance = Appliance::mta_test();
    let mut smtp = Smtp::connect(&appliance, "mx");
    let sent: Vec<Vec<u8>> = (0..5).map(|n| message(&format!("mbsync-{n}"))).collect();
    for message in &sent {
        assert_eq!(smtp.send("carol@remote.test", &["alice@mta.test"], message).code, 250);
    }
    await_messages(&appliance, "alice", 5);

    let near = appliance.scratch().join("maildir");
    fs::create_dir(&near).unwrap();
    let config = file(&appliance, "mbsyncrc", config(&appliance, &near).as_bytes());
    let sync = || run(Command::new(&mbsync).env("HOME", appliance.scratch()).arg("-c").arg(&config).arg("all"));
    sync();
    let mut read: Vec<Vec<u8>> = maildir(&near, "INBOX");
    read.sort_by_key(|m| String::from_utf8_lossy(m).split("Subject: ").nth(1).map(str::to_owned));
    assert_eq!(read.len(), 5);
    for (sent, read) in sent.iter().zip(&read) {
        // A Maildir holds lines ended by LF.
        let sent = String::from_utf8(sent.clone()).unwrap().replace("\r\n", "\n");
        assert_same(sent.as_bytes(), &without_tuid(&stripped(read)));
    }

    // A message that is new on this side, and a flag.
    fs::write(near.join("INBOX/cur/1.local.example:2,FS"), "Subject: from this side\n\nhello\n").unwrap();
    sync();
    let mut imap = Imap::login(&appliance, "alice");
    assert_eq!(imap.count("INBOX"), 6);
    imap.must("SELECT INBOX");
    let flags = imap.must("FETCH 6 (FLAGS)").text();
    assert!(flags.contains("\\Flagged") && flags.contains("\\Seen"), "{flags}");

    let before: Vec<String> = files(&near.join("INBOX/cur")).into_iter().map(|(name, _)| name).collect();
    sync();
    let after: Vec<String> = files(&near.join("INBOX/cur")).into_iter().map(|(name, _)| name).collect();
    assert_eq!(before, after);
    assert_eq!(imap.count("INBOX"), 6);
}
