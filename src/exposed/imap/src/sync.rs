//! What others changed in the selected mailbox, told at the moments when the protocol allows it.

use crate::{
    account::{Account, Enabled, Selected},
    connection::{Connection, Fault},
    convert, limits,
};
use pure_imap::{Flag, Keyword, Out, Ranges, response};
use wire::edge::store_session::{Flags, ModSeq, Request, Response, Row};

/// Asks the store what is new and tells it: EXPUNGE or VANISHED, EXISTS, FETCH.
pub(crate) async fn tell(conn: &mut Connection, account: &mut Account) -> Result<(), Fault> {
    let Some(selected) = account.selected.as_mut() else { return Ok(()) };
    // What is told now is newer.
    selected.ahead = None;
    let (mailbox, since) = (selected.id, ModSeq(selected.modseq));
    account.store.start(&Request::Changes { mailbox, since }, &[]).await?;
    while let Some(reply) = account.store.next().await? {
        let enabled = account.enabled;
        let Some(selected) = account.selected.as_mut() else { return Ok(()) };
        match reply.body {
            Response::Vanished(uids) => gone(conn, selected, enabled, &convert::ranges(&uids)).await?,
            Response::Rows(rows) => {
                let known = selected.map.last_uid().unwrap_or(0);
                let before = selected.map.len();
                for row in rows.iter().filter(|row| row.uid > known) {
                    selected.numbering().append_range(row.uid, row.uid);
                }
                if usize::try_from(selected.map.len()).is_ok_and(|messages| messages > limits::LISTED) {
                    return Err(convert::unexpected().into());
                }
                if selected.map.len() != before {
                    response::exists(&mut conn.out, selected.map.len());
                }
                for row in rows.iter().filter(|row| row.uid <= known) {
                    if selected.was_told(row.modseq.0, row.uid) {
                        continue;
                    }
                    changed(&mut conn.out, selected, enabled, row, false);
                }
            }
            Response::Mailbox(now) => {
                selected.modseq = selected.modseq.max(now.highest_modseq.0);
                selected.dirty = false;
                selected.told.clear();
            }
            // The store says that it is gone on its own.
            Response::Refused(_) => selected.dirty = false,
            _ => return Err(convert::unexpected().into()),
        }
        conn.flush_if_full().await?;
    }
    Ok(())
}

/// Messages that are gone: from the numbering, and to the client.
pub(crate) async fn gone(conn: &mut Connection, selected: &mut Selected, enabled: Enabled, uids: &Ranges) -> Result<(), Fault> {
    let uids = selected.map.uids().intersect(uids);
    // Before anything is awaited: the numbers are told as they were.
    let seqs = if enabled.qresync { Ranges::new() } else { selected.map.seqs_of(&uids) };
    selected.numbering().remove_all(&uids);
    selected.saved = selected.saved.without(&uids);
    // RFC 7162 3.2.10.
    for some in uids.ranges().chunks(limits::RANGES_AT_ONCE).filter(|_| enabled.qresync) {
        response::vanished(&mut conn.out, &Ranges::from_unsorted(some.to_vec()), false);
        conn.flush_if_full().await?;
    }
    // From the last one on, so that no number moves before it is told.
    for seq in seqs.iter().rev() {
        response::expunge(&mut conn.out, seq);
        conn.flush_if_full().await?;
    }
    Ok(())
}

/// `* n FETCH (...)` of changed flags.
pub(crate) fn changed(out: &mut Out, selected: &mut Selected, enabled: Enabled, row: &Row, uid: bool) {
    let Some(seq) = selected.map.seq(row.uid) else { return };
    let Some(flags) = &row.flags else { return };
    announce(out, selected, flags);
    out.text("* ").display(seq).text(" FETCH (");
    if uid || enabled.qresync || enabled.rev2 {
        out.text("UID ").display(row.uid).text(" ");
    }
    out.text("FLAGS ");
    convert::write_flags(out, flags);
    if enabled.condstore {
        out.text(" MODSEQ (").display(row.modseq.0).text(")");
    }
    out.text(")").end();
}

/// RFC 9051 7.3.5: FLAGS is sent again before a keyword that it did not name.
pub(crate) fn announce(out: &mut Out, selected: &mut Selected, flags: &Flags) {
    let mut is_new = false;
    for keyword in &flags.keywords {
        if selected.keywords.len() < limits::KEYWORDS && !selected.keywords.contains(keyword.as_str()) {
            is_new |= selected.keywords.insert(keyword.as_str().to_owned());
        }
    }
    if is_new {
        response::flags_response(out, &all_flags(selected));
    }
}

/// System flags and the keywords known in the mailbox.
pub(crate) fn all_flags(selected: &Selected) -> Vec<Flag> {
    let keywords = selected.keywords.iter().filter_map(|keyword| Keyword::new(keyword)).map(Flag::Keyword);
    convert::system_flags().into_iter().chain(keywords).collect()
}
