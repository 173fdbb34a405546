use super::*;

fn limits() -> Limits {
    Limits { message_size: 1000, content_line: 100, discard: 200, ..Limits::DEFAULT }
}

/// Decodes in pieces of `step` bytes; returns the progress, the message and what was left over.
fn decode(limits: &Limits, data: &[u8], step: usize) -> (Progress, Vec<u8>, Vec<u8>) {
    let mut decoder = DataDecoder::new(limits);
    let mut out = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let end = (at + step).min(data.len());
        let mut input = &data[at..end];
        let progress = decoder.decode(&mut input, &mut out);
        at = end - input.len();
        if progress != Progress::More {
            return (progress, out, data[at..].to_vec());
        }
        assert!(input.is_empty());
    }
    (Progress::More, out, Vec::new())
}

fn decoded(data: &[u8]) -> Vec<u8> {
    let whole = decode(&limits(), data, usize::MAX >> 1);
    for step in [1, 2, 3, 7] {
        assert_eq!(decode(&limits(), data, step), whole, "in steps of {step}");
    }
    assert_eq!(whole.0, Progress::End(None), "{data:?}");
    assert!(whole.2.is_empty());
    whole.1
}

/// Attack cases SMUG-04 and CTRL-01: unstuffing is exact.
#[test]
fn dots_are_unstuffed_exactly() {
    assert_eq!(decoded(b"..\r\n...\r\n..leading\r\n. x\r\nend\r\n.\r\n"), b".\r\n..\r\n.leading\r\n x\r\nend\r\n");
    assert_eq!(decoded(b"a.b\r\n.c.\r\n.\r\n"), b"a.b\r\nc.\r\n");
    assert_eq!(decoded(b".\r\n"), b"");
    assert_eq!(decoded(b"\r\n.\r\n"), b"\r\n");
    assert_eq!(decoded(b"\r\n\r\n..\r\n.\r\n"), b"\r\n\r\n.\r\n");
    assert_eq!(decoded("Grüße \u{7f}\u{1b}\t\r\n.\r\n".as_bytes()), "Grüße \u{7f}\u{1b}\t\r\n".as_bytes());
}

#[test]
fn what_follows_the_end_is_left_alone() {
    let (progress, out, rest) = decode(&limits(), b"x\r\n.\r\nQUIT\r\n", 100);
    assert_eq!((progress, out.as_slice(), rest.as_slice()), (Progress::End(None), &b"x\r\n"[..], &b"QUIT\r\n"[..]));
}

/// Attack case SMUG-01 and neighbours: nothing but CRLF.CRLF ends the data, and the message is refused.
#[test]
fn near_misses_of_the_end_do_not_end() {
    let variants: &[&[u8]] = &[
        b"\n.\n",
        b"\n.\r",
        b"\r.\n",
        b"\r.\r",
        b"\n.\r\n",
        b"\r.\r\n",
        b"\r\n\0.\r\n",
        b"\r\n.\r\r\n",
        b"\r\r\n.\r\r\n",
        b"\r\r\n.\r\n",
        b"\r\n.\n",
        b"\r\n.\r",
        b"\r\n.\0\r\n",
        b"\r\n.\r\0\n",
        b"\r\0\n.\r\n",
        b"\n\n.\n\n",
    ];
    for variant in variants {
        let mut data = b"Subject: t\r\n\r\nvisible".to_vec();
        data.extend_from_slice(variant);
        data.extend_from_slice(b"MAIL FROM:<admin@mta.test>\r\nRCPT TO:<bob@mta.test>\r\nDATA\r\nFrom: admin@mta.test\r\n\r\nsmuggled");
        assert_eq!(decode(&limits(), &data, 1000).0, Progress::More, "{variant:?} ended the data");
        data.extend_from_slice(b"\r\n.\r\n");
        for step in [1, 2, 1000] {
            let (progress, _, rest) = decode(&limits(), &data, step);
            assert_eq!((progress, rest.len()), (Progress::End(Some(Fault::BareBytes)), 0), "{variant:?}");
        }
    }
}

#[test]
fn other_look_alikes_of_a_line_end_are_text() {
    for text in ["a\u{85}.\u{85}b", "a\u{2028}.\u{2028}b", "a\u{b}.\u{c}b", "\\r\\n.\\r\\n"] {
        let data = format!("{text}\r\n.\r\n");
        assert_eq!(decoded(data.as_bytes()), format!("{text}\r\n").as_bytes());
    }
}

/// Attack case MIME-05: a line or a message beyond its limit is refused, and only so much more is read.
#[test]
fn limits_are_exact_and_the_tail_is_bounded() {
    let line = |n: usize| [&b"x".repeat(n)[..], b"\r\n.\r\n"].concat();
    assert_eq!(decode(&limits(), &line(98), 10).0, Progress::End(None));
    assert_eq!(decode(&limits(), &line(99), 10).0, Progress::End(Some(Fault::LineTooLong)));
    let (progress, out, rest) = decode(&limits(), &line(1_000_000), 10);
    assert_eq!(progress, Progress::Overrun(Fault::LineTooLong));
    assert!(out.len() <= 100 && rest.len() > 999_000);

    let lines = |n: usize| [&b"12345678\r\n".repeat(n)[..], b".\r\n"].concat();
    let (progress, out, _) = decode(&limits(), &lines(100), 10);
    assert_eq!((progress, out.len()), (Progress::End(None), 1000));
    assert_eq!(decode(&limits(), &lines(101), 10).0, Progress::End(Some(Fault::TooLarge)));
    assert_eq!(decode(&limits(), &lines(198), 10).0, Progress::End(Some(Fault::TooLarge)), "twice the limit is read");
    assert_eq!(decode(&limits(), &lines(1000), 10).0, Progress::Overrun(Fault::TooLarge));

    // Refused content does not go on for ever either.
    for byte in [0, b'\n', b'\r', b'x'] {
        let mut endless = b"\0\r\n".to_vec();
        endless.extend_from_slice(&[byte; 5000]);
        assert_eq!(decode(&limits(), &endless, 10).0, Progress::Overrun(Fault::BareBytes), "{byte}");
    }
}

/// What begins with white space would become a part of the field that is put in front of it.
#[test]
fn content_does_not_begin_with_a_continuation() {
    for begin in [" From: bob@mta.test", "\tx", " "] {
        let data = format!("{begin}\r\nFrom: alice@mta.test\r\n\r\nx\r\n.\r\n");
        assert_eq!(decode(&limits(), data.as_bytes(), 3).0, Progress::End(Some(Fault::Continuation)), "{begin}");
        assert_eq!(chunks(false, &[data.as_bytes()]).0, Some(Fault::Continuation), "{begin}");
    }
    assert_eq!(decode(&limits(), b"A: b\r\n c\r\n.\r\n", 1).0, Progress::End(None));
    assert_eq!(decode(&limits(), b"\r\n body\r\n.\r\n", 1).0, Progress::End(None));
}

#[test]
fn storage_failure_is_kept_until_the_end() {
    let mut decoder = DataDecoder::new(&limits());
    let mut out = Vec::new();
    decoder.fail();
    assert_eq!(decoder.decode(&mut &b"x\r\n.\r\n"[..], &mut out), Progress::End(Some(Fault::Storage)));
    assert!(out.is_empty());
}

fn chunks(binary: bool, parts: &[&[u8]]) -> (Option<Fault>, Vec<u8>) {
    let mut checker = ChunkChecker::new(&limits(), binary);
    let mut out = Vec::new();
    for part in parts {
        checker.take(part, &mut out);
    }
    (checker.finish(), out)
}

/// Attack cases SMUG-05 and CTRL-03.
#[test]
fn chunks_obey_the_same_rule() {
    assert_eq!(chunks(false, &[b"Subject", b": x\r", b"\n\r\nhi\r\n.\r\n"]), (None, b"Subject: x\r\n\r\nhi\r\n.\r\n".to_vec()));
    assert_eq!(chunks(false, &[b"no line end"]), (None, b"no line end".to_vec()));
    assert_eq!(chunks(false, &[]), (None, Vec::new()));
    for bad in [&b"Subject: x\n\nhello\n.\nQ\r\n"[..], b"a\rb", b"a\0b", b"a\r", b"a\r\r\n", b"\n"] {
        assert_eq!(chunks(false, &[bad]).0, Some(Fault::BareBytes), "{bad:?}");
        let (fault, out) = chunks(true, &[bad]);
        assert_eq!((fault, out.as_slice()), (None, bad));
    }
    assert_eq!(chunks(false, &[&[b'x'; 101]]).0, Some(Fault::LineTooLong));
    assert_eq!(chunks(true, &[&[b'x'; 1000]]).0, None);
    assert_eq!(chunks(true, &[&[b'x'; 1001]]).0, Some(Fault::TooLarge));
}

#[test]
fn runs_end_at_every_special_byte_of_every_block() {
    for len in 0..100 {
        assert_eq!(plain_run(&vec![b'x'; len]), len);
        for special in [b'\r', b'\n', 0] {
            let mut bytes = vec![b'x'; len];
            bytes.push(special);
            bytes.extend_from_slice(&[b'y'; 40]);
            assert_eq!(plain_run(&bytes), len);
        }
    }
}
