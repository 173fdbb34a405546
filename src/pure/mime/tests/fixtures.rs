//! The messages of `tests/fixtures/mail`, and what is in each of them.
#![cfg(test)]

use pure_index::{EnvelopeAddress, MessageIndex, PartKind, Structure};
use pure_mime::{file_name, index};

fn load(name: &str) -> Vec<u8> {
    let path = format!("{}/../../../tests/fixtures/mail/{name}.eml", env!("CARGO_MANIFEST_DIR"));
    let message = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let breaks = message.iter().filter(|b| **b == b'\n').count();
    assert_eq!(breaks, message.windows(2).filter(|w| w == b"\r\n").count(), "{path} must have CRLF line ends");
    message
}

fn types(structure: &Structure, at: usize) -> String {
    let part = &structure.parts()[at];
    let name = [&part.media_type[..], b"/", &part.subtype[..]].concat();
    let name = String::from_utf8(name).unwrap();
    let children: Vec<String> = structure.children(at).map(|(i, _)| types(structure, i)).collect();
    if part.kind == PartKind::Leaf { name } else { format!("{name}({})", children.join(" ")) }
}

/// The parts as Python's email package finds them too, but for the multipart without parts.
#[test]
fn structures() {
    for (name, expected, attachment) in [
        ("plain", "text/plain", false),
        ("alternative", "multipart/alternative(text/plain text/html)", false),
        ("related", "multipart/related(text/html image/png)", false),
        (
            "forwarded",
            "multipart/mixed(text/plain message/rfc822(multipart/mixed(multipart/alternative(text/plain text/html) image/png \
             message/rfc822(text/plain))))",
            true,
        ),
        ("digest", "multipart/mixed(text/plain multipart/digest(message/rfc822(text/plain) message/rfc822(text/plain)) text/plain)", true),
        ("invite", "multipart/mixed(multipart/alternative(text/plain text/html text/calendar) application/ics)", true),
        ("bounce", "multipart/report(text/plain message/delivery-status text/rfc822-headers)", false),
        ("signed", "multipart/signed(text/plain application/pgp-signature)", false),
        ("utf8", "multipart/mixed(text/plain text/plain)", true),
        ("encoded-words", "text/plain", false),
        ("rfc2231", "multipart/mixed(text/plain application/pdf text/csv application/octet-stream text/plain)", true),
        ("groups", "text/plain", false),
        ("references", "text/plain", false),
        (
            "broken-boundaries",
            "multipart/mixed(multipart/alternative(text/plain text/html) multipart/mixed(text/plain) text/plain text/plain)",
            false,
        ),
        ("legacy", "text/plain", false),
    ] {
        let found = index(&load(name));
        assert_eq!(types(&found.structure, 0), expected, "{name}");
        assert_eq!(found.has_attachment, attachment, "{name}");
        assert!(found.sent_at.is_some() && found.message_id.is_some() && !found.preview.is_empty(), "{name}");
        assert!(found.identity.from_fields == 1 && !found.identity.unreadable, "{name}");
    }
}

#[test]
fn subjects_and_texts() {
    for (name, subject, words) in [
        ("plain", "minutes of friday", "nobody objects to the blue paint"),
        ("alternative", "your order no. 10453 is on its way", "(two lanterns, 49,90 €) is on its way and should arrive"),
        ("related", "the lantern of the month", "green & bright only this month…"),
        ("forwarded", "disk in rack 4", "the disk in rack 4 is gone. désolé."),
        ("digest", "gates digest, vol 12, issue 3", "wrought iron, naturally. viele grüße!"),
        ("utf8", "grüße – привіт – こんにちは", "трамвай їде до львова."),
        ("encoded-words", "déjeuner à midi 🍲 – qui vient? ça va", "お昼は何にしますか。"),
        ("references", "the gate that never closes (was: hinges)", "does this thread ever end?"),
        ("legacy", "schloß und tür", "schöne grüße aus dem rechenzentrum."),
    ] {
        let found = index(&load(name));
        assert_eq!(found.base_subject, subject);
        assert!(found.search.body.contains(words), "{name}: {}", found.search.body);
        assert!(!found.search.body.contains("track(") && !found.search.body.contains("<b>"), "{name}");
    }
}

#[test]
fn names_of_files() {
    let found = index(&load("rfc2231"));
    let names: Vec<String> = found.structure.parts().iter().filter_map(file_name).collect();
    assert_eq!(names, ["Rückblick 2025.pdf", "Ein sehr langer Name für eine Tabelle.csv", "Ärger.bin", "read me.txt"]);
}

fn addresses(list: &[EnvelopeAddress]) -> String {
    let text = |b: &Option<serde_bytes::ByteBuf>| b.as_ref().map_or("NIL".into(), |b| String::from_utf8_lossy(b).into_owned());
    list.iter().map(|a| format!("{}|{}|{}", text(&a.name), text(&a.mailbox), text(&a.host))).collect::<Vec<_>>().join("; ")
}

#[test]
fn groups_and_obsolete_addresses() {
    let MessageIndex { envelope, identity, .. } = index(&load("groups"));
    assert_eq!(
        addresses(&envelope.from),
        "NIL|The Gatekeepers|NIL; NIL|oscar|example.org; Peggy \"P\" Example|peggy|example.net; NIL|NIL|NIL"
    );
    assert_eq!(addresses(&envelope.to), "NIL|Undisclosed recipients|NIL; NIL|NIL|NIL");
    assert_eq!(
        addresses(&envelope.cc),
        "NIL|Friends|NIL; NIL|rupert|example.org; Sybil|sybil.smith|example.net; NIL|trent, jr.|[192.0.2.7]; NIL|NIL|NIL; \
         Victor V.|victor|example.com"
    );
    assert_eq!(addresses(&envelope.reply_to), "NIL|oscar|example.org");
    assert_eq!(identity.authors, ["oscar@example.org", "peggy@example.net", "oscar@example.org"]);
}

#[test]
fn threads_keep_their_root() {
    let found = index(&load("references"));
    assert_eq!(found.references.len(), pure_index::MAX_REFERENCES);
    assert!(found.references[0].starts_with("thread.000.") && found.references[199].starts_with("thread.239."));
}
