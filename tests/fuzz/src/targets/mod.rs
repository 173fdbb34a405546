//! The targets, and what holds of each whatever it is given.

mod answers;
mod client;
mod config;
mod frames;
mod http;
mod imap;
mod mime;
mod names;
mod origin;
mod sasl;
mod smtp;
mod srs;
mod texts;
mod threads;

/// One thing to be fuzzed.
#[derive(Debug)]
pub struct Target {
    /// Its name on the command line, and its folder below `corpus`.
    pub name: &'static str,
    /// Runs one input; a panic is a finding.
    pub run: fn(&[u8]),
    /// Where its inputs begin.
    pub seeds: Seeds,
    /// Words of its language.
    pub words: &'static [&'static str],
}

/// Where a target's first inputs come from, beside `corpus/TARGET`.
#[derive(Debug, Clone, Copy)]
pub enum Seeds {
    /// tests/dialogues/smtp.
    Smtp,
    /// tests/dialogues/imap.
    Imap,
    /// tests/fixtures/mail.
    Messages,
    /// The example beside the crate that reads the configuration.
    Config,
    /// Made here.
    Made(fn() -> Vec<Vec<u8>>),
}

/// All of them.
pub static TARGETS: [Target; 19] = [
    Target { name: "smtp-mx", run: smtp::mx, seeds: Seeds::Smtp, words: smtp::WORDS },
    Target { name: "smtp-submission", run: smtp::submission, seeds: Seeds::Smtp, words: smtp::WORDS },
    Target { name: "imap-login", run: imap::before_login, seeds: Seeds::Imap, words: imap::WORDS },
    Target { name: "imap-session", run: imap::after_login, seeds: Seeds::Imap, words: imap::WORDS },
    Target { name: "threads", run: threads::run, seeds: Seeds::Made(threads::seeds), words: threads::WORDS },
    Target { name: "smtp-client", run: client::run, seeds: Seeds::Made(client::seeds), words: client::WORDS },
    Target { name: "message", run: mime::message, seeds: Seeds::Messages, words: mime::WORDS },
    Target { name: "seven-bit", run: mime::seven_bit, seeds: Seeds::Messages, words: mime::WORDS },
    Target { name: "field", run: mime::field, seeds: Seeds::Made(mime::fields), words: mime::WORDS },
    Target { name: "names", run: names::run, seeds: Seeds::Made(names::seeds), words: names::WORDS },
    Target { name: "dkim", run: texts::dkim, seeds: Seeds::Messages, words: mime::WORDS },
    Target { name: "origin", run: origin::run, seeds: Seeds::Made(origin::seeds), words: origin::WORDS },
    Target { name: "policies", run: texts::policies, seeds: Seeds::Made(texts::seeds), words: texts::WORDS },
    Target { name: "config", run: config::run, seeds: Seeds::Config, words: config::WORDS },
    Target { name: "sasl", run: sasl::run, seeds: Seeds::Made(sasl::seeds), words: sasl::WORDS },
    Target { name: "srs", run: srs::run, seeds: Seeds::Made(srs::seeds), words: srs::WORDS },
    Target { name: "http", run: http::run, seeds: Seeds::Made(http::seeds), words: http::WORDS },
    Target { name: "answers", run: answers::run, seeds: Seeds::Made(answers::seeds), words: answers::WORDS },
    Target { name: "frames", run: frames::run, seeds: Seeds::Made(frames::seeds), words: frames::WORDS },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Whether CR and LF stand only as CRLF, and NUL nowhere.
fn has_only_crlf(content: &[u8]) -> bool {
    let crlf = content.windows(2).filter(|pair| pair == b"\r\n").count();
    let count = |byte: u8| content.iter().filter(|b| **b == byte).count();
    count(b'\r') == crlf && count(b'\n') == crlf && count(0) == 0
}
