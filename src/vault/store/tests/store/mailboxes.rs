use crate::world::{Mail, World, flags, name, uids};
use wire::edge::store_session::{Event, FlagChange, MailboxId, Refusal, Request, Response, Role, SystemFlags};

fn create(path: &str) -> Request {
    Request::Create { name: name(path), role: None }
}

fn rename(from: &str, to: &str) -> Request {
    Request::Rename { from: name(from), to: name(to) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_account_has_its_mailboxes() {
    let world = World::new();
    let mut front = world.session().await;
    assert_eq!(front.names().await, ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"]);
    let mut validities = Vec::new();
    for (path, role) in [("INBOX", Role::Inbox), ("Drafts", Role::Drafts), ("Sent", Role::Sent), ("Junk", Role::Junk)] {
        let mailbox = front.mailbox(path).await;
        assert_eq!((mailbox.role, mailbox.subscribed, mailbox.selectable, mailbox.uid_next), (Some(role), true, true, 1));
        validities.push(mailbox.uid_validity);
    }
    validities.dedup();
    assert_eq!(validities.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn levels_come_and_become_mailboxes() {
    let world = World::new();
    let mut front = world.session().await;
    let Response::Mailbox(leaf) = front.call(&create("a/b/c")).await else { panic!() };
    assert!(leaf.selectable && !leaf.subscribed);
    let level = front.mailbox("a/b").await;
    assert!(!level.selectable);
    front.refused(&Request::Open(name("a/b")), Refusal::NoSuchMailbox).await;
    front.refused(&create("a/b/c"), Refusal::AlreadyExists).await;
    front.refused(&create("INBOX"), Refusal::AlreadyExists).await;
    let Response::Mailbox(made) = front.call(&create("a/b")).await else { panic!() };
    assert!(made.selectable && made.id != level.id);
    // A mailbox with children stays as a level, and then cannot be deleted.
    front.done(&Request::Delete(name("a/b"))).await;
    assert!(!front.mailbox("a/b").await.selectable);
    front.refused(&Request::Delete(name("a/b")), Refusal::Cannot).await;
    front.done(&Request::Delete(name("a/b/c"))).await;
    front.done(&Request::Delete(name("a/b"))).await;
    front.refused(&Request::Delete(name("a/b")), Refusal::NoSuchMailbox).await;
    front.refused(&Request::Delete(name("INBOX")), Refusal::Cannot).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_move_to_new_mailboxes() {
    let world = World::new();
    let mut front = world.session().await;
    let made = front.call(&Request::Create { name: name("Gesendet"), role: Some(Role::Sent) }).await;
    assert!(matches!(made, Response::Mailbox(m) if m.role == Some(Role::Sent)));
    assert_eq!(front.mailbox("Sent").await.role, None);
    front.refused(&Request::Create { name: name("Sent"), role: Some(Role::Junk) }, Refusal::AlreadyExists).await;
    assert_eq!(front.mailbox("Junk").await.role, Some(Role::Junk));
    front.refused(&Request::Create { name: name("New"), role: Some(Role::Inbox) }, Refusal::Cannot).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uidvalidity_is_never_used_again() {
    let world = World::new();
    let mut front = world.session().await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        let Response::Mailbox(mailbox) = front.call(&create("x")).await else { panic!() };
        seen.push((mailbox.id.0, mailbox.uid_validity));
        front.done(&Request::Delete(name("x"))).await;
    }
    // Nor when the clock goes back, nor after the process was killed.
    world.clock.store(5, std::sync::atomic::Ordering::Relaxed);
    let Response::Mailbox(mailbox) = front.call(&create("x")).await else { panic!() };
    seen.push((mailbox.id.0, mailbox.uid_validity));
    front.done(&Request::Delete(name("x"))).await;
    let world = world.killed();
    let Response::Mailbox(mailbox) = world.session().await.call(&create("x")).await else { panic!() };
    seen.push((mailbox.id.0, mailbox.uid_validity));
    assert!(seen.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renaming_takes_children_along() {
    let world = World::new();
    let mut front = world.session().await;
    for path in ["a", "a/b", "a/b/c", "ab", "t"] {
        front.call(&create(path)).await;
    }
    let before = front.mailbox("a/b/c").await;
    front.done(&rename("a", "x/y")).await;
    let names = front.names().await;
    assert_eq!(names.into_iter().filter(|n| n.starts_with(['a', 'x'])).collect::<Vec<_>>(), ["ab", "x", "x/y", "x/y/b", "x/y/b/c"]);
    let after = front.mailbox("x/y/b/c").await;
    assert_eq!((before.id, before.uid_validity), (after.id, after.uid_validity));
    front.refused(&rename("x", "x/y/z"), Refusal::Cannot).await;
    front.refused(&rename("x", "t"), Refusal::AlreadyExists).await;
    front.refused(&rename("t", "inbox"), Refusal::AlreadyExists).await;
    front.refused(&rename("none", "q"), Refusal::NoSuchMailbox).await;
    // A child would get a name that is too long: nothing at all is renamed.
    front.refused(&rename("x", &"n".repeat(510)), Refusal::Cannot).await;
    assert_eq!(front.mailbox("x/y").await.name, name("x/y"));
    front.refused(&Request::Mailbox(name(&"n".repeat(510))), Refusal::NoSuchMailbox).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renaming_inbox_moves_its_messages() {
    let world = World::new();
    let mut front = world.session().await;
    front.call(&create("INBOX/child")).await;
    for n in 0..3 {
        world.deliver(n, &Mail::new("x", &n.to_string())).await;
    }
    let (_, before) = front.open("INBOX").await;
    front.done(&rename("INBOX", "Old/2026")).await;
    assert_eq!(front.event().await, Event::Changed(before.id, front.mailbox("INBOX").await.highest_modseq));
    let (uids, after) = front.open("INBOX").await;
    assert_eq!((uids.len(), after.id, after.uid_validity, after.uid_next, after.size), (0, before.id, before.uid_validity, 4, 0));
    let (vanished, _, _) = front.changes(before.id, before.highest_modseq.0).await;
    assert_eq!(vanished, [1, 2, 3]);
    let (uids, old) = front.open("Old/2026").await;
    assert_eq!((uids, old.size), (vec![1, 2, 3], before.size));
    assert!(front.names().await.contains(&"INBOX/child".to_owned()));
    front.refused(&rename("INBOX", "Old/2026"), Refusal::AlreadyExists).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_are_kept() {
    let world = World::new();
    let mut front = world.session().await;
    front.done(&Request::Subscribe { name: name("Sent"), on: false }).await;
    front.refused(&Request::Subscribe { name: name("none"), on: true }, Refusal::NoSuchMailbox).await;
    let world = world.killed();
    let mut front = world.session().await;
    assert!(!front.mailbox("Sent").await.subscribed && front.mailbox("Trash").await.subscribed);
}

fn subscribe(path: &str, on: bool) -> Request {
    Request::Subscribe { name: name(path), on }
}

/// RFC 9051 6.3.7: nobody but the client ends a subscription.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_stays_subscribed_to_when_its_mailbox_goes() {
    let world = World::new();
    let mut front = world.session().await;
    for path in ["a", "b", "c/d", "e"] {
        front.call(&create(path)).await;
        if path != "b" {
            front.done(&subscribe(path, true)).await;
        }
    }
    for path in ["a", "b", "c/d", "e"] {
        front.done(&Request::Delete(name(path))).await;
    }
    assert_eq!(front.left().await, ["a", "c/d", "e"]);
    assert!(!front.names().await.iter().any(|name| name == "a"));
    front.refused(&Request::Mailbox(name("a")), Refusal::NoSuchMailbox).await;
    front.refused(&Request::Delete(name("a")), Refusal::NoSuchMailbox).await;
    front.refused(&subscribe("b", true), Refusal::NoSuchMailbox).await;
    front.refused(&subscribe("b", false), Refusal::NoSuchMailbox).await;
    front.done(&subscribe("a", true)).await;
    let world = world.killed();
    let mut front = world.session().await;
    assert_eq!(front.left().await, ["a", "c/d", "e"]);
    // The client ends it, and a mailbox of the name takes it over: a new one, a level, or one that had another name.
    front.done(&subscribe("a", false)).await;
    front.call(&create("c/d/x")).await;
    assert!(front.mailbox("c/d").await.subscribed && !front.mailbox("c").await.subscribed);
    front.call(&create("b")).await;
    front.done(&rename("b", "e")).await;
    assert!(front.mailbox("e").await.subscribed);
    assert!(front.left().await.is_empty());
    // What was not done has changed nothing.
    front.done(&Request::Delete(name("e"))).await;
    front.call(&create("f/y")).await;
    let long = "l".repeat(pure_addr::MAX_MAILBOX_NAME - 2);
    front.call(&create(&format!("f/{}", "m".repeat(100)))).await;
    front.refused(&rename("f", &long), Refusal::Cannot).await;
    assert_eq!(front.left().await, ["e"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_mailboxes_come_in_parts_by_name() {
    let world = World::new();
    let mut front = world.session().await;
    for n in 0..40 {
        front.call(&create(&format!("{n:03}{}", "/s".repeat(15)))).await;
    }
    let names = front.names().await;
    assert_eq!(names.len(), 6 + 40 * 16);
    assert!(names.is_sorted());
    assert!(front.parts(&Request::Mailboxes).await.len() > 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_sessions_hear_of_changes_once_until_they_ask() {
    let world = World::new();
    let (mut a, mut b) = (world.session().await, world.session().await);
    let (_, inbox) = a.open("INBOX").await;
    b.open("INBOX").await;
    world.deliver(1, &Mail::new("x", "x")).await;
    let Event::Changed(id, first) = a.event().await else { panic!() };
    assert_eq!(id, inbox.id);
    world.deliver(2, &Mail::new("x", "x")).await;
    world.deliver(3, &Mail::new("x", "x")).await;
    a.silent().await;
    let (_, rows, now) = a.changes(inbox.id, inbox.highest_modseq.0).await;
    assert_eq!(rows.len(), 3);
    assert!(now.highest_modseq > first);
    a.silent().await;

    // What an answer tells completely is no event; others get one.
    assert!(matches!(b.event().await, Event::Changed(..)));
    b.changes(inbox.id, 0).await;
    let set = Request::SetFlags {
        mailbox: inbox.id,
        uids: uids(&[(1, 2)]),
        change: FlagChange::Add,
        flags: flags(&[SystemFlags::DELETED], &[]),
        unchanged_since: None,
    };
    a.rows(&set).await;
    assert!(matches!(b.event().await, Event::Changed(..)));
    a.silent().await;
    a.parts(&Request::Expunge { mailbox: inbox.id, uids: None }).await;
    a.silent().await;
    // What it does not tell is: a copy into the open mailbox.
    a.call(&Request::Copy { mailbox: inbox.id, uids: uids(&[(3, 3)]), to: name("INBOX"), r#move: false }).await;
    assert!(matches!(a.event().await, Event::Changed(..)));

    // Other mailboxes are nobody's affair, and a closed one neither.
    let (vanished, _, _) = b.changes(inbox.id, now.highest_modseq.0).await;
    assert_eq!(vanished, [1, 2]);
    world.deliver_to(crate::world::ALICE, 9, &Mail::new("x", "x"), "Junk").await;
    b.silent().await;
    b.done(&Request::Close).await;
    world.deliver(4, &Mail::new("x", "x")).await;
    b.silent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_an_open_mailbox_is_told() {
    let world = World::new();
    let (mut a, mut b) = (world.session().await, world.session().await);
    let Response::Mailbox(made) = a.call(&create("x")).await else { panic!() };
    a.append("x", &[(Mail::new("m", "m"), flags(&[], &[]))]).await;
    a.open("x").await;
    b.open("x").await;
    b.done(&Request::Delete(name("x"))).await;
    assert_eq!(a.event().await, Event::Gone(made.id));
    b.silent().await;
    a.refused(&Request::Changes { mailbox: made.id, since: made.highest_modseq }, Refusal::NoSuchMailbox).await;
    let Response::Quota { used, messages, .. } = a.call(&Request::Quota).await else { panic!() };
    assert_eq!((used, messages), (0, 0));
    a.refused(&Request::Expunge { mailbox: MailboxId(0), uids: None }, Refusal::NoSuchMailbox).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_separate_accounts() {
    let world = World::new();
    world.deliver_to(1, 1, &Mail::new("x", "x"), "INBOX").await;
    let mut two = world.session_of(2).await;
    let (uids, inbox) = two.open("INBOX").await;
    assert!(uids.is_empty());
    world.deliver_to(1, 2, &Mail::new("x", "x"), "INBOX").await;
    two.silent().await;
    assert!(two.bodies(inbox.id, &[(1, u32::MAX)]).await.is_empty());
}
