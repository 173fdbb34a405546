//! SORT and THREAD (RFC 5256).
//!
//! A mail program that shows a mailbox page by page asks for the same order again and again. The last answer is kept while the numbering
//! of the mailbox stays as it is, if nothing that it depends on can change: neither flags nor the time.

use crate::{
    account::Account,
    connection::{Answer, Connection, Fault},
    search::{each_row, find},
};
use exposed_tls::{Room, Share};
use pure_addr::AccountId;
use pure_imap::{
    Search, SearchKey, SortBy, SortKey, ThreadAlgorithm, limits, response,
    sort::{self, SortRow},
    thread::{self, ThreadRow},
};
use serde::Deserialize;
use serde_bytes::ByteBuf;
use std::sync::{Arc, LazyLock};
use wire::edge::store_session::{SortKeys, Want};

/// What all of them hold at a time.
static HELD: LazyLock<Arc<Room<AccountId>>> = LazyLock::new(|| Room::new(crate::limits::ARRANGED, crate::limits::ARRANGED_PER_ACCOUNT));
/// Bytes of an answer that is kept.
const MAX_KEPT: usize = 512 * 1024;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    Sort(Vec<SortKey>),
    Thread(ThreadAlgorithm),
}

/// An answer that would be given again, until the numbering changes: see [`crate::account::Selected::numbering`].
#[derive(Debug)]
pub(crate) struct Arranged {
    order: Order,
    query: Search,
    response: Vec<u8>,
}

/// RFC 5256 BASE.6.4.SORT and BASE.6.4.THREAD.
pub(crate) async fn arrange(conn: &mut Connection, account: &mut Account, order: Order, query: Search) -> Result<Answer, Fault> {
    let done = Answer::ok(match order {
        Order::Sort(_) => "SORT completed",
        Order::Thread(_) => "THREAD completed",
    });
    let kept = account.selected.as_ref().and_then(|selected| selected.arranged.as_ref());
    if let Some(arranged) = kept.filter(|kept| kept.order == order && kept.query == query) {
        conn.out.raw(&arranged.response);
        return Ok(done);
    }
    let before = conn.out.len();
    let refused = match &order {
        Order::Sort(keys) => sort(conn, account, keys, &query).await?,
        Order::Thread(algorithm) => thread(conn, account, *algorithm, &query).await?,
    };
    if let Some(answer) = refused {
        return Ok(answer);
    }
    if let Some(selected) = account.selected.as_mut().filter(|_| is_constant(&query.program)) {
        let response = conn.out.bytes().get(before..).filter(|response| response.len() <= MAX_KEPT);
        selected.arranged = response.map(|response| Arranged { order, query, response: response.to_vec() });
    }
    Ok(done)
}

/// Whether what is selected depends on the messages and their numbering alone.
fn is_constant(program: &[SearchKey]) -> bool {
    program.iter().all(|key| match key {
        SearchKey::Flag(_)
        | SearchKey::Sequence(_)
        | SearchKey::Uid(_)
        | SearchKey::ModSeq(_)
        | SearchKey::Older(_)
        | SearchKey::Younger(_)
        // Threads may be joined.
        | SearchKey::ThreadId(_) => false,
        SearchKey::And
        | SearchKey::Or
        | SearchKey::Not
        | SearchKey::All
        | SearchKey::Nothing
        | SearchKey::Before(_)
        | SearchKey::On(_)
        | SearchKey::Since(_)
        | SearchKey::SentBefore(_)
        | SearchKey::SentOn(_)
        | SearchKey::SentSince(_)
        | SearchKey::Larger(_)
        | SearchKey::Smaller(_)
        | SearchKey::From(_)
        | SearchKey::To(_)
        | SearchKey::Cc(_)
        | SearchKey::Bcc(_)
        | SearchKey::Subject(_)
        | SearchKey::Header(..)
        | SearchKey::Body(_)
        | SearchKey::Text(_)
        | SearchKey::EmailId(_) => true,
    })
}

/// The answer where there is none.
async fn sort(conn: &mut Connection, account: &mut Account, keys: &[SortKey], query: &Search) -> Result<Option<Answer>, Fault> {
    let uids = match find(account, &query.program).await? {
        Ok(uids) => uids,
        Err(answer) => return Ok(Some(answer)),
    };
    let texts = keys.iter().any(|key| matches!(key.by, SortBy::Subject | SortBy::From | SortBy::To | SortBy::Cc));
    let limit = if texts { limits::SORT_TEXT_ROWS } else { limits::SORT_ROWS };
    if uids.count() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Ok(Some(Answer::no("LIMIT", "Too many messages")));
    }
    let want = Want::DATE.union(Want::SIZE).union(Want::SENT).union(if texts { Want::SORT } else { Want::default() });
    let mut rows: Vec<SortRow> = Vec::new();
    let mut held = Held::of(HELD.share(account.owner.account));
    each_row(account, &uids, None, want, |selected, row| {
        if held.refused.is_some() {
            return;
        }
        let Some(seq) = selected.map.seq(row.uid) else { return };
        let mut out = SortRow { seq, uid: row.uid, arrival: row.received_at.unwrap_or(0), ..SortRow::default() };
        out.size = row.size.map_or(0, u64::from);
        out.sent = row.sent_at;
        match row.sort.as_ref().map(texts_of::<String>) {
            Some(texts) => {
                held.take_texts([&texts.subject, &texts.from, &texts.to, &texts.cc].map(String::len));
                (out.subject, out.from, out.to, out.cc) = (texts.subject, texts.from, texts.to, texts.cc);
            }
            None => held.take(Held::ROW),
        }
        rows.push(out);
    })
    .await?;
    if held.refused.is_some() {
        return Ok(held.refused);
    }
    sort::sort(&mut rows, keys);
    let numbers: Vec<u32> = rows.iter().map(|row| if query.uid { row.uid } else { row.seq }).collect();
    response::sort(&mut conn.out, &numbers);
    Ok(None)
}

/// The answer where there is none.
async fn thread(conn: &mut Connection, account: &mut Account, algorithm: ThreadAlgorithm, query: &Search) -> Result<Option<Answer>, Fault> {
    let uids = match find(account, &query.program).await? {
        Ok(uids) => uids,
        Err(answer) => return Ok(Some(answer)),
    };
    if uids.count() > u64::try_from(limits::SORT_TEXT_ROWS).unwrap_or(u64::MAX) {
        return Ok(Some(Answer::no("LIMIT", "Too many messages")));
    }
    let mut found: Vec<(u32, i64, ByteBuf)> = Vec::new();
    let mut held = Held::of(HELD.share(account.owner.account));
    each_row(account, &uids, None, Want::SORT.union(Want::SENT), |selected, row| {
        if held.refused.is_some() {
            return;
        }
        let (Some(seq), Some(keys)) = (selected.map.seq(row.uid), row.sort) else { return };
        held.take_texts([keys.len()]);
        found.push((if query.uid { row.uid } else { seq }, row.sent_at.unwrap_or_default(), keys));
    })
    .await?;
    if held.refused.is_some() {
        return Ok(held.refused);
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
    Ok(None)
}

/// What one SORT or THREAD holds: of texts [`limits::SORT_BYTES`], and of all a share.
struct Held {
    texts: usize,
    share: Share<AccountId>,
    /// Once there is no room for more.
    refused: Option<Answer>,
}

impl Held {
    /// What a row costs besides its texts.
    const ROW: usize = 200;

    fn of(share: Share<AccountId>) -> Self {
        Self { texts: 0, share, refused: None }
    }

    /// A row with texts of these lengths.
    fn take_texts<const N: usize>(&mut self, lengths: [usize; N]) {
        let bytes = lengths.iter().fold(Self::ROW, |sum, length| sum.saturating_add(*length));
        self.texts = self.texts.saturating_add(bytes);
        if self.texts > limits::SORT_BYTES {
            self.refused = Some(Answer::no("LIMIT", "Too many messages"));
        }
        self.take(bytes);
    }

    fn take(&mut self, bytes: usize) {
        if !self.share.grow(bytes as u64) {
            self.refused.get_or_insert_with(|| Answer::no("UNAVAILABLE", "Not possible now"));
        }
    }
}

/// What the store keeps encoded; a message whose keys cannot be read sorts as one without.
fn texts_of<'a, S: Default + Deserialize<'a>>(encoded: &'a ByteBuf) -> SortKeys<S> {
    wire::decode(encoded).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(n: u64) -> AccountId {
        AccountId::new(n).unwrap()
    }

    #[test]
    fn texts_have_room_for_so_many() {
        let mut held = Held::of(Room::new(u64::MAX, u64::MAX).share(account(1)));
        let text = limits::SORT_BYTES / 4;
        held.take_texts([text; 3]);
        assert!(held.refused.is_none());
        held.take_texts([text]);
        assert!(held.refused.is_some());
    }

    /// Attack class BOMB: what one account has sorted has a limit, and leaves room for the others.
    #[test]
    fn an_account_has_its_share() {
        let room = Room::new(1_000, 600);
        let [mut one, mut same, mut other] = [1, 1, 2].map(|n| Held::of(room.share(account(n))));
        one.take(Held::ROW);
        one.take(Held::ROW);
        same.take(Held::ROW + 1);
        assert!(one.refused.is_none() && same.refused.is_some());
        other.take_texts([400]);
        assert!(other.refused.is_none());
        drop((one, same, other));
        assert_eq!(room.left(), 1_000);
    }
}
