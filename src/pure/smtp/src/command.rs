use crate::{
    parameters::{MailParameters, RcptParameters},
    path::{self, ForwardPath},
};
use pure_addr::{MAX_DOMAIN, ReversePath, Text};
use pure_sasl::Secret;

/// One command, its arguments checked.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// RFC 5321 4.1.1.1.
    Helo(Text<MAX_DOMAIN>),
    /// RFC 5321 4.1.1.1.
    Ehlo(Text<MAX_DOMAIN>),
    /// RFC 5321 4.1.1.2.
    Mail {
        /// Where failures go.
        path: ReversePath,
        /// Whether the path, as written, is ASCII.
        ascii: bool,
        /// The rest.
        parameters: MailParameters,
    },
    /// RFC 5321 4.1.1.3.
    Rcpt {
        /// Where the message goes.
        path: ForwardPath,
        /// Whether the path, as written, is ASCII.
        ascii: bool,
        /// The rest.
        parameters: RcptParameters,
    },
    /// RFC 5321 4.1.1.4.
    Data,
    /// RFC 3030 2.
    Bdat {
        /// Bytes of the chunk.
        size: u64,
        /// Whether it is the last one.
        last: bool,
    },
    /// RFC 5321 4.1.1.5.
    Rset,
    /// RFC 5321 4.1.1.9; its argument means nothing.
    Noop,
    /// RFC 5321 4.1.1.10.
    Quit,
    /// RFC 5321 4.1.1.6; nobody is verified, so nothing of the argument is kept.
    Vrfy,
    /// RFC 5321 4.1.1.7.
    Expn,
    /// RFC 5321 4.1.1.8.
    Help,
    /// RFC 3207 4.
    StartTls,
    /// RFC 4954 4.
    Auth {
        /// The mechanism's name in capitals.
        mechanism: Text<20>,
        /// The initial response as written: base64 or `=`.
        initial: Option<Secret>,
    },
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No such verb: 500.
    Unknown,
    /// A verb of SMTP that is not implemented: 502.
    NotImplemented,
    /// The arguments are not of the verb's grammar: 501.
    Syntax,
    /// MAIL without a proper reverse-path: 501.
    Sender,
    /// RCPT without a proper forward-path: 501.
    Recipient,
    /// A parameter with a value outside its grammar, or given twice: 501.
    Parameter,
    /// A parameter of no extension offered: 555 (RFC 5321 4.1.1.11).
    UnknownParameter,
    /// BDAT without a readable size: where the chunk ends is unknown, so nothing behind it can be read (RFC 3030 2).
    ChunkSize,
    /// HTTP: another protocol is being smuggled here by somebody's browser (attack case STLS-09).
    Http,
}

impl Command {
    /// Parses a line without its CRLF.
    pub fn parse(line: &[u8]) -> Result<Self, Refusal> {
        let (verb, arguments) = split_verb(line);
        let verb = verb.to_ascii_uppercase();
        if is_http(&verb) {
            return Err(Refusal::Http);
        }
        let arguments = match arguments {
            // ADDR-02: malformed UTF-8 is a syntax error, whatever the command.
            Some(bytes) => Some(std::str::from_utf8(bytes).map_err(|_| malformed(&verb))?),
            None => None,
        };
        match verb.as_slice() {
            b"HELO" => hello(arguments).map(Self::Helo),
            b"EHLO" => hello(arguments).map(Self::Ehlo),
            b"MAIL" => mail(arguments),
            b"RCPT" => rcpt(arguments),
            b"DATA" => alone(arguments, Self::Data),
            b"BDAT" => bdat(arguments),
            b"RSET" => alone(arguments, Self::Rset),
            b"NOOP" => Ok(Self::Noop),
            b"QUIT" => alone(arguments, Self::Quit),
            b"VRFY" => arguments.filter(|a| !a.is_empty()).map(|_| Self::Vrfy).ok_or(Refusal::Syntax),
            b"EXPN" => Ok(Self::Expn),
            b"HELP" => Ok(Self::Help),
            b"STARTTLS" => alone(arguments, Self::StartTls),
            b"AUTH" => auth(arguments),
            // RFC 5321 F.1, F.6 and RFC 1985: known, and not wanted.
            b"TURN" | b"SEND" | b"SOML" | b"SAML" | b"ETRN" | b"ATRN" | b"BURL" => Err(Refusal::NotImplemented),
            _ => Err(Refusal::Unknown),
        }
    }
}

fn split_verb(line: &[u8]) -> (&[u8], Option<&[u8]>) {
    // RFC 5321 4.1.1: white space before CRLF should be tolerated.
    let line = line.trim_suffix_spaces();
    match line.iter().position(|&b| b == b' ') {
        Some(at) => (line.get(..at).unwrap_or_default(), line.get(at.saturating_add(1)..)),
        None => (line, None),
    }
}

trait TrimSpaces {
    fn trim_suffix_spaces(&self) -> &[u8];
}

impl TrimSpaces for [u8] {
    fn trim_suffix_spaces(&self) -> &[u8] {
        let end = self.iter().rposition(|&b| b != b' ').map_or(0, |at| at.saturating_add(1));
        self.get(..end).unwrap_or_default()
    }
}

/// What malformed UTF-8 in the arguments means.
fn malformed(verb: &[u8]) -> Refusal {
    match verb {
        b"MAIL" => Refusal::Sender,
        b"RCPT" => Refusal::Recipient,
        b"BDAT" => Refusal::ChunkSize,
        _ => Refusal::Syntax,
    }
}

fn is_http(verb: &[u8]) -> bool {
    let method: &[&[u8]] = &[b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"TRACE", b"PATCH", b"PRI"];
    // "Host:" and its like.
    method.contains(&verb) || (verb.len() > 1 && verb.ends_with(b":"))
}

fn alone(arguments: Option<&str>, command: Command) -> Result<Command, Refusal> {
    if arguments.is_some() { Err(Refusal::Syntax) } else { Ok(command) }
}

/// Hosts call themselves anything (RFC 5321 4.1.4 forbids to refuse them for it); what is kept can be written into a header and a log.
fn hello(arguments: Option<&str>) -> Result<Text<MAX_DOMAIN>, Refusal> {
    let name = arguments.unwrap_or_default();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err(Refusal::Syntax);
    }
    Text::new(name).map_err(|_| Refusal::Syntax)
}

fn mail(arguments: Option<&str>) -> Result<Command, Refusal> {
    let parsed = after_keyword(arguments, "FROM:").and_then(path::reverse).ok_or(Refusal::Sender)?;
    Ok(Command::Mail { path: parsed.path, ascii: parsed.ascii, parameters: MailParameters::parse(parsed.parameters)? })
}

fn rcpt(arguments: Option<&str>) -> Result<Command, Refusal> {
    let parsed = after_keyword(arguments, "TO:").and_then(path::forward).ok_or(Refusal::Recipient)?;
    Ok(Command::Rcpt { path: parsed.path, ascii: parsed.ascii, parameters: RcptParameters::parse(parsed.parameters)? })
}

/// RFC 5321 3.3: no spaces on either side of the colon.
fn after_keyword<'a>(arguments: Option<&'a str>, keyword: &str) -> Option<&'a str> {
    let arguments = arguments?;
    arguments.get(..keyword.len()).filter(|k| k.eq_ignore_ascii_case(keyword))?;
    arguments.get(keyword.len()..)
}

fn bdat(arguments: Option<&str>) -> Result<Command, Refusal> {
    let arguments = arguments.ok_or(Refusal::ChunkSize)?;
    let (size, last) = match arguments.split_once(' ') {
        Some((size, end)) if end.eq_ignore_ascii_case("LAST") => (size, true),
        Some(_) => return Err(Refusal::ChunkSize),
        None => (arguments, false),
    };
    if size.is_empty() || !size.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Refusal::ChunkSize);
    }
    // More digits than a number has is a size like any other: too large.
    Ok(Command::Bdat { size: size.parse().unwrap_or(u64::MAX), last })
}

fn auth(arguments: Option<&str>) -> Result<Command, Refusal> {
    let arguments = arguments.ok_or(Refusal::Syntax)?;
    let (name, initial) = arguments.split_once(' ').map_or((arguments, None), |(n, i)| (n, Some(i)));
    // RFC 4422 3.1 sasl-mech.
    let well_formed = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !well_formed || initial.is_some_and(|i| i.contains(' ')) {
        return Err(Refusal::Syntax);
    }
    let mechanism = Text::new(name.to_ascii_uppercase()).map_err(|_| Refusal::Syntax)?;
    Ok(Command::Auth { mechanism, initial: initial.map(|i| Secret::new(i.as_bytes().to_vec())) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pure_addr::Address;

    fn parse(line: &str) -> Result<Command, Refusal> {
        Command::parse(line.as_bytes())
    }

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn every_command_is_read_in_any_case() {
        assert_eq!(parse("ehlo mx.evil.test").unwrap(), Command::Ehlo(Text::new("mx.evil.test").unwrap()));
        assert_eq!(parse("HELO [IPv6:2001:db8::1]").unwrap(), Command::Helo(Text::new("[IPv6:2001:db8::1]").unwrap()));
        assert_eq!(parse("Data").unwrap(), Command::Data);
        assert_eq!(parse("RSET  ").unwrap(), Command::Rset);
        assert_eq!(parse("NOOP any thing").unwrap(), Command::Noop);
        assert_eq!(parse("QUIT").unwrap(), Command::Quit);
        assert_eq!(parse("VRFY alice").unwrap(), Command::Vrfy);
        assert_eq!(parse("EXPN list").unwrap(), Command::Expn);
        assert_eq!(parse("HELP").unwrap(), Command::Help);
        assert_eq!(parse("STARTTLS").unwrap(), Command::StartTls);
        assert_eq!(parse("BDAT 0 last").unwrap(), Command::Bdat { size: 0, last: true });
        assert_eq!(parse("BDAT 99999999999999999999999").unwrap(), Command::Bdat { size: u64::MAX, last: false });
        assert_eq!(
            parse("auth plain AGE=").unwrap(),
            Command::Auth { mechanism: Text::new("PLAIN").unwrap(), initial: Some(Secret::new(b"AGE=".to_vec())) }
        );
        assert_eq!(
            parse("MAIL FROM:<a@b.test> SIZE=5").unwrap(),
            Command::Mail {
                path: ReversePath::Address(address("a@b.test")),
                ascii: true,
                parameters: MailParameters { size: Some(5), ..Default::default() }
            }
        );
        assert_eq!(
            parse("mail from:<>").unwrap(),
            Command::Mail { path: ReversePath::Null, ascii: true, parameters: MailParameters::default() }
        );
        assert_eq!(
            parse("RCPT TO:<POSTmaster>").unwrap(),
            Command::Rcpt { path: ForwardPath::Postmaster, ascii: true, parameters: RcptParameters::default() }
        );
        assert_eq!(
            parse("RCPT TO:<ü@b.test>").unwrap(),
            Command::Rcpt { path: ForwardPath::Address(address("ü@b.test")), ascii: false, parameters: RcptParameters::default() }
        );
        // A U-label alone needs SMTPUTF8 too.
        assert!(matches!(parse("RCPT TO:<a@bücher.test>").unwrap(), Command::Rcpt { ascii: false, .. }));
    }

    #[test]
    fn malformed_commands_are_refused() {
        for (line, refusal) in [
            ("", Refusal::Unknown),
            ("FOO", Refusal::Unknown),
            ("EHLO", Refusal::Syntax),
            ("EHLO a b", Refusal::Syntax),
            ("EHLO \"><img src=x>", Refusal::Syntax),
            ("EHLO a\0b", Refusal::Syntax),
            ("HELO a\rb", Refusal::Syntax),
            ("DATA x", Refusal::Syntax),
            ("STARTTLS now", Refusal::Syntax),
            ("QUIT now", Refusal::Syntax),
            ("VRFY", Refusal::Syntax),
            ("AUTH", Refusal::Syntax),
            ("AUTH PLAIN a b", Refusal::Syntax),
            ("AUTH PL%IN", Refusal::Syntax),
            ("AUTH A-MECHANISM-WITH-A-LONG-NAME", Refusal::Syntax),
            ("MAIL", Refusal::Sender),
            ("MAIL FROM <a@b.test>", Refusal::Sender),
            ("MAIL FROM: <a@b.test>", Refusal::Sender),
            ("MAIL FROM :<a@b.test>", Refusal::Sender),
            ("MAIL FROM:<a@b.test>SIZE=1", Refusal::Sender),
            ("MAIL FROM:<a@b.test> FOO=1", Refusal::UnknownParameter),
            ("MAIL TO:<a@b.test>", Refusal::Sender),
            ("RCPT TO:<>", Refusal::Recipient),
            ("RCPT TO:<postmaster", Refusal::Recipient),
            ("RCPT TO:<postmaster>x", Refusal::Recipient),
            ("ETRN x", Refusal::NotImplemented),
            ("TURN", Refusal::NotImplemented),
            ("é", Refusal::Unknown),
        ] {
            assert_eq!(parse(line), Err(refusal), "{line:?}");
        }
        let tabs = "MAIL\tFROM:<a@b.test>";
        assert_eq!(parse(tabs), Err(Refusal::Unknown));
    }

    /// Attack case SMUG-06: a BDAT whose end cannot be known.
    #[test]
    fn chunk_without_size_is_refused() {
        for line in ["BDAT", "BDAT x LAST", "BDAT 4 LAST LAST", "BDAT -1", "BDAT +1", "BDAT 4  LAST", "BDAT 4 FIRST", "BDAT  4"] {
            assert_eq!(parse(line), Err(Refusal::ChunkSize), "{line:?}");
        }
        assert_eq!(Command::parse(b"BDAT \xff"), Err(Refusal::ChunkSize));
    }

    /// Attack case STLS-09.
    #[test]
    fn http_is_recognised() {
        for line in ["POST / HTTP/1.1", "GET / HTTP/1.1", "Host: mta.test", "PRI * HTTP/2.0", "user-agent: x"] {
            assert_eq!(parse(line), Err(Refusal::Http), "{line:?}");
        }
    }

    /// Attack cases ADDR-01, RLY-01 and ADDR-03: every form that is no plain path is refused, never trimmed or decoded.
    #[test]
    fn paths_that_are_no_paths_are_refused() {
        for path in [
            "<\"\"@mta.test>",
            "<\"@mta.test>",
            "<\"\\\"@mta.test>",
            "<@mta.test>",
            "<alice@>",
            "<alice>",
            "<.alice@mta.test>",
            "<al..ice@mta.test>",
            "<alice@mta..test>",
            "<alice@-mta.test>",
            "<alice(c)@mta.test>",
            "<alice@(c)mta.test>",
            "<alice@mta.test>garbage",
            "<alice@mta.test",
            "<hello@(foo@bar)mta.test>",
            "<hello\"foo@bar\"@mta.test>",
            "<foo@bar\"aa\\\\\" hello world\".test>",
            "<alice@\u{217f}ta.test>",
            "<alice\u{ff20}mta.test>",
            "<@mta.test:victim@remote.test>",
            "<@mta.test,@x.test:victim@remote.test>",
            "<remote.test!victim>",
            "<\"victim@remote.test\">",
            "<victim@remote.test@mta.test>",
            "<victim@mta.test@remote.test>",
            "victim@remote.test",
            "<victim@remote.test\0@mta.test>",
            "<victim@remote.test\t@mta.test>",
            "<victim@mta.test,victim@remote.test>",
            "<alice@xn--mta-.test>",
            "<alice@xn--mta-test->",
            "<alice@mta.test.xn-->",
            "<alice@mta\u{3002}test>",
            "<alice@MTA.TEST\u{200b}>",
            "<alice@mta.test..>",
            "<alice@xn--0049>",
            "<alice@xn--99999999999999>",
            " <alice@mta.test>",
            "<<alice@mta.test>>",
            "<alice@mta.test>>",
            "< alice@mta.test>",
            "<alice@mta.test >",
            "Alice <alice@mta.test>",
        ] {
            assert_eq!(parse(&format!("RCPT TO:{path}")), Err(Refusal::Recipient), "{path:?}");
        }
        // ADDR-02: overlong UTF-8.
        assert_eq!(Command::parse(b"RCPT TO:<\xf0\x9f\x90@mta.test>"), Err(Refusal::Recipient));
        assert_eq!(Command::parse(b"MAIL FROM:<\xc0\xaf@mta.test>"), Err(Refusal::Sender));
    }

    /// Attack cases INJ-01 and FROM-02.
    #[test]
    fn shell_and_header_tricks_are_refused() {
        for path in [
            "<;for i in 0 1 2 3 4 5 6 7 8 9;do read r;done;sh;exit 0;>",
            "<;touch /tmp/pwned;>",
            "<() { :;};touch /tmp/pwned;@x>",
            "<(any@bank.test>",
            "<any@bank.test(a.evil.test>",
            "<any@bank.test'@any.evil.test>",
            "<@bank.test,@any.test:'any@evil.test>",
        ] {
            assert_eq!(parse(&format!("MAIL FROM:{path}")), Err(Refusal::Sender), "{path:?}");
        }
    }

    /// Attack case ADDR-04.
    #[test]
    fn long_local_parts_and_domains_are_refused() {
        assert_eq!(parse(&format!("MAIL FROM:<{}@{}.test>", "a".repeat(65), "b".repeat(300))), Err(Refusal::Sender));
        assert_eq!(parse(&format!("MAIL FROM:<{}@b.test>", "a".repeat(65))), Err(Refusal::Sender));
        assert!(parse(&format!("MAIL FROM:<{}@b.test>", "a".repeat(64))).is_ok());
    }
}
