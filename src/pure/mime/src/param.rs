//! Fields of the form `value *(";" attribute "=" value)`: Content-Type (RFC 2045 5.1), Content-Disposition (RFC 2183 2), and what
//! RFC 2231 does to their parameters.
//!
//! Of two parameters with the same name the first counts, and the second is not kept: everyone sees the same one.

use crate::{
    charset,
    cursor::{Cursor, is_blank, trim, trim_end},
    limits::MAX_PARAMETERS,
    transfer, word,
};

/// Parameters as they stand, quotes and escapes removed.
pub type Parameters = Vec<(Vec<u8>, Vec<u8>)>;

/// A Content-Type that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType {
    /// `text` of `text/plain`.
    pub media_type: Vec<u8>,
    /// `plain` of `text/plain`.
    pub subtype: Vec<u8>,
    /// Its parameters.
    pub params: Parameters,
}

/// token of RFC 2045 5.1. Bytes above 127 are let through: what stands there is data for whoever shows it.
fn is_token(byte: u8) -> bool {
    byte > b' ' && byte != 127 && !b"()<>@,;:\\\"/[]?=".contains(&byte)
}

/// Reads an unfolded Content-Type. None when it has no `type/subtype`: then RFC 2045 5.2 puts text/plain in its place.
pub fn content_type(value: &[u8]) -> Option<ContentType> {
    let mut cursor = Cursor::new(value);
    cursor.skip_cfws();
    let media_type = cursor.take_while(is_token).to_vec();
    cursor.skip_cfws();
    if media_type.is_empty() || !cursor.eat(b'/') {
        return None;
    }
    cursor.skip_cfws();
    let subtype = cursor.take_while(is_token).to_vec();
    if subtype.is_empty() || media_type.len() + subtype.len() > pure_index::MAX_STRING {
        return None;
    }
    Some(ContentType { media_type, subtype, params: parameters(cursor) })
}

/// Reads an unfolded Content-Disposition. Parameters without a disposition belong to an attachment: RFC 2183 2.8 says so of
/// dispositions that are not known.
pub fn disposition(value: &[u8]) -> Option<(Vec<u8>, Parameters)> {
    let mut cursor = Cursor::new(value);
    cursor.skip_cfws();
    let kind = cursor.take_while(is_token).to_vec();
    let params = parameters(cursor);
    match (kind.is_empty(), params.is_empty()) {
        (true, true) => None,
        (true, false) => Some((b"attachment".to_vec(), params)),
        _ => Some((kind, params)),
    }
}

fn parameters(mut cursor: Cursor<'_>) -> Parameters {
    let mut out = Parameters::new();
    loop {
        skip_to_semicolon(&mut cursor);
        if cursor.is_empty() || out.len() >= MAX_PARAMETERS {
            return out;
        }
        cursor.skip_cfws();
        let name = cursor.take_while(is_token);
        cursor.skip_cfws();
        if name.is_empty() || !cursor.eat(b'=') {
            continue;
        }
        cursor.skip_cfws();
        let value = parameter_value(&mut cursor, name);
        if !out.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            out.push((name.to_vec(), value));
        }
    }
}

/// Leaves out whatever stands between two parameters, comments and stray strings included.
fn skip_to_semicolon(cursor: &mut Cursor<'_>) {
    loop {
        cursor.take_while(|b| !matches!(b, b';' | b'(' | b'"'));
        match cursor.peek() {
            Some(b'(') => cursor.skip_cfws(),
            Some(b'"') => drop(cursor.quoted()),
            _ => {
                cursor.eat(b';');
                return;
            }
        }
    }
}

fn parameter_value(cursor: &mut Cursor<'_>, name: &[u8]) -> Vec<u8> {
    if cursor.peek() == Some(b'"') {
        return cursor.quoted().0.into_owned();
    }
    if name.eq_ignore_ascii_case(b"name") || name.eq_ignore_ascii_case(b"filename") {
        // Written without quotes by mailers that did not think of names with blanks.
        return trim_end(cursor.take_while(|b| b != b';')).to_vec();
    }
    // More than token allows: `boundary=a=b` and `charset=x:y` are common and can only mean one thing.
    cursor.take_while(|b| b != b';' && b != b'(' && !is_blank(b)).to_vec()
}

/// The value of a parameter, as it stands.
pub fn raw<'a, B: AsRef<[u8]>>(params: &'a [(B, B)], name: &str) -> Option<&'a [u8]> {
    params.iter().find(|(n, _)| n.as_ref().eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v.as_ref())
}

/// The value of a parameter for people: RFC 2231 extended and continued forms first, then the plain one with encoded-words decoded.
pub fn decoded<B: AsRef<[u8]>>(params: &[(B, B)], name: &str) -> Option<String> {
    if let Some((charset, bytes)) = extended(params, name) {
        return Some(charset::decode(charset.as_deref(), &bytes));
    }
    raw(params, name).map(word::decode)
}

/// The boundary (RFC 2046 5.1.1): the plain parameter, else an RFC 2231 form. White space at its end cannot be part of it. None when it is
/// empty or longer than [`crate::limits::MAX_BOUNDARY`].
pub fn boundary<B: AsRef<[u8]>>(params: &[(B, B)]) -> Option<Vec<u8>> {
    let value = match raw(params, "boundary") {
        Some(value) => value.to_vec(),
        None => extended(params, "boundary")?.1,
    };
    let value = trim_end(&value);
    (!value.is_empty() && value.len() <= crate::limits::MAX_BOUNDARY && !value.contains(&b'\n')).then(|| value.to_vec())
}

/// RFC 2231 3 and 4: `name*=charset'language'%41`, or `name*0*=`, `name*1=`, ... in any order. Charset, if given, and bytes.
fn extended<B: AsRef<[u8]>>(params: &[(B, B)], name: &str) -> Option<(Option<Vec<u8>>, Vec<u8>)> {
    let mut pieces: Vec<(usize, bool, &[u8])> = Vec::new();
    for (attribute, value) in params {
        let Some((stem, suffix)) = attribute.as_ref().split_at_checked(name.len()) else { continue };
        let Some(suffix) = suffix.strip_prefix(b"*").filter(|_| stem.eq_ignore_ascii_case(name.as_bytes())) else { continue };
        if suffix.is_empty() {
            let (charset, text) = charset_of(value.as_ref());
            return Some((charset, percent_decode(text)));
        }
        let (digits, encoded) = suffix.strip_suffix(b"*").map_or((suffix, false), |d| (d, true));
        if let Some(number) = std::str::from_utf8(digits).ok().and_then(|d| d.parse().ok()) {
            pieces.push((number, encoded, value.as_ref()));
        }
    }
    pieces.sort_by_key(|(number, ..)| *number);
    let mut charset = None;
    let mut bytes = Vec::new();
    // A gap ends the value.
    for (expected, (number, encoded, value)) in pieces.into_iter().enumerate() {
        if number != expected {
            break;
        }
        let text = if encoded && number == 0 {
            let (found, text) = charset_of(value);
            charset = found;
            text
        } else {
            value
        };
        if encoded {
            bytes.append(&mut percent_decode(text));
        } else {
            bytes.extend_from_slice(text);
        }
    }
    (!bytes.is_empty()).then_some((charset, bytes))
}

/// `charset'language'text`; without quotes the whole is text.
fn charset_of(value: &[u8]) -> (Option<Vec<u8>>, &[u8]) {
    let mut parts = value.splitn(3, |b| *b == b'\'');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(charset), Some(_language), Some(text)) => (Some(charset.to_vec()).filter(|c| !c.is_empty()), text),
        _ => (None, value),
    }
}

fn percent_decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if let (b'%', [high, low, after @ ..]) = (first, tail)
            && let (Some(h), Some(l)) = (transfer::hex(*high), transfer::hex(*low))
        {
            out.push(h * 16 + l);
            rest = after;
            continue;
        }
        out.push(*first);
    }
    out
}

/// Reads an unfolded Content-Transfer-Encoding (RFC 2045 6.1): one token; comments and what stands behind a `;` are left out.
pub fn encoding(value: &[u8]) -> pure_index::Encoding {
    use pure_index::Encoding;
    let mut cursor = Cursor::new(value);
    cursor.skip_cfws();
    let token = cursor.take_while(is_token);
    cursor.skip_cfws();
    if matches!(cursor.peek(), None | Some(b';')) {
        for (name, encoding) in [
            ("7bit", Encoding::SevenBit),
            ("8bit", Encoding::EightBit),
            ("binary", Encoding::Binary),
            ("quoted-printable", Encoding::QuotedPrintable),
            ("base64", Encoding::Base64),
        ] {
            if token.eq_ignore_ascii_case(name.as_bytes()) {
                return encoding;
            }
        }
    }
    let value = trim(value);
    if value.is_empty() { Encoding::SevenBit } else { Encoding::Other(value.to_vec().into()) }
}

/// Reads an unfolded Content-Language (RFC 3282 2): tags separated by commas.
pub fn languages(value: &[u8]) -> Vec<Vec<u8>> {
    let mut cursor = Cursor::new(value);
    let mut out = Vec::new();
    while !cursor.is_empty() && out.len() < crate::limits::MAX_LANGUAGES {
        cursor.skip_cfws();
        let tag = cursor.take_while(|b| b != b',' && b != b'(' && !is_blank(b));
        if !tag.is_empty() {
            out.push(tag.to_vec());
        }
        cursor.skip_cfws();
        cursor.take_while(|b| b != b',');
        cursor.eat(b',');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(value: &str) -> Vec<(String, String)> {
        let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
        content_type(value.as_bytes()).unwrap().params.into_iter().map(|(n, v)| (text(n), text(v))).collect()
    }

    fn of(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn content_types() {
        assert_eq!(params("text/plain; charset=us-ascii (Plain text)"), of(&[("charset", "us-ascii")]));
        assert_eq!(params("text/plain;charset=\"us-\\ascii\" ; format = flowed;;"), of(&[("charset", "us-ascii"), ("format", "flowed")]));
        assert_eq!(params("a/b; name=my file.txt; x=\"a;b\" junk; y=1"), of(&[("name", "my file.txt"), ("x", "a;b"), ("y", "1")]));
        assert_eq!(params("a/b; boundary=----=_Part/1:2"), of(&[("boundary", "----=_Part/1:2")]));
        assert_eq!(params("a/b; x=\"open"), of(&[("x", "open")]));
        assert_eq!(params("a/b; x=1; X=2; y"), of(&[("x", "1")]));
        for bad in ["", "text", "text/", "/plain", "text plain", "(c", ";charset=x"] {
            assert_eq!(content_type(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(content_type(b" (c) text (c) / (c) html (c)").unwrap().subtype, b"html");
    }

    /// Attack case MIME-08: one boundary, whoever reads it.
    #[test]
    fn boundaries() {
        let of = |value: &str| boundary(&content_type(format!("multipart/mixed; {value}").as_bytes()).unwrap().params);
        for (value, expected) in [
            ("boundary=a", Some("a")),
            ("boundary=b; boundary=a", Some("b")),
            ("boundary=\"a \"", Some("a")),
            ("boundary=\"a b\"", Some("a b")),
            ("boundary=\"\"", None),
            ("boundary=", None),
            ("boundary*=us-ascii''a", Some("a")),
            ("boundary*0=x; boundary*1=y; boundary=a", Some("a")),
            ("boundary*1=y; boundary*0=x", Some("xy")),
            ("boundary=(comment)a", Some("a")),
            ("boundary==?utf-8?q?a?=", Some("=?utf-8?q?a?=")),
        ] {
            assert_eq!(of(value).as_deref(), expected.map(str::as_bytes), "{value}");
        }
        assert_eq!(of(&format!("boundary={}", "a".repeat(999))), None);
    }

    /// Attack case MIME-08: one file name, whoever reads it.
    #[test]
    fn file_names() {
        let of = |value: &str| decoded(&disposition(format!("attachment; {value}").as_bytes()).unwrap().1, "filename");
        for (value, expected) in [
            ("filename=a.txt", "a.txt"),
            ("filename*0=\"evil.ex\"; filename*1=\"e\"", "evil.exe"),
            ("filename=a.txt; filename*=utf-8''evil.exe", "evil.exe"),
            ("filename=a.txt; filename=evil.exe", "a.txt"),
            ("filename*1*=%C3%A4; filename*0*=utf-8'de'b; filename*2=\"%41\"", "b\u{e4}%41"),
            ("filename*0=a; filename*2=c", "a"),
            ("filename*=iso-8859-1''%E4%zz", "\u{e4}%zz"),
            ("filename*=plain", "plain"),
            ("filename=\"=?utf-8?q?=C3=A4?=\"", "\u{e4}"),
        ] {
            assert_eq!(of(value).as_deref(), Some(expected), "{value}");
        }
        assert_eq!(disposition(b"; filename=x").unwrap().0, b"attachment");
        assert_eq!(disposition(b" "), None);
    }

    #[test]
    fn encodings() {
        use pure_index::Encoding;
        for (value, expected) in [
            ("BASE64", Encoding::Base64),
            ("(c) quoted-printable (c)", Encoding::QuotedPrintable),
            ("7bit;", Encoding::SevenBit),
            ("base64;x", Encoding::Base64),
            ("", Encoding::SevenBit),
            ("\"base64\"", Encoding::Other(b"\"base64\"".to_vec().into())),
            ("base64 7bit", Encoding::Other(b"base64 7bit".to_vec().into())),
            ("x-uuencode", Encoding::Other(b"x-uuencode".to_vec().into())),
        ] {
            assert_eq!(encoding(value.as_bytes()), expected, "{value}");
        }
        assert_eq!(languages(b"en, de (German) , ,fr x"), [b"en".to_vec(), b"de".to_vec(), b"fr".to_vec()]);
    }
}
