//! Address lists of header fields (RFC 5322 3.4 with the obsolete forms of 4.4, RFC 6532, groups in From by RFC 6854).
//!
//! Reading never fails: what is no address is kept as a mailbox without a domain, so that people see it. [`List::clean`] says whether
//! the whole field was understood; an identity check must refuse what was not.

use crate::{
    cursor::{Cursor, Unclosed},
    word,
};
use pure_addr::{Address, Domain, LocalPart};
use pure_index::{EnvelopeAddress, MAX_ADDRESSES};

/// An address list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    /// At most [`MAX_ADDRESSES`].
    pub items: Vec<Item>,
    /// Whether the field is exactly what the grammar allows, and nothing was left out.
    pub clean: bool,
}

/// An element of an address list. Bytes are as they stand in the field, quotes and escapes removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// One mailbox.
    Mailbox {
        /// The display name, or the comment that took its place.
        name: Option<Vec<u8>>,
        /// The local part.
        local: Vec<u8>,
        /// The domain; empty when there is none.
        domain: Vec<u8>,
    },
    /// `name:`; the mailboxes up to the end belong to it.
    GroupStart(Vec<u8>),
    /// `;`
    GroupEnd,
}

impl Item {
    /// In the form of RFC 9051 7.5.2.
    pub fn into_envelope(self) -> EnvelopeAddress {
        match self {
            Self::Mailbox { name, local, domain } => {
                EnvelopeAddress { name: name.map(Into::into), mailbox: Some(local.into()), host: Some(domain.into()) }
            }
            Self::GroupStart(name) => EnvelopeAddress { name: None, mailbox: Some(name.into()), host: None },
            Self::GroupEnd => EnvelopeAddress::default(),
        }
    }

    /// The mailbox as an address, if it is one.
    pub fn address(&self) -> Option<Address> {
        let Self::Mailbox { local, domain, .. } = self else { return None };
        let local = LocalPart::new(std::str::from_utf8(local).ok()?).ok()?;
        let domain = Domain::parse(std::str::from_utf8(domain).ok()?).ok()?;
        // The limits of a whole path are checked by the one parser there is.
        Address::parse(&Address { local, domain }.to_string()).ok()
    }
}

/// Reads an unfolded address list.
pub fn parse(value: &[u8]) -> List {
    Parser { cursor: Cursor::new(value), list: List { items: Vec::new(), clean: true }, element: Element::default(), in_group: false }.run()
}

#[derive(Debug, Clone)]
enum Token {
    Atom(Vec<u8>),
    Quoted(Vec<u8>),
    Literal(Vec<u8>),
    Dot,
    At,
}

/// What stands before the next separator.
#[derive(Debug, Default)]
struct Element {
    /// With whether white space stands before each.
    tokens: Vec<(bool, Token)>,
    comment: Option<Vec<u8>>,
    /// A mailbox in angle brackets was read; only comments may follow.
    complete: bool,
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    list: List,
    element: Element,
    in_group: bool,
}

impl Parser<'_> {
    /// The end of a group comes with that of its last address, so there may be one too many.
    fn run(self) -> List {
        let mut list = self.all();
        list.clean &= list.items.len() <= MAX_ADDRESSES;
        list.items.truncate(MAX_ADDRESSES);
        list
    }

    fn all(mut self) -> List {
        loop {
            let spaced = self.blanks_and_comments();
            let Some(byte) = self.cursor.peek() else { break };
            if self.list.items.len() >= MAX_ADDRESSES {
                self.list.clean = false;
                return self.list;
            }
            match byte {
                b',' => {
                    self.cursor.advance(1);
                    self.end_element();
                }
                b';' => {
                    self.cursor.advance(1);
                    self.end_element();
                    self.end_group();
                }
                b':' => {
                    self.cursor.advance(1);
                    self.start_group();
                }
                b'<' => {
                    self.cursor.advance(1);
                    self.angle();
                }
                _ => {
                    if std::mem::take(&mut self.element.complete) {
                        self.list.clean = false;
                        self.element.comment = None;
                    }
                    let token = self.token(byte);
                    self.element.tokens.push((spaced, token));
                }
            }
        }
        self.end_element();
        if self.in_group {
            self.list.clean = false;
            self.end_group();
        }
        self.list
    }

    /// CFWS; the last comment is remembered, since `a@b (Name)` was how names were written (RFC 5322 3.4 end).
    fn blanks_and_comments(&mut self) -> bool {
        let mut any = false;
        loop {
            any |= self.cursor.skip_blank();
            if self.cursor.peek() != Some(b'(') {
                return any;
            }
            any = true;
            match self.cursor.comment() {
                Ok(text) => self.element.comment = Some(text),
                Err(Unclosed) => self.list.clean = false,
            }
        }
    }

    fn token(&mut self, byte: u8) -> Token {
        match byte {
            b'"' => {
                let (text, closed) = self.cursor.quoted();
                self.list.clean &= closed.is_ok() && !text.iter().any(u8::is_ascii_control);
                Token::Quoted(text.into_owned())
            }
            b'[' => {
                let (text, closed) = self.cursor.literal();
                self.list.clean &= closed.is_ok() && !text.iter().any(|b| b.is_ascii_control() || *b == b'[');
                Token::Literal([b"[", &*text, b"]"].concat())
            }
            b'.' => {
                self.cursor.advance(1);
                Token::Dot
            }
            b'@' => {
                self.cursor.advance(1);
                Token::At
            }
            _ => {
                // An encoded-word may hold what an atom may not; people see it, identities do not rest on it.
                if let Some(length) = word::length(self.cursor.rest()) {
                    let text = self.cursor.rest().get(..length).unwrap_or_default();
                    if !text.iter().any(|b| matches!(b, b' ' | b'\t')) {
                        self.list.clean &= text.iter().all(|b| is_atext(*b));
                        self.cursor.advance(length);
                        return Token::Atom(text.to_vec());
                    }
                }
                let atom = self.cursor.take_while(is_atext);
                if !atom.is_empty() {
                    return Token::Atom(atom.to_vec());
                }
                // A control character, `)`, `]`, `>` or `\` where none belongs.
                self.list.clean = false;
                self.cursor.advance(1);
                Token::Atom(vec![byte])
            }
        }
    }

    /// The inside of `<...>`, after the opening bracket: an optional source route and an addr-spec (RFC 5322 4.4 obs-angle-addr).
    fn angle(&mut self) {
        let before = std::mem::take(&mut self.element);
        if before.complete {
            self.list.clean = false;
        }
        let name = self.phrase(&before.tokens);
        let mut inner: Vec<(bool, Token)> = Vec::new();
        let mut closed = false;
        loop {
            let spaced = self.blanks_and_comments();
            let Some(byte) = self.cursor.peek() else { break };
            let route = matches!(inner.first(), None | Some((_, Token::At)));
            match byte {
                b'>' => {
                    self.cursor.advance(1);
                    closed = true;
                    break;
                }
                b':' if route && !inner.is_empty() => {
                    self.cursor.advance(1);
                    inner.clear();
                }
                b',' if route => self.cursor.advance(1),
                // The bracket was never closed.
                b',' | b';' => break,
                b'<' | b':' => {
                    self.list.clean = false;
                    self.cursor.advance(1);
                }
                _ => {
                    let token = self.token(byte);
                    inner.push((spaced, token));
                }
            }
        }
        self.list.clean &= closed;
        let (local, domain) = self.addr_spec(&inner);
        let name = name.or(before.comment);
        self.list.items.push(Item::Mailbox { name, local, domain });
        self.element = Element { complete: true, ..Element::default() };
    }

    fn end_element(&mut self) {
        let element = std::mem::take(&mut self.element);
        // RFC 5322 4.4 obs-mbox-list allows empty elements.
        if element.tokens.is_empty() {
            return;
        }
        let (local, domain) = self.addr_spec(&element.tokens);
        self.list.items.push(Item::Mailbox { name: element.comment, local, domain });
    }

    fn start_group(&mut self) {
        let element = std::mem::take(&mut self.element);
        if self.in_group || element.complete || element.tokens.is_empty() {
            self.list.clean = false;
            return;
        }
        let name = self.phrase(&element.tokens).unwrap_or_default();
        self.list.items.push(Item::GroupStart(name));
        self.in_group = true;
    }

    fn end_group(&mut self) {
        if std::mem::take(&mut self.in_group) {
            self.list.items.push(Item::GroupEnd);
        } else {
            self.list.clean = false;
        }
    }

    /// RFC 5322 3.2.5, with the dots of obs-phrase.
    fn phrase(&mut self, tokens: &[(bool, Token)]) -> Option<Vec<u8>> {
        if tokens.is_empty() {
            return None;
        }
        self.list.clean &= tokens.iter().all(|(_, t)| matches!(t, Token::Atom(_) | Token::Quoted(_) | Token::Dot));
        Some(text(tokens, true))
    }

    /// RFC 5322 3.4.1; white space around dots and the at-sign is obs-local-part and obs-domain.
    fn addr_spec(&mut self, tokens: &[(bool, Token)]) -> (Vec<u8>, Vec<u8>) {
        let Some(at) = tokens.iter().rposition(|(_, t)| matches!(t, Token::At)) else {
            self.list.clean = false;
            return (text(tokens, true), Vec::new());
        };
        let (local, domain) = tokens.split_at_checked(at).unwrap_or((tokens, &[]));
        let domain = domain.get(1..).unwrap_or_default();
        let word = |t: &Token| matches!(t, Token::Atom(_) | Token::Quoted(_));
        let literal = matches!(domain, [(_, Token::Literal(_))]);
        let clean = dotted(local, word) && (literal || dotted(domain, |t| matches!(t, Token::Atom(_))));
        self.list.clean &= clean;
        (text(local, !clean), text(domain, false))
    }
}

/// Whether these are words with a dot between every two.
fn dotted(tokens: &[(bool, Token)], word: impl Fn(&Token) -> bool) -> bool {
    tokens.len() % 2 == 1
        && tokens.iter().enumerate().all(|(i, (_, token))| if i % 2 == 0 { word(token) } else { matches!(token, Token::Dot) })
}

fn text(tokens: &[(bool, Token)], spaces: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (spaced, token) in tokens {
        if *spaced && spaces && !out.is_empty() {
            out.push(b' ');
        }
        match token {
            Token::Atom(t) | Token::Quoted(t) | Token::Literal(t) => out.extend_from_slice(t),
            Token::Dot => out.push(b'.'),
            Token::At => out.push(b'@'),
        }
    }
    out
}

/// RFC 5322 3.2.3 with the UTF-8 of RFC 6532 3.2.
fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name|local|domain`, `{name` and `}`, and a `!` behind what is not clean.
    fn show(value: &str) -> String {
        let list = parse(value.as_bytes());
        let utf8 = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let mut items: Vec<String> = list
            .items
            .iter()
            .map(|item| match item {
                Item::Mailbox { name, local, domain } => {
                    format!("{}|{}|{}", name.as_deref().map_or("-".into(), utf8), utf8(local), utf8(domain))
                }
                Item::GroupStart(name) => format!("{{{}", utf8(name)),
                Item::GroupEnd => "}".into(),
            })
            .collect();
        if !list.clean {
            items.push("!".into());
        }
        items.join(" ")
    }

    #[test]
    fn examples_of_the_standard() {
        for (given, expected) in [
            ("John Doe <jdoe@machine.example>", "John Doe|jdoe|machine.example"),
            ("\"Joe Q. Public\" <john.q.public@example.com>", "Joe Q. Public|john.q.public|example.com"),
            ("Joe Q. Public <john.q.public@example.com>", "Joe Q. Public|john.q.public|example.com"),
            ("Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>", "Mary Smith|mary|x.test -|jdoe|example.org Who?|one|y.test"),
            (
                "<boss@nil.test>, \"Giant; \\\"Big\\\" Box\" <sysservices@example.net>",
                "-|boss|nil.test Giant; \"Big\" Box|sysservices|example.net",
            ),
            (
                "A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;",
                "{A Group Ed Jones|c|a.test -|joe|where.test John|jdoe|one.test }",
            ),
            ("Undisclosed recipients:;", "{Undisclosed recipients }"),
            ("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", "Pete|pete|silly.test"),
            ("(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;", "{Hidden recipients }"),
            ("Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example", "Mary Smith|mary|example.net -|jdoe|test.example"),
            ("<@a.test,@b.test:c@d.test>", "-|c|d.test"),
            ("", ""),
        ] {
            assert_eq!(show(given), expected, "{given}");
        }
    }

    #[test]
    fn other_forms() {
        for (given, expected) in [
            ("a@b.test (Comment Name)", "Comment Name|a|b.test"),
            ("\"a b\"@c.test", "-|a b|c.test"),
            ("x@[192.0.2.1]", "-|x|[192.0.2.1]"),
            ("=?utf-8?q?J=C3=B6rg?= <j@b.test>", "=?utf-8?q?J=C3=B6rg?=|j|b.test"),
            ("J\u{f6}rg <j\u{f6}@b.test>", "J\u{f6}rg|j\u{f6}|b.test"),
            ("a . \"b\" @ c . test", "-|a.b|c.test"),
            ("g: a@b.test;, c@d.test", "{g -|a|b.test } -|c|d.test"),
        ] {
            assert_eq!(show(given), expected, "{given}");
        }
    }

    /// Attack cases RLY-03, FROM-02 and FROM-05: a field that two readers could take for different authors is not clean.
    #[test]
    fn what_is_ambiguous_is_not_clean() {
        for (given, expected) in [
            ("alice", "-|alice| !"),
            ("alice@mta.test <bob@mta.test>", "alice@mta.test|bob|mta.test !"),
            ("<alice@mta.test> <bob@mta.test>", "-|alice|mta.test -|bob|mta.test !"),
            ("<alice@mta.test> bob@mta.test", "-|alice|mta.test -|bob|mta.test !"),
            ("alice@mta.test bob@mta.test", "-|alice@mta.test bob|mta.test !"),
            ("alice@mta.test@bob.test", "-|alice@mta.test|bob.test !"),
            ("<alice@mta.test", "-|alice|mta.test !"),
            ("<alice@mta.test, bob@mta.test>", "-|alice|mta.test -|bob|mta.test> !"),
            ("<<alice@mta.test>>", "-|alice|mta.test -|>| !"),
            ("<>", "-|| !"),
            ("(alice@mta.test", "!"),
            ("\"alice@mta.test", "-|alice@mta.test| !"),
            ("alice..x@mta.test", "-|alice..x|mta.test !"),
            ("alice@mta..test", "-|alice|mta..test !"),
            ("alice@mta.test\0", "-|alice|mta.test\0 !"),
            ("g: alice@mta.test", "{g -|alice|mta.test } !"),
            ("alice@mta.test;", "-|alice|mta.test !"),
            ("=?utf-8?q?<bob@mta.test>?= <alice@mta.test>", "=?utf-8?q?<bob@mta.test>?=|alice|mta.test !"),
            ("any@bank.test(a.evil.test", "-|any|bank.test !"),
            ("any@bank.test'@any.evil.test", "-|any@bank.test'|any.evil.test !"),
        ] {
            assert_eq!(show(given), expected, "{given}");
        }
        assert!(parse(b"<alice@mta.test> (<bob@mta.test>)").clean);
    }

    #[test]
    fn addresses() {
        let one = |value: &str| parse(value.as_bytes()).items[0].address().map(|a| a.to_string());
        assert_eq!(one("A <\"alice\"@MTA.Test>").as_deref(), Some("alice@mta.test"));
        assert_eq!(one("a@b\u{fc}cher.example").as_deref(), Some("a@xn--bcher-kva.example"));
        assert_eq!(one("alice"), None);
        assert_eq!(one(&format!("{}@mta.test", "a".repeat(65))), None);
    }

    /// Attack case INJ-02: data, whatever it looks like.
    #[test]
    fn shell_text_is_text() {
        assert_eq!(show("() { :;}; /bin/touch /tmp/pwned"), "{{ } -|}| -|/bin/touch /tmp/pwned| !");
    }

    #[test]
    fn many_addresses_are_cut() {
        let list = parse("a@b.test,".repeat(MAX_ADDRESSES + 1).as_bytes());
        assert_eq!((list.items.len(), list.clean), (MAX_ADDRESSES, false));
        // The last group ends one entry behind the limit: found by fuzzing.
        for text in ["g:a@b.test;".repeat(MAX_ADDRESSES / 3 + 1), format!("{}g:a@b.test", "a@b.test,".repeat(MAX_ADDRESSES - 2))] {
            let list = parse(text.as_bytes());
            assert_eq!((list.items.len(), list.clean), (MAX_ADDRESSES, false));
        }
    }
}
