//! Ports 587 and 143 exist only when the operator enables them, and then offer no login before TLS.

use system::Appliance;

const LOOK: &str = r#"
import imaplib, smtplib, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
context.check_hostname = False
with smtplib.SMTP("192.0.2.1", 587, "remote.example.net", timeout=20) as smtp:
    smtp.ehlo()
    print("587 before", smtp.has_extn("auth"))
    smtp.starttls(context=context)
    smtp.ehlo()
    print("587 after", smtp.has_extn("auth"))
with imaplib.IMAP4("192.0.2.1", 143, timeout=20) as imap:
    print("143 before", "LOGINDISABLED" in imap.capabilities)
    imap.starttls(context)
    print("143 after", "LOGINDISABLED" in imap.capabilities)
"#;

#[test]
fn ports_with_starttls_are_open_once_enabled() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let connect = ["python3", "-c", "import socket, sys\nsocket.create_connection((\"192.0.2.1\", int(sys.argv[1])), 10)"];
    for port in ["587", "143"] {
        let outcome = appliance.remote(&[&connect[..], &[port]].concat(), b"").unwrap();
        assert!(outcome.stderr.contains("ConnectionRefusedError"), "{outcome:?}");
    }
    appliance.sh("systemctl enable --quiet postern-submission.socket postern-imap.socket; systemctl restart postern.target").unwrap();
    appliance.wait_until_active().unwrap();
    let ca = appliance.ca().to_string_lossy();
    let outcome = appliance.remote(&["python3", "-c", LOOK, &ca], b"").unwrap();
    assert_eq!(outcome.stdout, "587 before False\n587 after True\n143 before True\n143 after False\n", "{outcome:?}");
}
