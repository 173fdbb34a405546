//! Between the types of the protocol and those of the store.

use crate::{
    connection::{Answer, Fault},
    limits::LISTED,
};
use pure_addr::Text;
use pure_imap::{Flag, Keyword, Out, Ranges};
use wire::edge::store_session::{Flags, MAX_RANGES, MailboxId, Refusal, Role, SystemFlags, UidRange, Uids};

const SYSTEM: [(SystemFlags, Flag); 5] = [
    (SystemFlags::ANSWERED, Flag::Answered),
    (SystemFlags::FLAGGED, Flag::Flagged),
    (SystemFlags::DELETED, Flag::Deleted),
    (SystemFlags::SEEN, Flag::Seen),
    (SystemFlags::DRAFT, Flag::Draft),
];

/// The system flags that PERMANENTFLAGS and FLAGS name.
pub(crate) fn system_flags() -> Vec<Flag> {
    SYSTEM.iter().map(|(_, flag)| flag.clone()).collect()
}

/// The bit of a system flag.
pub(crate) fn system_flag(flag: &Flag) -> Option<SystemFlags> {
    SYSTEM.iter().find(|(_, known)| known == flag).map(|(bit, _)| *bit)
}

/// For the store; the grammar keeps keywords within its limits.
pub(crate) fn flags(list: &[Flag]) -> Flags {
    let mut out = Flags::default();
    for flag in list {
        match flag {
            Flag::Keyword(keyword) => {
                if let Ok(text) = Text::new(keyword.as_str()) {
                    // No command has more flags than the store takes.
                    let _ = out.keywords.push(text);
                }
            }
            system => out.system = out.system.union(system_flag(system).unwrap_or_default()),
        }
    }
    out
}

/// `(\Seen $Junk)`.
pub(crate) fn write_flags(out: &mut Out, flags: &Flags) {
    let mut separator = "(";
    for (bit, flag) in &SYSTEM {
        if flags.system.contains(*bit) {
            out.text(separator).text(flag.as_str());
            separator = " ";
        }
    }
    // Another protocol may have set a keyword that is no atom; IMAP cannot say it.
    for keyword in flags.keywords.iter().filter_map(|keyword| Keyword::new(keyword.as_str())) {
        out.text(separator).text(keyword.as_str());
        separator = " ";
    }
    out.text(if separator == "(" { "()" } else { ")" });
}

/// UIDs as the store takes them, in as many sets as their number of ranges needs.
pub(crate) fn chunks(uids: &Ranges) -> Vec<Uids> {
    uids.ranges().chunks(MAX_RANGES).filter_map(to_uids).collect()
}

/// UIDs in one set; none when there are too many ranges.
pub(crate) fn one_set(uids: &Ranges) -> Option<Uids> {
    to_uids(uids.ranges())
}

fn to_uids(ranges: &[(u32, u32)]) -> Option<Uids> {
    Uids::new(ranges.iter().map(|(first, last)| UidRange { first: *first, last: *last }).collect())
}

/// UIDs as the store gives them.
pub(crate) fn ranges(uids: &[UidRange]) -> Ranges {
    Ranges::from_unsorted(uids.iter().map(|range| (range.first, range.last)).collect())
}

/// RFC 6154 2 and RFC 8457.
pub(crate) fn attribute(role: Role) -> Option<&'static str> {
    Some(match role {
        Role::Inbox => return None,
        Role::Archive => "\\Archive",
        Role::Drafts => "\\Drafts",
        Role::Flagged => "\\Flagged",
        Role::Junk => "\\Junk",
        Role::Sent => "\\Sent",
        Role::Trash => "\\Trash",
        Role::Important => "\\Important",
        Role::All => "\\All",
    })
}

/// The role of a `USE` attribute in capitals; those that are views of other mailboxes cannot be made.
pub(crate) fn role(attribute: &str) -> Option<Role> {
    Some(match attribute {
        "\\ARCHIVE" => Role::Archive,
        "\\DRAFTS" => Role::Drafts,
        "\\JUNK" => Role::Junk,
        "\\SENT" => Role::Sent,
        "\\TRASH" => Role::Trash,
        "\\IMPORTANT" => Role::Important,
        _ => return None,
    })
}

/// RFC 8474 4: identifiers of objects, one letter for each kind.
pub(crate) fn mailbox_id(id: MailboxId) -> String {
    format!("m{}", id.0)
}

/// EMAILID.
pub(crate) fn email_id(id: u64) -> String {
    format!("e{id}")
}

/// THREADID.
pub(crate) fn thread_id(id: u64) -> String {
    format!("t{id}")
}

/// The number of an identifier that this server made.
pub(crate) fn object_number(text: &str, kind: char) -> Option<u64> {
    let digits = text.strip_prefix(kind)?;
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// A refusal about a mailbox that a command works on.
pub(crate) fn refusal(refusal: Refusal) -> Answer {
    match refusal {
        // One text, whether it exists for somebody else or for nobody (attack case IMAP-13).
        Refusal::NoSuchMailbox => no_mailbox(),
        Refusal::AlreadyExists => Answer::no("ALREADYEXISTS", "Mailbox exists"),
        Refusal::Cannot => Answer::no("CANNOT", "Not possible with this mailbox"),
        Refusal::OverQuota => Answer::no("OVERQUOTA", "Quota exceeded"),
        Refusal::Limit => Answer::no("LIMIT", "Too many"),
        Refusal::Unavailable => Answer::no("UNAVAILABLE", "Not possible now"),
        Refusal::Malformed => Answer::no("SERVERBUG", "Internal error"),
    }
}

/// The same for a mailbox that messages go to (RFC 9051 6.4.7).
pub(crate) fn target_refusal(why: Refusal) -> Answer {
    if why == Refusal::NoSuchMailbox { no_target() } else { refusal(why) }
}

pub(crate) fn no_mailbox() -> Answer {
    Answer::no("NONEXISTENT", "No such mailbox")
}

pub(crate) fn no_target() -> Answer {
    Answer::no("TRYCREATE", "No such mailbox")
}

/// An answer of the store that this request does not have.
pub(crate) fn unexpected() -> wire::Error {
    wire::Error::Malformed("not an answer to this request")
}

/// Adds a part of an answer: ascending over all parts, as the store promises, and no more than an account can have. Who goes on for ever is
/// found out.
pub(crate) fn add(part: &[UidRange], to: &mut Vec<(u32, u32)>) -> Result<(), Fault> {
    for range in part {
        let ascends = to.last().is_none_or(|(_, last)| *last < range.first) && range.first <= range.last;
        if !ascends || to.len() >= LISTED {
            return Err(unexpected().into());
        }
        to.push((range.first, range.last));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_both_ways() {
        let list = vec![Flag::Seen, Flag::Draft, Flag::Keyword(Keyword::new("$Junk").unwrap())];
        let mut out = Out::new(false);
        write_flags(&mut out, &flags(&list));
        out.text(" ");
        write_flags(&mut out, &Flags::default());
        assert_eq!(out.bytes(), b"(\\Seen \\Draft $Junk) ()");
    }

    #[test]
    fn keywords_of_other_protocols_end_no_line() {
        let mut odd = Flags::default();
        odd.keywords.push(Text::new("a) b").unwrap()).unwrap();
        let mut out = Out::new(false);
        write_flags(&mut out, &odd);
        assert_eq!(out.bytes(), b"()");
    }

    #[test]
    fn object_numbers() {
        assert_eq!(object_number(&email_id(12), 'e'), Some(12));
        for bad in ["e", "12", "t12", "e012", "e-1", "e99999999999999999999"] {
            assert_eq!(object_number(bad, 'e'), None);
        }
    }

    #[test]
    fn many_ranges_are_split() {
        let uids = Ranges::from_numbers((1..=20_001).step_by(2));
        assert_eq!(chunks(&uids).iter().map(|set| set.len()).collect::<Vec<_>>(), [8192, 1809]);
        assert!(one_set(&uids).is_none());
    }
}
