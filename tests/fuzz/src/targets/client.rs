//! The SMTP client, and a server that says anything. Byte 0 is what the client wants, byte 1 how the answers are cut into reads.

use pure_addr::{Address, ReversePath, Text};
use pure_sasl::Secret;
use pure_smtp::{
    Body, Recipient,
    client::{Client, ClientSettings, Login, Mail, StartTls, Step},
};

pub(super) const WORDS: &[&str] = &[
    "220 mx.test ESMTP\r\n",
    "250-mx.test\r\n",
    "250-SIZE 1000\r\n",
    "250-PIPELINING\r\n",
    "250-STARTTLS\r\n",
    "250-CHUNKING\r\n",
    "250-BINARYMIME\r\n",
    "250-8BITMIME\r\n",
    "250-SMTPUTF8\r\n",
    "250-REQUIRETLS\r\n",
    "250-DSN\r\n",
    "250-AUTH PLAIN LOGIN SCRAM-SHA-256\r\n",
    "250 ENHANCEDSTATUSCODES\r\n",
    "250 2.1.0 ok\r\n",
    "354 go\r\n",
    "334 \r\n",
    "334 VXNlcm5hbWU6\r\n",
    "235 2.7.0 ok\r\n",
    "421 4.3.2 bye\r\n",
    "450 4.7.1 later\r\n",
    "452 4.5.3 too many\r\n",
    "550 5.1.1 no\r\n",
    "552 5.3.4 large\r\n",
    "554-a\r\n554 b\r\n",
    "221 bye\r\n",
];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let ehlo = "220 mx ESMTP\r\n250-mx\r\n250-SIZE 100000\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250-SMTPUTF8\r\n\
                250-DSN\r\n250-AUTH PLAIN LOGIN SCRAM-SHA-256\r\n250-STARTTLS\r\n250 ENHANCEDSTATUSCODES\r\n";
    let mail = "250 2.1.0 ok\r\n250 2.1.5 ok\r\n550 5.1.1 no\r\n354 go\r\n250 2.0.0 queued\r\n";
    let tls = "220 go\r\n";
    let mut out = Vec::new();
    for state in 0..64u8 {
        let login = ["", "235 ok\r\n", "334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n235 ok\r\n"][usize::from(state % 3)];
        let whole =
            if state % 2 == 0 { format!("{ehlo}{login}{mail}{mail}221 bye\r\n") } else { format!("{ehlo}{tls}{ehlo}{login}{mail}") };
        let whole = whole.replacen("220 mx ESMTP\r\n", "", if state % 2 == 0 { 0 } else { 2 });
        let whole = if state % 2 == 0 { whole } else { format!("220 mx\r\n{whole}") };
        out.push([&[state, state / 3][..], whole.as_bytes()].concat());
    }
    out
}

pub(super) fn run(input: &[u8]) {
    let [state, how, rest @ ..] = input else { return };
    let encrypted = state & 1 == 0;
    let starttls = [StartTls::Never, StartTls::IfOffered, StartTls::Required][usize::from(state / 2 % 3)];
    let nonce = "fyko+d2lbbFgONRv9qkxdawL".to_owned();
    let login = (state & 32 != 0).then(|| Login { user: "us=e,r".into(), password: Secret::new(b"secret".to_vec()), nonce });
    let mut client = Client::new(ClientSettings { name: "mx.mta.test".into(), encrypted, starttls, login });
    let mut mails = 2;
    let step = if how % 8 == 0 { rest.len().max(1) } else { usize::from(how % 8) * usize::from(how % 8) };
    // Answers that come before their question are out of step: a line at a time is what a server does.
    let pieces: Vec<&[u8]> = if how % 8 == 7 { rest.split_inclusive(|b| *b == b'\n').collect() } else { rest.chunks(step).collect() };
    for piece in pieces {
        client.receive(piece);
        for _ in 0..100 {
            let step = client.step();
            check_output(&client.take_output(), matches!(step, Step::Content));
            match step {
                Step::Read => break,
                Step::Handshake => client.handshake_done(),
                Step::Ready => {
                    if mails == 0 || client.begin(mail(*state)).is_err() {
                        client.quit();
                        check_output(&client.take_output(), false);
                        return;
                    }
                    mails -= 1;
                    check_output(&client.take_output(), false);
                }
                Step::Content => {
                    client.content(b"Subject: x\r\n\r\n.a").unwrap();
                    client.content(b"\r\n..\r\n").unwrap();
                    client.end_content().unwrap();
                    let content = client.take_output();
                    assert!(content.windows(2).filter(|w| w[1] == b'\n').all(|w| w[0] == b'\r'));
                }
                Step::Done(verdicts) => assert_eq!(verdicts.len(), 2),
                Step::Failed(_) => {
                    assert!(client.take_output().is_empty());
                    client.abandon();
                    return;
                }
            }
        }
    }
    client.lost();
    client.abandon();
}

fn mail(state: u8) -> Mail {
    let to = |local: &str| Recipient { address: Address::parse(local).unwrap(), notify: None, original: None };
    Mail {
        reverse_path: ReversePath::Address(Address::parse("a@mta.test").unwrap()),
        smtputf8: state & 64 != 0,
        body: [Body::SevenBit, Body::EightBitMime, Body::BinaryMime][usize::from(state / 8 % 3)],
        ret: None,
        envid: Text::new("id").ok(),
        require_tls: false,
        size: 22,
        recipients: vec![to("b@remote.test"), to("\"c d\"@remote.test")],
    }
}

/// What is said is whole lines of our own.
fn check_output(output: &[u8], content: bool) {
    for line in output.split_inclusive(|b| *b == b'\n') {
        let text = line.strip_suffix(b"\r\n").unwrap();
        assert!(content || text.iter().all(|b| (b' '..=b'~').contains(b)), "{:?}", String::from_utf8_lossy(line));
        assert!(line.len() <= 12_288);
    }
}
