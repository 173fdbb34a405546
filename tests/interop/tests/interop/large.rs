use crate::{assert_same, await_messages, file, python, stripped};
use data_encoding::BASE64;
use test_support::{Appliance, Imap, need};

const ATTACHMENTS: usize = 12;
/// Bytes of the whole message, at least.
const SIZE: usize = 20 * 1024 * 1024;

/// The bytes of one attachment; the same on every run.
fn attachment(number: usize) -> Vec<u8> {
    let mut state = u32::try_from(number).unwrap() | 1;
    // Base64 makes four bytes of three, and lines add two to 76.
    let wanted = SIZE / ATTACHMENTS * 57 / 78 + 1024;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(wanted).collect()
}

fn message(to: &str) -> Vec<u8> {
    let mut out = format!(
        "From: Carol <carol@remote.test>\r\nTo: Zo\u{eb} <{to}>\r\nSubject: Gro\u{df} und sch\u{f6}n\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n\
         Message-ID: <large@remote.test>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_large\"\r\n\r\n\
         --=_large\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nTwelve files are enclosed, Zo\u{eb}.\r\n"
    )
    .into_bytes();
    for number in 0..ATTACHMENTS {
        out.extend_from_slice(
            format!(
                "--=_large\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=\"file-{number}.bin\"\r\n\
                 Content-Transfer-Encoding: base64\r\n\r\n"
            )
            .as_bytes(),
        );
        for line in attachment(number).chunks(57) {
            out.extend_from_slice(BASE64.encode(line).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"--=_large--\r\n");
    out
}

#[test]
fn twenty_mebibytes_with_twelve_attachments_reach_an_address_in_utf8() {
    let Some(python) = need("python3") else { return };
    let appliance = Appliance::mta_test();
    let address = "zo\u{eb}@mta.test";
    appliance.add_account(address, "secret-zoe");
    let sent = message(address);
    assert!(sent.len() >= SIZE, "{}", sent.len());
    let path = file(&appliance, "large", &sent);
    python::send(&appliance, &python, "mx", "j\u{fc}rgen@remote.test", address, &path);

    let mut imap = Imap::login_as(&appliance, address, "secret-zoe");
    test_support::eventually("the delivery", || (imap.count("INBOX") == 1).then_some(()));
    let read = python::read(&appliance, &python, address, "secret-zoe");
    assert_eq!(read.len(), 1);
    let (bytes, structure) = &read[0];
    assert_same(&sent, &stripped(bytes));
    assert_eq!(structure.to_ascii_lowercase().matches("\"attachment\"").count(), ATTACHMENTS, "{structure}");

    imap.must("SELECT INBOX");
    // The parts are numbered from 1, and the first is the text.
    for number in [0, 7, ATTACHMENTS - 1] {
        let answer = imap.must(&format!("FETCH 1 (BINARY.PEEK[{}])", number + 2));
        assert_eq!(answer.literals.len(), 1);
        assert_same(&attachment(number), &answer.literals[0]);
    }
}

#[test]
fn a_large_message_is_submitted_by_an_account() {
    let Some(python) = need("python3") else { return };
    let appliance = Appliance::mta_test();
    let text = String::from_utf8(message("alice@mta.test")).unwrap().replace("carol@remote.test", "bob@mta.test");
    let path = file(&appliance, "large", text.as_bytes());
    python::send(&appliance, &python, "tls", "bob@mta.test", "alice@mta.test", &path);
    await_messages(&appliance, "alice", 1);
    let read = Imap::login(&appliance, "alice").messages("INBOX");
    assert_same(text.as_bytes(), &stripped(&read[0]));
}
