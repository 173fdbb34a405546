//! The journal, spoken to in its own protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>) on a socket that was handed over connected:
//! a confined process can neither make such a socket nor name the journal's.
//!
//! * One event is one datagram, and so one entry: no value begins another.
//! * Every value stands behind its length, never behind a line's end: no value ends early or begins another field, whatever is in it.
//! * Names of fields come from the source alone; what the journal would refuse in one is taken out.
//! * What is longer than [`MAX_VALUE`] is cut and says so; fields beyond [`MAX_ENTRY`] are left out.

use std::{
    fmt::{self, Write},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::Context;

/// Fields become `POSTERN_SESSION`, `POSTERN_MESSAGE`, `POSTERN_ACCOUNT`, `POSTERN_PEER`, ...; the text of an event is `MESSAGE`.
const PREFIX: &str = "POSTERN_";
/// Bytes of a field's name, as the journal has it.
const MAX_NAME: usize = 64;
/// Bytes of one value.
const MAX_VALUE: usize = 16 * 1024;
/// Bytes of one entry: one datagram, which every kernel takes (the buffer of a socket is 208 KiB unless somebody made it smaller).
const MAX_ENTRY: usize = 64 * 1024;
/// Behind what was cut.
const CUT: &str = " [cut]";

/// The layer that writes events to the journal.
#[derive(Debug)]
pub(crate) struct Journal {
    socket: UnixDatagram,
    identifier: String,
}

impl Journal {
    /// On a datagram socket that is connected to the journal.
    pub(crate) fn new(socket: OwnedFd, identifier: String) -> Self {
        Self { socket: socket.into(), identifier }
    }

    fn entry(&self, event: &Event<'_>) -> Vec<u8> {
        let metadata = event.metadata();
        let mut entry = Entry::default();
        entry.put("PRIORITY", format_args!("{}", priority(*metadata.level())));
        entry.put("SYSLOG_IDENTIFIER", format_args!("{}", self.identifier));
        entry.put("TARGET", format_args!("{}", metadata.target()));
        if let Some(file) = metadata.file() {
            entry.put("CODE_FILE", format_args!("{file}"));
        }
        if let Some(line) = metadata.line() {
            entry.put("CODE_LINE", format_args!("{line}"));
        }
        event.record(&mut entry);
        entry.0
    }
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // A journal that does not take it is no reason to stop.
        let _ = self.socket.send(&self.entry(event));
    }
}

/// syslog(3): error, warning, notice, informational, debug.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 5,
        Level::DEBUG => 6,
        Level::TRACE => 7,
    }
}

/// The fields of one entry as the journal reads them: the name, a line's end, 64 bits of length in little endian, the value, a line's end.
#[derive(Debug, Default)]
struct Entry(Vec<u8>);

impl Entry {
    fn put(&mut self, name: &str, value: fmt::Arguments<'_>) {
        let mut bounded = Bounded::default();
        // It fails where it has cut.
        let _ = bounded.write_fmt(value);
        let value = bounded.finish();
        const AROUND: usize = 2 + size_of::<u64>();
        let length = name.len().saturating_add(value.len()).saturating_add(AROUND);
        if self.0.len().saturating_add(length) > MAX_ENTRY {
            return;
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.0.extend_from_slice(&u64::try_from(value.len()).unwrap_or(u64::MAX).to_le_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(&name(field.name()), format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(&name(field.name()), format_args!("{value:?}"));
    }
}

/// The name of a field: capital letters, digits and underscores, and with our prefix, so that it is none that the journal itself gives.
fn name(field: &str) -> String {
    if field == "message" {
        return "MESSAGE".into();
    }
    let kept = field.chars().map(|c| if c == '.' { '_' } else { c }).filter(|c| c.is_ascii_alphanumeric() || *c == '_');
    PREFIX.chars().chain(kept.map(|c| c.to_ascii_uppercase()).skip_while(|c| *c == '_')).take(MAX_NAME).collect()
}

/// Takes text up to [`MAX_VALUE`] and refuses what comes after, so that it is not even made.
#[derive(Debug, Default)]
struct Bounded {
    text: String,
    cut: bool,
}

impl Bounded {
    fn finish(mut self) -> String {
        if self.cut {
            self.text.push_str(CUT);
        }
        self.text
    }
}

impl Write for Bounded {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let room = MAX_VALUE.saturating_sub(self.text.len());
        self.text.push_str(piece.get(..piece.floor_char_boundary(room)).unwrap_or_default());
        self.cut |= piece.len() > room;
        if self.cut { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    /// What the journal gets when `log` runs, one datagram each.
    fn entries(log: impl FnOnce()) -> Vec<Vec<u8>> {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let journal = Journal::new(ours.into(), "postern-test".into());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), log);
        let mut datagram = vec![0; 2 * MAX_ENTRY];
        std::iter::from_fn(|| theirs.recv(&mut datagram).ok().map(|length| datagram.get(..length).unwrap().to_vec())).collect()
    }

    /// Reads an entry as the journal does (`journal-importer.c`, by the protocol's description): both forms of a field.
    fn read(mut entry: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut fields = Vec::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|b| *b == b'\n').unwrap();
            let (line, rest) = entry.split_at(end);
            let rest = rest.split_first().unwrap().1;
            let line = String::from_utf8(line.to_vec()).unwrap();
            assert!(!line.contains('='), "no field is ended by what is in it: {line}");
            let (length, rest) = rest.split_first_chunk::<8>().unwrap();
            let (value, rest) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
            fields.push((line, value.to_vec()));
            entry = rest.strip_prefix(b"\n").unwrap();
        }
        fields
    }

    fn value<'a>(fields: &'a [(String, Vec<u8>)], name: &str) -> &'a str {
        let mut found = fields.iter().filter(|(n, _)| n == name);
        let (_, value) = found.next().unwrap();
        assert!(found.next().is_none(), "{name} twice");
        std::str::from_utf8(value).unwrap()
    }

    #[test]
    fn an_event_is_one_entry_with_its_fields() {
        let peer: std::net::IpAddr = [192, 0, 2, 1].into();
        let all = entries(|| {
            tracing::warn!(MESSAGE = 7_u64, session = "s1", %peer, secure = true, none = Option::<u8>::None, "accepted");
            tracing::error!(target: "elsewhere", error = %std::io::Error::other("no"), "failed {}", 1);
        });
        let [first, second] = all.as_slice() else { panic!("{all:?}") };
        let fields = read(first);
        let expected = [
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "postern-test"),
            ("TARGET", module_path!()),
            ("CODE_FILE", file!()),
            ("MESSAGE", "accepted"),
            ("POSTERN_MESSAGE", "7"),
            ("POSTERN_SESSION", "s1"),
            ("POSTERN_PEER", "192.0.2.1"),
            ("POSTERN_SECURE", "true"),
        ];
        for (name, text) in expected {
            assert_eq!(value(&fields, name), text, "{name}");
        }
        assert!(value(&fields, "CODE_LINE").parse::<u32>().is_ok());
        assert_eq!(fields.len(), expected.len() + 1, "what is not there is no field");
        let fields = read(second);
        assert_eq!((value(&fields, "PRIORITY"), value(&fields, "TARGET")), ("3", "elsewhere"));
        assert_eq!((value(&fields, "MESSAGE"), value(&fields, "POSTERN_ERROR")), ("failed 1", "no"));
    }

    #[test]
    fn no_value_becomes_a_field_or_an_entry() {
        let hostile = [
            "",
            "\n",
            "x\nOWNED=1\nMESSAGE=owned\nPRIORITY=0",
            "x\n\nOWNED=1\n",
            "OWNED\n\u{1}\0\0\0\0\0\0\0y\n",
            "\0\r\n\u{85}\u{2028}\u{1b}[2K",
            "_PID=1",
        ];
        for text in hostile {
            let all = entries(|| tracing::info!(said = text, shown = %text, "{text}"));
            assert_eq!(all.len(), 1, "{text:?}");
            let fields = read(all.first().unwrap());
            for name in ["POSTERN_SAID", "POSTERN_SHOWN", "MESSAGE"] {
                assert_eq!(value(&fields, name), text, "{name}");
            }
            assert_eq!(value(&fields, "PRIORITY"), "5");
            assert_eq!(fields.len(), 8, "{text:?}");
        }
    }

    #[test]
    fn a_name_is_what_the_journal_takes() {
        assert_eq!(name("message"), "MESSAGE");
        assert_eq!(name("log.module_path"), "POSTERN_LOG_MODULE_PATH");
        assert_eq!(name("r#type"), "POSTERN_RTYPE");
        assert_eq!(name("__pid"), "POSTERN_PID");
        assert_eq!(name("_PID=1\nä b"), "POSTERN_PID1B");
        assert_eq!(name(&"x".repeat(100)).len(), MAX_NAME);
    }

    #[test]
    fn what_is_too_long_is_cut_and_the_entry_still_comes() {
        // One past the limit, and two bytes that must not be parted across it.
        for (text, kept) in [
            ("x".repeat(MAX_VALUE), MAX_VALUE),
            ("x".repeat(MAX_VALUE + 1), MAX_VALUE),
            (format!("{}ä", "x".repeat(MAX_VALUE - 1)), MAX_VALUE - 1),
            ("ä\n".repeat(MAX_ENTRY), MAX_VALUE / 3 * 3),
        ] {
            let all = entries(|| tracing::info!(text, "long"));
            let fields = read(all.first().unwrap());
            let expected = if text.len() > kept { format!("{}{CUT}", text.get(..kept).unwrap()) } else { text.clone() };
            assert!(value(&fields, "POSTERN_TEXT") == expected, "{}", text.len());
            assert_eq!(value(&fields, "MESSAGE"), "long");
        }
        let long = "\n".repeat(2 * MAX_VALUE);
        let all = entries(|| tracing::info!(a = long, b = long, c = long, d = long, e = 1, "the end"));
        assert!(all.first().unwrap().len() <= MAX_ENTRY);
        let fields = read(all.first().unwrap());
        assert_eq!((value(&fields, "MESSAGE"), value(&fields, "POSTERN_E")), ("the end", "1"));
        assert!(!fields.iter().any(|(name, _)| name == "POSTERN_D"), "left out whole");
    }
}
