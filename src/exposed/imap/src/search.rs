//! SEARCH, SORT and THREAD.

use crate::{
    account::{Account, Selected},
    connection::{Answer, Connection, Fault},
    convert,
};
use pure_addr::Text;
use pure_imap::{
    DAY, Date, Flag, Ranges, Search, SearchKey, SearchReturn, SortBy, SortKey, Tag, ThreadAlgorithm, limits, response,
    sort::{self, SortRow},
    thread::{self, ThreadRow},
};
use pure_index::fold;
use serde::Deserialize;
use serde_bytes::ByteBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use wire::{
    List,
    edge::store_session::{self, MAX_SEARCH, ModSeq, Request, Response, Row, SortKeys, Want},
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
        None => response::search(&mut conn.out, &numbers, modseq),
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

/// RFC 5256 BASE.6.4.SORT.
pub(crate) async fn sort(conn: &mut Connection, account: &mut Account, keys: &[SortKey], query: &Search) -> Result<Answer, Fault> {
    let uids = match find(account, &query.program).await? {
        Ok(uids) => uids,
        Err(answer) => return Ok(answer),
    };
    let texts = keys.iter().any(|key| matches!(key.by, SortBy::Subject | SortBy::From | SortBy::To | SortBy::Cc));
    let limit = if texts { limits::SORT_TEXT_ROWS } else { limits::SORT_ROWS };
    if uids.count() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Ok(Answer::no("LIMIT", "Too many messages"));
    }
    let want = Want::DATE.union(Want::SIZE).union(Want::SENT).union(if texts { Want::SORT } else { Want::default() });
    let mut rows: Vec<SortRow> = Vec::new();
    let mut room = Room::default();
    each_row(account, &uids, want, |selected, row| {
        if room.is_used_up() {
            return;
        }
        let Some(seq) = selected.map.seq(row.uid) else { return };
        let mut out = SortRow { seq, uid: row.uid, arrival: row.received_at.unwrap_or(0), ..SortRow::default() };
        out.size = row.size.map_or(0, u64::from);
        out.sent = row.sent_at;
        if let Some(texts) = row.sort.as_ref().map(texts_of::<String>) {
            room.take([&texts.subject, &texts.from, &texts.to, &texts.cc].map(String::len));
            (out.subject, out.from, out.to, out.cc) = (texts.subject, texts.from, texts.to, texts.cc);
        }
        rows.push(out);
    })
    .await?;
    if room.is_used_up() {
        return Ok(Answer::no("LIMIT", "Too many messages"));
    }
    sort::sort(&mut rows, keys);
    let numbers: Vec<u32> = rows.iter().map(|row| if query.uid { row.uid } else { row.seq }).collect();
    response::sort(&mut conn.out, &numbers);
    Ok(Answer::ok("SORT completed"))
}

/// RFC 5256 BASE.6.4.THREAD.
pub(crate) async fn thread(
    conn: &mut Connection,
    account: &mut Account,
    algorithm: ThreadAlgorithm,
    query: &Search,
) -> Result<Answer, Fault> {
    let uids = match find(account, &query.program).await? {
        Ok(uids) => uids,
        Err(answer) => return Ok(answer),
    };
    if uids.count() > u64::try_from(limits::SORT_TEXT_ROWS).unwrap_or(u64::MAX) {
        return Ok(Answer::no("LIMIT", "Too many messages"));
    }
    let mut found: Vec<(u32, i64, ByteBuf)> = Vec::new();
    let mut room = Room::default();
    each_row(account, &uids, Want::SORT.union(Want::SENT), |selected, row| {
        if room.is_used_up() {
            return;
        }
        let (Some(seq), Some(keys)) = (selected.map.seq(row.uid), row.sort) else { return };
        room.take([keys.len()]);
        found.push((if query.uid { row.uid } else { seq }, row.sent_at.unwrap_or_default(), keys));
    })
    .await?;
    if room.is_used_up() {
        return Ok(Answer::no("LIMIT", "Too many messages"));
    }
    let mut references_left = limits::THREAD_REFERENCES;
    let row = |(number, date, keys)| {
        let SortKeys { message_id, mut references, subject, .. } = texts_of::<&str>(keys);
        if references.len() > references_left {
            references.drain(..references.len().saturating_sub(1));
        }
        references_left = references_left.saturating_sub(references.len());
        // The index keeps the subject without its marks; who refers to others is a reply.
        let is_reply = !references.is_empty();
        ThreadRow { number, date, message_id: Some(message_id).filter(|id| !id.is_empty()), references, subject, is_reply }
    };
    let rows: Vec<ThreadRow<'_>> = found.iter().map(|(number, date, keys)| (*number, *date, keys)).map(row).collect();
    let forest = match algorithm {
        ThreadAlgorithm::OrderedSubject => thread::ordered_subject(&rows),
        ThreadAlgorithm::References => thread::references(&rows),
    };
    thread::thread_response(&mut conn.out, &forest);
    Ok(Answer::ok("THREAD completed"))
}

/// What SORT and THREAD may hold of texts, [`limits::SORT_BYTES`].
#[derive(Debug, Default)]
struct Room(usize);

impl Room {
    /// What a row costs besides its texts.
    const ROW: usize = 200;

    /// The lengths of a row's texts.
    fn take<const N: usize>(&mut self, lengths: [usize; N]) {
        self.0 = lengths.iter().fold(self.0.saturating_add(Self::ROW), |sum, length| sum.saturating_add(*length));
    }

    fn is_used_up(&self) -> bool {
        self.0 > limits::SORT_BYTES
    }
}

/// What the store keeps encoded; a message whose keys cannot be read sorts as one without.
fn texts_of<'a, S: Default + Deserialize<'a>>(encoded: &'a ByteBuf) -> SortKeys<S> {
    wire::decode(encoded).unwrap_or_default()
}

/// The UIDs that match, of those that the client knows.
async fn find(account: &mut Account, program: &[SearchKey]) -> Result<Result<Ranges, Answer>, Fault> {
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
            Response::Uids(uids) => found.extend(uids.iter().map(|range| (range.first, range.last))),
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

/// The store's program; none when it does not fit.
fn translate(selected: &Selected, program: &[SearchKey], now: i64) -> Option<List<store_session::SearchKey, MAX_SEARCH>> {
    use store_session::SearchKey as Key;
    let mut out: Vec<Key> = Vec::new();
    let header = |name: &str, text: &str| Key::Header(name.to_owned(), fold(text));
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
            SearchKey::Body(text) => out.push(Key::Body(fold(text))),
            SearchKey::Text(text) => out.push(Key::Text(fold(text))),
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
    each_row(account, uids, Want::default(), |_, row| highest = highest.max(Some(row.modseq.0))).await?;
    Ok(highest)
}

async fn each_row(account: &mut Account, uids: &Ranges, want: Want, mut each: impl FnMut(&Selected, Row)) -> Result<(), Fault> {
    let Some(mailbox) = account.selected.as_ref().map(|selected| selected.id) else { return Ok(()) };
    for uids in convert::chunks(uids) {
        account.store.start(&Request::Fetch { mailbox, uids, changed_since: None, want }, &[]).await?;
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
    fn texts_have_room_for_so_many() {
        let mut room = Room::default();
        let text = limits::SORT_BYTES / 4;
        room.take([text; 3]);
        assert!(!room.is_used_up());
        room.take([text]);
        assert!(room.is_used_up());
    }
}
