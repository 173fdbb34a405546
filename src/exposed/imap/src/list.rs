//! LIST and LSUB: every mailbox of the account, matched here.

use crate::{
    account::Account,
    connection::{Answer, Connection, Fault},
    convert, mailbox,
};
use pure_addr::{MailboxName, SEPARATOR};
use pure_imap::{List, Pattern, StatusItem, response, response::ListKind};
use std::collections::{BTreeSet, HashSet};
use wire::edge::store_session::{MAX_MAILBOXES, MAX_SUBSCRIPTIONS, Mailbox, Request, Response};

/// Names looked at before other sessions have their turn.
const YIELD: usize = 64;

/// RFC 9051 6.3.9.
pub(crate) async fn list(conn: &mut Connection, account: &mut Account, query: &List, message_limit: u32) -> Result<Answer, Fault> {
    // RFC 9051 6.3.9: the empty pattern asks for separator and root of the reference.
    if !query.extended && query.patterns.first().is_some_and(String::is_empty) {
        response::list(&mut conn.out, ListKind::List, &["\\Noselect"], "", false);
        return Ok(Answer::ok("LIST completed"));
    }
    account.enabled.condstore |= query.return_status.contains(&StatusItem::HighestModSeq);
    let (mailboxes, left) = all(account).await?;
    let family = Family::of(&mailboxes, &left);
    let patterns: Vec<Pattern> = query.patterns.iter().map(|pattern| Pattern::new(&query.reference, pattern)).collect();
    for (i, mailbox) in mailboxes.iter().enumerate() {
        take_turns(i).await;
        let name = mailbox.name.as_str();
        if !patterns.iter().any(|pattern| pattern.matches(name)) {
            continue;
        }
        let special = mailbox.role.and_then(convert::attribute);
        let wanted = (!query.select_subscribed || mailbox.subscribed) && (!query.select_special_use || special.is_some());
        // RFC 5258 3.5: a parent of what was selected is told for its children's sake.
        let for_children = query.recursive_match && query.select_subscribed && family.has_subscribed_below.contains(name);
        if !wanted && !for_children {
            continue;
        }
        let mut attributes = vec![];
        if !mailbox.selectable {
            attributes.push("\\Noselect");
        }
        attributes.push(if family.parents.contains(name) { "\\HasChildren" } else { "\\HasNoChildren" });
        if query.return_subscribed && mailbox.subscribed {
            attributes.push("\\Subscribed");
        }
        attributes.extend(special);
        response::list(&mut conn.out, ListKind::List, &attributes, name, for_children);
        if !query.return_status.is_empty() && mailbox.selectable && wanted {
            // RFC 5819 2.
            mailbox::status_line(conn, mailbox, &query.return_status, message_limit);
        }
        conn.flush_if_full().await?;
    }
    // RFC 5258 3.4: what has no mailbox is told to whoever asks for subscriptions alone.
    let told = query.select_subscribed && !query.select_special_use;
    for (i, name) in left.iter().map(MailboxName::as_str).filter(|_| told).enumerate() {
        take_turns(i).await;
        if patterns.iter().any(|pattern| pattern.matches(name)) {
            let attributes: &[&str] = if query.return_subscribed { &["\\NonExistent", "\\Subscribed"] } else { &["\\NonExistent"] };
            response::list(&mut conn.out, ListKind::List, attributes, name, false);
            conn.flush_if_full().await?;
        }
    }
    Ok(Answer::ok("LIST completed"))
}

/// However many names are looked at, other sessions have their turn.
async fn take_turns(i: usize) {
    if i % YIELD == YIELD - 1 {
        tokio::task::yield_now().await;
    }
}

/// RFC 3501 6.3.9.
pub(crate) async fn lsub(conn: &mut Connection, account: &mut Account, reference: &str, pattern: &str) -> Result<Answer, Fault> {
    let (mailboxes, left) = all(account).await?;
    let subscribed = mailboxes.iter().filter(|mailbox| mailbox.subscribed).map(|mailbox| (mailbox.name.as_str(), mailbox.selectable));
    let subscribed = subscribed.chain(left.iter().map(|name| (name.as_str(), false)));
    let matcher = Pattern::new(reference, pattern);
    let mut told = BTreeSet::new();
    for (i, (name, selectable)) in subscribed.enumerate() {
        take_turns(i).await;
        if matcher.matches(name) {
            told.insert((name, if selectable { "" } else { "\\Noselect" }));
            continue;
        }
        // RFC 3501 6.3.9: `%` that stops above a subscribed mailbox tells the level where it stopped.
        if pattern.ends_with('%')
            && let Some(above) = ancestors(name).find(|above| matcher.matches(above))
            && !told.contains(&(above, ""))
        {
            told.insert((above, "\\Noselect"));
        }
    }
    for (name, attribute) in &told {
        let attributes: &[&str] = if attribute.is_empty() { &[] } else { &[*attribute] };
        // A level that is subscribed itself is told as a mailbox only.
        if attribute.is_empty() || !told.contains(&(*name, "")) {
            response::list(&mut conn.out, ListKind::Lsub, attributes, name, false);
        }
        conn.flush_if_full().await?;
    }
    Ok(Answer::ok("LSUB completed"))
}

/// Who is above whom.
struct Family<'m> {
    parents: HashSet<&'m str>,
    has_subscribed_below: HashSet<&'m str>,
}

impl<'m> Family<'m> {
    fn of(mailboxes: &'m [Mailbox], left: &'m [MailboxName]) -> Self {
        let mut family = Self { parents: HashSet::new(), has_subscribed_below: HashSet::new() };
        for mailbox in mailboxes {
            for above in ancestors(mailbox.name.as_str()) {
                family.parents.insert(above);
                if mailbox.subscribed {
                    family.has_subscribed_below.insert(above);
                }
            }
        }
        family.has_subscribed_below.extend(left.iter().flat_map(|name| ancestors(name.as_str())));
        family
    }
}

/// The levels above a name, nearest first.
fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    name.rmatch_indices(SEPARATOR).filter_map(|(at, _)| name.get(..at))
}

/// All mailboxes, and the names that are subscribed to without one.
async fn all(account: &mut Account) -> Result<(Vec<Mailbox>, Vec<MailboxName>), Fault> {
    account.store.start(&Request::Mailboxes, &[]).await?;
    let (mut out, mut left): (Vec<Mailbox>, _) = (Vec::new(), Vec::new());
    while let Some(reply) = account.next().await? {
        match reply.body {
            Response::Mailboxes(part) => out.extend(part),
            Response::Subscriptions(part) => left.extend(part),
            Response::Done => {}
            _ => return Err(convert::unexpected().into()),
        }
        if out.len() > MAX_MAILBOXES || left.len() > MAX_SUBSCRIPTIONS {
            return Err(convert::unexpected().into());
        }
    }
    Ok((out, left))
}

#[cfg(test)]
mod tests {
    use super::ancestors;

    #[test]
    fn levels_above() {
        assert_eq!(ancestors("a/b/c").collect::<Vec<_>>(), ["a/b", "a"]);
        assert_eq!(ancestors("a").count(), 0);
    }
}
