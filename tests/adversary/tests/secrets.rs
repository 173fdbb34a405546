//! Passwords and mail are neither in the journal nor in any argument list or environment, and passwords in no file. Case LOG-02.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic in a test is its report")]

use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXUPPER};
use std::{fs, process::Command};
use system::{ADDRESS, ALICE, Appliance, DOMAIN, HOSTNAME, PASSWORD, World};

/// Typed by somebody who is not let in; a user's other password, perhaps.
const WRONG: &str = "wr0ng-h0rse-battery";
/// What Alice has instead, later.
const OTHER: &str = "an0ther-h0rse-battery";
/// What the world's Postfix, which is a smarthost, knows `postern` by.
const SMARTHOST: &str = "the password of postern";
const BY_SMARTHOST: &str =
    "[send.smarthosts.relay]\nhost = \"smtp.relay.test\"\nuser = \"postern\"\n[send.senders]\n\"example.test\" = \"relay\"\n";
const SUBJECT: &str = "subject-of-nobodys-business";
const BODY: &str = "body-of-nobodys-business";

/// Right and wrong, in every way that a client can give a password, and where it does not belong.
const CLIENT: &str = r#"
import base64, imaplib, smtplib, socket, ssl, sys
host, address, user, right, wrong = sys.argv[1:6]
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
b64 = lambda text: base64.b64encode(text.encode()).decode()
def smtp(): return smtplib.SMTP_SSL(address, 465, "c.example.net", timeout=30, context=context)
def imap():
    s = context.wrap_socket(socket.create_connection((address, 993), 30), server_hostname=host); f = s.makefile("rb"); f.readline()
    def command(*lines):
        for line in lines:
            s.sendall(line.encode() + b"\r\n"); answer = f.readline()
        return answer
    return command
def plainly(port, *lines):
    s = socket.create_connection((address, port), 30); f = s.makefile("rb"); f.readline()
    for line in lines:
        s.sendall(line.encode() + b"\r\n")
        # The server may have ended it.
        if not f.readline(): break
    s.close()
for password in (right, wrong):
    plain = b64(f"\0{user}\0{password}")
    with smtp() as s:
        s.ehlo(); s.docmd("AUTH", "PLAIN " + plain); s.docmd("RSET")
    with smtp() as s:
        s.ehlo(); s.docmd("AUTH", "PLAIN"); s.docmd(plain)
    with smtp() as s:
        s.ehlo(); s.docmd("AUTH", "LOGIN"); s.docmd(b64(user)); s.docmd(b64(password))
    with smtp() as s:
        # Cancelled, and the password comes where a command is expected; misspelt mechanisms; a password as an argument.
        s.ehlo(); s.docmd("AUTH", "LOGIN"); s.docmd("*"); s.docmd(b64(password)); s.docmd(password)
        s.docmd("AUTH", "PLAIN!" + plain); s.docmd("AUTH", "NTLM " + b64(password)); s.docmd("MAIL", f"FROM:<{password}>")
    imap()(f'a LOGIN {user} "{password}"')
    imap()(f"a LOGIN {user} {password} x y", f'b LOGIN "{user} {password}', f"{password}")
    imap()("a AUTHENTICATE PLAIN", plain)
    imap()("a AUTHENTICATE PLAIN " + plain)
    imap()("a AUTHENTICATE PLAIN", "!" + plain)
    imap()(f"a LOGIN {user} {{{len(password)}+}}\r\n{password}")
    # Before TLS and where nobody logs in; and where TLS begins later.
    for port in (25, 587):
        plainly(port, "HELO x", "AUTH PLAIN " + plain, "AUTH LOGIN", b64(user), b64(password), password, f"MAIL FROM:<{password}>")
        with smtplib.SMTP(address, port, "c.example.net", timeout=30) as s:
            s.starttls(context=context); s.ehlo(); s.docmd("AUTH", "PLAIN " + plain)
    plainly(143, f'a LOGIN {user} "{password}"', "a AUTHENTICATE PLAIN " + plain, password)
    with imaplib.IMAP4(address, 143, timeout=30) as i:
        i.starttls(context)
        try: i.login(user, password)
        except imaplib.IMAP4.error: assert password == wrong
        else: assert password == right
"#;

/// As written, in base64 at each of the three places in a group, in hexadecimal, as percent-encoding and others have its spaces, and as
/// Rust prints bytes.
fn forms(secret: &[u8]) -> Vec<String> {
    // Only whole groups: what begins it is enough to find it.
    let groups = |bytes: &[u8]| [BASE64, BASE64URL].map(|form| form.encode(&bytes[..bytes.len() / 3 * 3]));
    let mut all: Vec<String> = (0..3).filter_map(|skip| secret.get(skip..)).flat_map(groups).collect();
    all.extend([HEXLOWER, HEXUPPER].map(|form| form.encode(secret)));
    all.push(secret.iter().map(u8::to_string).collect::<Vec<_>>().join(", "));
    if let Ok(text) = str::from_utf8(secret) {
        all.extend([" ", "%20", "\\x20", "\\040"].map(|space| text.replace(' ', space)));
    }
    all
}

/// What is said between users and the servers, with all that must not be seen of it.
fn speak(appliance: &Appliance) {
    // A socket can be added only to a service that does not run.
    appliance
        .sh("s='postern-submission postern-imap'; systemctl stop $s; systemctl start postern-submission.socket postern-imap.socket $s")
        .unwrap();
    appliance.wait_until_active().unwrap();
    appliance.submit(ALICE, ALICE, format!("From: {ALICE}\r\nSubject: {SUBJECT}\r\n\r\n{BODY}\r\n").as_bytes()).unwrap();
    appliance.deliver("s@example.net", ALICE, format!("From: s@example.net\r\nSubject: {SUBJECT}\r\n\r\n{BODY}\r\n").as_bytes()).unwrap();
    assert!(!appliance.fetch(ALICE, SUBJECT).unwrap().is_empty());
    let words = ["python3", "-c", CLIENT, HOSTNAME, ADDRESS, ALICE, PASSWORD, WRONG];
    appliance.remote(&words, b"").unwrap().ok("client").unwrap();
}

/// Every process says everything that it and its libraries could, and the journal takes all of it.
fn be_talkative(appliance: &Appliance) {
    let drop_in = b"[Service]\nEnvironment=POSTERN_LOG=trace\nLogRateLimitIntervalSec=0\n";
    appliance.put("/etc/systemd/system/postern-.service.d/talkative.conf", drop_in, 0o644).unwrap();
    let units: Vec<String> = system::SERVICES.iter().map(system::Service::unit).collect();
    appliance.sh(&format!("systemctl daemon-reload; systemctl restart {}", units.join(" "))).unwrap();
    appliance.wait_until_active().unwrap();
}

/// Nothing of it, in any form, in the journal or what every process shows of itself; who came is there.
fn assert_kept(appliance: &Appliance, more: &[&[u8]]) {
    let journal = appliance.sh("journalctl --sync; journalctl --output=export --all --no-pager | tr -d '\\0'").unwrap();
    // The search sees what is there: those who came in, and those who did not.
    assert!(journal.contains(ALICE) && journal.to_lowercase().contains("login"), "nobody came");
    let processes = appliance.sh("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'").unwrap();
    assert!(processes.contains("/usr/lib/postern/postern-imap"), "{processes}");
    let key = appliance.tls_key().serialize_pem();
    let key = key.lines().nth(1).unwrap();
    for secret in [PASSWORD, WRONG, SUBJECT, BODY, key].map(str::as_bytes).iter().chain(more) {
        for form in forms(secret) {
            for (place, text) in [("journal", &journal), ("arguments and environments", &processes)] {
                let line = text.lines().find(|line| line.contains(&form));
                assert_eq!(line, None, "{} as {form:?} in {place}", secret.escape_ascii());
            }
        }
    }
}

#[test]
fn no_password_and_no_text_of_mail_is_logged_or_given_as_an_argument() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    speak(&appliance);
    assert_kept(&appliance, &[]);
    for secret in [PASSWORD, WRONG] {
        let words =
            ["grep", "--recursive", "--files-with-matches", "--devices=skip", "--fixed-strings", secret, "/etc", "/run", "/tmp", "/var"];
        assert_eq!(appliance.run(&words).unwrap().stdout, "", "{secret:?} in a file");
    }
}

/// The same where an operator asks every process for everything that it and its libraries could say.
#[test]
fn the_most_talkative_level_says_nothing_of_it_either() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    be_talkative(&appliance);
    speak(&appliance);
    assert_kept(&appliance, &[]);
    for service in system::SERVICES {
        let pid = appliance.main_pid(service).unwrap();
        let environment = appliance.sh(&format!("tr '\\0' '\\n' < /proc/{pid}/environ")).unwrap();
        assert!(environment.lines().any(|line| line == "POSTERN_LOG=trace"), "{}: {environment}", service.name);
    }
    // src/jail/src/journal.rs: these are debug and trace, which nobody says by default.
    let said = appliance.journal(&["_TRANSPORT=journal", "PRIORITY=6", "PRIORITY=7"]).unwrap();
    let of_ours = said.iter().filter(|entry| entry["SYSLOG_IDENTIFIER"].as_str().is_some_and(|name| name.starts_with("postern-")));
    assert!(of_ours.count() > 0, "nobody is more talkative than by default");
}

/// What an operator gives them to keep: the password of a smarthost, which is said there, a key, and another password for an account.
#[test]
fn the_most_talkative_level_says_nothing_of_what_an_operator_gives() {
    if !World::is_possible() {
        return;
    }
    let Some(appliance) = Appliance::start().unwrap() else { return };
    be_talkative(&appliance);
    appliance.put("/etc/credstore/smarthost.relay", format!("{SMARTHOST}\n").as_bytes(), 0o600).unwrap();
    let world = World::around_with(&appliance, BY_SMARTHOST).unwrap();
    appliance.submit(ALICE, "bob@far.test", format!("From: {ALICE}\r\nSubject: {SUBJECT}\r\n\r\n{BODY}\r\n").as_bytes()).unwrap();
    let received = world.receives("far").unwrap();
    assert!(received.contains("(Authenticated sender: postern@relay.test)"), "{received}");

    let give = |words: &[&str], input: &[u8]| appliance.run_with(words, input).unwrap().ok(words[1]).unwrap();
    let pem = Command::new("openssl").args(["genpkey", "-algorithm", "ed25519"]).output().unwrap().stdout;
    let key = str::from_utf8(&pem).unwrap().lines().nth(1).unwrap();
    give(&["postern", "dkim", "import", DOMAIN, "--selector", "given"], &pem);
    assert!(appliance.sh(&format!("postern dkim list {DOMAIN}")).unwrap().contains("given"));
    // RFC 8410 7: the seed is what it ends with.
    let der = BASE64.decode(key.as_bytes()).unwrap();
    let (_, seed) = der.split_at(der.len() - 32);
    give(&["postern", "account", "passwd", "--stdin", ALICE], format!("{OTHER}\n").as_bytes());
    assert_kept(&appliance, &[SMARTHOST.as_bytes(), OTHER.as_bytes(), key.as_bytes(), seed]);
}

/// Files of the host in which these bytes stand.
fn holders(appliance: &Appliance, secret: &[u8]) -> Vec<String> {
    // grep looks at lines: the longest part without an end of one.
    let part = secret.split(|byte| *byte == b'\n').max_by_key(|part| part.len()).unwrap();
    let pattern: String = part.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let words = ["grep", "-rlaP", "--devices=skip", &pattern, "/etc", "/run", "/tmp", "/var"];
    appliance.run(&words).unwrap().stdout.lines().map(str::to_owned).collect()
}

/// What a stolen disk shows beside the mail itself, which is not encrypted: case REST-01, as far as there is a defence.
#[test]
fn at_rest_each_secret_is_where_it_belongs_and_nowhere_else() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    speak(&appliance);
    appliance.sh("postern dkim list example.test; journalctl --sync; journalctl --rotate").unwrap();

    let keys = appliance.sh("ls /var/lib/postern/keys/dkim/*/*.key").unwrap();
    assert!(!keys.is_empty() && !holders(&appliance, b"login refused").is_empty(), "a key, and a journal");
    // Where the operator puts it, and where its process finds it, under the unit's own name for it.
    let credential = |name: &str, unit: &str| {
        let own_name = name.strip_prefix("postern.").unwrap_or(name);
        vec![format!("/etc/credstore/{name}"), format!("/run/credentials/postern-{unit}.service/{own_name}")]
    };
    let own_hash = fs::read(appliance.path("/etc/credstore/account.bob@example.test")).unwrap();
    let mut secrets: Vec<(&str, Vec<u8>, Vec<String>)> = vec![
        ("the TLS key", appliance.tls_key().serialize_der(), credential("postern.tls.key", "keys")),
        ("the TLS key as text", appliance.tls_key().serialize_pem().lines().nth(1).unwrap().into(), credential("postern.tls.key", "keys")),
        ("a declared verifier", own_hash, credential("account.bob@example.test", "auth")),
    ];
    for name in keys.lines() {
        // The last bytes of PKCS #8 are of the key itself.
        let bytes = fs::read(appliance.path(name)).unwrap();
        secrets.push(("a DKIM key", bytes[bytes.len() - 32..].to_vec(), vec![name.to_owned()]));
    }
    for password in [PASSWORD, WRONG] {
        secrets.extend(forms(password.as_bytes()).into_iter().map(|form| ("a password", form.into_bytes(), Vec::new())));
    }
    for (what, secret, places) in &secrets {
        let found = holders(&appliance, secret);
        assert!(found.iter().all(|name| places.contains(name)), "{what} is in {found:?}");
        // The key of TLS is a file of text.
        assert_eq!(found.is_empty(), places.is_empty() || *what == "the TLS key", "{what}: the search sees what is there");
    }
    // Mail is not defended against who has the disk. It is in the state of the two that hold it, and nowhere else.
    for text in [SUBJECT, BODY] {
        let found = holders(&appliance, text.as_bytes());
        let belongs = |name: &&String| name.starts_with("/var/lib/postern/store/") || name.starts_with("/var/lib/postern/queue/");
        assert!(!found.is_empty() && found.iter().filter(belongs).count() == found.len(), "{text:?} is in {found:?}");
    }
}

#[test]
fn nothing_that_dies_leaves_a_core() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    for service in system::SERVICES {
        let pid = appliance.main_pid(service).unwrap();
        let limits = appliance.sh(&format!("grep 'Max core file size' /proc/{pid}/limits")).unwrap();
        assert!(limits.split_whitespace().filter(|word| *word == "0").count() == 2, "{}: {limits}", service.name);
    }
}
