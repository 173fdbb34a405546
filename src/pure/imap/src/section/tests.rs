use super::*;
use pure_index::Field;

pub(crate) fn part(parent: Option<u16>, kind: PartKind, header: (u32, u32), body: (u32, u32)) -> Part {
    Part {
        parent,
        kind,
        header: Span { start: header.0, end: header.1 },
        body: Span { start: body.0, end: body.1 },
        lines: 1,
        ..Part::default()
    }
}

/// multipart of: text; message/rfc822 of a multipart of two texts; message/rfc822 of a text.
fn nested() -> Structure {
    Structure::new(vec![
        part(None, PartKind::Multipart, (0, 10), (10, 200)),
        part(Some(0), PartKind::Leaf, (20, 25), (25, 30)),
        part(Some(0), PartKind::Message, (40, 45), (45, 100)),
        part(Some(2), PartKind::Multipart, (45, 50), (50, 100)),
        part(Some(3), PartKind::Leaf, (55, 60), (60, 70)),
        part(Some(3), PartKind::Leaf, (75, 80), (80, 90)),
        part(Some(0), PartKind::Message, (110, 115), (115, 150)),
        part(Some(6), PartKind::Leaf, (115, 120), (120, 150)),
    ])
    .unwrap()
}

fn at(structure: &Structure, text: &str) -> Option<(u32, u32)> {
    let command = format!("a FETCH 1 BODY[{text}]\r\n");
    let (_, command) = crate::parse::command(command.as_bytes(), crate::parse::Mode::default());
    let Ok(crate::Command::Fetch(fetch)) = command else { panic!("{text}") };
    let crate::FetchItem::Section { section, .. } = &fetch.items[0] else { panic!("{text}") };
    let content = resolve(structure, section, |_| None)?;
    let [Piece::Message(span)] = content.0.as_slice() else { panic!("{content:?}") };
    Some((span.start, span.end))
}

#[test]
fn numbering_of_parts() {
    let s = nested();
    for (text, expected) in [
        ("", Some((0, 200))),
        ("HEADER", Some((0, 10))),
        ("TEXT", Some((10, 200))),
        ("1", Some((25, 30))),
        ("1.MIME", Some((20, 25))),
        ("1.HEADER", None),
        ("1.TEXT", None),
        ("1.1", None),
        ("2", Some((45, 100))),
        ("2.MIME", Some((40, 45))),
        ("2.HEADER", Some((45, 50))),
        ("2.TEXT", Some((50, 100))),
        ("2.1", Some((60, 70))),
        ("2.2", Some((80, 90))),
        ("2.2.MIME", Some((75, 80))),
        ("2.3", None),
        ("3", Some((115, 150))),
        ("3.1", Some((120, 150))),
        ("3.1.MIME", Some((115, 120))),
        ("3.2", None),
        ("3.1.1", None),
        ("4", None),
        ("4294967295", None),
    ] {
        assert_eq!(at(&s, text), expected, "BODY[{text}]");
    }
}

#[test]
fn a_message_that_is_no_multipart_has_part_one() {
    let s = Structure::new(vec![part(None, PartKind::Leaf, (0, 10), (10, 20))]).unwrap();
    assert_eq!(at(&s, "1"), Some((10, 20)));
    assert_eq!(at(&s, "1.MIME"), Some((0, 10)));
    assert_eq!(at(&s, "2"), None);
    assert_eq!(at(&s, "1.1"), None);
    let s =
        Structure::new(vec![part(None, PartKind::Message, (0, 10), (10, 50)), part(Some(0), PartKind::Leaf, (10, 20), (20, 50))]).unwrap();
    assert_eq!(at(&s, "1"), Some((10, 50)));
    assert_eq!(at(&s, "1.HEADER"), Some((10, 20)));
    assert_eq!(at(&s, "1.1"), Some((20, 50)));
    assert_eq!(at(&Structure::default(), ""), None);
    assert_eq!(at(&Structure::default(), "1"), None);
}

#[test]
fn header_fields_are_selected_in_their_order() {
    let header = b"From: a\r\nSubject: b\r\n c\r\nX-A: d\r\nsubject: e\r\n\r\n";
    let mut root = part(None, PartKind::Leaf, (0, 49), (49, 49));
    let field = |start, end, name_len| Field { span: Span { start, end }, name_len };
    root.fields = vec![field(0, 9, 4), field(9, 25, 7), field(25, 33, 3), field(33, 45, 7)];
    let s = Structure::new(vec![root]).unwrap();
    let text = |not, names: &[&str], partial: Option<Partial>| {
        let section =
            Section { path: vec![], text: Some(SectionText::Fields { not, names: names.iter().map(|n| (*n).to_owned()).collect() }) };
        assert_eq!(header_needed(&s, &section), Some(Span { start: 0, end: 49 }));
        let mut content = resolve(&s, &section, |span| header.get(span.start as usize..span.end as usize)).unwrap();
        if let Some(partial) = partial {
            content = content.slice(partial);
        }
        let mut out = vec![];
        for piece in &content.0 {
            match piece {
                Piece::Message(span) => out.extend_from_slice(&header[span.start as usize..span.end as usize]),
                Piece::EmptyLine(span) => out.extend_from_slice(&b"\r\n"[span.start as usize..span.end as usize]),
            }
        }
        assert_eq!(out.len() as u64, content.len());
        String::from_utf8(out).unwrap()
    };
    assert_eq!(text(false, &["SUBJECT"], None), "Subject: b\r\n c\r\nsubject: e\r\n\r\n");
    assert_eq!(text(true, &["subject"], None), "From: a\r\nX-A: d\r\n\r\n");
    assert_eq!(text(false, &["none"], None), "\r\n");
    assert_eq!(text(true, &["none"], None), "From: a\r\nSubject: b\r\n c\r\nX-A: d\r\nsubject: e\r\n\r\n");
    assert_eq!(text(false, &["from", "subject"], Some(Partial { start: 6, len: 5 })), "a\r\nSu");
    assert_eq!(text(true, &["subject"], Some(Partial { start: 16, len: 2 })), "\n\r");
    assert_eq!(text(true, &["subject"], Some(Partial { start: 18, len: u32::MAX })), "\n");
    assert_eq!(text(true, &["subject"], Some(Partial { start: u32::MAX, len: u32::MAX })), "");
}

#[test]
fn binary_parts() {
    let s = nested();
    assert_eq!(resolve_binary(&s, &[2, 1]).map(|p| p.span), Some(Span { start: 60, end: 70 }));
    assert_eq!(resolve_binary(&s, &[]).map(|p| p.span), Some(Span { start: 0, end: 200 }));
    assert_eq!(resolve_binary(&s, &[9]), None);
}
