//! Sessions with scripted servers: what is said, and what comes of it.

use super::*;
use crate::{Body, Notify, OriginalRecipient, Recipient, Ret};
use pure_addr::{Address, ReversePath, Text};
use pure_sasl::Secret;

fn settings(starttls: StartTls) -> ClientSettings {
    ClientSettings { name: "mail.mta.test".into(), encrypted: false, starttls, login: None }
}

fn recipient(address: &str) -> Recipient {
    Recipient { address: Address::parse(address).unwrap(), notify: None, original: None }
}

fn mail(recipients: &[&str]) -> Mail {
    Mail {
        reverse_path: ReversePath::Address(Address::parse("alice@mta.test").unwrap()),
        smtputf8: false,
        body: Body::SevenBit,
        ret: None,
        envid: None,
        require_tls: false,
        size: 7,
        recipients: recipients.iter().map(|r| recipient(r)).collect(),
    }
}

/// A session that has read its greeting and these extensions.
fn ready(extensions: &str) -> Client {
    let mut client = Client::new(settings(StartTls::Never));
    assert_eq!(client.step(), Step::Read);
    assert_eq!(hear(&mut client, "220 mx.test\r\n"), (Step::Read, "EHLO mail.mta.test\r\n".into()));
    let lines: Vec<&str> = std::iter::once("mx.test").chain(extensions.split_whitespace()).collect();
    let last = lines.len() - 1;
    let answer: String = lines.iter().enumerate().map(|(n, l)| format!("250{}{l}\r\n", if n == last { ' ' } else { '-' })).collect();
    assert_eq!(hear(&mut client, &answer), (Step::Ready, String::new()));
    client
}

fn hear(client: &mut Client, text: &str) -> (Step, String) {
    client.receive(text.as_bytes());
    let step = client.step();
    (step, String::from_utf8(client.take_output()).unwrap())
}

fn begin(client: &mut Client, mail: Mail) -> String {
    client.begin(mail).unwrap();
    assert_eq!(client.step(), Step::Read);
    String::from_utf8(client.take_output()).unwrap()
}

fn send(client: &mut Client, content: &[u8]) -> String {
    client.content(content).unwrap();
    client.end_content().unwrap();
    assert_eq!(client.step(), Step::Read);
    String::from_utf8(client.take_output()).unwrap()
}

/// One letter for each recipient, as the tests below read best.
fn letters(step: &Step) -> String {
    let Step::Done(verdicts) = step else { panic!("{step:?}") };
    verdicts.iter().map(letter).collect()
}

fn letter(verdict: &Verdict) -> char {
    match verdict {
        Verdict::Delivered(_) => 'D',
        Verdict::Refused(_, reply) if reply.class() == Class::Permanent => 'F',
        Verdict::Refused(..) => 't',
        Verdict::TooMany(_) => 'm',
        Verdict::Open => 'o',
        Verdict::Uncertain => 'u',
    }
}

#[test]
fn a_message_is_delivered_command_by_command() {
    let mut client = ready("");
    assert_eq!(begin(&mut client, mail(&["b@x.test", "c@x.test"])), "MAIL FROM:<alice@mta.test>\r\n");
    assert_eq!(hear(&mut client, "250 ok\r\n").1, "RCPT TO:<b@x.test>\r\n");
    assert_eq!(hear(&mut client, "250 ok\r\n").1, "RCPT TO:<c@x.test>\r\n");
    assert_eq!(hear(&mut client, "550 5.1.1 no\r\n").1, "DATA\r\n");
    assert_eq!(hear(&mut client, "354 go\r\n").0, Step::Content);
    assert_eq!(send(&mut client, b".\r\nx\r\n"), "..\r\nx\r\n.\r\n");
    assert_eq!(letters(&hear(&mut client, "250 done\r\n").0), "DF");
    // The next transaction of the same session.
    assert_eq!(begin(&mut client, mail(&["b@x.test"])), "MAIL FROM:<alice@mta.test>\r\n");
    assert_eq!(hear(&mut client, "250 ok\r\n").1, "RCPT TO:<b@x.test>\r\n");
    assert_eq!(letters(&hear(&mut client, "450 later\r\n").0), "t");
    assert_eq!(begin(&mut client, mail(&["b@x.test"])), "RSET\r\n");
    assert_eq!(hear(&mut client, "250 ok\r\n").1, "MAIL FROM:<alice@mta.test>\r\n");
    assert_eq!(letters(&hear(&mut client, "550 no\r\n").0), "F");
    client.quit();
    assert_eq!(client.take_output(), b"QUIT\r\n");
    assert_eq!(hear(&mut client, "221 bye\r\n").0, Step::Failed(Failure::Ended));
}

#[test]
fn commands_are_pipelined_in_a_window() {
    let mut client = ready("PIPELINING SIZE");
    let names: Vec<String> = (0..120).map(|n| format!("r{n}@x.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let first = begin(&mut client, mail(&names));
    assert!(first.starts_with("MAIL FROM:<alice@mta.test> SIZE=7\r\nRCPT TO:<r0@x.test>\r\n"), "{first}");
    assert_eq!(first.lines().count(), 50);
    let (mut said, mut step) = (first.lines().count(), Step::Read);
    let mut answered = 0;
    while answered < 121 {
        assert_eq!(step, Step::Read);
        let (next, more) = hear(&mut client, "250 ok\r\n");
        (step, answered) = (next, answered + 1);
        said += more.lines().count();
        assert!(said - answered <= 50);
    }
    assert_eq!((said, step), (122, Step::Read));
    assert_eq!(hear(&mut client, "354 go\r\n").0, Step::Content);
    send(&mut client, b"hello\r\n");
    assert_eq!(letters(&hear(&mut client, "250 done\r\n").0), "D".repeat(120));
}

#[test]
fn parameters_follow_what_is_offered() {
    let mut given = mail(&["b@x.test"]);
    given.body = Body::EightBitMime;
    (given.ret, given.envid) = (Some(Ret::Headers), Some(Text::new("a+b c").unwrap()));
    given.recipients[0].notify = Some(Notify { success: true, failure: true, delay: false });
    given.recipients[0].original =
        Some(OriginalRecipient { kind: Text::new("rfc822").unwrap(), address: Text::new("x=y@z.test").unwrap() });
    let mut client = ready("PIPELINING SIZE 8BITMIME DSN CHUNKING");
    assert_eq!(
        begin(&mut client, given.clone()),
        "MAIL FROM:<alice@mta.test> SIZE=7 BODY=8BITMIME RET=HDRS ENVID=a+2Bb+20c\r\n\
         RCPT TO:<b@x.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x+3Dy@z.test\r\n"
    );
    assert_eq!(hear(&mut client, "250 ok\r\n250 ok\r\n"), (Step::Content, "BDAT 7 LAST\r\n".into()));
    assert_eq!(send(&mut client, b".\r\nab\r\n"), ".\r\nab\r\n");
    assert_eq!(letters(&hear(&mut client, "250 done\r\n").0), "D");

    // A parameter never carries another one, whatever the queue hands over.
    given.recipients[0].original = Some(OriginalRecipient { kind: Text::new("x y").unwrap(), address: Text::new("z").unwrap() });
    given.recipients[0].notify = Some(Notify::default());
    assert!(begin(&mut client, given.clone()).ends_with("RCPT TO:<b@x.test> NOTIFY=NEVER\r\n"));

    given.body = Body::SevenBit;
    assert_eq!(begin(&mut ready("PIPELINING"), given), "MAIL FROM:<alice@mta.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n");
}

/// Attack case OUT-02.
#[test]
fn what_a_server_cannot_take_is_not_said_to_it() {
    let refused = |extensions: &str, change: fn(&mut Mail)| {
        let mut client = ready(extensions);
        let mut given = mail(&["b@x.test"]);
        change(&mut given);
        let result = client.begin(given);
        assert!(result.is_ok() || client.take_output().is_empty());
        result
    };
    let utf8 = |m: &mut Mail| m.recipients = vec![recipient("\u{fc}@remote.test")];
    assert_eq!(refused("8BITMIME", utf8), Err(Unsuitable::NoSmtpUtf8));
    assert_eq!(refused("SMTPUTF8 8BITMIME", utf8), Ok(()));
    assert_eq!(refused("", |m| m.smtputf8 = true), Err(Unsuitable::NoSmtpUtf8));
    assert_eq!(refused("", |m| m.body = Body::EightBitMime), Err(Unsuitable::NoEightBit));
    assert_eq!(refused("8BITMIME CHUNKING", |m| m.body = Body::BinaryMime), Err(Unsuitable::NoEightBit));
    assert_eq!(refused("REQUIRETLS", |m| m.require_tls = true), Err(Unsuitable::NoRequireTls));
    let mut client = Client::new(settings(StartTls::Never));
    hear(&mut client, "220 x\r\n");
    hear(&mut client, "250-mx\r\n250 SIZE 10\r\n");
    assert_eq!(client.begin(Mail { size: 11, ..mail(&["b@x.test"]) }), Err(Unsuitable::TooLarge(10)));
    assert_eq!(client.begin(Mail { size: 10, ..mail(&["b@x.test"]) }), Ok(()));
}

#[test]
fn too_many_recipients_wait_for_a_further_transaction() {
    let mut client = ready("PIPELINING");
    begin(&mut client, mail(&["a@x.test", "b@x.test", "c@x.test", "d@x.test"]));
    let answers = "250 ok\r\n250 ok\r\n452 too many\r\n552 5.5.3 too many\r\n452 4.2.2 full\r\n354 go\r\n";
    assert_eq!(hear(&mut client, answers).0, Step::Content);
    send(&mut client, b"x\r\n");
    assert_eq!(letters(&hear(&mut client, "250 done\r\n").0), "Dmmt");
    // Nobody was accepted: then it is no matter of number.
    begin(&mut client, mail(&["b@x.test"]));
    let step = hear(&mut client, "250 ok\r\n452 too many\r\n503 no\r\n").0;
    assert_eq!(letters(&step), "t");
}

#[test]
fn every_refusal_has_its_reach() {
    let outcome = |answers: &str| {
        let mut client = ready("PIPELINING");
        begin(&mut client, mail(&["a@x.test", "b@x.test"]));
        letters(&hear(&mut client, answers).0)
    };
    assert_eq!(outcome("550 no\r\n503 a\r\n503 b\r\n503 c\r\n"), "FF");
    assert_eq!(outcome("451 no\r\n503 a\r\n503 b\r\n503 c\r\n"), "tt");
    assert_eq!(outcome("250 ok\r\n250 ok\r\n550 no\r\n451 later\r\n"), "tF");
    assert_eq!(outcome("250 ok\r\n250 ok\r\n450 no\r\n554 never\r\n"), "Ft");
    // Accepted for nobody: no empty message is sent.
    assert_eq!(outcome("250 ok\r\n550 no\r\n550 no\r\n354 go\r\n"), "FF");
    let after = |answer: &str| {
        let mut client = ready("PIPELINING");
        begin(&mut client, mail(&["a@x.test", "b@x.test"]));
        hear(&mut client, "250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n");
        send(&mut client, b"x\r\n");
        letters(&hear(&mut client, answer).0)
    };
    assert_eq!((after("250 ok\r\n"), after("451 no\r\n"), after("554 no\r\n")), ("DF".into(), "tF".into(), "FF".into()));
}

#[test]
fn a_lost_connection_delivers_nothing() {
    let lost_after = |answers: &str, complete: bool| {
        let mut client = ready("PIPELINING");
        begin(&mut client, mail(&["a@x.test", "b@x.test"]));
        hear(&mut client, answers);
        if complete {
            send(&mut client, b"x\r\n");
        } else {
            let _ = client.content(b"x\r\n");
        }
        assert!(matches!(client.lost(), Step::Failed(Failure::Lost(_))));
        client.abandon().iter().map(letter).collect::<String>()
    };
    assert_eq!(lost_after("", false), "oo");
    assert_eq!(lost_after("250 ok\r\n550 no\r\n", false), "Fo");
    assert_eq!(lost_after("250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n", false), "oF");
    assert_eq!(lost_after("250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n", true), "uF");
}

#[test]
fn the_server_may_close_at_any_point() {
    let mut client = Client::new(settings(StartTls::IfOffered));
    assert!(matches!(hear(&mut client, "421 busy\r\n").0, Step::Failed(Failure::Closing(Phase::Greeting, _))));
    let mut client = ready("PIPELINING");
    begin(&mut client, mail(&["a@x.test", "b@x.test"]));
    assert!(matches!(hear(&mut client, "250 ok\r\n550 no\r\n421 bye\r\n").0, Step::Failed(Failure::Closing(Phase::Rcpt, _))));
    assert_eq!(client.abandon().iter().map(letter).collect::<String>(), "Ft");
    let mut client = ready("PIPELINING");
    begin(&mut client, mail(&["a@x.test"]));
    hear(&mut client, "250 ok\r\n250 ok\r\n354 go\r\n");
    send(&mut client, b"x\r\n");
    // It said no: nothing is uncertain.
    assert!(matches!(hear(&mut client, "421 bye\r\n").0, Step::Failed(Failure::Closing(Phase::End, _))));
    assert_eq!(client.abandon().iter().map(letter).collect::<String>(), "t");
}

#[test]
fn a_refused_session_is_refused() {
    for (answer, phase) in [("554 no service\r\n", Phase::Greeting), ("450 later\r\n", Phase::Greeting)] {
        let mut client = Client::new(settings(StartTls::Never));
        assert!(matches!(hear(&mut client, answer).0, Step::Failed(Failure::Refused(p, _)) if p == phase));
    }
    let mut client = Client::new(settings(StartTls::IfOffered));
    hear(&mut client, "220 old\r\n");
    assert_eq!(hear(&mut client, "502 what?\r\n").1, "HELO mail.mta.test\r\n");
    assert_eq!(hear(&mut client, "250 old\r\n").0, Step::Ready);
    let mut client = Client::new(settings(StartTls::Required));
    hear(&mut client, "220 old\r\n");
    assert!(matches!(hear(&mut client, "502 what?\r\n").0, Step::Failed(Failure::Refused(Phase::Hello, _))));
}

/// Attack case OUT-01: answers that come before their commands count for nothing.
#[test]
fn answers_in_advance_end_the_session() {
    let mut client = Client::new(settings(StartTls::IfOffered));
    let all = "220 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 done\r\n";
    assert!(matches!(hear(&mut client, all).0, Step::Failed(Failure::OutOfStep(_))));
    let mut client = ready("");
    begin(&mut client, mail(&["a@x.test"]));
    assert!(matches!(hear(&mut client, "250 ok\r\n250 ok\r\n354 go\r\n250 done\r\n").0, Step::Failed(Failure::OutOfStep(_))));
    assert_eq!(client.abandon(), [Verdict::Open]);
    // 250 while the content is under way.
    let mut client = ready("PIPELINING");
    begin(&mut client, mail(&["a@x.test"]));
    hear(&mut client, "250 ok\r\n250 ok\r\n354 go\r\n");
    client.content(b"x\r\n").unwrap();
    assert!(matches!(hear(&mut client, "250 done\r\n").0, Step::Failed(Failure::OutOfStep(Phase::Block))));
    assert_eq!(client.abandon(), [Verdict::Open]);
    // A refusal at that point is heard.
    let mut client = ready("PIPELINING");
    begin(&mut client, mail(&["a@x.test"]));
    hear(&mut client, "250 ok\r\n250 ok\r\n354 go\r\n");
    client.content(b"x\r\n").unwrap();
    assert_eq!(letters(&hear(&mut client, "552 5.3.4 too large\r\n").0), "F");
    assert!(!client.is_ready());
}

fn offers_tls(starttls: StartTls) -> Client {
    let mut client = Client::new(settings(starttls));
    hear(&mut client, "220 x\r\n");
    assert_eq!(hear(&mut client, "250-x\r\n250-STARTTLS\r\n250-SIZE 10\r\n250 AUTH PLAIN\r\n").1, "STARTTLS\r\n");
    client
}

#[test]
fn starttls_forgets_what_was_said_before() {
    let mut client = offers_tls(StartTls::Required);
    assert_eq!(hear(&mut client, "220 go\r\n"), (Step::Handshake, String::new()));
    client.handshake_done();
    assert_eq!(client.take_output(), b"EHLO mail.mta.test\r\n");
    assert_eq!(*client.offered(), Capabilities::default());
    // STARTTLS offered within TLS is nothing.
    assert_eq!(hear(&mut client, "250-x\r\n250 STARTTLS\r\n").0, Step::Ready);
    assert!(!client.offered().size);

    // Attack class STLS: clear text behind the switch.
    let mut client = offers_tls(StartTls::IfOffered);
    assert_eq!(hear(&mut client, "220 go\r\n250-x\r\n").0, Step::Failed(Failure::Injected));
}

#[test]
fn starttls_that_is_required_is_never_done_without() {
    let mut client = Client::new(settings(StartTls::Required));
    hear(&mut client, "220 x\r\n");
    assert_eq!(hear(&mut client, "250 x\r\n").0, Step::Failed(Failure::NoStartTls));
    let mut client = offers_tls(StartTls::Required);
    assert!(matches!(hear(&mut client, "454 no\r\n").0, Step::Failed(Failure::StartTlsRefused(_))));
    let mut client = offers_tls(StartTls::IfOffered);
    assert_eq!(hear(&mut client, "454 no\r\n").0, Step::Ready);
    assert!(client.starttls_refused());
}

fn logs_in(mechanisms: &str) -> (Client, String) {
    let password = Secret::new(b"pencil".to_vec());
    let login = Some(Login { user: "user".into(), password, nonce: "rOprNGfwEbeRWgbNEkqO".into() });
    let mut client = Client::new(ClientSettings { name: "me".into(), encrypted: true, starttls: StartTls::Never, login });
    hear(&mut client, "220 x\r\n");
    let (_, line) = hear(&mut client, &format!("250-x\r\n250 AUTH {mechanisms}\r\n"));
    (client, line)
}

#[test]
fn each_mechanism_logs_in() {
    let (mut client, line) = logs_in("LOGIN PLAIN");
    assert_eq!(line, "AUTH PLAIN AHVzZXIAcGVuY2ls\r\n");
    assert_eq!(hear(&mut client, "235 ok\r\n").0, Step::Ready);

    let (mut client, line) = logs_in("LOGIN");
    assert_eq!(line, "AUTH LOGIN\r\n");
    assert_eq!(hear(&mut client, "334 VXNlcm5hbWU6\r\n").1, "dXNlcg==\r\n");
    assert_eq!(hear(&mut client, "334 UGFzc3dvcmQ6\r\n").1, "cGVuY2ls\r\n");
    assert!(matches!(hear(&mut client, "535 no\r\n").0, Step::Failed(Failure::LoginRefused(_))));

    let base64 = |text: &str| data_encoding::BASE64.encode(text.as_bytes());
    let (mut client, line) = logs_in("PLAIN SCRAM-SHA-256");
    assert_eq!(line, format!("AUTH SCRAM-SHA-256 {}\r\n", base64("n,,n=user,r=rOprNGfwEbeRWgbNEkqO")));
    let first = base64("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    assert!(hear(&mut client, &format!("334 {first}\r\n")).1.len() > 100);
    let last = base64("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert_eq!(hear(&mut client, &format!("334 {last}\r\n")).1, "\r\n");
    assert_eq!(hear(&mut client, "235 ok\r\n").0, Step::Ready);

    // A server that cuts its own proof short.
    let (mut client, _) = logs_in("SCRAM-SHA-256");
    assert_eq!(hear(&mut client, "235 ok\r\n").0, Step::Failed(Failure::LoginBroken));
    assert_eq!(logs_in("CRAM-MD5").0.step(), Step::Failed(Failure::NoMechanism));
}

#[test]
fn no_password_leaves_without_tls() {
    let login = Some(Login { user: "u".into(), password: Secret::new(b"p".to_vec()), nonce: "n".repeat(20) });
    let mut client = Client::new(ClientSettings { name: "me".into(), encrypted: false, starttls: StartTls::IfOffered, login });
    hear(&mut client, "220 x\r\n");
    assert_eq!(hear(&mut client, "250-x\r\n250 AUTH PLAIN\r\n"), (Step::Failed(Failure::NoMechanism), String::new()));
}

#[test]
fn bare_bytes_and_a_wrong_length_are_not_sent() {
    let mut client = ready("PIPELINING");
    begin(&mut client, mail(&["a@x.test"]));
    hear(&mut client, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_eq!(client.content(b"a\nb"), Err(BareBytes));
    let mut client = ready("CHUNKING PIPELINING");
    begin(&mut client, mail(&["a@x.test"]));
    hear(&mut client, "250 ok\r\n250 ok\r\n");
    client.content(b"a\r\n").unwrap();
    assert_eq!(client.end_content(), Err(BareBytes));
}

/// Whatever a server says, in whatever pieces: the session ends or waits, and delivers only behind the content.
#[test]
fn invariants_hold_whatever_is_answered() {
    const PIECES: &[&str] = &[
        "220 x\r\n",
        "250 ok\r\n",
        "250-STARTTLS\r\n250 PIPELINING\r\n",
        "250-a\r\n250-CHUNKING\r\n250 SIZE 5\r\n",
        "354 go\r\n",
        "421 bye\r\n",
        "450 x\r\n",
        "550 5.1.1 x\r\n",
        "452 x\r\n",
        "334 AAAA\r\n",
        "235 ok\r\n",
        "999 x\r\n",
        "2",
        "\r\n",
        "\0",
        "\u{fffd}",
        "553-\ntype: mda\r\n553\r\n",
    ];
    let mut seed = 88_172_645_463_325_252_u64;
    let mut below = |n: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % n as u64).unwrap()
    };
    let mut delivered = 0;
    for _ in 0..20_000 {
        let mut client = Client::new(settings([StartTls::Never, StartTls::IfOffered, StartTls::Required][below(3)]));
        let mut complete = false;
        for _ in 0..40 {
            match client.step() {
                // Mostly what is wanted, or nothing would ever come to its end.
                Step::Read if below(8) > 0 => client.receive(match client.phase() {
                    Phase::Greeting | Phase::StartTls => b"220 x\r\n",
                    Phase::Data => b"354 go\r\n",
                    _ => b"250 ok\r\n",
                }),
                Step::Read => client.receive(PIECES[below(PIECES.len())].as_bytes()),
                Step::Handshake => client.handshake_done(),
                Step::Ready => {
                    complete = false;
                    if client.begin(mail(&["a@x.test", "b@x.test", "c@x.test"])).is_err() {
                        break;
                    }
                }
                Step::Content => {
                    client.content(b"hello\r\n").unwrap();
                    complete = client.end_content().is_ok();
                }
                Step::Done(verdicts) => {
                    assert_eq!(verdicts.len(), 3);
                    let some = verdicts.iter().any(|v| matches!(v, Verdict::Delivered(_)));
                    assert!(!some || complete);
                    delivered += usize::from(some);
                }
                Step::Failed(_) => {
                    assert!(client.abandon().iter().all(|v| !matches!(v, Verdict::Delivered(_))));
                    break;
                }
            }
            assert!(client.take_output().len() < 4096);
        }
    }
    assert!(delivered > 10, "{delivered}");
}
