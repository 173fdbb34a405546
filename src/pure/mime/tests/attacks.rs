//! Hostile messages. The ids are those of the project's attack cases.
#![cfg(test)]

use pure_index::{MAX_DEPTH, MAX_PARTS, MessageIndex, PartKind, Structure};
use pure_mime::index;
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

const HEAD: &str =
    "From: x@evil.test\r\nTo: alice@mta.test\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <t@evil.test>\r\nSubject: t\r\n";

/// Generous: this is an unoptimised build on a busy machine. What is quadratic takes minutes.
const PATIENCE: Duration = Duration::from_secs(20);

fn in_time(message: &[u8]) -> MessageIndex {
    let start = Instant::now();
    let found = index(message);
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert!(!found.structure.parts().is_empty());
    found
}

/// A tree, and every child inside its parent.
fn check(found: &MessageIndex) {
    Structure::new(found.structure.parts().to_vec()).unwrap();
}

/// MIME-01: nesting costs no stack and ends at the limit, as multipart, as message, as digest.
#[test]
fn deep_nesting_ends_in_an_opaque_leaf() {
    for (open, close) in [
        ("Content-Type: multipart/mixed; boundary=\"b{i}\"\r\n\r\n--b{i}\r\n", "--b{i}--\r\n"),
        ("Content-Type: message/rfc822\r\n\r\n", ""),
        ("Content-Type: multipart/digest; boundary=b{i}\r\n\r\n--b{i}\r\n\r\n", ""),
    ] {
        let mut message = format!("{HEAD}MIME-Version: 1.0\r\n");
        for i in 0..10_000 {
            message.push_str(&open.replace("{i}", &i.to_string()));
        }
        message.push_str("Content-Type: text/plain\r\n\r\nx\r\n");
        for i in (0..10_000).rev() {
            message.push_str(&close.replace("{i}", &i.to_string()));
        }
        let found = in_time(message.as_bytes());
        check(&found);
        let parts = found.structure.parts();
        assert_eq!(parts.len(), MAX_DEPTH + 1);
        let last = parts.last().unwrap();
        assert_eq!((last.kind, &last.media_type[..], &last.subtype[..]), (PartKind::Leaf, &b"application"[..], &b"octet-stream"[..]));
    }
}

/// MIME-02: one boundary for all.
#[test]
fn a_reused_boundary_gives_a_tree() {
    let message = format!(
        "{HEAD}Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: message/rfc822\r\n\r\n\
         Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: message/rfc822\r\n\r\n\
         Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n--a--\r\n--a\r\n--a--\r\n"
    );
    let found = in_time(message.as_bytes());
    check(&found);
    let kinds: Vec<_> = found.structure.parts().iter().map(|p| (p.kind, p.parent)).collect();
    assert_eq!(
        kinds,
        [
            (PartKind::Multipart, None),
            (PartKind::Message, Some(0)),
            (PartKind::Multipart, Some(1)),
            (PartKind::Message, Some(2)),
            (PartKind::Multipart, Some(3)),
            (PartKind::Leaf, Some(4)),
            (PartKind::Leaf, Some(2)),
        ]
    );
}

/// MIME-01 with the same boundary at every level: below the limit the parts become siblings.
#[test]
fn deep_nesting_in_one_boundary_is_bounded() {
    let message = HEAD.to_owned() + &"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n".repeat(10_000);
    let found = in_time(message.as_bytes());
    check(&found);
    assert_eq!(found.structure.parts().len(), MAX_PARTS);
}

/// MIME-02: more parts than may be.
#[test]
fn too_many_parts_end_in_an_opaque_leaf() {
    for count in [MAX_PARTS - 2, MAX_PARTS - 1, MAX_PARTS, MAX_PARTS * 3] {
        let mut message = format!("{HEAD}Content-Type: multipart/mixed; boundary=a\r\n\r\n");
        for i in 0..count {
            message.push_str(&format!("--a\r\n\r\npart {i}\r\n"));
        }
        message.push_str("--a--\r\nepilogue");
        let found = in_time(message.as_bytes());
        check(&found);
        let parts = found.structure.parts();
        assert_eq!(parts.len(), (count + 1).min(MAX_PARTS));
        let last = parts.last().unwrap();
        let body = &message[last.body.start as usize..last.body.end as usize];
        assert!(body.ends_with(&format!("part {}", count - 1)) && !body.contains("epilogue"));
        assert_eq!(&last.media_type[..] == b"application", count >= MAX_PARTS);
    }
    // The last part there may be declares parts of its own.
    let mut message = format!("{HEAD}Content-Type: multipart/mixed; boundary=a\r\n\r\n");
    message.push_str(&"--a\r\nContent-Type: message/rfc822\r\n\r\n".repeat(MAX_PARTS));
    let found = in_time(message.as_bytes());
    check(&found);
    assert_eq!(found.structure.parts().len(), MAX_PARTS);
}

/// MIME-05: 60 MB in one field, and other fields without end.
#[test]
fn giant_headers_are_cut() {
    let found = in_time(format!("Subject: {}\r\n\r\nx\r\n", "a".repeat(60_000_000)).as_bytes());
    assert_eq!(found.envelope.subject.unwrap().len(), pure_index::MAX_STRING);
    assert_eq!(found.search.body, "x");

    let n = 1_000_000;
    for (name, value) in [
        ("From", "(".repeat(n)),
        ("From", "\"".repeat(n)),
        ("From", "<@".repeat(n)),
        ("To", "a@b.test,".repeat(n / 8)),
        ("To", ",;:<>".repeat(n / 8)),
        ("To", "=?a?q?".repeat(n / 8)),
        ("Subject", "[a]".repeat(n / 4)),
        ("Subject", "=?utf-8?q?x?= ".repeat(n / 8)),
        ("Subject", "re:".repeat(n / 4)),
        ("References", "<a@b>".repeat(n / 8)),
        ("References", (0..n / 16).map(|i| format!("<{i}@x>")).collect()),
        ("Content-Type", format!("a/b{}", ";x=y".repeat(n / 4))),
        ("Content-Type", format!("multipart/mixed; boundary={}", "b".repeat(n))),
        ("Content-Disposition", (0..n / 16).rev().map(|i| format!(";filename*{i}=x")).collect()),
        ("Content-Language", ",a".repeat(n / 2)),
        ("Date", "(".repeat(n)),
        ("X", "\r\n y".repeat(n / 4)),
        ("X", format!("x\r\n{}", "a:b\r\n".repeat(n / 4))),
    ] {
        check(&in_time(format!("{name}: {value}\r\n\r\n--{value}").as_bytes()));
    }
}

/// MIME-05 for bodies: whatever looks like a delimiter, and text that is all markup.
#[test]
fn giant_bodies_are_read_once() {
    let n = 2_000_000;
    for body in
        ["\r\n--".repeat(n / 4), "\r\n--bbbbbbbb\t".repeat(n / 12), "-".repeat(n), "\n".repeat(n), "--bbbbbbbb\r\n\r\n".repeat(n / 14)]
    {
        let mut message = HEAD.to_owned();
        for i in 0..MAX_DEPTH {
            let boundary = format!("{}{i}", "b".repeat(900));
            message.push_str(&format!("Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n--{boundary}\r\n"));
        }
        message.push_str(&body);
        check(&in_time(message.as_bytes()));
    }
    for body in ["<".repeat(n), "&".repeat(n), "<!--".repeat(n / 4), "<script>".repeat(n / 8), "&#x;".repeat(n / 4), "<a b='".repeat(n / 6)]
    {
        let found = in_time(format!("Content-Type: text/html\r\n\r\n{body}").as_bytes());
        assert!(found.search.body.len() <= pure_index::MAX_SEARCH_TEXT);
    }
    let wide = in_time("\u{130}".repeat(n / 2).as_bytes());
    assert!(wide.search.body.len() <= pure_index::MAX_SEARCH_TEXT);
}

/// An index stays far below what a frame to another process may hold, whatever a message is made of.
#[test]
fn an_index_is_small() {
    let addresses = "\"\"<>,".repeat(4_000);
    let mut message = format!("{HEAD}Content-Type: multipart/digest; boundary=a\r\n\r\n");
    for _ in 0..450 {
        message.push_str(&format!(
            "--a\r\n\r\nFrom: {addresses}\r\nTo: {addresses}\r\nCc: {addresses}\r\n{}\r\nx\r\n",
            "a:\r\n".repeat(1_100)
        ));
    }
    let found = in_time(message.as_bytes());
    check(&found);
    let envelopes: Vec<_> = found.structure.parts().iter().filter_map(|p| p.envelope.as_ref()).collect();
    let addresses: usize = envelopes.iter().map(|e| e.from.len() + e.sender.len() + e.reply_to.len() + e.to.len() + e.cc.len()).sum();
    assert!(addresses <= pure_mime::limits::MAX_TOTAL_STRINGS / pure_mime::limits::ELEMENT_COST);
    let fields: usize = found.structure.parts().iter().map(|p| p.fields.len()).sum();
    assert!(fields <= pure_mime::limits::MAX_TOTAL_FIELDS);
    // The message's own envelope is there all the same.
    assert_eq!(found.envelope.from.len(), 1);
}

const EICAR: &str = "WDVPIVAlQEFQWzRcUFpYNTQoUF4pN0NDKTd9JEVJQ0FSLVNUQU5EQVJELUFOVElWSVJVUy1URVNULUZJTEUhJEgrSCo=";

/// MIME-08: what is ambiguous has one reading, always the same: (types of the leaves, name of the attachment).
#[test]
fn ambiguous_messages_have_one_reading() {
    let part = |disposition: &str, encoding: &str| {
        format!(
            "--a\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; {disposition}\r\n\
             Content-Transfer-Encoding: {encoding}\r\n\r\n{EICAR}\r\n--a--\r\n"
        )
    };
    let usual = part("filename=evil.exe", "base64");
    let mixed = "Content-Type: multipart/mixed; boundary=a\r\n\r\n";
    for (message, leaves, name) in [
        (format!("Content-Type: text/plain\r\n{mixed}{usual}"), "text/plain", None),
        (format!("Content-Type: multipart/mixed; boundary=b; boundary=a\r\n\r\n{usual}"), "text/plain", None),
        (format!("Content-Type: multipart/mixed; boundary=\"a \"\r\n\r\n{usual}"), "application/octet-stream", Some("evil.exe")),
        (format!("Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n\r\nx\r\n{usual}"), "text/plain", None),
        (format!("Content-Type : multipart/mixed; boundary=a\r\n\r\n{usual}"), "application/octet-stream", Some("evil.exe")),
        (
            format!("Content-Type:\r\n\tmultipart/mixed;\r\n boundary*=us-ascii''a\r\n\r\n{usual}"),
            "application/octet-stream",
            Some("evil.exe"),
        ),
        (
            format!("Content-Type: multipart/mixed; boundary*0=x; boundary*1=y; boundary=a\r\n\r\n{usual}"),
            "application/octet-stream",
            Some("evil.exe"),
        ),
        (format!("Content-Type: multipart/mixed; boundary==?utf-8?q?a?=\r\n\r\n{usual}"), "text/plain", None),
        (format!("X-Broken header without colon\r\n{mixed}{usual}"), "application/octet-stream", Some("evil.exe")),
        (format!("{mixed}--ab\r\n\r\nx\r\n{usual}"), "application/octet-stream", Some("evil.exe")),
        (format!("{mixed}--a--\r\n{usual}"), "text/plain", None),
        (format!("Content-Type: message/partial; id=z@evil.test; number=1; total=1\r\n\r\n{mixed}{usual}"), "message/partial", None),
        (
            "Content-Type: message/external-body; access-type=local-file; name=\"/etc/passwd\"\r\n\r\nContent-Type: text/plain\r\n\r\n"
                .into(),
            "message/external-body",
            Some("/etc/passwd"),
        ),
        (format!("{mixed}{}", part("filename*0=\"evil.ex\"; filename*1=\"e\"", "base64")), "application/octet-stream", Some("evil.exe")),
        (format!("{mixed}{}", part("filename=a.txt; filename*=utf-8''evil.exe", "base64;x")), "application/octet-stream", Some("evil.exe")),
        (format!("{mixed}{}", part("filename=a.txt; filename=evil.exe", "\"base64\"")), "application/octet-stream", Some("a.txt")),
    ] {
        let message = format!("{HEAD}MIME-Version: 1.0\r\n{message}");
        let found = in_time(message.as_bytes());
        check(&found);
        let parts = found.structure.parts();
        let types: Vec<String> = parts
            .iter()
            .filter(|p| p.kind == PartKind::Leaf)
            .map(|p| format!("{}/{}", String::from_utf8_lossy(&p.media_type), String::from_utf8_lossy(&p.subtype)))
            .collect();
        assert_eq!(types.join(" "), leaves, "{message}");
        assert_eq!(parts.iter().find_map(pure_mime::file_name).as_deref(), name, "{message}");
    }
}

/// MIME-08: of conflicting encodings the first counts, and text in a character set that is no text stays what it is.
#[test]
fn encodings_and_charsets_are_not_guessed() {
    let message = format!("{HEAD}Content-Transfer-Encoding: base64\r\nContent-Transfer-Encoding: 7bit\r\n\r\naGVsbG8=\r\n");
    assert_eq!(index(message.as_bytes()).search.body, "hello");
    let message = format!("{HEAD}Content-Type: text/html; charset=utf-7\r\n\r\n+ADw-script+AD4-alert(1)+ADw-/script+AD4-\r\n");
    assert_eq!(index(message.as_bytes()).search.body, "+adw-script+ad4-alert(1)+adw-/script+ad4-");
    let message = format!("{HEAD}Content-Type: text/plain\r\n\r\nbegin 644 evil.exe\r\n#6#5/\r\n`\r\nend\r\n");
    assert_eq!(index(message.as_bytes()).structure.parts().len(), 1);
}

/// INJ-02: nothing that looks like code for someone else is more than text.
#[test]
fn nothing_is_expanded() {
    let message = "From: () { :;}; /bin/touch /tmp/pwned\r\nX-Zip: `touch /tmp/pwned`\r\n\
        Subject: ${run{touch /tmp/pwned}} {{7*7}} %{passwd} {% import os %}\r\n\
        Content-Type: application/x-tar; name=\"`touch /tmp/pwned`.tar\"\r\n\
        Content-Disposition: attachment; filename=\"$(touch /tmp/pwned).zip\"\r\n\r\nx";
    let found = in_time(message.as_bytes());
    assert_eq!(found.envelope.subject.unwrap().as_slice(), b"${run{touch /tmp/pwned}} {{7*7}} %{passwd} {% import os %}");
    assert_eq!(found.search.body, "$(touch /tmp/pwned).zip");
    assert!(found.search.headers.contains(&("x-zip".into(), "`touch /tmp/pwned`".into())));
    assert!(found.identity.unreadable);
}

/// FROM-05 and FROM-02: whatever the display name says, the author is the addr-spec, or the field is unreadable.
#[test]
fn names_are_no_authors() {
    for (from, readable) in [
        ("\u{202e}tset.knab@nimda <x@evil.test>", false),
        ("\"admin@bank.test                                                            \" <x@evil.test>", true),
        ("=?utf-8?b?YWRtaW5AYmFuay50ZXN0Cg==?= <x@evil.test>", true),
        ("admin@b\u{430}nk.test <x@evil.test>", false),
        ("<x@evil.test> (admin@bank.test)", true),
        ("\"x; dkim=pass header.d=bank.test; y\" <x@evil.test>", true),
    ] {
        let identity = index(format!("From: {from}\r\n\r\n").as_bytes()).identity;
        assert_eq!((identity.authors.as_slice(), identity.unreadable), (&["x@evil.test".to_owned()][..], !readable), "{from}");
    }
    for from in ["(any@bank.test", "any@bank.test(a.evil.test", "any@bank.test'@any.evil.test", "admin@bank.test\0.evil.test"] {
        assert!(index(format!("From: {from}\r\n\r\n").as_bytes()).identity.unreadable, "{from}");
    }
}

/// Parameters of a part are the same list for all: no name stands in it twice.
#[test]
fn no_parameter_stands_twice() {
    let message = "Content-Type: a/b; name=1; NAME=2; name*=utf-8''3; x=4; name=5\r\n\r\n";
    let found = index(message.as_bytes());
    let names: Vec<_> = found.structure.root().unwrap().params.iter().map(|(n, _)| n.to_ascii_lowercase()).collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
}

/// FROM-02 and SMUG-05: with BINARYMIME a bare CR or NUL arrives, and whoever takes it for a line end would see a second From.
#[test]
fn a_header_with_other_line_ends_names_nobody() {
    for stray in ["\r", "\0"] {
        for subject in [format!("x{stray}From: ceo@bank.test"), format!("x{stray}")] {
            let message = format!("From: a@mta.test\r\nSubject: {subject}\r\n\r\nbody");
            assert!(index(message.as_bytes()).identity.unreadable, "{message:?}");
        }
    }
    assert!(!index(b"From: a@mta.test\r\nSubject: x\r\n\r\nbody\r\0").identity.unreadable);
}
