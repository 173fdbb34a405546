//! Names and commands that would be lines, fields or entries of a log, in every place where a stranger can put them. The class of case LOG-01.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic in a test is its report")]

use std::{collections::BTreeSet, process::Command};
use system::{ADDRESS, Host};

/// What nobody but the attacker says, as the name of a field and as a text.
const OWNED: &str = "OWNED";

/// Everything that ends a line, a field or an entry somewhere, in front of what it would begin; in the names of users, in what a client calls
/// itself, in addresses, in commands and in mechanisms. It logs nothing in; what it is answered is not looked at.
const CLIENT: &str = r#"
import base64, socket, ssl, sys
address, smtp, smtps, imap = sys.argv[1], *map(int, sys.argv[2:5])
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
b64 = lambda raw: base64.b64encode(raw)
ends = [b"\n", b"\r\n", b"\r", b"\0", b"\x1b[2K\x1b[G", b"\xc2\x85", b"\xe2\x80\xa8", b"\xff\n", b"\", \""]
said = lambda end: b"x" + end + b"OWNED=1" + end + b"MESSAGE=OWNED" + end + b"PRIORITY=0" + end + b"OWNED\n\x01\0\0\0\0\0\0\0y\n"
plain = lambda end: b64(b"\0" + said(end).replace(b"\0", b"") + b"\0secret")

def talk(port, secure, *lines):
    s = socket.create_connection((address, port), 60)
    try:
        if secure: s = context.wrap_socket(s)
        s.recv(4096)
        s.sendall(b"\r\n".join(lines) + b"\r\n")
        # Nothing more comes, so the server answers what it has and ends.
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096): pass
    except OSError:
        pass
    s.close()

for end in ends:
    flat = said(end).replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
    talk(imap, True, b"a LOGIN {%d+}\r\n%s secret" % (len(said(end)), said(end)))
    talk(imap, True, b"a LOGIN \"" + flat.replace(b"\\", b"").replace(b"\"", b"") + b"\" secret", flat, b"a " + flat)
    talk(imap, True, b"a AUTHENTICATE PLAIN " + plain(end))
    talk(imap, True, b"a AUTHENTICATE SCRAM-SHA-256 " + b64(b"n,,n=" + said(end) + b",r=abcdef"))
    talk(imap, True, b"a AUTHENTICATE " + flat)
    talk(smtps, True, b"EHLO x.test", b"AUTH PLAIN " + plain(end))
    talk(smtps, True, b"EHLO x.test", b"AUTH LOGIN", b64(said(end)), b64(b"secret"))
    talk(smtps, True, b"EHLO " + flat, b"AUTH " + flat)
    talk(smtp, False, b"EHLO " + flat, b"HELO " + said(end), b"MAIL FROM:<s@example.net>", b"RCPT TO:<nobody@example.test>")
    talk(smtp, False, b"EHLO x.test", b"MAIL FROM:<\"" + flat + b"\"@example.net> SMTPUTF8", b"RCPT TO:<\"" + flat + b"\"@example.test>", flat)
    talk(smtp, False, b"EHLO x.test", b"MAIL FROM:<s@example.net> ENVID=x+0AOWNED=1+0A", b"RCPT TO:<s@" + flat + b">")
"#;

#[test]
fn no_name_becomes_a_field_or_an_entry_of_the_journal() {
    let Some(appliance) = system::Appliance::start().unwrap() else { return };
    let host: &Host = &appliance;
    host.remote(&["python3", "-c", CLIENT, ADDRESS, "25", "465", "993"], b"").unwrap().ok("client").unwrap();
    let entries = host.journal(&["_TRANSPORT=journal"]).unwrap();
    let logins = entries.iter().filter(|entry| entry["MESSAGE"].as_str().is_some_and(|text| text.starts_with("login "))).count();
    assert!(logins > 20, "those who came in are logged: {logins}");
    for entry in entries {
        let fields = entry.as_object().unwrap();
        assert!(!fields.contains_key(OWNED), "{entry}");
        // Where the text of an attacker may stand, it stands in one field and not at its beginning.
        let texts = fields.iter().filter_map(|(name, value)| Some((name, value.as_str()?)));
        let owned: BTreeSet<&String> = texts.filter(|(_, text)| text.starts_with(OWNED)).map(|(name, _)| name).collect();
        assert!(owned.is_empty() && fields["MESSAGE"].is_string(), "{owned:?}: {entry}");
        assert_ne!(fields["PRIORITY"], "0", "{entry}");
    }
}

#[test]
fn no_name_becomes_a_line_of_a_log_file() {
    let appliance = test_support::Appliance::mta_test();
    let ports = ["mx", "submissions", "imaps"].map(|name| appliance.port(name).to_string());
    let output = Command::new("python3").args(["-c", CLIENT, "127.0.0.1"]).args(ports).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut lines = 0;
    for daemon in test_support::daemons() {
        let log = appliance.log(daemon);
        for line in log.split(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}']) {
            assert!(!line.starts_with(OWNED) && !line.starts_with("MESSAGE=") && !line.contains('\u{1b}'), "{daemon}: {line:?}\n{log}");
            lines += usize::from(line.contains("login"));
        }
    }
    assert!(lines > 20, "those who came in are logged");
}
