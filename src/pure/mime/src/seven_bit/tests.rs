use super::*;

fn convert(message: &[u8]) -> Result<Vec<u8>, NotConvertible> {
    let mut out = Vec::new();
    seven_bit(message, &mut out).map(|()| out)
}

fn text(message: impl AsRef<[u8]>) -> String {
    String::from_utf8(convert(message.as_ref()).unwrap()).unwrap()
}

/// The decoded leaves.
fn leaves(message: &[u8]) -> Vec<Vec<u8>> {
    let parts = tree::read(message).parts;
    let leaves = parts.iter().filter(|p| p.kind == PartKind::Leaf);
    leaves.map(|p| decode(&p.encoding, slice(message, p.body)).unwrap_or_default()).collect()
}

#[test]
fn what_is_seven_bit_stays_as_it_is() {
    for message in [
        "",
        "From: a\r\n\r\nx\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\n\r\none\r\n--b--\r\npost",
        "Content-Transfer-Encoding: base64\r\n\r\n4oKs\r\n",
        "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: 8bit\r\n\r\none\r\n--b--\r\n",
    ] {
        assert_eq!(text(message), message);
    }
}

#[test]
fn text_becomes_quoted_printable() {
    let message = "From: a\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding:\r\n 8bit\r\nX: y\r\n\r\n\
        Gr\u{fc}\u{df}e = \r\n\r\n-- \r\nx\t";
    assert_eq!(
        text(message),
        "From: a\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\nX: y\r\n\r\n\
        Gr=C3=BC=C3=9Fe =3D=20\r\n\r\n--=20\r\nx=09"
    );
}

#[test]
fn a_message_that_said_nothing_of_itself_says_what_it_is() {
    assert_eq!(
        text("From: a\r\n\r\n\u{e4}\r\n"),
        "From: a\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Type: text/plain; charset=utf-8\r\nMIME-Version: 1.0\r\n\r\n=C3=A4\r\n"
    );
    assert!(text(b"From: a\r\n\r\n\xe4\r\n").contains("charset=unknown-8bit"));
    assert!(text("\r\n\u{e4}\r\n").ends_with("MIME-Version: 1.0\r\n\r\n=C3=A4\r\n"));
}

#[test]
fn other_content_becomes_base64() {
    let part = |encoding: &str, body: &[u8]| {
        [b"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: ", encoding.as_bytes(), b"\r\n\r\n", body, b"\r\n"].concat()
    };
    let head = b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: binary\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
    let binary: Vec<u8> = (0..=255).cycle().take(1000).collect();
    let message = [&head[..], &part("binary", &binary), &part("BASE64", b"AQID"), &part("8bit", b"plain"), b"--b--\r\n"].concat();
    let converted = convert(&message).unwrap();
    assert_eq!(leaves(&converted), leaves(&message));
    let shown = String::from_utf8(converted).unwrap();
    assert!(shown.starts_with("MIME-Version: 1.0\r\nContent-Transfer-Encoding: 7bit\r\nContent-Type: multipart/mixed"));
    assert!(shown.contains("Encoding: BASE64\r\n\r\nAQID\r\n") && shown.contains("Encoding: 7bit\r\n\r\nplain\r\n--b--"));
    assert!(shown.lines().all(|l| l.len() <= 76));
    // At the end of the message the last line is ended.
    assert_eq!(text(b"MIME-Version: 1.0\r\nContent-Type: a/b\r\n\r\n\xff").rsplit("\r\n\r\n").next(), Some("/w==\r\n"));
}

#[test]
fn embedded_messages_are_converted_inside() {
    let inner = "Subject: in\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<p>\u{20ac}</p>";
    let message = format!(
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\
        Content-Transfer-Encoding: 8bit\r\n\r\n{inner}\r\n--b--\r\n"
    );
    let converted = text(&message);
    assert!(converted.contains("message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: in\r\n"), "{converted}");
    assert!(converted.contains("quoted-printable\r\n\r\n<p>=E2=82=AC</p>\r\n--b--\r\n"), "{converted}");
}

/// A stack of messages deeper than any stack of calls: what cannot be seen cannot be converted, and what can be is.
#[test]
fn depth_is_no_recursion() {
    let nested = |depth: usize| format!("{}MIME-Version: 1.0\r\n\r\n\u{e4}\r\n", "Content-Type: message/rfc822\r\n\r\n".repeat(depth));
    assert!(text(nested(31)).ends_with("=C3=A4\r\n"));
    assert!(matches!(convert(nested(100_000).as_bytes()), Err(NotConvertible::Part)));
}

#[test]
fn what_cannot_be_converted() {
    let signed = "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\n\u{e4}\r\n--c--\r\n--b--\r\n";
    assert!(matches!(convert(signed.as_bytes()), Err(NotConvertible::Signed)));
    assert!(matches!(
        convert("Content-Type: multipart/signed; boundary=b\r\n\r\n\u{e4}\r\n--b\r\n\r\n--b--\r\n".as_bytes()),
        Err(NotConvertible::Signed)
    ));
    for header in ["Subject: \u{e4}\r\n\r\nx", "A: b\nC: d\r\n\r\nx", "A: b\0\r\n\r\n"] {
        assert!(matches!(convert(header.as_bytes()), Err(NotConvertible::Header)), "{header:?}");
    }
    for part in [
        "Content-Type: multipart/mixed; boundary=none\r\n\r\n\u{e4}\r\n",
        "Content-Type: message/delivery-status\r\n\r\nX: \u{e4}\r\n",
        "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n\u{e4}\r\n",
        "Content-Type: text/plain\r\nContent-Transfer-Encoding: x-uu\r\n\r\n\u{e4}\r\n",
    ] {
        assert!(matches!(convert(part.as_bytes()), Err(NotConvertible::Part)), "{part}");
    }
    let many = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}\u{e4}\r\n--b--\r\n", "--b\r\n\r\n".repeat(MAX_PARTS + 10));
    assert!(matches!(convert(many.as_bytes()), Err(NotConvertible::Part)));
    let around = "Content-Type: multipart/mixed; boundary=b\r\n\r\na\nb\r\n--b\r\n\r\nx\r\n--b--\r\n";
    assert!(matches!(convert(around.as_bytes()), Err(NotConvertible::Around)));
}

#[test]
fn a_preamble_loses_what_nobody_reads() {
    let message = "Content-Type: multipart/mixed; boundary=b\r\n\r\nCeci est \u{e0} MIME\r\n--b\r\n\r\nx\r\n--b--\r\n";
    assert_eq!(text(message), message.replace('\u{e0}', "??"));
}

#[test]
fn duplicates_are_one_and_broken_encodings_keep_their_meaning() {
    let message = "Content-Type: text/plain\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Transfer-Encoding: 8bit\r\n\r\n=C3=A4\u{e4}\r\n";
    assert_eq!(
        text(message),
        "Content-Type: text/plain\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A4=C3=A4\r\n"
    );
}

#[test]
fn long_lines_are_encoded_and_no_delimiter_appears() {
    let line = format!("{}--b", "x".repeat(75 * 14));
    let message = format!(
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n{line}\r\n--b--\r\n"
    );
    let converted = text(&message);
    assert_eq!(leaves(converted.as_bytes()), [line.as_bytes()]);
    assert!(converted.lines().all(|l| l.len() <= 76));
}

/// Any bytes of a body come back, at every length around the ends of lines.
#[test]
fn decoded_again_it_is_the_same() {
    for kind in ["text/plain; charset=x", "application/x"] {
        for length in (0..200).chain([997, 998, 999, 5000]) {
            for seed in 0..6u32 {
                let mut state = seed.wrapping_add(1).wrapping_mul(2_654_435_761);
                let letters = [b"\r\n\t -=.\0ab", &b"abcdefgh. "[..], b"\xff\xfe\r\n  ", b"-", b"\t\r", b"= \n\r"][seed as usize];
                let body: Vec<u8> = (0..length)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        letters[(state >> 16) as usize % letters.len()]
                    })
                    .collect();
                let head = format!("MIME-Version: 1.0\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: binary\r\n\r\n");
                let message = [head.as_bytes(), &body].concat();
                let converted = convert(&message).unwrap();
                let again = leaves(&converted);
                assert_eq!(again, [body], "{kind} {length} {seed}");
                assert!(converted.iter().all(|b| b.is_ascii() && *b != 0) && !has_stray_ends(&converted));
                assert_eq!(convert(&converted).unwrap(), converted);
            }
        }
    }
}
