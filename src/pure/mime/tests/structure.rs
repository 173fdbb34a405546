//! Whole messages and the tree, texts and facts that come out of them.
#![cfg(test)]

use pure_index::{Encoding, MessageIndex, Part, PartKind, Span, Structure};
use pure_mime::index;

fn cut(message: &[u8], span: Span) -> String {
    String::from_utf8_lossy(&message[span.start as usize..span.end as usize]).into_owned()
}

/// `type/subtype(children)` or `type/subtype[body]`.
fn show(message: &[u8]) -> String {
    fn one(message: &[u8], structure: &Structure, at: usize) -> String {
        let part = &structure.parts()[at];
        let name = format!("{}/{}", String::from_utf8_lossy(&part.media_type), String::from_utf8_lossy(&part.subtype));
        if part.kind == PartKind::Leaf {
            return format!("{name}[{}]", cut(message, part.body).escape_debug());
        }
        let children: Vec<String> = structure.children(at).map(|(i, _)| one(message, structure, i)).collect();
        format!("{name}({})", children.join(" "))
    }
    one(message, &index(message).structure, 0)
}

fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

fn leaf(index: &MessageIndex, n: usize) -> &Part {
    index.structure.parts().iter().filter(|p| p.kind == PartKind::Leaf).nth(n).unwrap()
}

#[test]
fn plain_messages() {
    assert_eq!(show(b""), "text/plain[]");
    assert_eq!(show(b"\r\n"), "text/plain[]");
    assert_eq!(show(b"no colon"), "text/plain[]");
    assert_eq!(show(b"Subject: x\r\n\r\nbody\r\n"), "text/plain[body\\r\\n]");
    assert_eq!(show(b"Subject: x\n\nbody\n"), "text/plain[body\\n]");
    assert_eq!(show(b"Content-Type: text/html\r\n\r\nx"), "text/html[x]");
    assert_eq!(show(b"Content-Type: nonsense\r\n\r\nx"), "text/plain[x]");
    assert_eq!(show(b"Content-Type: image/x-new; a=b\r\n\r\nx"), "image/x-new[x]");
}

/// The example of RFC 2046 5.1.1: preamble, epilogue, the line break of a delimiter.
const EXAMPLE: &str = "\
From: Nathaniel <nsb@example.test>
To: Ned <ned@example.test>
Date: Sun, 21 Mar 1993 23:56:48 -0800 (PST)
Subject: Sample message
MIME-Version: 1.0
Content-type: multipart/mixed; boundary=\"simple boundary\"

This is the preamble.

--simple boundary

This is implicitly typed plain text.
It does NOT end with a linebreak.
--simple boundary
Content-type: text/plain; charset=us-ascii

This is explicitly typed.
It DOES end with a linebreak.

--simple boundary--

This is the epilogue.
";

#[test]
fn the_example_of_the_standard() {
    for message in [crlf(EXAMPLE), EXAMPLE.as_bytes().to_vec()] {
        let found = index(&message);
        let bodies: Vec<String> = found.structure.children(0).map(|(_, p)| cut(&message, p.body).replace('\r', "")).collect();
        assert_eq!(
            bodies,
            [
                "This is implicitly typed plain text.\nIt does NOT end with a linebreak.",
                "This is explicitly typed.\nIt DOES end with a linebreak.\n"
            ]
        );
        let lines: Vec<u32> = found.structure.parts().iter().map(|p| p.lines).collect();
        assert_eq!(lines, [15, 2, 2]);
        assert_eq!(cut(&message, leaf(&found, 0).header).trim(), "");
        assert_eq!(found.sent_at, Some(732_787_008));
        assert_eq!(found.preview, "This is implicitly typed plain text. It does NOT end with a linebreak.");
        assert!(!found.has_attachment);
        assert!(!found.search.body.contains("preamble"));
    }
}

#[test]
fn nested_multiparts_and_messages() {
    let message = "\
Content-Type: multipart/mixed; boundary=a

--a
Content-Type: multipart/alternative; boundary=b

--b

one
--b
Content-Type: text/html

<p>two</p>
--b--
--a
Content-Type: message/rfc822

Subject: inner
Content-Type: multipart/mixed; boundary=c

--c

three
--c--
--a
Content-Type: image/png; name=x.png

png
--a--
";
    assert_eq!(
        show(message.as_bytes()),
        "multipart/mixed(multipart/alternative(text/plain[one] text/html[<p>two</p>]) \
         message/rfc822(multipart/mixed(text/plain[three])) image/png[png])"
    );
    let message = crlf(message);
    let found = index(&message);
    let root = found.structure.parts().iter().find(|p| p.envelope.is_some()).unwrap();
    assert_eq!(root.envelope.as_ref().unwrap().subject.as_deref().unwrap().as_slice(), b"inner");
    let outer = &found.structure.parts()[root.parent.unwrap() as usize];
    assert_eq!((outer.body.start, outer.body.end), (root.header.start, root.body.end));
    assert_eq!(outer.lines, 7);
    assert!(found.has_attachment);
    assert_eq!(found.search.body, "one\ntwo\nthree\ninner\nx.png");
}

#[test]
fn delimiters() {
    let body = |text: &str| show(format!("Content-Type: multipart/mixed; boundary=a\n\n{text}").as_bytes());
    for (text, expected) in [
        ("--a \t\n\nx\n--a-- \n", "text/plain[x]"),
        ("--ab\n\nx\n--a\n\ny\n--a--", "text/plain[y]"),
        ("--a\n\nx\n--a--b\n--a--\n", "text/plain[x\\n--a--b]"),
        ("--a\n\nx\n --a\ny --a\n", "text/plain[x\\n --a\\ny --a\\n]"),
        // Missing end.
        ("--a\n\nx\n", "text/plain[x\\n]"),
        ("--a", "text/plain[]"),
        ("--a\n--a\n--a--", "text/plain[] text/plain[]"),
        // No empty line between header and delimiter: the line break stays with the header.
        ("--a\nContent-Type: text/html\n--a--", "text/html[]"),
        ("--a\nContent-Type: text/html\n\n--a--", "text/html[]"),
        ("--a\n\n\n--a--", "text/plain[]"),
        // What follows the close delimiter is no part.
        ("--a\n\nx\n--a--\n--a\n\ny\n", "text/plain[x]"),
    ] {
        assert_eq!(body(text), format!("multipart/mixed({expected})"), "{text}");
    }
}

#[test]
fn a_delimiter_further_out_ends_everything_inside() {
    let message = "\
Content-Type: multipart/mixed; boundary=a

--a
Content-Type: message/rfc822

Content-Type: multipart/mixed; boundary=b

--b
Content-Type: multipart/mixed; boundary=c

--c

deep
--a

after
--b

not here
--a--
";
    assert_eq!(
        show(message.as_bytes()),
        "multipart/mixed(message/rfc822(multipart/mixed(multipart/mixed(text/plain[deep]))) text/plain[after\\n--b\\n\\nnot here])"
    );
}

#[test]
fn a_multipart_without_parts_is_one_text() {
    for head in ["boundary=a", "boundary=\"\"", "x=y"] {
        let message = format!("Content-Type: multipart/mixed; {head}\r\n\r\nhello\r\n--b\r\nworld\r\n");
        assert_eq!(show(message.as_bytes()), "multipart/mixed(text/plain[hello\\r\\n--b\\r\\nworld\\r\\n])");
        assert_eq!(index(message.as_bytes()).search.body, "hello --b world");
    }
    assert_eq!(show(b"Content-Type: multipart/mixed; boundary=a\n\n--a--\n--a\n\nx"), "multipart/mixed(text/plain[--a--\\n--a\\n\\nx])");
    assert_eq!(
        show(b"Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\nx\n--a--\n"),
        "multipart/mixed(multipart/mixed(text/plain[x]))"
    );
}

#[test]
fn digests() {
    let message = "\
Content-Type: multipart/digest; boundary=a

--a

Subject: one

1
--a
Content-Type: text/plain

2
--a
Content-Type: multipart/mixed; boundary=b

--b

3
--b--
--a--
";
    assert_eq!(show(message.as_bytes()), "multipart/digest(message/rfc822(text/plain[1]) text/plain[2] multipart/mixed(text/plain[3]))");
}

/// RFC 2046 5.2.1 and RFC 2045 6.4: an encoded message is not opened, and an encoding on a multipart means nothing.
#[test]
fn encoded_messages_are_opaque() {
    let with = |kind: &str, encoding: &str| {
        show(format!("Content-Type: {kind}; boundary=a\nContent-Transfer-Encoding: {encoding}\n\n--a\n\nx\n--a--").as_bytes())
    };
    assert_eq!(with("message/rfc822", "8bit"), "message/rfc822(text/plain[x\\n--a--])");
    assert_eq!(with("message/GLOBAL", "binary"), "message/GLOBAL(text/plain[x\\n--a--])");
    for encoding in ["base64", "quoted-printable", "x-other"] {
        assert_eq!(with("message/rfc822", encoding), "application/octet-stream[--a\\n\\nx\\n--a--]");
        assert_eq!(with("multipart/mixed", encoding), "multipart/mixed(text/plain[x])");
    }
    assert_eq!(with("message/partial", "7bit"), "message/partial[--a\\n\\nx\\n--a--]");
    assert_eq!(with("message/external-body", "7bit"), "message/external-body[--a\\n\\nx\\n--a--]");
}

#[test]
fn what_a_part_says_of_itself() {
    let message = crlf(
        "Content-Type: TEXT/Plain; charset=utf-8; format=flowed\nContent-ID: <1@x.test>\nContent-Description: a\n b\n\
         Content-Transfer-Encoding: BASE64\nContent-MD5: Q2hlY2s=\nContent-Disposition: Attachment; filename=\"a \\\"b\\\".txt\"\n\
         Content-Language: en, de\nContent-Location: http://x.test/\n\naGVsbG8=\n",
    );
    let found = index(&message);
    let part = found.structure.root().unwrap();
    assert_eq!((&part.media_type[..], &part.subtype[..]), (&b"TEXT"[..], &b"Plain"[..]));
    assert_eq!(part.params[1], (b"format".to_vec().into(), b"flowed".to_vec().into()));
    assert_eq!(part.id.as_deref().unwrap().as_slice(), b"<1@x.test>");
    assert_eq!(part.description.as_deref().unwrap().as_slice(), b"a b");
    assert_eq!(part.encoding, Encoding::Base64);
    assert_eq!(part.md5.as_deref().unwrap().as_slice(), b"Q2hlY2s=");
    assert_eq!(part.disposition.as_ref().unwrap().params[0].1.as_slice(), b"a \"b\".txt");
    assert_eq!(part.language.len(), 2);
    assert_eq!(part.location.as_deref().unwrap().as_slice(), b"http://x.test/");
    assert_eq!(part.fields.len(), 8);
    assert_eq!(part.lines, 1);
    assert_eq!(found.search.body, "hello\na \"b\".txt");
    assert!(found.has_attachment);
    assert_eq!(found.preview, "");
}

#[test]
fn envelopes() {
    let message = crlf(
        "Date: Fri, 21 Nov 1997 09:55:06 -0600\nSubject: =?utf-8?q?=C3=84?=\n folded\nFrom: =?utf-8?q?A?= <a@x.test>\n\
         Sender:\nReply-To: r@x.test\nTo: g: b@x.test, c@x.test;, d@x.test\nMessage-ID: <m@x.test>\nIn-Reply-To: <i@x.test>\n\
         References: <r1@x.test>\n <r2@x.test>\nSubject: second\n\n",
    );
    let found = index(&message);
    let envelope = &found.envelope;
    let bytes = |b: &Option<serde_bytes::ByteBuf>| b.as_ref().map(|b| String::from_utf8(b.to_vec()).unwrap());
    assert_eq!(bytes(&envelope.subject).as_deref(), Some("=?utf-8?q?=C3=84?= folded"));
    assert_eq!(bytes(&envelope.date).as_deref(), Some("Fri, 21 Nov 1997 09:55:06 -0600"));
    assert_eq!(bytes(&envelope.from[0].name).as_deref(), Some("=?utf-8?q?A?="));
    assert_eq!(envelope.sender, envelope.from);
    assert_eq!(bytes(&envelope.reply_to[0].mailbox).as_deref(), Some("r"));
    let to: Vec<_> = envelope.to.iter().map(|a| (bytes(&a.mailbox), bytes(&a.host))).collect();
    let s = |t: &str| Some(t.to_owned());
    assert_eq!(to, [(s("g"), None), (s("b"), s("x.test")), (s("c"), s("x.test")), (None, None), (s("d"), s("x.test"))]);
    assert!(envelope.cc.is_empty());
    assert_eq!(found.message_id.as_deref(), Some("m@x.test"));
    assert_eq!(found.references, ["r1@x.test", "r2@x.test"]);
    assert_eq!(found.base_subject, "\u{e4} folded");
    assert_eq!(found.sent_at, Some(880_127_706));
    assert_eq!(found.search.headers[1], ("subject".into(), "\u{e4} folded".into()));
}

#[test]
fn identities() {
    let of = |head: &str| index(&crlf(&format!("{head}\n\nx\n"))).identity;
    let good = of("Received: x\nReceived: y\nDelivered-To: a@x.test\nFrom: A <a@x.test>\nDate: x\nMessage-ID: y");
    assert_eq!((good.from_fields, good.received_fields, good.unreadable), (1, 2, false));
    assert_eq!((good.authors.as_slice(), good.delivered_to.as_slice()), (&["a@x.test".to_owned()][..], &["a@x.test".to_owned()][..]));
    assert!(good.has_date && good.has_message_id);
    for head in ["From: alice", "From:", "From: g:;", "From: a@x.test b@y.test", "From: a@x.test\nSender: <b", "From: a@x.test\rb"] {
        assert!(of(head).unreadable, "{head}");
    }
    let group = of("From: g: a@x.test, \"b\"@X.test;\nResent-Sender: c@x.test");
    assert!(!group.unreadable);
    assert_eq!(group.authors, ["a@x.test", "b@x.test", "c@x.test"]);
    assert_eq!(of("To: x").from_fields, 0);
    // RFC 8689 3.
    for (head, optional) in [("TLS-Required: No", true), ("tls-required:\n nO", true), ("TLS-Required: Yes", false), ("X: No", false)] {
        assert_eq!(of(head).tls_optional, optional, "{head}");
    }
}

/// Attack case RLY-03: whoever else the header names is found.
#[test]
fn every_author_is_found() {
    for (head, fields, authors) in [
        ("From: alice@mta.test\nFrom: bob@mta.test", 2, "alice bob"),
        ("From: alice@mta.test, bob@mta.test", 1, "alice bob"),
        ("From: alice@mta.test\nSender: bob@mta.test", 1, "alice bob"),
        ("From: alice@mta.test\nSender: alice@mta.test\nSENDER : bob@mta.test", 1, "alice alice bob"),
        ("From: alice@mta.test\nResent-From: bob@mta.test", 1, "alice bob"),
        ("From: \"x\" <alice@mta.test>\nFrom : bob@mta.test", 2, "alice bob"),
        ("From: \"x\" <alice@mta.test>\nFrom\t:\n bob@mta.test", 2, "alice bob"),
        ("From: alice@mta.test\njunk\nFrom: bob@mta.test", 2, "alice bob"),
        ("From: alice@mta.test\n \nFrom: bob@mta.test", 2, "alice bob"),
    ] {
        let identity = index(&crlf(&format!("{head}\n\nx\n"))).identity;
        let names: Vec<&str> = identity.authors.iter().map(|a| a.strip_suffix("@mta.test").unwrap()).collect();
        assert_eq!((identity.from_fields, names.join(" ").as_str(), identity.unreadable), (fields, authors, false), "{head}");
    }
    let hidden = format!("From: alice@mta.test\n{}From: bob@mta.test", "X: y\n".repeat(pure_index::MAX_FIELDS));
    assert!(index(&crlf(&format!("{hidden}\n\n"))).identity.unreadable);
}

#[test]
fn text_for_searching() {
    let message = crlf(
        "Subject: Gr=?utf-8?q?=C3=BC?=\n =?utf-8?q?=C3=9Fe?=\nContent-Type: multipart/mixed; boundary=a\n\n--a\n\
         Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nSch=F6ne   Gr=FC=\n=DFe\naus  KOELN\n\
         --a\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\nPHA+SGFsbG8mbmJzcDtXZWx0PC9wPjxzY3JpcHQ+eDwvc2NyaXB0Pg==\n\
         --a\nContent-Type: application/pdf; name*=utf-8''%C3%84.pdf\nContent-Transfer-Encoding: base64\n\nAAAA\n--a--\n",
    );
    let found = index(&message);
    assert_eq!(found.search.headers[0].1, "gr\u{fc}\u{df}e");
    assert_eq!(found.search.body, "sch\u{f6}ne gr\u{fc}\u{df}e aus koeln\nhallo welt\n\u{e4}.pdf");
    assert_eq!(found.preview, "Sch\u{f6}ne Gr\u{fc}\u{df}e aus KOELN");
    assert!(found.has_attachment);
}

#[test]
fn a_preview_hides_what_reorders_text() {
    let message = "Content-Type: text/html; charset=utf-8\n\n<p>a&#8238;b\u{200b}c&shy;d</p>".as_bytes();
    assert_eq!(index(message).preview, "abcd");
}

#[test]
fn attachments() {
    let of = |inner: &str, kind: &str| {
        let message = format!("Content-Type: multipart/{kind}; boundary=a\n\n--a\n\ntext\n--a\n{inner}\n\nx\n--a--\n");
        index(message.as_bytes()).has_attachment
    };
    for (kind, inner, expected) in [
        ("mixed", "Content-Type: text/plain", false),
        ("mixed", "Content-Disposition: attachment", true),
        ("mixed", "Content-Type: image/png", true),
        ("mixed", "Content-Type: image/png\nContent-Disposition: inline", false),
        ("mixed", "Content-Type: message/rfc822", true),
        ("related", "Content-Type: image/png\nContent-ID: <x>", false),
        ("related", "Content-Type: image/png", true),
        ("alternative", "Content-Type: text/calendar", false),
        ("signed", "Content-Type: application/pgp-signature", false),
        ("report", "Content-Type: message/delivery-status", false),
    ] {
        assert_eq!(of(inner, kind), expected, "{kind} {inner}");
    }
}
