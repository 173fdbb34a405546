//! The canonical body and its hash (RFC 6376 3.4.3, 3.4.4), piece by piece.
//!
//! In relaxed form white space at the end of a line goes first, then empty lines at the end: so a body of nothing but white space is an
//! empty body. Only CRLF ends a line; a lone CR or LF is content, as it is for whoever verifies the bytes that were sent.

use memchr::{memchr, memchr3};
use sha2::{Digest, Sha256};

/// Line ends that are hashed at once.
const LINE_ENDS: &[u8; 64] =
    b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n";

/// A form of canonicalization (RFC 6376 3.4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// As it is, but for empty lines at the end of a body.
    Simple,
    /// White space and the case of names do not count.
    #[default]
    Relaxed,
}

/// SHA-256 of a body in canonical form, the relaxed one by default: `bh=`.
#[derive(Debug, Clone, Default)]
pub struct BodyHash {
    form: Form,
    hash: Sha256,
    /// Bytes hashed so far.
    length: u64,
    /// Line ends that count only if content follows.
    ends: u64,
    /// White space that counts only if content follows in its line.
    blank: bool,
    /// The last byte was a CR.
    cr: bool,
    /// There was content.
    any: bool,
}

/// Of a whole body at once, in relaxed form.
pub fn body_hash(body: &[u8]) -> [u8; 32] {
    let mut hash = BodyHash::default();
    hash.push(body);
    hash.finish()
}

impl BodyHash {
    /// Of a body in this form.
    pub fn new(form: Form) -> Self {
        Self { form, ..Self::default() }
    }

    /// Takes the next piece of the body; pieces may be cut anywhere.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if std::mem::take(&mut self.cr) {
                if *first == b'\n' {
                    self.blank = false;
                    self.ends = self.ends.saturating_add(1);
                    bytes = rest;
                    continue;
                }
                self.content(b"\r");
            }
            bytes = match first {
                b'\r' => {
                    self.cr = true;
                    rest
                }
                b' ' | b'\t' if self.form == Form::Relaxed => {
                    self.blank = true;
                    rest
                }
                _ => {
                    let next = match self.form {
                        Form::Simple => memchr(b'\r', bytes),
                        Form::Relaxed => memchr3(b' ', b'\t', b'\r', bytes),
                    };
                    let length = next.unwrap_or(bytes.len());
                    let (run, after) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
                    self.content(run);
                    after
                }
            };
        }
    }

    /// The hash. A body with content ends with one CRLF, also when its last line had none; one without is empty, or in simple form that
    /// CRLF alone.
    pub fn finish(self) -> [u8; 32] {
        self.finish_with_length().0
    }

    /// The hash, and the bytes that were hashed: the most that `l=` can say (RFC 6376 3.5).
    pub fn finish_with_length(mut self) -> ([u8; 32], u64) {
        if std::mem::take(&mut self.cr) {
            self.content(b"\r");
        }
        if self.any || self.form == Form::Simple {
            self.update(b"\r\n");
        }
        (self.hash.finalize().into(), self.length)
    }

    fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.length = self.length.saturating_add(bytes.len() as u64);
    }

    /// Content follows: what waited for it counts.
    fn content(&mut self, bytes: &[u8]) {
        while self.ends > 0 {
            let now = self.ends.min(LINE_ENDS.len() as u64 / 2);
            let length = usize::try_from(now.saturating_mul(2)).unwrap_or(0);
            self.update(LINE_ENDS.get(..length).unwrap_or_default());
            self.ends = self.ends.saturating_sub(now);
        }
        if std::mem::take(&mut self.blank) {
            self.update(b" ");
        }
        self.update(bytes);
        self.any = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    /// What RFC 6376 3.4.4 says, written down a second time without regard to memory.
    fn by_the_book(body: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(body).into_owned();
        let mut lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
        for line in &mut lines {
            let mut short = String::new();
            for c in line.chars() {
                let c = if c == '\t' { ' ' } else { c };
                if !(c == ' ' && short.ends_with(' ')) {
                    short.push(c);
                }
            }
            *line = short.trim_end_matches(' ').to_owned();
        }
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines.iter().flat_map(|l| [l.as_bytes(), b"\r\n"].concat()).collect()
    }

    /// RFC 6376 3.4.5 and 3.4.4.
    #[test]
    fn the_examples_of_the_standard() {
        assert_eq!(body_hash(b" C \r\nD \t E\r\n\r\n\r\n"), sha(b" C\r\nD E\r\n"));
        let empty = data_encoding::BASE64.encode(&body_hash(b""));
        assert_eq!(empty, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }

    #[test]
    fn the_ends_of_bodies() {
        for (body, canonical) in [
            (&b""[..], &b""[..]),
            (b"\r\n", b""),
            (b"\r\n\r\n\r\n", b""),
            (b" \r\n", b""),
            (b" \t\r\n\t\r\n \r\n", b""),
            (b" ", b""),
            (b"\t\r\n ", b""),
            (b"x", b"x\r\n"),
            (b"x\r\n", b"x\r\n"),
            (b"x\r\n ", b"x\r\n"),
            (b"x\r\n \r\n\t \r\n", b"x\r\n"),
            (b"x \r\n\r\n \t\r\n", b"x\r\n"),
            (b"x\r\n\r\n y \r\n\r\n", b"x\r\n\r\n y\r\n"),
            (b" \r\nx", b"\r\nx\r\n"),
            (b"\r\n\r\nx\r\n", b"\r\n\r\nx\r\n"),
            (b"a\rb\r", b"a\rb\r\r\n"),
            (b"a \nb", b"a \nb\r\n"),
            (b"a\r\r\n", b"a\r\r\n"),
            (b"a \r \r\n", b"a \r\r\n"),
        ] {
            assert_eq!(body_hash(body), sha(canonical), "{:?}", String::from_utf8_lossy(body));
        }
        let many = [&b"x"[..], &b"\r\n".repeat(1000), b"y"].concat();
        assert_eq!(body_hash(&many), sha(&[&many[..], b"\r\n"].concat()));
    }

    /// RFC 6376 3.4.3 and its examples in 3.4.5.
    #[test]
    fn simple_bodies() {
        for (body, canonical) in [
            (&b""[..], &b"\r\n"[..]),
            (b"\r\n\r\n", b"\r\n"),
            (b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n"),
            (b"x", b"x\r\n"),
            (b" \r\n", b" \r\n"),
            (b"\r\n\r\nx \r\n", b"\r\n\r\nx \r\n"),
            (b"a\rb \r", b"a\rb \r\r\n"),
        ] {
            for size in 1..=body.len().max(1) {
                let mut hash = BodyHash::new(Form::Simple);
                body.chunks(size).for_each(|piece| hash.push(piece));
                assert_eq!(hash.finish_with_length(), (sha(canonical), canonical.len() as u64), "{:?}", String::from_utf8_lossy(body));
            }
        }
        let mut relaxed = BodyHash::default();
        relaxed.push(b" C \r\nD \t E\r\n\r\n\r\n");
        assert_eq!(relaxed.finish_with_length().1, 9);
    }

    #[test]
    fn any_cut_gives_the_same_and_it_is_what_the_book_says() {
        // All bodies of up to eight of these letters.
        let letters = [&b" "[..], b"\t", b"\r\n", b"x"];
        for number in 0..4u32.pow(7) {
            let body: Vec<u8> = (0..7).flat_map(|at| letters[(number / 4u32.pow(at) % 4) as usize].to_vec()).collect();
            let expected = sha(&by_the_book(&body));
            assert_eq!(body_hash(&body), expected, "{:?}", String::from_utf8_lossy(&body));
            if number % 97 == 0 {
                for size in 1..body.len() {
                    let mut hash = BodyHash::default();
                    body.chunks(size).for_each(|piece| hash.push(piece));
                    assert_eq!(hash.finish(), expected);
                }
            }
        }
    }
}
