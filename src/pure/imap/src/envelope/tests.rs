use super::*;
use pure_index::{Disposition, Span};

fn buf(text: &str) -> ByteBuf {
    ByteBuf::from(text.as_bytes().to_vec())
}

fn part(parent: Option<u16>, kind: PartKind, media: (&str, &str), body: (u32, u32)) -> Part {
    Part {
        parent,
        kind,
        header: Span { start: body.0, end: body.0 },
        body: Span { start: body.0, end: body.1 },
        lines: 2,
        media_type: buf(media.0),
        subtype: buf(media.1),
        ..Part::default()
    }
}

fn structure(parts: Vec<Part>, extended: bool) -> String {
    let mut out = Out::new(false);
    body_structure(&mut out, &Structure::new(parts).unwrap(), extended);
    String::from_utf8(out.bytes().to_vec()).unwrap()
}

#[test]
fn envelopes() {
    let address = |name: Option<&str>, mailbox: Option<&str>, host: Option<&str>| EnvelopeAddress {
        name: name.map(buf),
        mailbox: mailbox.map(buf),
        host: host.map(buf),
    };
    let full = Envelope {
        date: Some(buf("Mon, 7 Feb 1994 21:52:25 -0800")),
        subject: Some(buf("a \"quoted\" one")),
        from: vec![address(Some("Al"), Some("al"), Some("mta.test"))],
        to: vec![address(None, Some("group"), None), address(None, Some("bo"), Some("x.test")), address(None, None, None)],
        message_id: Some(buf("<a\r\n b@c>")),
        ..Envelope::default()
    };
    let mut out = Out::new(false);
    envelope(&mut out, &full);
    assert_eq!(
        String::from_utf8_lossy(out.bytes()),
        "(\"Mon, 7 Feb 1994 21:52:25 -0800\" \"a \\\"quoted\\\" one\" ((\"Al\" NIL \"al\" \"mta.test\")) ((\"Al\" NIL \"al\" \"mta.test\")) \
         ((\"Al\" NIL \"al\" \"mta.test\")) ((NIL NIL \"group\" NIL)(NIL NIL \"bo\" \"x.test\")(NIL NIL NIL NIL)) NIL NIL NIL {9}\r\n<a\r\n b@c>)"
    );
}

/// Half a type is none: what is told as TEXT PLAIN has its lines, or no client could read it.
#[test]
fn half_a_type_is_text() {
    for media in [("image", ""), ("", "png"), ("", "")] {
        assert_eq!(structure(vec![part(None, PartKind::Leaf, media, (0, 9))], false), "(\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 9 2)");
    }
}

#[test]
fn structures() {
    let mut text = part(Some(0), PartKind::Leaf, ("text", "plain"), (10, 20));
    text.params = vec![(buf("charset"), buf("utf-8"))];
    let mut pdf = part(Some(0), PartKind::Leaf, ("application", "pdf"), (30, 40));
    pdf.encoding = Encoding::Base64;
    pdf.disposition = Some(Disposition { kind: buf("attachment"), params: vec![(buf("filename"), buf("ü.pdf"))] });
    pdf.language = vec![buf("de"), buf("en")];
    let message = part(Some(0), PartKind::Message, ("message", "rfc822"), (50, 80));
    let mut inner = part(Some(3), PartKind::Leaf, ("TEXT", "HTML"), (60, 80));
    inner.envelope = Some(Box::new(Envelope { subject: Some(buf("in")), ..Envelope::default() }));
    let parts = vec![part(None, PartKind::Multipart, ("multipart", "mixed"), (0, 100)), text, pdf, message, inner];
    assert_eq!(
        structure(parts.clone(), false),
        "((\"text\" \"plain\" (\"charset\" \"utf-8\") NIL NIL \"7BIT\" 10 2)(\"application\" \"pdf\" NIL NIL NIL \"BASE64\" 10)\
         (\"message\" \"rfc822\" NIL NIL NIL \"7BIT\" 30 (NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL) \
         (\"TEXT\" \"HTML\" NIL NIL NIL \"7BIT\" 20 2) 2) \"mixed\")"
    );
    let extended = structure(parts, true);
    assert!(extended.contains("\"BASE64\" 10 NIL (\"attachment\" (\"filename\" {6}\r\nü.pdf)) (\"de\" \"en\") NIL)"), "{extended}");
    assert!(extended.ends_with("2 NIL NIL NIL NIL) \"mixed\" NIL NIL NIL NIL)"), "{extended}");
}

#[test]
fn odd_trees_are_still_grammar() {
    assert_eq!(structure(vec![], true), "(\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 0 0)");
    assert_eq!(
        structure(vec![part(None, PartKind::Multipart, ("multipart", "mixed"), (0, 9))], false),
        "((\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 0 0) \"mixed\")"
    );
    for (kind, media) in
        [(PartKind::Leaf, ("message", "rfc822")), (PartKind::Leaf, ("multipart", "x")), (PartKind::Message, ("Message", "Global"))]
    {
        assert_eq!(structure(vec![part(None, kind, media, (0, 9))], false), "(\"APPLICATION\" \"OCTET-STREAM\" NIL NIL NIL \"7BIT\" 9)");
    }
    let unknown = part(None, PartKind::Leaf, ("", ""), (0, 9));
    assert_eq!(structure(vec![unknown], false), "(\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 9 2)");
}
