//! Text of an HTML document, for searching and previews: a state machine that sees every character once and keeps a few bytes.
//!
//! It is no HTML parser and must never be used to make HTML safe; it only decides what a reader would probably see.

/// Longest character reference that is looked at.
const MAX_REFERENCE: usize = 32;
/// Longest element name that matters here.
const MAX_NAME: usize = 16;

/// Takes out the tags of a document that comes in pieces.
#[derive(Debug, Default)]
pub struct Stripper {
    state: State,
    /// The name of a tag, or a character reference without its `&`.
    buffer: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Reference,
    /// After `<`.
    TagOpen,
    TagName,
    /// Inside a tag, behind its name; the quote around an attribute's value, if any.
    Tag(Option<char>),
    /// After `<!` or `<?`, up to `>`.
    Declaration,
    /// After `<!-` or in a comment: dashes seen at the end.
    Comment(u8),
    /// Inside an element without visible text: the end tag, and how much of it was just seen.
    Raw(&'static str, usize),
}

impl Stripper {
    /// Reads the next piece.
    pub fn push(&mut self, text: &str, out: &mut String) {
        for c in text.chars() {
            self.step(c, out);
        }
    }

    /// What was held back until the end was known.
    pub fn finish(mut self, out: &mut String) {
        match self.state {
            State::Reference => self.reference(None, out),
            State::TagOpen => out.push('<'),
            _ => {}
        }
    }

    fn step(&mut self, c: char, out: &mut String) {
        self.state = match self.state {
            State::Text => return self.text(c, out),
            State::Reference => {
                if c.is_ascii_alphanumeric() || (c == '#' && self.buffer.is_empty()) {
                    if self.buffer.len() < MAX_REFERENCE {
                        self.buffer.push(c);
                        return;
                    }
                    self.reference(Some(c), out);
                } else if c == ';' {
                    self.reference(Some(';'), out);
                } else {
                    self.reference(None, out);
                    self.state = State::Text;
                    return self.text(c, out);
                }
                State::Text
            }
            State::TagOpen => match c {
                'a'..='z' | 'A'..='Z' | '/' => {
                    self.buffer.clear();
                    self.buffer.push(c.to_ascii_lowercase());
                    State::TagName
                }
                '!' | '?' => {
                    self.buffer.clear();
                    State::Declaration
                }
                _ => {
                    out.push('<');
                    self.state = State::Text;
                    return self.text(c, out);
                }
            },
            State::TagName => match c {
                '>' => self.end_tag(out),
                c if c.is_ascii_alphanumeric() => {
                    if self.buffer.len() < MAX_NAME {
                        self.buffer.push(c.to_ascii_lowercase());
                    }
                    State::TagName
                }
                _ => State::Tag(None),
            },
            State::Tag(None) => match c {
                '>' => self.end_tag(out),
                '"' | '\'' => State::Tag(Some(c)),
                _ => State::Tag(None),
            },
            State::Tag(Some(quote)) => State::Tag(Some(quote).filter(|q| *q != c)),
            State::Declaration => match c {
                '>' => State::Text,
                '-' if self.buffer.is_empty() => {
                    self.buffer.push(c);
                    State::Declaration
                }
                '-' if self.buffer == "-" => State::Comment(2),
                _ => {
                    self.buffer.push_str("--");
                    self.buffer.truncate(3);
                    State::Declaration
                }
            },
            State::Comment(dashes) => match c {
                '-' => State::Comment(dashes.saturating_add(1)),
                '>' if dashes >= 2 => State::Text,
                _ => State::Comment(0),
            },
            State::Raw(end, seen) => {
                let c = c.to_ascii_lowercase();
                if end.chars().nth(seen) == Some(c) {
                    if seen + 1 == end.len() { State::Tag(None) } else { State::Raw(end, seen + 1) }
                } else {
                    State::Raw(end, usize::from(c == '<'))
                }
            }
        };
    }

    fn text(&mut self, c: char, out: &mut String) {
        match c {
            '<' => self.state = State::TagOpen,
            '&' => {
                self.buffer.clear();
                self.state = State::Reference;
            }
            c => out.push(c),
        }
    }

    /// The `>` of a tag.
    fn end_tag(&mut self, out: &mut String) -> State {
        let name = std::mem::take(&mut self.buffer);
        match name.as_str() {
            "script" => return State::Raw("</script", 0),
            "style" => return State::Raw("</style", 0),
            "title" => return State::Raw("</title", 0),
            _ => {}
        }
        // Words go on across these; everything else separates them.
        let bare = name.strip_prefix('/').unwrap_or(&name);
        const INLINE: [&str; 22] = [
            "a", "abbr", "acronym", "b", "big", "code", "em", "font", "i", "ins", "del", "kbd", "mark", "s", "small", "span", "strike",
            "strong", "sub", "sup", "u", "wbr",
        ];
        if !INLINE.contains(&bare) {
            out.push(' ');
        }
        State::Text
    }

    /// Writes what the buffer refers to, or the buffer itself. `end` was read and belongs to it.
    fn reference(&mut self, end: Option<char>, out: &mut String) {
        let buffer = std::mem::take(&mut self.buffer);
        match character(&buffer) {
            Some(c) => {
                out.push(c);
                out.extend(end.filter(|e| *e != ';'));
            }
            None => {
                out.push('&');
                out.push_str(&buffer);
                out.extend(end);
            }
        }
    }
}

fn character(reference: &str) -> Option<char> {
    let Some(number) = reference.strip_prefix('#') else {
        return NAMED.iter().find(|(name, _)| *name == reference).map(|(_, c)| *c);
    };
    let code = match number.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
        None => number.parse().ok()?,
    };
    match code {
        0 => Some(char::REPLACEMENT_CHARACTER),
        // As all browsers do: these numbers were meant in windows-1252.
        0x80..=0x9f => {
            let byte = u8::try_from(code).ok()?;
            crate::charset::decode(Some(b"windows-1252"), &[byte]).chars().next()
        }
        _ => Some(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)),
    }
}

/// The character references of mail: markup, Latin-1, typography, a few symbols.
const NAMED: [(&str, char); 131] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", '\u{a0}'),
    ("iexcl", '¡'),
    ("cent", '¢'),
    ("pound", '£'),
    ("curren", '¤'),
    ("yen", '¥'),
    ("brvbar", '¦'),
    ("sect", '§'),
    ("uml", '¨'),
    ("copy", '©'),
    ("ordf", 'ª'),
    ("laquo", '«'),
    ("not", '¬'),
    ("shy", '\u{ad}'),
    ("reg", '®'),
    ("macr", '¯'),
    ("deg", '°'),
    ("plusmn", '±'),
    ("sup2", '²'),
    ("sup3", '³'),
    ("acute", '´'),
    ("micro", 'µ'),
    ("para", '¶'),
    ("middot", '·'),
    ("cedil", '¸'),
    ("sup1", '¹'),
    ("ordm", 'º'),
    ("raquo", '»'),
    ("frac14", '¼'),
    ("frac12", '½'),
    ("frac34", '¾'),
    ("iquest", '¿'),
    ("Agrave", 'À'),
    ("Aacute", 'Á'),
    ("Acirc", 'Â'),
    ("Atilde", 'Ã'),
    ("Auml", 'Ä'),
    ("Aring", 'Å'),
    ("AElig", 'Æ'),
    ("Ccedil", 'Ç'),
    ("Egrave", 'È'),
    ("Eacute", 'É'),
    ("Ecirc", 'Ê'),
    ("Euml", 'Ë'),
    ("Igrave", 'Ì'),
    ("Iacute", 'Í'),
    ("Icirc", 'Î'),
    ("Iuml", 'Ï'),
    ("ETH", 'Ð'),
    ("Ntilde", 'Ñ'),
    ("Ograve", 'Ò'),
    ("Oacute", 'Ó'),
    ("Ocirc", 'Ô'),
    ("Otilde", 'Õ'),
    ("Ouml", 'Ö'),
    ("times", '×'),
    ("Oslash", 'Ø'),
    ("Ugrave", 'Ù'),
    ("Uacute", 'Ú'),
    ("Ucirc", 'Û'),
    ("Uuml", 'Ü'),
    ("Yacute", 'Ý'),
    ("THORN", 'Þ'),
    ("szlig", 'ß'),
    ("agrave", 'à'),
    ("aacute", 'á'),
    ("acirc", 'â'),
    ("atilde", 'ã'),
    ("auml", 'ä'),
    ("aring", 'å'),
    ("aelig", 'æ'),
    ("ccedil", 'ç'),
    ("egrave", 'è'),
    ("eacute", 'é'),
    ("ecirc", 'ê'),
    ("euml", 'ë'),
    ("igrave", 'ì'),
    ("iacute", 'í'),
    ("icirc", 'î'),
    ("iuml", 'ï'),
    ("eth", 'ð'),
    ("ntilde", 'ñ'),
    ("ograve", 'ò'),
    ("oacute", 'ó'),
    ("ocirc", 'ô'),
    ("otilde", 'õ'),
    ("ouml", 'ö'),
    ("divide", '÷'),
    ("oslash", 'ø'),
    ("ugrave", 'ù'),
    ("uacute", 'ú'),
    ("ucirc", 'û'),
    ("uuml", 'ü'),
    ("yacute", 'ý'),
    ("thorn", 'þ'),
    ("yuml", 'ÿ'),
    ("OElig", 'Œ'),
    ("oelig", 'œ'),
    ("Scaron", 'Š'),
    ("scaron", 'š'),
    ("Yuml", 'Ÿ'),
    ("fnof", 'ƒ'),
    ("ensp", '\u{2002}'),
    ("emsp", '\u{2003}'),
    ("thinsp", '\u{2009}'),
    ("zwnj", '\u{200c}'),
    ("zwj", '\u{200d}'),
    ("ndash", '–'),
    ("mdash", '—'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("sbquo", '‚'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("bdquo", '„'),
    ("dagger", '†'),
    ("bull", '•'),
    ("hellip", '…'),
    ("permil", '‰'),
    ("lsaquo", '‹'),
    ("rsaquo", '›'),
    ("euro", '€'),
    ("trade", '™'),
    ("larr", '←'),
    ("rarr", '→'),
    ("check", '✓'),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(html: &str) -> String {
        let whole = {
            let (mut stripper, mut out) = (Stripper::default(), String::new());
            stripper.push(html, &mut out);
            stripper.finish(&mut out);
            out
        };
        let (mut stripper, mut out) = (Stripper::default(), String::new());
        html.chars().for_each(|c| stripper.push(&c.to_string(), &mut out));
        stripper.finish(&mut out);
        assert_eq!(whole, out, "pieces of {html}");
        whole.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn text_of_documents() {
        for (html, expected) in [
            ("<p>Hel<b>lo</b></p><p>World</p>", "Hello World"),
            ("a<br/>b<br>c", "a b c"),
            ("<style>p { a > b }</style>x<SCRIPT type='a'>if (a</b) '<script' </scripty</Script >y", "x y"),
            ("<!DOCTYPE html><!-- a > b -- c -->x<!-->y<!--z", "xy"),
            ("<!---->a<!-- b -->c<![if x]>d<?pi?>e", "acde"),
            ("<a title=\"a > b\" href='>'>link</a>", "link"),
            ("1 < 2 &lt; 3 <", "1 < 2 < 3 <"),
            (
                "f&uuml;r &#228; &#xE4; &euro;5 &#128; AT&T &copy2 &; &unknown; &#xFFFFFFFF; &#0;",
                "für ä ä €5 € AT&T &copy2 &; &unknown; \u{fffd} \u{fffd}",
            ),
            ("a&nbsp;b&amp", "a b&"),
            ("<head><title>not shown</title></head>x", "x"),
            ("<unclosed", ""),
            ("</>x", "x"),
        ] {
            assert_eq!(strip(html), expected, "{html}");
        }
    }

    /// Attack case INJ-02: no input is code.
    #[test]
    fn odd_input_is_harmless() {
        let long = format!("&{}; <{}>", "a".repeat(10_000), "b".repeat(10_000));
        assert!(strip(&long).starts_with("&aaa"));
        strip("<!-<!--<!-->");
        strip("\u{0}<\u{ff}&\u{ff}");
    }
}
