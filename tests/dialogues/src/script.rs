//! The text of a dialogue as steps.

use regex::Regex;

/// Which of a dialogue's two connections a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// `C:`, `S:` and every directive.
    First,
    /// `C2:`, `S2:`: the one that `@second` opened.
    Second,
}

/// One line of a dialogue.
#[derive(Debug, Clone)]
pub enum Step {
    /// `C:` and `C-:`: bytes to send.
    Send(Who, Vec<u8>),
    /// `S:`: the next line matches.
    Expect(Who, Regex),
    /// `S*`: lines are read until one matches.
    Until(Who, Regex),
    /// `@port NAME`
    Port(String),
    /// `@tls`
    Tls,
    /// `@starttls`
    StartTls,
    /// `@auth NAME`
    Auth(String),
    /// `@repeat N TEXT`
    Repeat(usize, Vec<u8>),
    /// `@quiet`
    Quiet,
    /// `@closed`
    Closed,
    /// `@stored NAME N`
    Stored(String, usize),
    /// `@deliver NAME [FILE]`
    Deliver(String, Option<String>),
    /// `@second NAME`
    Second(String),
}

/// A dialogue: its steps with the numbers of their lines.
#[derive(Debug, Clone)]
pub struct Script(pub Vec<(usize, Step)>);

impl Script {
    /// Reads the text of a dialogue; an error names its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            steps.push((number, step(line).map_err(|e| format!("line {number}: {e}: {line}"))?));
        }
        Ok(Self(steps))
    }
}

fn step(line: &str) -> Result<Step, String> {
    if let Some(directive) = line.strip_prefix('@') {
        return self::directive(directive);
    }
    let (mark, text) = line.split_once(' ').unwrap_or((line, ""));
    let sent = |text: &str| [text.as_bytes(), b"\r\n"].concat();
    let regex = |text: &str| Regex::new(text).map_err(|e| e.to_string());
    Ok(match mark {
        "C:" => Step::Send(Who::First, sent(text)),
        "C2:" => Step::Send(Who::Second, sent(text)),
        "C-:" => Step::Send(Who::First, unescape(text)?),
        "C2-:" => Step::Send(Who::Second, unescape(text)?),
        "S:" => Step::Expect(Who::First, regex(text)?),
        "S2:" => Step::Expect(Who::Second, regex(text)?),
        "S*" => Step::Until(Who::First, regex(text)?),
        "S2*" => Step::Until(Who::Second, regex(text)?),
        _ => return Err("neither a comment, nor C:, C-:, S:, S* or a directive".into()),
    })
}

fn directive(text: &str) -> Result<Step, String> {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    let word = || if rest.is_empty() || rest.contains(' ') { Err("needs one word".to_owned()) } else { Ok(rest.to_owned()) };
    let none = |step: Step| if rest.is_empty() { Ok(step) } else { Err("takes nothing".to_owned()) };
    let count = |text: &str| text.parse::<usize>().map_err(|_| "needs a number".to_owned());
    match name {
        "port" => Ok(Step::Port(word()?)),
        "tls" => none(Step::Tls),
        "starttls" => none(Step::StartTls),
        "auth" => Ok(Step::Auth(word()?)),
        "second" => Ok(Step::Second(word()?)),
        "quiet" => none(Step::Quiet),
        "closed" => none(Step::Closed),
        "repeat" => {
            let (number, text) = rest.split_once(' ').ok_or("needs a number and a text")?;
            Ok(Step::Repeat(count(number)?, unescape(text)?))
        }
        "stored" => {
            let (name, number) = rest.split_once(' ').ok_or("needs an account and a number")?;
            Ok(Step::Stored(name.into(), count(number)?))
        }
        "deliver" => {
            let (name, file) = rest.split_once(' ').map_or((rest, None), |(name, file)| (name, Some(file.to_owned())));
            if name.is_empty() { Err("needs an account".into()) } else { Ok(Step::Deliver(name.into(), file)) }
        }
        _ => Err("there is no such directive".into()),
    }
}

/// `\r` `\n` `\0` `\t` `\\` `\xNN`
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let digits = [bytes.next(), bytes.next()].map(|b| b.map(char::from).and_then(|c| c.to_digit(16)));
                match digits {
                    [Some(high), Some(low)] => u8::try_from(high * 16 + low).map_err(|e| e.to_string())?,
                    _ => return Err("\\x needs two hexadecimal digits".into()),
                }
            }
            _ => return Err("there is no such escape".into()),
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_steps() {
        let script =
            Script::parse("# a comment\n\n@port mx\nS: ^220\nC: NOOP\nC-: a\\r\\n\\x00\\\\\nC:\nS2* ^b OK\n@repeat 3 x y\\n\n").unwrap();
        let steps: Vec<&Step> = script.0.iter().map(|(_, step)| step).collect();
        assert!(matches!(steps[0], Step::Port(name) if name == "mx"));
        assert!(matches!(steps[1], Step::Expect(Who::First, _)));
        assert!(matches!(steps[2], Step::Send(Who::First, bytes) if bytes == b"NOOP\r\n"));
        assert!(matches!(steps[3], Step::Send(Who::First, bytes) if bytes == b"a\r\n\0\\"));
        assert!(matches!(steps[4], Step::Send(Who::First, bytes) if bytes == b"\r\n"));
        assert!(matches!(steps[5], Step::Until(Who::Second, _)));
        assert!(matches!(steps[6], Step::Repeat(3, bytes) if bytes == b"x y\n"));
        assert_eq!(script.0[0].0, 3);
    }

    #[test]
    fn mistakes_name_their_line() {
        for wrong in ["S: (", "C-: \\q", "C-: \\x1", "@stored alice", "@tls now", "@nonsense", "X: y"] {
            let text = format!("# first\n{wrong}\n");
            assert!(Script::parse(&text).unwrap_err().starts_with("line 2: "), "{wrong}");
        }
    }
}
