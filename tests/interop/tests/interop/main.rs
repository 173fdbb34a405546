//! Real clients send and read: what was sent is what is read, byte for byte, behind the fields that delivery puts in front.
//!
//! One client a file. A client that is not installed is a skip with a reason.

mod curl;
mod large;
mod mbsync;
mod msmtp;
mod mutt;
mod python;
mod swaks;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use test_support::{Appliance, Imap, after_added_fields, eventually};

/// A message with what clients and servers like to change: dots at the start of lines, blanks at their end, eight-bit text, a long
/// line, an empty last line.
pub(crate) fn message(subject: &str) -> Vec<u8> {
    let long = "x".repeat(990);
    format!(
        "From: Carol <carol@remote.test>\r\nTo: alice@mta.test\r\nSubject: {subject}\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n\
         Message-ID: <{subject}@remote.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\n\r\n.\r\n..two dots\r\nblanks at the end  \r\n\tGr\u{fc}\u{df}e, \u{65e5}\u{672c}\r\n{long}\r\n\r\n\
         From here on nothing is quoted.\r\n"
    )
    .into_bytes()
}

/// Writes a file for a client to send.
pub(crate) fn file(appliance: &Appliance, name: &str, bytes: &[u8]) -> PathBuf {
    let path = appliance.scratch().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

pub(crate) fn url(appliance: &Appliance, scheme: &str, port: &str) -> String {
    format!("{scheme}://localhost:{}", appliance.port(port))
}

/// Waits until this many messages are in the INBOX.
pub(crate) fn await_messages(appliance: &Appliance, account: &str, count: usize) {
    let mut imap = Imap::login(appliance, account);
    eventually("deliveries", || (imap.count("INBOX") >= count).then_some(()));
}

/// What is in the INBOX, without the fields that delivery put in front.
pub(crate) fn inbox(appliance: &Appliance, account: &str, count: usize) -> Vec<Vec<u8>> {
    await_messages(appliance, account, count);
    let all = Imap::login(appliance, account).messages("INBOX");
    all.iter().map(|m| stripped(m)).collect()
}

pub(crate) fn stripped(delivered: &[u8]) -> Vec<u8> {
    let text = || String::from_utf8_lossy(&delivered[..delivered.len().min(2000)]).into_owned();
    after_added_fields(delivered).unwrap_or_else(|| panic!("fields are missing in front: {}", text())).to_vec()
}

/// Equal, or where the difference begins.
pub(crate) fn assert_same(sent: &[u8], read: &[u8]) {
    if sent != read {
        let at = sent.iter().zip(read).position(|(a, b)| a != b).unwrap_or(sent.len().min(read.len()));
        let around =
            |bytes: &[u8]| String::from_utf8_lossy(&bytes[at.saturating_sub(40).min(bytes.len())..(at + 40).min(bytes.len())]).into_owned();
        panic!("sent {} bytes, read {}; they differ at {at}: {:?} and {:?}", sent.len(), read.len(), around(sent), around(read));
    }
}

/// The files of a directory by name.
pub(crate) fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    all.sort();
    all
}
