//! Makes new inputs of old ones: bits, bytes, lines, numbers, lengths, words of the protocol, pieces of other inputs.

/// Bytes of the longest input.
pub const MAX_INPUT: usize = 64 * 1024;
/// Numbers around which limits and overflows lie.
const NUMBERS: [&str; 16] = [
    "0",
    "1",
    "-1",
    "00",
    "127",
    "255",
    "1024",
    "65536",
    "100001",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
];
/// Bytes that mean something somewhere.
const PUNCTUATION: &[u8] = b"\0\t\r\n \"%&'()*+,-./:;<=>?@[\\]{|}~\x7f\x80\xbf\xc0\xc3\xe2\xff";

/// A source of inputs: the same seed gives the same ones.
#[derive(Debug, Clone)]
pub struct Mutator {
    state: u64,
    words: &'static [&'static str],
}

impl Mutator {
    /// With words to throw in.
    pub fn new(seed: u64, words: &'static [&'static str]) -> Self {
        Self { state: seed, words }
    }

    /// splitmix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, or 0.
    fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.random() % n as u64) as usize }
    }

    fn span(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.below(len + 1);
        let most = (len - start).min(if self.below(4) == 0 { len } else { 24 });
        start..start + self.below(most + 1)
    }

    /// The next input, made of one of `seeds` and perhaps a second.
    pub fn next(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let at = self.below(seeds.len());
        let mut input = seeds.get(at).cloned().unwrap_or_default();
        for _ in 0..=self.below(6) {
            self.change(&mut input, seeds);
        }
        input.truncate(MAX_INPUT);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        match self.below(15) {
            0 => {
                let bit = self.below(8);
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            1 => {
                let byte = self.random() as u8;
                input.insert(at, byte);
            }
            2 | 3 => {
                let byte = PUNCTUATION[self.below(PUNCTUATION.len())];
                if self.below(2) == 0 || at >= input.len() { input.insert(at, byte) } else { input[at] = byte }
            }
            4 => {
                let span = self.span(input.len());
                input.drain(span);
            }
            5 => {
                let span = self.span(input.len());
                let piece = input[span].to_vec();
                input.splice(at..at, piece);
            }
            6 => {
                // Much of the same: what is not linear shows.
                let span = self.span(input.len());
                let times = 1 << self.below(10);
                let piece = input[span].repeat(times);
                input.splice(at..at, piece.into_iter().take(MAX_INPUT / 2));
            }
            7 | 8 if !self.words.is_empty() => {
                let word = self.words[self.below(self.words.len())];
                input.splice(at..at, word.bytes());
            }
            9 => self.number(input),
            10 => self.line_end(input),
            11 => self.lines(input),
            12 => input.truncate(at),
            _ => {
                // A piece of another input, from line to line more often than not.
                let other = &seeds[self.below(seeds.len())];
                let span = if self.below(3) == 0 { self.span(other.len()) } else { self.line(other) };
                let piece = other.get(span).unwrap_or_default().to_vec();
                let at = if self.below(3) == 0 { at } else { self.line(input).start };
                input.splice(at..at, piece);
            }
        }
    }

    /// Another number in the place of one.
    fn number(&mut self, input: &mut Vec<u8>) {
        let digits: Vec<usize> = (0..input.len()).filter(|i| input[*i].is_ascii_digit()).collect();
        let Some(&at) = digits.get(self.below(digits.len())) else { return };
        let mut start = at;
        while start > 0 && input[start - 1].is_ascii_digit() {
            start -= 1;
        }
        let end = (at..input.len()).find(|i| !input[*i].is_ascii_digit()).unwrap_or(input.len());
        let number = NUMBERS[self.below(NUMBERS.len())];
        input.splice(start..end, number.bytes());
    }

    /// Another line end in the place of one.
    fn line_end(&mut self, input: &mut Vec<u8>) {
        let ends: Vec<usize> = (0..input.len()).filter(|i| input[*i] == b'\n').collect();
        let Some(&at) = ends.get(self.below(ends.len())) else { return };
        let start = if at > 0 && input[at - 1] == b'\r' { at - 1 } else { at };
        let other = ["\n", "\r", "", "\r\r\n", "\n\r", "\r\n\r\n", "\r\n.\r\n", "\0\r\n", "\r\n "][self.below(9)];
        input.splice(start..=at, other.bytes());
    }

    /// A line, with its end.
    fn line(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let at = self.below(input.len() + 1);
        let start = input[..at].iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        let end = input[start..].iter().position(|b| *b == b'\n').map_or(input.len(), |i| start + i + 1);
        start..end
    }

    /// Removes a line, or puts it somewhere else.
    fn lines(&mut self, input: &mut Vec<u8>) {
        let span = self.line(input);
        let line: Vec<u8> = input.drain(span).collect();
        if self.below(3) > 0 {
            let to = self.line(input).start;
            input.splice(to..to, line);
        }
    }
}
