//! SELECT, EXAMINE, CLOSE, UNSELECT and ENABLE.

use crate::{
    account::{Account, Selected},
    connection::{Answer, Connection, Fault},
    convert, mailbox, sync,
};
use pure_imap::{
    Mailbox, QResync, Ranges, Select, SeqMap,
    response::{self, Code, Condition, ListKind},
};
use std::collections::BTreeSet;
use wire::edge::store_session::{self, ModSeq, Request, Response};

/// Keywords that every mailbox announces: those of RFC 5788's registry that clients use.
const USUAL_KEYWORDS: [&str; 5] = ["$Forwarded", "$MDNSent", "$Junk", "$NotJunk", "$Phishing"];

/// RFC 5161 3.1; RFC 9051 6.3.1.
pub(crate) fn enable(conn: &mut Connection, account: &mut Account, names: &[String]) -> Answer {
    let enabled = &mut account.enabled;
    conn.out.text("* ENABLED");
    for name in names {
        let known = match name.as_str() {
            "CONDSTORE" => {
                enabled.condstore = true;
                " CONDSTORE"
            }
            "QRESYNC" => {
                // RFC 7162 3.2.3: the one includes the other.
                enabled.condstore = true;
                enabled.qresync = true;
                " QRESYNC"
            }
            "IMAP4REV2" => {
                enabled.rev2 = true;
                " IMAP4rev2"
            }
            "UTF8=ACCEPT" => {
                enabled.utf8 = true;
                " UTF8=ACCEPT"
            }
            _ => "",
        };
        conn.out.text(known);
    }
    conn.out.end();
    if enabled.rev2 || enabled.utf8 {
        conn.out.set_utf8();
    }
    Answer::ok("ENABLE completed")
}

/// RFC 9051 6.3.2 and 6.3.3.
pub(crate) async fn select(conn: &mut Connection, account: &mut Account, query: Select) -> Result<Answer, Fault> {
    // RFC 7162 3.2.5: QRESYNC must have been enabled.
    if query.qresync.is_some() && !account.enabled.qresync {
        return Ok(Answer::bad("Enable QRESYNC first"));
    }
    account.enabled.condstore |= query.condstore;
    // RFC 9051 6.3.2: also a failed SELECT leaves the mailbox that was selected.
    if account.selected.take().is_some() {
        response::status(&mut conn.out, None, Condition::Ok, Some(&Code::Plain("CLOSED")), "Previous mailbox closed");
    }
    let Mailbox::Named(name) = query.mailbox else { return Ok(convert::no_mailbox()) };
    let (info, uids) = match open(account, &name).await? {
        Ok(opened) => opened,
        Err(answer) => {
            // Events of the mailbox that was open before are no longer of interest.
            account.call(&Request::Close).await?;
            return Ok(answer);
        }
    };
    let selected = account.selected.insert(Box::new(Selected {
        id: info.id,
        name: info.name.clone(),
        read_only: query.read_only,
        map: SeqMap::from_ranges(&uids),
        modseq: info.highest_modseq.0,
        dirty: false,
        saved: Ranges::new(),
        arranged: None,
        ahead: None,
        told: Vec::new(),
        keywords: USUAL_KEYWORDS.iter().map(|keyword| (*keyword).to_owned()).collect::<BTreeSet<_>>(),
    }));
    let flags = sync::all_flags(selected);
    let out = &mut conn.out;
    response::flags_response(out, &flags);
    let permanent = if query.read_only { Code::PermanentFlags(vec![], false) } else { Code::PermanentFlags(flags, true) };
    response::exists(out, selected.map.len());
    if account.enabled.rev2 {
        // RFC 9051 6.3.2.
        response::list(out, ListKind::List, &[], info.name.as_str(), false);
    } else {
        response::recent(out, 0);
    }
    response::status(out, None, Condition::Ok, Some(&permanent), "Flags that are kept");
    response::status(out, None, Condition::Ok, Some(&Code::UidValidity(info.uid_validity)), "UIDs valid");
    response::status(out, None, Condition::Ok, Some(&Code::UidNext(info.uid_next)), "Next UID");
    response::status(out, None, Condition::Ok, Some(&Code::HighestModSeq(info.highest_modseq.0)), "Highest");
    response::status(out, None, Condition::Ok, Some(&Code::MailboxId(convert::mailbox_id(info.id))), "Identifier");
    if let Some(known) = query.qresync.filter(|known| known.uid_validity == info.uid_validity) {
        resynchronise(conn, account, &known).await?;
    }
    let (code, text) = if query.read_only { ("READ-ONLY", "EXAMINE completed") } else { ("READ-WRITE", "SELECT completed") };
    Ok(Answer::ok(text).with(Code::Plain(code)))
}

type Opened = (Box<store_session::Mailbox>, Ranges);

async fn open(account: &mut Account, name: &pure_addr::MailboxName) -> Result<Result<Opened, Answer>, Fault> {
    account.store.start(&Request::Open(name.clone()), &[]).await?;
    let mut uids: Vec<(u32, u32)> = Vec::new();
    let mut opened = None;
    while let Some(reply) = account.next().await? {
        match reply.body {
            Response::Uids(part) => convert::add(&part, &mut uids)?,
            Response::Mailbox(mailbox) => opened = Some(Ok(mailbox)),
            Response::Refused(why) => opened = Some(Err(convert::refusal(why))),
            _ => return Err(convert::unexpected().into()),
        }
    }
    Ok(match opened {
        Some(Ok(mailbox)) if mailbox.selectable => Ok((mailbox, Ranges::from_unsorted(uids))),
        Some(Ok(_)) => Err(convert::no_mailbox()),
        Some(Err(answer)) => Err(answer),
        None => return Err(convert::unexpected().into()),
    })
}

/// RFC 7162 3.2.5: what happened since the client was here last.
async fn resynchronise(conn: &mut Connection, account: &mut Account, known: &QResync) -> Result<(), Fault> {
    let Some(selected) = account.selected.as_ref() else { return Ok(()) };
    // RFC 7162 3.2.5.2: the client's sequence numbers only narrow what it is told; telling everything is right too.
    let known_uids = known.known_uids.as_ref().and_then(|set| set.resolve(None));
    let request = Request::Changes { mailbox: selected.id, since: ModSeq(known.modseq) };
    account.store.start(&request, &[]).await?;
    while let Some(reply) = account.store.next().await? {
        let enabled = account.enabled;
        let Some(selected) = account.selected.as_mut() else { return Ok(()) };
        let interesting = |uid: u32| known_uids.as_ref().is_none_or(|known| known.contains(uid));
        match reply.body {
            Response::Vanished(uids) => {
                // What vanished after the mailbox was opened has a number here and is told in its time.
                let mut uids = convert::ranges(&uids).without(&selected.map.uids());
                if let Some(known) = &known_uids {
                    uids = uids.intersect(known);
                }
                response::vanished(&mut conn.out, &uids, true);
            }
            Response::Rows(rows) => {
                for row in rows.iter().filter(|row| interesting(row.uid)) {
                    sync::changed(&mut conn.out, selected, enabled, row, true);
                }
            }
            Response::Mailbox(now) => selected.dirty |= now.highest_modseq.0 > selected.modseq,
            Response::Refused(_) => selected.dirty = true,
            _ => return Err(convert::unexpected().into()),
        }
        conn.flush_if_full().await?;
    }
    Ok(())
}

/// RFC 9051 6.4.1 and 6.4.2.
pub(crate) async fn close(account: &mut Account, expunge: bool) -> Result<Answer, Fault> {
    let Some(selected) = account.selected.take() else { return Ok(Answer::bad("No mailbox selected")) };
    if expunge && !selected.read_only {
        account.store.start(&Request::Expunge { mailbox: selected.id, uids: None }, &[]).await?;
        while let Some(reply) = account.next().await? {
            if let Response::Refused(why) = reply.body {
                tracing::debug!(?why, "expunge at close refused");
            }
        }
    }
    mailbox::closed(account).await?;
    Ok(Answer::ok(if expunge { "CLOSE completed" } else { "UNSELECT completed" }))
}
