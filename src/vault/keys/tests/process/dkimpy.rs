//! Every signature is verified by an independent implementation: dkimpy (Debian: python3-dkim, python3-nacl).

use crate::{
    signatures::{domain, input, keys, now, sign},
    world::Daemon,
};
use pure_index::judgement::{Arc, ArcResult, Judgement};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use wire::{
    Client, List,
    edge::keys_dkim::{KeysDkim, Request, Response, Seal, SealedSet},
};

/// A python that has dkimpy, or a skip.
fn python() -> Option<PathBuf> {
    let given = std::env::var_os("POSTERN_PYTHON").map(PathBuf::from);
    let candidates = given.into_iter().chain(["python3".into(), "/usr/bin/python3".into()]);
    let able = |p: &PathBuf| Command::new(p).args(["-c", "import dkim, nacl"]).output().is_ok_and(|o| o.status.success());
    let found = candidates.into_iter().find(able);
    if found.is_none() {
        test_support::skip("no python3 with dkimpy and pynacl");
    }
    found
}

/// Messages that have been trouble for signers: ends of bodies, folding, duplicates, empty fields, eight bits.
fn odd() -> Vec<Vec<u8>> {
    let plain = "From: a@mta.test\r\nTo: b@x.test\r\nSubject: x\r\nDate: Sat, 21 Nov 2026 00:00:00 +0000\r\nMessage-ID: <1@mta.test>\r\n";
    let mut all: Vec<Vec<u8>> = Vec::new();
    for body in [
        "",
        "\r\n",
        " \r\n",
        "\t\r\n \r\n\r\n",
        "x",
        "x\r\n",
        "x \r\n \r\n\t \r\n",
        "x\r\n\r\n\r\n",
        " x\t y \r\n",
        "\r\n\r\nx\r\n",
        ".\r\n..\r\n",
        "  \r\n  x  \r\n  \r\n",
        "a  b\t\tc\r\n",
        "gr\u{fc}n\r\n",
        "\u{a0}\r\n",
        "\u{b}\r\n",
        "x\u{c} \r\n",
    ] {
        all.push(format!("{plain}\r\n{body}").into_bytes());
    }
    for fields in [
        "Subject:\r\n",
        "Subject: \r\n",
        "Subject:no blank\r\n",
        "Subject: a\r\n b\r\n\tc\r\n  \r\n d\r\n",
        "Subject: one\r\nSubject: two\r\nSUBJECT: three\r\n",
        "Subject: gr\u{fc}n\r\n",
        "subject:\t tabs \t and   blanks \t\r\n",
        "Reply-To: r@x.test\r\nCc: c@x.test\r\nReferences: <1@x>\r\n <2@x>\r\nIn-Reply-To: <2@x>\r\n",
        "List-Unsubscribe: <https://x.test/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nList-Id: <l.x.test>\r\n",
        "Resent-From: r@x.test\r\nResent-To: s@x.test\r\nResent-From: t@x.test\r\nSender: s@mta.test\r\n",
        "DKIM-Signature: v=1; a=rsa-sha256; d=x.test; s=s; h=from; bh=AA==; b=AA==\r\n",
        "MIME-Version: 1.0\r\nContent-Type: text/plain;\r\n\tcharset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n",
    ] {
        all.push(format!("Received: from x\r\n{fields}From: a@mta.test\r\n\r\nbody\r\n").into_bytes());
    }
    all.push(format!("{plain}To: {}\r\n\r\nx\r\n", vec!["someone@x.test"; 2000].join(",\r\n ")).into_bytes());
    all.push(format!("{plain}\r\n{}x{}", "\r\n".repeat(5000), " \t\r\n".repeat(5000)).into_bytes());
    // Ends of bodies at random, from a generator that always says the same.
    let mut state = 1u32;
    for _ in 0..150 {
        let mut body = String::new();
        for _ in 0..30 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            body.push_str([" ", "\t", "\r\n", "\r\n", "x", "word", "="][(state >> 16) as usize % 7]);
        }
        all.push(format!("{plain}\r\n{body}").into_bytes());
    }
    all
}

fn fixtures() -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/mail");
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "eml"));
    paths.sort();
    paths.iter().map(|p| fs::read(p).unwrap()).collect()
}

/// As they leave: with CRLF, ended.
fn as_sent(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in message.split_inclusive(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn verify(python: &Path, dir: &Path) -> Output {
    run(python, "verify.py", dir)
}

fn run(python: &Path, script: &str, dir: &Path) -> Output {
    Command::new(python).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process").join(script)).arg(dir).output().unwrap()
}

/// The message with one more ARC set, which says this of those that it has.
async fn seal(client: &Client<KeysDkim>, message: &[u8], result: ArcResult) -> Vec<u8> {
    let sets = pure_mailauth::sets(message, &pure_mime::index(message)).into_iter();
    let sets = sets.map(|[results, message, seal]| SealedSet { results: results.into(), message: message.into(), seal: seal.into() });
    let seal = Seal {
        domain: domain(),
        time: now(),
        host: "mail.mta.test".parse().unwrap(),
        input: Box::new(input(message).unwrap()),
        judgement: Box::new(Judgement { arc: Arc { result, ..Arc::default() }, ..Judgement::default() }),
        sets: List::new(sets.collect()).unwrap(),
    };
    let Response::Signatures(fields) = client.call(&Request::Seal(Box::new(seal)), &[]).await.unwrap().body else { panic!() };
    [fields.iter().flat_map(|field| field.to_vec()).collect(), message.to_vec()].concat()
}

/// RFC 8617: one hop, two, three, and a chain whose end says that it failed; dkimpy and our own verifier agree.
#[tokio::test]
async fn dkimpy_verifies_every_chain() {
    let Some(python) = python() else { return };
    let daemon = Daemon::start();
    let client = daemon.client::<KeysDkim>();
    let dir = tempfile::tempdir().unwrap();
    let mut expected = String::new();
    let plain = as_sent(b"From: a@x.test\nTo: b@mta.test\nSubject: folded\n  and long\n\nHello \n \n\n");
    let one = seal(&client, &plain, ArcResult::None).await;
    let two = seal(&client, &one, ArcResult::Pass).await;
    let three = seal(&client, &two, ArcResult::Pass).await;
    let changed = [&two[..], b"a footer\r\n"].concat();
    // A list adds something and seals what it has made of the message.
    let resealed = seal(&client, &changed, ArcResult::Pass).await;
    let failed = seal(&client, &changed, ArcResult::Fail).await;
    let forged = String::from_utf8(three.clone()).unwrap().replacen("dmarc=none", "dmarc=pass", 1).into_bytes();
    for (name, message, result) in [
        ("a-one", &one, "pass"),
        ("b-two", &two, "pass"),
        ("c-three", &three, "pass"),
        ("d-changed", &changed, "fail"),
        ("e-resealed", &resealed, "pass"),
        ("f-failed", &failed, "ended"),
        ("g-forged", &forged, "fail"),
    ] {
        fs::write(dir.path().join(format!("{name}.eml")), message).unwrap();
        expected.push_str(&format!("{name} {result}\n"));
    }
    let records = keys(&daemon).await;
    let lines: String = records.iter().map(|k| format!("{}._domainkey.{}. {}\n", k.selector, domain(), k.record)).collect();
    fs::write(dir.path().join("records"), lines).unwrap();
    let output = run(&python, "verify_arc.py", dir.path());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let short: String = said.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ") + "\n").collect();
    assert_eq!(short, expected, "{said}");
}

#[tokio::test]
async fn dkimpy_verifies_both_signatures_of_every_message() {
    let Some(python) = python() else { return };
    let daemon = Daemon::start();
    let client = daemon.client::<KeysDkim>();
    let dir = tempfile::tempdir().unwrap();
    let fixtures: Vec<_> = fixtures().iter().map(|m| as_sent(m)).collect();
    let mut messages: Vec<Vec<u8>> = fixtures.iter().cloned().chain(odd().iter().map(|m| as_sent(m))).collect();
    // And as they leave for a host without 8BITMIME.
    for message in messages.clone() {
        let mut converted = Vec::new();
        if !message.is_ascii() && pure_mime::seven_bit::seven_bit(&message, &mut converted).is_ok() {
            messages.push(converted);
        }
    }
    let mut signed = 0;
    for (number, message) in messages.iter().enumerate() {
        let Some(input) = input(message) else {
            // Fixtures without a From cannot be signed; every message made here has one.
            assert!(number < fixtures.len(), "{}", String::from_utf8_lossy(message));
            continue;
        };
        let mut whole = sign(&client, input).await.unwrap().concat();
        whole.extend_from_slice(message);
        fs::write(dir.path().join(format!("{number:04}.eml")), whole).unwrap();
        signed += 1;
    }
    assert!(signed > 180, "{signed}");
    let records = keys(&daemon).await;
    let lines: String = records.iter().map(|k| format!("{}._domainkey.{}. {}\n", k.selector, domain(), k.record)).collect();
    fs::write(dir.path().join("records"), lines).unwrap();
    let output = verify(&python, dir.path());
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // One fixture has a blank before a colon, which dkimpy does not read.
    assert!(said.contains(&format!("verified {}, unreadable 2", signed * 2 - 2)), "{said}");

    // The check itself can fail: one byte of content, one added field that is oversigned.
    let first = fs::read(dir.path().join("0020.eml")).unwrap();
    for forged in
        [[&first[..], b"more\r\n"].concat(), [&b"Subject: forged\r\n"[..], &first].concat(), [&b"Cc: x@evil.test\r\n"[..], &first].concat()]
    {
        let other = tempfile::tempdir().unwrap();
        fs::copy(dir.path().join("records"), other.path().join("records")).unwrap();
        fs::write(other.path().join("forged.eml"), forged).unwrap();
        assert!(!verify(&python, other.path()).status.success());
    }
}
