//! THREAD of messages that refer to each other in every possible way: each message is told exactly once, whatever they say.

use pure_imap::{
    Out,
    thread::{self, Forest, ThreadRow},
};

pub(super) const WORDS: &[&str] = &["\u{1}\u{1}\u{1}", "\u{2}\u{1}\u{2}", "\u{1}\u{2}\u{1}", "\u{0}\u{3}"];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    vec![
        // A chain, a loop, a message twice, one that refers to itself, and strangers of the same subject.
        (0..20).flat_map(|i| [i, 1, i + 1, i % 3]).collect(),
        [[1, 1, 2, 0], [2, 1, 3, 0], [3, 1, 1, 0]].concat(),
        [[5, 2, 5, 5], [5, 1, 4, 1], [9, 0, 1, 9]].concat(),
        vec![7; 60],
    ]
}

/// Four bytes and more for each message: its identifier, how many it refers to, those, its subject.
pub(super) fn run(input: &[u8]) {
    let names: Vec<String> = (0..=u8::MAX).map(|n| n.to_string()).collect();
    let name = |byte: u8| names[usize::from(byte)].as_str();
    let mut rows: Vec<ThreadRow<'_>> = Vec::new();
    let mut bytes = input.iter().copied();
    while let (Some(id), Some(count)) = (bytes.next(), bytes.next()) {
        let references: Vec<&str> = bytes.by_ref().take(usize::from(count % 8)).map(name).collect();
        let subject = bytes.next().unwrap_or_default();
        rows.push(ThreadRow {
            number: rows.len() as u32 + 1,
            date: i64::from(subject) - i64::from(id),
            message_id: (id != 0).then(|| name(id)),
            is_reply: !references.is_empty(),
            references,
            subject: if subject % 4 == 0 { "" } else { name(subject % 4) },
        });
    }
    check(&thread::references(&rows), rows.len());
    check(&thread::ordered_subject(&rows), rows.len());
}

fn check(forest: &Forest, rows: usize) {
    let mut out = Out::new(false);
    thread::thread_response(&mut out, forest);
    super::imap::check_answer(out.bytes());
    let text = String::from_utf8_lossy(out.bytes()).into_owned();
    let mut numbers: Vec<u32> = text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(1..=rows as u32), "{text}");
}
