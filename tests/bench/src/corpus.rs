//! A mailbox as people have them, the same on every run: short letters, letters in two forms, some with files; in threads of five.
//!
//! Everything a case asks for is known from the number of a message, so that each answer can be checked.

use std::fmt::Write;

/// Messages in one thread.
pub(crate) const THREAD: u32 = 5;
/// Every so many messages have the rare word in their text.
const RARE: u32 = 100;
/// Every so many have an invoice in their subject.
const INVOICE: u32 = 20;
/// In [`RARE`] of them.
pub(crate) const RARE_WORD: &str = "xylophonic";
/// In all of them.
pub(crate) const COMMON_WORD: &str = "quarter";

const WORDS: [&str; 32] = [
    "quarter", "the", "of", "meeting", "please", "attached", "and", "report", "to", "a", "regards", "tomorrow", "for", "budget", "team",
    "we", "have", "moved", "delivery", "contract", "with", "in", "notes", "from", "Monday", "garden", "it", "is", "not", "yet", "clear",
    "travel",
];

/// A small generator: good enough for words, equal everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        // xorshift64*: the high bits are the good ones.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

/// Whether the subject names an invoice.
pub(crate) fn is_invoice(number: u32) -> bool {
    number.is_multiple_of(INVOICE)
}

/// Whether the text has [`RARE_WORD`].
pub(crate) fn is_rare(number: u32) -> bool {
    number % RARE == 7
}

/// The minute of the date: a permutation of all messages, up to four weeks of them, so that SORT has work and one right answer.
pub(crate) fn minute(number: u32, of: u32) -> u32 {
    // A prime that divides no count used here.
    u32::try_from(u64::from(number) * 7_919 % u64::from(of)).unwrap_or(0)
}

/// Message `number` of `of`.
pub(crate) fn message(number: u32, of: u32) -> String {
    let mut random = Random::new(u64::from(number) + 1);
    let mut out = String::new();
    header(&mut out, number, of);
    match number % 10 {
        0..7 => {
            let size = 2_000 + random.below(6_000);
            out.push_str("Content-Type: text/plain; charset=utf-8\r\n\r\n");
            text(&mut out, &mut random, size, number);
        }
        7..9 => {
            let size = 5_000 + random.below(15_000);
            out.push_str("Content-Type: multipart/alternative; boundary=\"=_alternative\"\r\n\r\n");
            out.push_str("--=_alternative\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n");
            text(&mut out, &mut random, size, number);
            out.push_str("--=_alternative\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html><body><p>\r\n");
            text(&mut out, &mut random, size, number);
            out.push_str("</p></body></html>\r\n--=_alternative--\r\n");
        }
        _ => {
            let size = 60_000 + random.below(140_000);
            out.push_str("Content-Type: multipart/mixed; boundary=\"=_mixed\"\r\n\r\n");
            out.push_str("--=_mixed\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n");
            text(&mut out, &mut random, 3_000, number);
            out.push_str("--=_mixed\r\nContent-Type: application/pdf; name=\"report.pdf\"\r\n");
            out.push_str("Content-Disposition: attachment; filename=\"report.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n");
            base64(&mut out, &mut random, size);
            out.push_str("--=_mixed--\r\n");
        }
    }
    out
}

fn header(out: &mut String, number: u32, of: u32) {
    let (thread, place, minute) = (number / THREAD, number % THREAD, minute(number, of));
    let (day, hour, minute) = (1 + minute / 1_440 % 28, minute / 60 % 24, minute % 60);
    let reply = if place > 0 { "Re: " } else { "" };
    let topic = if is_invoice(number) { "Invoice" } else { "Notes" };
    let sender = number % 199;
    // A String takes everything.
    let _ = write!(
        out,
        "Return-Path: <person{sender}@elsewhere.test>\r\nReceived: from out.elsewhere.test (out.elsewhere.test [192.0.2.25])\r\n\tby \
         mx.bench.test with ESMTPS id {number:08x}\r\n\tfor <user@bench.test>; Tue, 01 Sep 2026 00:00:00 +0000\r\nFrom: Person {sender} \
         <person{sender}@elsewhere.test>\r\nTo: User <user@bench.test>, Team <team@bench.test>\r\nSubject: {reply}{topic} {thread}: what \
         comes next\r\nDate: {day:02} Sep 2026 {hour:02}:{minute:02}:00 +0000\r\nMessage-ID: <{number}@corpus.elsewhere.test>\r\n"
    );
    if place > 0 {
        let first = thread * THREAD;
        let _ = write!(out, "In-Reply-To: <{}@corpus.elsewhere.test>\r\nReferences:", number - 1);
        for earlier in first..number {
            let _ = write!(out, " <{earlier}@corpus.elsewhere.test>");
        }
        out.push_str("\r\n");
    }
    out.push_str("MIME-Version: 1.0\r\nX-Mailer: Bench 1\r\n");
}

fn text(out: &mut String, random: &mut Random, size: u64, number: u32) {
    let end = out.len() + usize::try_from(size).unwrap_or(0);
    let _ = write!(out, "Dear team, the {COMMON_WORD} is over.\r\n");
    if is_rare(number) {
        let _ = write!(out, "The {RARE_WORD} part comes next.\r\n");
    }
    let mut column = 0;
    while out.len() < end {
        let word = WORDS.get(usize::try_from(random.below(32)).unwrap_or(0)).copied().unwrap_or("x");
        if column + word.len() > 71 {
            out.push_str("\r\n");
            column = 0;
        }
        out.push_str(word);
        out.push(' ');
        column += word.len() + 1;
    }
    out.push_str("\r\n");
}

fn base64(out: &mut String, random: &mut Random, size: u64) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for _ in 0..size / 78 {
        for _ in 0..19 {
            let bits = random.next();
            for shift in [0, 6, 12, 18] {
                let index = usize::try_from((bits >> shift) & 63).unwrap_or(0);
                out.push(ALPHABET.get(index).copied().map_or('A', char::from));
            }
        }
        out.push_str("\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_message_has_a_minute_of_its_own() {
        for of in [60, 200, 10_000] {
            assert_eq!((0..of).map(|n| minute(n, of)).collect::<BTreeSet<_>>().len(), usize::try_from(of).unwrap());
        }
    }

    #[test]
    fn the_words_are_where_they_are_said_to_be() {
        for number in 0..200 {
            let message = message(number, 200);
            assert_eq!(message.contains(RARE_WORD), is_rare(number));
            assert_eq!(message.contains("Invoice"), is_invoice(number));
            assert!(message.contains(COMMON_WORD));
            assert!(message.lines().all(|l| l.len() < 200));
        }
    }
}
