//! STORE, COPY, MOVE and EXPUNGE.

use crate::{
    account::Account,
    connection::{Answer, Connection, Fault},
    convert, sync,
};
use pure_imap::{
    Mailbox, Ranges, SequenceSet, Store, StoreAction, Transfer,
    response::{self, Code, Condition},
};
use wire::edge::store_session::{FlagChange, ModSeq, Request, Response};

const NO_MESSAGE: &str = "No such message";

fn read_only() -> Answer {
    Answer::no("READ-ONLY", "The mailbox was opened with EXAMINE")
}

/// RFC 9051 6.4.6.
pub(crate) async fn store(conn: &mut Connection, account: &mut Account, query: &Store) -> Result<Answer, Fault> {
    // RFC 7162 3.1: UNCHANGEDSINCE enables CONDSTORE.
    account.enabled.condstore |= query.unchanged_since.is_some();
    let Some(selected) = account.selected.as_ref() else { return Ok(Answer::bad("No mailbox selected")) };
    if selected.read_only {
        return Ok(read_only());
    }
    let Some(uids) = selected.uids(&query.set, query.uid) else { return Ok(Answer::bad(NO_MESSAGE)) };
    let mailbox = selected.id;
    let change = match query.action {
        StoreAction::Add => FlagChange::Add,
        StoreAction::Remove => FlagChange::Remove,
        StoreAction::Replace => FlagChange::Replace,
    };
    let mut modified = Vec::new();
    for uids in convert::chunks(&uids) {
        let flags = convert::flags(&query.flags);
        let unchanged_since = query.unchanged_since.map(ModSeq);
        account.store.start(&Request::SetFlags { mailbox, uids, change, flags, unchanged_since }, &[]).await?;
        let mut refused = None;
        while let Some(reply) = account.store.next().await? {
            let enabled = account.enabled;
            let Some(selected) = account.selected.as_mut() else { return Err(convert::unexpected().into()) };
            match reply.body {
                Response::Rows(rows) => {
                    for row in &rows {
                        // Of what is silent, only our own part is known to the client: what somebody else did before is still to be told.
                        let before = row.before.map_or(u64::MAX, |modseq| modseq.0);
                        let known = before <= selected.modseq || selected.was_told(before, row.uid);
                        if !query.silent || known || query.action == StoreAction::Replace {
                            selected.remember(row.modseq.0, row.uid);
                        }
                        if !query.silent {
                            sync::changed(&mut conn.out, selected, enabled, row, query.uid);
                        } else if enabled.condstore
                            && let Some(seq) = selected.map.seq(row.uid)
                        {
                            // RFC 7162 3.1.3: the new modseq is told in any case.
                            conn.out.text("* ").display(seq).text(" FETCH (UID ").display(row.uid);
                            conn.out.text(" MODSEQ (").display(row.modseq.0).text("))").end();
                        }
                    }
                }
                Response::Modified(part) => convert::add(&part, &mut modified)?,
                Response::Done => {}
                Response::Refused(why) => refused = Some(convert::refusal(why)),
                _ => return Err(convert::unexpected().into()),
            }
            conn.flush_if_full().await?;
        }
        if let Some(answer) = refused {
            return Ok(answer);
        }
    }
    let answer = Answer::ok("STORE completed");
    if modified.is_empty() {
        return Ok(answer);
    }
    let modified = Ranges::from_unsorted(modified);
    // RFC 7162 3.1.3: numbers of the kind that the command used.
    let numbers = match account.selected.as_ref() {
        Some(selected) if !query.uid => selected.map.seqs_of(&modified),
        _ => modified,
    };
    Ok(answer.with(Code::Modified(numbers)))
}

/// RFC 9051 6.4.7 and 6.4.8.
pub(crate) async fn copy(conn: &mut Connection, account: &mut Account, query: &Transfer, moving: bool) -> Result<Answer, Fault> {
    let Some(selected) = account.selected.as_ref() else { return Ok(Answer::bad("No mailbox selected")) };
    if moving && selected.read_only {
        return Ok(read_only());
    }
    let Some(uids) = selected.uids(&query.set, query.uid) else { return Ok(Answer::bad(NO_MESSAGE)) };
    let Mailbox::Named(to) = query.mailbox.clone() else { return Ok(convert::no_target()) };
    let text = if moving { "MOVE completed" } else { "COPY completed" };
    // RFC 9051 6.4.7: all or none, so the set must fit one request.
    let Some(uids) = convert::one_set(&uids) else { return Ok(Answer::no("LIMIT", "Too many ranges")) };
    if uids.is_empty() {
        // Whether the target exists is told all the same.
        return Ok(match account.call(&Request::Mailbox(to)).await? {
            Response::Mailbox(_) => Answer::ok(text),
            _ => convert::no_target(),
        });
    }
    let mailbox = selected.id;
    let to_itself = selected.name == to;
    let (uid_validity, from, copies) = match account.call(&Request::Copy { mailbox, uids, to, r#move: moving }).await? {
        Response::Copied { uid_validity, from, to } => (uid_validity, convert::ranges(&from), convert::ranges(&to)),
        Response::Refused(why) => return Ok(convert::target_refusal(why)),
        _ => return Err(convert::unexpected().into()),
    };
    let Some(selected) = account.selected.as_mut() else { return Err(convert::unexpected().into()) };
    selected.dirty |= to_itself;
    if from.is_empty() {
        return Ok(Answer::ok(text));
    }
    let code = Code::CopyUid(uid_validity, from.clone(), copies);
    if !moving {
        return Ok(Answer::ok(text).with(code));
    }
    // RFC 6851 4.3: the code comes before the messages go.
    response::status(&mut conn.out, None, Condition::Ok, Some(&code), "Moved");
    sync::gone(conn, selected, account.enabled, &from).await?;
    Ok(Answer::ok(text))
}

/// RFC 9051 6.4.3, RFC 4315 2.1.
pub(crate) async fn expunge(conn: &mut Connection, account: &mut Account, set: Option<&SequenceSet>) -> Result<Answer, Fault> {
    let Some(selected) = account.selected.as_ref() else { return Ok(Answer::bad("No mailbox selected")) };
    if selected.read_only {
        return Ok(read_only());
    }
    let mailbox = selected.id;
    let sets = match set.map(|set| selected.uids(set, true)) {
        None => vec![None],
        Some(uids) => convert::chunks(&uids.unwrap_or_default()).into_iter().map(Some).collect(),
    };
    for uids in sets {
        account.store.start(&Request::Expunge { mailbox, uids }, &[]).await?;
        while let Some(reply) = account.store.next().await? {
            let enabled = account.enabled;
            let Some(selected) = account.selected.as_mut() else { return Err(convert::unexpected().into()) };
            match reply.body {
                Response::Vanished(uids) => sync::gone(conn, selected, enabled, &convert::ranges(&uids)).await?,
                Response::Done => {}
                Response::Refused(why) => return Ok(convert::refusal(why)),
                _ => return Err(convert::unexpected().into()),
            }
            conn.flush_if_full().await?;
        }
    }
    let answer = Answer::ok("EXPUNGE completed");
    if !account.enabled.qresync {
        return Ok(answer);
    }
    // RFC 7162 3.2.7: so that the client needs not ask.
    sync::tell(conn, account).await?;
    Ok(match account.selected.as_ref() {
        Some(selected) => answer.with(Code::HighestModSeq(selected.modseq)),
        None => answer,
    })
}
