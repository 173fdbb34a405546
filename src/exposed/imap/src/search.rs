//! SEARCH, and what SORT and THREAD select.

use crate::{
    account::{Account, Selected},
    connection::{Answer, Connection, Fault},
    convert,
};
use pure_addr::Text;
use pure_imap::{DAY, Date, Flag, Ranges, Search, SearchKey, SearchReturn, Tag, response};
use pure_index::{fold, is_blank};
use std::time::{SystemTime, UNIX_EPOCH};
use wire::{
    List,
    edge::store_session::{self, MAX_SEARCH, ModSeq, Request, Response, Row, Want},
};

/// RFC 9051 6.4.4.
pub(crate) async fn search(conn: &mut Connection, account: &mut Account, tag: Option<&Tag>, query: &Search) -> Result<Answer, Fault> {
    let by_modseq = query.program.iter().any(|key| matches!(key, SearchKey::ModSeq(_)));
    // RFC 7162 3.1: MODSEQ enables CONDSTORE.
    account.enabled.condstore |= by_modseq;
    let saves = query.returns.is_some_and(|returns| returns.save);
    let uids = match find(account, &query.program).await? {
        Ok(uids) => uids,
        Err(answer) => {
            // RFC 9051 6.4.4.1: a failed SAVE leaves nothing behind.
            if let Some(selected) = account.selected.as_mut().filter(|_| saves) {
                selected.saved = Ranges::new();
            }
            return Ok(answer);
        }
    };
    let modseq = if by_modseq { highest_modseq(account, &told(&uids, query.returns)).await? } else { None };
    let Some(selected) = account.selected.as_mut() else { return Ok(Answer::bad("No mailbox selected")) };
    let numbers = if query.uid { uids.clone() } else { selected.map.seqs_of(&uids) };
    match query.returns {
        // RFC 9051 6.4.4: rev2 has no other answer than ESEARCH.
        None if account.enabled.rev2 => {
            if let Some(tag) = tag {
                let all = SearchReturn { all: true, ..SearchReturn::default() };
                response::esearch(&mut conn.out, tag, query.uid, all, &numbers, modseq);
            }
        }
        None => {
            response::search_begins(&mut conn.out);
            for number in numbers.iter() {
                response::search_number(&mut conn.out, number);
                conn.flush_if_full().await?;
            }
            response::search_ends(&mut conn.out, modseq.filter(|_| !numbers.is_empty()));
        }
        Some(returns) => {
            if saves {
                selected.saved = told(&uids, query.returns);
            }
            // RFC 9051 6.4.4.1: SAVE alone is answered by nothing.
            let only_save = saves && !(returns.min || returns.max || returns.all || returns.count);
            if let Some(tag) = tag.filter(|_| !only_save) {
                response::esearch(&mut conn.out, tag, query.uid, returns, &numbers, modseq);
            }
        }
    }
    Ok(Answer::ok("SEARCH completed"))
}

/// Of what was found, what MODSEQ and SAVE speak of: only the ends when only those were asked for (RFC 9051 6.4.4.1, RFC 7162 3.1.5).
fn told(uids: &Ranges, returns: Option<SearchReturn>) -> Ranges {
    match returns {
        Some(SearchReturn { min, max, all: false, count: false, .. }) if min || max => {
            Ranges::from_numbers([uids.first().filter(|_| min), uids.last().filter(|_| max)].into_iter().flatten())
        }
        _ => uids.clone(),
    }
}

/// The UIDs that match, of those that the client knows.
pub(crate) async fn find(account: &mut Account, program: &[SearchKey]) -> Result<Result<Ranges, Answer>, Fault> {
    let Some(selected) = account.selected.as_ref() else { return Ok(Err(Answer::bad("No mailbox selected"))) };
    // What the numbering alone can answer is not asked.
    match program {
        [SearchKey::All] => return Ok(Ok(selected.map.uids())),
        [SearchKey::Uid(set)] => return Ok(Ok(selected.uids(set, true).unwrap_or_default())),
        [SearchKey::Sequence(set)] => return Ok(Ok(sequence(selected, set))),
        _ => {}
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_secs()).ok()).unwrap_or(0);
    let Some(program) = translate(selected, program, now) else { return Ok(Err(Answer::no("LIMIT", "Search too complex"))) };
    let mailbox = selected.id;
    account.store.start(&Request::Search { mailbox, program }, &[]).await?;
    let mut found: Vec<(u32, u32)> = Vec::new();
    let mut refused = None;
    while let Some(reply) = account.next().await? {
        match reply.body {
            Response::Uids(part) => convert::add(&part, &mut found)?,
            Response::Done => {}
            Response::Refused(why) => refused = Some(convert::refusal(why)),
            _ => return Err(convert::unexpected().into()),
        }
    }
    if let Some(answer) = refused {
        return Ok(Err(answer));
    }
    let known = account.selected.as_ref().map(|selected| selected.map.uids()).unwrap_or_default();
    Ok(Ok(Ranges::from_unsorted(found).intersect(&known)))
}

/// In SEARCH a sequence number that no message has matches nothing.
fn sequence(selected: &Selected, set: &pure_imap::SequenceSet) -> Ranges {
    match set.resolve(Some(selected.map.len()).filter(|len| *len > 0)) {
        Some(seqs) => selected.map.uids_of(&seqs),
        None => selected.uids(set, true).unwrap_or_default(),
    }
}

/// Text to look for, as texts are kept: folded, each run of white space one blank.
fn needle(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let blank = is_blank(c);
        if !(blank && out.ends_with(' ')) {
            out.push(if blank { ' ' } else { c });
        }
    }
    fold(&out)
}

/// The store's program; none when it does not fit.
fn translate(selected: &Selected, program: &[SearchKey], now: i64) -> Option<List<store_session::SearchKey, MAX_SEARCH>> {
    use store_session::SearchKey as Key;
    let mut out: Vec<Key> = Vec::new();
    let header = |name: &str, text: &str| Key::Header(name.to_owned(), needle(text));
    let day_after = |date: &Date| date.start() + DAY;
    let mut ranges = 0usize;
    let mut uids = |set: Ranges| {
        ranges = ranges.saturating_add(set.ranges().len());
        convert::one_set(&set).filter(|_| ranges <= crate::limits::SEARCH_RANGES).map(Key::Uid)
    };
    for key in program {
        match key {
            SearchKey::And => out.push(Key::And),
            SearchKey::Or => out.push(Key::Or),
            SearchKey::Not => out.push(Key::Not),
            SearchKey::All => out.push(Key::All),
            SearchKey::Nothing => out.extend([Key::All, Key::Not]),
            SearchKey::Flag(Flag::Keyword(keyword)) => out.push(Key::Keyword(Text::new(keyword.as_str()).ok()?)),
            SearchKey::Flag(flag) => out.push(Key::Flags(convert::system_flag(flag)?)),
            SearchKey::Sequence(set) => out.push(uids(sequence(selected, set))?),
            SearchKey::Uid(set) => out.push(uids(selected.uids(set, true)?)?),
            SearchKey::Before(date) => out.push(Key::ReceivedBefore(date.start())),
            SearchKey::On(date) => out.extend([Key::ReceivedSince(date.start()), Key::ReceivedBefore(day_after(date)), Key::And]),
            SearchKey::Since(date) => out.push(Key::ReceivedSince(date.start())),
            SearchKey::SentBefore(date) => out.push(Key::SentBefore(date.start())),
            SearchKey::SentOn(date) => out.extend([Key::SentSince(date.start()), Key::SentBefore(day_after(date)), Key::And]),
            SearchKey::SentSince(date) => out.push(Key::SentSince(date.start())),
            SearchKey::Larger(n) => out.push(Key::Larger(*n)),
            SearchKey::Smaller(n) => out.push(Key::Smaller(*n)),
            SearchKey::From(text) => out.push(header("from", text)),
            SearchKey::To(text) => out.push(header("to", text)),
            SearchKey::Cc(text) => out.push(header("cc", text)),
            SearchKey::Bcc(text) => out.push(header("bcc", text)),
            SearchKey::Subject(text) => out.push(header("subject", text)),
            SearchKey::Header(name, text) => out.push(header(&name.to_ascii_lowercase(), text)),
            // The empty string is in every body.
            SearchKey::Body(text) | SearchKey::Text(text) if text.is_empty() => out.push(Key::All),
            SearchKey::Body(text) => out.push(Key::Body(needle(text))),
            SearchKey::Text(text) => out.push(Key::Text(needle(text))),
            SearchKey::ModSeq(n) => out.push(Key::ModSeq(ModSeq(*n))),
            // RFC 5032 2: at least, at most so many seconds.
            SearchKey::Older(n) => out.push(Key::ReceivedBefore(now.saturating_sub(i64::from(*n)).saturating_add(1))),
            SearchKey::Younger(n) => out.push(Key::ReceivedSince(now.saturating_sub(i64::from(*n)))),
            SearchKey::EmailId(id) => match convert::object_number(id, 'e') {
                Some(number) => out.push(Key::Email(number)),
                None => out.extend([Key::All, Key::Not]),
            },
            SearchKey::ThreadId(id) => match convert::object_number(id, 't') {
                Some(number) => out.push(Key::Thread(number)),
                None => out.extend([Key::All, Key::Not]),
            },
        }
    }
    List::new(out)
}

async fn highest_modseq(account: &mut Account, uids: &Ranges) -> Result<Option<u64>, Fault> {
    let mut highest = None;
    each_row(account, uids, None, Want::default(), |_, row| highest = highest.max(Some(row.modseq.0))).await?;
    Ok(highest)
}

/// Rows of these messages, or only of those that came or changed after `since`.
pub(crate) async fn each_row(
    account: &mut Account,
    uids: &Ranges,
    since: Option<ModSeq>,
    want: Want,
    mut each: impl FnMut(&Selected, Row),
) -> Result<(), Fault> {
    let Some(mailbox) = account.selected.as_ref().map(|selected| selected.id) else { return Ok(()) };
    for uids in convert::chunks(uids) {
        account.store.start(&Request::Fetch { mailbox, uids, changed_since: since, want }, &[]).await?;
        while let Some(reply) = account.store.next().await? {
            let Some(selected) = account.selected.as_ref() else { return Ok(()) };
            match reply.body {
                Response::Rows(rows) => rows.into_iter().for_each(|row| each(selected, row)),
                Response::Done => {}
                Response::Refused(why) => tracing::debug!(?why, "rows refused"),
                _ => return Err(convert::unexpected().into()),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_for_is_as_what_is_kept() {
        for (given, expected) in [("End.  Next", "end. next"), ("a\t\r\n b", "a b"), (" x ", " x "), ("\u{a0}Ü", " ü"), ("", "")] {
            assert_eq!(needle(given), expected);
        }
    }
}
