//! Passwords and mail are neither in the journal nor in any argument list or environment, and passwords in no file. Case LOG-02.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use system::{ADDRESS, ALICE, Appliance, HOSTNAME, PASSWORD};

/// Typed by somebody who is not let in; a user's other password, perhaps.
const WRONG: &str = "wr0ng-h0rse-battery";
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
"#;

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    // Only whole groups: what begins it is enough to find it.
    for group in bytes.chunks_exact(3) {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        text.extend([18, 12, 6, 0].iter().filter_map(|shift| LETTERS.get(bits >> shift & 63)).map(|letter| char::from(*letter)));
    }
    text
}

/// As written, in base64 at each of the three places in a group, in hexadecimal, and as percent-encoding has its spaces.
fn forms(secret: &str) -> Vec<String> {
    let mut all = vec![secret.to_owned(), secret.replace(' ', "%20"), secret.replace(' ', "\\x20"), secret.replace(' ', "\\040")];
    all.extend((0..3).filter_map(|skip| secret.as_bytes().get(skip..)).map(base64));
    all.push(secret.bytes().map(|byte| format!("{byte:02x}")).collect());
    all
}

#[test]
fn no_password_and_no_text_of_mail_is_logged_or_given_as_an_argument() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    appliance.submit(ALICE, ALICE, format!("From: {ALICE}\r\nSubject: {SUBJECT}\r\n\r\n{BODY}\r\n").as_bytes()).unwrap();
    appliance.deliver("s@example.net", ALICE, format!("Subject: {SUBJECT}\r\n\r\n{BODY}\r\n").as_bytes()).unwrap();
    assert!(!appliance.fetch(ALICE, SUBJECT).unwrap().is_empty());
    let words = ["python3", "-c", CLIENT, HOSTNAME, ADDRESS, ALICE, PASSWORD, WRONG];
    appliance.remote(&words, b"").unwrap().ok("client").unwrap();

    let journal = appliance.sh("journalctl --sync; journalctl --output=export --all --no-pager | tr -d '\\0'").unwrap();
    // The search sees what is there: those who came in, and those who did not.
    assert!(journal.contains(ALICE) && journal.to_lowercase().contains("login"), "{journal}");
    let processes = appliance.sh("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'").unwrap();
    assert!(processes.contains("/usr/lib/postern/postern-imap"), "{processes}");
    for secret in [PASSWORD, WRONG] {
        let words =
            ["grep", "--recursive", "--files-with-matches", "--devices=skip", "--fixed-strings", secret, "/etc", "/run", "/tmp", "/var"];
        assert_eq!(appliance.run(&words).unwrap().stdout, "", "{secret:?} in a file");
    }
    let key = appliance.tls_key().serialize_pem();
    let key = key.lines().nth(1).unwrap();
    for secret in [PASSWORD, WRONG, SUBJECT, BODY, key] {
        for form in forms(secret) {
            for (place, text) in [("journal", &journal), ("arguments and environments", &processes)] {
                let line = text.lines().find(|line| line.contains(&form));
                assert_eq!(line, None, "{secret:?} as {form:?} in {place}");
            }
        }
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
