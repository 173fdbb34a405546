//! Messages: from bytes to the index that every process trusts, and what is made of it.

use pure_imap::{Out, Section, SectionText, envelope, section};
use pure_index::{Encoding, PartKind, Structure};
use pure_mime::{address, charset, date, header, html, param, reference, subject, transfer, word};

pub(super) const WORDS: &[&str] = &[
    "\r\n\r\n",
    "\r\n--b\r\n",
    "\r\n--b--\r\n",
    "Content-Type: multipart/mixed; boundary=b\r\n",
    "Content-Type: multipart/digest; boundary=\"b\"\r\n",
    "Content-Type: message/rfc822\r\n",
    "Content-Type: text/html; charset=utf-8\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Transfer-Encoding: quoted-printable\r\n",
    "Content-Disposition: attachment; filename*0*=utf-8''%e2%82; filename*1=x\r\n",
    "From: a@mta.test\r\n",
    "Sender: ",
    "Resent-From: ",
    "Subject: =?utf-8?q?=C3=A9?= =?iso-2022-jp?b?GyRC?=\r\n",
    "Date: Mon, 1 Jan 2026 00:00:00 +0000\r\n",
    "References: <a@b> <c@d>\r\n",
    "Received: by x\r\n",
    "=?utf-8?b?4oI=?=",
    "; charset*=us-ascii'en'x",
    "(comment (nested))",
    "\"quoted \\\" string\"",
    "<@r.test:a@b.test>",
    "group: a@b.test;",
    "=\r\n",
    "=3D",
    "<script>",
    "</style>",
    "<!--",
    "-->",
    "&#x41;",
    "&amp;",
    "iso-2022-jp",
    "utf-16",
    "hz-gb-2312",
];

pub(super) fn message(input: &[u8]) {
    let found = pure_mime::index(input);
    let parts = found.structure.parts();
    assert!(!parts.is_empty(), "every message has a part");
    assert!(Structure::new(parts.to_vec()).is_ok());
    let encoded = wire::encode(&found).unwrap();
    assert!(encoded.len() <= 8 * 1024 * 1024, "an index fits a frame");
    assert_eq!(wire::decode::<pure_index::MessageIndex>(&encoded).unwrap(), found);
    assert!(found.preview.chars().count() <= 256);
    if !found.identity.unreadable {
        for author in &found.identity.authors {
            assert_eq!(&pure_addr::Address::parse(author).unwrap().to_string(), author, "who is readable is one address");
        }
    }
    for (i, part) in parts.iter().enumerate() {
        for span in [part.header, part.body] {
            assert!(span.start <= span.end && span.end as usize <= input.len());
        }
        assert!(part.header.end <= part.body.start);
        let parent = part.parent.map(|parent| &parts[usize::from(parent)]);
        assert!(part.parent.is_none_or(|parent| usize::from(parent) < i));
        assert!(parent.is_none_or(|p| p.kind != PartKind::Leaf && p.body.start <= part.header.start && part.body.end <= p.body.end));
        for field in &part.fields {
            assert!(part.header.start <= field.span.start && field.span.end <= part.header.end);
            assert!(header::name(input, field).iter().all(|b| b.is_ascii_graphic() && *b != b':'));
        }
        let body = header::slice(input, part.body);
        let whole = transfer::decode(&part.encoding, body);
        if let Some(mut decoder) = transfer::Decoder::new(&part.encoding) {
            let mut out = Vec::new();
            body.chunks(7).for_each(|piece| decoder.push(piece, &mut out));
            decoder.finish(&mut out);
            assert_eq!(Some(out), whole, "decoding does not depend on the pieces");
        }
        imap_decoder(&part.encoding, body);
    }
    answers(input, &found);
}

/// The decoder of BINARY; its output, too, does not depend on the pieces.
fn imap_decoder(encoding: &Encoding, body: &[u8]) {
    let run = |step: usize| {
        let mut decoder = pure_imap::Decoder::new(encoding).ok()?;
        let mut out = Vec::new();
        body.chunks(step).for_each(|piece| decoder.push(piece, &mut out));
        decoder.finish(&mut out);
        Some(out)
    };
    assert_eq!(run(7), run(body.len().max(1)));
}

/// What IMAP says of it.
fn answers(input: &[u8], found: &pure_index::MessageIndex) {
    for utf8 in [false, true] {
        let mut out = Out::new(utf8);
        out.text("* 1 FETCH (ENVELOPE ");
        envelope::envelope(&mut out, &found.envelope);
        out.text(" BODY ");
        envelope::body_structure(&mut out, &found.structure, false);
        out.text(" BODYSTRUCTURE ");
        envelope::body_structure(&mut out, &found.structure, true);
        out.text(")").end();
        super::imap::check_answer(out.bytes());
    }
    let fields = SectionText::Fields { not: true, names: vec!["Subject".into()] };
    for path in [vec![], vec![1], vec![1, 1], vec![2], vec![2, 1, 1]] {
        for text in [None, Some(SectionText::Header), Some(SectionText::Text), Some(SectionText::Mime), Some(fields.clone())] {
            let section = Section { path: path.clone(), text };
            let get = |span: pure_index::Span| input.get(span.start as usize..span.end as usize);
            let Some(content) = section::resolve(&found.structure, &section, get) else { continue };
            assert!(content.len() <= input.len() as u64 + 2);
            assert!(content.slice(pure_imap::Partial { start: 3, len: u32::MAX }).len() <= content.len());
        }
    }
}

pub(super) fn seven_bit(input: &[u8]) {
    let mut out = Vec::new();
    if pure_mime::seven_bit::seven_bit(input, &mut out).is_err() {
        return;
    }
    assert!(out.iter().all(|b| *b < 0x80 && *b != 0), "seven bits are seven bits");
    assert!(out.windows(2).filter(|w| w[1] == b'\n').all(|w| w[0] == b'\r'));
    assert!(out.windows(2).filter(|w| w[0] == b'\r').all(|w| w[1] == b'\n') && out.last() != Some(&b'\r'));
    let (before, after) = (pure_mime::index(input), pure_mime::index(&out));
    assert_eq!(before.structure.parts().len(), after.structure.parts().len(), "the parts stay what they are");
    assert_eq!((before.identity, before.envelope), (after.identity, after.envelope));
    let mut again = Vec::new();
    pure_mime::seven_bit::seven_bit(&out, &mut again).unwrap();
    assert_eq!(out, again, "what is in seven bits stays as it is");
}

pub(super) fn fields() -> Vec<Vec<u8>> {
    [
        "text/plain; charset=utf-8; name*0*=utf-8''%e2%82%ac; name*1=x (comment); boundary=\"a b\"",
        "attachment; filename=\"x.txt\"; size=5; creation-date=\"Mon, 1 Jan 2026 00:00:00 +0000\"",
        "\"A. B\" <a@x.test>, g: <@r.test:b@x.test>, c (d (e)) @x.test;, <d@[IPv6:::1]>",
        "=?utf-8?q?=C3=A9?= =?iso-8859-1?b?6Q==?= plain =?gb18030?q?=81=30?=",
        "Re: [list] Fwd: (fwd) Re[2]: subject (fwd)",
        "Mon, 1 Jan 2026 00:00:00 +0000 (UTC)",
        "<a@b.test> <\"c d\"@e.test> <f@[1.2.3.4]>",
        "<html><head><title>x</title><style>y</style></head><body>a&nbsp;b<br>c</body></html>",
        "de, en (x), fr",
        "quoted-printable; x",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}

pub(super) fn field(input: &[u8]) {
    let value = header::unfold(input);
    assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
    if let Some(found) = param::content_type(&value) {
        param::decoded(&found.params, "name");
        param::boundary(&found.params);
    }
    if let Some((_, params)) = param::disposition(&value) {
        param::decoded(&params, "filename");
    }
    param::encoding(&value);
    param::languages(&value);
    let list = address::parse(&value);
    for item in &list.items {
        if let Some(address) = item.address() {
            assert_eq!(pure_addr::Address::parse(&address.to_string()), Ok(address));
        }
    }
    assert!(!word::decode(&value).chars().any(char::is_control));
    let base = subject::base(&value);
    // RFC 5256 2.1: the base of a base is itself, unless a decoded text looks like a mark once more.
    subject::base(base.as_bytes());
    date::parse(&value);
    assert!(reference::identifiers(&value).all(|id| !id.is_empty()));
    let (label, text) = value.split_at(value.iter().position(|b| *b == b' ').unwrap_or(0));
    let whole = charset::decode(Some(label), text);
    let mut decoder = charset::Decoder::new(Some(label));
    let mut pieces = String::new();
    let last = text.len().div_ceil(3);
    for (i, piece) in text.chunks(3).enumerate() {
        decoder.push(piece, i + 1 == last, &mut pieces);
    }
    if std::str::from_utf8(text).is_ok() {
        assert_eq!(whole, pieces);
    }
    let text = String::from_utf8_lossy(input);
    let (mut whole, mut pieces) = (String::new(), String::new());
    let mut stripper = html::Stripper::default();
    stripper.push(&text, &mut whole);
    stripper.finish(&mut whole);
    let mut stripper = html::Stripper::default();
    let mut one = [0; 4];
    text.chars().for_each(|c| stripper.push(c.encode_utf8(&mut one), &mut pieces));
    stripper.finish(&mut pieces);
    assert_eq!(whole, pieces, "what is visible does not depend on the pieces");
}
