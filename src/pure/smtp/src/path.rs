//! Reverse-path and forward-path of RFC 5321 4.1.2. Address literals are addresses; source routes are not accepted.

use pure_addr::{Address, ReversePath};

/// Where a message is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardPath {
    /// `<Postmaster>` without a domain (RFC 5321 4.1.1.3).
    Postmaster,
    /// `<local-part@domain>`.
    Address(Address),
}

/// A path in its brackets at the start of `text`, and the parameters behind it.
pub(crate) struct Parsed<'a, P> {
    pub(crate) path: P,
    /// Whether the path, as written, needs no SMTPUTF8 (RFC 6531 3.4).
    pub(crate) ascii: bool,
    /// What follows the closing bracket, without the one space in between; none when the line ends there.
    pub(crate) parameters: Option<&'a str>,
}

pub(crate) fn reverse(text: &str) -> Option<Parsed<'_, ReversePath>> {
    let inner = text.strip_prefix('<')?;
    let (path, rest) = match inner.strip_prefix('>') {
        Some(rest) => (ReversePath::Null, rest),
        None => {
            let (address, rest) = bracketed(inner)?;
            (ReversePath::Address(address), rest)
        }
    };
    finish(text, path, rest)
}

pub(crate) fn forward(text: &str) -> Option<Parsed<'_, ForwardPath>> {
    const POSTMASTER: &str = "postmaster>";
    let inner = text.strip_prefix('<')?;
    if inner.get(..POSTMASTER.len()).is_some_and(|t| t.eq_ignore_ascii_case(POSTMASTER)) {
        return finish(text, ForwardPath::Postmaster, inner.get(POSTMASTER.len()..)?);
    }
    let (address, rest) = bracketed(inner)?;
    finish(text, ForwardPath::Address(address), rest)
}

fn bracketed(inner: &str) -> Option<(Address, &str)> {
    let (address, rest) = Address::parse_prefix(inner).ok()?;
    Some((address, rest.strip_prefix('>')?))
}

fn finish<'a, P>(text: &'a str, path: P, rest: &'a str) -> Option<Parsed<'a, P>> {
    let parameters = if rest.is_empty() { None } else { Some(rest.strip_prefix(' ')?) };
    let written = text.get(..text.len().checked_sub(rest.len())?)?;
    Some(Parsed { path, ascii: written.is_ascii(), parameters })
}
