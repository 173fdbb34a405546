//! Addresses, domains, mailboxes: whatever is accepted has one written form, which is accepted again and means the same.

use pure_addr::{Address, Domain, LocalPart, MailboxName, ReversePath, Text};
use pure_smtp::Command;

pub(super) const WORDS: &[&str] = &[
    "@",
    "\"",
    "\\",
    "xn--",
    "bcher-kva",
    "[IPv6:",
    "[192.0.2.1]",
    ".",
    "..",
    "é",
    "e\u{301}",
    "ß",
    "\u{130}",
    "\u{212a}",
    "\u{3002}",
    "\u{ad}",
    "\u{200d}",
    "\u{5d0}",
    "\u{2028}",
    "INBOX",
    "inbox/",
    "/",
    "&",
    "-",
    "&AOk-",
    "%",
    "*",
    "+",
    "(",
    "<",
    ">",
];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    [
        "alice@mta.test",
        "\"a b\\\"c\"@mta.test",
        "ü@bücher.example",
        "a@xn--bcher-kva.example",
        "a@[IPv6:2001:db8::1]",
        "a%b!c@[192.0.2.1]",
        "Archive/2026/Entwürfe",
        "&AOk-/x&-y",
        "INBOX/x",
        "alice+tag@mta.test",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}

pub(super) fn run(input: &[u8]) {
    let lossy = Text::<100>::lossy(input);
    assert!(lossy.as_str().len() <= 100 && Text::<100>::new(lossy.as_str()).is_ok());
    if let Some(name) = pure_imap::utf7::decode(input) {
        assert_eq!(pure_imap::utf7::encode(&name).as_bytes(), input, "a name has one form");
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    assert_eq!(pure_imap::utf7::decode(pure_imap::utf7::encode(text).as_bytes()).as_deref(), Some(text));
    if let Ok(domain) = Domain::parse(text) {
        assert_eq!(Domain::parse(domain.as_str()).as_ref(), Ok(&domain));
        assert!(domain.as_str().is_ascii() && domain.as_str().len() <= 255);
        assert!(domain.is_literal() || domain.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)));
    }
    if let Ok(address) = Address::parse(text) {
        let written = address.to_string();
        assert_eq!(Address::parse(&written).as_ref(), Ok(&address));
        assert!(!written.chars().any(char::is_control));
        let line = format!("RCPT TO:<{written}>");
        match Command::parse(line.as_bytes()) {
            Ok(Command::Rcpt { path: pure_smtp::ForwardPath::Address(again), .. }) => assert_eq!(again, address),
            other => panic!("{other:?}"),
        }
        assert!(ReversePath::Address(address).to_string().starts_with('<'));
    }
    if let Ok(local) = LocalPart::new(text) {
        let address = Address { local: local.clone(), domain: Domain::parse("mta.test").unwrap() };
        assert_eq!(Address::parse(&address.to_string()), Ok(address.clone()));
        if !text.is_ascii() {
            assert!(!address.key().is_ascii(), "nothing becomes ASCII");
        }
        if let Some((user, detail)) = local.subaddress('+') {
            assert_eq!(format!("{}+{detail}", user.as_str()), local.as_str());
        }
    }
    if let Ok(name) = MailboxName::new(text) {
        assert_eq!(MailboxName::new(name.as_str()).as_ref(), Ok(&name));
        assert!(name.parent().is_none_or(|parent| MailboxName::new(parent.as_str()) == Ok(parent.clone())));
    }
}
