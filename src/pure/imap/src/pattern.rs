use pure_addr::SEPARATOR;

/// A LIST pattern (RFC 9051 6.3.9): `*` is anything, `%` is anything within one level.
///
/// All ways to match are followed at once as bits of a row, so a name costs at most name x pattern / 64 steps.
pub struct Pattern {
    /// Words of a row.
    words: usize,
    /// For each byte, the positions of the pattern that it satisfies: 256 rows.
    bytes: Vec<u64>,
    star: Vec<u64>,
    any: Vec<u64>,
    end: usize,
}

impl Pattern {
    /// Reference and pattern in UTF-8, wildcards included (RFC 9051 6.3.9.1: the reference comes in front as it is).
    pub fn new(reference: &str, pattern: &str) -> Self {
        let tokens = collapse(reference.bytes().chain(pattern.bytes()));
        let words = tokens.len() / 64 + 1;
        let mut this = Self { words, bytes: vec![0; words * 256], star: vec![0; words], any: vec![0; words], end: tokens.len() };
        for (at, token) in tokens.iter().enumerate() {
            match token {
                b'*' => {
                    set(&mut this.star, at);
                    set(&mut this.any, at);
                }
                b'%' => set(&mut this.any, at),
                byte => {
                    let row = usize::from(*byte) * words;
                    if let Some(row) = this.bytes.get_mut(row..row + words) {
                        set(row, at);
                    }
                }
            }
        }
        this
    }

    /// Whether the whole name matches. `INBOX` is compared without case (RFC 9051 5.1).
    pub fn matches(&self, name: &str) -> bool {
        let inbox = if name == "INBOX" || name.starts_with("INBOX/") { 5 } else { 0 };
        let mut row = vec![0u64; self.words];
        set(&mut row, 0);
        self.skip_wildcards(&mut row);
        for (i, byte) in name.bytes().enumerate() {
            let stay = if u32::from(byte) == u32::from(SEPARATOR) { &self.star } else { &self.any };
            let either = if i < inbox { byte.to_ascii_lowercase() } else { byte };
            let mut carry = 0;
            for (w, bits) in row.iter_mut().enumerate() {
                let advance = *bits & (self.row(byte, w) | self.row(either, w));
                *bits = (*bits & word(stay, w)) | (advance << 1) | carry;
                carry = advance >> 63;
            }
            self.skip_wildcards(&mut row);
            if row.iter().all(|bits| *bits == 0) {
                return false;
            }
        }
        word(&row, self.end / 64) >> (self.end % 64) & 1 == 1
    }

    fn row(&self, byte: u8, w: usize) -> u64 {
        word(&self.bytes, usize::from(byte) * self.words + w)
    }

    /// A wildcard may stand for nothing; after collapsing no two are neighbours, so once is enough.
    fn skip_wildcards(&self, row: &mut [u64]) {
        let mut carry = 0;
        for (w, bits) in row.iter_mut().enumerate() {
            let skip = *bits & word(&self.any, w);
            *bits |= (skip << 1) | carry;
            carry = skip >> 63;
        }
    }
}

fn set(row: &mut [u64], at: usize) {
    if let Some(word) = row.get_mut(at / 64) {
        *word |= 1 << (at % 64);
    }
}

fn word(row: &[u64], w: usize) -> u64 {
    row.get(w).copied().unwrap_or_default()
}

/// A run of wildcards is one: `*` when there is one in it.
fn collapse(pattern: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut out: Vec<u8> = vec![];
    for byte in pattern {
        match (out.last_mut(), byte) {
            (Some(last @ (b'*' | b'%')), b'*') => *last = b'*',
            (Some(b'*' | b'%'), b'%') => {}
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, name, expected) in [
            ("*", "a/b", true),
            ("%", "a/b", false),
            ("%", "a", true),
            ("", "a", false),
            ("%/%", "a/b", true),
            ("%/%", "a/b/c", false),
            ("a*c", "a/b/c", true),
            ("a%c", "a/b/c", false),
            ("a%c", "abbc", true),
            ("*%b", "a/b", true),
            ("%*", "a/b", true),
            ("inbox", "INBOX", true),
            ("iNb%", "INBOX", true),
            ("inbox/*", "INBOX/x", true),
            ("inbox/X", "INBOX/x", false),
            ("archive", "Archive", false),
            ("Entwürfe/%", "Entwürfe/2026", true),
            ("a", "ab", false),
            ("ab", "a", false),
        ] {
            assert_eq!(Pattern::new("", pattern).matches(name), expected, "{pattern} {name}");
        }
        assert!(Pattern::new("a/", "%").matches("a/b"));
    }

    #[test]
    fn patterns_longer_than_a_word() {
        let name = "abcdefgh/".repeat(20);
        let name = name.trim_end_matches('/');
        assert!(Pattern::new("", name).matches(name));
        assert!(Pattern::new("", &format!("{}%", &name[..150])).matches(&name[..152]));
        assert!(Pattern::new("", &"%/".repeat(19).chars().chain(['%']).collect::<String>()).matches(name));
        assert!(!Pattern::new("", &"%/".repeat(18).chars().chain(['%']).collect::<String>()).matches(name));
    }

    /// Attack case IMAP-08: no pattern is expensive.
    #[test]
    fn many_wildcards_are_cheap() {
        let name = "a".repeat(512);
        let pattern = Pattern::new("", &format!("{}b", "*a%".repeat(300)));
        assert!(!pattern.matches(&name));
        // Each byte of a name costs a step for each of these words, whatever stands in the pattern.
        assert_eq!(pattern.words, 10);
        assert_eq!(Pattern::new("", &"*%".repeat(500)).end, 1);
    }
}
