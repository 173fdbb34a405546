//! `postern.toml`.

pub(super) const WORDS: &[&str] = &[
    "[domains.\"a.test\"]",
    "[accounts.\"a@a.test\"]",
    "[limits]",
    "[send]",
    "[send.smarthosts.x]",
    "[dkim]",
    "[dns]",
    "hostname = ",
    "alias_of = ",
    "\"\"\"",
    "'''",
    "{",
    "}",
    "[[",
    "]]",
    "= true",
    "1d",
    "50MiB",
    "1979-05-27T07:32:00Z",
    "inf",
    "\\u0000",
];

pub(super) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let lines = text.lines().count().max(1);
    if let Err(errors) = pure_config::Config::parse(text) {
        assert!(!errors.is_empty());
        for error in errors {
            assert!((1..=lines + 1).contains(&error.line), "{error:?}");
            assert!(!error.to_string().is_empty());
        }
    }
}
