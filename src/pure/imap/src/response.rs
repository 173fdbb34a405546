//! The answers of a server, one function each (RFC 9051 7).

use crate::{
    command::{FetchItem, Partial, SearchReturn, StatusItem, Tag},
    flag::Flag,
    out::Out,
    section::{Section, SectionText},
    sequence::Ranges,
};
use pure_addr::MailboxName;

/// The kind of a status answer (RFC 9051 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Done.
    Ok,
    /// Not done.
    No,
    /// Not understood.
    Bad,
    /// The end.
    Bye,
}

/// A response code (RFC 9051 7.1, RFC 5530, RFC 7162, RFC 8474).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    /// A code without arguments, such as `TRYCREATE`.
    Plain(&'static str),
    /// `CAPABILITY` and the capabilities.
    Capability(String),
    /// `UIDNEXT`.
    UidNext(u32),
    /// `UIDVALIDITY`.
    UidValidity(u32),
    /// `UNSEEN` (RFC 3501 7.1).
    Unseen(u32),
    /// `PERMANENTFLAGS`; with `\*` when new keywords can be made.
    PermanentFlags(Vec<Flag>, bool),
    /// `HIGHESTMODSEQ`.
    HighestModSeq(u64),
    /// `MODIFIED`.
    Modified(Ranges),
    /// `APPENDUID`.
    AppendUid(u32, Ranges),
    /// `COPYUID`: UIDVALIDITY of the destination, UIDs there were, UIDs there are.
    CopyUid(u32, Ranges, Ranges),
    /// `MAILBOXID`; object ids are atoms.
    MailboxId(String),
    /// `BADCHARSET (US-ASCII UTF-8)`.
    BadCharset,
}

fn code(out: &mut Out, code: &Code) {
    out.text("[");
    match code {
        Code::Plain(name) => out.text(name),
        Code::Capability(list) => out.text("CAPABILITY ").text(list),
        Code::UidNext(n) => out.text("UIDNEXT ").display(n),
        Code::UidValidity(n) => out.text("UIDVALIDITY ").display(n),
        Code::Unseen(n) => out.text("UNSEEN ").display(n),
        Code::PermanentFlags(list, more) => {
            out.text("PERMANENTFLAGS (");
            for (i, flag) in list.iter().enumerate() {
                out.text(if i > 0 { " " } else { "" }).display(flag);
            }
            out.text(match (more, list.is_empty()) {
                (true, true) => "\\*)",
                (true, false) => " \\*)",
                (false, _) => ")",
            })
        }
        Code::HighestModSeq(n) => out.text("HIGHESTMODSEQ ").display(n),
        Code::Modified(set) => out.text("MODIFIED ").display(set),
        Code::AppendUid(validity, uids) => out.text("APPENDUID ").display(validity).text(" ").display(uids),
        Code::CopyUid(validity, from, to) => out.text("COPYUID ").display(validity).text(" ").display(from).text(" ").display(to),
        Code::MailboxId(id) => out.text("MAILBOXID (").text(id).text(")"),
        Code::BadCharset => out.text("BADCHARSET (US-ASCII UTF-8)"),
    };
    out.text("] ");
}

/// `tag OK [code] text`; without a tag it is untagged. `text` is text of this program.
pub fn status(out: &mut Out, tag: Option<&Tag>, condition: Condition, with: Option<&Code>, text: &str) {
    out.text(tag.map_or("*", Tag::as_str)).text(match condition {
        Condition::Ok => " OK ",
        Condition::No => " NO ",
        Condition::Bad => " BAD ",
        Condition::Bye => " BYE ",
    });
    if let Some(with) = with {
        code(out, with);
    }
    out.text(text).end();
}

/// `+ text` (RFC 9051 7.6).
pub fn continuation(out: &mut Out, text: &str) {
    out.text("+ ").text(text).end();
}

/// `(\Seen keyword)`.
pub fn flags(out: &mut Out, flags: &[Flag]) {
    out.text("(");
    for (i, flag) in flags.iter().enumerate() {
        out.text(if i > 0 { " " } else { "" }).display(flag);
    }
    out.text(")");
}

/// `* FLAGS (...)`.
pub fn flags_response(out: &mut Out, list: &[Flag]) {
    out.text("* FLAGS ");
    flags(out, list);
    out.end();
}

/// `* n EXISTS`.
pub fn exists(out: &mut Out, n: u32) {
    out.text("* ").display(n).text(" EXISTS").end();
}

/// `* n RECENT` (RFC 3501 7.3.2).
pub fn recent(out: &mut Out, n: u32) {
    out.text("* ").display(n).text(" RECENT").end();
}

/// `* n EXPUNGE`.
pub fn expunge(out: &mut Out, seq: u32) {
    out.text("* ").display(seq).text(" EXPUNGE").end();
}

/// `* VANISHED` (RFC 7162 3.2.10); nothing for no UIDs.
pub fn vanished(out: &mut Out, uids: &Ranges, earlier: bool) {
    if !uids.is_empty() {
        out.text(if earlier { "* VANISHED (EARLIER) " } else { "* VANISHED " }).display(uids).end();
    }
}

/// Which command a list answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// LIST.
    List,
    /// LSUB.
    Lsub,
}

/// `* LIST (attributes) "/" name`; `child_info` adds `("CHILDINFO" ("SUBSCRIBED"))` (RFC 5258 4).
pub fn list(out: &mut Out, kind: ListKind, attributes: &[&str], name: &str, child_info: bool) {
    out.text(if kind == ListKind::List { "* LIST (" } else { "* LSUB (" });
    for (i, attribute) in attributes.iter().enumerate() {
        out.text(if i > 0 { " " } else { "" }).text(attribute);
    }
    out.text(") ").separator().text(" ");
    out.mailbox_text(name);
    if child_info {
        out.text(" (\"CHILDINFO\" (\"SUBSCRIBED\"))");
    }
    out.end();
}

/// `* STATUS name (...)`; the value of an item that is no number is given as text.
pub fn status_items(out: &mut Out, name: &MailboxName, items: &[(StatusItem, String)]) {
    out.text("* STATUS ").mailbox(name).text(" (");
    for (i, (item, value)) in items.iter().enumerate() {
        out.text(if i > 0 { " " } else { "" }).text(status_name(*item)).text(" ");
        match item {
            StatusItem::MailboxId => out.text("(").text(value).text(")"),
            _ => out.text(value),
        };
    }
    out.text(")").end();
}

fn status_name(item: StatusItem) -> &'static str {
    match item {
        StatusItem::Messages => "MESSAGES",
        StatusItem::Recent => "RECENT",
        StatusItem::UidNext => "UIDNEXT",
        StatusItem::UidValidity => "UIDVALIDITY",
        StatusItem::Unseen => "UNSEEN",
        StatusItem::Deleted => "DELETED",
        StatusItem::Size => "SIZE",
        StatusItem::HighestModSeq => "HIGHESTMODSEQ",
        StatusItem::MailboxId => "MAILBOXID",
        StatusItem::AppendLimit => "APPENDLIMIT",
    }
}

/// The beginning of `* SEARCH`, before its numbers.
pub fn search_begins(out: &mut Out) {
    out.text("* SEARCH");
}

/// One number of it.
pub fn search_number(out: &mut Out, number: u32) {
    out.text(" ").display(number);
}

/// Its end; `(MODSEQ n)` (RFC 7162 3.1.5) only behind numbers.
pub fn search_ends(out: &mut Out, modseq: Option<u64>) {
    if let Some(modseq) = modseq {
        out.text(" (MODSEQ ").display(modseq).text(")");
    }
    out.end();
}

/// `* ESEARCH (TAG ...)` (RFC 9051 7.3.4).
pub fn esearch(out: &mut Out, tag: &Tag, uid: bool, returns: SearchReturn, numbers: &Ranges, modseq: Option<u64>) {
    out.text("* ESEARCH (TAG ").string(tag.as_str().as_bytes()).text(")");
    if uid {
        out.text(" UID");
    }
    if let (true, Some(n)) = (returns.min, numbers.first()) {
        out.text(" MIN ").display(n);
    }
    if let (true, Some(n)) = (returns.max, numbers.last()) {
        out.text(" MAX ").display(n);
    }
    if returns.all && !numbers.is_empty() {
        out.text(" ALL ").display(numbers);
    }
    if returns.count {
        out.text(" COUNT ").display(numbers.count());
    }
    if let Some(modseq) = modseq.filter(|_| !numbers.is_empty()) {
        out.text(" MODSEQ ").display(modseq);
    }
    out.end();
}

/// `* SORT ...` (RFC 5256 BASE.7.2.SORT).
pub fn sort(out: &mut Out, numbers: &[u32]) {
    out.text("* SORT");
    for n in numbers {
        out.text(" ").display(n);
    }
    out.end();
}

/// The name under which FETCH answers an item, up to its value.
pub fn fetch_name(out: &mut Out, item: &FetchItem) {
    match item {
        FetchItem::Envelope => out.text("ENVELOPE"),
        FetchItem::Flags => out.text("FLAGS"),
        FetchItem::InternalDate => out.text("INTERNALDATE"),
        FetchItem::Size => out.text("RFC822.SIZE"),
        FetchItem::Uid => out.text("UID"),
        FetchItem::Body => out.text("BODY"),
        FetchItem::BodyStructure => out.text("BODYSTRUCTURE"),
        FetchItem::ModSeq => out.text("MODSEQ"),
        FetchItem::EmailId => out.text("EMAILID"),
        FetchItem::ThreadId => out.text("THREADID"),
        FetchItem::Rfc822 => out.text("RFC822"),
        FetchItem::Rfc822Header => out.text("RFC822.HEADER"),
        FetchItem::Rfc822Text => out.text("RFC822.TEXT"),
        FetchItem::Section { section, partial, .. } => {
            out.text("BODY");
            section_spec(out, section);
            origin(out, *partial);
            out
        }
        FetchItem::Binary { path, partial, .. } => {
            out.text("BINARY");
            section_spec(out, &Section { path: path.clone(), text: None });
            origin(out, *partial);
            out
        }
        FetchItem::BinarySize(path) => {
            out.text("BINARY.SIZE");
            section_spec(out, &Section { path: path.clone(), text: None });
            out
        }
    };
}

fn origin(out: &mut Out, partial: Option<Partial>) {
    if let Some(partial) = partial {
        out.text("<").display(partial.start).text(">");
    }
}

fn section_spec(out: &mut Out, section: &Section) {
    out.text("[");
    for (i, number) in section.path.iter().enumerate() {
        out.text(if i > 0 { "." } else { "" }).display(number);
    }
    if section.text.is_some() && !section.path.is_empty() {
        out.text(".");
    }
    match &section.text {
        None => {}
        Some(SectionText::Header) => {
            out.text("HEADER");
        }
        Some(SectionText::Text) => {
            out.text("TEXT");
        }
        Some(SectionText::Mime) => {
            out.text("MIME");
        }
        Some(SectionText::Fields { not, names }) => {
            out.text(if *not { "HEADER.FIELDS.NOT (" } else { "HEADER.FIELDS (" });
            for (i, name) in names.iter().enumerate() {
                out.text(if i > 0 { " " } else { "" }).astring(name.as_bytes());
            }
            out.text(")");
        }
    }
    out.text("]");
}

/// `* NAMESPACE`: one personal namespace, no others (RFC 2342).
pub fn namespace(out: &mut Out) {
    out.text("* NAMESPACE ((\"\" ").separator().text(")) NIL NIL").end();
}

/// `* ID (...)` (RFC 2971 3.2).
pub fn id(out: &mut Out, pairs: &[(&str, &str)]) {
    out.text("* ID (");
    for (i, (key, value)) in pairs.iter().enumerate() {
        out.text(if i > 0 { " " } else { "" }).string(key.as_bytes()).text(" ").string(value.as_bytes());
    }
    out.text(")").end();
}

/// `* QUOTAROOT` and `* QUOTA` of the one root that an account has (RFC 9208 5). Storage counts units of 1,024 bytes.
pub fn quota(out: &mut Out, root: &str, used_bytes: u64, limit_bytes: Option<u64>) {
    out.text("* QUOTA ").string(root.as_bytes()).text(" (");
    if let Some(limit) = limit_bytes {
        out.text("STORAGE ").display(used_bytes.div_ceil(1024)).text(" ").display(limit / 1024);
    }
    out.text(")").end();
}

/// `* QUOTAROOT mailbox root`.
pub fn quota_root(out: &mut Out, mailbox: &MailboxName, root: &str) {
    out.text("* QUOTAROOT ").mailbox(mailbox).text(" ").string(root.as_bytes()).end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn written(write: impl FnOnce(&mut Out)) -> String {
        let mut out = Out::new(false);
        write(&mut out);
        String::from_utf8(out.bytes().to_vec()).unwrap()
    }

    #[test]
    fn status_lines() {
        let tag = parse::tag_of(b"a1 x").unwrap();
        assert_eq!(written(|o| status(o, None, Condition::Bye, None, "x")), "* BYE x\r\n");
        let copy = Code::CopyUid(9, Ranges::from_numbers([1, 2, 5]), Ranges::from_numbers([7, 8, 9]));
        assert_eq!(written(|o| status(o, Some(&tag), Condition::Ok, Some(&copy), "done")), "a1 OK [COPYUID 9 1:2,5 7:9] done\r\n");
        let permanent = Code::PermanentFlags(vec![Flag::Seen], true);
        assert_eq!(written(|o| status(o, None, Condition::Ok, Some(&permanent), "x")), "* OK [PERMANENTFLAGS (\\Seen \\*)] x\r\n");
    }

    #[test]
    fn search_answers() {
        let tag = parse::tag_of(b"a\" x");
        assert!(tag.is_none());
        let tag = parse::tag_of(b"a x").unwrap();
        let found = Ranges::from_numbers([2, 3, 9]);
        let search = |o: &mut Out, modseq| {
            search_begins(o);
            found.iter().for_each(|number| search_number(o, number));
            search_ends(o, modseq);
        };
        assert_eq!(written(|o| search(o, Some(7))), "* SEARCH 2 3 9 (MODSEQ 7)\r\n");
        assert_eq!(written(|o| search(o, None)), "* SEARCH 2 3 9\r\n");
        let all = SearchReturn { min: true, max: true, all: true, count: true, save: false };
        assert_eq!(written(|o| esearch(o, &tag, true, all, &found, None)), "* ESEARCH (TAG \"a\") UID MIN 2 MAX 9 ALL 2:3,9 COUNT 3\r\n");
        assert_eq!(written(|o| esearch(o, &tag, false, all, &Ranges::new(), None)), "* ESEARCH (TAG \"a\") COUNT 0\r\n");
    }

    #[test]
    fn fetch_names_repeat_the_question() {
        for text in [
            "BODY[]",
            "BODY[1.2.MIME]",
            "BODY[HEADER.FIELDS.NOT (A \"b]c\" D)]<5>",
            "BINARY[1.2]<0>",
            "BINARY.SIZE[1]",
            "RFC822.SIZE",
            "BODY[4.TEXT]",
        ] {
            let asked = text.replace("<5>", "<5.9>").replace("<0>", "<0.1>");
            let (_, command) = parse::command(format!("a FETCH 1 {asked}\r\n").as_bytes(), parse::Mode::default());
            let Ok(crate::Command::Fetch(fetch)) = command else { panic!("{text}: {command:?}") };
            assert_eq!(written(|o| fetch_name(o, &fetch.items[0])), text);
        }
    }

    #[test]
    fn other_answers() {
        let name = MailboxName::new("a b").unwrap();
        assert_eq!(
            written(|o| status_items(o, &name, &[(StatusItem::Messages, "3".into()), (StatusItem::MailboxId, "M1".into())])),
            "* STATUS \"a b\" (MESSAGES 3 MAILBOXID (M1))\r\n"
        );
        assert_eq!(
            written(|o| list(o, ListKind::List, &["\\HasNoChildren"], "ü", true)),
            "* LIST (\\HasNoChildren) \"/\" &APw- (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n"
        );
        assert_eq!(written(|o| quota(o, "", 1025, Some(10 * 1024))), "* QUOTA \"\" (STORAGE 2 10)\r\n");
        assert_eq!(written(|o| vanished(o, &Ranges::new(), true)), "");
        assert_eq!(written(namespace), "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n");
    }
}
