//! Commands about mailboxes as a whole.

use crate::{
    account::Account,
    connection::{Answer, Connection, Fault},
    convert,
};
use pure_addr::MailboxName;
use pure_imap::{
    Mailbox, StatusItem,
    response::{self, Code, Condition},
};
use wire::edge::store_session::{self, Request, Response};

/// The one quota root of an account (RFC 9208 3).
const ROOT: &str = "";

/// RFC 9051 6.3.4, RFC 6154 3.
pub(crate) async fn create(account: &mut Account, name: Mailbox, special_use: &[String]) -> Result<Answer, Fault> {
    let Mailbox::Named(name) = name else { return Ok(Answer::no("CANNOT", "Not a possible name")) };
    let role = match special_use {
        [] => None,
        [one] => match convert::role(one) {
            Some(role) => Some(role),
            None => return Ok(Answer::no("USEATTR", "No mailbox can be made for this use")),
        },
        _ => return Ok(Answer::no("USEATTR", "One use for each mailbox")),
    };
    Ok(match account.call(&Request::Create { name, role }).await? {
        Response::Mailbox(mailbox) => Answer::ok("CREATE completed").with(Code::MailboxId(convert::mailbox_id(mailbox.id))),
        Response::Refused(why) => convert::refusal(why),
        _ => return Err(convert::unexpected().into()),
    })
}

/// RFC 9051 6.3.5.
pub(crate) async fn delete(conn: &mut Connection, account: &mut Account, name: Mailbox) -> Result<Answer, Fault> {
    let Mailbox::Named(name) = name else { return Ok(convert::no_mailbox()) };
    // By its identifier: the selected mailbox may have been renamed since, and another may have its name now.
    let own = match account.selected.as_ref().map(|selected| selected.id) {
        Some(id) => matches!(account.call(&Request::Mailbox(name.clone())).await?, Response::Mailbox(mailbox) if mailbox.id == id),
        None => false,
    };
    let answer = done(account, &Request::Delete(name), "DELETE completed").await?;
    if own && answer.is_ok() {
        account.selected = None;
        closed(account).await?;
        response::status(&mut conn.out, None, Condition::Ok, Some(&Code::Plain("CLOSED")), "Mailbox deleted");
    }
    Ok(answer)
}

/// RFC 9051 6.3.6.
pub(crate) async fn rename(account: &mut Account, from: Mailbox, to: Mailbox) -> Result<Answer, Fault> {
    let Mailbox::Named(from) = from else { return Ok(convert::no_mailbox()) };
    let Mailbox::Named(to) = to else { return Ok(Answer::no("CANNOT", "Not a possible name")) };
    if let Some(selected) = account.selected.as_mut() {
        selected.dirty = true;
    }
    done(account, &Request::Rename { from, to }, "RENAME completed").await
}

/// RFC 9051 6.3.7 and 6.3.8.
pub(crate) async fn subscribe(account: &mut Account, name: Mailbox, on: bool) -> Result<Answer, Fault> {
    let Mailbox::Named(name) = name else { return Ok(convert::no_mailbox()) };
    let text = if on { "SUBSCRIBE completed" } else { "UNSUBSCRIBE completed" };
    done(account, &Request::Subscribe { name, on }, text).await
}

/// Ends the store's events for the mailbox that is no longer selected.
pub(crate) async fn closed(account: &mut Account) -> Result<(), Fault> {
    account.call(&Request::Close).await.map(|_| ())
}

async fn done(account: &mut Account, request: &Request, text: &'static str) -> Result<Answer, Fault> {
    Ok(match account.call(request).await? {
        Response::Done => Answer::ok(text),
        Response::Refused(why) => convert::refusal(why),
        _ => return Err(convert::unexpected().into()),
    })
}

/// One mailbox, or the answer why not.
pub(crate) async fn look_up(account: &mut Account, name: Mailbox) -> Result<Result<Box<store_session::Mailbox>, Answer>, Fault> {
    let Mailbox::Named(name) = name else { return Ok(Err(convert::no_mailbox())) };
    Ok(match account.call(&Request::Mailbox(name)).await? {
        Response::Mailbox(mailbox) => Ok(mailbox),
        Response::Refused(why) => Err(convert::refusal(why)),
        _ => return Err(convert::unexpected().into()),
    })
}

/// RFC 9051 6.3.11.
pub(crate) async fn status(
    conn: &mut Connection,
    account: &mut Account,
    name: Mailbox,
    items: &[StatusItem],
    message_limit: u32,
) -> Result<Answer, Fault> {
    // RFC 7162 3.1: asking for it enables it.
    account.enabled.condstore |= items.contains(&StatusItem::HighestModSeq);
    let mailbox = match look_up(account, name).await? {
        Ok(mailbox) if mailbox.selectable => mailbox,
        Ok(_) => return Ok(convert::no_mailbox()),
        Err(answer) => return Ok(answer),
    };
    status_line(conn, &mailbox, items, message_limit);
    Ok(Answer::ok("STATUS completed"))
}

/// `* STATUS`.
pub(crate) fn status_line(conn: &mut Connection, mailbox: &store_session::Mailbox, items: &[StatusItem], message_limit: u32) {
    let values: Vec<(StatusItem, String)> = items
        .iter()
        .map(|item| {
            let value = match item {
                StatusItem::Messages => mailbox.messages.to_string(),
                StatusItem::Recent => "0".to_owned(),
                StatusItem::UidNext => mailbox.uid_next.to_string(),
                StatusItem::UidValidity => mailbox.uid_validity.to_string(),
                StatusItem::Unseen => mailbox.unseen.to_string(),
                StatusItem::Deleted => mailbox.deleted.to_string(),
                StatusItem::Size => mailbox.size.to_string(),
                StatusItem::HighestModSeq => mailbox.highest_modseq.0.to_string(),
                StatusItem::MailboxId => convert::mailbox_id(mailbox.id),
                StatusItem::AppendLimit => message_limit.to_string(),
            };
            (*item, value)
        })
        .collect();
    response::status_items(&mut conn.out, &mailbox.name, &values);
}

/// RFC 9208 4.1.2.
pub(crate) async fn quota(conn: &mut Connection, account: &mut Account, root: &str) -> Result<Answer, Fault> {
    if root != ROOT {
        return Ok(Answer::no("NONEXISTENT", "No such quota root"));
    }
    quota_line(conn, account).await?;
    Ok(Answer::ok("GETQUOTA completed"))
}

/// RFC 9208 4.1.3.
pub(crate) async fn quota_root(conn: &mut Connection, account: &mut Account, name: Mailbox) -> Result<Answer, Fault> {
    let name: MailboxName = match look_up(account, name).await? {
        Ok(mailbox) => mailbox.name,
        Err(answer) => return Ok(answer),
    };
    response::quota_root(&mut conn.out, &name, ROOT);
    quota_line(conn, account).await?;
    Ok(Answer::ok("GETQUOTAROOT completed"))
}

async fn quota_line(conn: &mut Connection, account: &mut Account) -> Result<(), Fault> {
    match account.call(&Request::Quota).await? {
        Response::Quota { used, limit, .. } => response::quota(&mut conn.out, ROOT, used, limit),
        _ => return Err(convert::unexpected().into()),
    }
    Ok(())
}
