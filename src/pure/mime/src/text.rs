//! The text of a message, for SEARCH and for previews.
//!
//! Runs of white space and control characters are one blank, so that a phrase is found across the lines it was broken into.

use crate::{
    charset,
    header::{self, Header, slice, unfold},
    html,
    limits::{MAX_PREVIEW, MAX_SEARCH_NAMES, MAX_SEARCH_VALUE, MAX_TEXT_INPUT},
    param, transfer, word,
};
use pure_index::{MAX_SEARCH_HEADER, MAX_SEARCH_TEXT, Part, PartKind, SearchText, fold, is_blank};

/// Bytes of a body that are decoded at a time.
const PIECE: usize = 16 * 1024;

/// The text for searching, and the preview.
pub(crate) fn read(message: &[u8], header: &Header<'_>, parts: &[Part]) -> (SearchText, String) {
    let (body, preview) = bodies(message, parts);
    (SearchText { headers: headers(message, header), body }, preview)
}

/// Names and values of the fields; those that do not fit any more are there without their value, so that a search for the name works.
fn headers(message: &[u8], header: &Header<'_>) -> Vec<(String, String)> {
    let mut left = MAX_SEARCH_HEADER;
    let mut out = Vec::new();
    for field in &header.fields {
        let name = header::name(message, field).to_ascii_lowercase();
        let Some(rest) = left.checked_sub(name.len()) else { break };
        left = rest;
        let raw = unfold(header::value(message, field));
        let raw = raw.get(..MAX_SEARCH_VALUE).unwrap_or(&raw);
        let mut value = String::new();
        collapse(&word::decode(raw), &mut value, usize::MAX);
        let mut value = fold(&value);
        truncate(&mut value, left);
        left -= value.len();
        out.push((String::from_utf8_lossy(&name).into_owned(), value));
    }
    out
}

fn bodies(message: &[u8], parts: &[Part]) -> (String, String) {
    let names = names(message, parts);
    let limit = MAX_SEARCH_TEXT - names.len();
    let mut text = String::new();
    let mut preview = Preview::default();
    let mut input_left = MAX_TEXT_INPUT;
    for part in parts.iter().filter(|p| p.kind == PartKind::Leaf && p.media_type.eq_ignore_ascii_case(b"text")) {
        let html = part.subtype.eq_ignore_ascii_case(b"html");
        let start = text.len();
        let body = slice(message, part.body);
        let body = body.get(..input_left).unwrap_or(body);
        input_left -= decode(part, body, html, &mut text, limit);
        preview.offer(text.get(start..).unwrap_or_default(), html, is_attachment(part));
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
    }
    text.push_str(&names);
    let mut text = fold(text.trim_end());
    truncate(&mut text, MAX_SEARCH_TEXT);
    (text, preview.finish())
}

/// Appends the text of one part while `out` is shorter than `limit`; the encoded bytes that were read.
fn decode(part: &Part, body: &[u8], html: bool, out: &mut String, limit: usize) -> usize {
    let Some(mut transfer) = transfer::Decoder::new(&part.encoding) else { return 0 };
    let mut charset = charset::Decoder::new(param::raw(&part.params, "charset"));
    let mut stripper = html.then(html::Stripper::default);
    let (mut bytes, mut chars, mut visible) = (Vec::new(), String::new(), String::new());
    let mut collapser = Collapser::default();
    let mut read = 0;
    let pieces = body.len().div_ceil(PIECE);
    for (i, piece) in body.chunks(PIECE).enumerate() {
        if out.len() >= limit {
            break;
        }
        read += piece.len();
        let last = i + 1 == pieces;
        bytes.clear();
        transfer.push(piece, &mut bytes);
        if last {
            transfer.clone().finish(&mut bytes);
        }
        chars.clear();
        charset.push(&bytes, last, &mut chars);
        match &mut stripper {
            Some(stripper) => {
                visible.clear();
                stripper.push(&chars, &mut visible);
                collapser.push(&visible, out, limit);
            }
            None => collapser.push(&chars, out, limit),
        }
    }
    if let Some(stripper) = stripper {
        visible.clear();
        stripper.finish(&mut visible);
        collapser.push(&visible, out, limit);
    }
    read
}

/// Names of attachments, and what embedded messages are about and from whom.
fn names(message: &[u8], parts: &[Part]) -> String {
    let mut out = String::new();
    let mut add = |text: &str| {
        collapse(text, &mut out, MAX_SEARCH_NAMES);
        if out.len() < MAX_SEARCH_NAMES && !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
    };
    for part in parts {
        if let Some(name) = file_name(part) {
            add(&name);
        }
        if part.envelope.is_some() {
            for field in &part.fields {
                use header::Name;
                if matches!(Name::of(header::name(message, field)), Some(Name::Subject | Name::From | Name::To | Name::Cc)) {
                    let raw = unfold(header::value(message, field));
                    add(&word::decode(raw.get(..MAX_SEARCH_VALUE).unwrap_or(&raw)));
                }
            }
        }
    }
    truncate(&mut out, MAX_SEARCH_NAMES);
    out
}

/// The name of a part for people: `filename` of its disposition, else `name` of its type.
pub fn file_name(part: &Part) -> Option<String> {
    let disposed = part.disposition.as_ref().and_then(|d| param::decoded(&d.params, "filename"));
    disposed.or_else(|| param::decoded(&part.params, "name"))
}

fn is_attachment(part: &Part) -> bool {
    part.disposition.as_ref().is_some_and(|d| !d.kind.eq_ignore_ascii_case(b"inline"))
}

/// Whether a client should offer a part of the message for download (RFC 8621 4.1.4 hasAttachment).
///
/// What is inside an embedded message is not looked at: the message itself is the attachment. Pictures of multipart/related that are
/// shown in their place, signatures and the shell of an encrypted message are not attachments.
pub(crate) fn has_attachment(parts: &[Part]) -> bool {
    let at = |index: Option<u16>| index.and_then(|i| parts.get(usize::from(i)));
    let is = |part: &Part, media: &str, sub: &str| {
        part.media_type.eq_ignore_ascii_case(media.as_bytes()) && (sub.is_empty() || part.subtype.eq_ignore_ascii_case(sub.as_bytes()))
    };
    // Parents come first, so one pass knows who is inside an embedded message.
    let mut embedded: Vec<bool> = Vec::new();
    for part in parts {
        let parent = at(part.parent);
        let inside = parent.is_some_and(|p| p.kind == PartKind::Message)
            || part.parent.and_then(|i| embedded.get(usize::from(i))).copied().unwrap_or_default();
        embedded.push(inside);
        if inside || part.kind == PartKind::Multipart {
            continue;
        }
        if let Some(disposition) = &part.disposition {
            if disposition.kind.eq_ignore_ascii_case(b"inline") {
                continue;
            }
            return true;
        }
        let in_related = parent.is_some_and(|p| is(p, "multipart", "related"));
        let in_security = parent.is_some_and(|p| is(p, "multipart", "signed") || is(p, "multipart", "encrypted"));
        let in_report = parent.is_some_and(|p| is(p, "multipart", "report"));
        let shown = is(part, "text", "")
            || (in_related && part.id.is_some())
            || (in_security && is(part, "application", ""))
            || (in_report && is(part, "message", ""));
        if !shown {
            return true;
        }
    }
    false
}

/// The first plain text that is shown, else the first HTML.
#[derive(Default)]
struct Preview {
    plain: Option<String>,
    html: Option<String>,
}

impl Preview {
    fn offer(&mut self, text: &str, html: bool, attachment: bool) {
        let slot = if html { &mut self.html } else { &mut self.plain };
        if attachment || slot.is_some() {
            return;
        }
        // What reorders or hides text has no place in a list of messages.
        let shown: String = text.chars().filter(|c| !is_invisible(*c)).take(MAX_PREVIEW).collect();
        let shown = shown.trim();
        if !shown.is_empty() {
            *slot = Some(shown.to_owned());
        }
    }

    fn finish(self) -> String {
        self.plain.or(self.html).unwrap_or_default()
    }
}

/// Soft hyphen, bidi controls, zero-width space and fillers, byte order mark.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Makes one blank of each run of white space and controls, also across pieces.
#[derive(Default)]
struct Collapser {
    blank: bool,
    any: bool,
}

impl Collapser {
    fn push(&mut self, mut text: &str, out: &mut String, limit: usize) {
        loop {
            let run = plain(text.as_bytes());
            let (word, rest) = text.split_at_checked(run).unwrap_or((text, ""));
            if !word.is_empty() {
                let Some(room) = limit.checked_sub(out.len()).filter(|room| *room > 0) else { return };
                self.part(out);
                out.push_str(word.get(..room).unwrap_or(word));
            }
            let mut chars = rest.chars();
            let Some(c) = chars.next() else { return };
            if is_blank(c) {
                self.blank = true;
            } else {
                if out.len() >= limit {
                    return;
                }
                self.part(out);
                out.push(c);
            }
            text = chars.as_str();
        }
    }

    /// What comes next is parted by a blank from what came before it, if it was.
    fn part(&mut self, out: &mut String) {
        if std::mem::take(&mut self.blank) && self.any {
            out.push(' ');
        }
        self.any = true;
    }
}

/// How much of the beginning stays as it is, which is most of most texts: words of visible ASCII with one blank between two.
fn plain(text: &[u8]) -> usize {
    let mut blank = true;
    for (at, byte) in text.iter().enumerate() {
        if *byte == b' ' && !blank {
            blank = true;
        } else if byte.is_ascii_graphic() {
            blank = false;
        } else {
            return at.saturating_sub(usize::from(blank && at > 0));
        }
    }
    text.len().saturating_sub(usize::from(blank && !text.is_empty()))
}

fn collapse(text: &str, out: &mut String, limit: usize) {
    Collapser::default().push(text, out, limit);
}

fn truncate(text: &mut String, limit: usize) {
    text.truncate(text.floor_char_boundary(limit));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wherever the text is cut into pieces, the words come out with one blank between two.
    #[test]
    fn every_run_of_white_space_is_one_blank_also_across_pieces() {
        for text in
            ["", " ", "a", " a", "a ", "a b", "a  b", " a \r\n b ", "\u{0}x\u{7f}y", "Grüße  aus\u{a0}Köln", "- - \t-", "a \u{85} b"]
        {
            let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
            for (cut, _) in text.char_indices().chain([(text.len(), ' ')]) {
                let (mut out, mut collapser) = (String::new(), Collapser::default());
                collapser.push(&text[..cut], &mut out, usize::MAX);
                collapser.push(&text[cut..], &mut out, usize::MAX);
                assert_eq!(out, words.join(" "), "{text:?} cut at {cut}");
            }
        }
    }
}
