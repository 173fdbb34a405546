use crate::{file, inbox, run};
use std::{fs, process::Command};
use test_support::{Appliance, Imap, Smtp, eventually, need};

fn config(appliance: &Appliance) -> String {
    let (user, password) = appliance.account("alice");
    format!(
        "set from = alice@mta.test\nset realname = Alice\nset use_envelope_from = yes\nset hostname = mta.test\n\
         set ssl_starttls = no\nset ssl_force_tls = yes\nset ssl_usesystemcerts = no\nset ssl_ca_certificates_file = \"{ca}\"\nset certificate_file = \"{ca}\"\n\
         set smtp_url = \"smtps://{escaped}@localhost:{submissions}/\"\nset smtp_pass = \"{password}\"\nset smtp_authenticators = plain\n\
         set imap_user = \"{user}\"\nset imap_pass = \"{password}\"\nset folder = \"imaps://localhost:{imaps}/\"\nset spoolfile = \"+INBOX\"\n\
         set record = \"+Sent\"\nset copy = yes\nset confirmcreate = no\nset confirmappend = no\nset quit = yes\nset wait_key = no\nset sleep_time = 0\n",
        ca = appliance.authority().display(),
        escaped = user.replace('@', "%40"),
        submissions = appliance.port("submissions"),
        imaps = appliance.port("imaps"),
    )
}

#[test]
fn mutt_sends_with_an_attachment_and_keeps_a_copy_by_imap() {
    let Some(mutt) = need("mutt") else { return };
    let appliance = Appliance::mta_test();
    Imap::login(&appliance, "alice").command("CREATE Sent");
    let rc = file(&appliance, "muttrc", config(&appliance).as_bytes());
    let attachment = file(&appliance, "attached.bin", &[0, 1, 2, 253, 254, 255]);
    let body = file(&appliance, "body", "Gr\u{fc}\u{df}e von mutt\n".as_bytes());
    run(Command::new(mutt)
        .env("HOME", appliance.scratch())
        .env("LC_ALL", "C.UTF-8")
        .args(["-n", "-F"])
        .arg(&rc)
        .args(["-s", "from mutt", "-a"])
        .arg(&attachment)
        .args(["--", "bob@mta.test"])
        .stdin(fs::File::open(&body).unwrap()));
    let read = inbox(&appliance, "bob", 1);
    let text = String::from_utf8_lossy(&read[0]).into_owned();
    assert!(text.contains("Subject: from mutt") && text.contains("AAEC/f7/"), "{text}");
    assert_eq!(Imap::login(&appliance, "alice").count("Sent"), 1);
}

#[test]
fn mutt_reads_a_mailbox_and_copies_a_message() {
    let (Some(mutt), Some(script)) = (need("mutt"), need("script")) else { return };
    let appliance = Appliance::mta_test();
    let mut smtp = Smtp::connect(&appliance, "mx");
    let sent = crate::message("for-mutt");
    assert_eq!(smtp.send("carol@remote.test", &["alice@mta.test"], &sent).code, 250);
    crate::await_messages(&appliance, "alice", 1);
    let rc = file(&appliance, "muttrc", config(&appliance).as_bytes());
    let copy = appliance.scratch().join("copy.mbox");
    let keys = format!("<copy-message>{}<enter><flag-message><sync-mailbox><exit>", copy.display());
    let line = format!("'{}' -n -F '{}' -e 'push {keys}'", mutt.display(), rc.display());
    // mutt wants a terminal.
    run(Command::new(script)
        .env("HOME", appliance.scratch())
        .env("LC_ALL", "C.UTF-8")
        .env("TERM", "xterm")
        .args(["-qec", &line, "/dev/null"])
        .stdin(std::process::Stdio::null()));
    let text = eventually("the copy", || fs::read_to_string(&copy).ok().filter(|t| t.contains("From here on nothing is quoted")));
    assert!(text.contains("Subject: for-mutt") && text.contains("Gr\u{fc}\u{df}e, \u{65e5}\u{672c}"), "{text}");
    let mut imap = Imap::login(&appliance, "alice");
    imap.must("SELECT INBOX");
    let flags = imap.must("FETCH 1 (FLAGS)").text();
    assert!(flags.contains("\\Flagged"), "{flags}");
}
